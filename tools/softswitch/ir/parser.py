"""Parsers: states, what they do, and where they go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from softswitch.ir.expressions import Bool, Data, FieldRef, StackLast
from softswitch.ir.statements import Statement


@dataclass(frozen=True, slots=True)
class Extract:
    """Extract into a header; with `varbit_bits`, its varbit field takes that many bits."""

    header: str
    varbit_bits: Data | None = None


@dataclass(frozen=True, slots=True)
class ExtractNext:
    """Extract into the next element of a stack."""

    stack: str
    varbit_bits: Data | None = None


@dataclass(frozen=True, slots=True)
class Lookahead:
    """`width` bits of the packet, `offset` bits after the cursor."""

    offset: int
    width: int


@dataclass(frozen=True, slots=True)
class SetLookahead:
    """Store bits ahead of the cursor into a field."""

    target: FieldRef
    source: Lookahead


@dataclass(frozen=True, slots=True)
class Verify:
    """Stop with the error code `error` unless the condition holds."""

    cond: Bool
    error: Data


@dataclass(frozen=True, slots=True)
class Advance:
    """Skip `bits` bits, a multiple of 8."""

    bits: Data


@dataclass(frozen=True, slots=True)
class Do:
    """A statement that actions know too."""

    statement: Statement


ParserOp: TypeAlias = Extract | ExtractNext | SetLookahead | Verify | Advance | Do
KeyField: TypeAlias = FieldRef | StackLast | Lookahead


@dataclass(frozen=True, slots=True)
class Case:
    """Goes to `next` (None: accept) if (key & mask) == value for every field of the key."""

    values: tuple[int, ...]
    masks: tuple[int | None, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class State:
    """A parser state: operations, then the first case that fits, else `default`."""

    name: str
    ops: tuple[ParserOp, ...]
    key: tuple[KeyField, ...]
    cases: tuple[Case, ...]
    default: str | None


@dataclass(frozen=True, slots=True)
class Parser:
    """States by name; the start state's name."""

    start: str
    states: Mapping[str, State]
