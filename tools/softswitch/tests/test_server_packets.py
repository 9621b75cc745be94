"""Packet-in, packet-out, clone sessions and idle timeouts over P4Runtime."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from softswitch.engine import IdleTimeout
from softswitch.engine import PacketIn as Punted
from softswitch.server.packet_io import pack, unpack
from softswitch.server.pb import p4r
from softswitch.server.schema import PacketField
from softswitch.server.streams import MAX_EVENTS_WAITING
from softswitch.tests.p4client import CPU_PORT, Client, StreamClient, Switch, exact, streams_config

MS = 1_000_000
FRAME = b"\x02\0\0\0\0\1" + b"\x02\0\0\0\0\x21" + b"\x88\xb5" + bytes(range(46))
PUNTED = FRAME[:12] + b"\x88\xb7" + FRAME[14:]
CLONED = FRAME[:12] + b"\x88\xb6" + FRAME[14:]
INVALID = grpc.StatusCode.INVALID_ARGUMENT
on_the_fake = pytest.mark.parametrize("data_plane", ["fake"])
on_the_engine = pytest.mark.parametrize("data_plane", ["engine"])


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def next_of(stream: StreamClient | None, kind: str) -> Any:
    assert stream is not None
    async with asyncio.timeout(5):
        message = await stream.next()
    assert message.WhichOneof("update") == kind, message
    return getattr(message, kind)


def packet_out(payload: bytes = FRAME, **metadata: bytes) -> p4r.PacketOut:
    ids = {"port": 1, "flag": 2, "reserved": 3}
    message = p4r.PacketOut(payload=payload)
    for name, value in metadata.items():
        message.metadata.add(metadata_id=ids[name], value=value)
    return message


# -- the controller header -------------------------------------------------------------------------

FIELDS = (
    PacketField(1, "port", 9, padding=False),
    PacketField(2, "flag", 1, padding=False),
    PacketField(5, "cookie", 32, padding=False),
    PacketField(9, "wide", 62, padding=False),
)


@given(
    st.tuples(*(st.integers(0, (1 << field.width) - 1) for field in FIELDS)), st.binary(max_size=80)
)
def test_packet_header_unpacks_what_was_packed(numbers: tuple[int, ...], payload: bytes) -> None:
    message = p4r.PacketOut(payload=payload)
    for field, number in reversed(list(zip(FIELDS, numbers, strict=True))):
        size = (number.bit_length() + 7) // 8 or 1
        message.metadata.add(metadata_id=field.id, value=number.to_bytes(size, "big"))
    raw = pack(FIELDS, message)
    assert len(raw) == 13 + len(payload)
    packet = unpack(FIELDS, raw)
    assert packet is not None
    assert packet.payload == payload
    assert [(m.metadata_id, int.from_bytes(m.value, "big")) for m in packet.metadata] == [
        (field.id, number) for field, number in zip(FIELDS, numbers, strict=True)
    ]


def test_packet_header_is_big_endian_and_packed_in_p4info_order() -> None:
    message = p4r.PacketOut(payload=b"x")
    for id_, value in ((2, b"\x01"), (1, b"\x01\x01"), (5, b"\xaa"), (9, b"\x00")):
        message.metadata.add(metadata_id=id_, value=value)
    assert pack(FIELDS, message)[:7] == bytes.fromhex("80c000002a8000")
    assert unpack(FIELDS, b"short") is None


# -- packet-out ------------------------------------------------------------------------------------


@on_the_fake
async def test_packet_out_enters_at_the_cpu_port(streaming: Client, switch: Switch) -> None:
    assert streaming.primary is not None
    message = packet_out(port=b"\x03", flag=b"\x01")  # the padding may be left out
    await streaming.primary.call.write(p4r.StreamMessageRequest(packet=message))
    await streaming.primary.arbitrate(1)
    await next_of(streaming.primary, "arbitration")
    assert switch.fake.cpu_port == CPU_PORT
    assert switch.fake.injected == [(CPU_PORT, b"\x01\xc0" + FRAME)]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        pytest.param(packet_out(port=b"\x01"), "flag: missing", id="missing"),
        pytest.param(packet_out(port=b"\x02\x00", flag=b"\0"), "9 bits", id="too-large"),
        pytest.param(packet_out(port=b"", flag=b"\0"), "empty", id="empty"),
        pytest.param(
            p4r.PacketOut(
                metadata=[p4r.PacketMetadata(metadata_id=i, value=b"\0") for i in (1, 2, 8)]
            ),
            "[8]",
            id="unknown",
        ),
        pytest.param(
            p4r.PacketOut(metadata=[p4r.PacketMetadata(metadata_id=1, value=b"\0")] * 2),
            "twice",
            id="twice",
        ),
    ],
)
async def test_packet_out_with_wrong_metadata_is_dropped_with_an_error(
    streaming: Client, message: p4r.PacketOut, words: str
) -> None:
    assert streaming.primary is not None
    await streaming.primary.call.write(p4r.StreamMessageRequest(packet=message))
    error = await next_of(streaming.primary, "error")
    assert error.canonical_code == INVALID.value[0]
    assert words in error.message
    assert error.packet_out.packet_out == message


async def test_packet_out_of_a_backup_is_denied(streaming: Client) -> None:
    backup = streaming.stream()
    await backup.arbitrate(0)
    await next_of(backup, "arbitration")
    await backup.call.write(p4r.StreamMessageRequest(packet=packet_out(port=b"\x01", flag=b"\0")))
    assert (await next_of(backup, "error")).canonical_code == 7


async def test_packet_out_before_a_pipeline_is_a_failed_precondition(client: Client) -> None:
    stream = await client.become_primary()
    await stream.call.write(p4r.StreamMessageRequest(packet=packet_out()))
    assert (await next_of(stream, "error")).canonical_code == 9


# -- packet-in -------------------------------------------------------------------------------------


async def test_packet_in_reaches_every_primary_with_its_metadata(
    streaming: Client, switch: Switch, data_plane: str
) -> None:
    backup, named = streaming.stream(), streaming.stream()
    await backup.arbitrate(0)
    await next_of(backup, "arbitration")
    await named.arbitrate(5, role="other")
    await next_of(named, "arbitration")
    if data_plane == "fake":
        switch.fake.report(Punted(bytes.fromhex("0180 00001234") + PUNTED))
    else:
        switch.built[-1].process(3, PUNTED)  # type: ignore[attr-defined]
    for stream in (streaming.primary, named):
        packet = await next_of(stream, "packet")
        assert packet.payload == PUNTED
        assert [(m.metadata_id, m.value) for m in packet.metadata] == [
            (1, b"\x03"),
            (2, b"\0"),
            (3, b"\x12\x34"),
        ]
    await backup.arbitrate(0)
    await next_of(backup, "arbitration")  # and no packet before it


@on_the_fake
async def test_packet_in_shorter_than_its_header_is_dropped(
    streaming: Client, switch: Switch
) -> None:
    switch.fake.report(Punted(b"12345"), Punted(bytes(6)))
    assert (await next_of(streaming.primary, "packet")).payload == b""


@on_the_fake
async def test_packet_in_flood_is_cut_for_a_client_that_does_not_read(
    streaming: Client, switch: Switch
) -> None:
    big = Punted(bytes(6 + 60_000))
    count = 4 * MAX_EVENTS_WAITING
    switch.fake.report(*[big] * count)
    (stream,) = switch.service._primaries()
    async with asyncio.timeout(20):
        while not stream.events_lost:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert len(stream._waiting) <= MAX_EVENTS_WAITING
    await streaming.read(p4r.TableEntry())  # others are served


# -- clone sessions --------------------------------------------------------------------------------


def session(id_: int, *replicas: tuple[int, int], **more: Any) -> p4r.CloneSessionEntry:
    entry = p4r.CloneSessionEntry(session_id=id_, **more)
    for port, instance in replicas:
        entry.replicas.add(port=port.to_bytes(2, "big").lstrip(b"\0"), instance=instance)
    return entry


async def sessions(client: Client, id_: int = 0) -> list[p4r.CloneSessionEntry]:
    read = await client.read(p4r.CloneSessionEntry(session_id=id_))
    return [e.packet_replication_engine_entry.clone_session_entry for e in read]


async def test_clone_session_is_read_back(
    streaming: Client, switch: Switch, data_plane: str
) -> None:
    one, two = session(5, (CPU_PORT, 0)), session(6, (1, 1), (2, 2))
    await streaming.write(("INSERT", one), ("INSERT", two))
    assert await sessions(streaming) == [one, two]
    assert await sessions(streaming, 6) == [two]
    changed = session(5, (3, 0))
    await streaming.write(("MODIFY", changed), ("DELETE", two))
    assert await sessions(streaming) == [changed]
    if data_plane == "fake":
        assert switch.fake.clone_sessions == {5: (((3, 0),), 0)}
    await streaming.push(streams_config())
    assert await sessions(streaming) == []


@pytest.mark.parametrize(
    ("kind", "entry", "code"),
    [
        pytest.param("INSERT", session(0, (1, 0)), INVALID, id="id-0"),
        pytest.param("INSERT", session(1 << 15, (1, 0)), INVALID, id="id-too-large"),
        pytest.param("INSERT", session(5), grpc.StatusCode.ALREADY_EXISTS, id="exists"),
        pytest.param("MODIFY", session(6), grpc.StatusCode.NOT_FOUND, id="modify-missing"),
        pytest.param("DELETE", session(6), grpc.StatusCode.NOT_FOUND, id="delete-missing"),
        pytest.param("INSERT", session(6, (1, 0), (1, 0)), INVALID, id="same-replica"),
        pytest.param(
            "INSERT",
            session(6, class_of_service=1),
            grpc.StatusCode.UNIMPLEMENTED,
            id="class-of-service",
        ),
    ],
)
async def test_clone_session_write_is_refused(
    streaming: Client, kind: str, entry: p4r.CloneSessionEntry, code: grpc.StatusCode
) -> None:
    await streaming.write(("INSERT", session(5, (1, 0))))
    assert (await streaming.refused(kind, entry))[0] is code
    assert await sessions(streaming) == [session(5, (1, 0))]


async def test_clone_session_missing_is_not_found(streaming: Client) -> None:
    missing = p4r.CloneSessionEntry(session_id=9)
    assert await streaming.read_refused(missing) is grpc.StatusCode.NOT_FOUND


@on_the_engine
async def test_clone_reaches_the_controller(streaming: Client, switch: Switch) -> None:
    entry = streaming.names.entry("routes", {"mac": exact(FRAME[:6])})
    item = entry.action.action_profile_action_set.action_profile_actions.add(weight=1)
    item.action.CopyFrom(streaming.names.action("send_to", {"port": b"\x04"}))
    await streaming.write(("INSERT", session(5, (CPU_PORT, 0))), ("INSERT", entry))
    engine: Any = switch.built[-1]
    assert (4, CLONED) in engine.process(3, CLONED)
    packet = await next_of(streaming.primary, "packet")
    assert packet.payload == CLONED
    assert [m.value for m in packet.metadata] == [b"\x03", b"\x02", b"\x12\x34"]


# -- idle timeouts ---------------------------------------------------------------------------------


def host(client: Client, number: int, timeout_ns: int, **more: Any) -> p4r.TableEntry:
    return client.names.entry(
        "hosts",
        {"mac": exact(b"\x02" + bytes(4) + bytes([number]))},
        ("pass", {}),
        idle_timeout_ns=timeout_ns,
        **more,
    )


async def test_idle_timeout_is_read_back_exactly(
    streaming: Client, switch: Switch, data_plane: str
) -> None:
    entry = host(streaming, 1, 1_500_001)
    await streaming.write(("INSERT", entry))
    assert await streaming.entries(table_id=entry.table_id) == [entry]
    changed = host(streaming, 1, 0)
    if data_plane == "fake":
        (held,) = switch.fake.tables["StreamsIngress.hosts"].entries.values()
        assert held.idle_timeout_ms == 2
        await streaming.write(("MODIFY", changed))
        assert held.idle_timeout_ms == 0
    await streaming.write(("MODIFY", changed))
    assert await streaming.entries(table_id=entry.table_id) == [changed]


@on_the_fake
async def test_idle_timeout_is_notified_with_key_and_cookies(
    streaming: Client, switch: Switch
) -> None:
    first = host(streaming, 1, 5 * MS, metadata=b"m", controller_metadata=7)
    second, gone, off = (host(streaming, n, t) for n, t in ((2, MS), (3, MS), (4, 0)))
    await streaming.write(*(("INSERT", entry) for entry in (first, second, gone, off)))
    handles = list(switch.fake.tables["StreamsIngress.hosts"].entries)
    await streaming.write(("DELETE", gone))
    switch.fake.report(*(IdleTimeout("StreamsIngress.hosts", handle) for handle in handles))
    message = await next_of(streaming.primary, "idle_timeout_notification")
    for entry in (first, second):
        entry.ClearField("action")
    assert list(message.table_entry) == [first, second]
    assert message.timestamp > 1_600_000_000 * 10**9


@on_the_engine
async def test_idle_timeout_comes_once_until_the_entry_is_hit_again(
    streaming: Client, switch: Switch
) -> None:
    begin = time.monotonic()
    entry = host(streaming, 0x21, 100 * MS)
    await streaming.write(("INSERT", entry))
    entry.ClearField("action")
    engine: Any = switch.built[-1]
    for _ in range(2):
        message = await next_of(streaming.primary, "idle_timeout_notification")
        assert list(message.table_entry) == [entry]
        await asyncio.sleep(0.3)  # several times the timeout: another notification would come next
        engine.process(1, FRAME)
    assert time.monotonic() - begin > 0.5


async def test_idle_time_is_read_when_asked_for(
    streaming: Client, switch: Switch, data_plane: str
) -> None:
    entry = host(streaming, 0x21, 0)
    await streaming.write(("INSERT", entry))
    if data_plane == "fake":
        (held,) = switch.fake.tables["StreamsIngress.hosts"].entries.values()
        held.idle_us = 20_000
    else:
        await asyncio.sleep(0.02)
    query: dict[str, Any] = {"time_since_last_hit": p4r.TableEntry.IdleTimeout()}
    (read,) = await streaming.entries(table_id=entry.table_id, **query)
    assert 20 * MS <= read.time_since_last_hit.elapsed_ns < 10_000 * MS
    (read,) = await streaming.entries(table_id=entry.table_id)
    assert not read.HasField("time_since_last_hit")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"idle_timeout_ns": -1}, INVALID, id="negative"),
        pytest.param(
            {"time_since_last_hit": p4r.TableEntry.IdleTimeout()}, INVALID, id="time-since-last-hit"
        ),
    ],
)
async def test_idle_timeout_write_is_refused(
    streaming: Client, change: dict[str, Any], code: grpc.StatusCode
) -> None:
    entry = host(streaming, 1, 0)
    entry.MergeFrom(p4r.TableEntry(**change))
    assert (await streaming.refused("INSERT", entry))[0] is code


async def test_idle_time_of_a_table_without_timeouts_is_invalid(streaming: Client) -> None:
    since = p4r.TableEntry.IdleTimeout()
    routes, hosts = (streaming.names.tables[name].preamble.id for name in ("routes", "hosts"))
    for query in (
        p4r.TableEntry(table_id=routes, time_since_last_hit=since),
        p4r.TableEntry(table_id=hosts, is_default_action=True, time_since_last_hit=since),
    ):
        assert await streaming.read_refused(query) is INVALID
