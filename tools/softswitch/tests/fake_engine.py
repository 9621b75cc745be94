"""A data plane without packets, for tests of the P4Runtime server: it stores what it is given.

Same interface and errors as `softswitch.engine.Engine`; `test_server_contract.py` runs the same
tests on both.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from softswitch.engine import (
    ColorCounts,
    Digest,
    DropStats,
    IdleTimeout,
    KeyPart,
    Mark,
    MeterConfig,
    PacketIn,
    PortOutput,
    PortStats,
    QueueStats,
    Rate,
)
from softswitch.errors import (
    ConfigError,
    DuplicateEntryError,
    EntryError,
    TableFullError,
    UnknownNameError,
)
from softswitch.wire import DescribedTable

Event: TypeAlias = "PacketIn | Digest | IdleTimeout | PortOutput | Mark"

NO_COUNTS: ColorCounts = ((0, 0), (0, 0), (0, 0))


@dataclass(slots=True)
class FakeEntry:
    key: tuple[KeyPart, ...]
    priority: int
    action: str
    args: tuple[int, ...]
    packets: int = 0
    bytes: int = 0
    idle_timeout_ms: int = 0
    idle_us: int = 0
    member: int | None = None
    group: int | None = None
    meter: MeterConfig | None = None
    marked: ColorCounts = NO_COUNTS


@dataclass(slots=True)
class FakeProfile:
    members: dict[int, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    groups: dict[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class FakeTable:
    size: int
    actions: dict[str, int]
    entries: dict[int, FakeEntry] = field(default_factory=dict)
    const: tuple[int, ...] = ()
    default: tuple[str, tuple[int, ...]] | None = None


class FakeEngine:
    """Keeps entries, counters and groups; `running` and `ports` tell what the server did.

    `others` are the engines that must not run at the same time.
    """

    def __init__(self, bmv2_json: bytes) -> None:
        try:
            config = json.loads(bmv2_json)
        except ValueError as error:
            raise ConfigError(str(error), "$") from error
        params: dict[int, Any] = {a["id"]: len(a["runtime_data"]) for a in config["actions"]}
        self.tables = {
            table["name"]: FakeTable(
                size=table["max_size"],
                actions={
                    name: params[number]
                    for name, number in zip(table["actions"], table["action_ids"], strict=True)
                },
            )
            for pipeline in config["pipelines"]
            for table in pipeline["tables"]
        }
        self.counters = {
            array["name"]: [(0, 0)] * array["size"]
            for array in config["counter_arrays"]
            if not array["is_direct"]
        }
        self._next_handle = 1
        for pipeline in config["pipelines"]:
            for table in pipeline["tables"]:
                self._add_const(self.tables[table["name"]], len(table.get("entries") or ()))
        self.held = False
        self.registers: dict[str, list[int]] = {
            array["name"]: [0] * array["size"] for array in config.get("register_arrays", ())
        }
        self.meter_marks: dict[tuple[str, int], ColorCounts] = {}
        self.meters: dict[str, list[MeterConfig | None]] = {
            array["name"]: [None] * array["size"] for array in config.get("meter_arrays", ())
        }
        self.profiles: dict[str, FakeProfile] = {
            profile["name"]: FakeProfile()
            for pipeline in config["pipelines"]
            for profile in pipeline.get("action_profiles", ())
        }
        self.groups: dict[int, tuple[tuple[int, int], ...]] = {}
        self.clone_sessions: dict[int, tuple[tuple[tuple[int, int], ...], int]] = {}
        self.cpu_port: int | None = None
        self.rates: dict[tuple[int, int | None], Rate | int | None] = {}
        self.injected: list[tuple[int, bytes]] = []
        self._events: deque[Event] = deque()
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.ports: dict[int, str] = {}
        self.running = False
        self.closed = False
        self.others: list[FakeEngine] = []
        self.events_only = False

    def _add_const(self, table: FakeTable, count: int) -> None:
        first = self._next_handle
        self._next_handle += count
        table.const = tuple(range(first, self._next_handle))
        for handle in table.const:
            table.entries[handle] = FakeEntry((), handle, "", ())

    def _call(self, table: str, action: str, args: Sequence[int]) -> FakeTable:
        found = self.tables.get(table)
        if found is None:
            raise UnknownNameError(f"no table {table}")
        if action not in found.actions:
            raise UnknownNameError(f"table {table} has no action {action}")
        if len(args) != found.actions[action]:
            raise EntryError(f"action {action} takes {found.actions[action]} arguments")
        return found

    def _entry(self, table: str, handle: int) -> FakeEntry:
        assert not self.closed
        found = self.tables[table].entries.get(handle)
        if found is None:
            raise UnknownNameError(f"table {table} has no entry {handle}")
        return found

    def insert(
        self,
        table: str,
        key: Sequence[KeyPart],
        priority: int,
        action: str,
        args: Sequence[int],
        *,
        idle_timeout_ms: int = 0,
    ) -> int:
        handle = self._insert(self._call(table, action, args), table, key, priority)
        entry = self._entry(table, handle)
        entry.action, entry.args, entry.idle_timeout_ms = action, tuple(args), idle_timeout_ms
        return handle

    def _insert(self, found: FakeTable, table: str, key: Sequence[KeyPart], priority: int) -> int:
        if len(found.entries) >= found.size:
            raise TableFullError(f"table {table} is full")
        parts = tuple(key)
        if any(e.key == parts and e.priority == priority for e in found.entries.values()):
            raise DuplicateEntryError(f"table {table} has this entry")
        handle = self._next_handle
        self._next_handle += 1
        found.entries[handle] = FakeEntry(parts, priority, "", ())
        return handle

    def modify(
        self,
        table: str,
        handle: int,
        action: str,
        args: Sequence[int],
        *,
        idle_timeout_ms: int | None = None,
    ) -> None:
        self._call(table, action, args)
        entry = self._entry(table, handle)
        entry.action, entry.args = action, tuple(args)
        if idle_timeout_ms is not None:
            entry.idle_timeout_ms = idle_timeout_ms

    def insert_indirect(
        self,
        table: str,
        key: Sequence[KeyPart],
        priority: int,
        *,
        member: int | None = None,
        group: int | None = None,
    ) -> int:
        handle = self._insert(self.tables[table], table, key, priority)
        self.modify_indirect(table, handle, member=member, group=group)
        return handle

    def modify_indirect(
        self, table: str, handle: int, *, member: int | None = None, group: int | None = None
    ) -> None:
        assert (member is None) != (group is None)
        entry = self._entry(table, handle)
        entry.member, entry.group = member, group

    def set_idle_timeout(self, table: str, handle: int, idle_timeout_ms: int) -> None:
        self._entry(table, handle).idle_timeout_ms = idle_timeout_ms

    def since_last_hit_us(self, table: str, handle: int) -> int:
        return self._entry(table, handle).idle_us

    def member_add(self, profile: str, action: str, args: Sequence[int]) -> int:
        self._next_handle += 1
        self.profiles[profile].members[self._next_handle] = (action, tuple(args))
        return self._next_handle

    def member_modify(self, profile: str, member: int, action: str, args: Sequence[int]) -> None:
        assert member in self.profiles[profile].members
        self.profiles[profile].members[member] = (action, tuple(args))

    def member_delete(self, profile: str, member: int) -> None:
        found = self.profiles[profile]
        assert not any(member in group for group in found.groups.values())
        del found.members[member]

    def group_add(self, profile: str) -> int:
        self._next_handle += 1
        self.profiles[profile].groups[self._next_handle] = ()
        return self._next_handle

    def group_set(self, profile: str, group: int, members: Sequence[int]) -> None:
        found = self.profiles[profile]
        assert group in found.groups
        assert all(member in found.members for member in members)
        found.groups[group] = tuple(members)

    def group_delete(self, profile: str, group: int) -> None:
        del self.profiles[profile].groups[group]

    def meter_set(self, meter: str, index: int, config: MeterConfig | None) -> None:
        self.meters[meter][index] = config

    def const_handles(self, table: str) -> Sequence[int]:
        return self.tables[table].const

    def meter_counts(self, meter: str, index: int) -> ColorCounts:
        assert 0 <= index < len(self.meters[meter])
        return self.meter_marks.get((meter, index), NO_COUNTS)

    def set_meter_counts(self, meter: str, index: int, counts: ColorCounts) -> None:
        self.meter_marks[meter, index] = counts

    def direct_meter_set(self, table: str, handle: int, config: MeterConfig | None) -> None:
        self._entry(table, handle).meter = config

    def direct_meter_counts(self, table: str, handle: int) -> ColorCounts:
        return self._entry(table, handle).marked

    def set_direct_meter_counts(self, table: str, handle: int, counts: ColorCounts) -> None:
        self._entry(table, handle).marked = counts

    def register_read(self, register: str, first: int, count: int) -> list[int]:
        assert first + count <= len(self.registers[register])
        return self.registers[register][first : first + count]

    def register_write(self, register: str, first: int, values: Sequence[int]) -> None:
        self.registers[register][first : first + len(values)] = values

    @contextmanager
    def hold(self) -> Iterator[None]:
        assert not self.held
        self.held = True
        yield
        self.held = False

    def clone_session_set(
        self, session: int, replicas: Sequence[tuple[int, int]], packet_length_bytes: int = 0
    ) -> None:
        self.clone_sessions[session] = (tuple(replicas), packet_length_bytes)

    def clone_session_delete(self, session: int) -> None:
        del self.clone_sessions[session]

    def set_cpu_port(self, port: int | None) -> None:
        self.cpu_port = port

    def set_port_rate(self, port: int, rate: Rate | int | None, queue: int | None = None) -> None:
        assert port in self.ports
        self.rates[port, queue] = rate

    def port_stats(self) -> dict[int, PortStats]:
        return {}

    def queue_stats(self, port: int) -> list[QueueStats]:
        return []

    def drop_stats(self) -> DropStats:
        return DropStats(0, 0, 0, 0, 0, 0)

    def capture(self, port: int, received: Path, sent: Path) -> None:
        assert port in self.ports

    def set_events_only(self, on: bool) -> None:
        self.events_only = on

    def inject(self, port: int, packet: bytes, packet_id: int = 0) -> None:
        self.injected.append((port, packet))

    def inject_mark(self, mark: int) -> None:
        self.report(Mark(mark))

    def event_fd(self) -> int:
        return self._event_fd

    def take_events(self, limit: int = 1024) -> list[Event]:
        taken = [self._events.popleft() for _ in range(min(limit, len(self._events)))]
        if not self._events:
            os.eventfd_read(self._event_fd)
        return taken

    def report(self, *events: Event) -> None:
        """As if the data plane had reported these."""
        self._events.extend(events)
        os.eventfd_write(self._event_fd, 1)

    def find(self, table: str, key: Sequence[KeyPart], priority: int) -> list[int]:
        parts, entries = tuple(key), self.tables[table].entries
        found = [h for h, e in entries.items() if e.key == parts and priority in (0, e.priority)]
        return sorted(found, key=lambda handle: -entries[handle].priority)

    def wire(self, described: Sequence[DescribedTable]) -> None:
        """None: it takes no updates as they come on the wire."""

    def delete(self, table: str, handle: int) -> None:
        self._entry(table, handle)
        del self.tables[table].entries[handle]

    def set_default(self, table: str, action: str, args: Sequence[int]) -> None:
        self._call(table, action, args).default = (action, tuple(args))

    def reset_default(self, table: str) -> None:
        self.tables[table].default = None

    def direct_counter(self, table: str, handle: int) -> tuple[int, int]:
        entry = self._entry(table, handle)
        return entry.packets, entry.bytes

    def direct_counted(self, table: str) -> dict[int, tuple[int, int]]:
        assert not self.closed
        return {
            handle: (entry.packets, entry.bytes)
            for handle, entry in self.tables[table].entries.items()
            if entry.packets or entry.bytes
        }

    def set_direct_counter(self, table: str, handle: int, packets: int, bytes_: int) -> None:
        entry = self._entry(table, handle)
        entry.packets, entry.bytes = packets, bytes_

    def counter_read(self, counter: str, first: int, count: int) -> list[tuple[int, int]]:
        assert not self.closed
        return self.counters[counter][first : first + count]

    def counter_write(self, counter: str, index: int, packets: int, bytes_: int) -> None:
        self.counters[counter][index] = (packets, bytes_)

    def multicast_set(self, group: int, replicas: Sequence[tuple[int, int]]) -> None:
        self.groups[group] = tuple(replicas)

    def multicast_delete(self, group: int) -> None:
        del self.groups[group]

    def add_port(self, port: int, ifname: str) -> None:
        self.ports[port] = ifname

    def start(self) -> None:
        assert not self.closed
        assert not any(other.running for other in self.others), "two engines have the ports"
        self.running = True

    def stop(self) -> None:
        self.running = False
        self.ports.clear()

    def close(self) -> None:
        self.stop()
        if not self.closed:
            os.close(self._event_fd)
        self.closed = True
