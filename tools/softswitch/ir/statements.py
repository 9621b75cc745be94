"""Statements: actions, and the primitives that parsers call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from softswitch.ir.expressions import Data, FieldRef, HeaderRef, Target
from softswitch.ir.sums import SumConst, SumField


@dataclass(frozen=True, slots=True)
class Assign:
    """Store an integer into a field, truncated to its width."""

    target: Target
    value: Data


@dataclass(frozen=True, slots=True)
class AssignVarbit:
    """Copy a varbit field with its length."""

    target: tuple[str, str]
    source: tuple[str, str]


@dataclass(frozen=True, slots=True)
class AssignHeader:
    """Copy fields and validity; an invalid source only invalidates the target."""

    target: HeaderRef
    source: HeaderRef


@dataclass(frozen=True, slots=True)
class AssignStack:
    """Copy all elements of a stack and its next index."""

    target: str
    source: str


@dataclass(frozen=True, slots=True)
class SetValid:
    """Make a header valid (fields zeroed if it was not) or invalid; counts the packet length."""

    header: HeaderRef
    valid: bool


@dataclass(frozen=True, slots=True)
class MarkToDrop:
    """egress_spec = drop port, mcast_grp = 0, in the given metadata instance."""

    header: str


@dataclass(frozen=True, slots=True)
class Count:
    """Add the packet to one cell of an indirect counter."""

    counter: str
    index: Data


@dataclass(frozen=True, slots=True)
class ExecuteMeter:
    """Charge the packet to one cell of an indirect meter and store the colour."""

    meter: str
    index: Data
    target: FieldRef


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """Load one cell of a register array; nothing happens when there is no such cell."""

    target: FieldRef
    register: str
    index: Data


@dataclass(frozen=True, slots=True)
class RegisterWrite:
    """Store into one cell of a register array; nothing happens when there is no such cell."""

    register: str
    index: Data
    value: Data


@dataclass(frozen=True, slots=True)
class Hash:
    """Store `base` plus the crc16 of the inputs modulo `size` (0 counts as 1)."""

    target: FieldRef
    inputs: tuple[SumField | SumConst, ...]
    base: Data
    size: Data


@dataclass(frozen=True, slots=True)
class GenerateDigest:
    """Report the fields of a learn list, as they are after ingress; the last call wins."""

    learn: int


@dataclass(frozen=True, slots=True)
class CloneEgress:
    """Copy the packet after egress; the copy keeps the metadata of a field list only."""

    session: Data
    field_list: int


@dataclass(frozen=True, slots=True)
class CloneIngress:
    """Copy the packet as it came; the copy is parsed again and goes to egress, with the metadata
    of a field list as it is after ingress."""

    session: Data
    field_list: int


@dataclass(frozen=True, slots=True)
class Exit:
    """Stop the pipeline after this action."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Go to statement number `target` of the action; if `unless` is given, only when it is 0."""

    target: int
    unless: Data | None = None


Statement: TypeAlias = (
    Assign
    | AssignVarbit
    | AssignHeader
    | AssignStack
    | SetValid
    | MarkToDrop
    | Count
    | ExecuteMeter
    | RegisterRead
    | RegisterWrite
    | Hash
    | GenerateDigest
    | CloneEgress
    | CloneIngress
    | Exit
    | Jump
)


@dataclass(frozen=True, slots=True)
class Action:
    """An action; parameters as (name, width in bits) in declaration order.

    `negative` are the parameters for which the program's own entries have negative arguments.
    """

    name: str
    id: int
    params: tuple[tuple[str, int], ...]
    body: tuple[Statement, ...]
    negative: frozenset[int] = frozenset()

    def bits(self, index: int) -> int:
        """Bits that hold a parameter, its sign included."""
        return self.params[index][1] + (index in self.negative)
