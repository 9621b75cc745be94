"""Bounds of integer expressions, so that BMv2's unbounded arithmetic fits fixed-size C integers."""

from __future__ import annotations

from softswitch import ir
from softswitch.codegen.layout import Layout

Interval = tuple[int, int]
MAX_SHIFT = 8192
"""Shifts beyond this are not bounded any further; no container is that wide."""


def bits_for(low: int, high: int) -> int:
    """Bits that hold every number of [low, high]: unsigned if low >= 0, else two's complement."""
    if low >= 0:
        return max(1, high.bit_length())
    return max(high.bit_length(), (-low - 1).bit_length()) + 1


def of_width(width: int, signed: bool = False) -> Interval:
    """What a field of that width can hold."""
    return (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)


def interval(layout: Layout, e: ir.Data) -> Interval:
    """Bounds of an expression's value, before any truncation. Sound, not always tight."""
    match e:
        case ir.Const(value):
            return value, value
        case ir.FieldRef():
            field = layout.field_type(e)
            return of_width(field.width, field.signed)
        case ir.StackLast(stack, name):
            return _stack_field(layout, stack, name)
        case ir.StackItemField(item, name):
            return _stack_field(layout, item.stack, name)
        case ir.Param(_, width, signed):
            return (-(1 << (width - 1)) if signed else 0), (1 << width) - 1
        case ir.StackCount(stack, add):
            return add, len(layout.program.stacks[stack].headers) + add
        case ir.FromBool():
            return 0, 1
        case ir.Unary():
            low, high = interval(layout, e.arg)
            return -high - 1, -low - 1
        case ir.Choice():
            a, b = interval(layout, e.then), interval(layout, e.other)
            return min(a[0], b[0]), max(a[1], b[1])
        case ir.Binary():
            return _binary(layout, e)


def _stack_field(layout: Layout, stack: str, name: str) -> Interval:
    field = layout.program.stacks[stack].type.field(name)
    assert field is not None
    return of_width(field.width, field.signed)


def _binary(layout: Layout, e: ir.Binary) -> Interval:
    (a, b), (c, d) = interval(layout, e.left), interval(layout, e.right)
    match e.op:
        case "+":
            return a + c, b + d
        case "-":
            return a - d, b - c
        case "*":
            corners = (a * c, a * d, b * c, b * d)
            return min(corners), max(corners)
        case "/":
            return 0, max(b, 0)
        case "%":
            return 0, max(d - 1, 0)
        case "<<":
            c, d = (min(max(amount, 0), MAX_SHIFT) for amount in (c, d))
            return min(a << c, a << d), max(b << c, b << d)
        case ">>":
            c, d = (min(max(amount, 0), MAX_SHIFT) for amount in (c, d))
            return min(a >> c, a >> d), max(b >> c, b >> d)
        case "&":
            return _and((a, b), (c, d))
        case "|" | "^":
            bits = max(bits_for(a, b), bits_for(c, d)) + (a < 0 or c < 0)
            return of_width(bits, a < 0 or c < 0)
    width = d if isinstance(e.right, ir.Const) else 0
    assert width > 0, e.op  # the loader lets only constant widths pass
    return of_width(width, e.op != "usat_cast")


def _and(left: Interval, right: Interval) -> Interval:
    tops = [high for low, high in (left, right) if low >= 0]
    if tops:
        return 0, min(tops)
    bits = max(bits_for(*left), bits_for(*right))
    return of_width(bits + 1, True)
