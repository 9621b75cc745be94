"""Hashes of fields to C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from softswitch import ir
from softswitch.codegen.bits import Piece, store
from softswitch.codegen.expr import Value, number
from softswitch.codegen.layout import Layout, words
from softswitch.codegen.writer import Writer

Input: TypeAlias = ir.SumField | ir.SumConst


def write_crc16(layout: Layout, w: Writer, inputs: Sequence[Input]) -> None:
    """`uint32_t hash`: the crc16 of the inputs, bit after bit; the fields of invalid headers are
    left out."""
    headers = {
        item.header: None
        for item in inputs
        if isinstance(item, ir.SumField) and not layout.program.headers[item.header].metadata
    }
    w.line("uint32_t hash = 0;")
    _write(layout, w, list(headers), inputs)


def _write(layout: Layout, w: Writer, headers: list[str], inputs: Sequence[Input]) -> None:
    """`headers` are those that may be invalid."""
    if headers:
        name = headers[0]
        without = [i for i in inputs if not (isinstance(i, ir.SumField) and i.header == name)]
        with w.block(f"if ({layout.header(name)}.valid)"):
            _write(layout, w, headers[1:], inputs)
        with w.block("else"):
            _write(layout, w, headers[1:], without)
        return
    parts = [_piece(layout, item) for item in inputs]
    w.line(f"uint8_t b[{max(1, (sum(part.width for part in parts) + 7) // 8)}];")
    bits = store(w, "b", parts)
    w.line(f"hash = sw_crc16(b, {(bits + 7) // 8});")


def _piece(layout: Layout, item: Input) -> Piece:
    if isinstance(item, ir.SumConst):
        n = words(item.width)
        return Piece(Value(number(item.value & ((1 << item.width) - 1), n), n), item.width)
    ref = ir.FieldRef(item.header, item.field)
    width = layout.field_type(ref).width
    return Piece(Value(layout.field(ref), words(width)), width)
