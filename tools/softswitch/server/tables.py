"""The entries of one table: what the controller wrote, in canonical form, beside the engine's.

The engine holds what packets see, and knows which entry a key belongs to; what reads return is in
the mirror.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from softswitch.engine import ColorCounts, MeterConfig
from softswitch.errors import EngineError
from softswitch.server.dataplane import DataPlane
from softswitch.server.direct import Direct, Saved
from softswitch.server.errors import denied, exhausted, exists, invalid, not_found, unimplemented
from softswitch.server.json_view import Call, Initial
from softswitch.server.match import (
    EngineKey,
    check_priority,
    choose_action,
    parse_action,
    parse_canonical_call,
    parse_canonical_key,
    parse_key,
    put_action,
    put_key,
)
from softswitch.server.meters import NO_COUNTS, put_config
from softswitch.server.mirror import Entry, EntryId, Mirror
from softswitch.server.pb import p4r
from softswitch.server.profiles import Bound, ProfileState, Target
from softswitch.server.schema import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as a read returns it: the serialized TableEntry, and if asked for the counter, the
    time since its last hit, its meter's configuration and counts of colours."""

    encoded: bytes
    counter: tuple[int, int] | None = None
    idle_ns: int | None = None
    meter: MeterConfig | None = None
    counts: ColorCounts | None = None


class TableState:
    """One table's entries and default entry, and the operations on them."""

    def __init__(
        self, table: Table, initial: Initial, engine: DataPlane, profile: ProfileState | None
    ) -> None:
        """`profile` holds the actions of an indirect table, None for the others."""
        self.table = table
        self._engine = engine
        self._profile = profile
        self.direct = Direct(table, engine)
        self._initial_default = initial.default
        self._default: Entry | None = None  # None: as in the program
        self._mirror = Mirror(table, engine)
        handles = engine.const_handles(table.name)
        for const, handle in zip(initial.entries, handles, strict=True):
            bare = p4r.TableEntry(is_const=True)
            at = const.key, const.priority
            self._mirror.put_const(at, handle, self._encode(at, const.call, bare))

    def __len__(self) -> int:
        return len(self._mirror)

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
        key, canonical = parse_canonical_key(table, entry.match)
        check_priority(table, entry.priority)
        at = key, entry.priority
        if not entry.HasField("action"):
            raise invalid(f"table {table.name}: an inserted entry needs an action")
        action: Call | Target
        if self._profile is not None:
            action, canonical = self._parse_action(entry), False
        else:
            chosen, message = choose_action(table, entry.action, default=False)
            args, shortest = parse_canonical_call(chosen, message)
            action, canonical = Call(chosen, args), canonical and shortest
        if self._mirror.handle(at) is not None:
            raise exists(f"table {table.name}: this entry exists already")
        if table.size > 0 and len(self._mirror) >= table.size:
            raise exhausted(f"table {table.name}: full ({table.size} entries)")
        handle, bound = self._insert(at, action, _milliseconds(entry.idle_timeout_ns))
        self.direct.apply(handle, entry)
        self._store(at, handle, action, bound, entry, canonical=canonical)

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
        if table.is_const and (changes_action or entry.idle_timeout_ns):
            raise denied(f"table {table.name}: its entries are const")
        action = self._parse_action(entry) if changes_action else None
        old = self._mirror.get(at)
        if old is None:
            raise self._missing()
        handle = old.handle
        bound = old.bound
        if not table.is_const:
            bound = self._change(at, old, action, entry.idle_timeout_ns)
        self.direct.apply(handle, entry)
        if not table.is_const:
            self._store(at, handle, action or old.action, bound, entry)

    def delete(self, entry: p4r.TableEntry) -> None:
        """DELETE; only key and priority count."""
        table = self.table
        if entry.is_default_action:
            raise invalid(f"table {table.name}: the default entry can only be modified")
        if table.is_const:
            raise denied(f"table {table.name}: its entries are const")
        at = self._entry_id(entry)
        old = self._mirror.get(at)
        if old is None:
            raise self._missing()
        self._remove(old)

    @property
    def keep(self) -> Callable[[int, bytes], None]:
        """To be told handle and TableEntry of those that the engine has taken as they came."""
        return self._mirror.keep

    def gone(self, handle: int) -> None:
        """The engine has deleted an entry as it was told to: keep the mirror equal."""
        self._mirror.remove(handle)
        self.direct.forget(handle)

    def _remove(self, old: Entry) -> None:
        self._engine.delete(self.table.name, old.handle)
        self._mirror.remove(old.handle)
        self.direct.forget(old.handle)
        if old.bound is not None and self._profile is not None:
            self._profile.release(old.bound)

    def set_counter(self, entry: p4r.TableEntry, data: p4r.CounterData | None) -> None:
        """Set the direct counter of an existing entry; None leaves it as it is."""
        self.direct.need_counter()
        handle = self._existing(entry, "counter")
        if data is not None:
            self.direct.check_counter(data)
            self.direct.set_counter(handle, data.packet_count, data.byte_count)

    def set_meter(self, entry: p4r.DirectMeterEntry) -> None:
        """Configure the direct meter of an existing entry."""
        self.direct.need_meter()
        self.direct.write_meter(self._existing(entry.table_entry, "meter"), entry)

    def _existing(self, entry: p4r.TableEntry, what: str) -> int:
        if entry.is_default_action:
            raise unimplemented(f"table {self.table.name}: the default entry has no {what}")
        found = self._mirror.handle(self._entry_id(entry))
        if found is None:
            raise self._missing()
        return found

    # -- undoing ------------------------------------------------------------------------------

    def undo(self, entry: p4r.TableEntry) -> Callable[[], None]:
        """What puts the entry, or the default entry, that a write of this message is about back as
        it is now. Raises RequestError, as the write will."""
        if entry.is_default_action:
            default = self._default
            return lambda: self._put_default(default)
        at = self._entry_id(entry)
        old = self._mirror.get(at)
        if old is None:
            return lambda: self._put_back(at, None, None)
        saved = self.direct.save(old.handle, counters=True)
        touches = entry.HasField("counter_data") or entry.HasField("meter_counter_data")
        # of an entry that stays, packets have gone on counting
        kept = saved if touches else replace(saved, counter=None, counts=None)
        return lambda: self._put_back(at, old, saved if self._mirror.handle(at) is None else kept)

    def undo_direct(self, entry: p4r.TableEntry, what: str) -> Callable[[], None]:
        """The same for what only the counter or the meter of an entry is written by."""
        saved = self.direct.save(self._existing(entry, what), counters=True)
        # deleted and put back, it has another handle
        return lambda: self.direct.restore(self._existing(entry, what), saved)

    # -- reconciliation -----------------------------------------------------------------------

    def written(self) -> tuple[list[p4r.TableEntry], p4r.TableEntry | None]:
        """The entries that controllers wrote, with their meters, and the default entry if one did;
        entries of equal priority in the order in which the engine prefers them."""
        entries = []
        for handle, encoded in () if self.table.is_const else self._mirror.items():
            message = p4r.TableEntry.FromString(encoded)
            config = self.direct.configs.get(handle)
            if config is not None:
                put_config(config, message.meter_config)
            entries.append(message)
        default = None
        if self._default is not None:
            default = p4r.TableEntry.FromString(self._default.encoded)
        return entries, default

    def take_counts(self, other: TableState) -> None:
        """Count on from where another table's entries with the same key are."""
        if self.table.fields != other.table.fields:
            return
        counter = self.table.direct_counter and other.table.direct_counter
        meter = self.table.direct_meter is not None and other.table.direct_meter is not None
        if not counter and not meter:
            return
        for at, handle in self._mirror.ids():
            old = other._mirror.handle(at)
            if old is None:
                continue
            if counter and any(values := other.direct.counter(old)):
                self.direct.set_counter(handle, *values)
            if meter and (counts := other.direct.counts(old)) != NO_COUNTS:
                self.direct.set_counts(handle, counts)

    def _put_default(self, old: Entry | None) -> None:
        if old is None:
            self._engine.reset_default(self.table.name)
        else:
            assert isinstance(old.action, Call)
            call = old.action
            self._engine.set_default(self.table.name, call.action.name, call.args)
        self._default = old

    def _put_back(self, at: EntryId, old: Entry | None, saved: Saved | None) -> None:
        now = self._mirror.get(at)
        if old is None:
            if now is not None:
                self._remove(now)
            return
        if now is None:
            handle, bound = self._insert(at, old.action, _milliseconds(old.idle_timeout_ns))
        elif self.table.is_const:
            handle, bound = now.handle, now.bound
        else:
            handle = now.handle
            bound = self._change(at, now, old.action, old.idle_timeout_ns)
        if not self.table.is_const:
            self._mirror.put(handle, old.encoded, old.action, bound)
        if saved is not None:
            self.direct.restore(handle, saved)

    # -- reading ------------------------------------------------------------------------------

    def rows(self, query: p4r.TableEntry, *, hit: bool = False) -> list[Row]:
        """The entries that a read of TableEntry selects; an exact key selects at most one. `hit`:
        of those that are counted only the ones that have counted anything.
        """
        if query.is_default_action:
            if query.HasField("time_since_last_hit"):
                raise invalid(f"table {self.table.name}: the default entry does not age")
            return self._default_rows(query)
        timed = query.HasField("time_since_last_hit")
        if timed and not self.table.idle_timeout:
            raise invalid(f"table {self.table.name}: does not support idle timeouts")
        if query.HasField("action") and query.action.WhichOneof("type") != "action":
            raise invalid(f"table {self.table.name}: reads filter by direct action only")
        counted = query.HasField("counter_data") and self.table.direct_counter
        cells = self._engine.direct_counted(self.table.name) if counted and hit else None
        entries = self._mirror.selected(query, cells)
        metered = self.table.direct_meter is not None
        configured = metered and query.HasField("meter_config")
        marked = metered and query.HasField("meter_counter_data")
        if not counted and not timed and not configured and not marked:
            return [Row(encoded) for _handle, encoded in entries]
        return [
            Row(
                encoded,
                (self.direct.counter(handle) if cells is None else cells[handle])
                if counted
                else None,
                self._engine.since_last_hit_us(self.table.name, handle) * 1000 if timed else None,
                self.direct.configs.get(handle) if configured else None,
                self.direct.counts(handle) if marked else None,
            )
            for handle, encoded in entries
        ]

    def counter_rows(self, query: p4r.TableEntry) -> list[Row]:
        """Key and direct counter of the entries selected; NOT_FOUND for a key without entry."""
        self.direct.need_counter()
        entries = self._select_direct(query, "counter")
        return [Row(_only_key(encoded), self.direct.counter(handle)) for handle, encoded in entries]

    def meter_rows(self, query: p4r.TableEntry, *, counted: bool) -> list[Row]:
        """The same with the direct meter, and its counts of colours if `counted`."""
        self.direct.need_meter()
        return [
            Row(
                _only_key(encoded),
                meter=self.direct.configs.get(handle),
                counts=self.direct.counts(handle) if counted else None,
            )
            for handle, encoded in self._select_direct(query, "meter")
        ]

    def _select_direct(self, query: p4r.TableEntry, what: str) -> list[tuple[int, bytes]]:
        if query.is_default_action:
            raise unimplemented(f"table {self.table.name}: the default entry has no {what}")
        # nothing but the key counts
        key = p4r.TableEntry(match=query.match, priority=query.priority)
        entries = list(self._mirror.selected(key))
        if query.match and not entries:
            raise self._missing()
        return entries

    def _default_rows(self, query: p4r.TableEntry) -> list[Row]:
        if query.match or query.priority:
            raise invalid(f"table {self.table.name}: the default entry has no key and no priority")
        if self._default is not None:
            return [Row(self._default.encoded)]
        if self._initial_default is None:
            return []
        return [Row(self._encode_default(self._initial_default, p4r.TableEntry()))]

    def idle_entry(self, handle: int) -> p4r.TableEntry | None:
        """What a notification says of an entry that was not hit for its idle timeout: key, cookie
        and timeout; None if it is gone or its timeout is off."""
        encoded = self._mirror.encoded(handle)
        if encoded is None:
            return None
        message = p4r.TableEntry.FromString(encoded)
        message.ClearField("action")
        return message if message.idle_timeout_ns else None

    # -- helpers ------------------------------------------------------------------------------

    def _entry_id(self, entry: p4r.TableEntry) -> EntryId:
        key = parse_key(self.table, entry.match)
        check_priority(self.table, entry.priority)
        return key, entry.priority

    def _check_common(self, entry: p4r.TableEntry) -> None:
        name = self.table.name
        if entry.is_const:
            raise invalid(f"table {name}: is_const must not be set in a write")
        if entry.HasField("time_since_last_hit"):
            raise invalid(f"table {name}: time_since_last_hit must not be set in a write")
        if entry.idle_timeout_ns < 0:
            raise invalid(f"table {name}: idle_timeout_ns {entry.idle_timeout_ns} is negative")
        if entry.idle_timeout_ns and (not self.table.idle_timeout or entry.is_default_action):
            raise invalid(f"table {name}: does not support idle timeouts here")
        self.direct.check(entry)

    def _modify_default(self, entry: p4r.TableEntry) -> None:
        table = self.table
        if entry.match or entry.priority:
            raise invalid(f"table {table.name}: the default entry has no key and no priority")
        if self._profile is not None:
            raise invalid(f"table {table.name}: an indirect table has no default entry to set")
        if table.const_default:
            raise denied(f"table {table.name}: its default action is const")
        for what in ("counter_data", "meter_config", "meter_counter_data"):
            if entry.HasField(what):
                raise unimplemented(f"table {table.name}: {what} of the default entry")
        if not entry.HasField("action"):
            self._engine.reset_default(table.name)
            self._default = None
            return
        call = Call(*parse_action(table, entry.action, default=True))
        self._engine.set_default(table.name, call.action.name, call.args)
        encoded = self._encode_default(call, entry)
        self._default = Entry(0, encoded, call, 0, None)

    def _parse_action(self, entry: p4r.TableEntry) -> Call | Target:
        if self._profile is not None:
            return self._profile.parse_target(f"table {self.table.name}", entry.action)
        return Call(*parse_action(self.table, entry.action, default=False))

    def _insert(
        self, at: EntryId, action: Call | Target, idle_timeout_ms: int
    ) -> tuple[int, Bound | None]:
        name = self.table.name
        key, priority = EngineKey(self.table, at[0]), at[1]
        if isinstance(action, Call):
            call = action.action.name
            return self._engine.insert(
                name, key, priority, call, action.args, idle_timeout_ms=idle_timeout_ms
            ), None
        assert self._profile is not None
        bound = self._profile.bind(action, (self.table.id, at))
        try:
            handle = self._engine.insert_indirect(
                name, key, priority, member=bound.member, group=bound.group
            )
            if idle_timeout_ms:
                self._engine.set_idle_timeout(name, handle, idle_timeout_ms)
        except EngineError:
            self._profile.release(bound)
            raise
        return handle, bound

    def _change(
        self, at: EntryId, old: Entry, action: Call | Target | None, idle_timeout_ns: int
    ) -> Bound | None:
        """Let the engine's entry do `action` (None: what it did); returns what it has in use."""
        name, handle = self.table.name, old.handle
        if isinstance(action, Target):
            assert self._profile is not None
            assert old.bound is not None
            bound = self._profile.bind(action, (self.table.id, at))
            try:
                self._engine.modify_indirect(name, handle, member=bound.member, group=bound.group)
            except EngineError:
                self._profile.release(bound)
                raise
            self._profile.release(old.bound)
            self._change_idle(old, idle_timeout_ns)
            return bound
        if self._profile is not None:
            self._change_idle(old, idle_timeout_ns)
            return old.bound
        call = action or old.action
        if isinstance(call, Call) and (
            call != old.action or idle_timeout_ns != old.idle_timeout_ns
        ):
            timeout_ms = _milliseconds(idle_timeout_ns) if self.table.idle_timeout else None
            self._engine.modify(
                name, handle, call.action.name, call.args, idle_timeout_ms=timeout_ms
            )
        return old.bound

    def _change_idle(self, old: Entry, idle_timeout_ns: int) -> None:
        if idle_timeout_ns != old.idle_timeout_ns:
            timeout_ms = _milliseconds(idle_timeout_ns)
            self._engine.set_idle_timeout(self.table.name, old.handle, timeout_ms)

    def _store(
        self,
        at: EntryId,
        handle: int,
        action: Call | Target,
        bound: Bound | None,
        entry: p4r.TableEntry,
        *,
        canonical: bool = False,
    ) -> None:
        encoded = _as_it_is(entry) if canonical else self._encode(at, action, entry)
        self._mirror.put(handle, encoded, action, bound)

    def _encode(self, at: EntryId, action: Call | Target, entry: p4r.TableEntry) -> bytes:
        key, priority = at
        message = p4r.TableEntry(
            table_id=self.table.id,
            priority=priority,
            metadata=entry.metadata,
            controller_metadata=entry.controller_metadata,
            idle_timeout_ns=entry.idle_timeout_ns,
            is_const=entry.is_const,
        )
        put_key(self.table, key, message)
        if isinstance(action, Call):
            put_action(action.action, action.args, message)
        else:
            message.action.MergeFromString(action.encoded)
        return message.SerializeToString()

    def _encode_default(self, call: Call, entry: p4r.TableEntry) -> bytes:
        message = p4r.TableEntry(
            table_id=self.table.id,
            is_default_action=True,
            metadata=entry.metadata,
            controller_metadata=entry.controller_metadata,
            is_const=self.table.const_default,
        )
        put_action(call.action, call.args, message)
        return message.SerializeToString()

    def _missing(self) -> Exception:
        return not_found(f"table {self.table.name}: no such entry")


def _only_key(encoded: bytes) -> bytes:
    full = p4r.TableEntry.FromString(encoded)
    key = p4r.TableEntry(table_id=full.table_id, match=full.match, priority=full.priority)
    return key.SerializeToString()


def _as_it_is(entry: p4r.TableEntry) -> bytes:
    """The encoding of an entry whose key and action are canonical."""
    for name in _NOT_KEPT:
        if entry.HasField(name):
            entry.ClearField(name)
    entry.DiscardUnknownFields()
    return entry.SerializeToString()


_NOT_KEPT: tuple[Literal["counter_data", "meter_config", "meter_counter_data"], ...] = (
    "counter_data",
    "meter_config",
    "meter_counter_data",
)


def _milliseconds(timeout_ns: int) -> int:
    """The engine's idle timeout, at least as long; 0 stays 0 (none)."""
    return -(-timeout_ns // 1_000_000)
