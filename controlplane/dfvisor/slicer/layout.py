"""The wire form of the role's tables, for reading entries without taking them apart: pure.

A Write is checked field by field on the message itself, which is then edited and sent on. Only
P4Runtime's canonical form passes here, its fields in the order of their ids; anything else is for
the schema to say what is wrong with it, or to bring into that form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dfvisor.model.space import Masks, Values
from dfvisor.p4rt.p4info import MatchKind, Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.shapes import Table

UNFRAGMENTED = frozenset({"l4_src", "l4_dst", "tcp_flags"})
"""Fields that are not 0 only in packets that are no later fragments."""
NO_FRAGMENT = ("is_fragment", 1)
REMEMBERED = 1024  # masks of one field
_BYTES = [bytes([number]) for number in range(128)]
_MATCH, _EXACT, _TERNARY, _VALUE = b"\x12", b"\x12", b"\x1a", b"\x0a"
"""Heads of fields on the wire: of a TableEntry, a FieldMatch, an Exact or Ternary."""


class Mask(NamedTuple):
    """One mask of a field: what no value may have set, as in `model.space`, and what stands before
    a value of a length, and behind it, in the serialized key.
    """

    outside: int
    pair: tuple[str, int]
    before: Sequence[bytes]
    behind: bytes


class Key(NamedTuple):
    """The key of an entry: slice id (0 if the view has none) apart from all else.

    `wire`, its match fields as they are on the wire, identifies it together with table and
    priority; `masks` and `values` say what it matches, for `model.space`.
    """

    slice_id: int
    wire: bytes
    masks: Masks
    values: Values


class FieldLayout:
    """One match field."""

    __slots__ = (
        "_number",
        "before",
        "bound",
        "id",
        "masks",
        "name",
        "size",
        "ternary",
        "unfragmented",
    )

    def __init__(self, id_: int, name: str, width: int, ternary: bool) -> None:
        self.id = id_
        self.name = name
        self.bound = 1 << width
        self.ternary = ternary
        self.unfragmented = name in UNFRAGMENTED
        self.size = (width + 7) // 8
        self._number = p4r.FieldMatch(field_id=id_).SerializeToString()
        self.before = self._before(b"")
        self.masks: dict[bytes, Mask] = {}

    def mask(self, data: bytes) -> Mask | None:
        """Look at a mask for the first time; None if it is not canonical, 0, or does not fit."""
        bits = canonical(data, self.bound)
        if not bits:
            return None
        if len(self.masks) >= REMEMBERED:
            self.masks.clear()
        behind = p4r.FieldMatch.Ternary(mask=data).SerializeToString()
        made = Mask(~bits, (self.name, bits), self._before(behind), behind)
        self.masks[data] = made
        return made

    def _before(self, behind: bytes) -> list[bytes]:
        """What stands before values of so many bytes, as protobuf writes it."""
        found = []
        for size in range(self.size + 1):
            inner = 2 + size + len(behind)
            kind = (_TERNARY if self.ternary else _EXACT) + _BYTES[inner]
            match = len(self._number) + len(kind) + inner
            value = _VALUE + _BYTES[size]
            found.append(b"".join((_MATCH, _BYTES[match], self._number, kind, value)))
        return found


@dataclass(frozen=True, slots=True)
class ActionLayout:
    """An action: bound of each parameter's value by id, and the parameter that is a next hop."""

    name: str
    bounds: dict[int, int]
    next_hop: int


class TableLayout:
    """One table of a role's view. `slice_field` is the id of field `slice_id`, 0 without one."""

    __slots__ = (
        "actions",
        "exact",
        "fields",
        "head",
        "id",
        "name",
        "needs_priority",
        "slice_field",
        "timed",
    )

    def __init__(self, table: Table, slice_id: str, next_hop: str, timed: bool) -> None:
        self.id = table.id
        self.name = table.name
        self.head = table.id.to_bytes(4, "big")
        self.fields = {
            one.id: FieldLayout(one.id, one.name, one.width, one.kind is MatchKind.TERNARY)
            for one in table.fields
        }
        self.slice_field = next((one.id for one in table.fields if one.name == slice_id), 0)
        self.exact = sum(not one.ternary for one in self.fields.values())
        self.needs_priority = table.needs_priority
        self.timed = timed
        self.actions = {
            action.id: ActionLayout(
                action.name,
                {one.id: 1 << one.width for one in action.params},
                next((one.id for one in action.params if one.name == next_hop), 0),
            )
            for action in table.actions.values()
            if action.name not in table.default_only
        }

    def key(self, message: p4r.TableEntry) -> Key | None:
        """The entry's key; None for what is not well formed."""
        fields, slice_field = self.fields, self.slice_field
        from_bytes = int.from_bytes
        last = slice_id = exact = 0
        unfragmented = False
        wires: list[bytes] = []
        masks: list[tuple[str, int]] = []
        values: list[int] = []
        for match in message.match:
            id_ = match.field_id
            field = fields.get(id_)
            if field is None or id_ <= last:
                return None
            last = id_
            if field.ternary:
                ternary = match.ternary
                given = ternary.mask
                mask = field.masks.get(given) or field.mask(given)
                data = ternary.value
                number = from_bytes(data, "big")
                if mask is None or number & mask.outside or not data:
                    return None
                if not data[0] and len(data) > 1:
                    return None
                masks.append(mask.pair)
                values.append(number)
                wires += mask.before[len(data)], data, mask.behind
                if number and field.unfragmented:
                    unfragmented = True
            else:
                data = match.exact.value
                number = from_bytes(data, "big")
                if not data or number >= field.bound or (not data[0] and len(data) > 1):
                    return None
                exact += 1
                if id_ == slice_field:
                    slice_id = number
                    continue
                masks.append((field.name, field.bound - 1))
                values.append(number)
                wires += field.before[len(data)], data
        priority = message.priority
        if exact != self.exact or priority < 0 or bool(priority) != self.needs_priority:
            return None
        if unfragmented and NO_FRAGMENT not in masks:
            masks.append(NO_FRAGMENT)
            values.append(0)
        return Key(slice_id, b"".join(wires), tuple(masks), tuple(values))

    def action(self, message: p4r.TableEntry) -> ActionLayout | None:
        """The entry's action; None for what is not well formed."""
        call = message.action.action
        found = self.actions.get(call.action_id)
        if found is None:
            return None
        bounds = found.bounds
        seen = number = 0
        for param in call.params:
            id_ = param.param_id
            if id_ not in bounds or canonical(param.value, bounds[id_]) is None:
                return None
            seen |= 1 << id_
            number += 1
        return found if number == len(bounds) == seen.bit_count() else None


def layouts(
    schema: Schema, slice_id: str, next_hop: str, timed: frozenset[str]
) -> dict[int, TableLayout]:
    """The layouts of a view's tables, by table id: names of the field and the parameter that have
    a meaning of their own, tables with idle timeouts.
    """
    return {
        table.id: TableLayout(table, slice_id, next_hop, table.name in timed)
        for table in schema.tables.values()
    }


def canonical(data: bytes, bound: int) -> int | None:
    """The number, if it is P4Runtime's canonical byte string (8.4) of one below the bound."""
    if not data or (not data[0] and len(data) > 1):
        return None
    number = int.from_bytes(data, "big")
    return number if number < bound else None
