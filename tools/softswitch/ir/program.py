"""Tables, control flow, checksums, state and the whole program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from softswitch.ir.expressions import Bool, FieldRef
from softswitch.ir.parser import Parser
from softswitch.ir.statements import Action
from softswitch.ir.sums import SumInput
from softswitch.ir.types import Header, HeaderType, Stack


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
