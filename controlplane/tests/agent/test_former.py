"""A switch that only former ways of a slice pass, until the controller has led packets away."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing

import pytest
from dfvisor.agent import applied, repair, saver
from dfvisor.agent.applied import FORMER
from dfvisor.agent.link import Written
from dfvisor.agent.main import LOCAL_DATABASE
from dfvisor.agent.planner import Planner
from dfvisor.agent.saver import Saver
from dfvisor.model.records import Flowspace, Match, Network, Profile, Slice
from dfvisor.p4rt.entries import Item, TableEntry
from dfvisor.store.local import LocalDatabase

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
    monkeypatch.setattr(applied, "KEEP_S", 0.05)
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

        async def given_up() -> bool:
            return directory.revision("green") is None

        await eventually(given_up, "nothing is offered any more")


@pytest.mark.parametrize("when", ["at once", "lingering", "led past", "away"])
async def test_slice_stays_although_the_agent_is_killed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Before it has saved anything of the new ways, after that, once the switch is on none of them
    any more, or before they have changed at all.
    """

    def killed(one: Saver) -> None:
        one._thread.submit(one._close)
        one._thread.shutdown()

    def saved() -> int:
        """The fabric that the local database holds."""
        with closing(LocalDatabase.reading(rig.data / LOCAL_DATABASE)) as local:
            fabric = local.load_fabric()
        return 0 if fabric is None else fabric[0]

    async def ended() -> bool:
        assert rig.running is not None
        passed = "green" not in rig.running._planner._plans
        return saved() == 2 and (passed or when == "lingering")

    await rig.put(green_alone("s4"))
    async with rig.agent():
        await rig.wait_until_applied("green", 1)
        before = await carried(rig)
    monkeypatch.setattr(Saver, "flush", killed)
    away = green_alone(SWITCH)
    assert rig.database is not None
    base = await rig.database.read_fabric()
    monkeypatch.setattr(repair, "LINGER_S", 60.0 if when == "lingering" else 0.05)
    if when == "away":
        fabric = await rig.database.apply_fabric(base, away.fabric, away.tenants)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(saver, "DELAY_S", 60.0 if when == "at once" else 0.05)
            async with rig.agent():
                fabric = await rig.database.apply_fabric(base, away.fabric, away.tenants)
                await rig.wait_until_fabric(fabric.revision)
                if when != "at once":
                    await eventually(ended, "so far it has come")
        assert saved() == (1 if when == "at once" else 2)
    monkeypatch.setattr(repair, "LINGER_S", 0.05)
    written: list[Item] = []
    monkeypatch.setattr(applied, "KEEP_S", 0.05)
    async with rig.agent():
        assert rig.running is not None
        record = rig.running._record

        def watched(results: Sequence[Written]) -> dict[str, str]:
            written.extend(one.item for one in results if one.deleted)
            return record(results)

        monkeypatch.setattr(rig.running, "_record", watched)
        await rig.wait_until_fabric(fabric.revision)
        await rig.wait_until_applied("green", await change(rig, LARGER))
        assert await carried(rig) == before
        assert not [item for item in written if item in before], "not for a moment"
        assert rig.slicer is not None
        assert set(rig.slicer.directory.slices_of("green")) == {"default", "gold"}
        rig.slicer.directory.flows_completed("green", 2, fabric=fabric.revision)
        await rig.wait_until_equal(with_vn(away, LARGER))

        async def forgotten() -> bool:
            with closing(LocalDatabase.reading(rig.data / LOCAL_DATABASE)) as local:
                return not local.items(FORMER)

        await eventually(forgotten, "nothing is kept any more")
