"""A switch that only former ways of a slice pass, until the controller has led packets away."""

from __future__ import annotations

import dataclasses

import pytest
from dfvisor.agent import agent as agent_module
from dfvisor.agent import repair
from dfvisor.agent.planner import Planner
from dfvisor.model.records import Flowspace, Match, Network, Profile, Slice
from dfvisor.p4rt.entries import Item, TableEntry

from .changing import change, with_vn
from .networks import demo
from .rig import SWITCH, Rig, eventually

pytestmark = [pytest.mark.zk, pytest.mark.switch]

GREEN = dataclasses.replace(
    demo().vns["green"],
    profiles={"gold": Profile(name="gold", queue=6, dscp=46)},
    slices={**demo().vns["green"].slices, "gold": Slice(name="gold", key=90001, profile="gold")},
)
LARGER = dataclasses.replace(
    GREEN,
    flowspaces={"gre": Flowspace(name="gre", priority=9, match=Match(ip_proto=47), slice="gold")},
)


def green_alone(dear: str) -> Network:
    """One VN between s2 and s3, which are joined by s1 and s4; that one is dear."""
    links = tuple(
        dataclasses.replace(link, cost=9 if dear in (link.a.switch, link.b.switch) else 1)
        for link in demo().fabric.links
    )
    fabric = dataclasses.replace(demo().fabric, links=links)
    return dataclasses.replace(demo(), fabric=fabric, vns={"green": GREEN})


async def carried(rig: Rig) -> set[Item]:
    """What a packet of a slice needs to come through here."""
    return {
        item
        for item in await rig.held()
        if isinstance(item, TableEntry) and item.table in ("slice", "slice_policy")
    }


async def test_slice_stays_where_it_was_led_past_until_its_controller_says_otherwise(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes; whatever it says of ways before is not about these."""
    monkeypatch.setattr(agent_module, "KEEP_S", 0.05)
    monkeypatch.setattr(repair, "LINGER_S", 0.05)
    asked = 0
    awaits = Planner.awaits

    def counted(planner: Planner, name: str) -> bool:
        nonlocal asked
        asked += 1
        return awaits(planner, name)

    monkeypatch.setattr(Planner, "awaits", counted)
    await rig.put(green_alone("s4"))
    async with rig.agent():
        await rig.wait_until_applied("green", 1)
        before = await carried(rig)
        away = green_alone(SWITCH)
        assert rig.database is not None and rig.slicer is not None
        base = await rig.database.read_fabric()
        fabric = await rig.database.apply_fabric(base, away.fabric, away.tenants)
        directory = rig.slicer.directory

        async def waited() -> bool:
            return asked >= 5

        await eventually(waited, "the agent would have given up what it keeps")
        assert await carried(rig) == before and directory.revision("green") == 1
        await rig.wait_until_applied("green", await change(rig, LARGER))
        assert await carried(rig) == before and directory.revision("green") == 2
        directory.flows_completed("green", 2, fabric=base.revision)
        asked = 0
        await eventually(waited, "the agent would have given up what it keeps")
        assert await carried(rig) == before and directory.revision("green") == 2
        directory.flows_completed("green", 2, fabric=fabric.revision)
        await rig.wait_until_equal(with_vn(away, LARGER))
        assert directory.revision("green") is None
