"""The VN controller with real agents, switches and a real database."""

from __future__ import annotations

import dataclasses
import re
import signal
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from dfvisor.model.records import (
    Fabric,
    Flowspace,
    Link,
    Match,
    Slice,
    Switch,
    VirtualNetwork,
)
from dfvisor.model.types import PortRange, PortRef
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import Exact, FieldMatch, TableEntry
from dfvisor.p4rt.errors import RpcFailed, SwitchUnavailable
from dfvisor.store import layout
from dfvisor.store.export import parse, restore, take
from dfvisor.store.zk import ZooKeeper
from dfvisor.vnc.compile import compile_vn
from emulation.zookeeper import ZooKeeperServer

from controlplane.tests.store.harness import Proxy
from controlplane.tests.vnc.rig import SCHEMA, Rig, eventually

pytestmark = [pytest.mark.zk, pytest.mark.switch]

EXAMPLES = Path(__file__).parents[3] / "examples"
NETWORK = load_network(EXAMPLES / "two-switches.yaml")
VN = "office"


@pytest.fixture
async def rig(tmp_path: Path, zookeeper: str) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, zookeeper, NETWORK)
    try:
        await made.open()
        yield made
    finally:
        await made.close()


async def change(rig: Rig, vn: VirtualNetwork) -> int:
    """Apply a change of the VN; its revision."""
    base = await rig.database.read_vn(vn.name)
    return (await rig.database.apply(base, vn)).revision


async def vn_now(rig: Rig) -> VirtualNetwork:
    snapshot = await rig.database.read_vn(VN)
    assert snapshot is not None
    return snapshot.vn


def with_flowspace(vn: VirtualNetwork, name: str, port: int) -> VirtualNetwork:
    flowspace = Flowspace(
        name=name,
        priority=20,
        match=Match(ip_proto=6, l4_dst=PortRange(port, port)),
        slice="voice",
    )
    return dataclasses.replace(vn, flowspaces={**vn.flowspaces, name: flowspace})


def shape(entries: frozenset[TableEntry]) -> set[tuple[object, ...]]:
    """Entries without what is numbered by the switch (slice ids and next hops), and without the
    path class, which depends on what was before.
    """

    def plain(name: str, match: FieldMatch) -> tuple[str, object]:
        return name, match.value > 0 if name == "path_class" else match

    return {
        (
            entry.table,
            tuple(plain(*field) for field in entry.key[1:]),
            entry.priority,
            entry.action,
            tuple(arg for arg in entry.args if arg[0] not in ("next_hop", "path_class")),
        )
        for entry in entries
    }


async def until_equal(rig: Rig, vn: VirtualNetwork) -> None:
    """Until each switch has the entries that the VN asks for, and no others."""
    wanted = compile_vn(rig.network.fabric, vn)

    async def equal() -> bool:
        held = await rig.all_flows()
        return all(
            shape(found) == shape(wanted.get(switch, frozenset())) for switch, found in held.items()
        )

    await eventually(equal, "the switches hold what the VN asks for")


async def until_connected(rig: Rig) -> None:
    async def connected() -> bool:
        return rig.database.connected

    await eventually(connected, "the database is back")


async def test_daemon_writes_the_entries_and_reports_them_complete(rig: Rig) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    await until_equal(rig, await vn_now(rig))
    active = await rig.database.read_active(VN)
    assert active is not None and active.leader == "vnc1" and active.election_id > 0
    ids = {entry.field("slice_id") for found in (await rig.all_flows()).values() for entry in found}
    assert all(isinstance(one, Exact) and 1 <= one.value <= 4095 for one in ids)


async def test_change_writes_only_the_difference(rig: Rig) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    before = rig.written("vnc1")
    vn = with_flowspace(await vn_now(rig), "web", 80)
    await rig.until_completed(VN, await change(rig, vn))
    await until_equal(rig, vn)
    added = rig.written("vnc1")[len(before) :]
    assert len(added) == len(NETWORK.fabric.switches)
    assert all(line.endswith(" 1 inserts, 0 modifies, 0 deletes") for line in added)

    revision = await change(rig, NETWORK.vns[VN])
    await rig.until_completed(VN, revision)
    await until_equal(rig, NETWORK.vns[VN])
    removed = rig.written("vnc1")[len(before) + len(added) :]
    assert all(line.endswith(" 0 inserts, 0 modifies, 1 deletes") for line in removed)


async def test_new_slice_is_programmed_and_a_deleted_one_leaves_nothing(rig: Rig) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    vn = await vn_now(rig)
    bulk = Slice(name="bulk", key=0xFEDC_BA98, profile="voice")
    larger = dataclasses.replace(
        vn,
        slices={**vn.slices, "bulk": bulk},
        flowspaces={
            **vn.flowspaces,
            "bulk": Flowspace(
                name="bulk",
                priority=30,
                match=Match(ip_proto=6, l4_dst=PortRange(9000, 9000)),
                slice="bulk",
            ),
        },
    )
    await rig.until_completed(VN, await change(rig, larger))
    await until_equal(rig, larger)
    await rig.until_completed(VN, await change(rig, vn))
    await until_equal(rig, vn)


async def test_vn_that_is_deleted_leaves_no_entries(rig: Rig) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    snapshot = await rig.database.read_vn(VN)
    assert snapshot is not None
    await rig.database.delete_vn(snapshot)

    async def empty() -> bool:
        return not any((await rig.all_flows()).values()) and VN not in rig.status("vnc1")

    await eventually(empty, "no flow entry is left")


async def test_slice_that_went_and_came_back_unseen_is_programmed_again(rig: Rig) -> None:
    """The controller sleeps through the revision without the slice; its agents do not."""
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    vn = await vn_now(rig)
    without = dataclasses.replace(
        vn,
        slices={name: one for name, one in vn.slices.items() if one.best_effort},
        flowspaces={},
    )
    rig.send("vnc1", signal.SIGSTOP)
    await change(rig, without)

    async def dropped() -> bool:
        return not any((await rig.all_flows()).values())

    await eventually(dropped, "the agents have dropped the slice's entries")
    revision = await change(rig, vn)
    rig.send("vnc1", signal.SIGCONT)
    await rig.until_completed(VN, revision)
    await until_equal(rig, vn)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
async def test_second_daemon_takes_over_and_writes_nothing(
    rig: Rig, number: signal.Signals
) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    rig.start_vnc("vnc2")

    async def standing() -> bool:
        return len(await rig.database.read_owners(VN)) == 2

    await eventually(standing, "the second stands")
    before = await rig.all_flows()
    updates = {switch: len(found) for switch, found in before.items()}
    await rig.until_updated(VN, updates)
    assert rig.stop("vnc1", number) == (0 if number is signal.SIGTERM else -number)

    async def taken_over() -> bool:
        assert await rig.all_flows() == before, "entries flap"
        return rig.leads("vnc2") == [VN]

    began = time.monotonic()
    await eventually(taken_over, "the second leads")
    took_s = time.monotonic() - began
    assert took_s < (1.5 if number is signal.SIGTERM else 5.0), took_s
    vn = with_flowspace(await vn_now(rig), "web", 80)
    await rig.until_completed(VN, await change(rig, vn))
    await until_equal(rig, vn)
    written = rig.written("vnc2")
    assert all(line.endswith(" 1 inserts, 0 modifies, 0 deletes") for line in written)
    assert len(written) == len(NETWORK.fabric.switches)
    await rig.until_updated(VN, {switch: count + 1 for switch, count in updates.items()})
    active = await rig.database.read_active(VN)
    assert active is not None and active.leader == "vnc2"


async def test_leader_that_was_paused_is_refused_when_it_comes_back(rig: Rig) -> None:
    """It still believes to lead; its election id is older than the new leader's."""
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    rig.start_vnc("vnc2")

    async def standing() -> bool:
        return len(await rig.database.read_owners(VN)) == 2

    await eventually(standing, "the second stands")
    updates = {switch: len(found) for switch, found in (await rig.all_flows()).items()}
    rig.send("vnc1", signal.SIGSTOP)

    async def taken_over() -> bool:
        return rig.leads("vnc2") == [VN]

    await eventually(taken_over, "the second leads")
    vn = with_flowspace(await vn_now(rig), "web", 80)
    await rig.until_completed(VN, await change(rig, vn))
    before = rig.written("vnc1")
    said = len(rig.log("vnc1").read_text())
    rig.send("vnc1", signal.SIGCONT)

    async def noticed() -> bool:  # it may be handed the VN again before long
        return "connections to slicers end" in rig.log("vnc1").read_text()[said:]

    await eventually(noticed, "the first sees that it does not lead")
    await until_equal(rig, vn)
    assert rig.written("vnc1") == before
    vn = with_flowspace(vn, "mail", 25)  # whoever leads now writes this, and nobody anything else
    await rig.until_completed(VN, await change(rig, vn))
    await rig.until_updated(VN, {switch: count + 2 for switch, count in updates.items()})


async def test_switch_that_restarts_gets_its_entries_back_without_a_controller(rig: Rig) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    rig.stop("vnc1")
    rig.stop("s1", signal.SIGKILL)
    rig.start_switch("s1")

    async def back() -> bool:
        try:
            return shape(await rig.flows("s1")) == shape(
                compile_vn(NETWORK.fabric, NETWORK.vns[VN])["s1"]
            )
        except (SwitchUnavailable, RpcFailed):
            return False  # it is not up yet, or has no pipeline

    await eventually(back, "the restarted switch has its flow entries")


async def test_agent_that_restarts_is_found_again_and_nothing_is_rewritten(rig: Rig) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    written = rig.written("vnc1")
    before = await rig.all_flows()
    rig.stop("agent-s1", signal.SIGKILL)
    vn = with_flowspace(await vn_now(rig), "web", 80)
    revision = await change(rig, vn)
    rig.start_agent("s1")
    await rig.until_completed(VN, revision)
    await until_equal(rig, vn)
    added = rig.written("vnc1")[len(written) :]
    assert all(line.endswith(" 1 inserts, 0 modifies, 0 deletes") for line in added)
    assert before["s1"] < await rig.flows("s1")


async def test_restored_copy_is_followed_by_all_and_older_leaders_are_refused(rig: Rig) -> None:
    """The epoch is part of election ids, so a leader of before the restore writes nothing more."""
    vn = await vn_now(rig)
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    data, _ = await take(rig.database)
    later = with_flowspace(vn, "web", 80)
    revision = await change(rig, later)
    await rig.until_completed(VN, revision)
    await until_equal(rig, later)
    before = await rig.database.read_active(VN)
    done = await restore(rig.database, parse(data, "copy"), replace=True)
    assert done.epoch == 1 and await vn_now(rig) == vn
    found = await rig.database.read_vn(VN)
    assert found is not None and found.revision > revision
    await rig.until_completed(VN, found.revision)
    await until_equal(rig, vn)

    async def led() -> bool:
        active = await rig.database.read_active(VN)
        return active is not None and active.leader == "vnc1" and active.epoch == 1

    await eventually(led, "the leader has taken the new epoch")
    assert before is not None and before.epoch == 0
    agents = await rig.database.read_agents()
    for switch, agent in agents.items():
        client = P4RuntimeClient(
            agent.slicer,
            NETWORK.fabric.switches[switch].device_id,
            role=f"vn/{VN}",
            election_id=(before.epoch, before.election_id),
        )
        try:
            with pytest.raises(SwitchUnavailable, match=r"the leader's is .*epoch 1"):
                await client.become_primary(5.0)
        finally:
            await client.close()
    larger = with_flowspace(vn, "mail", 25)
    await rig.until_completed(VN, await change(rig, larger))
    await until_equal(rig, larger)


async def test_database_that_is_away_stops_writes_and_nothing_else(
    tmp_path: Path, own_zookeeper: ZooKeeperServer
) -> None:
    rig = Rig(tmp_path, f"{own_zookeeper.address}/dfvisor", NETWORK)
    try:
        await rig.open()
        rig.start_vnc("vnc1")
        await rig.until_completed(VN, 1)
        before = await rig.all_flows()
        written = rig.written("vnc1")
        own_zookeeper.stop()

        async def given_up() -> bool:
            assert await rig.all_flows() == before
            return rig.leads("vnc1") == []

        await eventually(given_up, "nobody leads without a database")
        assert rig.written("vnc1") == written
        own_zookeeper.start()
        await until_connected(rig)
        vn = with_flowspace(await vn_now(rig), "web", 80)
        await rig.until_completed(VN, await change(rig, vn))
        await until_equal(rig, vn)
    finally:
        await rig.close()


async def test_session_that_expires_gives_the_lead_up_and_it_is_won_anew(rig: Rig) -> None:
    place, _, chroot = rig.zookeeper.partition("/")
    async with Proxy(int(place.rpartition(":")[2])) as proxy:
        rig.start_vnc("vnc1", f"127.0.0.1:{proxy.port}/{chroot}")
        await rig.until_completed(VN, 1)
        first = await rig.database.read_active(VN)
        before = await rig.all_flows()
        written = rig.written("vnc1")
        proxy.refusing = True
        proxy.cut()

        async def given_up() -> bool:
            return rig.leads("vnc1") == []

        async def expired() -> bool:
            return await rig.database._zk.children(layout.owners(VN)) == []

        await eventually(given_up, "nobody leads without a database")
        await eventually(expired, "the session has expired")
        proxy.refusing = False

        async def led_anew() -> bool:
            assert await rig.all_flows() == before, "entries flap"
            active = await rig.database.read_active(VN)
            assert first is not None and active is not None
            return active.election_id > first.election_id and rig.leads("vnc1") == [VN]

        await eventually(led_anew, "the lead is won anew")
        assert rig.written("vnc1") == written
        vn = with_flowspace(await vn_now(rig), "web", 80)
        await rig.until_completed(VN, await change(rig, vn))
        await until_equal(rig, vn)


async def test_daemon_that_starts_without_a_database_waits_for_it(
    tmp_path: Path, own_zookeeper: ZooKeeperServer
) -> None:
    rig = Rig(tmp_path, f"{own_zookeeper.address}/dfvisor", NETWORK)
    try:
        await rig.open()
        own_zookeeper.stop()
        rig.start_vnc("vnc1")

        async def waiting() -> bool:
            return "waiting: " in rig.log("vnc1").read_text()

        await eventually(waiting, "the daemon says that it waits")
        own_zookeeper.start()
        await until_connected(rig)
        await rig.until_completed(VN, 1)
    finally:
        await rig.close()


@pytest.mark.parametrize("connected_before", [True, False])
async def test_daemon_ends_at_once_while_the_database_is_away(
    tmp_path: Path, own_zookeeper: ZooKeeperServer, connected_before: bool
) -> None:
    rig = Rig(tmp_path, f"{own_zookeeper.address}/dfvisor", NETWORK)
    try:
        await rig.open()
        if connected_before:
            rig.start_vnc("vnc1")
            await rig.until_completed(VN, 1)
            own_zookeeper.stop()
        else:
            own_zookeeper.stop()
            rig.start_vnc("vnc1")

        async def noticed() -> bool:
            log = rig.log("vnc1").read_text()
            return "waiting: " in log or "the database is away" in log

        await eventually(noticed, "the daemon has noticed")
        began = time.monotonic()
        assert rig.stop("vnc1") == 0
        assert time.monotonic() - began < 3.0
    finally:
        await rig.close()


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
        larger = with_flowspace(await vn_now(rig), "web", 80)
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


async def test_bad_record_leaves_its_vn_as_it_is_and_the_others_alone(
    tmp_path: Path, zookeeper: str
) -> None:
    office = NETWORK.vns[VN]
    lab = dataclasses.replace(
        office,
        name="lab",
        slices={
            "default": Slice(name="default", key=11),
            "voice": Slice(name="voice", key=12, profile="voice"),
        },
        endpoints={
            name: dataclasses.replace(one, port=PortRef(one.port.switch, one.port.port + 1))
            for name, one in office.endpoints.items()
        },
    )
    rig = Rig(tmp_path, zookeeper, dataclasses.replace(NETWORK, vns={VN: office, "lab": lab}))
    zk = await ZooKeeper(zookeeper).start()
    try:
        await rig.open()
        rig.start_vnc("vnc1")
        await rig.until_completed(VN, 1)
        await rig.until_completed("lab", 1)
        before = await rig.all_flows()
        good, _ = await zk.get(f"/vns/{VN}/revision")
        await zk.set(f"/vns/{VN}/revision", b"not a record")

        async def noticed() -> bool:
            return bool(rig.status("vnc1")[VN]["error"])

        await eventually(noticed, "the bad record is reported")
        larger = with_flowspace(lab, "web", 80)
        await rig.until_completed("lab", await change(rig, larger))
        assert all(before[switch] < held for switch, held in (await rig.all_flows()).items())

        await zk.set(f"/vns/{VN}/revision", good)
        vn = with_flowspace(await vn_now(rig), "web", 80)
        await rig.until_completed(VN, await change(rig, vn))

        async def well_again() -> bool:
            return rig.status("vnc1")[VN]["error"] == ""

        await eventually(well_again, "the error is gone")
    finally:
        await zk.close()
        await rig.close()


async def test_three_daemons_share_the_vns(tmp_path: Path, zookeeper: str) -> None:
    office = NETWORK.vns[VN]
    vns = {
        f"vn{number}": dataclasses.replace(
            office,
            name=f"vn{number}",
            slices={
                "default": Slice(name="default", key=1000 + number),
                "voice": Slice(name="voice", key=2000 + number, profile="voice"),
            },
            endpoints={},
            flowspaces={},
        )
        for number in range(12)
    }
    rig = Rig(tmp_path, zookeeper, dataclasses.replace(NETWORK, vns=vns))
    names = ("vnc1", "vnc2", "vnc3")
    try:
        await rig.open()
        for name in names:
            rig.start_vnc(name)

        async def all_led() -> bool:
            led = [vn for name in names for vn in rig.leads(name)]
            return sorted(led) == sorted(vns)

        await eventually(all_led, "every VN has one leader")
        rig.stop("vnc2")

        async def taken_over() -> bool:
            led = [vn for name in ("vnc1", "vnc3") for vn in rig.leads(name)]
            return sorted(led) == sorted(vns)

        await eventually(taken_over, "the others have taken over")
    finally:
        await rig.close()
