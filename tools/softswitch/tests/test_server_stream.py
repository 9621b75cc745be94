"""StreamChannel over real gRPC: statuses, ends of streams, notifications, writers' permission."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, wrappers_pb2
from softswitch.server.pb import p4r, rpc_status
from softswitch.server.service import WRITE_ON_STREAM
from softswitch.tests.p4client import (
    DEVICE,
    Client,
    StreamClient,
    StreamEndedError,
    Switch,
    contract_config,
    exact_entry,
)

OK, NOT_FOUND, ALREADY_EXISTS = 0, 5, 6
TIMEOUT_S = 10


async def test_stream_first_client_is_primary(client: Client) -> None:
    stream = client.stream()
    await stream.arbitrate(10)
    message = await stream.next()
    assert message.arbitration.device_id == DEVICE
    assert message.arbitration.HasField("status")
    assert message.arbitration.status.code == OK
    assert message.arbitration.election_id.low == 10
    assert not message.arbitration.HasField("role")


async def test_stream_higher_id_takes_over_and_both_are_told(client: Client) -> None:
    first, second = client.stream(), client.stream()
    await first.arbitrate(10)
    assert await first.standing() == (OK, 10)
    await second.arbitrate(11)
    assert await second.standing() == (OK, 11)
    assert await first.standing() == (ALREADY_EXISTS, 11)


async def test_stream_primary_leaves_backup_is_told_there_is_none(client: Client) -> None:
    first, second = client.stream(), client.stream()
    await first.arbitrate((3 << 64) + 1)
    await first.standing()
    await second.arbitrate(9)
    assert await second.standing() == (ALREADY_EXISTS, (3 << 64) + 1)
    first.close()
    assert await second.standing() == (NOT_FOUND, (3 << 64) + 1)
    await second.arbitrate((3 << 64) + 1)
    assert await second.standing() == (OK, (3 << 64) + 1)


async def test_stream_unset_election_id_before_any_primary_gets_not_found(client: Client) -> None:
    stream = client.stream()
    await stream.arbitrate(None)
    assert await stream.standing() == (NOT_FOUND, None)


async def test_stream_half_close_counts_as_leaving(client: Client) -> None:
    first, second = client.stream(), client.stream()
    await first.arbitrate(5)
    await first.standing()
    await second.arbitrate(4)
    assert await second.standing() == (ALREADY_EXISTS, 5)
    await first.call.done_writing()
    assert await second.standing() == (NOT_FOUND, 5)


async def test_stream_named_role_is_echoed_and_separate(client: Client) -> None:
    plain, named = client.stream(), client.stream()
    await plain.arbitrate(10)
    await plain.standing()
    await named.arbitrate(1, role="slice/one", config=empty_pb2.Empty())
    update = (await named.next()).arbitration
    assert (update.status.code, update.role.name) == (OK, "slice/one")
    assert update.role.config.Is(empty_pb2.Empty.DESCRIPTOR)


@pytest.mark.parametrize(
    ("updates", "code"),
    [
        pytest.param([{"device": 8}], grpc.StatusCode.NOT_FOUND, id="unknown-device"),
        pytest.param([{}, {"device": 8}], grpc.StatusCode.FAILED_PRECONDITION, id="changes-device"),
        pytest.param([{}, {"role": "x"}], grpc.StatusCode.FAILED_PRECONDITION, id="changes-role"),
        pytest.param(
            [{"role": "x", "config": wrappers_pb2.StringValue(value="?")}],
            grpc.StatusCode.INVALID_ARGUMENT,
            id="role-config",
        ),
    ],
)
async def test_stream_bad_arbitration_ends_it(
    client: Client, updates: list[dict[str, Any]], code: grpc.StatusCode
) -> None:
    stream = client.stream()
    for update in updates[:-1]:
        await stream.arbitrate(1, **update)
        await stream.next()
    await stream.arbitrate(1, **updates[-1])
    with pytest.raises(StreamEndedError) as caught:
        await stream.next()
    assert caught.value.code is code


async def test_stream_election_id_in_use_ends_the_newcomer_only(client: Client) -> None:
    first, second = client.stream(), client.stream()
    await first.arbitrate(10)
    assert await first.standing() == (OK, 10)
    await second.arbitrate(10)
    with pytest.raises(StreamEndedError) as caught:
        await second.next()
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    await first.arbitrate(10)
    assert await first.standing() == (OK, 10)


async def test_stream_message_without_content_gets_a_stream_error(client: Client) -> None:
    stream = client.stream()
    await stream.arbitrate(1)
    await stream.standing()
    await stream.call.write(p4r.StreamMessageRequest())
    error = (await stream.next()).error
    assert error.canonical_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert error.WhichOneof("details") == "other"
    assert error.message
    await stream.arbitrate(2)  # the stream goes on
    assert await stream.standing() == (OK, 2)


@pytest.mark.parametrize(
    ("fields", "election_id", "code"),
    [
        pytest.param({}, 1, grpc.StatusCode.PERMISSION_DENIED, id="below-the-primary"),
        pytest.param({}, 3, grpc.StatusCode.PERMISSION_DENIED, id="above-the-primary"),
        pytest.param({}, None, grpc.StatusCode.PERMISSION_DENIED, id="unset"),
        pytest.param({"device_id": 9}, 2, grpc.StatusCode.NOT_FOUND, id="unknown-device"),
        pytest.param({"role": "x"}, 2, grpc.StatusCode.NOT_FOUND, id="unknown-role"),
        pytest.param({"role_id": 1}, 2, grpc.StatusCode.UNIMPLEMENTED, id="numeric-role"),
        pytest.param({"atomicity": 3}, 2, grpc.StatusCode.INVALID_ARGUMENT, id="atomicity"),
    ],
)
async def test_write_without_permission_is_refused_as_a_whole(
    client: Client, fields: dict[str, object], election_id: int | None, code: grpc.StatusCode
) -> None:
    await client.become_primary(2)
    await client.push(contract_config(), election_id=2)
    await client.write(election_id=2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.write(election_id=election_id, **fields)
    assert caught.value.code() is code
    trailing: Any = caught.value.trailing_metadata()
    assert "grpc-status-details-bin" not in dict(trailing)


async def test_write_after_the_primary_left_is_denied(client: Client) -> None:
    stream = await client.become_primary()
    await client.push(contract_config())
    stream.close()
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                await client.write()
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.PERMISSION_DENIED
                break


async def test_write_before_any_pipeline_is_a_failed_precondition(client: Client) -> None:
    await client.become_primary()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.write()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.read()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_read_of_an_unknown_device_is_not_found(primary: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await primary.stub.Read(p4r.ReadRequest(device_id=99)).read()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_capabilities_names_the_version(client: Client) -> None:
    response = await client.stub.Capabilities(p4r.CapabilitiesRequest())
    assert response.p4runtime_api_version == "1.4.0"


# -- changes of primary while something is going on ------------------------------------------------

MANY = 20_000
PORT = b"\x09"


async def _begin_long_write(client: Client, switch: Switch) -> asyncio.Task[None]:
    """A write of many updates, of which some are done and most are not; the last sets PORT."""
    await client.write(("INSERT", exact_entry(client, 1, port=b"\x01")))
    toggling = [("MODIFY", exact_entry(client, 1, port=port)) for port in (b"\x02", b"\x03")]
    write = asyncio.create_task(
        client.write(*toggling * (MANY // 2), ("MODIFY", exact_entry(client, 1, port=PORT)))
    )
    (entry,) = switch.fake.tables["ContractIngress.exact_table"].entries.values()
    async with asyncio.timeout(TIMEOUT_S):
        while entry.args == (1,):  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert entry.args != (PORT[0],)
    return write


def _is_done(switch: Switch) -> bool:
    (entry,) = switch.fake.tables["ContractIngress.exact_table"].entries.values()
    return entry.args == (PORT[0],)


async def test_write_in_flight_is_finished_before_the_new_primary_is_told(
    primary: Client, switch: Switch
) -> None:
    write = await _begin_long_write(primary, switch)
    second = primary.stream()
    await second.arbitrate(50)
    assert await second.standing() == (OK, 50)
    assert _is_done(switch)
    await write


async def test_write_waiting_behind_another_is_denied_after_a_change_of_primary(
    primary: Client, switch: Switch
) -> None:
    first = await _begin_long_write(primary, switch)
    waiting = asyncio.create_task(primary.write(("INSERT", exact_entry(primary, 2))))
    lock = switch.service._state
    async with asyncio.timeout(TIMEOUT_S):
        while not getattr(lock, "_waiters", None):  # noqa: ASYNC110
            await asyncio.sleep(0)
    second = primary.stream()
    await second.arbitrate(50)
    assert await second.standing() == (OK, 50)
    await first
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_write_whose_client_goes_away_is_finished(primary: Client, switch: Switch) -> None:
    write = await _begin_long_write(primary, switch)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    async with asyncio.timeout(TIMEOUT_S):
        while not _is_done(switch):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_push_in_flight_is_denied_after_a_change_of_primary(
    primary: Client, switch: Switch
) -> None:
    await primary.write(("INSERT", exact_entry(primary, 1)))
    switch.may_build.clear()
    switch.building.clear()
    push = asyncio.create_task(primary.push(contract_config(cookie=2)))
    assert await asyncio.to_thread(switch.building.wait, TIMEOUT_S)
    second = primary.stream()
    await second.arbitrate(50)
    assert await second.standing() == (OK, 50)
    switch.may_build.set()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await push
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert switch.fake.closed
    assert len(await primary.entries(table_id=exact_entry(primary, 1).table_id)) == 1


# -- a Write on the stream


def _on_stream(client: Client, *entries: p4r.TableEntry, **fields: Any) -> p4r.StreamMessageRequest:
    request = p4r.WriteRequest(**{"device_id": DEVICE, **fields})
    request.election_id.low = 1
    for entry in entries:
        update = request.updates.add(type=p4r.Update.INSERT)
        update.entity.table_entry.CopyFrom(entry)
    message = p4r.StreamMessageRequest()
    message.other.Pack(request)
    return message


async def _answer(stream: StreamClient, message: p4r.StreamMessageRequest) -> rpc_status.Status:
    await stream.call.write(message)
    answer = (await stream.next()).other
    status = rpc_status.Status()
    assert answer.Unpack(status), answer
    return status


async def test_write_on_the_stream_is_offered_and_carried_out(primary: Client) -> None:
    stream = primary.primary
    assert stream is not None
    assert WRITE_ON_STREAM in list(await stream.call.initial_metadata())
    before = await primary.entries()
    entries = [exact_entry(primary, 1), exact_entry(primary, 2)]
    for atomicity in (p4r.WriteRequest.CONTINUE_ON_ERROR, p4r.WriteRequest.DATAPLANE_ATOMIC):
        message = _on_stream(primary, entries.pop(), atomicity=atomicity)
        assert (await _answer(stream, message)).code == OK
    assert len(await primary.entries()) == len(before) + 2


async def test_write_on_the_stream_has_the_details_of_a_call(primary: Client) -> None:
    stream = primary.primary
    assert stream is not None
    entries = [exact_entry(primary, 1), exact_entry(primary, 1)]
    status = await _answer(stream, _on_stream(primary, *entries))
    assert status.code == grpc.StatusCode.UNKNOWN.value[0]
    found = [p4r.Error(), p4r.Error()]
    assert all(one.Unpack(error) for one, error in zip(status.details, found, strict=True))
    assert [error.canonical_code for error in found] == [OK, ALREADY_EXISTS]


async def test_write_on_the_stream_of_a_backup_is_denied(primary: Client) -> None:
    before = await primary.entries()
    backup = primary.stream()
    await backup.arbitrate(0)
    await backup.standing()
    status = await _answer(backup, _on_stream(primary, exact_entry(primary, 1)))
    assert status.code == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert await primary.entries() == before


async def test_write_on_the_stream_that_cannot_be_read_is_answered(primary: Client) -> None:
    stream = primary.primary
    assert stream is not None
    message = _on_stream(primary)
    message.other.value = b"\xff\xff"
    status = await _answer(stream, message)
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert (await _answer(stream, _on_stream(primary, exact_entry(primary, 1)))).code == OK
