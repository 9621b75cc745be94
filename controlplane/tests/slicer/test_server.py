"""The slicer over gRPC: arbitration, writes with a status for each update, reads, views."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from dfvisor.errors import SwitchError
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import TableEntry, entry_key
from dfvisor.p4rt.errors import NotPrimary, RpcFailed, SwitchUnavailable, WriteError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import NEIGHBOUR, UpdateStatus
from dfvisor.slicer.server import SlicerServer
from dfvisor.slicer.tables import CHUNK, UNDER_WAY
from dfvisor.slicer.turns import UNDER_WAY as TURNS

from controlplane.tests.slicer.conftest import Connect
from controlplane.tests.slicer.fakes import (
    BLUE_GOLD,
    DEVICE,
    RED_BEST_EFFORT,
    RED_GOLD,
    RED_SILVER,
    FakeDirectory,
    FakeSwitch,
    flow,
    forward,
)

CODE = {name: code.value[0] for name, code in grpc.StatusCode.__members__.items()}


async def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Poll until true; TimeoutError otherwise."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - conditions here have no event
            await asyncio.sleep(0.01)


async def codes(client: P4RuntimeClient, *updates: p4r.Update) -> list[str]:
    """Names of the statuses of one Write's updates."""
    names = {code: name for name, code in CODE.items()}
    return [names[status.code] for status in await client.write_statuses(updates)]


async def refusal(call: Awaitable[object]) -> grpc.StatusCode:
    """The status with which a request is refused."""
    with pytest.raises(RpcFailed) as caught:
        await call
    assert not isinstance(caught.value, WriteError)
    return caught.value.code


def updates(client: P4RuntimeClient, *entries: TableEntry) -> list[p4r.Update]:
    assert client.schema is not None
    return [client.schema.insert(entry) for entry in entries]


# -- arbitration


@pytest.mark.parametrize("role", [None, "", "admin", "vn/", "slice/red"])
async def test_stream_without_a_known_role_is_refused(connect: Connect, role: str | None) -> None:
    client = await connect(role, primary=False)
    with pytest.raises(SwitchUnavailable, match="PERMISSION_DENIED"):
        await client.become_primary()


async def test_stream_for_another_device_is_refused(address: str) -> None:
    client = P4RuntimeClient(address, DEVICE + 1, election_id=(0, 1), role="vn/red")
    try:
        with pytest.raises(SwitchUnavailable, match="NOT_FOUND"):
            await client.become_primary()
    finally:
        await client.close()


async def test_newer_leader_takes_over_and_the_older_may_not_write(
    connect: Connect, switch: FakeSwitch
) -> None:
    old = await connect("vn/red", 1)
    assert await codes(old, *updates(old, flow(RED_GOLD.key))) == ["OK"]
    new = await connect("vn/red", 2)
    await eventually(lambda: not old.is_primary)
    late = updates(old, flow(RED_GOLD.key, 81))
    assert await refusal(old.write(late)) is grpc.StatusCode.PERMISSION_DENIED
    assert await codes(new, *late) == ["OK"]
    assert len(switch.entries) == 2


async def test_older_leader_that_comes_later_is_refused(connect: Connect) -> None:
    await connect("vn/red", 2)
    old = await connect("vn/red", 1, primary=False)
    with pytest.raises(NotPrimary):
        await old.become_primary()


async def test_roles_do_not_compete(connect: Connect) -> None:
    clients = [await connect(role, 9) for role in ("vn/red", "vn/blue", "slice/red/gold")]
    assert all(client.is_primary for client in clients)


async def test_leader_whose_stream_ends_leaves_the_role_vacant(connect: Connect) -> None:
    one = await connect("vn/red", 2)
    await one.close()
    again = await connect("vn/red", 3)
    assert again.is_primary


# -- writes


async def test_write_reaches_the_switch_with_the_slice_id(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    await client.write(updates(client, forward(RED_GOLD.key, NEIGHBOUR + 2), flow(RED_GOLD.key)))
    assert set(switch.entries.values()) == {
        forward(RED_GOLD.slice_id, 202),
        flow(RED_GOLD.slice_id),
    }


async def test_write_of_a_mixed_batch_has_a_status_for_each_update(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    full = flow(RED_GOLD.slice_id, 99)
    switch.refuse = lambda entry: (
        UpdateStatus(CODE["RESOURCE_EXHAUSTED"], "table full")
        if entry_key(entry) == entry_key(full)
        else UpdateStatus()
    )
    schema = client.schema
    assert schema is not None
    found = await codes(
        client,
        schema.insert(flow(RED_GOLD.key, 80)),
        schema.insert(flow(BLUE_GOLD.key, 80)),
        schema.insert(flow(RED_BEST_EFFORT.key, 80)),
        schema.insert(flow(RED_GOLD.key, 99)),
        schema.insert(flow(RED_GOLD.key, 80, cookie=2)),
        schema.modify(flow(RED_GOLD.key, 80, cookie=3)),
        schema.modify(flow(RED_GOLD.key, 81)),
        schema.delete(flow(RED_GOLD.key, 82)),
        schema.insert(forward(RED_GOLD.key, 3)),
        schema.insert(flow(RED_SILVER.key, 80)),
        schema.delete(flow(RED_SILVER.key, 80)),
        p4r.Update(type=p4r.Update.INSERT),
    )
    assert found == [
        "OK",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "ALREADY_EXISTS",
        "OK",
        "NOT_FOUND",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "OK",
        "OK",
        "PERMISSION_DENIED",
    ]
    assert list(switch.entries.values()) == [flow(RED_GOLD.slice_id, 80, cookie=3)]


async def test_write_of_another_table_is_refused(
    connect: Connect, schema: Schema, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    for name, table in schema.tables.items():
        if name in ("flow", "slice_path", "slice_forward"):
            continue
        update = p4r.Update(type=p4r.Update.INSERT)
        update.entity.table_entry.table_id = table.id
        assert await codes(client, update) == ["PERMISSION_DENIED"], name
    assert not switch.batches


def _spoil(change: Callable[[p4r.TableEntry], object]) -> Callable[[p4r.Update], None]:
    return lambda update: (change(update.entity.table_entry), None)[1]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_spoil(lambda e: setattr(e, "priority", 0)), "INVALID_ARGUMENT"),
        (_spoil(lambda e: e.ClearField("action")), "INVALID_ARGUMENT"),
        (_spoil(lambda e: e.match.add(field_id=99)), "INVALID_ARGUMENT"),
        (_spoil(lambda e: e.match.add().CopyFrom(e.match[0])), "INVALID_ARGUMENT"),
        (_spoil(lambda e: e.match.pop(0)), "INVALID_ARGUMENT"),
        (_spoil(lambda e: setattr(e.match[1].ternary, "mask", b"\0")), "INVALID_ARGUMENT"),
        (_spoil(lambda e: setattr(e.action.action, "action_id", 21257015)), "INVALID_ARGUMENT"),
        (_spoil(lambda e: setattr(e, "is_default_action", True)), "PERMISSION_DENIED"),
        (_spoil(lambda e: setattr(e, "idle_timeout_ns", -1)), "INVALID_ARGUMENT"),
        (_spoil(lambda e: e.meter_config.SetInParent()), "INVALID_ARGUMENT"),
        (_spoil(lambda e: setattr(e, "metadata", b"x")), "UNIMPLEMENTED"),
    ],
    ids=[
        "no priority",
        "no action",
        "unknown field",
        "field twice",
        "no slice id",
        "empty mask",
        "default-only action",
        "default entry",
        "negative idle timeout",
        "meter",
        "metadata",
    ],
)
async def test_write_that_does_not_fit_is_refused(
    connect: Connect, switch: FakeSwitch, spoil: Callable[[p4r.Update], None], code: str
) -> None:
    client = await connect("vn/red")
    (update,) = updates(client, flow(RED_GOLD.key))
    spoil(update)
    assert await codes(client, update) == [code]
    assert not switch.entries
    assert await codes(client, *updates(client, flow(RED_GOLD.key))) == ["OK"]


async def test_write_from_a_client_that_is_not_primary_is_refused(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red", 1)
    quoting = await connect("vn/red", 2, primary=False)
    entry = updates(client, flow(RED_GOLD.key))
    assert await refusal(quoting.write(entry)) is grpc.StatusCode.PERMISSION_DENIED
    other_role = await connect("vn/blue", 1, primary=False)
    assert await refusal(other_role.write(entry)) is grpc.StatusCode.PERMISSION_DENIED
    assert not switch.entries


async def test_write_that_quotes_the_primary_from_another_connection_is_refused(
    connect: Connect, switch: FakeSwitch
) -> None:
    """The election id alone gives no right."""
    client = await connect("vn/red", 5)
    thief = await connect("vn/red", 5, primary=False)
    entry = updates(client, flow(RED_GOLD.key))
    assert await refusal(thief.write(entry)) is grpc.StatusCode.PERMISSION_DENIED
    assert not switch.entries
    await client.write(entry)
    assert len(switch.entries) == 1


async def test_request_without_a_role_or_stream_is_refused(connect: Connect, address: str) -> None:
    reader = await connect(None, primary=False)
    wildcard = p4r.Entity(table_entry=p4r.TableEntry())
    assert await refusal(reader.read([wildcard])) is grpc.StatusCode.PERMISSION_DENIED
    assert await refusal(reader.get_schema()) is grpc.StatusCode.PERMISSION_DENIED
    assert await refusal(reader.write([])) is grpc.StatusCode.PERMISSION_DENIED


async def test_slice_role_writes_only_while_no_controller_is_connected(
    connect: Connect, switch: FakeSwitch
) -> None:
    tenant = await connect("slice/red/gold")
    assert await codes(tenant, *updates(tenant, flow(None, 80))) == ["OK"]
    assert list(switch.entries.values()) == [flow(RED_GOLD.slice_id, 80)]
    controller = await connect("vn/red")
    late = updates(tenant, flow(None, 81))
    assert await refusal(tenant.write(late)) is grpc.StatusCode.PERMISSION_DENIED
    await controller.close()
    async with asyncio.timeout(5):
        while True:  # until the server has seen the controller's stream end
            try:
                assert await codes(tenant, *late) == ["OK"]
                break
            except RpcFailed as error:
                assert error.code is grpc.StatusCode.PERMISSION_DENIED


async def test_write_larger_than_the_limit_is_refused(connect: Connect) -> None:
    client = await connect("vn/red")
    request = p4r.WriteRequest(device_id=DEVICE, role="vn/red")
    request.election_id.low = 1
    request.updates.extend(updates(client, flow(RED_GOLD.key)) * 8000)
    assert request.ByteSize() > 256 << 10
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client._stub.Write(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_set_pipeline_is_refused(connect: Connect, schema: Schema) -> None:
    client = await connect("vn/red")
    assert await refusal(client.set_pipeline(schema, b"", 1)) is grpc.StatusCode.PERMISSION_DENIED


async def test_long_batch_ends_when_the_primary_is_superseded(
    connect: Connect, switch: FakeSwitch
) -> None:
    """The rest of a long batch is not written after a newer leader has taken over."""
    old = await connect("vn/red", 1)
    new = await connect("vn/red", 2, primary=False)
    taking_over: list[asyncio.Task[None]] = []
    blocked = asyncio.Event()

    real_write = switch.write

    async def slow_write(messages: list[p4r.Update], **_: object) -> list[UpdateStatus]:
        if not taking_over:
            taking_over.append(asyncio.create_task(new.become_primary()))
        await blocked.wait()
        return await real_write(messages)

    switch.write = slow_write  # type: ignore[assignment,method-assign]
    batch = updates(old, *(flow(RED_GOLD.key, port) for port in range(1, 451)))
    writing = asyncio.create_task(old.write_statuses(batch))
    await eventually(lambda: new.is_primary)
    blocked.set()
    found = [status.code for status in await writing]
    written = found.count(CODE["OK"])
    assert found == [CODE["OK"]] * written + [CODE["PERMISSION_DENIED"]] * (len(batch) - written)
    assert len(switch.entries) == written == sum(switch.batches[:UNDER_WAY])


async def test_long_batches_of_one_role_let_the_others_in_between(
    connect: Connect, switch: FakeSwitch
) -> None:
    red, blue = await connect("vn/red"), await connect("vn/blue")
    first = asyncio.Event()
    order: list[int] = []
    real_write = switch.write

    async def slow_write(messages: list[p4r.Update], **_: object) -> list[UpdateStatus]:
        order.append(len(messages))
        await first.wait()
        return await real_write(messages)

    switch.write = slow_write  # type: ignore[assignment,method-assign]
    many = [
        updates(red, *(flow(RED_GOLD.key, port, priority) for port in range(1, 2 * CHUNK + 1)))
        for priority in (1, 2, 3)
    ]
    writing = [asyncio.create_task(red.write(batch)) for batch in many]
    await eventually(lambda: bool(order))
    writing.append(asyncio.create_task(blue.write(updates(blue, flow(BLUE_GOLD.key)))))
    await asyncio.sleep(0.3)  # until all are waiting in the slicer; more waiting changes nothing
    first.set()
    await asyncio.gather(*writing)
    assert order.index(1) <= TURNS, order


# -- revisions


async def test_write_for_a_revision_waits_until_it_is_held(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    entry = updates(client, flow(RED_GOLD.key))
    writing = asyncio.create_task(client.write(entry, {"dfvisor-revision": "6"}))
    done, _ = await asyncio.wait((writing,), timeout=0.1)
    assert not done and not switch.entries
    directory.revisions["red"] = 6
    directory.changed.set()
    await writing
    assert len(switch.entries) == 1


async def test_write_for_a_revision_that_does_not_come_is_unavailable(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    with pytest.raises(SwitchUnavailable, match="holds revision 5, not yet 6"):
        await client.write(updates(client, flow(RED_GOLD.key)), {"dfvisor-revision": "6"})
    assert not switch.entries


async def test_write_that_completes_a_revision_is_reported(
    connect: Connect, directory: FakeDirectory
) -> None:
    client = await connect("vn/red")
    await client.write([], {"dfvisor-complete": "5"})
    assert directory.completed == [("red", 5)]


async def test_write_that_fails_completes_nothing(
    connect: Connect, directory: FakeDirectory
) -> None:
    client = await connect("vn/red")
    with pytest.raises(WriteError):
        await client.write(updates(client, flow(BLUE_GOLD.key)), {"dfvisor-complete": "5"})
    tenant = await connect("slice/blue/gold")
    with pytest.raises(RpcFailed):
        await tenant.write([], {"dfvisor-complete": "1"})
    assert directory.completed == []


async def test_write_at_once_is_given_back_undone_where_the_revision_is_not_there(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    soon = {"dfvisor-at-once": "20"}
    for condition in ({"dfvisor-revision": "6"}, {"dfvisor-active": "6"}):
        with pytest.raises(RpcFailed) as refused:
            await client.write(updates(client, flow(RED_GOLD.key)), condition | soon)
        assert refused.value.code is grpc.StatusCode.ABORTED
    assert not switch.entries
    await client.write(updates(client, flow(RED_GOLD.key)), {"dfvisor-revision": "5"} | soon)
    assert len(switch.entries) == 1


async def test_leader_activates_with_a_write_that_succeeds(
    connect: Connect, directory: FakeDirectory
) -> None:
    client = await connect("vn/red")
    with pytest.raises(WriteError):
        await client.write(updates(client, flow(BLUE_GOLD.key)), {"dfvisor-activate": "5"})
    tenant = await connect("slice/blue/gold")
    with pytest.raises(RpcFailed):
        await tenant.write([], {"dfvisor-activate": "1"})
    assert directory.activated == []
    await client.write(updates(client, flow(RED_GOLD.key)), {"dfvisor-activate": "5"})
    assert directory.activated == [("red", 5)]


# -- reads


async def test_read_gives_a_role_its_own_entries_only(connect: Connect) -> None:
    red, blue = await connect("vn/red"), await connect("vn/blue")
    own = [flow(RED_GOLD.key, 80), flow(RED_SILVER.key, 80), forward(RED_GOLD.key, 1)]
    await red.write(updates(red, *own))
    await blue.write(updates(blue, flow(BLUE_GOLD.key, 80), forward(BLUE_GOLD.key, 3)))
    assert set(await red.read_entries()) == set(own)
    assert await red.read_entries("slice_forward") == own[2:]
    gold = await connect("slice/red/gold")
    assert set(await gold.read_entries()) == {flow(None, 80), forward(None, 1)}
    assert set(await blue.read_entries()) == {flow(BLUE_GOLD.key, 80), forward(BLUE_GOLD.key, 3)}
    best_effort = await connect("slice/red/rest")
    assert await best_effort.read_entries() == []


async def test_read_of_direct_counters_gives_those_of_the_own_entries(
    connect: Connect, switch: FakeSwitch
) -> None:
    red, blue = await connect("vn/red"), await connect("vn/blue")
    await red.write(updates(red, flow(RED_GOLD.key, 80), flow(RED_GOLD.key, 81)))
    await blue.write(updates(blue, flow(BLUE_GOLD.key, 80)))
    switch.counters = {
        entry_key(flow(RED_GOLD.slice_id, 81)): (3, 300),
        entry_key(flow(BLUE_GOLD.slice_id, 80)): (9, 900),
    }
    counted = {one.entry: one.counter.packets for one in await red.counters.direct("flow")}
    assert counted == {flow(RED_GOLD.key, 80): 0, flow(RED_GOLD.key, 81): 3}
    wildcard = p4r.Entity()
    wildcard.direct_counter_entry.table_entry.SetInParent()
    found = await red.read([wildcard])
    assert sorted(one.direct_counter_entry.data.byte_count for one in found) == [0, 300]


async def test_read_of_one_entry_by_its_key(connect: Connect) -> None:
    red = await connect("vn/red")
    entries = [flow(RED_GOLD.key, port) for port in range(1, 600)]
    await red.write(updates(red, *entries))
    assert red.schema is not None
    asked = red.schema.encode(entries[77])
    asked.table_entry.ClearField("action")
    assert [red.schema.decode(one) for one in await red.read([asked])] == [entries[77]]
    assert len(await red.read_entries()) == len(entries)


async def test_read_of_another_vn_or_table_is_refused(connect: Connect, schema: Schema) -> None:
    red, blue = await connect("vn/red"), await connect("vn/blue")
    await blue.write(updates(blue, flow(BLUE_GOLD.key, 80)))
    assert red.schema is not None
    foreign = red.schema.encode(flow(BLUE_GOLD.key, 80))
    classifier = p4r.Entity(table_entry=p4r.TableEntry(table_id=schema.table("classifier").id))
    for asked in (foreign, classifier):
        assert await refusal(red.read([asked])) is grpc.StatusCode.PERMISSION_DENIED


async def test_read_of_what_no_role_has_is_empty(connect: Connect) -> None:
    red = await connect("vn/red")
    assert await red.read_multicast() == []


async def test_read_of_an_entry_whose_next_hop_has_gone_shows_none(
    connect: Connect, directory: FakeDirectory
) -> None:
    red = await connect("vn/red")
    await red.write(updates(red, forward(RED_GOLD.key, 1)))
    del directory.next_hops_by_vn["red", 1]
    assert await red.read_entries() == [forward(RED_GOLD.key, 0)]
    assert red.schema is not None
    assert await codes(red, red.schema.delete(forward(RED_GOLD.key, 0))) == ["OK"]


# -- the mirror


async def test_start_takes_what_the_switch_holds(
    slicer: SlicerServer, switch: FakeSwitch, connect: Connect, tmp_path: Path
) -> None:
    held = flow(RED_GOLD.slice_id, 80)
    switch.entries[entry_key(held)] = held
    at = await slicer.start(f"unix:{tmp_path}/second")
    client = await connect("vn/red", at=at)
    assert await client.read_entries() == [flow(RED_GOLD.key, 80)]


async def test_replay_makes_the_switch_equal_to_what_was_acknowledged(
    slicer: SlicerServer, connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    await client.write(updates(client, flow(RED_GOLD.key, 80), flow(RED_GOLD.key, 81)))
    before = dict(switch.entries)
    switch.entries.clear()
    stranger = flow(RED_GOLD.slice_id, 82)
    changed = flow(RED_GOLD.slice_id, 81, cookie=77)
    for entry in (stranger, changed):
        switch.entries[entry_key(entry)] = entry
    await slicer.replay()
    assert switch.entries == before
    batches = len(switch.batches)
    await slicer.replay()
    assert len(switch.batches) == batches


async def test_replay_of_what_the_switch_refuses_is_seen_by_its_writer(
    slicer: SlicerServer, connect: Connect, switch: FakeSwitch
) -> None:
    red, blue = await connect("vn/red"), await connect("vn/blue")
    await red.write(updates(red, flow(RED_GOLD.key, 80), flow(RED_GOLD.key, 81)))
    await blue.write(updates(blue, flow(BLUE_GOLD.key)))
    switch.entries.clear()
    lost = entry_key(flow(RED_GOLD.slice_id, 81))
    switch.refuse = lambda entry: (
        UpdateStatus(CODE["RESOURCE_EXHAUSTED"], "table full")
        if entry_key(entry) == lost
        else UpdateStatus()
    )
    await slicer.replay()
    async with asyncio.timeout(5):
        await red.wait_lost()
    assert blue.is_primary
    again = await connect("vn/red", 2)
    assert await again.read_entries() == [flow(RED_GOLD.key, 80)]
    assert await blue.read_entries() == [flow(BLUE_GOLD.key)]


async def test_drop_slice_that_the_switch_refuses_is_an_error_until_it_is_done(
    slicer: SlicerServer, connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    await client.write(updates(client, flow(RED_GOLD.key)))
    switch.refuse = lambda entry: UpdateStatus(CODE["INTERNAL"], "not now")
    with pytest.raises(SwitchError, match="entries of slice 11 are left"):
        await slicer.drop_slice(RED_GOLD.slice_id)
    await slicer.replay()
    with pytest.raises(SwitchError):
        await slicer.drop_slice(RED_GOLD.slice_id)
    switch.refuse = lambda entry: UpdateStatus()
    await slicer.replay()
    assert not switch.entries
    await slicer.drop_slice(RED_GOLD.slice_id)


async def test_write_while_the_switch_is_away_is_unavailable_and_leaves_no_trace(
    slicer: SlicerServer, connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    switch.away = True
    with pytest.raises(SwitchUnavailable):
        await client.write(updates(client, flow(RED_GOLD.key)))
    switch.away = False
    assert await client.read_entries() == []
    await slicer.replay()
    assert not switch.entries
    await client.write(updates(client, flow(RED_GOLD.key)))


async def test_deleted_entry_does_not_come_back(
    slicer: SlicerServer, connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    assert client.schema is not None
    await client.write(updates(client, flow(RED_GOLD.key)))
    delete = client.schema.delete(flow(RED_GOLD.key))
    assert await codes(client, delete) == ["OK"]
    assert await client.read_entries() == []
    await slicer.replay()
    assert not switch.entries
    assert await codes(client, delete) == ["NOT_FOUND"]


async def test_drop_slice_deletes_its_entries_and_no_others(
    slicer: SlicerServer, connect: Connect, switch: FakeSwitch, directory: FakeDirectory
) -> None:
    client = await connect("vn/red")
    await client.write(updates(client, flow(RED_GOLD.key), flow(RED_SILVER.key)))
    del directory.slices["red"]["gold"]
    await slicer.drop_slice(RED_GOLD.slice_id)
    assert list(switch.entries.values()) == [flow(RED_SILVER.slice_id)]
    client = await connect("vn/red", 2)
    assert await client.read_entries() == [flow(RED_SILVER.key)]
    assert await codes(client, *updates(client, flow(RED_GOLD.key))) == ["PERMISSION_DENIED"]


async def test_drop_slice_ends_the_streams_of_those_who_had_entries_in_it(
    slicer: SlicerServer, connect: Connect, directory: FakeDirectory
) -> None:
    """They would otherwise believe that their entries are there when the slice comes back."""
    red, blue = await connect("vn/red"), await connect("vn/blue")
    await red.write(updates(red, flow(RED_GOLD.key), flow(RED_SILVER.key)))
    await slicer.drop_slice(99)
    assert red.is_primary
    del directory.slices["red"]["gold"]
    await slicer.drop_slice(RED_GOLD.slice_id)
    async with asyncio.timeout(5):
        await red.wait_lost()
    assert blue.is_primary


async def test_slice_that_goes_ends_its_streams_and_leaves_nothing_of_its_role(
    connect: Connect, directory: FakeDirectory, slicer: SlicerServer
) -> None:
    """Also of one that never wrote; and who gets the name next begins anew."""
    gold = await connect("slice/red/gold", 9)
    backup = await connect("slice/red/gold", 8, primary=False)
    with pytest.raises(NotPrimary):
        await backup.become_primary()
    silver, blue = await connect("slice/red/silver"), await connect("slice/blue/gold")
    assert gold.schema is not None
    directory.change("red")
    with pytest.raises(WriteError):
        await gold.write([gold.schema.insert(forward(None, 3))])
    assert "slice/red/gold" in slicer.stats()
    info = directory.slices["red"].pop("gold")
    directory.change("red")
    async with asyncio.timeout(5):
        await gold.wait_lost()
        await backup.wait_lost()
    # clients hear of the end before the slicer has left their streams
    await eventually(lambda: "slice/red/gold" not in slicer.stats())
    directory.slices["red"]["gold"] = info
    directory.change("red")
    assert "slice/red/gold" not in slicer.stats()
    assert (await connect("slice/red/gold", 1)).is_primary
    assert silver.is_primary and blue.is_primary


async def test_drop_slice_while_the_switch_is_away_is_made_good_by_replay(
    slicer: SlicerServer, connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("vn/red")
    await client.write(updates(client, flow(RED_GOLD.key)))
    switch.away = True
    with pytest.raises(SwitchUnavailable):
        await slicer.drop_slice(RED_GOLD.slice_id)
    switch.away = False
    await slicer.replay()
    assert not switch.entries
