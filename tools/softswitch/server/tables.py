"""The entries of one table: what the controller wrote, in canonical form, beside the engine's.

The mirror here decides about duplicates, sizes and reads; the engine holds what packets see. An
entry is kept as the serialized canonical `TableEntry`, so a read is a copy, not a computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import denied, exhausted, exists, invalid, not_found, unimplemented
from softswitch.server.json_view import Call, Initial
from softswitch.server.match import (
    Key,
    check_priority,
    key_parts,
    parse_action,
    parse_key,
    put_action,
    put_key,
)
from softswitch.server.pb import p4r
from softswitch.server.schema import Table

EntryId = tuple[Key, int]
"""Key and priority: what identifies an entry within its table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, replaced as a whole when modified. `handle` is the engine's; None for const."""

    handle: int | None
    encoded: bytes
    call: Call
    priority: int
    metadata: bytes
    controller_metadata: int


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as a read returns it: the serialized TableEntry, and the counter if asked for."""

    encoded: bytes
    counter: tuple[int, int] | None = None


class TableState:
    """One table's entries and default entry, and the operations on them."""

    def __init__(self, table: Table, initial: Initial, engine: DataPlane) -> None:
        self.table = table
        self._engine = engine
        self._initial_default = initial.default
        self._default: Entry | None = None  # None: as in the program
        self._entries: dict[EntryId, Entry] = {}
        for const in initial.entries:
            encoded = self._encode(const.key, const.priority, const.call, b"", 0, const=True)
            self._entries[const.key, const.priority] = Entry(
                None, encoded, const.call, const.priority, b"", 0
            )

    def __len__(self) -> int:
        return len(self._entries)

    # -- writing ------------------------------------------------------------------------------

    def insert(self, entry: p4r.TableEntry) -> None:
        """INSERT; raises RequestError with the codes of the specification's TableEntry section."""
        table = self.table
        self._check_common(entry)
        if entry.is_default_action:
            raise invalid(f"table {table.name}: the default entry can only be modified")
        if table.is_const:
            raise denied(f"table {table.name}: its entries are const")
        if not table.fields:
            raise invalid(f"table {table.name}: it has no key, so no entries")
        at = self._entry_id(entry)
        if not entry.HasField("action"):
            raise invalid(f"table {table.name}: an inserted entry needs an action")
        call = Call(*parse_action(table, entry.action, default=False))
        if at in self._entries:
            raise exists(f"table {table.name}: this entry exists already")
        if table.size > 0 and len(self._entries) >= table.size:
            raise exhausted(f"table {table.name}: full ({table.size} entries)")
        key, priority = at
        handle = self._engine.insert(
            table.name, key_parts(table, key), priority, call.action.name, call.args
        )
        if entry.HasField("counter_data"):
            data = entry.counter_data
            self._engine.set_direct_counter(table.name, handle, data.packet_count, data.byte_count)
        self._store(at, handle, call, entry)

    def modify(self, entry: p4r.TableEntry) -> None:
        """MODIFY of an entry, or of the default entry. An unset action stays as it is (the
        default entry: goes back to the program's)."""
        table = self.table
        self._check_common(entry)
        if entry.is_default_action:
            self._modify_default(entry)
            return
        at = self._entry_id(entry)
        changes_action = entry.HasField("action")
        if table.is_const and changes_action:
            raise denied(f"table {table.name}: its entries are const")
        call = Call(*parse_action(table, entry.action, default=False)) if changes_action else None
        old = self._entries.get(at)
        if old is None:
            raise self._missing()
        handle = self._handle(old)
        if call is not None and call != old.call:
            self._engine.modify(table.name, handle, call.action.name, call.args)
        if entry.HasField("counter_data"):
            data = entry.counter_data
            self._engine.set_direct_counter(table.name, handle, data.packet_count, data.byte_count)
        if not table.is_const:
            self._store(at, handle, call or old.call, entry)

    def delete(self, entry: p4r.TableEntry) -> None:
        """DELETE; only key and priority count."""
        table = self.table
        if entry.is_default_action:
            raise invalid(f"table {table.name}: the default entry can only be modified")
        if table.is_const:
            raise denied(f"table {table.name}: its entries are const")
        at = self._entry_id(entry)
        old = self._entries.get(at)
        if old is None:
            raise self._missing()
        self._engine.delete(table.name, self._handle(old))
        del self._entries[at]

    def set_counter(self, entry: p4r.TableEntry, data: p4r.CounterData | None) -> None:
        """Set the direct counter of an existing entry; None leaves it as it is."""
        self._need_counter()
        if entry.is_default_action:
            raise unimplemented(f"table {self.table.name}: the default entry has no counter")
        old = self._entries.get(self._entry_id(entry))
        if old is None:
            raise self._missing()
        handle = self._handle(old)
        if data is not None:
            _check_counter(self.table.name, data)
            self._engine.set_direct_counter(
                self.table.name, handle, data.packet_count, data.byte_count
            )

    # -- reading ------------------------------------------------------------------------------

    def rows(self, query: p4r.TableEntry) -> list[Row]:
        """The entries that a read of TableEntry selects; an exact key selects at most one."""
        counted = query.HasField("counter_data") and self.table.direct_counter
        if query.is_default_action:
            return self._default_rows(query)
        entries: Iterable[Entry] = self._select(query)
        if query.HasField("action"):
            if query.action.WhichOneof("type") != "action":
                raise invalid(f"table {self.table.name}: reads filter by direct action only")
            wanted = query.action.action.action_id
            entries = (e for e in entries if e.call.action.id == wanted)
        if query.metadata:
            entries = (e for e in entries if e.metadata == query.metadata)
        if query.controller_metadata:
            cookie = query.controller_metadata
            entries = (e for e in entries if e.controller_metadata == cookie)
        if not counted:
            return [Row(e.encoded) for e in entries]
        return [Row(e.encoded, self._counter(e)) for e in entries]

    def counter_rows(self, query: p4r.TableEntry) -> list[Row]:
        """Key and direct counter of the entries selected; NOT_FOUND for a key without entry."""
        self._need_counter()
        if query.is_default_action:
            raise unimplemented(f"table {self.table.name}: the default entry has no counter")
        entries = list(self._select(query))
        if query.match and not entries:
            raise self._missing()
        return [Row(self._encoded_key(e), self._counter(e)) for e in entries]

    def _select(self, query: p4r.TableEntry) -> Iterator[Entry]:
        if not query.match:
            for entry in self._entries.values():
                if query.priority in (0, entry.priority):
                    yield entry
            return
        key = parse_key(self.table, list(query.match))
        if query.priority or not self.table.needs_priority:
            found = self._entries.get((key, query.priority))
            if found is not None:
                yield found
            return
        for (held, _priority), entry in self._entries.items():
            if held == key:
                yield entry

    def _default_rows(self, query: p4r.TableEntry) -> list[Row]:
        if query.match or query.priority:
            raise invalid(f"table {self.table.name}: the default entry has no key and no priority")
        if self._default is not None:
            return [Row(self._default.encoded)]
        if self._initial_default is None:
            return []
        return [Row(self._encode_default(self._initial_default, b"", 0))]

    # -- helpers ------------------------------------------------------------------------------

    def _entry_id(self, entry: p4r.TableEntry) -> EntryId:
        key = parse_key(self.table, list(entry.match))
        check_priority(self.table, entry.priority)
        return key, entry.priority

    def _check_common(self, entry: p4r.TableEntry) -> None:
        name = self.table.name
        if self.table.indirect:
            raise unimplemented(f"table {name}: action profiles are not implemented")
        if entry.is_const:
            raise invalid(f"table {name}: is_const must not be set in a write")
        if entry.HasField("meter_config") or entry.HasField("meter_counter_data"):
            if not self.table.direct_meter:
                raise invalid(f"table {name}: has no direct meter")
            raise unimplemented(f"table {name}: direct meters are not implemented")
        if entry.idle_timeout_ns:
            if not self.table.idle_timeout:
                raise invalid(f"table {name}: does not support idle timeouts")
            raise unimplemented(f"table {name}: idle timeouts are not implemented")
        if entry.HasField("counter_data"):
            self._need_counter()
            _check_counter(name, entry.counter_data)

    def _modify_default(self, entry: p4r.TableEntry) -> None:
        table = self.table
        if entry.match or entry.priority:
            raise invalid(f"table {table.name}: the default entry has no key and no priority")
        if table.const_default:
            raise denied(f"table {table.name}: its default action is const")
        if entry.HasField("counter_data"):
            raise unimplemented(f"table {table.name}: the default entry has no counter")
        if not entry.HasField("action"):
            self._engine.reset_default(table.name)
            self._default = None
            return
        call = Call(*parse_action(table, entry.action, default=True))
        self._engine.set_default(table.name, call.action.name, call.args)
        encoded = self._encode_default(call, entry.metadata, entry.controller_metadata)
        self._default = Entry(None, encoded, call, 0, entry.metadata, entry.controller_metadata)

    def _store(self, at: EntryId, handle: int, call: Call, entry: p4r.TableEntry) -> None:
        key, priority = at
        metadata, cookie = entry.metadata, entry.controller_metadata
        encoded = self._encode(key, priority, call, metadata, cookie)
        self._entries[at] = Entry(handle, encoded, call, priority, metadata, cookie)

    def _encode(
        self,
        key: Key,
        priority: int,
        call: Call,
        metadata: bytes,
        cookie: int,
        *,
        const: bool = False,
    ) -> bytes:
        message = p4r.TableEntry(
            table_id=self.table.id,
            priority=priority,
            metadata=metadata,
            controller_metadata=cookie,
            is_const=const,
        )
        put_key(self.table, key, message)
        put_action(call.action, call.args, message)
        return message.SerializeToString()

    def _encode_default(self, call: Call, metadata: bytes, cookie: int) -> bytes:
        message = p4r.TableEntry(
            table_id=self.table.id,
            is_default_action=True,
            metadata=metadata,
            controller_metadata=cookie,
            is_const=self.table.const_default,
        )
        put_action(call.action, call.args, message)
        return message.SerializeToString()

    def _encoded_key(self, entry: Entry) -> bytes:
        full = p4r.TableEntry.FromString(entry.encoded)
        key = p4r.TableEntry(table_id=full.table_id, match=full.match, priority=full.priority)
        return key.SerializeToString()

    def _counter(self, entry: Entry) -> tuple[int, int]:
        return self._engine.direct_counter(self.table.name, self._handle(entry))

    def _handle(self, entry: Entry) -> int:
        if entry.handle is None:
            raise unimplemented(f"table {self.table.name}: const entries have no counters here")
        return entry.handle

    def _need_counter(self) -> None:
        if not self.table.direct_counter:
            raise invalid(f"table {self.table.name}: has no direct counter")

    def _missing(self) -> Exception:
        return not_found(f"table {self.table.name}: no such entry")


def _check_counter(table: str, data: p4r.CounterData) -> None:
    if data.packet_count < 0 or data.byte_count < 0:
        raise invalid(f"table {table}: counter values must not be negative")
