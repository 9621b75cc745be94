"""Expressions against a model with Python's unbounded integers, as BMv2 computes them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from softswitch.engine import Engine
from softswitch.errors import UnsupportedError
from softswitch.tests.bmv2_json import Json, assign, const, field, forwarding, op

WIDTHS = [1, 3, 8, 9, 16, 23, 32, 33, 48, 63, 64, 65, 100, 127, 128, 129, 200, 256]
Values = dict[str, int]
Model = Callable[[Values], int]
Compute = Callable[[int, int], int]
Test = Callable[[int, int], bool]


def _fields() -> list[list[Any]]:
    fields: list[list[Any]] = [[f"f{w}", w, False] for w in WIDTHS]
    fields += [["s8", 8, True], ["s64", 64, True], ["s100", 100, True]]
    return [*fields, ["_pad", -sum(f[1] for f in fields) % 8, False]]


FIELDS = _fields()
BITS = sum(f[1] for f in FIELDS)


def _signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def _fixed(value: int) -> Model:
    return lambda _: value


def _read(name: str) -> Model:
    return lambda values: values[name]


def _shifted_right(name: str) -> Model:
    return lambda values: values[name] >> values["f8"]


class Generator:
    """Random expressions, each with its model."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def data(self, depth: int) -> tuple[Json, Model]:
        if depth == 0 or self.random.random() < 0.15:
            return self._leaf()
        kind = self.random.choice(
            ["+", "-", "*", "&", "|", "^", "~", "<<", ">>", "?", "b2d", "mask", "cast", "/", "%"]
        )
        if kind == "~":
            right, model = self.data(depth - 1)
            return op("~", None, right), lambda v: ~model(v)
        if kind == "b2d":
            test, holds = self.boolean(depth - 1)
            return op("b2d", None, test), lambda v: int(holds(v))
        if kind == "?":
            (test, holds), (a, fa), (b, fb) = (
                self.boolean(depth - 1),
                self.data(depth - 1),
                self.data(depth - 1),
            )
            return op("?", a, b, test), lambda v: fa(v) if holds(v) else fb(v)
        if kind in ("<<", ">>"):
            return self._shift(kind, depth)
        if kind == "mask":
            inner, model = self.data(depth - 1)
            mask = (1 << self.random.choice(WIDTHS)) - 1
            return op("&", inner, const(mask)), lambda v: model(v) & mask
        if kind == "cast":
            return self._cast(depth)
        if kind in ("/", "%"):
            return self._divide(kind)
        (a, fa), (b, fb) = self.data(depth - 1), self.data(depth - 1)
        operations: dict[str, Compute] = {
            "+": lambda x, y: x + y,
            "-": lambda x, y: x - y,
            "*": lambda x, y: x * y,
            "&": lambda x, y: x & y,
            "|": lambda x, y: x | y,
            "^": lambda x, y: x ^ y,
        }
        apply = operations[kind]
        return op(kind, a, b), lambda v: apply(fa(v), fb(v))

    def boolean(self, depth: int) -> tuple[Json, Callable[[Values], bool]]:
        kind = self.random.choice(["==", "!=", "<", "<=", ">", ">=", "and", "or", "not", "d2b"])
        if kind in ("and", "or") and depth:
            (a, fa), (b, fb) = self.boolean(depth - 1), self.boolean(depth - 1)
            both = kind == "and"
            return op(kind, a, b), lambda v: (fa(v) and fb(v)) if both else (fa(v) or fb(v))
        if kind == "not" and depth:
            inner, holds = self.boolean(depth - 1)
            return op("not", None, inner), lambda v: not holds(v)
        if kind not in ("==", "!=", "<", "<=", ">", ">="):
            operand, model = self.data(max(0, depth - 1))
            return op("d2b", None, operand), lambda v: model(v) != 0
        (a, ga), (b, gb) = self.data(max(0, depth - 1)), self.data(max(0, depth - 1))
        comparisons: dict[str, Test] = {
            "==": lambda x, y: x == y,
            "!=": lambda x, y: x != y,
            "<": lambda x, y: x < y,
            "<=": lambda x, y: x <= y,
            ">": lambda x, y: x > y,
            ">=": lambda x, y: x >= y,
        }
        compare = comparisons[kind]
        return op(kind, a, b), lambda v: compare(ga(v), gb(v))

    def _leaf(self) -> tuple[Json, Model]:
        if self.random.random() < 0.3:
            value = self.random.choice([0, 1, -1, 255, self.random.getrandbits(70), -(1 << 40)])
            return const(value), _fixed(value)
        name = self.random.choice(FIELDS[:-1])[0]
        return field("h", name), _read(name)

    def _shift(self, kind: str, depth: int) -> tuple[Json, Model]:
        inner, model = self.data(depth - 1)
        if self.random.random() < 0.5:
            by = self.random.choice([0, 1, 7, 31, 63, 64, 65, 127, 128, 130])
            amount, count = const(by), _fixed(by)
        else:
            name = self.random.choice(["f3", "f8"])
            amount, count = field("h", name), _read(name)
        if kind == "<<":
            return op("<<", inner, amount), lambda v: model(v) << count(v)
        return op(">>", inner, amount), lambda v: model(v) >> count(v)

    def _cast(self, depth: int) -> tuple[Json, Model]:
        inner, model = self.data(depth - 1)
        width = self.random.choice(WIDTHS[1:])
        name = self.random.choice(["two_comp_mod", "usat_cast", "sat_cast"])
        low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
        if name == "two_comp_mod":
            return op(name, inner, const(width)), lambda v: _signed(model(v), width)
        if name == "usat_cast":
            low, high = 0, (1 << width) - 1
        return op(name, inner, const(width)), lambda v: max(low, min(high, model(v)))

    def _divide(self, kind: str) -> tuple[Json, Model]:
        name = self.random.choice(["f8", "f32", "f64", "f100", "f128"])
        by = self.random.choice([1, 3, 255, 1 << 70])
        if kind == "/":
            return op(kind, field("h", name), const(by)), lambda v: v[name] // by
        return op(kind, field("h", name), const(by)), lambda v: v[name] % by


def _program(expressions: list[Json]) -> bytes:
    """Each expression is stored in a field of its own."""
    program = forwarding(FIELDS)
    results: list[list[Any]] = [
        [f"r{i}", WIDTHS[i % len(WIDTHS)], False] for i in range(len(expressions))
    ]
    results.append(["_pad", -sum(r[1] for r in results) % 8, False])
    program.header("r", [r for r in results if r[1]])
    program.deparser = ["r"]
    body = [{"op": "add_header", "parameters": [{"type": "header", "value": "r"}]}]
    body += [assign("r", f"r{i}", expression) for i, expression in enumerate(expressions)]
    body.append(assign("standard_metadata", "egress_spec", const(2)))
    compute = program.action("compute", [], body)
    program.table("t", [], [compute], default=compute)
    return program.encode()


def _unpack(data: bytes, fields: list[tuple[str, int, bool]]) -> Values:
    total = sum(width for _, width, _ in fields)
    number, left = int.from_bytes(data, "big"), total + -total % 8
    values = {}
    for name, width, signed in fields:
        left -= width
        value = number >> left & (1 << width) - 1
        values[name] = _signed(value, width) if signed else value
    return values


COUNT = 54
GENERATOR = Generator(20261120)
# arithmetic shifts to the very sign bit, which random trees seldom hold
SHIFTS: list[tuple[Json, Model]] = [
    (op(">>", field("h", name), field("h", "f8")), _shifted_right(name))
    for name in ("s8", "s64", "s100", "f64", "f128", "f256")
]
CASES = [*SHIFTS, *(GENERATOR.data(4) for _ in range(COUNT - len(SHIFTS)))]


@pytest.fixture(scope="module")
def engine(engine_cache: Path) -> Engine:
    return Engine.build(_program([expression for expression, _ in CASES]), cache_dir=engine_cache)


@settings(max_examples=150, deadline=None)
@given(
    data=st.one_of(
        st.binary(min_size=BITS // 8, max_size=BITS // 8),
        st.sampled_from([b"\0" * (BITS // 8), b"\xff" * (BITS // 8), b"\x80" * (BITS // 8)]),
    )
)
def test_expressions_over_random_fields_equal_unbounded_arithmetic(
    engine: Engine, data: bytes
) -> None:
    values = _unpack(data, [(f[0], f[1], f[2]) for f in FIELDS])
    [(port, out)] = engine.process(1, data)
    assert port == 2
    widths = [WIDTHS[i % len(WIDTHS)] for i in range(COUNT)]
    got = _unpack(out, [(f"r{i}", width, False) for i, width in enumerate(widths)])
    for i, ((_, model), width) in enumerate(zip(CASES, widths, strict=True)):
        assert got[f"r{i}"] == model(values) % (1 << width), f"expression {i}: {CASES[i][0]}"


@pytest.mark.parametrize(
    ("expression", "construct"),
    [
        (op("==", op("<<", field("h", "f8"), field("h", "f32")), const(1)), "'<<'"),
        (op("/", const(-4), field("h", "f8")), "'/' on negative operands"),
        (op("two_comp_mod", field("h", "f8"), field("h", "f8")), "'two_comp_mod'"),
        (op("frobnicate", field("h", "f8"), const(1)), "'frobnicate'"),
    ],
    ids=["unbounded-shift", "negative-division", "computed-cast", "unknown"],
)
def test_expression_that_cannot_be_computed_is_refused_by_name(
    engine_cache: Path, expression: Json, construct: str
) -> None:
    if expression["value"]["op"] == "==":
        expression = op("b2d", None, expression)
    with pytest.raises(UnsupportedError, match=construct):
        Engine.build(_program([expression]), cache_dir=engine_cache)
