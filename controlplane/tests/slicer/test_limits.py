"""What a greedy or careless client gets: its own limits, and nobody else's trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from dfvisor.p4rt.errors import RpcFailed, SwitchUnavailable
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r, rpc_status
from dfvisor.slicer.calls import MAX_CALLS_PER_ROLE, MAX_WAITING_PER_ROLE
from dfvisor.slicer.limits import Bucket, Limits, Rate
from dfvisor.slicer.refusal import Refused
from dfvisor.slicer.roles import Role
from dfvisor.slicer.server import SlicerServer
from dfvisor.slicer.streams import MAX_PACKETS, MAX_STREAMS_PER_ROLE, MAX_UNREAD, Stream
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
from controlplane.tests.slicer.plain import PlainClient


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
    assert text.startswith("1000 of 1000 updates failed: update 0: no such entry in table flow")


async def test_stream_message_that_is_no_arbitration_is_answered_with_an_error(
    plain: PlainClient, switch: FakeSwitch
) -> None:
    plain.requests.put_nowait(p4r.StreamMessageRequest(packet=p4r.PacketOut(payload=b"x")))
    answer = await plain.next()
    assert answer.error.canonical_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    plain.requests.put_nowait(p4r.StreamMessageRequest())
    answer = await plain.next()
    assert answer.error.canonical_code == grpc.StatusCode.PERMISSION_DENIED.value[0]


@pytest.mark.parametrize(
    ("role", "device_id"), [("slice/red/silver", DEVICE), ("slice/red/gold", DEVICE + 1)]
)
async def test_stream_that_changes_role_or_device_is_ended(
    plain: PlainClient, role: str, device_id: int
) -> None:
    plain.arbitrate(role, device_id)
    assert await plain.ended() == "FAILED_PRECONDITION"


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


async def until_in_progress(slicer: SlicerServer, number: int) -> None:
    """Until that many calls of role vn/red are in the slicer."""
    async with asyncio.timeout(5):
        while slicer._service._calls.number(Role("red")) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_role_with_many_calls_waits_and_with_too_many_is_refused_and_others_are_served(
    slicer: SlicerServer, connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    red, blue = await connect("vn/red"), await connect("vn/blue")
    assert red.schema is not None and blue.schema is not None
    others = [await connect("vn/red", 1, primary=False) for _ in range(2)]
    waiting: list[asyncio.Task[object]] = [
        asyncio.create_task(
            red.write([red.schema.insert(flow(RED_GOLD.key, port))], {"dfvisor-revision": "6"})
        )
        for port in range(1, 51)
    ]
    await until_in_progress(slicer, len(waiting))
    for other in others:  # a connection carries 64 calls
        other.schema = red.schema
        waiting += [asyncio.create_task(other.read_entries()) for _ in range(50)]
    async with asyncio.timeout(10):
        done: set[asyncio.Task[object]] = set()
        while not done:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    errors = {type(task.exception()) for task in done}
    assert errors == {RpcFailed}, "too many calls of a role are refused"
    await blue.write([blue.schema.insert(flow(BLUE_GOLD.key))])
    directory.revisions["red"] = 6
    directory.changed.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [one for one in found if isinstance(one, RpcFailed)]
    assert 0 < len(refused) <= len(waiting) - MAX_CALLS_PER_ROLE - MAX_WAITING_PER_ROLE
    assert flow(BLUE_GOLD.slice_id) in switch.entries.values()
    assert len(switch.entries) == 51


async def test_stream_whose_answers_are_not_read_is_closed() -> None:
    stream = Stream("peer")
    answer = p4r.StreamMessageResponse()
    answer.arbitration.device_id = 1
    for _ in range(3 * MAX_UNREAD):
        stream.tell(answer)
    got = [await stream.next() for _ in range(MAX_UNREAD + 1)]
    last = got[-1]
    assert isinstance(last, Refused) and last.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_stream_whose_packets_are_not_read_loses_the_newest_and_no_answers() -> None:
    stream = Stream("peer")
    packet = p4r.StreamMessageResponse(packet=p4r.PacketIn(payload=b"x"))
    assert [stream.offer(packet) for _ in range(MAX_PACKETS + 3)].count(False) == 3
    answer = p4r.StreamMessageResponse()
    answer.arbitration.device_id = 1
    stream.tell(answer)
    got = [await stream.next() for _ in range(MAX_PACKETS + 1)]
    assert got[-1] == answer


# -- rates


def test_bucket_that_is_in_debt_says_how_long_to_wait() -> None:
    bucket = Bucket(Rate(per_s=10, burst=5), 0.0)
    assert [bucket.wait_s(0.0) for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(0.1)]
    assert not bucket.take(0.0) and not bucket.full
    assert bucket.take(0.3) and bucket.wait_s(0.3, 21) == pytest.approx(2.0)
    assert bucket.wait_s(100.0, 0) == 0.0 and bucket.full


async def test_eager_role_is_answered_later_and_not_refused_and_others_at_once(
    directory: FakeDirectory, switch: FakeSwitch, schema: Schema
) -> None:
    limits = Limits(writes=Rate(per_s=20, burst=3), reads=Rate(per_s=20, burst=3))
    server = SlicerServer(directory, switch, schema, DEVICE, limits=limits)
    address = await server.start("127.0.0.1:0")
    view = Schema(role_view(schema.proto, False))
    wildcard = p4r.ReadRequest(device_id=DEVICE)
    wildcard.entities.add().table_entry.SetInParent()
    try:
        async with (
            PlainClient.primary(address, "slice/red/gold") as eager,
            PlainClient.primary(address, "slice/blue/gold") as other,
        ):
            began = time.monotonic()
            for number in range(7):
                await eager.write([view.insert(flow(None, number + 1))])
            writing = time.monotonic() - began
            assert 0.1 < writing < 5
            async for _ in eager.stub.Read(wildcard):
                pass
            await other.write([view.insert(flow(None, 1))])
        assert len(switch.entries) == 8
        counts = server.stats()
        assert counts["slice/red/gold"]["writes"] == 7
        assert counts["slice/red/gold"]["writes_delayed"] >= 3
        assert counts["slice/blue/gold"] == {"writes": 1, "updates": 1}
    finally:
        await server.stop()
