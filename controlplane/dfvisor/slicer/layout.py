"""The wire form of the role's tables, for reading entries without taking them apart: pure.

A Write is checked field by field on the message itself, which is then edited and sent on. Fields
come in few different values, so what has been looked at once is remembered (`Piece`), bounded.
Only P4Runtime's canonical form passes here; anything else is for the schema to say what is wrong
with it, or to bring into the canonical form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dfvisor.model.space import Masks, Values
from dfvisor.p4rt.p4info import MatchKind, Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.shapes import Table

UNFRAGMENTED = frozenset({"l4_src", "l4_dst", "tcp_flags"})
_NO_FRAGMENT = ("is_fragment", 1)
REMEMBERED = 4096  # values of one field


class Piece(NamedTuple):
    """One field of a key: its wire form, and its mask and value for `model.space`."""

    wire: bytes
    mask: tuple[str, int]
    value: int
    no_fragment: bool
    """Whether no later fragment matches: those have neither ports nor TCP flags."""


class FieldLayout:
    """One match field. `pieces` is by the wire's value, or (value, mask) if ternary."""

    __slots__ = ("bound", "id", "name", "pieces", "ternary", "width")

    def __init__(self, id_: int, name: str, width: int, ternary: bool) -> None:
        self.id = id_
        self.name = name
        self.width = width
        self.bound = 1 << width
        self.ternary = ternary
        self.pieces: dict[bytes | tuple[bytes, bytes], Piece] = {}

    def piece(self, match: p4r.FieldMatch, given: bytes | tuple[bytes, bytes]) -> Piece | None:
        """Look at a value for the first time; None if it is not canonical, or does not fit."""
        value, mask = given if isinstance(given, tuple) else (given, None)
        number = _canonical(value, self.bound)
        width_mask = self.bound - 1
        bits = width_mask if mask is None else _canonical(mask, self.bound)
        if number is None or not bits or number & ~bits:
            return None
        if match.WhichOneof("field_match_type") != ("ternary" if self.ternary else "exact"):
            return None
        if len(self.pieces) >= REMEMBERED:
            self.pieces.clear()
        no_fragment = number != 0 and self.name in UNFRAGMENTED
        made = Piece(match.SerializeToString(), (self.name, bits), number, no_fragment)
        self.pieces[given] = made
        return made


@dataclass(frozen=True, slots=True)
class ActionLayout:
    """An action: bound of each parameter's value by id, and the parameter that is a next hop."""

    name: str
    bounds: dict[int, int]
    next_hop: int


class TableLayout:
    """One table of a role's view."""

    __slots__ = ("actions", "exact", "fields", "head", "id", "name", "needs_priority", "timed")

    def __init__(self, table: Table, next_hop: str, timed: bool) -> None:
        self.id = table.id
        self.name = table.name
        self.head = table.id.to_bytes(4, "big")
        self.fields = {
            one.id: FieldLayout(one.id, one.name, one.width, one.kind is MatchKind.TERNARY)
            for one in table.fields
        }
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

    def key(self, message: p4r.TableEntry) -> dict[int, Piece] | None:
        """The key's pieces by field id, ascending; None for what is not well formed."""
        pieces: dict[int, Piece] = {}
        fields = self.fields
        last = exact = 0
        ordered = True
        for match in message.match:
            id_ = match.field_id
            field = fields.get(id_)
            if field is None:
                return None
            given: bytes | tuple[bytes, bytes]
            if field.ternary:
                ternary = match.ternary
                given = (ternary.value, ternary.mask)
            else:
                given = match.exact.value
                exact += 1
            piece = field.pieces.get(given)
            if piece is None:
                piece = field.piece(match, given)
                if piece is None:
                    return None
            if id_ <= last:
                if id_ in pieces:
                    return None
                ordered = False
            last = id_
            pieces[id_] = piece
        if exact != self.exact or (message.priority > 0) != self.needs_priority:
            return None
        return pieces if ordered else dict(sorted(pieces.items()))

    def action(self, message: p4r.TableEntry) -> ActionLayout | None:
        """The entry's action; None for what is not well formed."""
        call = message.action.action
        found = self.actions.get(call.action_id)
        if found is None or len(call.params) != len(found.bounds):
            return None
        seen = 0
        for param in call.params:
            bound = found.bounds.get(param.param_id)
            value = param.value
            if bound is None or _canonical(value, bound) is None:
                return None
            seen |= 1 << param.param_id
        return found if seen.bit_count() == len(found.bounds) else None


def matched(pieces: dict[int, Piece], slice_field: int) -> tuple[Masks, Values]:
    """What a key without its slice id matches, for `model.space`. A port or TCP flag that is not 0
    says as well that the packet is no later fragment.
    """
    fields = [piece for id_, piece in pieces.items() if id_ != slice_field]
    masks = [piece.mask for piece in fields]
    values = [piece.value for piece in fields]
    if True in [piece.no_fragment for piece in fields] and _NO_FRAGMENT not in masks:
        masks.append(_NO_FRAGMENT)
        values.append(0)
    return tuple(masks), tuple(values)


def layouts(schema: Schema, next_hop: str, timed: frozenset[str]) -> dict[int, TableLayout]:
    """The layouts of a view's tables, by table id. `timed`: tables with idle timeouts."""
    return {
        table.id: TableLayout(table, next_hop, table.name in timed)
        for table in schema.tables.values()
    }


def _canonical(data: bytes, bound: int) -> int | None:
    """The number, if it is P4Runtime's canonical byte string (8.4) of one below the bound."""
    if not data or (len(data) > 1 and not data[0]):
        return None
    number = int.from_bytes(data, "big")
    return number if number < bound else None
