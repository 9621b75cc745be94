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
    """An action parameter; `width` in bits."""

    id: int
    name: str
    width: int


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
        given = iter((*entry.key, None))
        next_ = next(given)
        for field in table.fields:
            where = f"{table.name}.{field.name}"
            if next_ is None or next_[0] != field.name:
                if field.kind is MatchKind.EXACT:
                    _refuse(entry, f"{where}: missing, and its match is exact")
                continue
            match = message.match.add(field_id=field.id)
            value = next_[1]
            next_ = next(given)
            if isinstance(value, Exact) and field.kind is MatchKind.EXACT:
                match.exact.value = encode_value(value.value, field.width, where)
            elif isinstance(value, Ternary) and field.kind is MatchKind.TERNARY:
                if value.mask == 0 or value.value & ~value.mask:
                    _refuse(entry, f"{where}: value {value.value:#x} and mask {value.mask:#x}")
                match.ternary.value = encode_value(value.value, field.width, where)
                match.ternary.mask = encode_value(value.mask, field.width, where)
            elif isinstance(value, Lpm) and field.kind is MatchKind.LPM:
                host_bits = (1 << field.width - min(value.prefix_len, field.width)) - 1
                if not 1 <= value.prefix_len <= field.width or value.value & host_bits:
                    _refuse(entry, f"{where}: {value.value:#x}/{value.prefix_len}")
                match.lpm.value = encode_value(value.value, field.width, where)
                match.lpm.prefix_len = value.prefix_len
            else:
                _refuse(entry, f"{where}: {value} where the match is {field.kind.name.lower()}")
        if next_ is not None:
            order = ", ".join(field.name for field in table.fields)
            _refuse(entry, f"field {next_[0]}: unknown, repeated or out of order ({order})")

    def _encode_action(self, table: Table, entry: TableEntry, message: p4r.Action) -> None:
        action = table.actions.get(entry.action)
        if action is None or (entry.action in table.default_only and not entry.is_default):
            _refuse(entry, f"table {table.name} has no action {entry.action!r}")
        names = [name for name, _ in entry.args]
        if names != [param.name for param in action.params]:
            expected = ", ".join(param.name for param in action.params)
            _refuse(entry, f"arguments ({', '.join(names)}), expected ({expected})")
        message.action_id = action.id
        for param, (_, value) in zip(action.params, entry.args, strict=True):
            where = f"{table.name}: {action.name}.{param.name}"
            message.params.add(param_id=param.id, value=encode_value(value, param.width, where))

    def decode_entry(self, message: p4r.TableEntry) -> TableEntry:
        """The entry of a message; SchemaError names what does not fit."""
        table = self.table_by_id(message.table_id)
        matches = {match.field_id: match for match in message.match}
        key: list[tuple[str, FieldMatch]] = []
        for field in table.fields:
            match = matches.pop(field.id, None)
            if match is not None:
                key.append((field.name, _decode_match(table, field, match)))
        if matches:
            raise SchemaError(f"table {table.name}: no match field has id {min(matches)}")
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
        if values.keys() != {param.id for param in action.params}:
            raise SchemaError(
                f"table {table.name}: action {action.name}: parameters {sorted(values)}, "
                f"expected {[param.id for param in action.params]}"
            )
        return action.name, tuple(
            (
                param.name,
                decode_value(
                    values[param.id], param.width, f"{table.name}: {action.name}.{param.name}"
                ),
            )
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


def _decode_match(table: Table, field: Field, match: p4r.FieldMatch) -> FieldMatch:
    where = f"{table.name}.{field.name}"
    kind = match.WhichOneof("field_match_type")
    if kind != field.kind.name.lower():
        raise SchemaError(f"{where}: match is {kind}, expected {field.kind.name.lower()}")
    if field.kind is MatchKind.EXACT:
        return Exact(decode_value(match.exact.value, field.width, where))
    if field.kind is MatchKind.TERNARY:
        return Ternary(
            decode_value(match.ternary.value, field.width, where),
            decode_value(match.ternary.mask, field.width, where),
        )
    return Lpm(decode_value(match.lpm.value, field.width, where), match.lpm.prefix_len)


def _refuse(entry: TableEntry, reason: str) -> NoReturn:
    raise SchemaError(f"{entry}: {reason}")


def _action(message: p4i.Action) -> Action:
    return Action(
        message.preamble.id,
        message.preamble.alias,
        tuple(Param(param.id, param.name, param.bitwidth) for param in message.params),
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
