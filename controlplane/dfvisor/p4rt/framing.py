"""Entries as updates on the wire, put together from pieces that are known: pure.

What is written in bulk differs in its values alone. So the bytes around the value of a match, or of
a parameter, are asked of protobuf once for each length of it, and of the form of an entry (table,
names of its fields, action, names of its arguments) it is checked once that the schema has it.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_KINDS = {  # the type of an update, and the tag of its entity
    kind: p4r.Update(type=kind).SerializeToString() + _ENTITY
    for kind in (p4r.Update.INSERT, p4r.Update.MODIFY)
}


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

    def insert(self, item: Item) -> bytes:
        """An INSERT of the item; SchemaError names what does not fit."""
        found = self._framed(p4r.Update.INSERT, item)
        return framed(self._schema.insert(item)) if found is None else found

    def modify(self, item: Item) -> bytes:
        """A MODIFY of the item."""
        found = self._framed(p4r.Update.MODIFY, item)
        return framed(self._schema.modify(item)) if found is None else found

    def delete(self, item: Item) -> bytes:
        """A DELETE of the item."""
        return framed(self._schema.delete(item))

    def _framed(self, kind: p4r.Update.Type.ValueType, item: Item) -> bytes | None:
        """As an update of this kind; None: for the schema to make."""
        try:
            if isinstance(item, Formed):
                parts = self._formed(item)
            elif isinstance(item, TableEntry) and not item.members and not item.is_default:
                parts = self._entry(item)
            else:
                return None
            entry = b"".join(parts)
            entity = _ENTRY + _LENGTHS[len(entry)] + entry
            update = _KINDS[kind] + _LENGTHS[len(entity)] + entity
            return _UPDATE + _LENGTHS[len(update)] + update
        except (_Unusual, ValueError, IndexError):
            return None

    def _entry(self, item: TableEntry) -> list[bytes]:
        """The fields of the entry's message."""
        names = tuple([part[0] for part in item.key + item.args])
        form = self._forms.get((item.table, item.action, item.priority > 0, names))
        if form is None:
            form = self._form(item, names)
        head, slots, call, params = form
        parts = [head]
        for slot, (_, match) in zip(slots, item.key, strict=True):
            parts.append(slot.known.get(match) or slot.encode(match))
        called = [call]
        for param, (_, value) in zip(params, item.args, strict=True):
            called.append(param.known.get(value) or param.encode(value))
        parts.append(_action(called))
        parts.append(self._priority(item.priority))
        return parts

    def _formed(self, item: Formed) -> list[bytes]:
        """The same of an entry of a form."""
        key = item.key
        if key.number <= 0:
            raise _Unusual
        template = self._templates.get(item.form)
        if template is None:
            template = self._template(item)
        head, slots, call, params = template
        parts = [head]
        for slot, value in zip(slots, key.values, strict=True):
            parts.append(slot.known.get(value) or slot.encode(value))
        called = [call]
        for param, value in zip(params, item.args, strict=True):
            called.append(param.known.get(value) or param.encode(value))
        parts.append(_action(called))
        parts.append(self._priority(key.number))
        return parts

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


class _Values:
    """Values of a field under one mask (None: exact), as `_Matches`."""

    def __init__(self, matches: _Matches, mask: int | None) -> None:
        self.known: dict[int, bytes] = {}
        self._matches = matches
        self._mask = mask

    def encode(self, value: int) -> bytes:
        """_Unusual if it may not fit."""
        if len(self.known) >= MOST_KNOWN:
            self.known.clear()
        data = self.known[value] = self._matches.made(value, self._mask)
        return data


class _Matches:
    """Matches of a field of a table, as fields of the entry's message: those met lately."""

    def __init__(self, slot: Slot) -> None:
        self.known: dict[FieldMatch, bytes] = {}
        self._slot = slot
        self._around: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # by length and mask

    def encode(self, match: FieldMatch) -> bytes:
        """Of any match; _Unusual if it may not fit."""
        if isinstance(match, Ternary):
            data = self.made(match.value, match.mask)
        elif isinstance(match, Exact):
            data = self.made(match.value, None)
        else:
            raise _Unusual
        if len(self.known) >= MOST_KNOWN:
            self.known.clear()
        self.known[match] = data
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


def _action(called: Sequence[bytes]) -> bytes:
    """The action of an entry, as a field of its message."""
    action = b"".join(called)
    action = _CALL + _LENGTHS[len(action)] + action
    return _ACTION + _LENGTHS[len(action)] + action
