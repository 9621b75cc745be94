"""Daemons, agents and switches as processes, while the paths of a slice move."""

from __future__ import annotations

import dataclasses
import re
import signal
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from dfvisor.model.records import Fabric, Link, Switch
from dfvisor.model.types import PortRef
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import TableEntry

from controlplane.tests.vnc.rig import (
    SCHEMA,
    Rig,
    change,
    eventually,
    until_equal,
    vn_now,
    with_flowspace,
)

pytestmark = [pytest.mark.zk, pytest.mark.switch]

NETWORK = load_network(Path(__file__).parents[3] / "examples" / "two-switches.yaml")
VN = "office"


def triangle(direct_cost: int) -> Fabric:
    """A direct link between s1 and s2, and the way round over s3, which costs 2."""
    return Fabric(
        switches={
            **NETWORK.fabric.switches,
            "s3": Switch(name="s3", device_id=3, vtep=IPv4Address("192.0.2.3")),
        },
        links=(
            Link(a=PortRef("s1", 1), b=PortRef("s2", 1), cost=direct_cost),
            Link(a=PortRef("s1", 2), b=PortRef("s3", 1)),
            Link(a=PortRef("s3", 2), b=PortRef("s2", 2)),
        ),
    )


async def refit(rig: Rig, fabric: Fabric) -> None:
    """Have the network take this fabric."""
    base = await rig.database.read_fabric()
    await rig.database.apply_fabric(base, fabric, NETWORK.tenants)
    rig.network = dataclasses.replace(NETWORK, fabric=fabric)


async def test_path_moves_when_the_fabric_changes(tmp_path: Path, zookeeper: str) -> None:
    """From the way round over a third switch to the direct link, which has become cheaper."""
    rig = Rig(tmp_path, zookeeper, dataclasses.replace(NETWORK, fabric=triangle(10)))
    vn = NETWORK.vns[VN]
    try:
        await rig.open()
        rig.start_vnc("vnc1")
        await rig.until_completed(VN, 1)
        await until_equal(rig, vn)
        assert await rig.flows("s3")
        await refit(rig, triangle(1))
        await until_equal(rig, vn)
        assert not await rig.flows("s3")
        await refit(rig, triangle(10))
        await until_equal(rig, vn)
        assert await rig.flows("s3")
    finally:
        await rig.close()


def square(over_s3: int) -> Fabric:
    """Two ways from s1 to s2: over s3, at this cost and 1, and over s4, which costs 4."""
    switches = {
        name: Switch(name=name, device_id=number, vtep=IPv4Address("192.0.2.0") + number)
        for number, name in ((3, "s3"), (4, "s4"))
    }
    return Fabric(
        switches={**NETWORK.fabric.switches, **switches},
        links=(
            Link(a=PortRef("s1", 1), b=PortRef("s3", 1), cost=over_s3),
            Link(a=PortRef("s3", 2), b=PortRef("s2", 1)),
            Link(a=PortRef("s1", 2), b=PortRef("s4", 1), cost=2),
            Link(a=PortRef("s4", 2), b=PortRef("s2", 2), cost=2),
        ),
    )


async def carried(rig: Rig, switch: str) -> frozenset[TableEntry]:
    """The slices whose packets the switch knows."""
    client = P4RuntimeClient(
        rig._addresses[switch], rig.network.fabric.switches[switch].device_id, schema=SCHEMA
    )
    try:
        await client.connect()
        return frozenset(await client.read_entries("slice", "slice_policy"))
    finally:
        await client.close()


async def test_slice_stays_on_its_path_until_the_switches_of_the_new_one_can_be_reached(
    tmp_path: Path, zookeeper: str
) -> None:
    """The agent of the switch that the new path passes is away, for longer than anybody waits.
    Meanwhile a change comes, and the leader dies. The agent of the switch that packets pass still
    is killed before the fabric changes and comes back after that, and is killed once more.
    """
    rig = Rig(tmp_path, zookeeper, dataclasses.replace(NETWORK, fabric=square(1)))
    vn = NETWORK.vns[VN]
    leader = "vnc1"

    async def stamped() -> dict[str, list[int]]:
        return {
            switch: [entry.arg("path_class") for entry in held if entry.table == "slice_path"]
            for switch, held in (await rig.all_flows()).items()
        }

    async def held_back() -> bool:
        state = rig.status(leader).get(VN, {"leading": False, "error": ""})
        return bool(state["leading"]) and "until s4 can be reached" in str(state["error"])

    async def well() -> bool:
        return rig.status(leader)[VN]["error"] == ""

    async def taken() -> bool:
        path = (await stamped())["s1"]
        return path != before["s1"] and await stamped() == {
            "s1": path,
            "s2": path,
            "s3": [],
            "s4": path,
        }

    async def there() -> set[str]:
        names = rig.network.fabric.switches
        return {name for name in names if VN in await rig.database.read_present(name)}

    try:
        await rig.open()
        rig.start_vnc("vnc1")
        await rig.until_completed(VN, 1)
        await until_equal(rig, vn)
        before = await stamped()
        flows = await rig.all_flows()
        assert flows["s3"] and not flows["s4"]
        slices = await carried(rig, "s3")
        rig.stop("agent-s4", signal.SIGKILL)
        rig.start_vnc("vnc2")

        async def away() -> bool:
            standing = len(await rig.database.read_owners(VN)) == 2
            return standing and "s4" not in await rig.database.read_agents()

        async def back() -> bool:
            said = rig.log("agent-s3").read_text()[len(log) :]
            assert not re.search(r"deleted \d+ flow", said), "nothing goes"
            assert await carried(rig, "s3") >= slices
            return f"{VN}: revision" in said and "registered" in said

        await eventually(away, "the agent is known to be away, and another daemon stands")
        rig.stop("agent-s3", signal.SIGKILL)
        await refit(rig, square(9))
        log = rig.log("agent-s3").read_text()
        rig.start_agent("s3")
        await eventually(back, "the agent of the old path is back")
        await eventually(held_back, "the leader says what it waits for")
        larger = with_flowspace(await vn_now(rig, VN), "web", 80)
        await rig.until_completed(VN, await change(rig, larger), {"s1", "s2", "s3"})
        assert await stamped() == before
        found = await rig.all_flows()
        assert all(found[name] > flows[name] for name in ("s1", "s2"))  # all stays, and more
        assert found["s3"] >= flows["s3"]
        rig.stop("agent-s3", signal.SIGKILL)
        log = rig.log("agent-s3").read_text()
        rig.start_agent("s3")
        await eventually(back, "the agent of the old path is back")
        rig.stop("vnc1", signal.SIGKILL)
        leader = "vnc2"
        await eventually(held_back, "the new leader waits for it, too")
        now = await rig.all_flows()
        assert all(now[name] >= found[name] for name in found) and await stamped() == before
        assert await there() == {"s1", "s2", "s3", "s4"}
        rig.start_agent("s4")
        await eventually(taken, "packets take the new path")
        await until_equal(rig, larger)
        await eventually(well, "the leader waits for nothing")
        assert await there() == {"s1", "s2", "s4"}
    finally:
        await rig.close()
