"""CounterEntry, DirectCounterEntry and counter_data of TableEntry, on both data planes."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from softswitch.server.pb import p4r
from softswitch.tests.p4client import Client, acl_entry, exact_entry, key_of, lpm_entry

CELLS = 16


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def cell(client: Client, index: int | None, packets: int = 0, bytes_: int = 0) -> p4r.CounterEntry:
    entry = p4r.CounterEntry(counter_id=client.names.counters["cells"])
    if index is not None:
        entry.index.index = index
    if packets or bytes_:
        entry.data.packet_count, entry.data.byte_count = packets, bytes_
    return entry


async def cells(client: Client, query: p4r.CounterEntry) -> dict[int, tuple[int, int]]:
    found = [e.counter_entry for e in await client.read(query)]
    assert all(entry.HasField("data") for entry in found)
    return {e.index.index: (e.data.packet_count, e.data.byte_count) for e in found}


async def test_counter_read_of_new_pipeline_is_zero(primary: Client) -> None:
    zeros = dict.fromkeys(range(CELLS), (0, 0))
    assert await cells(primary, cell(primary, None)) == zeros
    assert await cells(primary, p4r.CounterEntry()) == zeros
    assert await cells(primary, cell(primary, 0)) == {0: (0, 0)}


async def test_counter_write_one_cell_changes_that_cell(primary: Client) -> None:
    await primary.write(("MODIFY", cell(primary, 3, 5, 700)))
    assert await cells(primary, cell(primary, 3)) == {3: (5, 700)}
    assert sum(p for p, _ in (await cells(primary, cell(primary, None))).values()) == 5


async def test_counter_write_without_index_sets_all_cells(primary: Client) -> None:
    await primary.write(("MODIFY", cell(primary, None, 1, 2)))
    assert await cells(primary, cell(primary, None)) == dict.fromkeys(range(CELLS), (1, 2))


async def test_counter_write_without_data_changes_nothing(primary: Client) -> None:
    await primary.write(("MODIFY", cell(primary, 3, 5, 700)))
    await primary.write(("MODIFY", cell(primary, 3)))
    assert await cells(primary, cell(primary, 3)) == {3: (5, 700)}


@pytest.mark.parametrize(
    ("kind", "index", "packets", "code"),
    [
        pytest.param("INSERT", 1, 1, grpc.StatusCode.INVALID_ARGUMENT, id="insert"),
        pytest.param("DELETE", 1, 1, grpc.StatusCode.INVALID_ARGUMENT, id="delete"),
        pytest.param("MODIFY", -1, 1, grpc.StatusCode.INVALID_ARGUMENT, id="negative-index"),
        pytest.param("MODIFY", CELLS, 1, grpc.StatusCode.OUT_OF_RANGE, id="beyond"),
        pytest.param("MODIFY", 1, -1, grpc.StatusCode.INVALID_ARGUMENT, id="negative-value"),
    ],
)
async def test_counter_write_misuse_is_refused(
    primary: Client, kind: str, index: int, packets: int, code: grpc.StatusCode
) -> None:
    got, _ = await primary.refused(kind, cell(primary, index, packets))
    assert got is code


@pytest.mark.parametrize(
    ("counter", "index", "code"),
    [
        (None, -1, grpc.StatusCode.INVALID_ARGUMENT),
        (None, CELLS, grpc.StatusCode.OUT_OF_RANGE),
        (77, 1, grpc.StatusCode.INVALID_ARGUMENT),
        (0, 1, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_counter_read_misuse_is_refused(
    primary: Client, counter: int | None, index: int, code: grpc.StatusCode
) -> None:
    query = cell(primary, index)
    if counter is not None:
        query.counter_id = counter
    assert await primary.read_refused(query) is code


async def test_unknown_counter_is_invalid(primary: Client) -> None:
    entry = cell(primary, 1, 1)
    entry.counter_id = 77
    assert (await primary.refused("MODIFY", entry))[0] is grpc.StatusCode.INVALID_ARGUMENT


# -- direct counters ------------------------------------------------------------------------------


def direct(entry: p4r.TableEntry, data: tuple[int, int] | None = None) -> p4r.DirectCounterEntry:
    message = p4r.DirectCounterEntry(table_entry=key_of(entry))
    if data is not None:
        message.data.packet_count, message.data.byte_count = data
    return message


def with_counter(entry: p4r.TableEntry, packets: int, bytes_: int) -> p4r.TableEntry:
    copy = p4r.TableEntry()
    copy.CopyFrom(entry)
    copy.counter_data.SetInParent()
    copy.counter_data.packet_count, copy.counter_data.byte_count = packets, bytes_
    return copy


async def test_counter_data_is_read_only_when_asked_for(primary: Client) -> None:
    entry = exact_entry(primary, 1)
    await primary.write(("INSERT", with_counter(entry, 3, 200)))
    assert await primary.entries(table_id=entry.table_id) == [entry]
    asked = await primary.entries(table_id=entry.table_id, counter_data=p4r.CounterData())
    assert asked == [with_counter(entry, 3, 200)]


async def test_counter_data_of_a_new_entry_is_zero_but_set(primary: Client) -> None:
    entry = exact_entry(primary, 1)
    await primary.write(("INSERT", entry))
    (found,) = await primary.entries(table_id=entry.table_id, counter_data=p4r.CounterData())
    assert found.HasField("counter_data")
    assert found == with_counter(entry, 0, 0)


async def test_counter_data_in_modify_sets_and_unset_keeps(primary: Client) -> None:
    entry = exact_entry(primary, 1)
    await primary.write(("INSERT", entry))
    await primary.write(("MODIFY", with_counter(entry, 9, 90)))
    changed = exact_entry(primary, 1, port=b"\x08")
    await primary.write(("MODIFY", changed))
    (found,) = await primary.entries(table_id=entry.table_id, counter_data=p4r.CounterData())
    assert found == with_counter(changed, 9, 90)


async def test_counter_data_is_gone_after_delete_and_insert(primary: Client) -> None:
    entry = exact_entry(primary, 1)
    await primary.write(("INSERT", with_counter(entry, 9, 90)))
    await primary.write(("DELETE", entry))
    await primary.write(("INSERT", entry))
    (found,) = await primary.read(direct(entry))
    assert found.direct_counter_entry == direct(entry, (0, 0))


async def test_direct_counter_modify_then_read_is_equal(primary: Client) -> None:
    entry = acl_entry(primary, 10, metadata=b"not part of the key")
    await primary.write(("INSERT", entry))
    await primary.write(("MODIFY", direct(entry, (4, 44))))
    await primary.write(("MODIFY", direct(entry)))  # no data: no change
    (found,) = await primary.read(direct(entry))
    assert found.direct_counter_entry == direct(entry, (4, 44))


async def test_direct_counters_of_one_and_of_all_tables(primary: Client) -> None:
    exacts = [exact_entry(primary, n) for n in (1, 2)]
    acl = acl_entry(primary, 10)
    await primary.write(*(("INSERT", entry) for entry in (*exacts, acl)))
    await primary.write(("INSERT", lpm_entry(primary, b"\x0a\x00\x00\x00", 8)))
    await primary.write(("MODIFY", direct(acl, (4, 44))))
    one_table = p4r.DirectCounterEntry(table_entry=p4r.TableEntry(table_id=acl.table_id))
    assert [e.direct_counter_entry for e in await primary.read(one_table)] == [direct(acl, (4, 44))]
    expected = [*(direct(e, (0, 0)) for e in exacts), direct(acl, (4, 44))]
    for query in (p4r.DirectCounterEntry(), p4r.DirectCounterEntry(table_entry=p4r.TableEntry())):
        assert [e.direct_counter_entry for e in await primary.read(query)] == expected


@pytest.mark.parametrize(
    ("kind", "make", "code"),
    [
        pytest.param("INSERT", exact_entry, grpc.StatusCode.INVALID_ARGUMENT, id="insert"),
        pytest.param("DELETE", exact_entry, grpc.StatusCode.INVALID_ARGUMENT, id="delete"),
        pytest.param("MODIFY", exact_entry, grpc.StatusCode.NOT_FOUND, id="missing"),
        pytest.param(
            "MODIFY",
            lambda c, n: lpm_entry(c, b"\x0a\x00\x00\x00", 8),
            grpc.StatusCode.INVALID_ARGUMENT,
            id="no-counter",
        ),
    ],
)
async def test_direct_counter_write_misuse_is_refused(
    primary: Client, kind: str, make: Any, code: grpc.StatusCode
) -> None:
    got, _ = await primary.refused(kind, direct(make(primary, 1), (1, 1)))
    assert got is code


async def test_direct_counter_read_misuse_is_refused(primary: Client) -> None:
    missing = direct(exact_entry(primary, 1))
    assert await primary.read_refused(missing) is grpc.StatusCode.NOT_FOUND
    uncounted = direct(lpm_entry(primary, b"\x0a\x00\x00\x00", 8))
    assert await primary.read_refused(uncounted) is grpc.StatusCode.INVALID_ARGUMENT


async def test_entries_that_counted_nothing_are_left_out_of_tables_that_say_so(
    primary: Client,
) -> None:
    """Also with other filters, and for all tables at once."""
    exact = [with_counter(exact_entry(primary, n), n % 2, 50 * (n % 2)) for n in range(1, 6)]
    quiet = acl_entry(primary, 5)
    await primary.write(*(("INSERT", one) for one in (*exact, quiet)))
    hit = [one for one in exact if one.counter_data.packet_count]
    only = (("softswitch-hit-only", str(exact[0].table_id)),)

    async def read(query: p4r.TableEntry, metadata: tuple[tuple[str, str], ...]) -> list[bytes]:
        query.counter_data.SetInParent()
        found = [e.table_entry for e in await primary.read(query, metadata=metadata)]
        return sorted(one.SerializeToString() for one in found if one.counter_data.packet_count)

    table = p4r.TableEntry(table_id=exact[0].table_id)
    every = p4r.TableEntry()
    wanted = sorted(one.SerializeToString() for one in hit)
    assert await read(table, ()) == await read(table, only) == await read(every, only) == wanted
    one = key_of(exact[1])
    one.counter_data.SetInParent()
    counts = {
        where: [len(await primary.read(query, metadata=where)) for query in (table, one)]
        for where in ((), only)
    }
    assert counts == {(): [5, 1], only: [3, 0]}
    assert len(await primary.read(p4r.TableEntry(table_id=quiet.table_id), metadata=only)) == 1


async def test_tables_that_are_no_numbers_are_refused(primary: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await primary.read(p4r.TableEntry(), metadata=(("softswitch-hit-only", "acl"),))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
