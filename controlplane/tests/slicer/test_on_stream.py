"""Writes that go on the stream: what becomes of them is what becomes of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from dfvisor.p4rt import onstream
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import TableEntry
from dfvisor.p4rt.errors import RpcFailed, SwitchUnavailable
from dfvisor.p4rt.pb import p4r
from dfvisor.slicer import service
from dfvisor.slicer.server import SlicerServer
from dfvisor.slicer.streams import MAX_UNREAD

from controlplane.tests.slicer.conftest import Connect
from controlplane.tests.slicer.fakes import (
    BLUE_GOLD,
    RED_GOLD,
    FakeDirectory,
    FakeSwitch,
    flow,
)
from controlplane.tests.slicer.plain import PlainClient

CODE = {name: code.value[0] for name, code in grpc.StatusCode.__members__.items()}
SOON = {"dfvisor-at-once": "20"}


class Calls:
    """Counts what goes by a call of its own."""

    def __init__(self, client: P4RuntimeClient) -> None:
        self.number = 0
        self._call: Callable[..., Any] = client._write_call
        client._write_call = self  # type: ignore[assignment]

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.number += 1
        return self._call(*arguments, **options)


def updates(client: P4RuntimeClient, *entries: TableEntry) -> list[p4r.Update]:
    assert client.schema is not None
    return [client.schema.insert(entry) for entry in entries]


async def answered(client: PlainClient, message: p4r.StreamMessageRequest) -> tuple[int, str]:
    """Code and message of the answer to a request."""
    client.requests.put_nowait(message)
    answer = await client.next()
    status = onstream.status_in(answer.other)
    assert status is not None, answer
    return status.code, status.message


async def test_write_that_is_prompt_goes_on_the_stream_with_a_status_for_each_update(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    calls = Calls(client)
    work = updates(client, flow(RED_GOLD.key, 80), flow(BLUE_GOLD.key, 81), flow(RED_GOLD.key, 82))
    on_stream = await client.write_statuses(work, prompt=True)
    assert calls.number == 0
    assert [status.code for status in on_stream] == [0, CODE["PERMISSION_DENIED"], 0]
    assert len(switch.entries) == 2
    again = updates(client, flow(BLUE_GOLD.key, 81))
    assert await client.write_statuses(again) == [on_stream[1]]  # message and all
    assert calls.number == 1


async def test_write_that_is_large_goes_by_a_call(connect: Connect, switch: FakeSwitch) -> None:
    client = await connect("vn/red")
    calls = Calls(client)
    work = updates(client, *(flow(RED_GOLD.key, port) for port in range(1, 401)))
    assert sum(update.ByteSize() for update in work) > onstream.MAX_BYTES
    await client.write_statuses(work, prompt=True)
    assert (calls.number, len(switch.entries)) == (1, 400)


async def test_write_goes_by_a_call_to_a_server_that_does_not_offer_the_stream(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, switch: FakeSwitch
) -> None:
    monkeypatch.setattr(service, "OFFERS", ())
    client = await connect("vn/red")
    calls = Calls(client)
    await client.write_statuses(updates(client, flow(RED_GOLD.key, 80)), prompt=True)
    assert (calls.number, len(switch.entries)) == (1, 1)


async def test_conditions_on_the_stream_are_those_of_a_call(
    connect: Connect, switch: FakeSwitch, directory: FakeDirectory
) -> None:
    client = await connect("vn/red")
    calls = Calls(client)
    work = updates(client, flow(RED_GOLD.key))
    with pytest.raises(RpcFailed, match="holds revision 5, not yet 6") as refused:
        await client.write_statuses(work, {"dfvisor-revision": "6"} | SOON, prompt=True)
    assert refused.value.code is grpc.StatusCode.ABORTED
    with pytest.raises(RpcFailed, match="decimal number") as refused:
        await client.write_statuses(work, {"dfvisor-revision": "six"} | SOON, prompt=True)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert not switch.entries
    good = {"dfvisor-revision": "5", "dfvisor-activate": "5"} | SOON
    assert [one.code for one in await client.write_statuses(work, good, prompt=True)] == [0]
    assert directory.activated == [("red", 5)]
    assert calls.number == 0


async def test_answers_come_to_whom_they_are_for(connect: Connect) -> None:
    client = await connect("vn/red")
    work = updates(client, *(flow(RED_GOLD.key, port) for port in (80, 80, 81, 80, 82)))
    found = await asyncio.gather(*(client.write_statuses([one], prompt=True) for one in work))
    exists = CODE["ALREADY_EXISTS"]
    assert [status.code for (status,) in found] == [0, exists, 0, exists, 0]


async def test_answers_that_are_read_are_not_unread_ones(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    for port in range(1, MAX_UNREAD + 10):
        await client.write_statuses(updates(client, flow(RED_GOLD.key, port)), prompt=True)
    assert len(switch.entries) == MAX_UNREAD + 9


async def test_answer_that_nobody_waits_for_is_not_another_write_s(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    late = asyncio.create_task(
        client.write_statuses(
            updates(client, flow(RED_GOLD.key, 80)),
            {"dfvisor-revision": "6", "dfvisor-at-once": "200"},
            prompt=True,
        )
    )
    async with asyncio.timeout(5):
        while not client._written:  # noqa: ASYNC110 - on its way
            await asyncio.sleep(0)
        while client._sending.locked():  # noqa: ASYNC110
            await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    (status,) = await client.write_statuses(updates(client, flow(RED_GOLD.key, 81)), prompt=True)
    assert (status.code, len(switch.entries)) == (0, 1)


async def test_write_is_over_when_the_stream_is(
    connect: Connect, slicer: SlicerServer, directory: FakeDirectory
) -> None:
    client = await connect("vn/red")
    waiting = asyncio.create_task(client.write_statuses([], {"dfvisor-revision": "6"}, prompt=True))
    async with asyncio.timeout(5):
        while not client._written:  # noqa: ASYNC110 - on its way
            await asyncio.sleep(0)
    await slicer.stop()
    with pytest.raises(SwitchUnavailable):
        await waiting
    with pytest.raises(SwitchUnavailable):
        await client.write_statuses([], SOON, prompt=True)


async def test_write_on_the_stream_of_another_role_is_denied(
    address: str, connect: Connect, switch: FakeSwitch
) -> None:
    blue = await connect("vn/blue")
    async with PlainClient.primary(address, "vn/red") as client:
        request = client.request(updates(blue, flow(BLUE_GOLD.key)))
        request.role = "vn/blue"
        message = onstream.request(request.SerializeToString(), {})
        code, why = await answered(client, message)
        assert (code, "stream of role vn/red" in why) == (CODE["PERMISSION_DENIED"], True)
        request.role = "vn/red"
        request.election_id.low = 2
        message = onstream.request(request.SerializeToString(), {})
        assert (await answered(client, message))[0] == CODE["PERMISSION_DENIED"]
    assert not switch.entries


async def test_write_before_arbitration_is_denied(address: str, switch: FakeSwitch) -> None:
    async with PlainClient.opened(address, "vn/red", arbitrate=False) as client:
        message = onstream.request(client.request([]).SerializeToString(), {})
        assert (await answered(client, message))[0] == CODE["PERMISSION_DENIED"]


@pytest.mark.parametrize("conditions", [{}, {"dfvisor-revision": "5"}], ids=["plain", "with more"])
async def test_write_that_cannot_be_read_is_answered_and_the_stream_goes_on(
    address: str, conditions: dict[str, str]
) -> None:
    async with PlainClient.primary(address, "vn/red") as client:
        message = onstream.request(b"\xff\xff\xff", conditions)
        assert (await answered(client, message))[0] == CODE["INVALID_ARGUMENT"]
        message.other.value = b"\xff"
        assert (await answered(client, message))[0] == CODE["INVALID_ARGUMENT"]
        message.other.type_url = "type.googleapis.com/p4.v1.ReadRequest"
        client.requests.put_nowait(message)
        assert (await client.next()).error.canonical_code == CODE["PERMISSION_DENIED"]
        message = onstream.request(client.request([]).SerializeToString(), {})
        assert (await answered(client, message))[0] == 0
