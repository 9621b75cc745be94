"""Entries as updates on the wire, put together from pieces that are known: pure.

What is written in bulk differs in its values alone. So the bytes around the value of a match, or of
a parameter, are asked of protobuf once for each length of it, and of the form of an entry (table,
names of its fields, action, names of its arguments) it is checked once that the schema has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import getitem
from typing import TypeAlias

from dfvisor.p4rt.entries import Exact, FieldMatch, Item, TableEntry, Ternary
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.shapes import MatchKind, Param, Slot
from dfvisor.p4rt.updates import framed

MOST_KNOWN = 65536  # matches of a field that are kept, and forms

_FIELD = {  # tags of fields that hold messages, in front of their length
    name: bytes([message.DESCRIPTOR.fields_by_name[field].number << 3 | 2])
    for name, message, field in (
        ("update", p4r.WriteRequest, "updates"),
        ("entity", p4r.Update, "entity"),
        ("entry", p4r.Entity, "table_entry"),
        ("action", p4r.TableEntry, "action"),
        ("call", p4r.TableAction, "action"),
    )
}
_UPDATE, _ENTITY, _ENTRY, _ACTION, _CALL = _FIELD.values()
_SHORT = [bytes([length]) for length in range(128)]


class _Unusual(Exception):
    """It is for the schema to encode it, or to say what is wrong."""


_Form: TypeAlias = "tuple[bytes, list[_Matches], bytes, list[_Param]]"


class Framer:
    """Updates of a schema's items, as fields of a WriteRequest."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._matches: dict[tuple[str, str], _Matches] = {}
        self._forms: dict[tuple[str, str, bool, tuple[str, ...]], _Form] = {}
        self._priorities: dict[int, bytes] = {}
        self._insert = _Before(p4r.Update.INSERT)
        self._modify = _Before(p4r.Update.MODIFY)

    def insert(self, item: Item) -> bytes:
        """An INSERT of the item; SchemaError names what does not fit."""
        found = self._entry(self._insert, item)
        return framed(self._schema.insert(item)) if found is None else found

    def inserts(self, entries: Sequence[TableEntry]) -> bytes:
        """INSERTs of entries in their order. All are of one table, without members, with the same
        fields and action, and with or without priority.
        """
        if not entries:
            return b""
        try:
            form = self._form_of(entries[0])
            if form is None:
                raise _Unusual
            found: list[bytes] = []
            for entry in entries:
                body = self._body(form, entry)
                found += (self._insert[len(body)], body)
            return b"".join(found)
        except (_Unusual, ValueError):
            return b"".join(map(self.insert, entries))

    def modify(self, item: Item) -> bytes:
        """A MODIFY of the item."""
        found = self._entry(self._modify, item)
        return framed(self._schema.modify(item)) if found is None else found

    def delete(self, item: Item) -> bytes:
        """A DELETE of the item."""
        return framed(self._schema.delete(item))

    def _entry(self, before: _Before, item: Item) -> bytes | None:
        try:
            form = self._form_of(item)
            if form is None or not isinstance(item, TableEntry):
                return None
            body = self._body(form, item)
        except (_Unusual, ValueError):
            return None
        return before[len(body)] + body

    def _form_of(self, item: Item) -> _Form | None:
        """None: for the schema to encode."""
        if not isinstance(item, TableEntry) or item.members or item.is_default:
            return None
        if item.priority < 0:
            return None
        names = tuple([part[0] for part in item.key + item.args])
        form = self._forms.get((item.table, item.action, item.priority > 0, names))
        return self._form(item, names) if form is None else form

    def _body(self, form: _Form, entry: TableEntry) -> bytes:
        """The entry's message."""
        head, slots, call, params = form
        if len(slots) != len(entry.key):
            raise _Unusual
        for param, (_, value) in zip(params, entry.args, strict=True):
            call += param.encode(value)
        parts = [head, *map(getitem, slots, entry.key), _ACTIONS[len(call)], call]
        if entry.priority:
            parts.append(self._priorities.get(entry.priority) or self._priority(entry.priority))
        return b"".join(parts)

    def _priority(self, priority: int) -> bytes:
        if len(self._priorities) >= MOST_KNOWN:
            self._priorities.clear()
        data = p4r.TableEntry(priority=priority).SerializeToString()
        self._priorities[priority] = data
        return data

    def _form(self, entry: TableEntry, names: tuple[str, ...]) -> _Form:
        """How entries with these names are made; what the schema refuses it says now."""
        schema = self._schema
        message = schema.encode_entry(entry)
        table = schema.table(entry.table)
        slots = schema.slots(entry.table)
        action = table.actions[entry.action]
        head = p4r.TableEntry(table_id=message.table_id).SerializeToString()
        call = p4r.Action(action_id=action.id).SerializeToString()
        matches = []
        for name, _ in entry.key:
            place = (entry.table, name)
            if place not in self._matches:
                self._matches[place] = _Matches(slots[name])
            matches.append(self._matches[place])
        if len(self._forms) >= MOST_KNOWN:
            self._forms.clear()
        form = (head, matches, call, [_Param(param) for param in action.params])
        self._forms[entry.table, entry.action, entry.priority > 0, names] = form
        return form


class _Matches(dict[tuple[str, FieldMatch], bytes]):
    """Matches of a field of a table, as fields of the entry's message: those met lately."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self._slot = slot
        self._around: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # by length and mask

    def __missing__(self, part: tuple[str, FieldMatch]) -> bytes:
        """Of any match; _Unusual if it may not fit."""
        name, match = part
        slot = self._slot
        mask = 0
        if name != slot.name:
            raise _Unusual
        if slot.kind is MatchKind.TERNARY and isinstance(match, Ternary):
            mask = match.mask
            if not 0 < mask < 1 << slot.width or match.value & ~mask:
                raise _Unusual
        elif slot.kind is not MatchKind.EXACT or not isinstance(match, Exact):
            raise _Unusual
        value = match.value
        if not 0 <= value < 1 << slot.width:
            raise _Unusual
        length = (value.bit_length() + 7) // 8 or 1
        around = self._around.get((length, mask))
        if around is None:
            around = self._around[length, mask] = self._pieces(length, mask)
        if len(self) >= MOST_KNOWN:
            self.clear()
            self._around.clear()
        data = around[0] + value.to_bytes(length, "big") + around[1]
        self[part] = data
        return data

    def _pieces(self, length: int, mask: int) -> tuple[bytes, bytes]:
        """What stands before and behind a value."""
        entry = p4r.TableEntry()
        sample = entry.match.add(field_id=self._slot.id)
        behind = b""
        if mask:
            size = (mask.bit_length() + 7) // 8
            sample.ternary.mask = mask.to_bytes(size, "big")
            behind = sample.ternary.SerializeToString()
            sample.ternary.value = bytes(length)
        else:
            sample.exact.value = bytes(length)
        data = entry.SerializeToString()
        return data[: len(data) - len(behind) - length], behind


class _Before(dict[int, bytes]):
    """What stands before an entry's message in an update, as a field of a WriteRequest, by the
    length of the message.
    """

    def __init__(self, kind: p4r.Update.Type.ValueType) -> None:
        super().__init__()
        self._kind = _SHORT[8] + _SHORT[kind] + _ENTITY

    def __missing__(self, size: int) -> bytes:
        entry = _ENTRY + _length(size)
        entity = self._kind + _length(len(entry) + size) + entry
        self[size] = found = _UPDATE + _length(len(entity) + size) + entity
        return found


class _Actions(dict[int, bytes]):
    """What stands before an action in an entry's message, by the action's length."""

    def __missing__(self, size: int) -> bytes:
        call = _CALL + _length(size)
        self[size] = found = _ACTION + _length(len(call) + size) + call
        return found


_ACTIONS = _Actions()


class _Param:
    """Values of a parameter, as fields of the action's message."""

    def __init__(self, param: Param) -> None:
        self._end = 1 << param.width
        self._before = [
            p4r.Action(params=[p4r.Action.Param(param_id=param.id, value=bytes(length))])
            .SerializeToString()
            .removesuffix(bytes(length))
            for length in range(1, (param.width + 7) // 8 + 1)
        ]

    def encode(self, value: int) -> bytes:
        """_Unusual if it does not fit."""
        if not 0 <= value < self._end:
            raise _Unusual
        length = (value.bit_length() + 7) // 8 or 1
        return self._before[length - 1] + value.to_bytes(length, "big")


def _length(size: int) -> bytes:
    """The length of a field, seven bits a byte, the lowest first."""
    if size < 128:
        return _SHORT[size]
    found = bytearray()
    while size >= 128:
        found.append(size & 127 | 128)
        size >>= 7
    found.append(size)
    return bytes(found)
