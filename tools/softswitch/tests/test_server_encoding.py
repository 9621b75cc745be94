"""Byte strings, match kinds and the batch status: pure functions, no gRPC."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from softswitch.server.errors import RequestError, invalid
from softswitch.server.match import key_parts, parse_key, put_key
from softswitch.server.pb import p4i, p4r, rpc_status
from softswitch.server.schema import Table, from_p4info
from softswitch.server.status import batch_status
from softswitch.server.values import decode, encode

ALL_KINDS = """
tables {
  preamble { id: 1 name: "t" alias: "t" }
  match_fields { id: 3 name: "e" bitwidth: 9 match_type: EXACT }
  match_fields { id: 1 name: "l" bitwidth: 32 match_type: LPM }
  match_fields { id: 2 name: "t" bitwidth: 48 match_type: TERNARY }
  match_fields { id: 9 name: "r" bitwidth: 16 match_type: RANGE }
  match_fields { id: 5 name: "o" bitwidth: 128 match_type: OPTIONAL }
  size: 8
}
"""


def all_kinds() -> Table:
    return from_p4info(text_format.Parse(ALL_KINDS, p4i.P4Info())).tables[1]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, b"\x00"),
        (0x63, b"\x63"),
        (255, b"\xff"),
        (256, b"\x01\x00"),
        (0x3064, b"\x30\x64"),
    ],
)
def test_encode_is_shortest(value: int, data: bytes) -> None:
    assert encode(value) == data


@pytest.mark.parametrize(
    ("data", "width", "value"),
    [(b"\x00\x63", 16, 99), (b"\x00\x00\x63", 12, 99), (b"\x01", 1, 1), (b"\x0f\xff", 12, 4095)],
)
def test_decode_accepts_any_length_that_fits(data: bytes, width: int, value: int) -> None:
    assert decode(data, width, "x") == value


@pytest.mark.parametrize(
    ("data", "width"),
    [(b"\x01\x63", 8), (b"", 8), (b"\x01\x00\x63", 16), (b"\x10\x63", 12), (b"\x00\x40\x63", 12)],
)
def test_decode_refuses_the_specifications_bad_examples(data: bytes, width: int) -> None:
    with pytest.raises(RequestError) as caught:
        decode(data, width, "x")
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


@given(st.integers(0, 1 << 130))
def test_encode_then_decode_is_the_value(value: int) -> None:
    assert decode(encode(value), max(value.bit_length(), 1), "x") == value


@st.composite
def canonical_entries(draw: st.DrawFn) -> p4r.TableEntry:
    """A key of `all_kinds` in canonical form, don't-care fields omitted at random."""
    entry = p4r.TableEntry(table_id=1)
    entry.match.add(field_id=3).exact.value = encode(draw(st.integers(0, 511)))
    if draw(st.booleans()):
        length = draw(st.integers(1, 32))
        value = draw(st.integers(0, (1 << 32) - 1)) >> (32 - length) << (32 - length)
        entry.match.add(field_id=1).lpm.CopyFrom(
            p4r.FieldMatch.LPM(value=encode(value), prefix_len=length)
        )
    if draw(st.booleans()):
        mask = draw(st.integers(1, (1 << 48) - 1))
        value = draw(st.integers(0, (1 << 48) - 1)) & mask
        entry.match.add(field_id=2).ternary.CopyFrom(
            p4r.FieldMatch.Ternary(value=encode(value), mask=encode(mask))
        )
    if draw(st.booleans()):
        bounds = sorted(draw(st.tuples(st.integers(0, 65535), st.integers(0, 65535))))
        if bounds != [0, 65535]:
            entry.match.add(field_id=9).range.CopyFrom(
                p4r.FieldMatch.Range(low=encode(bounds[0]), high=encode(bounds[1]))
            )
    if draw(st.booleans()):
        value = draw(st.integers(0, (1 << 128) - 1))
        entry.match.add(field_id=5).optional.value = encode(value)
    return entry


@given(canonical_entries(), st.randoms(use_true_random=False))
def test_key_of_any_match_kinds_reads_back_equal_in_any_order(
    entry: p4r.TableEntry, random: object
) -> None:
    table = all_kinds()
    shuffled = list(entry.match)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    key = parse_key(table, shuffled)
    assert key == parse_key(table, list(entry.match))
    back = p4r.TableEntry(table_id=1)
    put_key(table, key, back)
    assert back == entry
    assert len(key_parts(table, key)) == 5


def test_key_parts_carry_each_kind_to_the_engine() -> None:
    entry = text_format.Parse(
        r"""
        match { field_id: 3 exact { value: "\001" } }
        match { field_id: 1 lpm { value: "\012\000\000\000" prefix_len: 8 } }
        match { field_id: 2 ternary { value: "\002" mask: "\003" } }
        match { field_id: 9 range { low: "\004" high: "\005" } }
        match { field_id: 5 optional { value: "\006" } }
        """,
        p4r.TableEntry(),
    )
    table = all_kinds()
    parts = key_parts(table, parse_key(table, list(entry.match)))
    assert [(p.value, p.mask, p.prefix_len, p.high) for p in parts] == [
        (1, 0, 0, 0),
        (0x0A000000, 0, 8, 0),
        (2, 3, 0, 0),
        (4, 0, 0, 5),
        (6, (1 << 128) - 1, 0, 0),
    ]


def test_omitted_range_is_the_whole_range_and_omitted_optional_has_no_mask() -> None:
    table = all_kinds()
    entry = p4r.TableEntry()
    entry.match.add(field_id=3).exact.value = b"\x01"
    parts = key_parts(table, parse_key(table, list(entry.match)))
    assert (parts[3].value, parts[3].high) == (0, 65535)
    assert (parts[4].value, parts[4].mask) == (0, 0)


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (p4r.FieldMatch(field_id=9, range=p4r.FieldMatch.Range(low=b"\x02", high=b"\x01")), "low"),
        (
            p4r.FieldMatch(field_id=9, range=p4r.FieldMatch.Range(low=b"\x00", high=b"\xff\xff")),
            "omitted",
        ),
        (
            p4r.FieldMatch(field_id=9, range=p4r.FieldMatch.Range(low=b"\x00", high=b"")),
            "high: empty",
        ),
        (p4r.FieldMatch(field_id=5, optional=p4r.FieldMatch.Optional(value=b"")), "o: empty"),
    ],
)
def test_range_and_optional_misuse_is_invalid(match: p4r.FieldMatch, words: str) -> None:
    entry = p4r.TableEntry(match=[match])
    entry.match.add(field_id=3).exact.value = b"\x01"
    with pytest.raises(RequestError, match=words):
        parse_key(all_kinds(), list(entry.match))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('tables { preamble { name: "t" } }', "id 0"),
        (
            'tables { preamble { id: 1 name: "t" } '
            'match_fields { id: 1 name: "f" bitwidth: 8 other_match_type: "best" } }',
            "best",
        ),
        (
            'tables { preamble { id: 1 name: "t" } '
            'match_fields { id: 1 name: "f" match_type: EXACT } }',
            "translated",
        ),
        (
            'tables { preamble { id: 1 name: "t" } '
            'match_fields { id: 1 name: "f" bitwidth: 8 match_type: EXACT } '
            'match_fields { id: 1 name: "g" bitwidth: 8 match_type: EXACT } }',
            "share an id",
        ),
        ('actions { preamble { id: 1 name: "a" } params { id: 1 name: "p" } }', "translated"),
    ],
)
def test_schema_of_a_bad_p4info_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        from_p4info(text_format.Parse(text, p4i.P4Info()))


@pytest.mark.parametrize("count", [1, 50, 150])
def test_batch_status_fits_the_default_metadata_limit(count: int) -> None:
    errors = [invalid("x" * 1000) for _ in range(count)]
    summary, data = batch_status(errors, "update")
    status = rpc_status.Status.FromString(data)
    assert len(status.details) == count
    assert len(data) + len(summary) < 8192
    decoded = [p4r.Error.FromString(item.value) for item in status.details]
    assert all(error.canonical_code == 3 for error in decoded)
    assert decoded[0].message or count == 150


def test_batch_status_gives_as_many_messages_as_fit() -> None:
    errors = [invalid(f"update {n} is wrong") for n in range(60)]
    _, data = batch_status([None, *errors], "update")
    decoded = [
        p4r.Error.FromString(item.value) for item in rpc_status.Status.FromString(data).details
    ]
    assert (decoded[0].canonical_code, decoded[0].message) == (0, "")
    assert [error.message for error in decoded[1:]] == [error.message for error in errors]
