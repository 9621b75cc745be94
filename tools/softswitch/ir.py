"""The checked intermediate form of a P4 program for the v1model architecture.

Everything that reaches this form is supported by the code generator; whatever is not was refused by
`softswitch.load`. Plain values only: no JSON, no C. Names are those of the BMv2 JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

VALID = "$valid$"
"""Hidden one-bit field of every header instance: its validity."""


@dataclass(frozen=True, slots=True)
class FieldType:
    """A member of a header type. `width` in bits; for a varbit field, the most it can hold."""

    name: str
    width: int
    signed: bool = False
    varbit: bool = False


@dataclass(frozen=True, slots=True)
class HeaderType:
    """A header or metadata type; fields in wire order."""

    name: str
    fields: tuple[FieldType, ...]

    @property
    def fixed_bits(self) -> int:
        """Width without the varbit field, in bits."""
        return sum(f.width for f in self.fields if not f.varbit)

    @property
    def varbit(self) -> FieldType | None:
        """The varbit field, of which there is at most one."""
        return next((f for f in self.fields if f.varbit), None)

    @property
    def max_bytes(self) -> int:
        """The most bytes a header of this type takes in a packet."""
        return sum(f.width for f in self.fields) // 8

    def field(self, name: str) -> FieldType | None:
        """The field of that name, if any."""
        return next((f for f in self.fields if f.name == name), None)


@dataclass(frozen=True, slots=True)
class Header:
    """A header or metadata instance; `stack` and `index` are set for an element of a stack."""

    name: str
    type: HeaderType
    metadata: bool
    stack: str | None = None
    index: int = 0
    union: str | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A header stack; `headers` are the names of its elements in order."""

    name: str
    type: HeaderType
    headers: tuple[str, ...]


# --- expressions: data, boolean and header valued -------------------------------------------------


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


# --- statements: actions, and the primitives that parsers call ------------------------------------


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


# --- parser ---------------------------------------------------------------------------------------


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


# --- control --------------------------------------------------------------------------------------


class Match(Enum):
    """Match kind of a key field. P4's `optional` arrives here as ternary."""

    EXACT = "exact"
    LPM = "lpm"
    TERNARY = "ternary"


@dataclass(frozen=True, slots=True)
class Key:
    """A key field of a table; `mask` (of the field's width) is applied to the packet's value."""

    name: str
    match: Match
    source: FieldRef
    width: int
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class ActionCall:
    """An action (by id) with its arguments."""

    action: int
    args: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ConstEntry:
    """An entry of the program text: (value, mask) per key field; smaller priority wins."""

    key: tuple[tuple[int, int], ...]
    priority: int
    call: ActionCall


@dataclass(frozen=True, slots=True)
class Table:
    """A match-action table. `match` is EXACT, LPM (one lpm key) or TERNARY (entries overlap).

    With `profile`, entries name members or groups of that action profile. `ages`: entries may have
    an idle timeout. `meter`: the direct meter of its entries. `actions` maps names to ids.
    `default` None: no action. The next node after a hit is `next_hit` if `splits_hit`, else by
    action name; likewise after a miss; `next_default` if no action ran.
    """

    name: str
    pipeline: str
    match: Match
    keys: tuple[Key, ...]
    actions: Mapping[str, int]
    max_size: int
    counters: bool
    default: ActionCall | None
    default_const: bool
    entries: tuple[ConstEntry, ...] | None
    next_by_action: Mapping[str, str | None]
    next_hit: str | None
    next_miss: str | None
    splits_hit: bool
    splits_miss: bool
    next_default: str | None
    profile: str | None = None
    ages: bool = False
    meter: str | None = None


@dataclass(frozen=True, slots=True)
class Conditional:
    """A branch of the control flow; None ends the pipeline."""

    name: str
    cond: Bool
    then: str | None
    other: str | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """ingress or egress: a graph of tables and conditionals by name."""

    name: str
    start: str | None
    tables: Mapping[str, Table]
    conditionals: Mapping[str, Conditional]


@dataclass(frozen=True, slots=True)
class SumField:
    """An input of a checksum: a field of a header; skipped while the header is invalid."""

    header: str
    field: str


@dataclass(frozen=True, slots=True)
class SumHeader:
    """An input of a checksum: a whole header; skipped while it is invalid."""

    header: str


@dataclass(frozen=True, slots=True)
class SumConst:
    """An input of a checksum: `width` constant bits."""

    value: int
    width: int


SumInput: TypeAlias = SumField | SumHeader | SumConst


@dataclass(frozen=True, slots=True)
class Checksum:
    """RFC 1071 checksum over `inputs`, then the unparsed rest of the packet if `payload`."""

    name: str
    target: FieldRef
    inputs: tuple[SumInput, ...]
    payload: bool
    cond: Bool | None
    verify: bool
    update: bool


@dataclass(frozen=True, slots=True)
class Meter:
    """An indirect meter: two rates (RFC 2698) per cell, in packets or bytes."""

    size: int
    packets: bool


@dataclass(frozen=True, slots=True)
class DirectMeter:
    """A meter of each entry of a table; the colour goes to `target` when the entry is hit, before
    its action runs."""

    packets: bool
    target: FieldRef


@dataclass(frozen=True, slots=True)
class Register:
    """A register array: cells of `width` bits."""

    size: int
    width: int


@dataclass(frozen=True, slots=True)
class Profile:
    """An action profile. `selector`: fields hashed (crc16) to choose a member of a group."""

    name: str
    max_size: int
    selector: tuple[FieldRef, ...]


@dataclass(frozen=True, slots=True)
class LearnList:
    """What a digest reports."""

    name: str
    fields: tuple[FieldRef, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A whole v1model program."""

    headers: Mapping[str, Header]
    stacks: Mapping[str, Stack]
    unions: Mapping[str, tuple[str, ...]]
    errors: Mapping[str, int]
    parser: Parser
    actions: Mapping[int, Action]
    ingress: Pipeline
    egress: Pipeline
    deparser: tuple[str, ...]
    checksums: tuple[Checksum, ...]
    counters: Mapping[str, int]
    direct_counters: Mapping[str, str]
    aliases: Mapping[str, FieldRef] = field(default_factory=dict)
    meters: Mapping[str, Meter] = field(default_factory=dict)
    direct_meters: Mapping[str, DirectMeter] = field(default_factory=dict)
    registers: Mapping[str, Register] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    learn_lists: Mapping[int, LearnList] = field(default_factory=dict)
    field_lists: Mapping[int, tuple[FieldRef, ...]] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, Table]:
        """All tables, ingress first."""
        return {**self.ingress.tables, **self.egress.tables}

    def header_type(self, name: str) -> HeaderType:
        """Type of the header instance `name`."""
        return self.headers[name].type

    def find_field(self, name: str) -> FieldRef | None:
        """The field that BMv2 knows as `name` (`standard_metadata.egress_spec`), if any."""
        if name in self.aliases:
            return self.aliases[name]
        header, _, member = name.rpartition(".")
        if header in self.headers and self.headers[header].type.field(member) is not None:
            return FieldRef(header, member)
        return None
