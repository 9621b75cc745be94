"""What a P4Info declares, as values: tables, actions, counters, meters, digests. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from dfvisor.p4rt.entries import FieldMatch
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.pb import p4i


class MatchKind(Enum):
    """The match kinds in use."""

    EXACT = p4i.MatchField.EXACT
    TERNARY = p4i.MatchField.TERNARY
    LPM = p4i.MatchField.LPM


@dataclass(frozen=True, slots=True)
class Field:
    """A match field; `width` in bits."""

    id: int
    name: str
    width: int
    kind: MatchKind


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an action, or a field of a header or digest; `width` in bits, `where` for
    messages.
    """

    id: int
    name: str
    width: int
    where: str


@dataclass(frozen=True, slots=True)
class Action:
    """An action and its parameters in order."""

    id: int
    name: str
    params: tuple[Param, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its key fields in order and its actions by name (default-only ones among them).

    `selects`: an action selector chooses among the actions of an entry's set.
    """

    id: int
    name: str
    fields: tuple[Field, ...]
    actions: Mapping[str, Action]
    default_only: frozenset[str]
    size: int
    has_counter: bool
    selects: bool = False

    @property
    def needs_priority(self) -> bool:
        """Entries carry a priority > 0 exactly if a field is ternary (P4Runtime 9.1.1)."""
        return any(field.kind is MatchKind.TERNARY for field in self.fields)


@dataclass(frozen=True, slots=True)
class Counter:
    """An indirect counter array."""

    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class MeterArray:
    """An indirect meter array."""

    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class DigestShape:
    """A digest and the fields of its messages, in order."""

    id: int
    name: str
    fields: tuple[Param, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A field in its table: what encoding and decoding need at hand. `encoded` are matches of it as
    part of the entry's message, those that were met lately.
    """

    id: int
    name: str
    width: int
    kind: MatchKind
    place: int
    where: str
    oneof: str  # the name of its kind in FieldMatch
    encoded: dict[FieldMatch, bytes] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )


class Slots:
    """The slots of a table."""

    def __init__(self, table: Table) -> None:
        slots = [
            Slot(
                field.id,
                field.name,
                field.width,
                field.kind,
                place,
                f"{table.name}.{field.name}",
                field.kind.name.lower(),
            )
            for place, field in enumerate(table.fields)
        ]
        self.by_name = {slot.name: slot for slot in slots}
        self.by_id = {slot.id: slot for slot in slots}
        self.exact_names = [slot.name for slot in slots if slot.kind is MatchKind.EXACT]
        self.exact = len(self.exact_names)
        self.needs_priority = table.needs_priority


def action_of(message: p4i.Action) -> Action:
    """The shape of an action."""
    return Action(
        message.preamble.id,
        message.preamble.alias,
        tuple(
            Param(param.id, param.name, param.bitwidth, f"{message.preamble.alias}.{param.name}")
            for param in message.params
        ),
    )


def digest_of(message: p4i.Digest, proto: p4i.P4Info) -> DigestShape:
    """The shape of a digest; SchemaError if it is no struct of bit strings."""
    name = message.preamble.alias
    struct = proto.type_info.structs[message.type_spec.struct.name]
    fields: list[Param] = []
    for place, member in enumerate(struct.members, 1):
        if member.type_spec.WhichOneof("type_spec") != "bitstring":
            raise SchemaError(f"digest {name}: field {member.name} is no bit string")
        width = member.type_spec.bitstring.bit.bitwidth
        fields.append(Param(place, member.name, width, f"{name}.{member.name}"))
    return DigestShape(message.preamble.id, name, tuple(fields))


def table_of(message: p4i.Table, actions: Mapping[int, Action], proto: p4i.P4Info) -> Table:
    """The shape of a table, its actions taken from `actions` by id."""
    name = message.preamble.alias
    fields = []
    for field in message.match_fields:
        try:
            kind = MatchKind(field.match_type)
        except ValueError as error:
            raise SchemaError(
                f"table {name}: field {field.name}: match kind {field.match_type} is not supported"
            ) from error
        fields.append(Field(field.id, field.name, field.bitwidth, kind))
    refs: Iterable[p4i.ActionRef] = message.action_refs
    selectors = {one.preamble.id for one in proto.action_profiles if one.with_selector}
    return Table(
        id=message.preamble.id,
        name=name,
        fields=tuple(fields),
        actions={actions[ref.id].name: actions[ref.id] for ref in refs},
        default_only=frozenset(
            actions[ref.id].name
            for ref in message.action_refs
            if ref.scope == p4i.ActionRef.DEFAULT_ONLY
        ),
        size=message.size,
        has_counter=any(
            counter.direct_table_id == message.preamble.id for counter in proto.direct_counters
        ),
        selects=message.implementation_id in selectors,
    )
