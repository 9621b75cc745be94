"""The P4Info of a pipeline, checked once and turned into lookup tables.

Everything that the write path asks ("which field is this, how wide, which actions may this table
run") is a plain attribute or dict here. Order of fields and parameters is P4Info order, which p4c
keeps equal to the BMv2 JSON's; `json_view.check_against` verifies it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from softswitch.server.errors import invalid
from softswitch.server.pb import p4i, p4t


class MatchKind(Enum):
    """How a key field matches; the value is the name of the FieldMatch's member."""

    EXACT = "exact"
    LPM = "lpm"
    TERNARY = "ternary"
    RANGE = "range"
    OPTIONAL = "optional"

    @property
    def needs_priority(self) -> bool:
        """Whether a key with such a field needs a priority above zero."""
        return self in (MatchKind.TERNARY, MatchKind.RANGE, MatchKind.OPTIONAL)


class Scope(Enum):
    """Where a table may use an action."""

    TABLE_AND_DEFAULT = p4i.ActionRef.TABLE_AND_DEFAULT
    TABLE_ONLY = p4i.ActionRef.TABLE_ONLY
    DEFAULT_ONLY = p4i.ActionRef.DEFAULT_ONLY


@dataclass(frozen=True, slots=True)
class Field:
    """A key field of a table; width in bits."""

    id: int
    name: str
    kind: MatchKind
    width: int


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an action; width in bits."""

    id: int
    name: str
    width: int


@dataclass(frozen=True, slots=True)
class Action:
    """An action and its parameters in declaration order; `index` maps a param id to its place."""

    id: int
    name: str
    params: tuple[Param, ...]
    index: Mapping[int, int]


class MeterKind(Enum):
    """How a meter marks (P4Runtime 1.4, section "Meter & DirectMeter")."""

    TWO_RATES = p4i.MeterSpec.TWO_RATE_THREE_COLOR  # RFC 2698
    ONE_RATE_THREE_COLORS = p4i.MeterSpec.SINGLE_RATE_THREE_COLOR  # RFC 2697
    ONE_RATE_TWO_COLORS = p4i.MeterSpec.SINGLE_RATE_TWO_COLOR


@dataclass(frozen=True, slots=True)
class Shape:
    """The keys that give the same fields in the same order.

    `blank` is the key whose other fields are don't-care; `fields` are the given ones: place in it,
    kind, width, field; `ordered` says that they are given in P4Info order.
    """

    blank: tuple[int, ...]
    fields: tuple[tuple[int, MatchKind, int, Field], ...]
    ordered: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `index` maps a field id to its place in the key."""

    id: int
    name: str
    fields: tuple[Field, ...]
    index: Mapping[int, int]
    actions: Mapping[int, tuple[Action, Scope]]
    size: int
    needs_priority: bool
    is_const: bool
    const_default: bool
    direct_counter: bool
    direct_meter: MeterKind | None
    idle_timeout: bool
    profile: int
    """Id of the action profile that holds its actions; 0 if its entries hold them."""
    shapes: dict[tuple[int, ...], Shape] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )
    """What `match` has learned about the keys of its entries; belongs to that module."""


@dataclass(frozen=True, slots=True)
class Counter:
    """An indirect counter array of `size` cells."""

    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Meter:
    """An indirect meter array of `size` cells."""

    id: int
    name: str
    size: int
    kind: MeterKind


@dataclass(frozen=True, slots=True)
class Register:
    """A register array of `size` cells of `width` bits."""

    id: int
    name: str
    size: int
    width: int


@dataclass(frozen=True, slots=True)
class Profile:
    """An action profile; with `selector`, entries may refer to groups of its members.

    `size` is the number of members at most, `max_group_size` the size of a group at most (0: not
    limited by the program). A group's size is its number of members if `counts_members`, otherwise
    the sum of their weights; `max_weight` limits each weight (0: it does not).
    """

    id: int
    name: str
    selector: bool
    size: int
    max_group_size: int
    counts_members: bool
    max_weight: int
    actions: Mapping[int, Action]


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest and the widths in bits of what it reports; `struct` names how they are sent:
    "struct", "tuple" or "bitstring"."""

    id: int
    name: str
    struct: str
    widths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PacketField:
    """A field of a controller header; width in bits. Padding need not be given."""

    id: int
    name: str
    width: int
    padding: bool


@dataclass(frozen=True, slots=True)
class Schema:
    """What a pipeline offers to P4Runtime clients. `others` counts the objects of classes that
    this server does not serve, by the name of their P4Info list (such as `externs`)."""

    tables: Mapping[int, Table]
    counters: Mapping[int, Counter]
    meters: Mapping[int, Meter]
    registers: Mapping[int, Register]
    profiles: Mapping[int, Profile]
    digests: Mapping[int, Digest]
    packet_headers: Mapping[str, tuple[PacketField, ...]]
    """Fields of `packet_in` and `packet_out`, in order on the wire."""
    others: Mapping[str, int]


_Object: TypeAlias = (
    "p4i.Table | p4i.Action | p4i.Counter | p4i.DirectCounter | p4i.Meter | p4i.ActionProfile"
    " | p4i.Digest | p4i.DirectMeter | p4i.Register"
)

_KINDS = {
    p4i.MatchField.EXACT: MatchKind.EXACT,
    p4i.MatchField.LPM: MatchKind.LPM,
    p4i.MatchField.TERNARY: MatchKind.TERNARY,
    p4i.MatchField.RANGE: MatchKind.RANGE,
    p4i.MatchField.OPTIONAL: MatchKind.OPTIONAL,
}

_OTHER_LISTS = ("value_sets", "externs")


def from_p4info(info: p4i.P4Info) -> Schema:
    """Check a P4Info and index it. Raises INVALID_ARGUMENT naming the object at fault."""
    _check_unique_ids(info)
    actions = {action.preamble.id: _action(action) for action in info.actions}
    direct_counters = {c.preamble.id for c in info.direct_counters}
    direct_meters = {
        m.preamble.id: _meter_kind("direct meter", m.preamble.name, m.spec)
        for m in info.direct_meters
    }
    tables = {
        table.preamble.id: _table(table, actions, direct_counters, direct_meters)
        for table in info.tables
    }
    counters = {
        c.preamble.id: Counter(c.preamble.id, c.preamble.name, c.size) for c in info.counters
    }
    profiles = {p.preamble.id: _profile(p, tables) for p in info.action_profiles}
    for table in tables.values():
        if table.profile and table.profile not in profiles:
            raise invalid(
                f"P4Info: table {table.name}: implementation {table.profile:#x} is not declared"
            )
    return Schema(
        tables=tables,
        counters=counters,
        meters={m.preamble.id: _meter(m) for m in info.meters},
        registers={r.preamble.id: _register(r) for r in info.registers},
        profiles=profiles,
        digests={d.preamble.id: _digest(d, info.type_info) for d in info.digests},
        packet_headers={
            header.preamble.name: _packet_fields(header)
            for header in info.controller_packet_metadata
        },
        others={name: len(getattr(info, name)) for name in _OTHER_LISTS},
    )


def _check_unique_ids(info: p4i.P4Info) -> None:
    seen: dict[int, str] = {}
    groups: Iterable[Iterable[_Object]] = (
        info.tables,
        info.actions,
        info.counters,
        info.direct_counters,
        info.meters,
        info.direct_meters,
        info.registers,
        info.action_profiles,
        info.digests,
    )
    for group in groups:
        for item in group:
            pre = item.preamble
            if pre.id == 0:
                raise invalid(f"P4Info: {pre.name!r} has id 0")
            if pre.id in seen:
                raise invalid(f"P4Info: {pre.name!r} and {seen[pre.id]!r} share id {pre.id:#x}")
            seen[pre.id] = pre.name


def _action(action: p4i.Action) -> Action:
    name = action.preamble.name
    params = tuple(Param(p.id, p.name, p.bitwidth) for p in action.params)
    for param in params:
        if param.width <= 0:
            raise invalid(
                f"P4Info: action {name}: parameter {param.name}: width {param.width} "
                "(translated string types are not supported)"
            )
    index = {param.id: place for place, param in enumerate(params)}
    if len(index) != len(params):
        raise invalid(f"P4Info: action {name}: two parameters share an id")
    return Action(action.preamble.id, name, params, index)


def _field(table: str, field: p4i.MatchField) -> Field:
    kind = _KINDS.get(field.match_type)
    where = f"P4Info: table {table}: field {field.name}"
    if kind is None:
        raise invalid(f"{where}: unknown match type {field.other_match_type or field.match_type}")
    if field.bitwidth <= 0:
        raise invalid(
            f"{where}: width {field.bitwidth} (translated string types are not supported)"
        )
    return Field(field.id, field.name, kind, field.bitwidth)


def _table(
    table: p4i.Table,
    actions: Mapping[int, Action],
    direct_counters: set[int],
    direct_meters: Mapping[int, MeterKind],
) -> Table:
    name = table.preamble.name
    fields = tuple(_field(name, field) for field in table.match_fields)
    index = {field.id: place for place, field in enumerate(fields)}
    if len(index) != len(fields):
        raise invalid(f"P4Info: table {name}: two match fields share an id")
    choices = {}
    for ref in table.action_refs:
        action = actions.get(ref.id)
        if action is None:
            raise invalid(f"P4Info: table {name}: action id {ref.id:#x} is not declared")
        choices[ref.id] = (action, Scope(ref.scope))
    resources = set(table.direct_resource_ids)
    return Table(
        id=table.preamble.id,
        name=name,
        fields=fields,
        index=index,
        actions=choices,
        size=table.size,
        needs_priority=any(field.kind.needs_priority for field in fields),
        is_const=table.is_const_table,
        const_default=table.const_default_action_id != 0,
        direct_counter=bool(resources & direct_counters),
        direct_meter=next((direct_meters[i] for i in resources if i in direct_meters), None),
        idle_timeout=table.idle_timeout_behavior != p4i.Table.NO_TIMEOUT,
        profile=table.implementation_id,
    )


def _meter(meter: p4i.Meter) -> Meter:
    kind = _meter_kind("meter", meter.preamble.name, meter.spec)
    return Meter(meter.preamble.id, meter.preamble.name, meter.size, kind)


def _meter_kind(what: str, name: str, spec: p4i.MeterSpec) -> MeterKind:
    try:
        return MeterKind(spec.type)
    except ValueError as error:
        raise invalid(f"P4Info: {what} {name}: unknown type {spec.type}") from error


def _register(register: p4i.Register) -> Register:
    name, bits = register.preamble.name, register.type_spec.bitstring
    width = bits.bit.bitwidth or bits.int.bitwidth
    if not register.type_spec.HasField("bitstring") or width <= 0:
        raise invalid(f"P4Info: register {name}: only cells of fixed width are supported")
    return Register(register.preamble.id, name, register.size, width)


def _profile(profile: p4i.ActionProfile, tables: Mapping[int, Table]) -> Profile:
    name = profile.preamble.name
    users = [table for table in tables.values() if table.profile == profile.preamble.id]
    choices = [set(table.actions) for table in users]
    if any(choice != choices[0] for choice in choices):
        raise invalid(f"P4Info: action profile {name}: its tables have different actions")
    semantics = profile.WhichOneof("selector_size_semantics")
    if semantics not in (None, "sum_of_weights", "sum_of_members"):
        raise invalid(f"P4Info: action profile {name}: {semantics} is not supported")
    return Profile(
        id=profile.preamble.id,
        name=name,
        selector=profile.with_selector,
        size=profile.size,
        max_group_size=profile.max_group_size,
        counts_members=semantics == "sum_of_members",
        max_weight=profile.sum_of_members.max_member_weight,
        actions={id_: action for id_, (action, _scope) in users[0].actions.items()}
        if users
        else {},
    )


def _digest(digest: p4i.Digest, types: p4t.P4TypeInfo) -> Digest:
    name = digest.preamble.name
    spec = digest.type_spec
    kind = spec.WhichOneof("type_spec")
    if kind == "struct":
        members = [member.type_spec for member in types.structs[spec.struct.name].members]
    elif kind == "tuple":
        members = list(spec.tuple.members)
    else:
        members = [spec]
    widths = []
    for member in members:
        bits = member.bitstring
        width = bits.bit.bitwidth or bits.int.bitwidth
        if not member.HasField("bitstring") or width <= 0:
            raise invalid(f"P4Info: digest {name}: only fields of fixed width are supported")
        widths.append(width)
    return Digest(
        digest.preamble.id,
        name,
        kind if kind in ("struct", "tuple") else "bitstring",
        tuple(widths),
    )


def _packet_fields(header: p4i.ControllerPacketMetadata) -> tuple[PacketField, ...]:
    fields = []
    for field in header.metadata:
        if field.bitwidth <= 0:
            raise invalid(
                f"P4Info: {header.preamble.name}: field {field.name}: width {field.bitwidth} "
                "(translated string types are not supported)"
            )
        padding = any(a.startswith("@padding") for a in field.annotations)
        fields.append(PacketField(field.id, field.name, field.bitwidth, padding))
    if sum(field.width for field in fields) % 8:
        raise invalid(f"P4Info: {header.preamble.name}: not a whole number of bytes")
    return tuple(fields)
