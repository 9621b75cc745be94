"""The VN controller with real agents, switches and a real database."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from dfvisor.model.records import (
    Flowspace,
    Match,
    Slice,
)
from dfvisor.model.types import PortRange, PortRef
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import Exact
from dfvisor.p4rt.errors import RpcFailed, SwitchUnavailable
from dfvisor.store import layout
from dfvisor.store.export import parse, restore, take
from dfvisor.store.zk import ZooKeeper
from dfvisor.vnc.compile import compile_vn
from emulation.zookeeper import ZooKeeperServer

from controlplane.tests.store.harness import Proxy
from controlplane.tests.vnc.rig import (
    Rig,
    change,
    eventually,
    shape,
    until_equal,
    vn_now,
    with_flowspace,
)

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


async def until_connected(rig: Rig) -> None:
    async def connected() -> bool:
        return rig.database.connected

    await eventually(connected, "the database is back")


async def test_daemon_writes_the_entries_and_reports_them_complete(rig: Rig) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    await until_equal(rig, await vn_now(rig, VN))
    active = await rig.database.read_active(VN)
    assert active is not None and active.leader == "vnc1" and active.election_id > 0
    ids = {entry.field("slice_id") for found in (await rig.all_flows()).values() for entry in found}
    assert all(isinstance(one, Exact) and 1 <= one.value <= 4095 for one in ids)


async def test_change_writes_only_the_difference(rig: Rig) -> None:
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    before = rig.written("vnc1")
    vn = with_flowspace(await vn_now(rig, VN), "web", 80)
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
    vn = await vn_now(rig, VN)
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
    vn = await vn_now(rig, VN)
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
    vn = with_flowspace(await vn_now(rig, VN), "web", 80)
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
    vn = with_flowspace(await vn_now(rig, VN), "web", 80)
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
    vn = with_flowspace(await vn_now(rig, VN), "web", 80)
    revision = await change(rig, vn)
    rig.start_agent("s1")
    await rig.until_completed(VN, revision)
    await until_equal(rig, vn)
    added = rig.written("vnc1")[len(written) :]
    assert all(line.endswith(" 1 inserts, 0 modifies, 0 deletes") for line in added)
    assert before["s1"] < await rig.flows("s1")


async def test_restored_copy_is_followed_by_all_and_older_leaders_are_refused(rig: Rig) -> None:
    """The epoch is part of election ids, so a leader of before the restore writes nothing more."""
    vn = await vn_now(rig, VN)
    rig.start_vnc("vnc1")
    await rig.until_completed(VN, 1)
    data, _ = await take(rig.database)
    later = with_flowspace(vn, "web", 80)
    revision = await change(rig, later)
    await rig.until_completed(VN, revision)
    await until_equal(rig, later)
    before = await rig.database.read_active(VN)
    done = await restore(rig.database, parse(data, "copy"), replace=True)
    assert done.epoch == 1 and await vn_now(rig, VN) == vn
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
        vn = with_flowspace(await vn_now(rig, VN), "web", 80)
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
        vn = with_flowspace(await vn_now(rig, VN), "web", 80)
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
        vn = with_flowspace(await vn_now(rig, VN), "web", 80)
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
