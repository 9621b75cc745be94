"""A P4Info as a schema: table entries, groups and counters from values to messages and back.

Names are P4Info aliases (`classifier`, `drops`). Byte strings are P4Runtime's canonical form: big
endian, no leading zero bytes, at least one byte (P4Runtime 8.4). Every error names table, field,
value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn, Self

from dfvisor.p4rt.entries import (
    Exact,
    FieldMatch,
    Item,
    Lpm,
    MulticastGroup,
    TableEntry,
    Ternary,
)
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.pb import DecodeError, p4i, p4r, text_format


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
    """An action parameter; `width` in bits, `where` for messages."""

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
    """A table: its key fields in order and its actions by name (default-only ones among them)."""

    id: int
    name: str
    fields: tuple[Field, ...]
    actions: Mapping[str, Action]
    default_only: frozenset[str]
    size: int
    has_counter: bool

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
class _Slot:
    """A field in its table: what encoding and decoding need at hand."""

    id: int
    name: str
    width: int
    kind: MatchKind
    place: int
    where: str
    oneof: str  # the name of its kind in FieldMatch


class _Slots:
    """The slots of a table."""

    def __init__(self, table: Table) -> None:
        slots = [
            _Slot(
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


def encode_value(value: int, width: int, where: str) -> bytes:
    """The canonical byte string of a `width`-bit value; SchemaError if it does not fit."""
    if not 0 <= value < 1 << width:
        raise SchemaError(f"{where}: {value:#x} does not fit {width} bits")
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def decode_value(data: bytes, width: int, where: str) -> int:
    """The value of a byte string, canonical or zero-padded."""
    value = int.from_bytes(data, "big")
    if not data or value >= 1 << width:
        raise SchemaError(f"{where}: byte string {data.hex()!r} is not a {width}-bit value")
    return value


class Schema:
    """The tables, actions and counters of one P4Info."""

    def __init__(self, proto: p4i.P4Info) -> None:
        self.proto = proto
        actions = {action.preamble.id: _action(action) for action in proto.actions}
        self.tables: dict[str, Table] = {}
        for message in proto.tables:
            table = _table(message, actions, proto)
            self.tables[table.name] = table
        self.counters: dict[str, Counter] = {
            counter.preamble.alias: Counter(
                counter.preamble.id, counter.preamble.alias, counter.size
            )
            for counter in proto.counters
        }
        self._slots = {table.name: _Slots(table) for table in self.tables.values()}
        self._tables_by_id = {table.id: table for table in self.tables.values()}
        self._actions_by_id = actions

    @classmethod
    def load(cls, data: str | bytes) -> Self:
        """Read a P4Info: text format from a str, the binary message from bytes."""
        proto = p4i.P4Info()
        try:
            if isinstance(data, str):
                text_format.Parse(data, proto)
            else:
                proto.ParseFromString(data)
        except (text_format.ParseError, DecodeError) as error:
            raise SchemaError(f"not a P4Info: {error}") from error
        return cls(proto)

    def table(self, name: str) -> Table:
        """The table of that name; SchemaError lists those that exist."""
        found = self.tables.get(name)
        if found is None:
            raise SchemaError(f"no table {name!r}; there are {', '.join(sorted(self.tables))}")
        return found

    def table_by_id(self, table_id: int) -> Table:
        """The table of that P4Runtime id."""
        found = self._tables_by_id.get(table_id)
        if found is None:
            raise SchemaError(f"no table has id {table_id:#x}")
        return found

    def counter(self, name: str) -> Counter:
        """The indirect counter of that name."""
        found = self.counters.get(name)
        if found is None:
            raise SchemaError(f"no counter {name!r}; there are {', '.join(sorted(self.counters))}")
        return found

    # -- items

    def encode(self, item: Item) -> p4r.Entity:
        """The message of an entry or group."""
        if isinstance(item, MulticastGroup):
            return p4r.Entity(
                packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(
                    multicast_group_entry=encode_group(item)
                )
            )
        return p4r.Entity(table_entry=self.encode_entry(item))

    def decode(self, entity: p4r.Entity) -> Item:
        """The entry or group of a message."""
        kind = entity.WhichOneof("entity")
        if kind == "table_entry":
            return self.decode_entry(entity.table_entry)
        if kind == "packet_replication_engine_entry":
            replication = entity.packet_replication_engine_entry
            if replication.WhichOneof("type") == "multicast_group_entry":
                return decode_group(replication.multicast_group_entry)
        raise SchemaError(f"entity {kind or 'unset'}, expected a table entry or a multicast group")

    def insert(self, item: Item) -> p4r.Update:
        """An INSERT of the item."""
        return p4r.Update(type=p4r.Update.INSERT, entity=self.encode(item))

    def modify(self, item: Item) -> p4r.Update:
        """A MODIFY of the item."""
        return p4r.Update(type=p4r.Update.MODIFY, entity=self.encode(item))

    def delete(self, item: Item) -> p4r.Update:
        """A DELETE of the item; only its identity is sent."""
        entity = self.encode(item)
        if isinstance(item, MulticastGroup):
            entity.packet_replication_engine_entry.multicast_group_entry.ClearField("replicas")
        else:
            entity.table_entry.ClearField("action")
        return p4r.Update(type=p4r.Update.DELETE, entity=entity)

    # -- table entries

    def encode_entry(self, entry: TableEntry) -> p4r.TableEntry:
        """The message of an entry; SchemaError names what does not fit."""
        table = self.table(entry.table)
        message = p4r.TableEntry(
            table_id=table.id, priority=entry.priority, is_default_action=entry.is_default
        )
        if entry.is_default:
            if entry.key or entry.priority:
                _refuse(entry, "a default entry has neither key nor priority")
        else:
            self._encode_key(table, entry, message)
            if table.needs_priority != (entry.priority > 0):
                expected = "above 0" if table.needs_priority else "0"
                _refuse(entry, f"priority {entry.priority}, expected {expected}")
        if entry.action or not entry.is_default:
            self._encode_action(table, entry, message.action.action)
        return message

    def _encode_key(self, table: Table, entry: TableEntry, message: p4r.TableEntry) -> None:
        slots = self._slots[table.name]
        add = message.match.add
        last = -1
        exact = 0
        for name, value in entry.key:
            slot = slots.by_name.get(name)
            if slot is None or slot.place <= last:
                order = ", ".join(field.name for field in table.fields)
                _refuse(entry, f"field {name}: unknown, repeated or out of order ({order})")
            last, kind, width = slot.place, slot.kind, slot.width
            match = add(field_id=slot.id)
            if kind is MatchKind.EXACT and isinstance(value, Exact):
                match.exact.value = encode_value(value.value, width, slot.where)
                exact += 1
            elif kind is MatchKind.TERNARY and isinstance(value, Ternary):
                if value.mask == 0 or value.value & ~value.mask:
                    _refuse(entry, f"{slot.where}: value {value.value:#x} and mask {value.mask:#x}")
                match.ternary.value = encode_value(value.value, width, slot.where)
                match.ternary.mask = encode_value(value.mask, width, slot.where)
            elif kind is MatchKind.LPM and isinstance(value, Lpm):
                host_bits = (1 << width - min(value.prefix_len, width)) - 1
                if not 1 <= value.prefix_len <= width or value.value & host_bits:
                    _refuse(entry, f"{slot.where}: {value.value:#x}/{value.prefix_len}")
                match.lpm.value = encode_value(value.value, width, slot.where)
                match.lpm.prefix_len = value.prefix_len
            else:
                _refuse(entry, f"{slot.where}: {value} where the match is {slot.oneof}")
        if exact != slots.exact:
            held = dict(entry.key)
            missing = [name for name in slots.exact_names if name not in held]
            _refuse(entry, f"{table.name}.{missing[0]}: missing, and its match is exact")

    def _encode_action(self, table: Table, entry: TableEntry, message: p4r.Action) -> None:
        action = table.actions.get(entry.action)
        if action is None or (entry.action in table.default_only and not entry.is_default):
            _refuse(entry, f"table {table.name} has no action {entry.action!r}")
        if [name for name, _ in entry.args] != [param.name for param in action.params]:
            names = ", ".join(name for name, _ in entry.args)
            expected = ", ".join(param.name for param in action.params)
            _refuse(entry, f"arguments ({names}), expected ({expected})")
        message.action_id = action.id
        for param, (_, value) in zip(action.params, entry.args, strict=True):
            message.params.add(
                param_id=param.id, value=encode_value(value, param.width, param.where)
            )

    def decode_entry(self, message: p4r.TableEntry) -> TableEntry:
        """The entry of a message; SchemaError names what does not fit."""
        table = self.table_by_id(message.table_id)
        slots = self._slots[table.name]
        key: list[tuple[str, FieldMatch]] = []
        last, ordered = -1, True
        for match in message.match:
            slot = slots.by_id.get(match.field_id)
            if slot is None:
                raise SchemaError(f"table {table.name}: no match field has id {match.field_id}")
            ordered = ordered and slot.place > last
            last = slot.place
            key.append((slot.name, _decode_match(slot, match)))
        if not ordered:
            key.sort(key=lambda part: slots.by_name[part[0]].place)
        action, args = self._decode_action(table, message)
        return TableEntry(
            table.name, tuple(key), message.priority, action, args, message.is_default_action
        )

    def _decode_action(
        self, table: Table, message: p4r.TableEntry
    ) -> tuple[str, tuple[tuple[str, int], ...]]:
        kind = message.action.WhichOneof("type")
        if kind is None:
            return "", ()
        if kind != "action":
            raise SchemaError(f"table {table.name}: action is {kind}, expected a direct action")
        sent = message.action.action
        action = self._actions_by_id.get(sent.action_id)
        if action is None or action.name not in table.actions:
            raise SchemaError(f"table {table.name}: no action has id {sent.action_id:#x}")
        values = {param.param_id: param.value for param in sent.params}
        if len(values) != len(action.params):
            raise SchemaError(
                f"table {table.name}: action {action.name}: parameters {sorted(values)}, "
                f"expected {[param.id for param in action.params]}"
            )
        return action.name, tuple(
            (param.name, decode_value(values.get(param.id, b""), param.width, param.where))
            for param in action.params
        )


def encode_group(group: MulticastGroup) -> p4r.MulticastGroupEntry:
    """The message of a multicast group."""
    message = p4r.MulticastGroupEntry(multicast_group_id=group.group_id)
    for port, rid in sorted(group.replicas):
        where = f"multicast group {group.group_id}: port"
        message.replicas.add(port=encode_value(port, 32, where), instance=rid)
    return message


def decode_group(message: p4r.MulticastGroupEntry) -> MulticastGroup:
    """The group of a message, its ports in either of P4Runtime's two forms."""
    return MulticastGroup(
        message.multicast_group_id,
        frozenset(_decode_replica(replica) for replica in message.replicas),
    )


def _decode_replica(replica: p4r.Replica) -> tuple[int, int]:
    if replica.WhichOneof("port_kind") == "port":
        return int.from_bytes(replica.port, "big"), replica.instance
    return replica.egress_port, replica.instance


def _decode_match(slot: _Slot, match: p4r.FieldMatch) -> FieldMatch:
    kind = match.WhichOneof("field_match_type")
    if kind != slot.oneof:
        raise SchemaError(f"{slot.where}: match is {kind}, expected {slot.oneof}")
    width, where = slot.width, slot.where
    if slot.kind is MatchKind.EXACT:
        return Exact(decode_value(match.exact.value, width, where))
    if slot.kind is MatchKind.TERNARY:
        return Ternary(
            decode_value(match.ternary.value, width, where),
            decode_value(match.ternary.mask, width, where),
        )
    return Lpm(decode_value(match.lpm.value, width, where), match.lpm.prefix_len)


def _refuse(entry: TableEntry, reason: str) -> NoReturn:
    raise SchemaError(f"{entry}: {reason}")


def _action(message: p4i.Action) -> Action:
    return Action(
        message.preamble.id,
        message.preamble.alias,
        tuple(
            Param(param.id, param.name, param.bitwidth, f"{message.preamble.alias}.{param.name}")
            for param in message.params
        ),
    )


def _table(message: p4i.Table, actions: Mapping[int, Action], proto: p4i.P4Info) -> Table:
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
    )
