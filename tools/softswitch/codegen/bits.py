"""Fields to and from packet bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softswitch import ir
from softswitch.codegen.expr import Value, number
from softswitch.codegen.layout import Layout, words
from softswitch.codegen.writer import Writer


def load(w: Writer, base: str, at: int, width: int) -> Value:
    """`width` bits at bit offset `at` of the bytes at `base`; reads no byte beyond them."""
    first, shift = divmod(at, 8)
    span = (shift + width + 7) // 8
    n = words(width)
    if span <= 8:
        text, container = f"sw_get({base} + {first}, {span})", 1
    elif span <= 16:
        text, container = f"sw_get_long({base} + {first}, {span})", 2
    elif n <= 2:
        return Value(f"sw_get_bits({base}, {at}, {width})", 2)
    else:
        name = w.temp()
        w.line(f"uint64_t {name}[{n}];")
        w.line(f"sw_wide_get({name}, {n}, {base}, {at}, {width});")
        return Value(name, n)
    if rest := span * 8 - shift - width:
        text = f"({text} >> {rest})"
    if shift:
        text = f"({text} & {number((1 << width) - 1, container)})"
    return Value(f"(uint64_t){text}", 1) if n < container else Value(text, n)


@dataclass(frozen=True, slots=True)
class Piece:
    """A value and the number of bits it takes; nothing above them is set."""

    value: Value
    width: int


def pieces(layout: Layout, header: str, type_: ir.HeaderType, names: Sequence[str]) -> list[Piece]:
    """Fixed fields of a header (an lvalue) as pieces."""
    result = []
    for name in names:
        field = type_.field(name)
        assert field is not None and not field.varbit
        lvalue = layout.field_of(header, type_, name)
        result.append(Piece(Value(lvalue, words(field.width)), field.width))
    return result


def store(w: Writer, base: str, parts: Sequence[Piece]) -> int:
    """Write the pieces one after the other from `base` on; returns their bits.

    The bytes need not be initialised; bits after the last piece, up to the next byte, become zero.
    """
    at, group = 0, list[Piece]()
    for part in parts:
        group.append(part)
        if sum(p.width for p in group) % 8 == 0:
            at += _store_group(w, base, at, group)
            group = []
    return at + _store_group(w, base, at, group)


def _store_group(w: Writer, base: str, at: int, group: Sequence[Piece]) -> int:
    """Pieces that start at a byte."""
    total = sum(p.width for p in group)
    if not total:
        return 0
    size = (total + 7) // 8
    target = f"{base} + {at // 8}" if at else base
    if total > 128:
        w.line(f"memset({target}, 0, {size});")
        place = 0
        for part in group:
            if part.value.words > 2:
                w.line(f"sw_wide_put({target}, {place}, {part.width}, {part.value.text});")
            else:
                w.line(f"sw_put_bits({target}, {place}, {part.width}, {part.value.text});")
            place += part.width
        return total
    kind = "uint64_t" if size <= 8 else "sw_u128"
    terms, left = [], size * 8
    for part in group:
        left -= part.width
        term = f"({kind}){part.value.text}"
        terms.append(f"{term} << {left}" if left else term)
    w.line(f"{'sw_put' if size <= 8 else 'sw_put_long'}({target}, {size}, {' | '.join(terms)});")
    return total


def add_words(w: Writer, total: str, parts: Sequence[Piece]) -> None:
    """Add to `total` a number that is congruent, modulo 2^16 - 1, to the sum of the 16-bit words
    that the pieces make one after the other; 0 only if all of them are. Whole words only."""
    bits = sum(part.width for part in parts)
    assert bits % 16 == 0
    left = bits
    for part in parts:
        left -= part.width
        shift = left % 16
        if part.value.words == 1 and part.width + shift <= 64:
            term = f"(uint64_t){part.value.text}"
            term = f"({term} << {shift})" if shift else term
            if part.width + shift <= 48:
                w.line(f"{total} += {term};")
                continue
            w.line(f"{total} += {term} >> 32;")
            w.line(f"{total} += {term} & 0xffffffff;")
            continue
        # wider: by 32-bit runs from the right, each a number of whole words but for the shift
        for low in range(0, part.width, 32):
            term = f"(uint64_t)({part.value.text} >> {low}) & 0xffffffff"
            w.line(f"{total} += ({term}) << {shift};")
