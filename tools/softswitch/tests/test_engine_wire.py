"""Entries from the wire are found by packets as those that Python packs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from softswitch import ir
from softswitch.engine import Engine
from softswitch.server.pb import p4r
from softswitch.server.values import encode
from softswitch.tests.test_engine_tables import FIELDS, KINDS, program
from softswitch.wire import DescribedAction, DescribedField, DescribedTable, Kind

TABLE, ACTION = 0x2000001, 0x1000001
MISS = 500
WIDTHS: dict[str, int] = {str(name): int(str(width)) for name, width, _signed in FIELDS}
MATCHES = {"exact": Kind.EXACT, "lpm": Kind.LPM, "ternary": Kind.TERNARY}
WIDE = 0x20010DB8 << 96 | 7


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(kind: str, engine_cache: Path) -> Iterator[Engine]:
    made = Engine.build(program(kind).encode(), cache_dir=engine_cache)
    yield made
    made.close()


def described(kind: str) -> DescribedTable:
    fields = [
        DescribedField(number, MATCHES[match], WIDTHS[name])
        for number, (_header, name, match) in enumerate(KINDS[kind], 1)
    ]
    return DescribedTable(TABLE, "t", tuple(fields), (DescribedAction(ACTION, "to", (1,)),), 0)


def request(kind: str, update: int, port: int, priority: int = 3) -> bytes:
    """An update of the entry for a = 5, b = 0xabc (its first 8 bits where masked), d = WIDE."""
    values = {"a": 5, "b": 0xABC, "c": 9, "d": WIDE}
    entry = p4r.TableEntry(table_id=TABLE, priority=priority if kind == "ternary" else 0)
    for number, (_header, name, match) in enumerate(KINDS[kind], 1):
        made, value = entry.match.add(field_id=number), values[name]
        if match == "exact":
            made.exact.value = encode(value)
        elif match == "lpm":
            made.lpm.value = encode(value & 0xFF0)
            made.lpm.prefix_len = 8
        else:
            made.ternary.value = encode(value)
            made.ternary.mask = encode((1 << WIDTHS[name]) - 1)
    action = entry.action.action
    action.action_id = ACTION
    action.params.add(param_id=1, value=encode(port))
    message = p4r.WriteRequest(device_id=1)
    message.updates.add(type=update).entity.table_entry.CopyFrom(entry)
    return message.SerializeToString()


def packet(**changes: int) -> bytes:
    values = {"a": 5, "b": 0xABC, "c": 9, "d": WIDE} | changes
    number = 0
    for name, width in WIDTHS.items():
        number = number << width | values[name]
    return number.to_bytes(sum(WIDTHS.values()) // 8, "big")


def sent_to(engine: Engine, frame: bytes) -> int:
    ((port, _frame),) = engine.process(1, frame)
    return port


def test_wire_entries_are_hit_changed_and_removed(engine: Engine, kind: str) -> None:
    wire = engine.wire([described(kind)])
    assert sent_to(engine, packet()) == MISS
    for update, port, expected in (
        (p4r.Update.INSERT, 7, 7),
        (p4r.Update.MODIFY, 8, 8),
        (p4r.Update.DELETE, 9, MISS),
    ):
        raw = request(kind, update, port)
        at, done = wire.take(raw, 0, 0, 10)
        ((handle, table, found, begin, size),) = done
        assert (at, table, found) == (len(raw), TABLE, update)
        entry = p4r.TableEntry.FromString(raw[begin : begin + size])
        assert entry.table_id == TABLE and entry.action.action.params[0].value == encode(port)
        assert sent_to(engine, packet()) == expected
        others = [{"a": 6}] if kind == "lpm" else [{"a": 6}, {"d": WIDE ^ 1 << 127}]
        for change in others:
            assert sent_to(engine, packet(**change)) == MISS
        assert engine.entry_count("t") == (update != p4r.Update.DELETE)
        if update != p4r.Update.DELETE:
            packets, _bytes = engine.direct_counter("t", handle)
            assert packets


def test_wire_prefixes_match_what_they_cover(engine: Engine, kind: str) -> None:
    wire = engine.wire([described(kind)])
    wire.take(request(kind, p4r.Update.INSERT, 7), 0, 0, 10)
    if engine.program.tables["t"].match is ir.Match.EXACT:
        assert sent_to(engine, packet(b=0)) == 7  # b is not in its key
        return
    assert sent_to(engine, packet(b=0xAB0)) == 7
    assert sent_to(engine, packet(b=0xAAC)) == MISS
