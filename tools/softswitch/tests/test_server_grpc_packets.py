"""Packets over gRPC: BMv2's service p4.bm.DataplaneInterface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from softswitch.engine import PortOutput
from softswitch.server import bm, packets
from softswitch.server.dataplane import DataPlane, engine_builder
from softswitch.server.pb import p4r
from softswitch.server.ports import PortHost
from softswitch.server.rpc import add_to_server
from softswitch.server.service import P4RuntimeService
from softswitch.tests.fake_engine import FakeEngine
from softswitch.tests.p4client import (
    CPU_PORT,
    DATA,
    DEVICE,
    Client,
    connected,
    contract_config,
    exact_entry,
    key_of,
    lpm_entry,
    streams_config,
)
from softswitch.tests.test_server_atomicity import group, member, route

FRAME = bytes.fromhex("02000000000102000000aa010800")


class Packets:
    """A client of the packet service; wire compatibility is checked by one test of its own."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._streams: Any = channel.stream_stream(
            "/p4.bm.DataplaneInterface/PacketStream",
            bm.PacketStreamRequest.SerializeToString,
            bm.PacketStreamResponse.FromString,
        )
        self._set: Any = channel.unary_unary(
            "/p4.bm.DataplaneInterface/SetPortOperStatus",
            bm.SetPortOperStatusRequest.SerializeToString,
            bm.SetPortOperStatusResponse.FromString,
        )

    def stream(self) -> Any:
        return self._streams(timeout=20)

    async def set_port(self, port: int, status: int, device: int = DEVICE) -> None:
        request = bm.SetPortOperStatusRequest(device_id=device, port=port, oper_status=status)
        await self._set(request, timeout=20)


def request(port: int, packet: bytes, *, id_: int = 0, device: int = DEVICE) -> Any:
    return bm.PacketStreamRequest(id=id_, device_id=device, port=port, packet=packet)


class Bench:
    """A switch whose packets go over gRPC, and clients of it."""

    def __init__(self, service: P4RuntimeService, client: Client, wire: Packets) -> None:
        self.service, self.client, self.packets = service, client, wire
        self.built: list[DataPlane] = []


async def _bench(build: Any, tmp_path: Path, *, compat: bool = False) -> AsyncIterator[Bench]:
    made: list[DataPlane] = []

    def building(config: bytes) -> DataPlane:
        made.append(build(config))
        return made[-1]

    ports = PortHost((), cpu_port=CPU_PORT, over_grpc=True)
    service = P4RuntimeService(DEVICE, building, ports, bmv2_compat=compat)
    server = grpc.aio.server()
    add_to_server(service, server)
    service.packet_service().add_to(server)
    address = f"unix:{tmp_path}/s"
    server.add_insecure_port(address)
    await server.start()
    async with connected(address) as client, grpc.aio.insecure_channel(address) as channel:
        bench = Bench(service, client, Packets(channel))
        bench.built = made
        yield bench
    await server.stop(None)
    await service.close()


@pytest.fixture
async def bench(engine_cache: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in _bench(engine_builder(engine_cache), tmp_path):
        yield made


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in _bench(FakeEngine, tmp_path):
        yield made


@pytest.fixture
async def forwarding(bench: Bench) -> Bench:
    """From port 1 to port 5 for FRAME's destination, others are dropped."""
    await bench.client.become_primary()
    await bench.client.push(contract_config())
    await bench.client.write(("INSERT", exact_entry(bench.client, 1)))
    return bench


async def rest(stream: Any) -> list[Any]:
    """What comes until the server ends the stream."""
    found = []
    while message := await stream.read():  # the end is false
        found.append(message)
    return found


async def test_packet_in_at_a_port_comes_out_of_another_with_its_id(forwarding: Bench) -> None:
    stream = forwarding.packets.stream()
    await stream.write(request(1, FRAME + b"payload", id_=77))
    answer = await stream.read()
    assert (answer.id, answer.device_id, answer.port) == (77, DEVICE, 5)
    assert answer.packet == FRAME + b"payload"
    await stream.write(request(1, FRAME))
    assert (await stream.read()).id == 0


async def test_stream_ends_when_the_client_ends_it_and_all_is_sent(forwarding: Bench) -> None:
    stream = forwarding.packets.stream()
    for number in range(3000):
        await stream.write(request(1, FRAME + number.to_bytes(2, "big"), id_=number + 1))
    await stream.done_writing()
    answers = await rest(stream)
    assert [a.id for a in answers] == list(range(1, 3001))
    assert await stream.code() is grpc.StatusCode.OK


async def test_dropped_and_foreign_and_empty_packets_cause_nothing(forwarding: Bench) -> None:
    stream = forwarding.packets.stream()
    await stream.write(request(2, FRAME))  # the table has port 1 only
    await stream.write(request(1, FRAME, device=DEVICE + 1))
    await stream.write(request(1, b""))
    await stream.write(request(1, FRAME, id_=9))
    await stream.done_writing()
    assert [a.id for a in await rest(stream)] == [9]


async def test_frames_shorter_than_ethernet_come_and_go(bench: Bench) -> None:
    await bench.client.become_primary()
    await bench.client.push(contract_config())
    exact = bench.client.names
    await bench.client.write(
        (
            "MODIFY",
            exact.entry(
                "exact_table", action=("forward", {"port": b"\x03"}), is_default_action=True
            ),
        )
    )
    stream = bench.packets.stream()
    for size in (1, 5, 13):
        await stream.write(request(4, b"\xab" * size))
        answer = await stream.read()
        assert (answer.port, answer.packet) == (3, b"\xab" * size)


async def test_second_client_is_refused_until_the_first_has_left(forwarding: Bench) -> None:
    first = forwarding.packets.stream()
    await first.write(request(1, FRAME, id_=1))
    await first.read()
    second = forwarding.packets.stream()
    assert await second.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await first.done_writing()
    assert await rest(first) == []
    third = forwarding.packets.stream()
    await third.write(request(1, FRAME, id_=3))
    assert (await third.read()).id == 3
    third.cancel()
    deadline = asyncio.get_running_loop().time() + 10
    while True:  # the server learns of the end by itself
        fourth = forwarding.packets.stream()
        try:
            await fourth.write(request(1, FRAME, id_=4))
            assert (await fourth.read()).id == 4
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            assert asyncio.get_running_loop().time() < deadline
        else:
            break


async def test_stream_without_a_pipeline_waits_and_works_after_a_push(bench: Bench) -> None:
    stream = bench.packets.stream()
    await stream.write(request(1, FRAME, id_=1))
    await bench.client.become_primary()
    await bench.client.push(contract_config())
    await bench.client.write(("INSERT", exact_entry(bench.client, 1)))
    await stream.write(request(1, FRAME, id_=2))
    assert (await stream.read()).id == 2


async def test_program_given_at_start_forwards_over_grpc(bench: Bench) -> None:
    await bench.service.preload((DATA / "streams.json").read_bytes())
    stream = bench.packets.stream()
    await stream.write(request(1, FRAME, id_=1))  # no entry: dropped
    await stream.done_writing()
    assert await rest(stream) == []


async def test_program_given_at_start_has_packets_to_and_from_the_cpu_port_without_metadata(
    bench: Bench,
) -> None:
    await bench.service.preload((DATA / "streams.json").read_bytes())
    control = await bench.client.become_primary()
    stream = bench.packets.stream()
    punted = FRAME[:12] + bytes.fromhex("88b7") + bytes(46)
    await stream.write(request(3, punted))
    assert (await control.next()).packet.payload[6:] == punted  # behind the program's own header
    packet = p4r.PacketOut(payload=bytes.fromhex("0200") + FRAME)
    await control.call.write(p4r.StreamMessageRequest(packet=packet))
    answer = await stream.read()
    assert (answer.port, answer.packet) == (4, FRAME)


async def test_cpu_port_stays_p4runtimes(bench: Bench) -> None:
    bench.client.use(streams_config())
    control = await bench.client.become_primary()
    await bench.client.push(streams_config())
    stream = bench.packets.stream()
    punted = FRAME[:12] + bytes.fromhex("88b7") + bytes(46)
    await stream.write(request(3, punted))
    packet = (await control.next()).packet
    assert packet.payload == punted
    await stream.done_writing()
    assert await rest(stream) == []


async def test_port_status_is_what_watch_ports_see(bench: Bench) -> None:
    client = bench.client
    client.use(streams_config())
    await client.become_primary()
    await client.push(streams_config())
    watching = group(client, 1, {1: 1, 2: 1})
    watching.members[0].watch_port = b"\x01"
    watching.members[1].watch_port = b"\x02"
    await client.write(
        ("INSERT", member(client, 1, b"\x01")),
        ("INSERT", member(client, 2, b"\x02")),
        ("INSERT", watching),
        ("INSERT", route(client, 1, group=1)),
    )

    async def used() -> set[int]:
        stream = bench.packets.stream()
        for number in range(64):
            await stream.write(request(3, FRAME[:11] + bytes([number]) + b"\x08\x00"))
        await stream.done_writing()
        return {answer.port for answer in await rest(stream)}

    assert await used() == {1, 2}
    await bench.packets.set_port(1, bm.OPER_DOWN)
    assert await used() == {2}
    await bench.packets.set_port(2, bm.OPER_DOWN)
    assert await used() == set()
    await bench.packets.set_port(1, bm.OPER_UP)
    assert await used() == {1}


@pytest.mark.parametrize(("status", "device"), [(bm.OPER_UP, DEVICE + 1), (0, DEVICE), (3, DEVICE)])
async def test_port_status_that_makes_no_sense_is_invalid(
    fake: Bench, status: int, device: int
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fake.packets.set_port(1, status, device)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_packets_for_a_client_that_does_not_read_are_bounded(
    fake: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packets, "MAX_WAITING", 16)
    await fake.client.become_primary()
    await fake.client.push(contract_config())
    (plane,) = fake.built
    assert isinstance(plane, FakeEngine)
    assert plane.events_only
    stream = fake.packets.stream()
    await stream.write(request(1, FRAME))
    big = bytes(100_000)
    deadline = asyncio.get_running_loop().time() + 10
    while not plane.injected:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0)
    plane.report(*[PortOutput(1, number, big) for number in range(1, 201)])
    await fake.client.write(("INSERT", exact_entry(fake.client, 1)))  # the switch still answers
    first = await stream.read()
    assert first.id == 1
    await stream.done_writing()
    assert len(await rest(stream)) < 199


async def test_messages_have_the_names_and_numbers_of_bmv2() -> None:
    sent = request(9, b"x", id_=3, device=4)
    assert sent.SerializeToString() == b"\x08\x03\x10\x04\x18\x09\x22\x01x"
    status = bm.SetPortOperStatusRequest(device_id=4, port=9, oper_status=bm.OPER_UP)
    assert status.SerializeToString() == b"\x08\x04\x10\x09\x18\x02"
    assert sent.DESCRIPTOR.full_name == "p4.bm.PacketStreamRequest"


# --- --bmv2-compat --------------------------------------------------------------------------------


@pytest.fixture
async def compat(tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in _bench(FakeEngine, tmp_path, compat=True):
        yield made


async def test_compat_lets_a_client_without_stream_and_id_write(compat: Bench) -> None:
    push = p4r.SetForwardingPipelineConfigRequest(
        device_id=DEVICE,
        action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
        config=contract_config(),
    )
    await compat.client.stub.SetForwardingPipelineConfig(push, timeout=20)
    await compat.client.write(("INSERT", exact_entry(compat.client, 1)), election_id=None)
    stream = await compat.client.become_primary(5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # now there is a primary, another one
        await compat.client.write(("INSERT", exact_entry(compat.client, 2)), election_id=None)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    stream.close()


async def test_compat_takes_an_unset_election_id_as_0_and_promotes_the_highest(
    compat: Bench,
) -> None:
    low, high = compat.client.stream(), compat.client.stream()
    await low.arbitrate(None)
    assert await low.standing() == (0, 0)
    await compat.client.push(contract_config(), election_id=0)
    await high.arbitrate(7)
    assert await high.standing() == (0, 7)
    assert await low.standing() == (6, 7)
    high.close()
    assert await low.standing() == (0, 0)
    await compat.client.write(("INSERT", exact_entry(compat.client, 1)), election_id=None)


async def test_compat_takes_missing_packet_out_metadata_as_0(compat: Bench) -> None:
    compat.client.use(streams_config())
    stream = await compat.client.become_primary()
    await compat.client.push(streams_config())
    message = p4r.StreamMessageRequest(packet=p4r.PacketOut(payload=b"abc"))
    await stream.call.write(message)
    (plane,) = compat.built
    assert isinstance(plane, FakeEngine)
    deadline = asyncio.get_running_loop().time() + 10
    while not plane.injected:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0)
    ((port, raw),) = plane.injected
    assert (port, raw[-3:], set(raw[:-3])) == (CPU_PORT, b"abc", {0})


# --- what packets see of a batch ------------------------------------------------------------------


async def test_packets_see_all_of_an_atomic_batch_or_nothing(bench: Bench) -> None:
    """Each batch removes the only route and adds another; whoever saw the step between would drop
    the packet."""
    client = bench.client
    await client.become_primary()
    await client.push(contract_config())
    short, long = (
        lpm_entry(client, b"\x0a\x00\x00\x00", 8),
        lpm_entry(client, b"\x0a\x01\x00\x00", 16),
    )
    other = exact_entry(client, 9)
    await client.write(("INSERT", short), ("INSERT", other))
    frame = bytes(12) + bytes.fromhex("88b5 0a010203 0010")
    stream = bench.packets.stream()
    sent = 0

    async def send() -> None:
        nonlocal sent
        while not stopping.is_set():
            sent += 1
            await stream.write(request(1, frame, id_=sent))

    stopping = asyncio.Event()
    sender = asyncio.create_task(send())
    for _ in range(30):
        await client.write(
            ("DELETE", key_of(short)),
            *[("MODIFY", other)] * 300,  # time enough for packets, if they had a turn
            ("INSERT", long),
            atomicity=p4r.WriteRequest.DATAPLANE_ATOMIC,
        )
        short, long = long, short
    stopping.set()
    await sender
    await stream.done_writing()
    assert [answer.id for answer in await rest(stream)] == list(range(1, sent + 1))
    assert sent > 100
