"""What a greedy or careless client gets: its own limits, and nobody else's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from dfvisor.p4rt.errors import RpcFailed, SwitchUnavailable
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r, p4r_grpc, rpc_status
from dfvisor.slicer.refusal import Refused
from dfvisor.slicer.service import MAX_CALLS_PER_ROLE
from dfvisor.slicer.streams import MAX_STREAMS_PER_ROLE, MAX_UNREAD, Stream
from dfvisor.slicer.view import role_view

from controlplane.tests.slicer.conftest import Connect
from controlplane.tests.slicer.fakes import (
    BLUE_GOLD,
    DEVICE,
    RED_GOLD,
    FakeDirectory,
    FakeSwitch,
    flow,
)


class PlainClient:
    """The generated stub with a library's defaults: 8 KiB of metadata."""

    def __init__(self, address: str, role: str) -> None:
        self.role = role
        self._channel = grpc.aio.insecure_channel(address)
        self.stub = p4r_grpc.P4RuntimeStub(self._channel)
        self.requests: asyncio.Queue[p4r.StreamMessageRequest] = asyncio.Queue()
        self.stream = self.stub.StreamChannel(self._outgoing())

    async def _outgoing(self) -> AsyncIterator[p4r.StreamMessageRequest]:
        while True:
            yield await self.requests.get()

    def arbitrate(self, role: str, device_id: int = DEVICE) -> None:
        message = p4r.StreamMessageRequest()
        message.arbitration.device_id = device_id
        message.arbitration.role.name = role
        message.arbitration.election_id.low = 1
        self.requests.put_nowait(message)

    async def become_primary(self) -> None:
        self.arbitrate(self.role)
        answer = await self.stream.read()
        assert answer.arbitration.status.code == 0

    async def write(self, updates: list[p4r.Update]) -> None:
        request = p4r.WriteRequest(device_id=DEVICE, role=self.role, updates=updates)
        request.election_id.low = 1
        await self.stub.Write(request, timeout=10)

    async def close(self) -> None:
        self.stream.cancel()
        await self._channel.close()


@pytest.fixture
async def plain(address: str) -> AsyncIterator[PlainClient]:
    client = PlainClient(address, "slice/red/gold")
    await client.become_primary()
    yield client
    await client.close()


def bad_updates(schema: Schema, count: int) -> list[p4r.Update]:
    """Deletions of entries that are not there."""
    view = Schema(role_view(schema.proto, whole_vn=False))
    return [view.delete(flow(None, port)) for port in range(1, count + 1)]


@pytest.mark.parametrize(
    ("count", "messages"), [(10, True), (100, False)], ids=["few: in full", "more: codes only"]
)
async def test_errors_for_a_plain_client_have_a_status_for_each_update(
    plain: PlainClient, schema: Schema, count: int, messages: bool
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plain.write(bad_updates(schema, count))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    trailer = dict(caught.value.trailing_metadata() or ())
    details = rpc_status.Status.FromString(trailer["grpc-status-details-bin"]).details
    errors = [p4r.Error.FromString(detail.value) for detail in details]
    assert [error.canonical_code for error in errors] == [5] * count
    assert all(bool(error.message) is messages for error in errors)


async def test_errors_too_many_for_a_plain_client_are_cut_to_the_first(
    plain: PlainClient, schema: Schema
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plain.write(bad_updates(schema, 1000))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    text = caught.value.details() or ""
    assert text.startswith("1000 of 1000 updates failed: update 0: no such entry: flow")


async def test_stream_message_that_is_no_arbitration_is_answered_with_an_error(
    plain: PlainClient, switch: FakeSwitch
) -> None:
    plain.requests.put_nowait(p4r.StreamMessageRequest(packet=p4r.PacketOut(payload=b"x")))
    answer = await plain.stream.read()
    assert answer.error.canonical_code == grpc.StatusCode.PERMISSION_DENIED.value[0]


@pytest.mark.parametrize(
    ("role", "device_id"), [("slice/red/silver", DEVICE), ("slice/red/gold", DEVICE + 1)]
)
async def test_stream_that_changes_role_or_device_is_ended(
    plain: PlainClient, role: str, device_id: int
) -> None:
    plain.arbitrate(role, device_id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plain.stream.read()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_role_with_too_many_streams_is_refused_another(connect: Connect) -> None:
    clients = [
        await connect("vn/red", number, primary=False) for number in range(MAX_STREAMS_PER_ROLE + 1)
    ]
    await clients[MAX_STREAMS_PER_ROLE].become_primary()
    for client in clients[1:MAX_STREAMS_PER_ROLE]:
        with pytest.raises(Exception, match="not primary"):
            await client.become_primary()
    more = await connect("vn/red", 99, primary=False)
    with pytest.raises(SwitchUnavailable, match="RESOURCE_EXHAUSTED"):
        await more.become_primary()
    other = await connect("vn/blue", 1)
    assert other.is_primary and clients[MAX_STREAMS_PER_ROLE].is_primary


async def test_role_with_too_many_calls_is_refused_and_others_are_served(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    red, blue = await connect("vn/red"), await connect("vn/blue")
    assert red.schema is not None and blue.schema is not None
    waiting = [
        asyncio.create_task(
            red.write([red.schema.insert(flow(RED_GOLD.key, port))], {"dfvisor-revision": "6"})
        )
        for port in range(1, MAX_CALLS_PER_ROLE + 1)
    ]
    refused = False
    async with asyncio.timeout(5):
        while not refused:
            try:
                await red.read_entries()
                await asyncio.sleep(0)
            except RpcFailed as error:
                refused = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await blue.write([blue.schema.insert(flow(BLUE_GOLD.key))])
    directory.revisions["red"] = 6
    directory.changed.set()
    await asyncio.gather(*waiting)
    assert len(switch.entries) == MAX_CALLS_PER_ROLE + 1


async def test_stream_whose_answers_are_not_read_is_closed() -> None:
    stream = Stream("peer")
    for _ in range(3 * MAX_UNREAD):
        stream.tell(p4r.StreamMessageResponse())
    assert stream.outgoing.qsize() == MAX_UNREAD + 1
    last = [stream.outgoing.get_nowait() for _ in range(MAX_UNREAD + 1)][-1]
    assert isinstance(last, Refused) and last.code is grpc.StatusCode.RESOURCE_EXHAUSTED
