"""The parser: every operation, and what is left when a packet ends early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from softswitch.engine import Engine
from softswitch.tests.bmv2_json import (
    ERRORS,
    Json,
    Program,
    assign,
    const,
    extract,
    field,
    forwarding,
    op,
    primitive,
)


def lookahead(offset: int, width: int) -> Json:
    return {"type": "lookahead", "value": [offset, width]}


def set_field(header: str, name: str, value: Json) -> Json:
    if value["type"] == "expression":
        value = {"type": "expression", "value": value}
    return {"op": "set", "parameters": [field(header, name), value]}


def finish(program: Program) -> Program:
    """Send everything out of port 2 with a report in front: parser_error and field m.x."""
    program.header("report", [["error", 8, False], ["x", 32, False]])
    program.deparser = ["report", *program.deparser]
    report = program.action(
        "report",
        [],
        [
            primitive("add_header", {"type": "header", "value": "report"}),
            assign("report", "error", field("standard_metadata", "parser_error")),
            assign("report", "x", field("m", "x")),
            assign("standard_metadata", "egress_spec", const(2)),
        ],
    )
    program.table("t", [], [report], default=report)
    return program


def start(fields: list[list[Any]]) -> Program:
    program = forwarding(fields)
    program.states.clear()
    program.header("m", [["x", 32, False]], metadata=True)
    return program


def run(engine: Engine, data: bytes) -> tuple[int, int, bytes]:
    """(parser error, m.x, the packet after the report)."""
    [(port, out)] = engine.process(1, data)
    assert port == 2
    return out[0], int.from_bytes(out[1:5], "big"), out[5:]


@pytest.fixture(scope="module")
def varbit(engine_cache: Path) -> Engine:
    """h: 4-bit length in words, then up to 12 bytes of options; g follows."""
    program = start([["len", 8, False], ["options", "*"], ["tail", 16, False]])
    program.header_types[-2]["max_length"] = 15
    program.header("g", [["y", 32, False]])
    length = op("*", field("m", "x"), const(32))
    program.state(
        "start",
        [
            set_field("m", "x", lookahead(0, 8)),
            {
                "op": "extract_VL",
                "parameters": [
                    {"type": "regular", "value": "h"},
                    {"type": "expression", "value": length},
                ],
            },
        ],
        [field("h", "tail")],
        [(0x0800, None, "more"), (None, None, None)],
    )
    program.state("more", [extract("g")])
    program.deparser = ["h", "g"]
    return Engine.build(finish(program).encode(), cache_dir=engine_cache)


@pytest.mark.parametrize("words", [0, 1, 2, 3])
def test_varbit_header_cut_at_every_byte_keeps_the_packet(varbit: Engine, words: int) -> None:
    whole = bytes([words]) + bytes(range(100, 100 + 4 * words)) + b"\x08\x00" + b"gggg" + b"rest"
    header = 3 + 4 * words
    for size in range(len(whole) + 1):
        error, x, out = run(varbit, whole[:size])
        assert out == whole[:size], size
        short = size < header + 4
        assert error == (ERRORS["PacketTooShort"] if short else 0), size
        assert x == (words if size else 0)


def test_varbit_longer_than_the_header_type_is_header_too_short(varbit: Engine) -> None:
    assert run(varbit, bytes([4]) + bytes(40))[0] == ERRORS["HeaderTooShort"]
    # not enough packet comes first
    assert run(varbit, bytes([4]) + bytes(4))[0] == ERRORS["PacketTooShort"]


@pytest.fixture(scope="module")
def stack(engine_cache: Path) -> Engine:
    """Labels with a bottom bit go to a stack of two; then a 16-bit select over two fields."""
    program = start([["kind", 8, False]])
    program.stack("label", [["id", 7, False], ["last", 1, False]], 2)
    program.state(
        "start", [extract("h")], [field("h", "kind")], [(1, None, "labels"), (None, None, None)]
    )
    program.state(
        "labels",
        [{"op": "extract", "parameters": [{"type": "stack", "value": "label"}]}],
        [{"type": "stack_field", "value": ["label", "last"]}],
        [(0, None, "labels"), (None, None, "end")],
    )
    both = op(
        "|",
        op("<<", field("label[0]", "id"), const(8)),
        field("label[1]", "id"),
    )
    program.state("end", [set_field("m", "x", both)])
    program.deparser = ["h", "label[0]", "label[1]"]
    return Engine.build(finish(program).encode(), cache_dir=engine_cache)


@pytest.mark.parametrize(
    ("data", "error", "x"),
    [
        (b"\x00\x02", 0, 0),
        (b"\x01\x03zz", 0, 0x100),
        (b"\x01\x02\x05zz", 0, 0x102),
        (b"\x01\x02\x04\x07zz", ERRORS["StackOutOfBounds"], 0),
        (b"\x01\x02", ERRORS["PacketTooShort"], 0),
    ],
    ids=["none", "one", "two", "three", "cut"],
)
def test_stack_extraction_stops_at_the_bottom_or_fails(
    stack: Engine, data: bytes, error: int, x: int
) -> None:
    assert run(stack, data) == (error, x, data)


@pytest.fixture(scope="module")
def select(engine_cache: Path) -> Engine:
    """A select on 12 + 2 bits with exact and masked cases, an advance and a verify."""
    program = start([["a", 12, False], ["b", 2, False], ["c", 2, False]])
    program.state(
        "start",
        [extract("h")],
        [field("h", "a"), field("h", "b")],
        [
            (0x0ABA03, None, "one"),
            (0x0A5501, 0x0F0000, "two"),  # bits beyond the mask mean nothing
            (0x000001, 0x000003, "three"),
            (None, None, None),
        ],
    )
    program.state("one", [set_field("m", "x", const(1))])
    program.state(
        "two",
        [
            {"op": "advance", "parameters": [const(16)]},
            set_field("m", "x", lookahead(4, 8)),
        ],
    )
    equal = op("==", field("h", "c"), const(0))
    program.state(
        "three",
        [
            set_field("m", "x", const(3)),
            {"op": "verify", "parameters": [equal, const(ERRORS["NoMatch"])]},
            set_field("m", "x", const(33)),
            {"op": "advance", "parameters": [op("<<", field("h", "a"), const(1))]},
        ],
    )
    return Engine.build(finish(program).encode(), cache_dir=engine_cache)


@pytest.mark.parametrize(
    ("data", "error", "x", "rest"),
    [
        ("abac", 0, 1, "abac"),
        ("abac99", 0, 1, "abac99"),
        ("a000 1122 3344", 0, 0x34, "a000 3344"),
        ("a000 1122 33", ERRORS["PacketTooShort"], 0, "a000 33"),
        ("a000 11", ERRORS["PacketTooShort"], 0, "a000 11"),
        ("1004 11", ERRORS["PacketTooShort"], 33, "1004 11"),
        ("0044 1122", 0, 33, "0044 22"),
        ("0024 1122", ERRORS["ParserInvalidArgument"], 33, "0024 1122"),
        ("0045 1122", ERRORS["NoMatch"], 3, "0045 1122"),
        ("1008", 0, 0, "1008"),
        ("10", ERRORS["PacketTooShort"], 0, "10"),
        ("", ERRORS["PacketTooShort"], 0, ""),
    ],
    ids=[
        "exact",
        "exact-payload",
        "masked-advance",
        "lookahead-short",
        "advance-short",
        "computed-advance-short",
        "computed-advance",
        "advance-inside-byte",
        "verify-fails",
        "default",
        "cut",
        "empty",
    ],
)
def test_select_advance_and_verify_do_as_bmv2(
    select: Engine, data: str, error: int, x: int, rest: str
) -> None:
    assert run(select, bytes.fromhex(data)) == (error, x, bytes.fromhex(rest))


def test_fields_at_any_bit_offset_come_out_as_they_went_in(engine_cache: Path) -> None:
    widths = [3, 5, 1, 7, 12, 4, 9, 23, 33, 31, 48, 64, 65, 127, 128, 130, 200, 2, 11]
    widths.append(-sum(widths) % 8)
    fields: list[list[Any]] = [[f"f{i}", width, False] for i, width in enumerate(widths)]
    program = forwarding(fields)
    # moving every field through metadata shows its value, not only its bytes
    program.header("m", fields, metadata=True)
    moves = [assign("m", f[0], field("h", f[0])) for f in fields]
    clear = [assign("h", f[0], const(0)) for f in fields]
    back = [assign("h", f[0], field("m", f[0])) for f in fields]
    send = assign("standard_metadata", "egress_spec", const(2))
    move = program.action("move", [], [*moves, *clear, *back, send])
    program.table("t", [], [move], default=move)
    engine = Engine.build(program.encode(), cache_dir=engine_cache)
    size = sum(widths) // 8
    for seed in range(50):
        data = bytes((seed * 131 + i * 37 + (i * i >> 2)) & 255 for i in range(size + 3))
        assert engine.process(1, data) == [(2, data)]
    for cut in range(size):
        assert engine.process(1, data[:cut]) == [(2, data[:cut])]
    engine.close()
