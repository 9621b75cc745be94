"""One pushed pipeline: its config, its schema, its engine and everything written into it.

`write` applies one update, `read` answers one entity of a read request; both raise RequestError.
All calls come from the event loop's thread, under the service's state lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias, TypeVar

from softswitch.errors import (
    CompileError,
    DuplicateEntryError,
    EngineError,
    TableFullError,
    UnsupportedError,
)
from softswitch.server import counters
from softswitch.server.dataplane import Builder, DataPlane
from softswitch.server.errors import (
    RequestError,
    exhausted,
    exists,
    internal,
    invalid,
    not_found,
    unimplemented,
)
from softswitch.server.json_view import initial_content
from softswitch.server.multicast import MulticastState
from softswitch.server.pb import p4r
from softswitch.server.schema import Counter, Schema, from_p4info
from softswitch.server.tables import Row, TableState

_Item = TypeVar("_Item")
_Writer: TypeAlias = "Callable[[Pipeline, p4r.Update.Type.ValueType, p4r.Entity], None]"

ENTITIES_PER_MESSAGE = 512
"""Entities in one ReadResponse: some tens of kilobytes, well below clients' 4 MiB limit."""

WILDCARD_EMPTY = {
    "action_profile_member": ("action_profile_id", "action_profiles"),
    "action_profile_group": ("action_profile_id", "action_profiles"),
    "meter_entry": ("meter_id", "meters"),
    "register_entry": ("register_id", "registers"),
    "value_set_entry": ("value_set_id", "value_sets"),
    "digest_entry": ("digest_id", "digests"),
    "extern_entry": ("extern_type_id", "externs"),
}
"""Entities not served: their id field, and the P4Info list they live in. Reading all of them is
answered with nothing when the pipeline has none, so a client may ask for everything."""


class Pipeline:
    """A realized ForwardingPipelineConfig."""

    def __init__(self, config: p4r.ForwardingPipelineConfig, build: Builder) -> None:
        """Check and build; blocking (seconds when the C compiler runs): call it off the event loop.

        Raises RequestError: INVALID_ARGUMENT for a config that cannot be realized, INTERNAL when
        the C compiler fails.
        """
        self.config = config
        self.schema: Schema = from_p4info(config.p4info)
        initial = initial_content(config.p4_device_config, self.schema)
        self.engine: DataPlane = realize(config.p4_device_config, build)
        self._tables = {
            table.id: TableState(table, initial[table.id], self.engine)
            for table in self.schema.tables.values()
        }
        self._multicast = MulticastState(self.engine)

    def close(self) -> None:
        """Stop and free the engine."""
        self.engine.stop()
        self.engine.close()

    # -- writing ------------------------------------------------------------------------------

    def write(self, update: p4r.Update) -> None:
        """Apply one update."""
        kind = update.type
        if kind == p4r.Update.UNSPECIFIED or kind not in p4r.Update.Type.values():
            raise invalid(f"update type {kind}, expected INSERT, MODIFY or DELETE")
        name = update.entity.WhichOneof("entity")
        if name is None:
            raise invalid("update without an entity")
        writer = self._WRITERS.get(name)
        if writer is None:
            raise unimplemented(f"{name}: writing this entity is not implemented")
        try:
            writer(self, kind, update.entity)
        except EngineError as error:
            raise _from_engine(error) from error

    def _write_table(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        entry = entity.table_entry
        table = self._table(entry.table_id)
        if kind == p4r.Update.INSERT:
            table.insert(entry)
        elif kind == p4r.Update.MODIFY:
            table.modify(entry)
        else:
            table.delete(entry)

    def _write_counter(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        _only_modify(kind, "counter_entry")
        entry = entity.counter_entry
        counters.write(self.engine, self._counter(entry.counter_id), entry)

    def _write_direct_counter(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        _only_modify(kind, "direct_counter_entry")
        entry = entity.direct_counter_entry
        table = self._table(entry.table_entry.table_id)
        table.set_counter(entry.table_entry, entry.data if entry.HasField("data") else None)

    def _write_replication(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        entry = entity.packet_replication_engine_entry
        which = entry.WhichOneof("type")
        if which is None:
            raise invalid("packet_replication_engine_entry without a type")
        if which != "multicast_group_entry":
            raise unimplemented(f"{which}: clone sessions are not implemented")
        self._multicast.write(kind, entry.multicast_group_entry)

    _WRITERS: ClassVar[
        Mapping[str, Callable[[Pipeline, p4r.Update.Type.ValueType, p4r.Entity], None]]
    ] = {
        "table_entry": _write_table,
        "counter_entry": _write_counter,
        "direct_counter_entry": _write_direct_counter,
        "packet_replication_engine_entry": _write_replication,
    }

    # -- reading ------------------------------------------------------------------------------

    def read(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        """The messages that answer one entity of a read, each made when asked for.

        What they hold is decided before the first message, except for counter arrays, which are
        read message by message.
        """
        name = entity.WhichOneof("entity")
        if name is None:
            raise invalid("read of an entity without a type")
        try:
            if name == "table_entry":
                return _messages(self._table_rows(entity.table_entry), _put_table_entry)
            if name == "direct_counter_entry":
                rows = self._direct_counter_rows(entity.direct_counter_entry)
                return _messages(rows, _put_direct_counter)
            if name == "counter_entry":
                return self._read_counters(entity.counter_entry)
            if name == "packet_replication_engine_entry":
                return self._read_replication(entity.packet_replication_engine_entry)
        except EngineError as error:
            raise _from_engine(error) from error
        self._refuse_unless_none_exist(name, entity)
        return iter(())

    def _table_rows(self, query: p4r.TableEntry) -> list[Row]:
        if query.table_id:
            return self._table(query.table_id).rows(query)
        if query.match or query.HasField("action") or query.priority or query.metadata:
            raise invalid("reading all tables (table id 0) takes no other filter")
        return [row for table in self._tables.values() for row in table.rows(query)]

    def _direct_counter_rows(self, query: p4r.DirectCounterEntry) -> list[Row]:
        entry = query.table_entry
        if entry.table_id:
            return self._table(entry.table_id).counter_rows(entry)
        if entry.match or entry.priority:
            raise invalid("reading all direct counters (table id 0) takes no other filter")
        counted = [table for table in self._tables.values() if table.table.direct_counter]
        return [row for table in counted for row in table.counter_rows(entry)]

    def _read_counters(self, query: p4r.CounterEntry) -> Iterator[p4r.ReadResponse]:
        index = query.index.index if query.HasField("index") else None
        if query.counter_id:
            chosen: Sequence[Counter] = (self._counter(query.counter_id),)
        elif index is None:
            chosen = tuple(self.schema.counters.values())
        else:
            raise invalid("reading all counters (counter id 0) takes no index")
        if index is not None:
            counters.check_index(chosen[0], index)
        return self._counter_messages(chosen, index)

    def _counter_messages(
        self, chosen: Sequence[Counter], index: int | None
    ) -> Iterator[p4r.ReadResponse]:
        for counter in chosen:
            for first, cells in counters.read(self.engine, counter, index):
                response = p4r.ReadResponse()
                for offset, (packets, bytes_) in enumerate(cells):
                    entry = response.entities.add().counter_entry
                    entry.counter_id = counter.id
                    entry.index.index = first + offset
                    entry.data.packet_count = packets
                    entry.data.byte_count = bytes_
                yield response

    def _read_replication(
        self, query: p4r.PacketReplicationEngineEntry
    ) -> Iterator[p4r.ReadResponse]:
        which = query.WhichOneof("type")
        if which is None:
            raise invalid("packet_replication_engine_entry without a type")
        if which == "clone_session_entry":
            if query.clone_session_entry.session_id:
                raise unimplemented("clone_session_entry: clone sessions are not implemented")
            return iter(())
        group = query.multicast_group_entry.multicast_group_id
        found = self._multicast.read(group)
        if group and not found:
            raise not_found(f"multicast group {group} does not exist")
        return _messages(found, _put_group)

    def _refuse_unless_none_exist(self, name: str, entity: p4r.Entity) -> None:
        if name == "direct_meter_entry":
            given, listed = entity.direct_meter_entry.table_entry.table_id, "direct_meters"
        else:
            id_field, listed = WILDCARD_EMPTY[name]
            given = getattr(getattr(entity, name), id_field)
        if given or self.schema.others[listed]:
            raise unimplemented(f"{name}: reading this entity is not implemented")

    # -- helpers ------------------------------------------------------------------------------

    def _table(self, table_id: int) -> TableState:
        table = self._tables.get(table_id)
        if table is None:
            raise invalid(f"table id {table_id:#x} is not in the P4Info")
        return table

    def _counter(self, counter_id: int) -> Counter:
        counter = self.schema.counters.get(counter_id)
        if counter is None:
            raise invalid(f"counter id {counter_id:#x} is not an indirect counter of the P4Info")
        return counter


def realize(bmv2_json: bytes, build: Builder) -> DataPlane:
    """Build an engine; blocking. Raises RequestError."""
    if not bmv2_json:
        raise invalid("p4_device_config is empty, expected BMv2 JSON")
    try:
        return build(bmv2_json)
    except CompileError as error:
        raise internal(str(error)) from error
    except EngineError as error:
        raise invalid(f"the pipeline cannot be realized: {error}") from error


def _from_engine(error: EngineError) -> RequestError:
    if isinstance(error, TableFullError):
        return exhausted(str(error))
    if isinstance(error, DuplicateEntryError):
        return exists(str(error))
    if isinstance(error, UnsupportedError):
        return unimplemented(str(error))
    return internal(str(error))


def _only_modify(kind: p4r.Update.Type.ValueType, entity: str) -> None:
    if kind != p4r.Update.MODIFY:
        raise invalid(f"{entity}: {p4r.Update.Type.Name(kind)} is not allowed, only MODIFY")


def _put_table_entry(response: p4r.ReadResponse, row: Row) -> None:
    entry = response.entities.add().table_entry
    entry.MergeFromString(row.encoded)
    if row.counter is not None:
        packets, bytes_ = row.counter
        entry.counter_data.SetInParent()
        entry.counter_data.packet_count = packets
        entry.counter_data.byte_count = bytes_


def _put_direct_counter(response: p4r.ReadResponse, row: Row) -> None:
    entry = response.entities.add().direct_counter_entry
    entry.table_entry.MergeFromString(row.encoded)
    if row.counter is not None:
        packets, bytes_ = row.counter
        entry.data.SetInParent()
        entry.data.packet_count = packets
        entry.data.byte_count = bytes_


def _put_group(response: p4r.ReadResponse, encoded: bytes) -> None:
    entry = response.entities.add().packet_replication_engine_entry.multicast_group_entry
    entry.MergeFromString(encoded)


def _messages(
    rows: Iterable[_Item], put: Callable[[p4r.ReadResponse, _Item], None]
) -> Iterator[p4r.ReadResponse]:
    response = p4r.ReadResponse()
    for row in rows:
        put(response, row)
        if len(response.entities) >= ENTITIES_PER_MESSAGE:
            yield response
            response = p4r.ReadResponse()
    if response.entities:
        yield response


def packed(messages: Iterable[p4r.ReadResponse]) -> Iterator[p4r.ReadResponse]:
    """The same entities in the same order, in fewer messages: many cells in each."""
    pending: p4r.ReadResponse | None = None
    for message in messages:
        if pending is None:
            pending = message
        elif len(pending.entities) + len(message.entities) <= ENTITIES_PER_MESSAGE:
            pending.entities.extend(message.entities)
        else:
            yield pending
            pending = message
    if pending is not None:
        yield pending
