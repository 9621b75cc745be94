"""The switch's own entries of the slices' tables, as messages and bytes: pure."""

from __future__ import annotations

from typing import TypeAlias

from dfvisor.model.space import Space
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.slicer.layout import TableLayout, layouts
from dfvisor.slicer.mirror import HEAD
from dfvisor.slicer.translate import DEMOTE, FLOW, demotable
from dfvisor.slicer.view import NEXT_HOP, SLICE_ID, TABLES, TIMED

Place: TypeAlias = tuple[int, bytes]
"""Slice id and key of an entry."""


class Held:
    """What an entry of the switch is. `schema` is that of the whole program."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        by_id = layouts(schema, SLICE_ID, NEXT_HOP, TIMED)
        self._layouts: dict[int, TableLayout] = {
            schema.table(name).id: by_id[schema.table(name).id] for name in TABLES
        }

    @property
    def tables(self) -> list[int]:
        """The ids of the tables."""
        return list(self._layouts)

    def covered(self, entry: bytes, space: Space) -> bool:
        """Whether one of the switch's flow entries is within a space."""
        message = p4r.TableEntry.FromString(entry)
        layout = self._layouts[message.table_id]
        fields = layout.key(in_order(message))
        if layout.name != FLOW or fields is None:
            return False
        if space.covers(fields.masks, fields.values):
            return True
        action = layout.actions.get(message.action.action.action_id)
        return action is not None and action.name == DEMOTE and demotable(space, fields)

    def place_of(self, message: p4r.TableEntry) -> Place:
        """Slice id and key of one of the switch's entries; SchemaError if it is none of these
        tables.
        """
        layout = self._layouts.get(message.table_id)
        if layout is None:
            raise SchemaError(f"table {message.table_id:#x} is none of {', '.join(TABLES)}")
        fields = layout.key(in_order(message))
        if fields is None:
            entry = self._schema.decode_entry(message)
            del message.match[:]
            message.match.extend(self._schema.encode_key(entry).match)
            if message.HasField("action"):
                message.action.CopyFrom(self._schema.encode_entry(entry).action)
            fields = layout.key(message)
            assert fields is not None, "what the schema encodes is canonical"
        return fields.slice_id, layout.head + message.priority.to_bytes(HEAD, "big") + fields.wire


def in_order(message: p4r.TableEntry) -> p4r.TableEntry:
    """The same message, its fields in the order of their ids."""
    message.match.sort(key=_field_id)
    return message


def _field_id(match: p4r.FieldMatch) -> int:
    return match.field_id


def key_only(message: p4r.TableEntry) -> None:
    """Leave of an entry what identifies it."""
    for field in (
        "action",
        "idle_timeout_ns",
        "counter_data",
        "meter_config",
        "metadata",
        "controller_metadata",
        "time_since_last_hit",
        "meter_counter_data",
    ):
        message.ClearField(field)


def update_of(kind: p4r.Update.Type.ValueType, entry: bytes) -> p4r.Update:
    """An update of an entry."""
    made = p4r.Update(type=kind)
    made.entity.table_entry.ParseFromString(entry)
    return made


def deletion(entry: bytes) -> p4r.Update:
    """What deletes an entry."""
    made = update_of(p4r.Update.DELETE, entry)
    key_only(made.entity.table_entry)
    return made


def content(entry: bytes) -> tuple[object, ...]:
    """What an entry is beside its key, to be compared."""
    message = p4r.TableEntry.FromString(entry)
    call = message.action.action
    params = sorted((param.param_id, param.value.lstrip(b"\0")) for param in call.params)
    return call.action_id, tuple(params), message.idle_timeout_ns
