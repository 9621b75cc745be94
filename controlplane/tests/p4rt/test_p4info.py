"""Entries to P4Runtime messages and back, by the compiled program's P4Info."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest
from dfvisor.agent.pipeline import P4INFO_NAME, default_directory
from dfvisor.p4rt.entries import (
    CloneSession,
    DigestSubscription,
    Exact,
    FieldMatch,
    Item,
    Lpm,
    Member,
    Meter,
    MeterConfig,
    MulticastGroup,
    TableEntry,
    Ternary,
    compact,
    entry_key,
    formed,
    identity,
    rank,
    spelled,
)
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.framing import Framer
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.replication import decode_replication, encode_replication
from dfvisor.p4rt.shapes import Action, Field, MatchKind
from dfvisor.p4rt.updates import framed
from dfvisor.p4rt.values import decode_value, encode_value
from hypothesis import assume, given
from hypothesis import strategies as st

SCHEMA = Schema.load((default_directory() / P4INFO_NAME).read_text())
CLASSIFIER_KEY = (("vn", Exact(1)), ("ip_proto", Ternary(6, 0xFF)))
PORT = ("port", Ternary(3, 511))
CLASSIFY = (("slice_id", 2), ("cookie", 3), ("meter_id", 0))
ROUTE = (("port", 1), ("mac", 2), ("mtu", 1500))
TO = (("outer_dst", Lpm(0x0A000001, 32)),)


@st.composite
def field_matches(draw: st.DrawFn, field: Field) -> FieldMatch | None:
    top = (1 << field.width) - 1
    value = draw(st.integers(0, top))
    if field.kind is MatchKind.EXACT:
        return Exact(value)
    if draw(st.booleans()):
        return None
    if field.kind is MatchKind.TERNARY:
        mask = draw(st.integers(1, top))
        return Ternary(value & mask, mask)
    length = draw(st.integers(1, field.width))
    return Lpm(value >> field.width - length << field.width - length, length)


@st.composite
def table_entries(draw: st.DrawFn) -> TableEntry:
    table = draw(st.sampled_from([table for table in SCHEMA.tables.values() if table.fields]))
    key = tuple(
        (field.name, match)
        for field in table.fields
        if (match := draw(field_matches(field))) is not None
    )
    actions = st.sampled_from(
        [one for name, one in table.actions.items() if name not in table.default_only]
    )

    def call() -> tuple[str, tuple[tuple[str, int], ...]]:
        action: Action = draw(actions)
        return action.name, tuple(
            (param.name, draw(st.integers(0, (1 << param.width) - 1))) for param in action.params
        )

    priority = draw(st.integers(1, 65001)) if table.needs_priority else 0
    if table.selects:
        members = tuple(
            Member(*call(), draw(st.none() | st.integers(0, 511)), draw(st.integers(1, 9)))
            for _ in range(draw(st.integers(1, 4)))
        )
        return TableEntry(table.name, key, priority, "", members=members)
    return TableEntry(table.name, key, priority, *call())


@given(table_entries())
def test_entry_encoded_and_decoded_is_the_same(entry: TableEntry) -> None:
    sent = p4r.Entity.FromString(SCHEMA.encode(entry).SerializeToString())
    assert SCHEMA.decode(sent) == entry


FRAMER = Framer(SCHEMA)


@given(table_entries(), st.data())
def test_entry_framed_is_the_update_that_the_schema_makes(
    entry: TableEntry, data: st.DataObject
) -> None:
    assert FRAMER.insert(entry) == framed(SCHEMA.insert(entry))
    assert FRAMER.modify(entry) == framed(SCHEMA.modify(entry))
    if entry.args:  # and what the schema refuses is refused, although its form is known
        name, _ = entry.args[-1]
        value = data.draw(st.sampled_from([-1, 1 << 128]))
        wrong = msgspec.structs.replace(entry, args=(*entry.args[:-1], (name, value)))
        with pytest.raises(SchemaError, match="does not fit"):
            FRAMER.insert(wrong)
    other = 0 if entry.priority else 7
    with pytest.raises(SchemaError, match="priority"):
        FRAMER.insert(msgspec.structs.replace(entry, priority=other))
    if len(entry.key) > 1:
        with pytest.raises(SchemaError):
            FRAMER.insert(msgspec.structs.replace(entry, key=entry.key[::-1]))


@given(table_entries(), st.data())
def test_entry_with_its_form_apart_is_the_same_and_framed_alike(
    entry: TableEntry, data: st.DataObject
) -> None:
    assume(not entry.members and not any(isinstance(match, Lpm) for _, match in entry.key))
    lean = formed(entry)
    assert lean.entry == spelled(lean) == entry and str(lean) == str(entry)
    assert FRAMER.insert(lean) == framed(SCHEMA.insert(entry))
    assert FRAMER.modify(lean) == framed(SCHEMA.modify(entry))
    assert FRAMER.delete(lean) == framed(SCHEMA.delete(entry))
    wrong = [msgspec.structs.replace(entry, priority=0 if entry.priority else 7)]
    value = data.draw(st.sampled_from([-1, 1 << 128]))
    if entry.args:  # what the schema refuses is refused, although the form is known
        name, _ = entry.args[-1]
        wrong.append(msgspec.structs.replace(entry, args=(*entry.args[:-1], (name, value))))
    if entry.key:
        name, match = entry.key[-1]
        other = msgspec.structs.replace(match, value=value)
        wrong.append(msgspec.structs.replace(entry, key=(*entry.key[:-1], (name, other))))
    for one in wrong:
        with pytest.raises(SchemaError):
            FRAMER.insert(formed(one))


def test_entries_with_their_form_apart_are_told_apart_as_those_spelled_out() -> None:
    key, args = CLASSIFIER_KEY, CLASSIFY
    entries = [
        TableEntry("classifier", fields, priority, action, args[: 3 if action == "classify" else 1])
        for fields in (key, key[:1], (key[0], PORT), (key[0], ("ip_proto", Ternary(6, 7))))
        for priority in (1, 2)
        for action in ("classify", "classify_deny")
    ]
    entries += [msgspec.structs.replace(entries[0], args=(*args[:2], ("meter_id", 1)))]
    for one, other in product(entries, repeat=2):
        same = entry_key(one) == entry_key(other)
        assert (identity(compact(one)) == identity(compact(other))) is same
        assert (compact(one) == compact(other)) is (one == other)
        assert entry_key(compact(one)) == entry_key(one) and rank(compact(one)) == rank(one)


@given(st.lists(table_entries(), max_size=3))
def test_entries_of_one_form_framed_are_one_after_the_other(entries: list[TableEntry]) -> None:
    for entry in entries:
        higher = msgspec.structs.replace(entry, priority=entry.priority + (entry.priority > 0))
        alike = [entry, higher, entry]
        assert FRAMER.inserts(alike) == b"".join(map(FRAMER.insert, alike))
    assert FRAMER.inserts([]) == b""


def test_entries_framed_at_once_whose_fields_differ_are_framed_all_the_same() -> None:
    entry = TableEntry("classifier", CLASSIFIER_KEY, 7, "classify", CLASSIFY)
    for key in (CLASSIFIER_KEY[:1], (CLASSIFIER_KEY[0], PORT), (*CLASSIFIER_KEY, PORT)):
        try:
            wanted = FRAMER.insert(entry) + FRAMER.insert(msgspec.structs.replace(entry, key=key))
        except SchemaError:
            with pytest.raises(SchemaError):
                FRAMER.inserts([entry, msgspec.structs.replace(entry, key=key)])
        else:
            assert FRAMER.inserts([entry, msgspec.structs.replace(entry, key=key)]) == wanted


@pytest.mark.parametrize(
    "match", [Ternary(3, 2), Ternary(0, 0), Ternary(1 << 9, 1 << 9), Ternary(-1, 1), Exact(3)]
)
def test_match_that_the_schema_refuses_is_not_framed(match: FieldMatch) -> None:
    good = TableEntry("classifier", (("vn", Exact(1)), PORT), 7, "classify", CLASSIFY)
    assert FRAMER.insert(good)
    with pytest.raises(SchemaError):
        FRAMER.insert(msgspec.structs.replace(good, key=(("vn", Exact(1)), ("port", match))))


copies = st.frozensets(st.tuples(st.integers(0, 511), st.integers(0, 65535)), max_size=5)
amounts = st.integers(0, 1 << 40)


@st.composite
def meter_cells(draw: st.DrawFn) -> Meter:
    meter = draw(st.sampled_from(sorted(SCHEMA.meters)))
    cir = draw(amounts)
    config = MeterConfig(cir, draw(amounts), cir + draw(amounts), draw(amounts))
    index = draw(st.integers(0, SCHEMA.meters[meter].size - 1))
    return Meter(meter, index, draw(st.sampled_from([config, None])))


@given(
    st.builds(MulticastGroup, st.integers(1, 32767), copies)
    | st.builds(CloneSession, st.integers(1, 32767), copies)
    | meter_cells()
    | st.builds(DigestSubscription, st.just("learn_t"), amounts, st.integers(0, 99), amounts)
)
def test_item_encoded_and_decoded_is_the_same(item: Item) -> None:
    sent = p4r.Entity.FromString(SCHEMA.encode(item).SerializeToString())
    assert SCHEMA.decode(sent) == item


@pytest.mark.parametrize("kind", [MulticastGroup, CloneSession])
def test_copies_with_ports_in_the_older_form_are_read(
    kind: type[MulticastGroup] | type[CloneSession],
) -> None:
    message = encode_replication(kind(4, frozenset({(1, 9)})))
    entry = getattr(message, message.WhichOneof("type") or "")
    entry.replicas[0].egress_port = 3
    assert decode_replication(message) == kind(4, frozenset({(3, 9)}))


@pytest.mark.parametrize(
    "item",
    [
        MulticastGroup(4, frozenset({(1, 9)})),
        CloneSession(4, frozenset({(1, 9)})),
        DigestSubscription("learn_t", 1, 2, 3),
        TableEntry("underlay", TO, 0, "", members=(Member("route_to", ROUTE),)),
    ],
    ids=lambda item: type(item).__name__,
)
def test_deletion_of_an_item_names_it_alone(item: Item) -> None:
    entity = SCHEMA.delete(item).entity
    assert entity.ByteSize() < SCHEMA.encode(item).ByteSize()
    if not isinstance(item, TableEntry):
        assert type(SCHEMA.decode(entity)) is type(item)


def test_fields_sent_in_another_order_are_put_in_order() -> None:
    entry = TableEntry("classifier", CLASSIFIER_KEY, 7, "classify", CLASSIFY)
    sent = SCHEMA.encode_entry(entry)
    fields = list(reversed(sent.match))
    del sent.match[:]
    sent.match.extend(fields)
    assert SCHEMA.decode_entry(sent) == entry


def test_default_entry_encoded_and_decoded_is_the_same() -> None:
    args = (("vtep", 0xC0000201), ("mac", 0x02DF00000001), ("hash_seed", 1))
    entry = TableEntry("switch_config", (), 0, "set_switch_config", args, is_default=True)
    assert SCHEMA.decode_entry(SCHEMA.encode_entry(entry)) == entry


def test_deletion_carries_the_identity_alone() -> None:
    entry = TableEntry("classifier", CLASSIFIER_KEY, 7, "classify", CLASSIFY)
    sent = SCHEMA.delete(entry).entity.table_entry
    assert sent.priority == 7 and len(sent.match) == 2
    assert not sent.HasField("action")


@given(st.integers(1, 128).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, (1 << w) - 1))))
def test_value_is_as_short_as_it_can_be(case: tuple[int, int]) -> None:
    width, value = case
    data = encode_value(value, width, "x")
    assert len(data) == 1 or data[0] != 0
    assert decode_value(data, width, "x") == value
    assert decode_value(b"\0\0" + data, width, "x") == value


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (TableEntry("nope", (), 0, "classify"), "no table 'nope'"),
        (TableEntry("classifier", (), 1, "classify", CLASSIFY), "classifier.vn: missing"),
        (
            TableEntry("classifier", (("vn", Exact(1 << 16)),), 1, "classify", CLASSIFY),
            "classifier.vn: 0x10000 does not fit 16 bits",
        ),
        (
            TableEntry("classifier", (*CLASSIFIER_KEY, PORT), 1, "classify", CLASSIFY),
            "out of order",
        ),
        (
            TableEntry("classifier", (*CLASSIFIER_KEY, ("x", Exact(1))), 1, "classify", CLASSIFY),
            "field x: unknown",
        ),
        (
            TableEntry("classifier", (("vn", Ternary(1, 1)),), 1, "classify", CLASSIFY),
            "where the match is exact",
        ),
        (
            TableEntry(
                "classifier", (("vn", Exact(1)), ("port", Ternary(3, 1))), 1, "classify", CLASSIFY
            ),
            "value 0x3 and mask 0x1",
        ),
        (TableEntry("classifier", CLASSIFIER_KEY, 0, "classify", CLASSIFY), "expected above 0"),
        (
            TableEntry("vtep", (("outer_dst", Exact(1)),), 5, "terminate"),
            "priority 5, expected 0",
        ),
        (TableEntry("classifier", CLASSIFIER_KEY, 1, "terminate"), "has no action 'terminate'"),
        (TableEntry("classifier", CLASSIFIER_KEY, 1, "NoAction"), "has no action 'NoAction'"),
        (
            TableEntry("classifier", CLASSIFIER_KEY, 1, "classify", (("cookie", 1),)),
            "expected (slice_id, cookie, meter_id)",
        ),
        (
            TableEntry(
                "underlay",
                (("outer_dst", Lpm(1, 24)),),
                0,
                "",
                members=(Member("route_to", ROUTE),),
            ),
            "underlay.outer_dst: 0x1/24",
        ),
        (TableEntry("underlay", TO, 0, "route_to", ROUTE), "a set of at least one action"),
        (TableEntry("underlay", TO, 0, ""), "a set of at least one action"),
        (
            TableEntry("underlay", TO, 0, "", members=(Member("to_vtep", ()),)),
            "has no action 'to_vtep'",
        ),
        (
            TableEntry("underlay", TO, 0, "", members=(Member("route_to", ROUTE, None, 0),)),
            "weight 0",
        ),
        (
            TableEntry(
                "vtep", (("outer_dst", Exact(1)),), 0, "", members=(Member("terminate", ()),)
            ),
            "needs a table with an action selector",
        ),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_entry_that_does_not_fit_is_refused_by_name(entry: TableEntry, complaint: str) -> None:
    with pytest.raises(SchemaError) as refused:
        SCHEMA.encode_entry(entry)
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        (Meter("nope", 0, None), "no meter 'nope'"),
        (Meter("slice_meters", 4096, None), "has 4096 cells"),
        (Meter("slice_meters", 1, MeterConfig(2, 1, 1, 1)), "peak rate is below"),
        (DigestSubscription("nope", 1, 1, 1), "no digest 'nope'"),
    ],
    ids=["unknown meter", "cell", "rates", "unknown digest"],
)
def test_item_that_does_not_fit_is_refused(item: Item, complaint: str) -> None:
    with pytest.raises(SchemaError) as refused:
        SCHEMA.encode(item)
    assert complaint in str(refused.value)


def test_schema_from_text_and_from_the_message_are_the_same() -> None:
    again = Schema.load(SCHEMA.proto.SerializeToString())
    assert again.tables == SCHEMA.tables and again.counters == SCHEMA.counters


def test_schema_from_garbage_is_refused() -> None:
    with pytest.raises(SchemaError, match="not a P4Info"):
        Schema.load("tables {")
