"""A P4Info as a schema: what a switch can hold, from values to messages and back.

Names are P4Info aliases (`classifier`, `drops`). Every error names table, field, value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Self

from dfvisor.p4rt.entries import (
    Args,
    CloneSession,
    DigestSubscription,
    Exact,
    FieldMatch,
    Formed,
    Item,
    Lpm,
    Member,
    Meter,
    MeterConfig,
    MulticastGroup,
    TableEntry,
    Ternary,
)
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.pb import DecodeError, p4i, p4r, text_format
from dfvisor.p4rt.replication import decode_replication, encode_replication
from dfvisor.p4rt.shapes import (
    Counter,
    DigestShape,
    Field,
    MatchKind,
    MeterArray,
    Param,
    Slot,
    Slots,
    Table,
    action_of,
    digest_of,
    table_of,
)
from dfvisor.p4rt.values import PORT_BITS, decode_value, encode_value

__all__ = ["Field", "MatchKind", "Schema"]

MOST_ENCODED = 65536  # matches of a field that are kept


class Schema:
    """The tables, actions, counters, meters, digests and controller headers of one P4Info."""

    def __init__(self, proto: p4i.P4Info) -> None:
        self.proto = proto
        actions = {action.preamble.id: action_of(action) for action in proto.actions}
        self.tables: dict[str, Table] = {}
        for message in proto.tables:
            table = table_of(message, actions, proto)
            self.tables[table.name] = table
        self.counters: dict[str, Counter] = {
            counter.preamble.alias: Counter(
                counter.preamble.id, counter.preamble.alias, counter.size
            )
            for counter in proto.counters
        }
        self.meters: dict[str, MeterArray] = {
            meter.preamble.alias: MeterArray(meter.preamble.id, meter.preamble.alias, meter.size)
            for meter in proto.meters
        }
        self.digests = {digest.preamble.alias: digest_of(digest, proto) for digest in proto.digests}
        self.headers: dict[str, tuple[Param, ...]] = {
            header.preamble.name: tuple(
                Param(one.id, one.name, one.bitwidth, f"{header.preamble.name}.{one.name}")
                for one in header.metadata
            )
            for header in proto.controller_packet_metadata
        }
        self._meters_by_id = {meter.id: meter for meter in self.meters.values()}
        self._digests_by_id = {digest.id: digest for digest in self.digests.values()}
        self._slots = {table.name: Slots(table) for table in self.tables.values()}
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

    def slots(self, name: str) -> Mapping[str, Slot]:
        """The fields of a table, as encoding needs them."""
        return self._slots[name].by_name

    def counter(self, name: str) -> Counter:
        """The indirect counter of that name."""
        found = self.counters.get(name)
        if found is None:
            raise SchemaError(f"no counter {name!r}; there are {', '.join(sorted(self.counters))}")
        return found

    def meter(self, name: str) -> MeterArray:
        """The indirect meter of that name."""
        found = self.meters.get(name)
        if found is None:
            raise SchemaError(f"no meter {name!r}; there are {', '.join(sorted(self.meters))}")
        return found

    def digest(self, name: str) -> DigestShape:
        """The digest of that name."""
        found = self.digests.get(name)
        if found is None:
            raise SchemaError(f"no digest {name!r}; there are {', '.join(sorted(self.digests))}")
        return found

    def digest_by_id(self, digest_id: int) -> DigestShape:
        """The digest of that P4Runtime id."""
        found = self._digests_by_id.get(digest_id)
        if found is None:
            raise SchemaError(f"no digest has id {digest_id:#x}")
        return found

    # -- items

    def encode(self, item: Item) -> p4r.Entity:
        """The message of an item."""
        match item:
            case TableEntry():
                return p4r.Entity(table_entry=self.encode_entry(item))
            case Formed():
                return p4r.Entity(table_entry=self.encode_entry(item.entry))
            case MulticastGroup() | CloneSession():
                return p4r.Entity(packet_replication_engine_entry=encode_replication(item))
            case Meter():
                return p4r.Entity(meter_entry=self._encode_meter(item))
            case DigestSubscription():
                return p4r.Entity(digest_entry=self._encode_subscription(item))

    def decode(self, entity: p4r.Entity) -> Item:
        """The item of a message."""
        kind = entity.WhichOneof("entity")
        if kind == "table_entry":
            return self.decode_entry(entity.table_entry)
        if kind == "packet_replication_engine_entry":
            return decode_replication(entity.packet_replication_engine_entry)
        if kind == "meter_entry":
            return self._decode_meter(entity.meter_entry)
        if kind == "digest_entry":
            return self._decode_subscription(entity.digest_entry)
        raise SchemaError(f"entity {kind or 'unset'}, expected something that a switch can hold")

    def insert(self, item: Item) -> p4r.Update:
        """An INSERT of the item."""
        return self._update(p4r.Update.INSERT, item)

    def modify(self, item: Item) -> p4r.Update:
        """A MODIFY of the item."""
        return self._update(p4r.Update.MODIFY, item)

    def _update(self, kind: p4r.Update.Type.ValueType, item: Item) -> p4r.Update:
        update = p4r.Update(type=kind)
        if isinstance(item, TableEntry):  # in its place: each copy costs as much as encoding
            self._fill(item, update.entity.table_entry)
        else:
            update.entity.CopyFrom(self.encode(item))
        return update

    def delete(self, item: Item) -> p4r.Update:
        """A DELETE of the item; only its identity is sent."""
        entity = self.encode(item)
        match item:
            case TableEntry() | Formed():
                entity.table_entry.ClearField("action")
            case MulticastGroup():
                group = entity.packet_replication_engine_entry.multicast_group_entry
                group.ClearField("replicas")
            case CloneSession():
                session = entity.packet_replication_engine_entry.clone_session_entry
                session.ClearField("replicas")
            case DigestSubscription():
                entity.digest_entry.ClearField("config")
            case Meter():
                raise SchemaError(f"{item}: a meter cell is modified, never deleted")
        return p4r.Update(type=p4r.Update.DELETE, entity=entity)

    # -- meters and digests

    def _encode_meter(self, meter: Meter) -> p4r.MeterEntry:
        array = self.meter(meter.meter)
        if not 0 <= meter.index < array.size:
            raise SchemaError(f"{meter}: the array has {array.size} cells")
        message = p4r.MeterEntry(meter_id=array.id, index=p4r.Index(index=meter.index))
        config = meter.config
        if config is not None:
            if not 0 <= config.cir <= config.pir:
                raise SchemaError(f"{meter}: the peak rate is below the committed rate")
            message.config.cir, message.config.cburst = config.cir, config.cburst
            message.config.pir, message.config.pburst = config.pir, config.pburst
        return message

    def _decode_meter(self, message: p4r.MeterEntry) -> Meter:
        array = self._meters_by_id.get(message.meter_id)
        if array is None:
            raise SchemaError(f"no meter has id {message.meter_id:#x}")
        config = None
        if message.HasField("config"):
            sent = message.config
            config = MeterConfig(sent.cir, sent.cburst, sent.pir, sent.pburst)
        return Meter(array.name, message.index.index, config)

    def _encode_subscription(self, item: DigestSubscription) -> p4r.DigestEntry:
        return p4r.DigestEntry(
            digest_id=self.digest(item.digest).id,
            config=p4r.DigestEntry.Config(
                max_timeout_ns=item.max_timeout_ns,
                max_list_size=item.max_list_size,
                ack_timeout_ns=item.ack_timeout_ns,
            ),
        )

    def _decode_subscription(self, message: p4r.DigestEntry) -> DigestSubscription:
        config = message.config
        return DigestSubscription(
            self.digest_by_id(message.digest_id).name,
            config.max_timeout_ns,
            config.max_list_size,
            config.ack_timeout_ns,
        )

    # -- table entries

    def encode_entry(self, entry: TableEntry) -> p4r.TableEntry:
        """The message of an entry; SchemaError names what does not fit."""
        message = p4r.TableEntry()
        self._fill(entry, message)
        return message

    def _fill(self, entry: TableEntry, message: p4r.TableEntry) -> None:
        """Into an empty message."""
        table = self.table(entry.table)
        message.table_id = table.id
        if entry.priority:
            message.priority = entry.priority
        if entry.is_default:
            message.is_default_action = True
            if entry.key or entry.priority:
                _refuse(entry, "a default entry has neither key nor priority")
        else:
            self._encode_key(table, entry, message)
            needed = self._slots[table.name].needs_priority
            if needed != (entry.priority > 0):
                expected = "above 0" if needed else "0"
                _refuse(entry, f"priority {entry.priority}, expected {expected}")
        if table.selects and not entry.is_default:
            self._encode_members(table, entry, message.action.action_profile_action_set)
        elif entry.members:
            _refuse(entry, "a set of actions needs a table with an action selector")
        elif entry.action or not entry.is_default:
            self._encode_action(table, entry, entry, message.action.action)

    def encode_key(self, entry: TableEntry) -> p4r.TableEntry:
        """The message of an entry's identity alone, as for a read or a deletion."""
        table = self.table(entry.table)
        message = p4r.TableEntry(table_id=table.id, priority=entry.priority)
        self._encode_key(table, entry, message)
        return message

    def _encode_members(
        self, table: Table, entry: TableEntry, message: p4r.ActionProfileActionSet
    ) -> None:
        if not entry.members or entry.action:
            _refuse(entry, "a table with an action selector takes a set of at least one action")
        for member in entry.members:
            if member.weight < 1:
                _refuse(entry, f"weight {member.weight}, expected at least 1")
            one = message.action_profile_actions.add(weight=member.weight)
            if member.watch_port is not None:
                one.watch_port = encode_value(member.watch_port, PORT_BITS, f"{entry}: watch port")
            self._encode_action(table, entry, member, one.action)

    def _encode_key(self, table: Table, entry: TableEntry, message: p4r.TableEntry) -> None:
        slots = self._slots[table.name]
        parts: list[bytes] = []
        last = -1
        exact = 0
        for name, value in entry.key:
            slot = slots.by_name.get(name)
            if slot is None or slot.place <= last:
                order = ", ".join(field.name for field in table.fields)
                _refuse(entry, f"field {name}: unknown, repeated or out of order ({order})")
            last = slot.place
            exact += slot.kind is MatchKind.EXACT
            parts.append(slot.encoded.get(value) or _encode_match(slot, entry, value))
        if exact != slots.exact:
            held = dict(entry.key)
            missing = [name for name in slots.exact_names if name not in held]
            _refuse(entry, f"{table.name}.{missing[0]}: missing, and its match is exact")
        message.MergeFromString(b"".join(parts))

    def _encode_action(
        self, table: Table, entry: TableEntry, call: TableEntry | Member, message: p4r.Action
    ) -> None:
        action = table.actions.get(call.action)
        if action is None or (call.action in table.default_only and not entry.is_default):
            _refuse(entry, f"table {table.name} has no action {call.action!r}")
        message.action_id = action.id
        fits = len(call.args) == len(action.params)
        for param, (name, value) in zip(action.params, call.args, strict=False):
            fits = fits and name == param.name
            message.params.add(
                param_id=param.id, value=encode_value(value, param.width, param.where)
            )
        if not fits:
            names = ", ".join(name for name, _ in call.args)
            expected = ", ".join(param.name for param in action.params)
            _refuse(entry, f"arguments ({names}), expected ({expected})")

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
        action = ""
        args: Args = ()
        members: tuple[Member, ...] = ()
        kind = message.action.WhichOneof("type")
        if kind == "action":
            action, args = self._decode_action(table, message.action.action)
        elif kind == "action_profile_action_set":
            members = tuple(
                self._decode_member(table, one)
                for one in message.action.action_profile_action_set.action_profile_actions
            )
        elif kind is not None:
            raise SchemaError(f"table {table.name}: action is {kind}, expected actions themselves")
        return TableEntry(
            table.name,
            tuple(key),
            message.priority,
            action,
            args,
            message.is_default_action,
            members,
        )

    def _decode_member(self, table: Table, message: p4r.ActionProfileAction) -> Member:
        action, args = self._decode_action(table, message.action)
        watch = None
        kind = message.WhichOneof("watch_kind")
        if kind == "watch_port":
            watch = int.from_bytes(message.watch_port, "big")
        elif kind == "watch":
            watch = message.watch
        return Member(action, args, watch, message.weight)

    def _decode_action(self, table: Table, sent: p4r.Action) -> tuple[str, Args]:
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


def _encode_match(slot: Slot, entry: TableEntry, value: FieldMatch) -> bytes:
    """A message of an entry with this match alone: such messages can be strung together."""
    kind, width = slot.kind, slot.width
    message = p4r.TableEntry()
    match = message.match.add(field_id=slot.id)
    if kind is MatchKind.EXACT and isinstance(value, Exact):
        match.exact.value = encode_value(value.value, width, slot.where)
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
    if len(slot.encoded) >= MOST_ENCODED:
        slot.encoded.clear()
    data = slot.encoded[value] = message.SerializeToString()
    return data


def _decode_match(slot: Slot, match: p4r.FieldMatch) -> FieldMatch:
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
