"""Expressions: data, boolean and header valued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Const:
    """An integer of any size, maybe negative."""

    value: int


@dataclass(frozen=True, slots=True)
class FieldRef:
    """A fixed-width field of a named header, or its hidden field `$valid$`."""

    header: str
    field: str


@dataclass(frozen=True, slots=True)
class Param:
    """Parameter number `index` of the enclosing action, `width` bits.

    BMv2 takes what the control plane sends as unsigned, whatever P4 says, but keeps the sign of
    arguments in the program's own entries; `signed` says that there is one.
    """

    index: int
    width: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class StackLast:
    """A field of the last element that was pushed on a stack."""

    stack: str
    field: str


@dataclass(frozen=True, slots=True)
class StackItem:
    """A header: the element of a stack at an index computed at run time."""

    stack: str
    index: Data


@dataclass(frozen=True, slots=True)
class StackItemField:
    """A field of a stack element chosen at run time."""

    item: StackItem
    field: str


@dataclass(frozen=True, slots=True)
class StackCount:
    """Number of elements of a stack that were pushed, plus `add` (-1 gives the last index)."""

    stack: str
    add: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`~`."""

    op: str
    arg: Data


@dataclass(frozen=True, slots=True)
class Binary:
    """`+ - * / % << >> & | ^ two_comp_mod usat_cast sat_cast`, on unbounded integers."""

    op: str
    left: Data
    right: Data


@dataclass(frozen=True, slots=True)
class Choice:
    """`cond ? then : other` on integers."""

    cond: Bool
    then: Data
    other: Data


@dataclass(frozen=True, slots=True)
class FromBool:
    """0 or 1."""

    arg: Bool


@dataclass(frozen=True, slots=True)
class BoolConst:
    """true or false."""

    value: bool


@dataclass(frozen=True, slots=True)
class ToBool:
    """Whether an integer differs from zero."""

    arg: Data


@dataclass(frozen=True, slots=True)
class IsValid:
    """Validity of a header."""

    header: HeaderRef


@dataclass(frozen=True, slots=True)
class Compare:
    """`== != < <= > >=` on integers."""

    op: str
    left: Data
    right: Data


@dataclass(frozen=True, slots=True)
class SameHeader:
    """`==` (or, negated, `!=`) on headers: both valid and all fields equal."""

    left: HeaderRef
    right: HeaderRef
    negate: bool


@dataclass(frozen=True, slots=True)
class Logic:
    """`and or == !=` on booleans; both sides are evaluated."""

    op: str
    left: Bool
    right: Bool


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    arg: Bool


@dataclass(frozen=True, slots=True)
class BoolChoice:
    """`cond ? then : other` on booleans."""

    cond: Bool
    then: Bool
    other: Bool


@dataclass(frozen=True, slots=True)
class NamedHeader:
    """A header by its name."""

    name: str


HeaderRef: TypeAlias = NamedHeader | StackItem
Data: TypeAlias = (
    Const
    | FieldRef
    | Param
    | StackLast
    | StackItemField
    | StackCount
    | Unary
    | Binary
    | Choice
    | FromBool
)
Bool: TypeAlias = BoolConst | ToBool | IsValid | Compare | SameHeader | Logic | Not | BoolChoice
Target: TypeAlias = FieldRef | StackLast | StackItemField
