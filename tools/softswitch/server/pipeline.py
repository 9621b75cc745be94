"""One pushed pipeline: its config, its schema, its engine and everything written into it.

`write` applies one update, `read` answers one entity of a read request; both raise RequestError.
All calls come from the event loop's thread, under the service's state lock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import ClassVar

from softswitch.errors import (
    CompileError,
    DuplicateEntryError,
    EngineError,
    TableFullError,
    UnsupportedError,
)
from softswitch.server import counters, registers
from softswitch.server.answers import (
    messages,
    put_clone_session,
    put_digest,
    put_direct_counter,
    put_direct_meter,
    put_group,
    put_member,
    put_profile_group,
    put_table_entry,
)
from softswitch.server.clones import CloneState
from softswitch.server.dataplane import Builder, DataPlane
from softswitch.server.digests import DigestState
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
from softswitch.server.links import Links
from softswitch.server.meters import MeterState
from softswitch.server.multicast import MulticastState
from softswitch.server.pb import p4r
from softswitch.server.profiles import ProfileState
from softswitch.server.schema import Counter, Register, Schema, from_p4info
from softswitch.server.tables import Row, TableState
from softswitch.server.wired import described

WILDCARD_EMPTY = {
    "value_set_entry": ("value_set_id", "value_sets"),
    "extern_entry": ("extern_type_id", "externs"),
}
"""Entities not served: their id field, and the P4Info list they live in. Reading all of them is
answered with nothing when the pipeline has none, so a client may ask for everything."""


class Pipeline:
    """A realized ForwardingPipelineConfig."""

    def __init__(self, config: p4r.ForwardingPipelineConfig, build: Builder, links: Links) -> None:
        """Check and build; blocking (seconds when the C compiler runs): call it off the event loop.

        Raises RequestError: INVALID_ARGUMENT for a config that cannot be realized, INTERNAL when
        the C compiler fails.
        """
        self.config = config
        self.schema: Schema = from_p4info(config.p4info)
        initial = initial_content(config.p4_device_config, self.schema)
        self.engine: DataPlane = realize(config.p4_device_config, build)
        engine = self.engine
        self.profiles = {
            profile.id: ProfileState(profile, engine, links)
            for profile in self.schema.profiles.values()
        }
        self.tables = {
            table.id: TableState(table, initial[table.id], engine, self.profiles.get(table.profile))
            for table in self.schema.tables.values()
        }
        self.meters = {m.id: MeterState(m, engine) for m in self.schema.meters.values()}
        self.digests = {d.id: DigestState(d) for d in self.schema.digests.values()}
        self.multicast = MulticastState(engine)
        self.clones = CloneState(engine)
        self._by_name = {table.table.name: table for table in self.tables.values()}
        self._wire = engine.wire(described(self.schema))

    def close(self) -> None:
        """Stop and free the engine."""
        self.engine.stop()
        self.engine.close()

    # -- writing ------------------------------------------------------------------------------

    def write(self, update: p4r.Update) -> None:
        """Apply one update."""
        kind = update.type
        if kind not in _UPDATES:
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
            raise from_engine(error) from error

    def take(self, request: bytes, at: int, skip: int, most: int) -> tuple[int, int]:
        """Pass over `skip` updates from byte `at` of a serialized WriteRequest on, then apply those
        that follow as they come, up to `most` and the first that is not plain: that one is for
        `write`. Returns how many, and where the next one is."""
        if self._wire is None:
            return 0, at
        after, done = self._wire.take(request, at, skip, most)
        last: int | None = None
        for handle, table_id, kind, begin, size in done:
            if kind == p4r.Update.DELETE:
                self.tables[table_id].gone(handle)
                continue
            if table_id != last:
                last, keep = table_id, self.tables[table_id].keep
            keep(handle, request[begin : begin + size])
        return len(done), after

    def _write_table(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        entry = entity.table_entry
        table = self.table(entry.table_id)
        if kind == p4r.Update.INSERT:
            table.insert(entry)
        elif kind == p4r.Update.MODIFY:
            table.modify(entry)
        else:
            table.delete(entry)

    def _write_counter(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        _only_modify(kind, "counter_entry")
        entry = entity.counter_entry
        counters.write(self.engine, self.counter(entry.counter_id), entry)

    def _write_direct_counter(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        _only_modify(kind, "direct_counter_entry")
        entry = entity.direct_counter_entry
        table = self.table(entry.table_entry.table_id)
        table.set_counter(entry.table_entry, entry.data if entry.HasField("data") else None)

    def _write_direct_meter(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        _only_modify(kind, "direct_meter_entry")
        entry = entity.direct_meter_entry
        self.table(entry.table_entry.table_id).set_meter(entry)

    def _write_register(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        _only_modify(kind, "register_entry")
        entry = entity.register_entry
        registers.write(self.engine, self.register(entry.register_id), entry)

    def _write_replication(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        entry = entity.packet_replication_engine_entry
        which = entry.WhichOneof("type")
        if which is None:
            raise invalid("packet_replication_engine_entry without a type")
        if which == "multicast_group_entry":
            self.multicast.write(kind, entry.multicast_group_entry)
        else:
            self.clones.write(kind, entry.clone_session_entry)

    def _write_meter(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        _only_modify(kind, "meter_entry")
        self.meter(entity.meter_entry.meter_id).write(entity.meter_entry)

    def _write_member(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        member = entity.action_profile_member
        self.profile(member.action_profile_id).write_member(kind, member)

    def _write_group(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        group = entity.action_profile_group
        self.profile(group.action_profile_id).write_group(kind, group)

    def _write_digest(self, kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> None:
        self.digest(entity.digest_entry.digest_id).write(kind, entity.digest_entry)

    _WRITERS: ClassVar[
        Mapping[str, Callable[[Pipeline, p4r.Update.Type.ValueType, p4r.Entity], None]]
    ] = {
        "table_entry": _write_table,
        "counter_entry": _write_counter,
        "direct_counter_entry": _write_direct_counter,
        "direct_meter_entry": _write_direct_meter,
        "register_entry": _write_register,
        "packet_replication_engine_entry": _write_replication,
        "meter_entry": _write_meter,
        "action_profile_member": _write_member,
        "action_profile_group": _write_group,
        "digest_entry": _write_digest,
    }

    # -- reading ------------------------------------------------------------------------------

    def read(self, entity: p4r.Entity, *, hit: Collection[int] = ()) -> Iterator[p4r.ReadResponse]:
        """The messages that answer one entity of a read, each made when asked for. `hit` are
        tables of which entries that have counted nothing are left out where counters are read.

        What they hold is decided before the first message, except for counter arrays, which are
        read message by message.
        """
        name = entity.WhichOneof("entity")
        if name is None:
            raise invalid("read of an entity without a type")
        reader = self._READERS.get(name)
        try:
            if name == "table_entry":
                rows = self._table_rows(entity.table_entry, hit)
                return messages(rows, put_table_entry)
            if reader is not None:
                return reader(self, entity)
        except EngineError as error:
            raise from_engine(error) from error
        self._refuse_unless_none_exist(name, entity)
        return iter(())

    def _read_direct_counter(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        return messages(self._direct_counter_rows(entity.direct_counter_entry), put_direct_counter)

    def _read_direct_meter(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        query = entity.direct_meter_entry
        entry, counted = query.table_entry, query.HasField("counter_data")
        if entry.table_id:
            tables = [self.table(entry.table_id)]
        elif entry.match or entry.priority:
            raise invalid("reading all direct meters (table id 0) takes no other filter")
        else:
            tables = [t for t in self.tables.values() if t.table.direct_meter is not None]
        rows = [row for table in tables for row in table.meter_rows(entry, counted=counted)]
        return messages(rows, put_direct_meter)

    def _read_registers(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        query = entity.register_entry
        index = query.index.index if query.HasField("index") else None
        if query.register_id:
            chosen: Sequence[Register] = (self.register(query.register_id),)
        elif index is None:
            chosen = tuple(self.schema.registers.values())
        else:
            raise invalid("reading all registers (register id 0) takes no index")
        if index is not None:
            registers.check_index(chosen[0], index)
        return chain.from_iterable(registers.read(self.engine, r, index) for r in chosen)

    def _table_rows(self, query: p4r.TableEntry, hit: Collection[int]) -> list[Row]:
        if query.table_id:
            return self.table(query.table_id).rows(query, hit=query.table_id in hit)
        if query.match or query.HasField("action") or query.priority or query.metadata:
            raise invalid("reading all tables (table id 0) takes no other filter")
        return [
            row
            for number, table in self.tables.items()
            for row in table.rows(query, hit=number in hit)
        ]

    def _direct_counter_rows(self, query: p4r.DirectCounterEntry) -> list[Row]:
        entry = query.table_entry
        if entry.table_id:
            return self.table(entry.table_id).counter_rows(entry)
        if entry.match or entry.priority:
            raise invalid("reading all direct counters (table id 0) takes no other filter")
        counted = [table for table in self.tables.values() if table.table.direct_counter]
        return [row for table in counted for row in table.counter_rows(entry)]

    def _read_counters(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        query = entity.counter_entry
        index = query.index.index if query.HasField("index") else None
        if query.counter_id:
            chosen: Sequence[Counter] = (self.counter(query.counter_id),)
        elif index is None:
            chosen = tuple(self.schema.counters.values())
        else:
            raise invalid("reading all counters (counter id 0) takes no index")
        if index is not None:
            counters.check_index(chosen[0], index)
        return self._countermessages(chosen, index)

    def _countermessages(
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

    def _read_replication(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        query = entity.packet_replication_engine_entry
        which = query.WhichOneof("type")
        if which is None:
            raise invalid("packet_replication_engine_entry without a type")
        if which == "clone_session_entry":
            session = query.clone_session_entry.session_id
            sessions = self.clones.read(session)
            if session and not sessions:
                raise not_found(f"clone session {session} does not exist")
            return messages(sessions, put_clone_session)
        group = query.multicast_group_entry.multicast_group_id
        found = self.multicast.read(group)
        if group and not found:
            raise not_found(f"multicast group {group} does not exist")
        return messages(found, put_group)

    def _read_meters(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        query = entity.meter_entry
        index = query.index.index if query.HasField("index") else None
        if query.meter_id:
            chosen = [self.meter(query.meter_id)]
        elif index is None:
            chosen = list(self.meters.values())
        else:
            raise invalid("reading all meters (meter id 0) takes no index")
        if index is not None:
            chosen[0].check_index(index)
        counted = query.HasField("counter_data")
        return chain.from_iterable(meter.read(index, counted=counted) for meter in chosen)

    def _read_members(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        query = entity.action_profile_member
        rows = [
            member
            for profile in self._profiles(query.action_profile_id, query.member_id)
            for member in profile.read_members(query.member_id)
        ]
        return messages(rows, put_member)

    def _read_groups(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        query = entity.action_profile_group
        rows = [
            group
            for profile in self._profiles(query.action_profile_id, query.group_id)
            for group in profile.read_groups(query.group_id)
        ]
        return messages(rows, put_profile_group)

    def _read_digests(self, entity: p4r.Entity) -> Iterator[p4r.ReadResponse]:
        asked = entity.digest_entry.digest_id
        digests = [self.digest(asked)] if asked else list(self.digests.values())
        rows = [entry for digest in digests if (entry := digest.read()) is not None]
        return messages(rows, put_digest)

    _READERS: ClassVar[
        Mapping[str, Callable[[Pipeline, p4r.Entity], Iterator[p4r.ReadResponse]]]
    ] = {
        "direct_counter_entry": _read_direct_counter,
        "direct_meter_entry": _read_direct_meter,
        "register_entry": _read_registers,
        "counter_entry": _read_counters,
        "packet_replication_engine_entry": _read_replication,
        "meter_entry": _read_meters,
        "action_profile_member": _read_members,
        "action_profile_group": _read_groups,
        "digest_entry": _read_digests,
    }

    def _refuse_unless_none_exist(self, name: str, entity: p4r.Entity) -> None:
        id_field, listed = WILDCARD_EMPTY[name]
        given = getattr(getattr(entity, name), id_field)
        if given or self.schema.others[listed]:
            raise unimplemented(f"{name}: reading this entity is not implemented")

    # -- what happens on its own --------------------------------------------------------------

    def port_changed(self, port: int) -> None:
        """A port has gone down or come up: groups that watch it change."""
        for profile in self.profiles.values():
            profile.port_changed(port)

    def links_changed(self) -> None:
        """Any port may have: all groups that watch one change."""
        for profile in self.profiles.values():
            profile.refresh()

    def idle_entry(self, table: str, handle: int) -> p4r.TableEntry | None:
        """What to tell of an entry that timed out; None if it is gone."""
        return self._by_name[table].idle_entry(handle)

    # -- helpers ------------------------------------------------------------------------------

    def meter(self, meter_id: int) -> MeterState:
        """An indirect meter. Raises INVALID_ARGUMENT."""
        meter = self.meters.get(meter_id)
        if meter is None:
            raise invalid(f"meter id {meter_id:#x} is not an indirect meter of the P4Info")
        return meter

    def profile(self, profile_id: int) -> ProfileState:
        """An action profile. Raises INVALID_ARGUMENT."""
        profile = self.profiles.get(profile_id)
        if profile is None:
            raise invalid(f"action profile id {profile_id:#x} is not in the P4Info")
        return profile

    def _profiles(self, profile_id: int, object_id: int) -> list[ProfileState]:
        if profile_id:
            return [self.profile(profile_id)]
        if object_id:
            raise invalid("reading all action profiles (id 0) takes no other id")
        return list(self.profiles.values())

    def digest(self, digest_id: int) -> DigestState:
        """A digest. Raises INVALID_ARGUMENT."""
        digest = self.digests.get(digest_id)
        if digest is None:
            raise invalid(f"digest id {digest_id:#x} is not in the P4Info")
        return digest

    def table(self, table_id: int) -> TableState:
        """A table. Raises INVALID_ARGUMENT."""
        table = self.tables.get(table_id)
        if table is None:
            raise invalid(f"table id {table_id:#x} is not in the P4Info")
        return table

    def counter(self, counter_id: int) -> Counter:
        """An indirect counter. Raises INVALID_ARGUMENT."""
        counter = self.schema.counters.get(counter_id)
        if counter is None:
            raise invalid(f"counter id {counter_id:#x} is not an indirect counter of the P4Info")
        return counter

    def register(self, register_id: int) -> Register:
        """A register array. Raises INVALID_ARGUMENT."""
        register = self.schema.registers.get(register_id)
        if register is None:
            raise invalid(f"register id {register_id:#x} is not in the P4Info")
        return register

    def profile_of(self, table_id: int) -> int:
        """Id of the action profile of a table; 0 without one."""
        table = self.schema.tables.get(table_id)
        return 0 if table is None else table.profile


_UPDATES = frozenset((p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE))


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


def from_engine(error: EngineError) -> RequestError:
    """What a client is told of an engine's error."""
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
