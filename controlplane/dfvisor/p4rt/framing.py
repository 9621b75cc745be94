"""Entries as updates on the wire, put together from pieces that are known: pure.

What is written in bulk differs in its values alone. So the bytes around the value of a match, or of
a parameter, are asked of protobuf once for each length of it, and of the form of an entry (table,
names of its fields, action, names of its arguments) it is checked once that the schema has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import getitem
from typing import TypeAlias

from dfvisor.p4rt.entries import Exact, FieldMatch, Form, Formed, Item, TableEntry, Ternary
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.shapes import MatchKind, Param, Slot
from dfvisor.p4rt.updates import framed

MOST_KNOWN = 65536  # matches of a field that are kept, and forms
FEW_KNOWN = 256  # values of a parameter: most are met often, or never again

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

_LENGTHS = [  # of a field, seven bits a byte, the lowest first
    bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7]) for size in range(2048)
]
"""No entry of ours is longer; the schema encodes one that is."""


class _Unusual(Exception):
    """It is for the schema to encode it, or to say what is wrong."""


_Form: TypeAlias = "tuple[bytes, list[_Matches], bytes, list[_Param]]"
_Template: TypeAlias = "tuple[bytes, list[_Values], bytes, list[_Param]]"


class Framer:
    """Updates of a schema's items, as fields of a WriteRequest."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._matches: dict[tuple[str, str], _Matches] = {}
        self._forms: dict[tuple[str, str, bool, tuple[str, ...]], _Form] = {}
        self._templates: dict[Form, _Template] = {}
        self._priorities: dict[int, bytes] = {0: b""}
        self._insert = _Before(p4r.Update.INSERT)
        self._modify = _Before(p4r.Update.MODIFY)

    def insert(self, item: Item) -> bytes:
        """An INSERT of the item; SchemaError names what does not fit."""
        found = self._framed(self._insert, item)
        return framed(self._schema.insert(item)) if found is None else found

    def inserts(self, entries: Sequence[TableEntry]) -> bytes:
        """INSERTs of entries in their order. All are of one table, without members, with the same
        fields and action, and with or without priority.
        """
        if not entries:
            return b""
        if entries[0].members or entries[0].is_default:
            return b"".join(map(self.insert, entries))
        try:
            form = self._form_of(entries[0])
            found: list[bytes] = []
            for entry in entries:
                body = self._entry(form, entry)
                found += (self._insert[len(body)], body)
            return b"".join(found)
        except (_Unusual, ValueError, IndexError):
            return b"".join(map(self.insert, entries))

    def modify(self, item: Item) -> bytes:
        """A MODIFY of the item."""
        found = self._framed(self._modify, item)
        return framed(self._schema.modify(item)) if found is None else found

    def delete(self, item: Item) -> bytes:
        """A DELETE of the item."""
        return framed(self._schema.delete(item))

    def _framed(self, before: _Before, item: Item) -> bytes | None:
        """As an update of a kind; None: for the schema to make."""
        try:
            if isinstance(item, Formed):
                entry = self._formed(item)
            elif isinstance(item, TableEntry) and not item.members and not item.is_default:
                entry = self._entry(self._form_of(item), item)
            else:
                return None
            return before[len(entry)] + entry
        except (_Unusual, ValueError, IndexError):
            return None

    def _entry(self, form: _Form, item: TableEntry) -> bytes:
        """The entry's message."""
        head, slots, call, params = form
        if len(slots) != len(item.key):
            raise _Unusual
        for param, (_, value) in zip(params, item.args, strict=True):
            call += param.known.get(value) or param.encode(value)
        matches = map(getitem, slots, item.key)
        return b"".join([head, *matches, _ACTIONS[len(call)], call, self._priority(item.priority)])

    def _formed(self, item: Formed) -> bytes:
        """The same of an entry of a form."""
        key = item.key
        if key.number <= 0:
            raise _Unusual
        template = self._templates.get(item.form)
        if template is None:
            template = self._template(item)
        head, slots, call, params = template
        if len(slots) != len(key.values):
            raise _Unusual
        for param, value in zip(params, item.args, strict=True):
            call += param.known.get(value) or param.encode(value)
        matches = map(getitem, slots, key.values)
        return b"".join([head, *matches, _ACTIONS[len(call)], call, self._priority(key.number)])

    def _priority(self, priority: int) -> bytes:
        data = self._priorities.get(priority)
        if data is None:
            if priority < 0:
                raise _Unusual
            if len(self._priorities) >= MOST_KNOWN:
                self._priorities.clear()
            data = p4r.TableEntry(priority=priority).SerializeToString()
            self._priorities[priority] = data
        return data

    def _form_of(self, entry: TableEntry) -> _Form:
        names = tuple([part[0] for part in entry.key + entry.args])
        form = self._forms.get((entry.table, entry.action, entry.priority > 0, names))
        return self._form(entry, names) if form is None else form

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

    def _template(self, item: Formed) -> _Template:
        """How entries of its form are made; what the schema refuses it says now."""
        entry = item.entry
        head, slots, call, params = self._form(entry, tuple(n for n, _ in entry.key + entry.args))
        masks = [mask for _, mask in item.key.form.fields]
        values = [_Values(slot, mask) for slot, mask in zip(slots, masks, strict=True)]
        if len(self._templates) >= MOST_KNOWN:
            self._templates.clear()
        self._templates[item.form] = template = (head, values, call, params)
        return template


class _Values(dict[int, bytes]):
    """Values of a field under one mask (None: exact), as `_Matches`."""

    def __init__(self, matches: _Matches, mask: int | None) -> None:
        super().__init__()
        self._matches = matches
        self._mask = mask

    def __missing__(self, value: int) -> bytes:
        """_Unusual if it may not fit."""
        if len(self) >= MOST_KNOWN:
            self.clear()
        data = self[value] = self._matches.made(value, self._mask)
        return data


class _Matches(dict[tuple[str, FieldMatch], bytes]):
    """Matches of a field of a table, as fields of the entry's message: those met lately."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self._slot = slot
        self._around: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # by length and mask

    def __missing__(self, part: tuple[str, FieldMatch]) -> bytes:
        """Of any match; _Unusual if it may not fit."""
        name, match = part
        if name != self._slot.name:
            raise _Unusual
        if isinstance(match, Ternary):
            data = self.made(match.value, match.mask)
        elif isinstance(match, Exact):
            data = self.made(match.value, None)
        else:
            raise _Unusual
        if len(self) >= MOST_KNOWN:
            self.clear()
        self[part] = data
        return data

    def made(self, value: int, mask: int | None) -> bytes:
        """Of a value under a mask; None: of an exact one."""
        slot = self._slot
        if mask is None:
            if slot.kind is not MatchKind.EXACT:
                raise _Unusual
        elif slot.kind is not MatchKind.TERNARY or not 0 < mask < 1 << slot.width or value & ~mask:
            raise _Unusual
        if not 0 <= value < 1 << slot.width:
            raise _Unusual
        length = (value.bit_length() + 7) // 8 or 1
        around = self._around.get((length, mask or 0))
        if around is None:
            if len(self._around) >= MOST_KNOWN:
                self._around.clear()
            around = self._around[length, mask or 0] = self._pieces(length, mask or 0)
        return around[0] + value.to_bytes(length, "big") + around[1]

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


class _Param:
    """Values of a parameter, as fields of the action's message: the few that were met first."""

    def __init__(self, param: Param) -> None:
        self.known: dict[int, bytes] = {}
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
        data = self._before[length - 1] + value.to_bytes(length, "big")
        if len(self.known) < FEW_KNOWN:
            self.known[value] = data
        return data


class _Before(dict[int, bytes]):
    """What stands before an entry's message in an update of a kind, as a field of a WriteRequest,
    by the length of the message.
    """

    def __init__(self, kind: p4r.Update.Type.ValueType) -> None:
        super().__init__()
        self._kind = p4r.Update(type=kind).SerializeToString() + _ENTITY

    def __missing__(self, size: int) -> bytes:
        entry = _ENTRY + _LENGTHS[size]
        entity = self._kind + _LENGTHS[len(entry) + size] + entry
        self[size] = found = _UPDATE + _LENGTHS[len(entity) + size] + entity
        return found


class _Actions(dict[int, bytes]):
    """What stands before an action in an entry's message, by the action's length."""

    def __missing__(self, size: int) -> bytes:
        call = _CALL + _LENGTHS[size]
        self[size] = found = _ACTION + _LENGTHS[len(call) + size] + call
        return found


_ACTIONS = _Actions()
