"""Entries to P4Runtime messages and back, by the compiled program's P4Info."""

from __future__ import annotations

import pytest
from dfvisor.agent.pipeline import P4INFO_NAME, default_directory
from dfvisor.p4rt.entries import Exact, FieldMatch, Lpm, MulticastGroup, TableEntry, Ternary
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import (
    Field,
    MatchKind,
    Schema,
    decode_group,
    decode_value,
    encode_group,
    encode_value,
)
from dfvisor.p4rt.pb import p4r
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = Schema.load((default_directory() / P4INFO_NAME).read_text())
CLASSIFIER_KEY = (("vn", Exact(1)), ("ip_proto", Ternary(6, 0xFF)))
PORT = ("port", Ternary(3, 511))
CLASSIFY = (("slice_id", 2), ("cookie", 3))


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
    action = draw(
        st.sampled_from(
            [one for name, one in table.actions.items() if name not in table.default_only]
        )
    )
    args = tuple(
        (param.name, draw(st.integers(0, (1 << param.width) - 1))) for param in action.params
    )
    priority = draw(st.integers(1, 65001)) if table.needs_priority else 0
    return TableEntry(table.name, key, priority, action.name, args)


@given(table_entries())
def test_entry_encoded_and_decoded_is_the_same(entry: TableEntry) -> None:
    sent = p4r.Entity.FromString(SCHEMA.encode(entry).SerializeToString())
    assert SCHEMA.decode(sent) == entry


@given(
    st.builds(
        MulticastGroup,
        st.integers(1, 32767),
        st.frozensets(st.tuples(st.integers(0, 511), st.integers(0, 65535)), max_size=5),
    )
)
def test_group_encoded_and_decoded_is_the_same(group: MulticastGroup) -> None:
    assert decode_group(encode_group(group)) == group
    assert SCHEMA.decode(SCHEMA.encode(group)) == group


def test_group_with_ports_in_the_older_form_is_read() -> None:
    message = p4r.MulticastGroupEntry(multicast_group_id=4)
    message.replicas.add(egress_port=3, instance=9)
    assert decode_group(message) == MulticastGroup(4, frozenset({(3, 9)}))


def test_fields_sent_in_another_order_are_put_in_order() -> None:
    entry = TableEntry("classifier", CLASSIFIER_KEY, 7, "classify", CLASSIFY)
    sent = SCHEMA.encode_entry(entry)
    fields = list(reversed(sent.match))
    del sent.match[:]
    sent.match.extend(fields)
    assert SCHEMA.decode_entry(sent) == entry


def test_default_entry_encoded_and_decoded_is_the_same() -> None:
    args = (("vtep", 0xC0000201), ("mac", 0x02DF00000001))
    entry = TableEntry("tunnel_source", (), 0, "set_tunnel_source", args, is_default=True)
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
            "expected (slice_id, cookie)",
        ),
        (
            TableEntry(
                "underlay", (("outer_dst", Lpm(1, 24)),), 0, "route_to", (("port", 1), ("mac", 2))
            ),
            "underlay.outer_dst: 0x1/24",
        ),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_entry_that_does_not_fit_is_refused_by_name(entry: TableEntry, complaint: str) -> None:
    with pytest.raises(SchemaError) as refused:
        SCHEMA.encode_entry(entry)
    assert complaint in str(refused.value)


def test_schema_from_text_and_from_the_message_are_the_same() -> None:
    again = Schema.load(SCHEMA.proto.SerializeToString())
    assert again.tables == SCHEMA.tables and again.counters == SCHEMA.counters


def test_schema_from_garbage_is_refused() -> None:
    with pytest.raises(SchemaError, match="not a P4Info"):
        Schema.load("tables {")
