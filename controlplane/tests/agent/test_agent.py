"""The agent on a real switch process and a real database."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import shutil
import signal
import sys
from collections.abc import Callable

import msgspec
import pytest
from dfvisor.agent import agent as agent_module
from dfvisor.agent.link import Link, Written
from dfvisor.agent.making import exact
from dfvisor.agent.planner import Planner
from dfvisor.model.records import Endpoint, Rate, Slice
from dfvisor.model.types import Mac, PortRef
from dfvisor.p4rt.entries import Changes, Meter, MulticastGroup, TableEntry
from dfvisor.p4rt.errors import SwitchUnavailable
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.streamed import PacketOut
from dfvisor.store.database import GlobalDatabase, VnSnapshot
from emulation.zookeeper import ZooKeeperServer

from .changing import change, snapshot, with_vn, without_slice, without_vn
from .networks import demo
from .rig import PIPELINE, SWITCH, TARGET, WAIT_S, Rig, eventually

pytestmark = [pytest.mark.zk, pytest.mark.switch]


def wrote(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("wrote")]


async def test_empty_switch_gets_all_that_the_database_says(rig: Rig) -> None:
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        await rig.wait_until_applied("blue", 1)
        assert await rig.held() == rig.expected(demo())
        assert rig.database is not None
        applied = (await rig.database.read_applied())[SWITCH]
        assert applied.fabric == 1
        assert set(applied.vns) == {"red", "blue"}  # green has nothing at s1
        assert {vn.error for vn in applied.vns.values()} == {None}


async def test_agent_announces_itself_and_publishes_counters(rig: Rig) -> None:
    await rig.put(demo())
    async with rig.agent():
        assert rig.database is not None
        database = rig.database

        async def published() -> bool:
            return await database.read_stats(SWITCH) is not None

        await eventually(published, "counters are published")
        stats = await database.read_stats(SWITCH)
        assert stats is not None
        assert {counter.vn for counter in stats.counters} == {"red", "blue"}
        assert {port.port for port in stats.ports} == {1, 2, 11, 12}
        info = (await database.read_agents())[SWITCH]
        assert (info.slicer, info.device_id) == ("127.0.0.1:4711", 1)
        assert info.switch_address == rig.switch.address

    async def gone() -> bool:
        return SWITCH not in await database.read_agents()

    await eventually(gone, "the agent is no longer live")


async def test_database_written_after_the_start_is_followed(rig: Rig) -> None:
    async with rig.agent():
        await rig.put(demo())
        await rig.wait_until_applied("red", 1)
        await rig.wait_until_equal(demo())


async def test_agent_restarted_writes_nothing(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_equal(demo())
    assert await rig.held() == rig.expected(demo())  # it leaves the switch as it is
    caplog.set_level(logging.INFO)
    caplog.clear()
    async with rig.agent():

        async def serving() -> bool:
            return rig.slicer is not None and rig.slicer.serving

        await eventually(serving, "the slicer serves")
        await rig.wait_until_applied("red", 1)
    assert wrote(caplog) == []
    assert "pipeline pushed" not in caplog.text
    assert await rig.held() == rig.expected(demo())


async def test_agent_without_its_local_database_takes_the_switch_over(rig: Rig) -> None:
    await rig.put(demo())
    for _ in range(2):  # two boots, so that a new start is outranked
        async with rig.agent():
            await rig.wait_until_equal(demo())
    shutil.rmtree(rig.data)
    rig.data.mkdir()
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        await rig.wait_until_equal(demo())


async def test_agent_that_knows_nothing_waits_for_the_whole_database(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running switch is not cleared because its VNs are read later than the fabric."""
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_equal(demo())
    shutil.rmtree(rig.data)
    rig.data.mkdir()
    read_vn = GlobalDatabase.read_vn

    async def slowly(
        database: GlobalDatabase, name: str, watch: Callable[[], None] | None = None
    ) -> VnSnapshot | None:
        await asyncio.sleep(0.5)
        return await read_vn(database, name, watch)

    monkeypatch.setattr(GlobalDatabase, "read_vn", slowly)
    monkeypatch.setattr(agent_module, "DATABASE_GRACE_S", 0.1)
    caplog.set_level(logging.INFO)
    caplog.clear()
    async with rig.agent():

        async def serving() -> bool:
            return rig.slicer is not None and rig.slicer.serving

        rig.slicer = None
        await eventually(serving, "the slicer serves")
    assert wrote(caplog) == []
    assert await rig.held() == rig.expected(demo())


async def test_switch_restarted_gets_everything_back(rig: Rig) -> None:
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.slicer is not None and rig.slicer.replays == 0
        rig.switch.kill()
        rig.switch.start()
        await rig.wait_until_equal(demo())

        async def replayed() -> bool:
            return rig.slicer is not None and rig.slicer.replays == 1

        await eventually(replayed, "flow entries are replayed")


async def test_change_of_a_vn_writes_only_its_difference(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await rig.put(demo())
    red = demo().vns["red"]
    flowspaces = {name: one for name, one in red.flowspaces.items() if name != "no-telnet"}
    changed = dataclasses.replace(red, flowspaces=flowspaces)
    async with rig.agent():
        await rig.wait_until_equal(demo())
        caplog.clear()
        await rig.wait_until_applied("red", await change(rig, changed))
        assert wrote(caplog) == ["wrote 0 inserts, 0 modifies, 1 deletes"]
        assert await rig.held() == rig.expected(with_vn(demo(), changed))


async def test_change_of_the_fabric_moves_routes(rig: Rig) -> None:
    await rig.put(demo())
    fabric = demo().fabric
    kept = tuple(link for link in fabric.links if "s2" not in (link.a.switch, link.b.switch))
    around = dataclasses.replace(
        fabric,
        links=(
            *kept,
            *(dataclasses.replace(link, cost=50) for link in fabric.links if link not in kept),
        ),
    )
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.database is not None
        base = await rig.database.read_fabric()
        await rig.database.apply_fabric(base, around, base.tenants)
        changed = dataclasses.replace(demo(), fabric=around)
        await rig.wait_until_equal(changed)
        assert rig.expected(changed) != rig.expected(demo())


async def test_slice_deleted_is_dropped_and_its_number_free_again(rig: Rig) -> None:
    await rig.put(demo())
    red = without_slice(demo().vns["red"], "gold")
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.slicer is not None
        gold = rig.slicer.directory.slice_id("red", "gold")
        revision = await change(rig, red)
        await rig.wait_until_applied("red", revision)
        assert rig.slicer.directory.slice_id("red", "gold") == gold  # for packets under way
        rig.slicer.directory.flows_completed("red", revision)

        async def dropped() -> bool:
            return rig.slicer is not None and rig.slicer.dropped == [gold]

        await eventually(dropped, "the slicer dropped the slice")
        assert rig.slicer.directory.slice_id("red", "gold") is None
        await rig.wait_until_equal(with_vn(demo(), red))
        await rig.wait_until_applied("red", await change(rig, demo().vns["red"]))
        assert rig.slicer.directory.slice_id("red", "gold") == gold


async def test_vn_deleted_leaves_the_others_alone(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_equal(demo())
        caplog.clear()
        assert rig.database is not None
        await rig.database.delete_vn(await snapshot(rig, "red"))
        await rig.wait_until_gone("red")
        assert await rig.held() == rig.expected(without_vn(demo(), "red"))
        (line,) = wrote(caplog)
        assert line.startswith("wrote 0 inserts, 5 modifies, ")  # its meters, reset
        assert rig.slicer is not None and len(rig.slicer.dropped) == 2


async def test_vn_deleted_while_the_agent_was_away_is_removed(rig: Rig) -> None:
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_equal(demo())
    assert rig.database is not None
    await rig.database.delete_vn(await snapshot(rig, "red"))
    async with rig.agent():
        await rig.wait_until_gone("red")
        await rig.wait_until_equal(without_vn(demo(), "red"))


async def test_strange_entries_are_removed_and_flows_of_known_slices_stay(rig: Rig) -> None:
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.slicer is not None
        gold = rig.slicer.directory.slice_id("red", "gold")
    assert gold is not None
    strange = [
        TableEntry("vtep", exact(outer_dst=77), 0, "terminate"),
        MulticastGroup(900, frozenset({(1, 0)})),
        TableEntry("flow", exact(slice_id=999), 5, "permit", (("cookie", 1),)),
    ]
    flow = TableEntry("flow", exact(slice_id=gold), 5, "permit", (("cookie", 1),))
    async with rig.client(boot=1) as client:
        await client.become_primary(WAIT_S)
        await client.write([PIPELINE.schema.insert(item) for item in (*strange, flow)])
    async with rig.agent():
        await rig.wait_until_equal(demo())

        async def serving() -> bool:
            return rig.slicer is not None and rig.slicer.serving

        await eventually(serving, "the slicer serves")
        async with rig.client() as client:
            assert await client.read_entries("flow") == [flow]


async def test_slicer_reads_and_writes_through_the_agent(rig: Rig) -> None:
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_equal(demo())

        async def serving() -> bool:
            return rig.slicer is not None and rig.slicer.serving

        await eventually(serving, "the slicer serves")
        assert rig.slicer is not None
        port, schema = rig.slicer.switch, PIPELINE.schema
        gold = rig.slicer.directory.slice_id("red", "gold")
        assert gold is not None
        flow = TableEntry("flow", exact(slice_id=gold), 5, "permit", (("cookie", 1),))
        again = await port.write([schema.insert(flow), schema.insert(flow)])
        assert [status.code for status in again] == [0, 6]
        request = p4r.ReadRequest()
        request.entities.add().table_entry.table_id = schema.table("flow").id
        assert [schema.decode(entity) for entity in await port.read(request)] == [flow]
        rig.slicer.directory.flows_completed("red", 1)
        assert rig.database is not None
        database = rig.database

        async def completed() -> bool:
            return (await database.read_applied())[SWITCH].vns["red"].flows == 1

        await eventually(completed, "completed flows are published")
    async with rig.agent():  # the switch still has them
        await rig.wait_until_applied("red", 1)
        await eventually(completed, "flows are still complete")
    rig.switch.kill()
    rig.switch.start()

    async def forgotten() -> bool:
        return (await database.read_applied())[SWITCH].vns["red"].flows == 0

    async with rig.agent():  # nobody has them any more
        await eventually(forgotten, "flows are not complete")


async def test_agent_goes_on_without_the_database(tmp_path, own_zookeeper: ZooKeeperServer) -> None:
    rig = Rig(tmp_path, f"{own_zookeeper.address}/own")
    rig.switch.start()
    try:
        database = await rig.connect()
        await rig.put(demo())
        red = without_slice(demo().vns["red"], "gold")
        async with rig.agent():
            await rig.wait_until_equal(demo())
            own_zookeeper.stop()
            rig.switch.kill()  # it comes back although the database is away
            rig.switch.start()
            await rig.wait_until_equal(demo())
        rig.switch.kill()
        rig.switch.start()
        async with rig.agent():  # a start without the database
            await rig.wait_until_equal(demo())
            own_zookeeper.start()

            async def connected() -> bool:
                return database.connected

            await eventually(connected, "the database is back")
            await rig.wait_until_applied("red", await change(rig, red))
            await rig.wait_until_equal(with_vn(demo(), red))
    finally:
        rig.switch.kill()
        if rig.database is not None:
            await rig.database.close()


async def test_agent_that_lost_its_standing_comes_back_when_nobody_is_primary(rig: Rig) -> None:
    await rig.put(demo())
    red = without_slice(demo().vns["red"], "gold")
    async with rig.agent():
        await rig.wait_until_equal(demo())
        async with rig.client(boot=1_000_000) as other:
            await other.become_primary(WAIT_S)
            await change(rig, red)
            for _ in range(20):  # the other one is primary: nothing is written behind its back
                assert await rig.held() == rig.expected(demo())
        await rig.wait_until_equal(with_vn(demo(), red))


async def test_change_written_in_part_is_completed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch takes half of a batch, and nobody learns what became of it."""
    await rig.put(demo())
    carry_out = Link.carry_out
    losses: list[int] = []
    lose = False

    async def losing(link: Link, changes: Changes) -> list[Written]:
        nonlocal lose
        if not lose or not len(changes):
            return await carry_out(link, changes)
        lose = False
        half = dataclasses.replace(changes, deletes=changes.deletes[: len(changes.deletes) // 2])
        losses.append(len(await carry_out(link, half)))
        raise SwitchUnavailable("no answer")

    monkeypatch.setattr(Link, "carry_out", losing)
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.slicer is not None and rig.database is not None
        lose = True
        await rig.database.delete_vn(await snapshot(rig, "red"))
        await rig.wait_until_gone("red")
        await rig.wait_until_equal(without_vn(demo(), "red"))
        assert losses[0] > 5
        assert rig.slicer.directory.vns() == ["blue"]

        async def dropped() -> bool:
            return rig.slicer is not None and len(rig.slicer.dropped) == 2

        await eventually(dropped, "both slices are dropped")


async def test_another_program_in_the_switch_is_replaced(rig: Rig) -> None:
    await rig.put(demo())
    group = MulticastGroup(900, frozenset({(1, 0)}))
    async with rig.client(boot=1) as client:
        await client.connect(WAIT_S)
        await client.become_primary(WAIT_S)
        await client.set_pipeline(PIPELINE.schema, PIPELINE.device_config, PIPELINE.cookie + 1)
        await client.write([PIPELINE.schema.insert(group)])
    async with rig.agent():
        await rig.wait_until_equal(demo())


async def test_command_ends_on_sigterm_and_leaves_the_switch_as_it_is(rig: Rig) -> None:
    await rig.put(demo())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dfvisor.agent.main",
        *("--switch", SWITCH, "--p4runtime", rig.switch.address),
        *("--zookeeper", rig.zookeeper, "--data-dir", str(rig.data), "--target", TARGET),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await rig.wait_until_applied("red", 1)
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.wait_for(process.communicate(), WAIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    assert "Traceback" not in said.decode()
    assert await rig.held() == rig.expected(demo())


STRANGER = 0x02000000BEEF
HELLO = bytes.fromhex("ffffffffffff02000000beef88b5") + bytes(46)
LLDP = bytes.fromhex("0180c200000e02000000000988cc") + bytes(50)


async def give(rig: Rig, payload: bytes, port: int) -> None:
    """Have the switch receive a packet at a port."""
    agent = rig.running
    assert agent is not None

    async def given() -> bool:
        try:
            agent.send_packet(PacketOut(payload, {"port": port, "as_ingress": 1}))
        except SwitchUnavailable:
            return False
        return True

    await eventually(given, "the agent is connected")


async def test_stranger_of_a_learning_vn_is_learned_and_reported(rig: Rig) -> None:
    network = with_vn(demo(), dataclasses.replace(demo().vns["red"], learning=True))
    await rig.put(network)
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        await rig.wait_until_equal(network)
        await give(rig, HELLO, 11)
        learned = {"red": {STRANGER: 11}}
        await rig.wait_until_equal(network, learned)
        assert rig.database is not None
        database = rig.database

        async def reported() -> bool:
            record = (await database.read_applied()).get(SWITCH)
            return record is not None and record.vns["red"].learned == {"02:00:00:00:be:ef": 11}

        await eventually(reported, "the host is in the agent's report")
        await change(rig, dataclasses.replace(network.vns["red"], learning=False))
        await rig.wait_until_applied("red", 2)
        await rig.wait_until_equal(demo())
        assert (await database.read_applied())[SWITCH].vns["red"].learned == {}


async def test_packet_in_is_counted_and_kept(rig: Rig) -> None:
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        assert rig.running is not None
        inbox = rig.running.inbox
        await give(rig, LLDP, 1)  # a fabric port

        async def counted() -> bool:
            return inbox.counts["discovery"] == 1

        await eventually(counted, "the packet-in is counted")
        assert inbox.packets[0].payload == LLDP
        assert inbox.packets[0].metadata["port"] == 1


async def test_meters_of_rates_changed_and_removed_follow(rig: Rig) -> None:
    network = demo()
    red = network.vns["red"]
    await rig.put(network)
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        rate = Rate(committed_bps=1_000_000, peak_bps=2_000_000)
        flowspace = msgspec.structs.replace(red.flowspaces["gold-tcp"], rate=rate)
        metered = dataclasses.replace(
            red, flowspaces={**red.flowspaces, "gold-tcp": flowspace}, flood_pps=500
        )
        await change(rig, metered)
        await rig.wait_until_applied("red", 2)
        held = await rig.held()
        assert held == rig.expected(with_vn(network, metered))
        assert {one.meter for one in held if isinstance(one, Meter)} >= {
            "flow_meters",
            "flood_meters",
            "punt_meters",
        }
        await change(rig, red)
        await rig.wait_until_applied("red", 3)
        assert await rig.held() == rig.expected(network)


async def test_link_that_becomes_dearer_leaves_the_group_and_comes_back(rig: Rig) -> None:
    network = demo()
    await rig.put(network)
    async with rig.agent():
        await rig.wait_until_equal(network)
        dearer = tuple(
            dataclasses.replace(one, cost=one.cost + 1)
            if {one.a.switch, one.b.switch} == {"s2", "s4"}
            else one
            for one in network.fabric.links
        )
        changed = dataclasses.replace(
            network, fabric=dataclasses.replace(network.fabric, links=dearer)
        )
        assert rig.database is not None
        for wanted in (changed, network):
            base = await rig.database.read_fabric()
            await rig.database.apply_fabric(base, wanted.fabric, wanted.tenants)
            await rig.wait_until_equal(wanted)


async def test_revision_that_no_controller_sees_to_takes_effect_in_part_after_a_while(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since it was read, or since a controller was last heard of it."""
    monkeypatch.setattr(agent_module, "ACTIVATE_AFTER_S", 0.5)
    loop = asyncio.get_running_loop()
    asked: list[tuple[float, bool]] = []
    overdue = Planner.set_overdue

    def noted(planner: Planner, name: str, revision: int) -> bool:
        found = overdue(planner, name, revision)
        if (name, revision) == ("red", 2):
            asked.append((loop.time(), found))
        return found

    monkeypatch.setattr(Planner, "set_overdue", noted)
    await rig.put(demo())
    red = demo().vns["red"]
    profile = next(iter(red.profiles))
    end = Endpoint(name="new", mac=Mac(0x02_00_00_00_00_99), ips=(), port=PortRef(SWITCH, 78))
    coming = dataclasses.replace(
        red,
        endpoints={**red.endpoints, "new": end},
        slices={**red.slices, "new": Slice(name="new", key=0x99, profile=profile)},
    )
    async with rig.agent(), await GlobalDatabase.connect(rig.zookeeper) as tenant:
        await rig.wait_until_applied("red", 1)
        await tenant.apply(await tenant.read_vn("red"), coming)
        assert rig.slicer is not None
        assert await rig.slicer.directory.wait_for_revision("red", 2, WAIT_S)
        heard = loop.time()
        rig.slicer.directory.flows_written("red", 2)

        async def in_part() -> bool:
            held = (await tenant.read_applied())[SWITCH].vns["red"]
            return held.error is not None and "waits for a controller" in held.error

        await eventually(in_part, "the part that waits for nobody has taken effect")
        ((at, waited),) = asked
        assert waited and at >= heard + 0.499
        keys = [
            dict(one.key)
            for one in await rig.held()
            if isinstance(one, TableEntry) and one.table == "access_port"
        ]
        assert exact(port=78)[0] in [("port", key["port"]) for key in keys]
