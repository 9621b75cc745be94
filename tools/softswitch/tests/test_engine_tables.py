"""Lookups against a naive model, and what table operations refuse."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from softswitch.engine import Engine, KeyPart
from softswitch.errors import (
    DuplicateEntryError,
    EntryError,
    TableFullError,
    UnknownNameError,
)
from softswitch.tests.bmv2_json import (
    Json,
    Program,
    assign,
    field,
    forwarding,
    op,
    param,
    primitive,
)

FIELDS = [["a", 8, False], ["b", 12, False], ["c", 4, False], ["d", 128, False]]
KINDS = {
    "exact": [("h", "a", "exact"), ("h", "d", "exact")],
    "lpm": [("h", "a", "exact"), ("h", "b", "lpm")],
    "ternary": [
        ("h", "a", "ternary"),
        ("h", "b", "lpm"),
        ("h", "d", "ternary"),
        ("h", "c", "exact"),
    ],
}
SIZE = 40


def program(kind: str, entries: list[Json] | None = None) -> Program:
    """One table on `h`; the action's parameter is the egress port, a miss sends to port 500."""
    result = forwarding(FIELDS)
    to = result.action("to", [("port", 9)], [assign("standard_metadata", "egress_spec", param(0))])
    result.table(
        "t",
        KINDS[kind],
        [to],
        default=to,
        default_data=[500],
        size=SIZE,
        counters=True,
        entries=entries,
    )
    return result


def packet(a: int, b: int, c: int, d: int) -> bytes:
    return ((a << 144) | (b << 132) | (c << 128) | d).to_bytes(19, "big")


@pytest.fixture(scope="module")
def engines(engine_cache: Path) -> Iterator[dict[str, Engine]]:
    made = {kind: Engine.build(program(kind).encode(), cache_dir=engine_cache) for kind in KINDS}
    yield made
    for engine in made.values():
        engine.close()


@dataclass(frozen=True, slots=True)
class Model:
    """An entry as a test understands it: (value, mask) per field."""

    key: tuple[tuple[int, int], ...]
    priority: int
    port: int
    age: int

    def fits(self, values: tuple[int, ...]) -> bool:
        return all(v & mask == value for v, (value, mask) in zip(values, self.key, strict=True))


def _prefix(length: int, width: int) -> int:
    return (1 << width) - (1 << (width - length))


# few distinct values, so that entries overlap and packets hit
A, B, C = st.integers(0, 3), st.sampled_from([0, 0x800, 0xFFF]), st.sampled_from([0, 0, 0, 1])
D = st.sampled_from([0, (1 << 127) + 5])
ENTRY = st.tuples(
    A,
    B,
    C,
    D,
    st.sampled_from([0, 0, 1, 3, 255]),
    st.sampled_from([0, 0, 1, 12]),
    st.sampled_from([0, 0, 1, (1 << 128) - 1]),
    st.integers(1, 6),
)
SEND = st.tuples(st.just("send"), st.tuples(A, B, C, D))
STEP = st.one_of(
    st.tuples(st.just("add"), ENTRY),
    st.tuples(st.just("delete"), st.integers(0, 100)),
    st.tuples(st.just("modify"), st.integers(0, 100)),
    SEND,
    SEND,
)


def _entry(
    kind: str, row: tuple[int, ...]
) -> tuple[list[KeyPart], tuple[tuple[int, int], ...], int]:
    a, b, c, d, a_mask, length, d_mask, priority = row
    full = (1 << 128) - 1
    prefix = _prefix(length, 12)
    match kind:
        case "exact":
            return [KeyPart(a), KeyPart(d)], ((a, 255), (d, full)), 1
        case "lpm":
            parts = [KeyPart(a), KeyPart(b & prefix, prefix_len=length)]
            return parts, ((a, 255), (b & prefix, prefix)), length
    parts = [
        KeyPart(a & a_mask, a_mask),
        KeyPart(b & prefix, prefix_len=length),
        KeyPart(d & d_mask, d_mask),
        KeyPart(c),
    ]
    key = ((a & a_mask, a_mask), (b & prefix, prefix), (d & d_mask, d_mask), (c, 15))
    return parts, key, priority


def _values(kind: str, row: tuple[int, ...]) -> tuple[int, ...]:
    a, b, c, d = row
    return {"exact": (a, d), "lpm": (a, b), "ternary": (a, b, d, c)}[kind]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEP, min_size=20, max_size=120))
def test_table_after_random_operations_equals_a_linear_scan(
    engines: dict[str, Engine], kind: str, steps: list[tuple[str, object]]
) -> None:
    engine = engines[kind]
    entries: dict[int, Model] = {}
    hits: dict[int, int] = {}
    for age, (what, detail) in enumerate(steps):
        if what == "add":
            assert isinstance(detail, tuple)
            parts, key, priority = _entry(kind, detail)
            port = age % 400
            same = any(
                m.key == key and (kind != "ternary" or m.priority == priority)
                for m in entries.values()
            )
            if same:
                with pytest.raises(DuplicateEntryError):
                    engine.insert("t", parts, priority, "to", [port])
            elif len(entries) == SIZE:
                with pytest.raises(TableFullError):
                    engine.insert("t", parts, priority, "to", [port])
            else:
                handle = engine.insert("t", parts, priority, "to", [port])
                assert handle not in entries
                entries[handle] = Model(key, priority, port, age)
                hits[handle] = 0
        elif what == "send":
            assert isinstance(detail, tuple)
            values = _values(kind, detail)
            found = [(m.priority, -m.age, h) for h, m in entries.items() if m.fits(values)]
            wanted = 500
            if found:
                winner = max(found)[2]
                wanted = entries[winner].port
                hits[winner] += 1
            assert [p for p, _ in engine.process(1, packet(*detail))] == [wanted]
        elif entries:
            assert isinstance(detail, int)
            handle = sorted(entries)[detail % len(entries)]
            if what == "delete":
                engine.delete("t", handle)
                del entries[handle], hits[handle]
            else:
                old = entries[handle]
                engine.modify("t", handle, "to", [age % 400])
                entries[handle] = Model(old.key, old.priority, age % 400, old.age)
    assert engine.entry_count("t") == len(entries)
    for handle, count in hits.items():
        assert engine.direct_counter("t", handle) == (count, 19 * count)
        engine.delete("t", handle)
    assert engine.process(1, packet(0, 0, 0, 0))[0][0] == 500


def test_overlapping_entries_of_equal_priority_let_the_oldest_win(
    engines: dict[str, Engine],
) -> None:
    """Whatever their masks are, and however often entries around them come and go."""
    engine = engines["ternary"]
    masks = [0xFF, 0x0F, 0xF0, 0x3C, 0]
    for turn in range(len(masks)):
        order = masks[turn:] + masks[:turn]
        handles = []
        for port, mask in enumerate(order):
            parts = [KeyPart(0x5A & mask, mask), KeyPart(), KeyPart(), KeyPart()]
            handles.append(engine.insert("t", parts, 7, "to", [port]))
        higher = [KeyPart(0x11, 0xFF), KeyPart(), KeyPart(), KeyPart()]
        handles.append(engine.insert("t", higher, 9, "to", [400]))
        for port, handle in enumerate(handles[:-1]):
            assert engine.process(1, packet(0x5A, 0, 0, 0))[0][0] == port
            engine.delete("t", handle)
        engine.delete("t", handles[-1])


def test_lower_priority_in_a_group_counts_after_its_highest_is_deleted(
    engines: dict[str, Engine],
) -> None:
    engine = engines["ternary"]
    # same mask: 9, 5 and 5; another mask: 3
    rows = [(1, 0xFF, 9), (2, 0xFF, 5), (3, 0xFF, 5), (0, 0, 3)]
    handles = [
        engine.insert("t", [KeyPart(a, mask), KeyPart(), KeyPart(), KeyPart()], priority, "to", [a])
        for a, mask, priority in rows
    ]

    def winners() -> list[int]:
        return [engine.process(1, packet(a, 0, 0, 0))[0][0] for a in (1, 2, 3)]

    assert winners() == [1, 2, 3]
    for index, expected in ((0, [0, 2, 3]), (1, [0, 0, 3]), (2, [0, 0, 0]), (3, [500] * 3)):
        engine.delete("t", handles[index])
        assert winners() == expected


def test_entry_after_delete_is_gone_for_good(engines: dict[str, Engine]) -> None:
    engine = engines["exact"]
    old = engine.insert("t", [KeyPart(1), KeyPart(1)], 0, "to", [7])
    engine.delete("t", old)
    new = engine.insert("t", [KeyPart(2), KeyPart(1)], 0, "to", [8])
    assert old != new
    for call in (
        lambda: engine.delete("t", old),
        lambda: engine.modify("t", old, "to", [1]),
        lambda: engine.direct_counter("t", old),
        lambda: engine.set_direct_counter("t", old, 1, 1),
    ):
        with pytest.raises(UnknownNameError):
            call()
    engine.delete("t", new)


def test_direct_counter_when_written_counts_on_from_there(engines: dict[str, Engine]) -> None:
    engine = engines["exact"]
    handle = engine.insert("t", [KeyPart(9), KeyPart(9)], 0, "to", [7])
    engine.set_direct_counter("t", handle, 10, 1 << 40)
    engine.process(1, packet(9, 0, 0, 9) + b"payload")
    assert engine.direct_counter("t", handle) == (11, (1 << 40) + 26)
    engine.modify("t", handle, "to", [8])
    assert engine.direct_counter("t", handle) == (11, (1 << 40) + 26)
    engine.delete("t", handle)


def test_default_entry_when_set_and_reset_acts_on_misses(engines: dict[str, Engine]) -> None:
    engine = engines["exact"]
    engine.set_default("t", "to", [3])
    assert engine.process(1, packet(0, 0, 0, 0))[0][0] == 3
    engine.reset_default("t")
    assert engine.process(1, packet(0, 0, 0, 0))[0][0] == 500


@pytest.mark.parametrize(
    ("parts", "priority", "action", "args", "error"),
    [
        ([KeyPart(256), KeyPart(), KeyPart(), KeyPart()], 1, "to", [1], EntryError),
        ([KeyPart(1, 256), KeyPart(), KeyPart(), KeyPart()], 1, "to", [1], EntryError),
        ([KeyPart(), KeyPart(prefix_len=13), KeyPart(), KeyPart()], 1, "to", [1], EntryError),
        ([KeyPart()], 1, "to", [1], EntryError),
        ([KeyPart(), KeyPart(), KeyPart(), KeyPart()], 0, "to", [1], EntryError),
        ([KeyPart(), KeyPart(), KeyPart(), KeyPart()], 1, "to", [512], EntryError),
        ([KeyPart(), KeyPart(), KeyPart(), KeyPart()], 1, "to", [], EntryError),
        ([KeyPart(), KeyPart(), KeyPart(), KeyPart()], 1, "send", [], UnknownNameError),
    ],
    ids=[
        "value-too-wide",
        "mask-too-wide",
        "prefix-too-long",
        "fields-missing",
        "no-priority",
        "argument-too-wide",
        "argument-missing",
        "foreign-action",
    ],
)
def test_insert_of_a_malformed_entry_is_refused(
    engines: dict[str, Engine],
    parts: list[KeyPart],
    priority: int,
    action: str,
    args: list[int],
    error: type[EntryError],
) -> None:
    with pytest.raises(error):
        engines["ternary"].insert("t", parts, priority, action, args)
    assert engines["ternary"].entry_count("t") == 0


def test_const_entries_with_smaller_priority_number_win(engine_cache: Path) -> None:
    def entry(port: int, priority: int, value: int, mask: int) -> Json:
        ternary = {"match_type": "ternary"}
        return {
            "match_key": [
                {**ternary, "key": hex(value), "mask": hex(mask)},
                {"match_type": "lpm", "key": "0x0", "prefix_length": 0},
                {**ternary, "key": "0x0", "mask": "0x0"},
                {"match_type": "exact", "key": "0x0"},
            ],
            "priority": priority,
            "action_entry": {"action_id": 2, "action_data": [hex(port)]},
        }

    rows = [entry(1, 3, 0, 0), entry(2, 1, 1, 1), entry(3, 2, 2, 2)]
    engine = Engine.build(program("ternary", rows).encode(), cache_dir=engine_cache)
    got = [engine.process(1, packet(a, 0, 0, 0))[0][0] for a in (0, 1, 2, 3)]
    assert got == [1, 2, 3, 2]
    with pytest.raises(EntryError, match="constant"):
        engine.insert("t", [KeyPart()] * 4, 1, "to", [1])
    engine.close()


def test_key_of_an_invalid_header_is_zero_and_a_static_mask_applies(engine_cache: Path) -> None:
    made = forwarding([["a", 8, False]])
    made.header("g", [["x", 8, False]])
    to = made.action("to", [("port", 9)], [assign("standard_metadata", "egress_spec", param(0))])
    fill = made.action(
        "fill",
        [],
        [
            primitive("add_header", {"type": "header", "value": "g"}),
            assign("g", "x", field("h", "a")),
        ],
    )
    drop = made.action("drop_g", [], [primitive("remove_header", {"type": "header", "value": "g"})])
    made.table("fill_g", [], [fill], default=fill, after="keep")
    made.table("keep", [("h", "a", "exact")], [drop, 1], default=1, after="t")
    made.table("t", [("g", "x", "exact")], [to], default=to, default_data=[500], mask=0xF0)
    engine = Engine.build(made.encode(), cache_dir=engine_cache)
    engine.insert("t", [KeyPart(0x30)], 0, "to", [3])
    engine.insert("t", [KeyPart(0)], 0, "to", [4])
    assert engine.process(1, b"\x3f")[0][0] == 3
    engine.insert("keep", [KeyPart(0x3F)], 0, "drop_g", [])
    assert engine.process(1, b"\x3f")[0][0] == 4
    engine.close()


def test_next_node_by_action_and_by_hit_follows_the_program(engine_cache: Path) -> None:
    """switch(action_run) and if(hit) through three tables, a conditional and exit."""
    made = forwarding([["a", 8, False], ["b", 8, False]])
    ports = {}
    for number in (10, 11, 12, 13):
        value = {"type": "hexstr", "value": hex(number)}
        body = [assign("standard_metadata", "egress_spec", value)]
        ports[number] = made.action(f"p{number}", [], body)
    leave = made.action("leave", [], [primitive("exit")])
    made.table(
        "first",
        [("h", "a", "exact")],
        [1, ports[10], leave],
        default=1,
        next_tables={"nop": "second", "p10": None, "leave": "second"},
    )
    made.table(
        "second",
        [("h", "b", "exact")],
        [1],
        default=1,
        next_tables={"__HIT__": "third", "__MISS__": "branch"},
    )
    made.table("third", [], [ports[11]], default=ports[11])
    made.table("twelve", [], [ports[12]], default=ports[12])
    made.table("thirteen", [], [ports[13]], default=ports[13])
    made.ingress["conditionals"].append(
        {
            "name": "branch",
            "id": 0,
            "expression": op(">", field("h", "b"), {"type": "hexstr", "value": "0x7f"}),
            "true_next": "twelve",
            "false_next": "thirteen",
        }
    )
    engine = Engine.build(made.encode(), cache_dir=engine_cache)
    engine.insert("first", [KeyPart(1)], 0, "p10", [])
    engine.insert("first", [KeyPart(2)], 0, "leave", [])
    engine.insert("second", [KeyPart(5)], 0, "nop", [])
    cases = {(1, 5): 10, (0, 5): 11, (0, 0x80): 12, (0, 0x7F): 13, (2, 5): 0}
    for data, port in cases.items():
        assert [p for p, _ in engine.process(1, bytes(data))] == [port], data
    engine.close()


def test_entries_that_come_and_go_leave_packets_under_way_alone(engine_cache: Path) -> None:
    """One flow is always there, of the lowest priority; others come and go in front of it."""
    engine = Engine.build(program("ternary").encode(), cache_dir=engine_cache)
    engine.insert("t", [KeyPart(), KeyPart(), KeyPart(), KeyPart(9)], 1, "to", (7,))
    engine.set_default("t", "to", (511,))  # a packet that misses does not come out
    frames = [packet(a, 0xABC, 9, 5) for a in range(64)]
    done = threading.Event()

    def churn() -> None:
        rng, held = Random(1), list[int]()
        while not done.is_set():
            if held and (len(held) == SIZE - 1 or rng.random() < 0.5):
                engine.delete("t", held.pop(rng.randrange(len(held))))
                continue
            parts = [KeyPart(rng.randrange(64), mask=0xFF), KeyPart(), KeyPart(), KeyPart(9)]
            with contextlib.suppress(DuplicateEntryError):
                held.append(engine.insert("t", parts, rng.randrange(2, 99), "to", (8,)))

    worker = threading.Thread(target=churn)
    worker.start()
    try:
        assert engine.replay(1, frames, 3000) == 3000 * len(frames)
    finally:
        done.set()
        worker.join()
        engine.close()
