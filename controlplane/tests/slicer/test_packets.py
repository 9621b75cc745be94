"""Packet-ins, packet-outs and idle notifications: each role's own, by its own numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from dfvisor.model.space import Space
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.entries import DigestSubscription, TableEntry
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import NEIGHBOUR, AccessVlans
from dfvisor.p4rt.streamed import DigestList, IdleEntries, PacketIn, PacketOut
from dfvisor.slicer.limits import Limits, Rate
from dfvisor.slicer.roles import Role
from dfvisor.slicer.server import SlicerServer

from controlplane.tests.slicer.fakes import (
    BLUE_GOLD,
    RED_BEST_EFFORT,
    RED_GOLD,
    FakeDirectory,
    FakeSwitch,
    flow,
)
from controlplane.tests.slicer.plain import PlainClient

FRAME = bytes.fromhex("020000000002 020000000001 0800".replace(" ", "")) + bytes(46)
TAGGED = FRAME[:12] + bytes.fromhex("81000007") + FRAME[12:]


def punt(slice_id: int, *, port: int = 1, reason: int = PuntReason.FLOW_MISS) -> PacketIn:
    metadata = {"port": port, "vn": 4, "slice_id": slice_id, "reason": reason, "cookie": 99}
    return PacketIn(FRAME, metadata)


@pytest.fixture
async def gold(address: str) -> AsyncIterator[PlainClient]:
    async with PlainClient.primary(address, "slice/red/gold") as client:
        yield client


@pytest.fixture
async def blue(address: str) -> AsyncIterator[PlainClient]:
    async with PlainClient.primary(address, "slice/blue/gold") as client:
        yield client


def metadata(message: p4r.PacketIn) -> dict[int, int]:
    return {one.metadata_id: int.from_bytes(one.value, "big") for one in message.metadata}


async def test_packet_in_reaches_the_slices_controllers_and_nobody_else(
    slicer: SlicerServer, address: str, gold: PlainClient, blue: PlainClient
) -> None:
    async with PlainClient.primary(address, "vn/red") as controller:
        slicer.event(punt(RED_GOLD.slice_id))
        answer = await gold.next()
        assert answer.packet.payload == FRAME
        assert metadata(answer.packet) == {1: 1, 5: PuntReason.FLOW_MISS, 6: 99}
        answer = await controller.next()
        assert metadata(answer.packet)[4] == RED_GOLD.key
        slicer.event(punt(BLUE_GOLD.slice_id, port=3))
        assert metadata((await blue.next()).packet)[1] == 3
        assert gold.idle and controller.idle


@pytest.mark.parametrize(
    "packet",
    [
        punt(0),
        punt(99),
        punt(RED_BEST_EFFORT.slice_id, reason=PuntReason.TOO_BIG),
        punt(RED_GOLD.slice_id, reason=PuntReason.DISCOVERY),
        punt(RED_GOLD.slice_id, reason=PuntReason.TRACE),
    ],
    ids=["no slice", "unknown slice", "too big", "discovery", "trace"],
)
async def test_packet_in_that_is_the_agents_reaches_no_controller(
    slicer: SlicerServer, gold: PlainClient, packet: PacketIn
) -> None:
    slicer.event(packet)
    slicer.event(punt(RED_GOLD.slice_id, port=2))
    assert metadata((await gold.next()).packet)[1] == 2
    assert gold.idle


async def test_packet_in_from_the_fabric_shows_no_port_of_others(
    slicer: SlicerServer, gold: PlainClient
) -> None:
    slicer.event(punt(RED_GOLD.slice_id, port=3))
    assert metadata((await gold.next()).packet)[1] == 0


async def test_packet_in_reaches_the_primary_only(
    slicer: SlicerServer, gold: PlainClient, address: str
) -> None:
    async with PlainClient.opened(address, "slice/red/gold", 2) as newer:
        assert (await newer.next()).arbitration.status.code == 0
        await gold.next()
        slicer.event(punt(RED_GOLD.slice_id))
        assert (await newer.next()).packet.payload == FRAME
        assert gold.idle


async def test_packet_ins_beyond_the_limit_are_dropped_and_counted(
    directory: FakeDirectory, switch: FakeSwitch, schema
) -> None:
    limits = Limits(packet_ins=Rate(per_s=0.001, burst=3))
    server = SlicerServer(directory, switch, schema, 7, limits=limits)
    address = await server.start("127.0.0.1:0")
    try:
        async with (
            PlainClient.primary(address, "slice/red/gold") as gold,
            PlainClient.primary(address, "slice/blue/gold") as blue,
        ):
            for _ in range(5):
                server.event(punt(RED_GOLD.slice_id))
            server.event(punt(BLUE_GOLD.slice_id))
            for _ in range(3):
                assert (await gold.next()).packet.payload == FRAME
            assert (await blue.next()).packet.payload == FRAME
            counts = server.stats()
            assert counts["slice/red/gold"]["packet_ins"] == 3
            assert counts["slice/red/gold"]["packet_ins_dropped"] == 2
            assert "packet_ins_dropped" not in counts["slice/blue/gold"]
    finally:
        await server.stop()


# -- packet-outs


async def sent(client: PlainClient, switch: FakeSwitch, frame: bytes, **fields: int) -> PacketOut:
    client.send(frame, **fields)
    async with asyncio.timeout(5):
        while not switch.sent:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return switch.sent.pop()


@pytest.mark.parametrize("as_ingress", [0, 1])
async def test_packet_out_at_an_own_port_reaches_the_switch(
    gold: PlainClient, switch: FakeSwitch, as_ingress: int
) -> None:
    packet = await sent(gold, switch, FRAME, port=2, as_ingress=as_ingress)
    assert packet == PacketOut(FRAME, {"port": 2, "as_ingress": as_ingress})


@pytest.mark.parametrize(
    ("fields", "frame", "code"),
    [
        ({"port": 3}, FRAME, 7),
        ({"port": 3, "as_ingress": 1}, FRAME, 7),
        ({"port": 0}, FRAME, 7),
        ({"port": 510}, FRAME, 7),
        ({"port": 511, "as_ingress": 1}, FRAME, 7),
        ({"port": NEIGHBOUR + 2}, FRAME, 7),
        ({"port": 1 << 31}, FRAME, 7),
        ({"port": 1, "as_ingress": 2}, FRAME, 3),
        ({"port": 1, "trace": 1}, FRAME, 3),
        ({"port": 1}, b"", 3),
        ({"port": 1}, bytes(10_000), 3),
        ({"port": 1}, TAGGED, 7),
        ({"port": 1, "as_ingress": 1}, TAGGED, 7),
    ],
    ids=[
        "another VN's port",
        "into another VN's port",
        "no port",
        "the CPU port",
        "the drop port",
        "a neighbour",
        "beyond ports",
        "too wide",
        "a trace",
        "empty",
        "giant",
        "another VN's VLAN",
        "into another VN's VLAN",
    ],
)
async def test_packet_out_elsewhere_is_refused_on_the_stream(
    gold: PlainClient,
    switch: FakeSwitch,
    directory: FakeDirectory,
    fields: dict[str, int],
    frame: bytes,
    code: int,
) -> None:
    directory.vlans["red", 1] = AccessVlans(frozenset({None}), frozenset({7}))
    gold.send(frame, **fields)
    answer = await gold.next()
    assert answer.error.canonical_code == code, answer
    assert answer.error.HasField("packet_out")
    assert not switch.sent


@pytest.mark.parametrize(
    ("own", "others", "frame", "allowed"),
    [
        ({None}, set(), FRAME, True),
        ({None}, set(), TAGGED, True),
        ({None}, {7}, TAGGED, False),
        ({7}, {8}, TAGGED, True),
        ({7}, {None}, FRAME, False),
        ({8}, {7}, TAGGED, False),
    ],
)
async def test_vlan_of_a_packet_out_is_the_vns_own(
    own: set[int | None], others: set[int | None], frame: bytes, allowed: bool
) -> None:
    vlan = None if frame is FRAME else 7
    assert AccessVlans(frozenset(own), frozenset(others)).allows(vlan) is allowed


async def test_packet_out_as_if_received_stays_within_the_slices_flowspaces(
    gold: PlainClient, switch: FakeSwitch, directory: FakeDirectory
) -> None:
    udp = FRAME[:14] + bytes.fromhex("450000200000000040110000 0a000001 0a000002 1000 1451 0008")
    directory.spaces["red", "gold"] = Space([{"ip_proto": (17, 255), "l4_dst": (0x1451, 0xFFFF)}])
    assert (await sent(gold, switch, udp, port=1, as_ingress=1)).payload == udp
    gold.send(udp[:-3] + b"\x52" + udp[-2:], port=1, as_ingress=1)
    assert (await gold.next()).error.canonical_code == 7
    assert not switch.sent


async def test_packet_out_of_a_backup_or_a_reader_is_refused(
    gold: PlainClient, switch: FakeSwitch, address: str, directory: FakeDirectory
) -> None:
    async with PlainClient.opened(address, "slice/red/gold", None) as backup:
        await backup.next()
        backup.send(FRAME, port=1)
        assert (await backup.next()).error.canonical_code == 7
    directory.writers["red", "gold"] = "vn/red"
    gold.send(FRAME, port=1)
    assert "may only read" in (await gold.next()).error.message
    assert not switch.sent


async def test_packet_out_before_arbitration_ends_the_stream(address: str) -> None:
    async with PlainClient.opened(address, "slice/red/gold", arbitrate=False) as client:
        client.send(FRAME, port=1)
        assert await client.ended() == "PERMISSION_DENIED"


async def test_packet_out_while_the_switch_is_away_is_said(
    gold: PlainClient, switch: FakeSwitch
) -> None:
    switch.away = True
    gold.send(FRAME, port=1)
    assert (await gold.next()).error.canonical_code == 14


# -- idle notifications


async def test_idle_notification_reaches_the_slices_controller_in_its_own_terms(
    slicer: SlicerServer, address: str, gold: PlainClient, blue: PlainClient, schema
) -> None:
    writer = P4RuntimeClient(address, 7, election_id=(0, 2), role="slice/red/gold")
    try:
        await writer.become_primary()
        writer.schema = await writer.get_schema()
        assert writer.schema is not None
        await writer.write([writer.schema.insert(flow(None))])
        heard: asyncio.Queue[object] = asyncio.Queue()
        writer._on_event = heard.put_nowait
        full = flow(RED_GOLD.slice_id)
        gone = flow(BLUE_GOLD.slice_id)
        slicer.event(
            IdleEntries(
                tuple(TableEntry(one.table, one.key, one.priority, "") for one in (full, gone))
            )
        )
        event = await asyncio.wait_for(heard.get(), 5)
        assert isinstance(event, IdleEntries) and event.entries == (flow(None),)
        assert blue.idle
    finally:
        await writer.close()


# -- the slice's own cells


async def test_slice_reads_its_own_drop_counters_and_meters(
    address: str, schema, switch: FakeSwitch
) -> None:
    client = P4RuntimeClient(address, 7, election_id=(0, 1), role="slice/red/gold")
    try:
        await client.become_primary()
        client.schema = await client.get_schema()
        assert client.schema is not None
        asked = p4r.Entity()
        asked.counter_entry.counter_id = client.schema.counter("drops").id
        found = await client.read([asked])
        assert [one.counter_entry.index.index for one in found] == list(range(64))
        cells = [one.counter_entry.data.packet_count for one in found]
        assert cells == [RED_GOLD.slice_id * 64 + reason for reason in range(64)]
        asked.counter_entry.index.index = 13
        (one,) = await client.read([asked])
        assert one.counter_entry.data.packet_count == RED_GOLD.slice_id * 64 + 13
        meter = p4r.Entity()
        meter.meter_entry.meter_id = client.schema.meter("slice_meters").id
        (one,) = await client.read([meter])
        assert (one.meter_entry.index.index, one.meter_entry.config.cir) == (0, RED_GOLD.slice_id)
        for index in (64, -1, RED_GOLD.slice_id * 64 + 13):
            asked.counter_entry.index.index = index
            with pytest.raises(Exception, match="out of range"):
                await client.read([asked])
    finally:
        await client.close()


# -- digests


LEARN_ID = 398033514


def learned(*reports: tuple[int, int, int]) -> DigestList:
    """What the switch tells the agent: (VN number, port, MAC)."""
    messages = tuple({"vn": vn, **sender(port, mac)} for vn, port, mac in reports)
    return DigestList("learn_t", 77, messages)


def sender(port: int, mac: int) -> dict[str, int]:
    """What a controller is told: also the address that it has used, of one family."""
    addresses = {"ipv4": 0x0A000000 | mac, "ipv6_high": 0, "ipv6_low": 0}
    if mac & 1:
        addresses = {"ipv4": 0, "ipv6_high": 0xFD << 56, "ipv6_low": mac}
    return {"port": port, "mac": mac, **addresses}


async def test_vn_controller_is_told_of_its_own_vns_senders_until_it_unsubscribes(
    slicer: SlicerServer, address: str, gold: PlainClient
) -> None:
    writer = P4RuntimeClient(address, 7, election_id=(0, 2), role="vn/red")
    heard: asyncio.Queue[object] = asyncio.Queue()
    try:
        await writer.become_primary()
        writer.schema = await writer.get_schema()
        assert writer.schema is not None
        writer._on_event = heard.put_nowait
        wanted = DigestSubscription("learn_t", 0, 2, 60_000_000_000)
        slicer.event(learned((1, 1, 0xA)))  # nobody has asked for it
        await writer.write([writer.schema.insert(wanted)])
        assert await writer.read_digests() == [wanted]
        (again,) = await writer.write_statuses([writer.schema.insert(wanted)])
        assert again.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
        slicer.event(
            learned((2, 3, 0xB), (1, 1, 0xC), (1, 2, 0xD), (1, 1, 0xE), (9, 1, 1), (1, 9, 1))
        )
        first, second = [await asyncio.wait_for(heard.get(), 5) for _ in range(2)]
        assert isinstance(first, DigestList) and isinstance(second, DigestList)
        assert first.messages == (sender(1, 0xC), sender(2, 0xD))
        assert second.messages == (sender(1, 0xE),)
        writer.acknowledge(second)
        pending = slicer._service._digests._held[Role("red"), LEARN_ID].pending
        async with asyncio.timeout(5):
            while tuple(sender(1, 0xE).items()) in pending:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        slicer.event(learned((1, 1, 0xC), (1, 1, 0xE)))
        third = await asyncio.wait_for(heard.get(), 5)
        assert isinstance(third, DigestList) and third.messages == (sender(1, 0xE),)
        await writer.write([writer.schema.delete(wanted)])
        slicer.event(learned((1, 1, 0xF)))
        assert await writer.read_digests() == []
        assert heard.empty() and gold.idle
    finally:
        await writer.close()


async def test_slices_role_may_not_subscribe(gold: PlainClient, schema: Schema) -> None:
    update = schema.insert(DigestSubscription("learn_t", 0, 2, 0))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gold.write([update])
    assert "1 of 1 updates failed" in (caught.value.details() or "")
    assert "table entries only, not digest_entry" in (caught.value.details() or "")
