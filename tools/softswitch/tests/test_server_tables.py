"""TableEntry writes and reads on both data planes: codes, canonical form, wildcard reads."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from softswitch.server.pb import p4r
from softswitch.tests.p4client import (
    Client,
    Switch,
    acl_entry,
    batch_errors,
    exact,
    exact_entry,
    key_of,
    lpm_entry,
    ternary,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_insert_then_read_returns_it_equal(primary: Client) -> None:
    entries = [
        exact_entry(primary, 1, metadata=b"\x00\xffcookie", controller_metadata=99),
        acl_entry(primary, 10, metadata=b"m"),
        lpm_entry(primary, b"\x0a\x00\x00\x00", 8),
    ]
    await primary.write(*(("INSERT", entry) for entry in entries))
    for entry in entries:
        assert await primary.entries(table_id=entry.table_id) == [entry]


async def test_insert_of_an_existing_key_already_exists_and_changes_nothing(
    primary: Client,
) -> None:
    entry = exact_entry(primary, 1)
    await primary.write(("INSERT", entry))
    code, text = await primary.refused("INSERT", exact_entry(primary, 1, port=b"\x06"))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "exact_table" in text
    assert await primary.entries(table_id=entry.table_id) == [entry]


async def test_insert_of_the_same_ternary_key_with_another_priority_is_another_entry(
    primary: Client,
) -> None:
    entries = [acl_entry(primary, 10), acl_entry(primary, 11)]
    await primary.write(*(("INSERT", entry) for entry in entries))
    assert await primary.entries(table_id=entries[0].table_id) == entries


async def test_insert_into_a_full_table_is_exhausted_until_one_is_deleted(primary: Client) -> None:
    entries = [lpm_entry(primary, bytes([n, 0, 0, 0]), 8) for n in range(1, 6)]
    await primary.write(*(("INSERT", entry) for entry in entries[:4]))
    code, text = await primary.refused("INSERT", entries[4])
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "4 entries" in text
    await primary.write(("DELETE", key_of(entries[0])))
    await primary.write(("INSERT", entries[4]))


@pytest.mark.parametrize("kind", ["MODIFY", "DELETE"])
async def test_change_of_a_missing_entry_is_not_found(primary: Client, kind: str) -> None:
    code, _ = await primary.refused(kind, exact_entry(primary, 1))
    assert code is grpc.StatusCode.NOT_FOUND
    await primary.write(("INSERT", acl_entry(primary, 10)))
    code, _ = await primary.refused(kind, acl_entry(primary, 11))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_modify_replaces_action_and_metadata(primary: Client) -> None:
    await primary.write(("INSERT", exact_entry(primary, 1, metadata=b"old")))
    changed = exact_entry(primary, 1, port=b"\x09", metadata=b"new")
    await primary.write(("MODIFY", changed))
    assert await primary.entries(table_id=changed.table_id) == [changed]


async def test_modify_without_action_keeps_the_action(primary: Client) -> None:
    await primary.write(("INSERT", exact_entry(primary, 1, port=b"\x09", metadata=b"old")))
    bare = key_of(exact_entry(primary, 1))
    bare.metadata = b"new"
    await primary.write(("MODIFY", bare))
    assert await primary.entries(table_id=bare.table_id) == [
        exact_entry(primary, 1, port=b"\x09", metadata=b"new")
    ]


async def test_delete_looks_at_the_key_only(primary: Client) -> None:
    await primary.write(("INSERT", exact_entry(primary, 1)))
    nonsense = exact_entry(primary, 1, metadata=b"x", idle_timeout_ns=7)
    nonsense.action.action.action_id = 1
    nonsense.meter_config.cir = 1
    await primary.write(("DELETE", nonsense))
    assert await primary.entries(table_id=nonsense.table_id) == []


async def test_values_with_leading_zeros_are_read_back_shortest(primary: Client) -> None:
    entry = exact_entry(primary, 1, port=b"\x00\x00\x05")
    entry.match[1].exact.value = b"\x00\x01"
    await primary.write(("INSERT", entry))
    assert await primary.entries(table_id=entry.table_id) == [exact_entry(primary, 1)]
    code, _ = await primary.refused("INSERT", exact_entry(primary, 1))
    assert code is grpc.StatusCode.ALREADY_EXISTS


def _matches(client: Client, *matches: tuple[int, p4r.FieldMatch], **fields: Any) -> p4r.TableEntry:
    entry = acl_entry(client, 10, **fields)
    del entry.match[:]
    for number, match in matches:
        match.field_id = number
        entry.match.append(match)
    return entry


def _action(client: Client, *params: tuple[int, bytes], name: str = "label") -> p4r.TableEntry:
    entry = acl_entry(client, 10)
    entry.action.action.action_id = client.names.actions[name].preamble.id
    del entry.action.action.params[:]
    for number, value in params:
        entry.action.action.params.add(param_id=number, value=value)
    return entry


LABEL = (1, exact(b"\x03"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda c: p4r.TableEntry(table_id=123), "0x7b", id="unknown-table"),
        pytest.param(lambda c: p4r.TableEntry(), "0x0", id="no-table"),
        pytest.param(lambda c: _matches(c), "label: missing", id="exact-missing"),
        pytest.param(lambda c: _matches(c, LABEL, (9, exact(b"\x01"))), "id 9", id="unknown-field"),
        pytest.param(lambda c: _matches(c, LABEL, LABEL), "twice", id="field-twice"),
        pytest.param(
            lambda c: _matches(c, (1, p4r.FieldMatch())), "unset, expected exact", id="no-match"
        ),
        pytest.param(
            lambda c: _matches(c, (1, ternary(b"\x01", b"\x01"))),
            "ternary, expected exact",
            id="wrong-kind",
        ),
        pytest.param(
            lambda c: _matches(c, (1, p4r.FieldMatch(other=any_pb2.Any()))),
            "other, expected exact",
            id="other-kind",
        ),
        pytest.param(
            lambda c: _matches(c, (1, exact(b"\x10\x00"))), "0x1000 does not fit in 12", id="wide"
        ),
        pytest.param(lambda c: _matches(c, (1, exact(b""))), "empty", id="empty-value"),
        pytest.param(
            lambda c: _matches(c, LABEL, (2, ternary(b"\x00", b"\x00"))), "omitted", id="mask-0"
        ),
        pytest.param(
            lambda c: _matches(c, LABEL, (2, ternary(b"\x03", b"\x02"))),
            "outside mask",
            id="outside-mask",
        ),
        pytest.param(
            lambda c: _matches(c, LABEL, (2, ternary(b"\x01", b"\x01" + b"\x00" * 6))),
            "48 bits",
            id="wide-mask",
        ),
        pytest.param(lambda c: lpm_entry(c, b"\x00", 0), "omitted", id="prefix-0"),
        pytest.param(lambda c: lpm_entry(c, b"\x00", 33), "1..32", id="prefix-33"),
        pytest.param(lambda c: lpm_entry(c, b"\x00", -1), "1..32", id="prefix-negative"),
        pytest.param(
            lambda c: lpm_entry(c, b"\x0a\x00\x00\x01", 24), "beyond its prefix", id="prefix-bits"
        ),
        pytest.param(lambda c: acl_entry(c, 0), "priority 0", id="priority-0"),
        pytest.param(lambda c: acl_entry(c, -1), "priority -1", id="priority-negative"),
        pytest.param(lambda c: exact_entry(c, 1, priority=1), "priority 1", id="priority-exact"),
        pytest.param(lambda c: key_of(acl_entry(c, 10)), "needs an action", id="no-action"),
        pytest.param(lambda c: _action(c, (1, b"\x01")), "missing parameter index", id="param"),
        pytest.param(
            lambda c: _action(c, (1, b"\x01"), (2, b"\x01"), (3, b"\x01")), "id 3", id="extra-param"
        ),
        pytest.param(lambda c: _action(c, (1, b"\x01"), (1, b"\x01")), "twice", id="param-twice"),
        pytest.param(
            lambda c: _action(c, (1, b"\x10\x00"), (2, b"\x01")),
            "value: value 0x1000",
            id="wide-param",
        ),
        pytest.param(lambda c: _action(c, (1, b""), (2, b"\x01")), "empty", id="empty-param"),
        pytest.param(lambda c: _action(c, name="forward"), "no action", id="foreign-action"),
        pytest.param(lambda c: acl_entry(c, 10, is_const=True), "is_const", id="is-const"),
        pytest.param(
            lambda c: acl_entry(c, 10, idle_timeout_ns=1), "idle timeout", id="idle-timeout"
        ),
        pytest.param(
            lambda c: acl_entry(c, 10, meter_config=p4r.MeterConfig(cir=1)), "meter", id="meter"
        ),
        pytest.param(
            lambda c: acl_entry(c, 10, counter_data=p4r.CounterData(packet_count=-1)),
            "negative",
            id="negative-counter",
        ),
        pytest.param(
            lambda c: c.names.entry("keyless_table", action=("NoAction", {})), "key", id="keyless"
        ),
        pytest.param(
            lambda c: c.names.entry("acl_table", action=("drop", {}), is_default_action=True),
            "default",
            id="insert-default",
        ),
    ],
)
async def test_insert_of_a_malformed_entry_is_invalid(
    primary: Client, make: Any, words: str
) -> None:
    entry = make(primary)
    code, text = await primary.refused("INSERT", entry)
    assert code is INVALID
    assert words in text
    assert not [e for e in await primary.entries() if not e.is_const]


async def test_insert_with_a_member_or_group_is_invalid_for_a_direct_table(primary: Client) -> None:
    entry = acl_entry(primary, 10)
    entry.action.action_profile_member_id = 1
    code, text = await primary.refused("INSERT", entry)
    assert code is INVALID
    assert "action_profile_member_id" in text


async def test_insert_with_an_action_for_defaults_only_is_denied(primary: Client) -> None:
    entry = exact_entry(primary, 1)
    entry.action.Clear()
    entry.action.action.action_id = primary.names.actions["NoAction"].preamble.id
    code, text = await primary.refused("INSERT", entry)
    assert code is DENIED
    assert "DEFAULT_ONLY" in text


async def test_counter_data_on_a_table_without_counter_is_invalid(primary: Client) -> None:
    entry = lpm_entry(primary, b"\x0a\x00\x00\x00", 8)
    entry.counter_data.packet_count = 1
    code, text = await primary.refused("INSERT", entry)
    assert code is INVALID
    assert "no direct counter" in text


# -- const tables ---------------------------------------------------------------------------------


def const_entry(client: Client, flag: bytes) -> p4r.TableEntry:
    return client.names.entry(
        "const_table", {"flags": ternary(flag, flag)}, ("drop", {}), priority=5
    )


@pytest.mark.parametrize("kind", ["INSERT", "MODIFY", "DELETE"])
async def test_write_to_a_const_table_is_denied(primary: Client, kind: str) -> None:
    code, text = await primary.refused(kind, const_entry(primary, b"\x01"))
    assert code is DENIED
    assert "const" in text


async def test_const_default_action_cannot_be_changed(primary: Client) -> None:
    default = primary.names.entry("const_table", action=("drop", {}), is_default_action=True)
    code, text = await primary.refused("MODIFY", default)
    assert code is DENIED
    assert "const" in text


async def test_const_entries_are_read_with_the_first_having_the_highest_priority(
    primary: Client,
) -> None:
    label = ("label", {"value": b"\x01", "index": b"\x02"})
    drop: tuple[str, dict[str, bytes]] = ("drop", {})
    expected = [
        primary.names.entry(
            "const_table",
            {"flags": ternary(flag, flag)},
            action,
            priority=priority,
            is_const=True,
        )
        for flag, action, priority in ((b"\x01", label, 2), (b"\x02", drop, 1))
    ]
    assert await primary.entries(table_id=expected[0].table_id) == expected


# -- default entries ------------------------------------------------------------------------------


async def default_of(client: Client, table: str) -> p4r.TableEntry:
    query = client.names.entry(table, is_default_action=True)
    (entity,) = await client.read(query)
    return entity.table_entry


async def test_default_entry_is_read_as_the_program_has_it(primary: Client) -> None:
    label = ("label", {"value": b"\x07", "index": b"\x01"})
    assert await default_of(primary, "acl_table") == primary.names.entry(
        "acl_table", action=label, is_default_action=True
    )
    assert await default_of(primary, "const_table") == primary.names.entry(
        "const_table", action=("NoAction", {}), is_default_action=True, is_const=True
    )


async def test_default_entry_modify_and_reset(primary: Client) -> None:
    changed = primary.names.entry(
        "acl_table", action=("drop", {}), is_default_action=True, metadata=b"why"
    )
    original = await default_of(primary, "acl_table")
    await primary.write(("MODIFY", changed))
    assert await default_of(primary, "acl_table") == changed
    await primary.write(("MODIFY", primary.names.entry("acl_table", is_default_action=True)))
    assert await default_of(primary, "acl_table") == original


async def test_default_entry_of_a_keyless_table_can_be_set(primary: Client) -> None:
    label = ("label", {"value": b"\x07", "index": b"\x01"})
    entry = primary.names.entry("keyless_table", action=label, is_default_action=True)
    await primary.write(("MODIFY", entry))
    assert await default_of(primary, "keyless_table") == entry


async def test_default_entry_is_in_no_wildcard_read(primary: Client) -> None:
    await primary.write(
        ("MODIFY", primary.names.entry("acl_table", action=("drop", {}), is_default_action=True))
    )
    assert not [e for e in await primary.entries() if e.is_default_action]


async def test_default_entries_of_all_tables_can_be_read_at_once(primary: Client) -> None:
    found = await primary.entries(is_default_action=True)
    assert {e.table_id for e in found} == {t.preamble.id for t in primary.names.tables.values()}


@pytest.mark.parametrize(
    ("kind", "table", "fields", "action", "code"),
    [
        pytest.param("DELETE", "acl_table", {}, ("drop", {}), INVALID, id="delete"),
        pytest.param("MODIFY", "acl_table", {"priority": 1}, ("drop", {}), INVALID, id="priority"),
        pytest.param(
            "MODIFY",
            "exact_table",
            {},
            ("label", {"value": b"\x01", "index": b"\x01"}),
            DENIED,
            id="table-only-action",
        ),
        pytest.param(
            "MODIFY", "acl_table", {"counter_data": p4r.CounterData()}, ("drop", {}), UNIMPLEMENTED,
            id="counter",
        ),
    ],
)  # fmt: skip
async def test_default_entry_misuse_is_refused(
    primary: Client, kind: str, table: str, fields: Any, action: Any, code: grpc.StatusCode
) -> None:
    entry = primary.names.entry(table, action=action, is_default_action=True, **fields)
    got, _ = await primary.refused(kind, entry)
    assert got is code


async def test_default_entry_with_a_key_is_invalid(primary: Client) -> None:
    entry = exact_entry(primary, 1, is_default_action=True)
    assert (await primary.refused("MODIFY", entry))[0] is INVALID


# -- reads ----------------------------------------------------------------------------------------


async def test_read_of_all_tables_returns_every_entry(primary: Client) -> None:
    entries = [
        exact_entry(primary, 1),
        lpm_entry(primary, b"\x0a\x00\x00\x00", 8),
        acl_entry(primary, 10),
    ]
    await primary.write(*(("INSERT", entry) for entry in entries))
    found = await primary.entries()
    assert [e for e in found if not e.is_const] == entries
    assert len([e for e in found if e.is_const]) == 2


async def test_read_with_filters_selects(primary: Client) -> None:
    first = acl_entry(primary, 10, metadata=b"one")
    second = acl_entry(primary, 11, metadata=b"two", controller_metadata=5)
    third = primary.names.entry("acl_table", {"label": exact(b"\x04")}, ("drop", {}), priority=10)
    await primary.write(*(("INSERT", entry) for entry in (first, second, third)))
    table = first.table_id
    drop = p4r.TableAction()
    drop.action.action_id = primary.names.actions["drop"].preamble.id
    assert await primary.entries(table_id=table, match=first.match) == [second, first]
    assert await primary.entries(table_id=table, match=first.match, priority=11) == [second]
    assert await primary.entries(table_id=table, priority=10) == [first, third]
    assert await primary.entries(table_id=table, metadata=b"two") == [second]
    assert await primary.entries(table_id=table, controller_metadata=5) == [second]
    assert await primary.entries(table_id=table, action=drop) == [third]
    assert await primary.entries(table_id=table, priority=12) == []


async def test_read_by_exact_key_returns_one_or_nothing(primary: Client) -> None:
    entries = [exact_entry(primary, 1), exact_entry(primary, 2)]
    await primary.write(*(("INSERT", entry) for entry in entries))
    assert await primary.entries(table_id=entries[0].table_id, match=entries[1].match) == [
        entries[1]
    ]
    missing = exact_entry(primary, 3)
    assert await primary.entries(table_id=missing.table_id, match=missing.match) == []


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda c: p4r.TableEntry(table_id=9), id="unknown-table"),
        pytest.param(lambda c: p4r.TableEntry(priority=9), id="all-tables-with-filter"),
        pytest.param(
            lambda c: p4r.TableEntry(
                table_id=exact_entry(c, 1).table_id, match=exact_entry(c, 1).match[:1]
            ),
            id="partial-key",
        ),
    ],
)
async def test_read_of_a_malformed_query_is_invalid(primary: Client, make: Any) -> None:
    assert await primary.read_refused(make(primary)) is INVALID


async def test_read_with_one_bad_request_still_answers_the_others(primary: Client) -> None:
    entry = exact_entry(primary, 1)
    await primary.write(("INSERT", entry))
    request = p4r.ReadRequest(device_id=7)
    request.entities.add().table_entry.table_id = 9
    request.entities.add().table_entry.table_id = entry.table_id
    request.entities.add()
    call = primary.stub.Read(request)
    found = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in call:
            found += [e.table_entry for e in response.entities]
    assert found == [entry]
    assert [code for code, _ in batch_errors(caught.value)] == [3, 0, 3]


async def test_read_of_many_entries_comes_in_several_messages(primary: Client) -> None:
    many = [("INSERT", acl_entry(primary, n)) for n in range(1, 1025)]
    await primary.write(*many)
    request = p4r.ReadRequest(device_id=7)
    request.entities.add().table_entry.table_id = many[0][1].table_id
    sizes = [len(response.entities) async for response in primary.stub.Read(request)]
    assert sum(sizes) == 1024
    assert len(sizes) > 1


# -- batches --------------------------------------------------------------------------------------


async def test_batch_reports_each_update_and_applies_the_good_ones(primary: Client) -> None:
    good, bad = exact_entry(primary, 1), exact_entry(primary, 2, port=b"\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await primary.write(
            ("INSERT", good), ("INSERT", bad), ("INSERT", good), ("UNSPECIFIED", good)
        )
    errors = batch_errors(caught.value)
    assert [code for code, _ in errors] == [0, 3, 6, 3]
    assert errors[0][1] == ""
    assert "parameter port: value 0xffff does not fit in 9 bits" in errors[1][1]
    assert "3 of 4 updates failed; the first is update 1: INVALID_ARGUMENT" in str(
        caught.value.details()
    )
    assert await primary.entries(table_id=good.table_id) == [good]


async def test_batch_updates_see_the_ones_before_them(primary: Client) -> None:
    entry = exact_entry(primary, 1)
    await primary.write(("INSERT", entry), ("DELETE", entry), ("INSERT", entry))
    assert await primary.entries(table_id=entry.table_id) == [entry]


async def test_update_without_entity_is_invalid(primary: Client) -> None:
    request = p4r.WriteRequest(device_id=7, election_id=p4r.Uint128(low=1))
    request.updates.add(type=p4r.Update.INSERT)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await primary.stub.Write(request)
    assert batch_errors(caught.value)[0][0] == 3


@pytest.mark.parametrize(
    "message",
    [
        p4r.ExternEntry(extern_type_id=0x81),
        p4r.ValueSetEntry(value_set_id=1),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_entity_not_served_is_unimplemented_by_name_but_none_exist(
    primary: Client, message: Any
) -> None:
    code, text = await primary.refused("INSERT", message)
    assert code is UNIMPLEMENTED
    assert "_entry" in text
    assert await primary.read_refused(message) is UNIMPLEMENTED
    assert await primary.read(type(message)()) == []


async def test_entries_reach_the_data_plane_as_integers(
    primary: Client, switch: Switch, data_plane: str
) -> None:
    entry = acl_entry(primary, 10)
    await primary.write(("INSERT", entry))
    await primary.write(("MODIFY", acl_entry(primary, 10, value=b"\x0b")))
    if data_plane == "fake":
        (held,) = switch.fake.tables["ContractIngress.acl_table"].entries.values()
        assert (held.priority, held.action, held.args) == (10, "ContractIngress.label", (11, 1))
        assert [(part.value, part.mask) for part in held.key] == [
            (3, 0),
            (0x020000000009, (1 << 48) - 1),
            (0, 0),
        ]
