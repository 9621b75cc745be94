"""What a write may be about, how much there may be of it, and batches that are all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import grpc.aio
import pytest
from dfvisor.model.space import Space
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import TableEntry, entry_key
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r, rpc_status
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.slicer.server import SlicerServer

from controlplane.tests.slicer.conftest import Connect
from controlplane.tests.slicer.fakes import (
    BLUE_GOLD,
    DEVICE,
    RED_GOLD,
    RED_SILVER,
    FakeDirectory,
    FakeSwitch,
    flow,
    forward,
)

CODE = {name: code.value[0] for name, code in grpc.StatusCode.__members__.items()}
NAMES = {number: name for name, number in CODE.items()}
WEB = Space([{"ip_proto": (6, 0xFF), "l4_dst": (80, 0xFFF0)}])


async def write(
    client: P4RuntimeClient, updates: Sequence[p4r.Update], atomicity: str = "ROLLBACK_ON_ERROR"
) -> list[str]:
    """Names of the statuses of one Write in another mode than the client's own."""
    request = p4r.WriteRequest(
        device_id=client.device_id,
        role=client.role or "",
        atomicity=p4r.WriteRequest.Atomicity.Value(atomicity),
        updates=updates,
    )
    assert client.election_id is not None
    request.election_id.high, request.election_id.low = client.election_id
    try:
        await client._stub.Write(request)
    except grpc.aio.AioRpcError as error:
        trailer = dict(error.trailing_metadata() or ())
        if "grpc-status-details-bin" not in trailer:
            return [error.code().name]
        status = rpc_status.Status.FromString(trailer["grpc-status-details-bin"])
        return [
            NAMES[p4r.Error.FromString(detail.value).canonical_code] for detail in status.details
        ]
    return ["OK"] * len(updates)


async def statuses(client: P4RuntimeClient, *entries: TableEntry) -> list[UpdateStatus]:
    assert client.schema is not None
    return await client.write_statuses([client.schema.insert(entry) for entry in entries])


# -- flowspaces and quotas


async def test_match_outside_the_flowspaces_is_refused_and_the_message_says_what_is_allowed(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    directory.spaces["red", "gold"] = WEB
    client = await connect("slice/red/gold")
    found = await statuses(client, flow(None, 80), flow(None, 90), flow(None, 96))
    assert [NAMES[status.code] for status in found] == ["OK", "OK", "PERMISSION_DENIED"]
    assert "within: ip_proto=0x6 l4_dst=0x50/0xfff0" in found[2].message
    assert len(switch.entries) == 2


async def test_match_on_a_port_need_not_say_that_it_is_no_later_fragment(
    connect: Connect, directory: FakeDirectory
) -> None:
    directory.spaces["red", "gold"] = Space([{"l4_dst": (80, 0xFFFF), "is_fragment": (0, 1)}])
    client = await connect("slice/red/gold")
    assert [one.code for one in await statuses(client, flow(None, 80))] == [0]
    directory.spaces["red", "gold"] = Space([{"l4_dst": (0, 0xFFFF), "is_fragment": (0, 1)}])
    (refused,) = await statuses(client, flow(None, 0))
    assert NAMES[refused.code] == "PERMISSION_DENIED"


async def test_entry_outside_may_still_be_deleted(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    client = await connect("slice/red/gold")
    assert client.schema is not None
    await statuses(client, flow(None, 99))
    directory.spaces["red", "gold"] = WEB
    await client.write([client.schema.delete(flow(None, 99))])
    assert not switch.entries


async def test_shrinking_flowspaces_take_a_tenants_entries_with_them(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch, slicer: SlicerServer
) -> None:
    client, other = await connect("slice/red/gold"), await connect("slice/blue/gold")
    assert not {one.code for one in await statuses(client, flow(None, 80), flow(None, 99))} - {0}
    await statuses(client, forward(None, 1))
    await statuses(other, flow(None, 99))
    directory.spaces["red", "gold"] = WEB
    directory.change("red")
    async with asyncio.timeout(5):
        while len(switch.entries) != 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert set(switch.entries.values()) == {
        flow(RED_GOLD.slice_id, 80),
        forward(RED_GOLD.slice_id, 101),
        flow(BLUE_GOLD.slice_id, 99),
    }
    assert slicer.stats()["slice/red/gold"]["entries_revoked"] == 1


async def test_shrinking_flowspaces_leave_the_vn_controllers_entries_to_it(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch, slicer: SlicerServer
) -> None:
    """A change has two steps: the old entries go when the new ones are active."""
    client = await connect("vn/red")
    await statuses(client, flow(RED_GOLD.key, 99))
    directory.spaces["red", "gold"] = WEB
    directory.change("red")
    await asyncio.gather(*slicer._service._tasks)
    assert len(switch.entries) == 1


async def test_flowspaces_that_shrank_while_the_slicer_was_away_take_a_tenants_entries_with_them(
    schema: Schema, connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    """Whose the entries are is known by the grant; without one they are left alone."""
    directory.writers["red", "gold"] = "slice/red/gold"
    directory.writers["red", "silver"] = "vn/red"
    client, controller = await connect("slice/red/gold"), await connect("vn/red")
    blue = await connect("slice/blue/gold")
    await statuses(client, flow(None, 80), flow(None, 99))
    await statuses(controller, flow(RED_SILVER.key, 99))
    await statuses(blue, flow(None, 99))
    for name in (("red", "gold"), ("red", "silver"), ("blue", "gold")):
        directory.spaces[name] = WEB
    again = SlicerServer(directory, switch, schema, DEVICE)
    await again.start("127.0.0.1:0")
    try:
        await asyncio.gather(*again._service._tasks)
        assert set(switch.entries.values()) == {
            flow(RED_GOLD.slice_id, 80),
            flow(RED_SILVER.slice_id, 99),
            flow(BLUE_GOLD.slice_id, 99),
        }
    finally:
        await again.stop()


async def test_quota_counts_each_table_and_frees_what_is_deleted(
    connect: Connect, directory: FakeDirectory
) -> None:
    directory.quotas["red", "gold"] = 2
    client = await connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    assert {table.size for table in schema.tables.values()} == {2}
    found = await statuses(client, flow(None, 1), flow(None, 2), flow(None, 3), forward(None, 1))
    assert [NAMES[status.code] for status in found] == ["OK", "OK", "RESOURCE_EXHAUSTED", "OK"]
    assert "quota is 2" in found[2].message
    updates = [
        schema.modify(flow(None, 1, cookie=9)),
        schema.delete(flow(None, 1)),
        schema.insert(flow(None, 3)),
        schema.insert(flow(None, 4)),
    ]
    found = await client.write_statuses(updates)
    assert [NAMES[status.code] for status in found] == ["OK"] * 3 + ["RESOURCE_EXHAUSTED"]


async def test_quota_holds_for_writes_at_the_same_time(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    directory.quotas["red", "gold"] = 10
    client = await connect("slice/red/gold")
    await asyncio.gather(*(statuses(client, flow(None, port)) for port in range(1, 31)))
    assert len(switch.entries) == 10


async def test_writer_by_grant_is_the_only_one_that_writes(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    directory.writers["red", "gold"] = "slice/red/gold"
    directory.writers["red", "silver"] = "vn/red"
    controller = await connect("vn/red")
    tenant, reader = await connect("slice/red/gold"), await connect("slice/red/silver")
    assert [one.code for one in await statuses(tenant, flow(None))] == [0]
    found = await statuses(controller, flow(RED_GOLD.key, 81), flow(70_001, 81))
    assert [NAMES[one.code] for one in found] == ["PERMISSION_DENIED", "OK"]
    assert "written by role slice/red/gold" in found[0].message
    with pytest.raises(Exception, match="written by role vn/red; role slice/red/silver may only"):
        await statuses(reader, flow(None))
    assert await reader.read_entries() == [flow(None, 81)]
    assert len(switch.entries) == 2


async def test_reader_sees_what_it_may_read_and_writes_nothing_of_it(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    directory.readers["red", "silver"] = [("gold", WEB)]
    owner, monitor = await connect("slice/red/gold"), await connect("slice/red/silver")
    await statuses(owner, flow(None, 80), flow(None, 99), forward(None, 1))
    switch.counters[entry_key(flow(RED_GOLD.slice_id, 80))] = (3, 30)
    assert await monitor.read_entries() == [flow(None, 80)]
    (counted,) = await monitor.counters.direct("flow")
    assert counted.counter.packets == 3
    schema = monitor.schema
    assert schema is not None
    updates = [schema.modify(flow(None, 80, cookie=9)), schema.delete(flow(None, 80))]
    assert [NAMES[one.code] for one in await monitor.write_statuses(updates)] == ["NOT_FOUND"] * 2
    directory.readers.clear()
    assert await monitor.read_entries() == []


async def test_idle_timeout_reaches_the_switch_and_reads_back(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("slice/red/gold")
    assert client.schema is not None
    update = client.schema.insert(flow(None))
    update.entity.table_entry.idle_timeout_ns = 5_000_000_000
    await client.write([update])
    assert list(switch.timeouts.values()) == [5_000_000_000]
    (found,) = await client.read([p4r.Entity(table_entry=p4r.TableEntry())])
    assert found.table_entry.idle_timeout_ns == 5_000_000_000


async def test_writes_about_one_entry_keep_their_order(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    updates = [schema.insert(flow(None, cookie=1))]
    updates += [schema.modify(flow(None, cookie=number)) for number in range(2, 300)]
    assert {one.code for one in await client.write_statuses(updates)} == {0}
    assert list(switch.entries.values()) == [flow(RED_GOLD.slice_id, cookie=299)]
    assert await client.read_entries() == [flow(None, cookie=299)]


async def test_write_whose_client_has_gone_is_in_the_mirror_all_the_same(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("slice/red/gold")
    arrived, go = asyncio.Event(), asyncio.Event()
    real = switch.write

    async def slow(messages: Sequence[p4r.Update], **_: object) -> list[UpdateStatus]:
        arrived.set()
        await go.wait()
        return await real(messages)

    switch.write = slow  # type: ignore[method-assign]
    writing = asyncio.create_task(statuses(client, flow(None)))
    await arrived.wait()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    go.set()
    async with asyncio.timeout(5):
        while await client.read_entries() != [flow(None)]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert len(switch.entries) == 1


# -- all or nothing


async def test_rollback_batch_without_errors_is_carried_out(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    updates = [schema.insert(flow(None, port)) for port in (1, 2)]
    updates += [schema.modify(flow(None, 1, cookie=7)), schema.delete(flow(None, 2))]
    assert await write(client, updates) == ["OK"] * 4
    assert list(switch.entries.values()) == [flow(RED_GOLD.slice_id, 1, cookie=7)]


async def test_rollback_batch_that_the_slicer_refuses_is_not_begun(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    updates = [schema.insert(flow(None, 1)), schema.insert(forward(None, 3))]
    assert await write(client, updates) == ["ABORTED", "PERMISSION_DENIED"]
    assert not switch.batches
    assert await write(client, updates[:1]) == ["OK"]


async def test_rollback_batch_that_the_switch_refuses_leaves_everything_as_it_was(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    kept = schema.insert(flow(None, 1, cookie=1))
    kept.entity.table_entry.idle_timeout_ns = 77
    await client.write([kept, schema.insert(flow(None, 2))])
    before, timeouts = dict(switch.entries), dict(switch.timeouts)
    full = entry_key(flow(RED_GOLD.slice_id, 4))
    switch.refuse = lambda entry: (
        UpdateStatus(CODE["RESOURCE_EXHAUSTED"], "table full")
        if entry_key(entry) == full
        else UpdateStatus()
    )
    updates = [
        schema.modify(flow(None, 1, cookie=2)),
        schema.delete(flow(None, 2)),
        schema.insert(flow(None, 3)),
        schema.modify(flow(None, 3, cookie=5)),
        schema.insert(flow(None, 4)),
    ]
    found = await write(client, updates)
    assert found == ["ABORTED"] * 4 + ["RESOURCE_EXHAUSTED"]
    assert switch.entries == before
    assert switch.timeouts[entry_key(flow(RED_GOLD.slice_id, 1))] == 77, timeouts
    assert set(await client.read_entries()) == {flow(None, 1), flow(None, 2)}


async def test_dataplane_atomic_is_the_switchs_to_do(connect: Connect, switch: FakeSwitch) -> None:
    client = await connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    one, two = schema.insert(flow(None, 1)), schema.insert(flow(None, 2))
    assert await write(client, [one, two], "DATAPLANE_ATOMIC") == ["OK", "OK"]
    assert (switch.at_once, len(switch.entries)) == (1, 2)
    full = entry_key(flow(RED_GOLD.slice_id, 4))
    switch.refuse = lambda entry: UpdateStatus(8 if entry_key(entry) == full else 0, "full")
    updates = [schema.delete(flow(None, 1)), schema.insert(flow(None, 4))]
    assert await write(client, updates, "DATAPLANE_ATOMIC") == ["ABORTED", "RESOURCE_EXHAUSTED"]
    assert len(switch.entries) == 2
    assert set(await client.read_entries()) == {flow(None, 1), flow(None, 2)}


async def test_dataplane_atomic_is_refused_by_a_switch_without_it_and_nothing_is_written(
    connect: Connect, switch: FakeSwitch
) -> None:
    switch.atomic = False
    client = await connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    one, two = schema.insert(flow(None, 1)), schema.insert(flow(None, 2))
    assert await write(client, [one, two], "DATAPLANE_ATOMIC") == ["UNIMPLEMENTED"]
    assert not switch.entries
    assert await client.read_entries() == []
    assert await write(client, [one], "DATAPLANE_ATOMIC") == ["OK"]


async def test_rollback_batch_that_is_too_long_is_refused(
    connect: Connect, switch: FakeSwitch
) -> None:
    client = await connect("slice/red/gold")
    assert client.schema is not None
    updates = [client.schema.insert(flow(None, port)) for port in range(1, 300)]
    assert await write(client, updates) == ["RESOURCE_EXHAUSTED"]
    assert not switch.entries
