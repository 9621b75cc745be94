"""The client against a real switch process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from dfvisor.agent.pipeline import Pipeline
from dfvisor.p4rt.client import ElectionId, P4RuntimeClient
from dfvisor.p4rt.counters import CounterValue
from dfvisor.p4rt.entries import (
    CloneSession,
    DigestSubscription,
    Exact,
    Item,
    Lpm,
    Member,
    Meter,
    MeterConfig,
    MulticastGroup,
    TableEntry,
)
from dfvisor.p4rt.errors import NotPrimary, RpcFailed, SwitchUnavailable, WriteError
from dfvisor.p4rt.inspect import read_entries
from dfvisor.p4rt.streamed import DigestList, PacketIn, PacketOut, StreamEvent

from .conftest import CPU_PORT, TARGET, SwitchProcess

pytestmark = pytest.mark.switch

WAIT_S = 5.0


def policy(slice_id: int) -> TableEntry:
    names = "gre_key qos_level miss_policy queue dscp best_effort_slice best_effort_key dscp_yellow"
    args = tuple((name, 1) for name in names.split())
    return TableEntry("slice_policy", (("slice_id", Exact(slice_id)),), 0, "set_slice_policy", args)


def fabric_port(port: int) -> TableEntry:
    return TableEntry("access_port", (("port", Exact(port)),), 1, "set_fabric")


def underlay(*members: Member) -> TableEntry:
    return TableEntry("underlay", (("outer_dst", Lpm(0x0A000001, 32)),), 0, "", members=members)


def via(port: int, watch: bool = False) -> Member:
    args = (("port", port), ("mac", 0x02DF00000000 + port), ("mtu", 1500))
    return Member("route_to", args, port if watch else None)


@asynccontextmanager
async def client_of(
    switch: SwitchProcess,
    pipeline: Pipeline,
    election_id: ElectionId | None = (0, 1),
    on_event: Callable[[StreamEvent], None] | None = None,
) -> AsyncIterator[P4RuntimeClient]:
    client = P4RuntimeClient(
        switch.address,
        switch.device_id,
        election_id=election_id,
        schema=pipeline.schema,
        on_event=on_event,
    )
    try:
        await client.connect(WAIT_S)
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def primary_of(
    switch: SwitchProcess,
    pipeline: Pipeline,
    on_event: Callable[[StreamEvent], None] | None = None,
) -> AsyncIterator[P4RuntimeClient]:
    async with client_of(switch, pipeline, on_event=on_event) as client:
        await client.become_primary(WAIT_S)
        await client.set_pipeline(pipeline.schema, pipeline.device_config, pipeline.cookie)
        yield client


async def test_pipeline_pushed_is_read_back(switch: SwitchProcess, pipeline: Pipeline) -> None:
    async with client_of(switch, pipeline) as client:
        await client.become_primary(WAIT_S)
        assert await client.get_pipeline_cookie() is None
        assert await client.get_schema() is None
        await client.set_pipeline(pipeline.schema, pipeline.device_config, pipeline.cookie)
        assert await client.get_pipeline_cookie() == pipeline.cookie
        held = await client.get_schema()
        assert held is not None and held.tables == pipeline.schema.tables


async def test_entries_written_are_read_back(switch: SwitchProcess, pipeline: Pipeline) -> None:
    schema = pipeline.schema
    items = [policy(number) for number in range(1, 1201)]  # more than one batch
    group = MulticastGroup(5, frozenset({(1, 0), (2, 7)}))
    async with primary_of(switch, pipeline) as client:
        await client.write([schema.insert(item) for item in (*items, group)])
        assert set(await client.read_entries("slice_policy")) == set(items)
        assert set(await client.read_entries()) == set(items)
        assert await client.read_entries("vtep", "peer") == []
        assert await client.read_multicast() == [group]
        await client.write([schema.delete(item) for item in (*items, group)])
        assert await client.read_entries() == []
        assert await client.read_multicast() == []


async def test_write_that_fails_in_part_lists_every_failure(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    schema = pipeline.schema
    async with primary_of(switch, pipeline) as client:
        await client.write([schema.insert(policy(number)) for number in (3, 700)])
        with pytest.raises(WriteError) as refused:
            await client.write([schema.insert(policy(number)) for number in range(1, 1001)])
        sent = [schema.decode(failure.update.entity) for failure in refused.value.failures]
        assert sent == [policy(3), policy(700)]
        assert {failure.code for failure in refused.value.failures} == {6}  # ALREADY_EXISTS
        assert "2 of 1000 updates failed: ALREADY_EXISTS" in str(refused.value)
        assert len(await client.read_entries("slice_policy")) == 1000


async def test_batch_that_fails_whole_lists_every_failure(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    """500 errors are more trailing metadata than gRPC allows by default."""
    schema = pipeline.schema
    async with primary_of(switch, pipeline) as client:
        with pytest.raises(WriteError) as refused:
            await client.write([schema.delete(policy(number)) for number in range(1, 501)])
        assert len(refused.value.failures) == 500


async def test_default_entry_set_is_read_back(switch: SwitchProcess, pipeline: Pipeline) -> None:
    args = (("vtep", 0xC0000201), ("mac", 0x02DF00000001), ("hash_seed", 7))
    source = TableEntry("switch_config", (), 0, "set_switch_config", args, is_default=True)
    async with primary_of(switch, pipeline) as client:
        assert (await client.read_default("switch_config")).action == "NoAction"
        await client.write([pipeline.schema.modify(source)])
        assert await client.read_default("switch_config") == source
        reset = TableEntry("switch_config", (), 0, "", (), is_default=True)
        await client.write([pipeline.schema.modify(reset)])
        assert (await client.read_default("switch_config")).action == "NoAction"


async def test_counters_of_entries_and_cells_are_read(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    fabric = fabric_port(1)
    async with primary_of(switch, pipeline) as client:
        await client.write([pipeline.schema.insert(fabric)])
        (counted,) = await client.counters.direct("access_port", "slice")
        assert counted.entry == fabric
        assert (counted.counter.packets, counted.counter.bytes) == (0, 0)
        cells = await client.counters.cells("drops", range(0, 9000, 2))
        assert sorted(cells) == list(range(0, 9000, 2))
        for wanted in ((3, 1), (3, 1), tuple(range(5000))):  # in one request, again, and in more
            entries, some = await client.counters.statistics(
                ("access_port", "slice"), "drops", wanted
            )
            assert entries == [counted] and some == {cell: CounterValue(0, 0) for cell in wanted}
            entries, _ = await client.counters.statistics(
                ("access_port", "slice"), "drops", wanted, sparse=("access_port",)
            )
            assert entries == []


async def test_second_client_with_a_lower_id_is_not_primary(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    async with client_of(switch, pipeline, (0, 5)) as first:
        await first.become_primary(WAIT_S)
        async with client_of(switch, pipeline, (0, 4)) as second:
            with pytest.raises(NotPrimary) as refused:
                await second.become_primary(WAIT_S)
            assert not refused.value.vacant
            assert second.highest_election_id == (0, 5)
            with pytest.raises(RpcFailed):
                await second.write([pipeline.schema.insert(policy(1))])
        assert first.is_primary


async def test_client_outranked_is_told(switch: SwitchProcess, pipeline: Pipeline) -> None:
    standings: list[bool] = []
    lost = asyncio.Event()

    def on_standing(primary: bool) -> None:
        standings.append(primary)
        if not primary:
            lost.set()

    first = P4RuntimeClient(
        switch.address, switch.device_id, election_id=(0, 5), on_standing=on_standing
    )
    try:
        await first.become_primary(WAIT_S)
        async with client_of(switch, pipeline, (1, 0)) as second:
            await second.become_primary(WAIT_S)
            async with asyncio.timeout(WAIT_S):
                await lost.wait()
            assert not first.is_primary
    finally:
        await first.close()
    assert standings == [True, False]


async def test_late_comer_below_the_highest_id_learns_that_nobody_is_primary(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    """BMv2 makes the highest connected id primary instead, whatever it saw before."""
    async with client_of(switch, pipeline, (0, 5)) as first:
        await first.become_primary(WAIT_S)
    async with client_of(switch, pipeline, (0, 1)) as second, asyncio.timeout(WAIT_S):
        vacant = False
        while not vacant:  # the switch may not have noticed yet that the first one has left
            try:
                await second.become_primary(WAIT_S)
            except NotPrimary as refused:
                vacant = refused.vacant
            else:
                break
        assert vacant == (TARGET != "bmv2")
        assert second.is_primary == (TARGET == "bmv2")
        if vacant:
            assert second.highest_election_id == (0, 5)


async def test_switch_that_dies_ends_the_stream(switch: SwitchProcess, pipeline: Pipeline) -> None:
    async with primary_of(switch, pipeline) as client:
        switch.kill()
        async with asyncio.timeout(WAIT_S):
            await client.wait_lost()
        assert not client.is_primary
        with pytest.raises(SwitchUnavailable):
            await client.write([pipeline.schema.insert(policy(1))])


async def test_address_without_server_is_unavailable(pipeline: Pipeline) -> None:
    client = P4RuntimeClient("unix:/nonexistent", 1, election_id=(0, 1))
    try:
        with pytest.raises(SwitchUnavailable, match="no answer in"):
            await client.connect(0.2)
    finally:
        await client.close()


async def test_inspect_shows_entries_as_people_write_them(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    with pytest.raises(SwitchUnavailable, match="no pipeline"):
        await read_entries(switch.address, switch.device_id)
    async with primary_of(switch, pipeline) as client:
        key = (("vn", Exact(2)), ("eth_dst", Exact(0x020000000001)))
        bridge = TableEntry("bridge", key, 0, "bridge_local", (("next_hop", 4),))
        group = MulticastGroup(5, frozenset({(1, 0), (2, 7)}))
        await client.write([pipeline.schema.insert(item) for item in (bridge, group)])
        first, second = await read_entries(switch.address, switch.device_id)
    assert (first.table, first.match) == ("bridge", "vn=2 eth_dst=02:00:00:00:00:01")
    assert (first.action, first.packets) == ("bridge_local next_hop=4", 0)
    assert (second.table, second.match, second.action) == (
        "multicast",
        "group=5",
        "port=1 port=2 rid=7",
    )


async def test_action_sets_are_written_and_read_back(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    schema = pipeline.schema
    three = underlay(via(3), via(1, watch=True), via(2, watch=True))
    async with primary_of(switch, pipeline) as client:
        await client.write([schema.insert(three)])
        assert await client.read_entries("underlay") == [three]
        for changed in (underlay(via(2)), underlay(via(2), via(4, watch=True)), three):
            await client.write([schema.modify(changed)])
            assert await client.read_entries("underlay") == [changed]
        await client.write([schema.delete(three)])
        assert await client.read_entries("underlay") == []


async def test_meters_are_configured_read_back_and_reset(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    schema = pipeline.schema
    meters = [
        Meter("flow_meters", 16383, MeterConfig(125_000, 3000, 250_000, 6000)),
        Meter("slice_meters", 7, MeterConfig(1000, 3000, 1000, 3000)),
        Meter("punt_meters", 0, MeterConfig(100, 10, 100, 10)),
    ]
    async with primary_of(switch, pipeline) as client:
        assert await client.read_meters() == []
        await client.write([schema.modify(meter) for meter in meters])
        assert set(await client.read_meters()) == set(meters)
        assert await client.read_meters("slice_meters") == [meters[1]]
        await client.write([schema.modify(Meter("slice_meters", 7, None))])
        assert set(await client.read_meters()) == {meters[0], meters[2]}


async def test_clone_sessions_and_digests_are_written_and_read_back(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    schema = pipeline.schema
    session = CloneSession(1, frozenset({(CPU_PORT, 0)}))
    digest = DigestSubscription("learn_t", 0, 10, 1_000_000_000)
    async with primary_of(switch, pipeline) as client:
        assert await client.read_clone_sessions() == await client.read_digests() == []
        await client.write([schema.insert(session), schema.insert(digest)])
        assert await client.read_clone_sessions() == [session]
        assert await client.read_digests() == [digest]
        assert await client.read_multicast() == []
        items: list[Item] = [session, digest]
        await client.write([schema.delete(item) for item in items])
        assert await client.read_clone_sessions() == await client.read_digests() == []


LLDP = bytes.fromhex("0180c200000e02000000000988cc") + bytes(50)
ARP = bytes.fromhex("ffffffffffff02000000000b0806") + bytes(46)


async def test_packet_out_as_if_received_comes_back_as_packet_in(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    events: asyncio.Queue[StreamEvent] = asyncio.Queue()
    async with primary_of(switch, pipeline, events.put_nowait) as client:
        await client.write([pipeline.schema.insert(fabric_port(3))])
        client.send_packet(PacketOut(LLDP, {"port": 3, "as_ingress": 1}))
        async with asyncio.timeout(WAIT_S):
            event = await events.get()
    assert isinstance(event, PacketIn)
    assert event.payload == LLDP
    assert (event.metadata["port"], event.metadata["reason"]) == (3, 3)  # discovery


async def test_unknown_sender_is_reported_by_digest_until_acknowledged(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    events: asyncio.Queue[StreamEvent] = asyncio.Queue()
    args = (("vn", 5), ("best_effort_slice", 1), ("vid", 0), ("guarded", 0), ("learning", 1))
    access = TableEntry("access_port", (("port", Exact(11)),), 1, "set_access", args)
    digest = DigestSubscription("learn_t", 0, 1, 1_000_000_000)
    async with primary_of(switch, pipeline, events.put_nowait) as client:
        await client.write([pipeline.schema.insert(item) for item in (access, digest)])
        client.send_packet(PacketOut(ARP, {"port": 11, "as_ingress": 1}))
        async with asyncio.timeout(WAIT_S):
            event = await events.get()
            assert isinstance(event, DigestList)
            assert event.digest == "learn_t"
            no_address = {"ipv4": 0, "ipv6_high": 0, "ipv6_low": 0}
            assert event.messages == ({"vn": 5, "port": 11, "mac": 0x02000000000B} | no_address,)
            client.acknowledge(event)
            again: StreamEvent | None = None
            while again is None:  # the acknowledgement may come after the next packet
                client.send_packet(PacketOut(ARP, {"port": 11, "as_ingress": 1}))
                await asyncio.sleep(0.05)
                again = None if events.empty() else events.get_nowait()
    assert isinstance(again, DigestList)
    assert again.messages == event.messages and again.list_id != event.list_id


async def test_packet_without_stream_is_unavailable(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    async with client_of(switch, pipeline) as client:
        with pytest.raises(SwitchUnavailable, match="no stream"):
            client.send_packet(PacketOut(LLDP, {"port": 3}))


async def test_inspect_shows_sets_sessions_and_meters(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    schema = pipeline.schema
    key = (("vn", Exact(2)), ("target", Exact(0x0A000001)))
    items: list[Item] = [
        underlay(via(3), via(1, watch=True)),
        TableEntry("arp_responder", key, 0, "arp_reply", (("mac", 0x02000000000A),)),
        CloneSession(1, frozenset({(CPU_PORT, 0)})),
    ]
    meter = Meter("slice_meters", 7, MeterConfig(1000, 3000, 2000, 6000))
    async with primary_of(switch, pipeline) as client:
        await client.write([*map(schema.insert, items), schema.modify(meter)])
        rows = await read_entries(switch.address, switch.device_id)
    assert sorted((row.table, row.match, row.action) for row in rows) == [
        ("arp_responder", "vn=2 target=10.0.0.1", "arp_reply mac=02:00:00:00:00:0a"),
        ("clone", "session=1", "port=510"),
        ("slice_meters", "index=7", "cir=1000/3000 pir=2000/6000"),
        (
            "underlay",
            "outer_dst=10.0.0.1/32",
            "route_to port=3 mac=02:df:00:00:00:03 mtu=1500"
            " | route_to port=1 mac=02:df:00:00:00:01 mtu=1500 while 1 is up",
        ),
    ]
