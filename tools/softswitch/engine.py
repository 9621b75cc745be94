"""The engine: one running P4 program, as a Python object around the compiled pipeline.

Owns nothing of P4Runtime: tables and actions go by their names in the BMv2 JSON, values are
integers. Every method may be called from any thread; calls into C release the interpreter lock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from softswitch import ir
from softswitch.build import build
from softswitch.codegen import generate
from softswitch.codegen.keys import KeyLayout, key_layout
from softswitch.codegen.layout import words
from softswitch.codegen.program import arg_words
from softswitch.config import load_program
from softswitch.errors import (
    DuplicateEntryError,
    EngineError,
    EntryError,
    PortError,
    TableFullError,
    UnknownNameError,
)
from softswitch.events import Event, parse_events
from softswitch.native import Counter, Drops, Library, MeterRates, PortRecord, Replica

MAX_GROUP = 65535
_WORD = 1 << 64
_GROUP_REF = 1 << 63
_NO_PORT = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One key field of an entry, in the table's order.

    `mask` counts for ternary and optional fields (0: don't care), `prefix_len` for lpm fields (0:
    don't care); exact fields compare the whole value. Values must fit the field.
    """

    value: int = 0
    mask: int = 0
    prefix_len: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class PortStats:
    """Traffic of a port since it was added; bytes are frame bytes without FCS."""

    interface: str
    up: bool
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    rx_kernel_drops: int
    rx_oversize: int
    tx_failures: int


@dataclass(frozen=True, slots=True)
class DropStats:
    """Packets that the switch itself dropped after ingress; `events` are reports that were lost."""

    unknown_port: int
    priority: int
    clones: int
    queue_full: int
    events: int


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """Two rates (RFC 2698) in bytes or packets per second, and bursts in bytes or packets."""

    cir: int
    cburst: int
    pir: int
    pburst: int


@dataclass(frozen=True, slots=True)
class _Table:
    index: int
    ir: ir.Table
    layout: KeyLayout
    arg_words: int


@dataclass(slots=True)
class _Profile:
    """What is in an action profile: the C side has the same."""

    name: str
    index: int
    members: set[int] = field(default_factory=set)
    groups: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def need_member(self, member: int) -> None:
        if member not in self.members:
            raise UnknownNameError(f"profile '{self.name}' has no member {member}")

    def need_group(self, group: int) -> None:
        if group not in self.groups:
            raise UnknownNameError(f"profile '{self.name}' has no group {group}")


def _lowest_free(taken: Collection[int]) -> int:
    return next(number for number in count() if number not in taken)


class Engine:
    """A program with its tables, counters, groups and ports. Make one with `Engine.build`."""

    def __init__(self, program: ir.Program, library: Library) -> None:
        self.program = program
        self._lib = library
        handle = library.sw_create()
        if not handle:
            raise EngineError("out of memory")
        self._engine: int | None = handle
        self._tables = {
            name: _Table(index, table, key_layout(table), arg_words(program, table))
            for index, (name, table) in enumerate(program.tables.items())
        }
        self._counters = {name: i for i, name in enumerate(program.counters)}
        self._interfaces: dict[int, str] = {}
        self._profiles = {
            name: _Profile(name, index) for index, name in enumerate(program.profiles)
        }
        self._waiting: list[Event] = []
        for table in self._tables.values():
            self._reset_default(table)
            self._insert_const(table)

    @classmethod
    def build(cls, bmv2_json: bytes, *, cache_dir: Path, sanitize: bool = False) -> Engine:
        """Read, generate, compile (or take from the cache) and load a program; state is empty.

        Blocking, seconds on a cache miss. Raises ConfigError, UnsupportedError, CompileError.
        """
        program = load_program(bmv2_json)
        path = build(generate(program), cache_dir, sanitize=sanitize)
        return cls(program, Library(path))

    # --- tables -------------------------------------------------------------------------------

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
        """Add an entry and return its handle.

        `priority` (1 to 2^31-1, the highest wins, then the oldest) counts for tables with ternary
        fields only. With `idle_timeout_ms`, an IdleTimeout event tells that nothing has hit it for
        so long. Raises TableFullError, DuplicateEntryError, EntryError.
        """
        found = self._direct(table)
        action_id = self._action(found, action)
        packed = self._args(found, action_id, args)
        handle = self._insert(found, key, priority, action_id, packed)
        if idle_timeout_ms:
            self._set_idle(found, handle, idle_timeout_ms)
        return handle

    def insert_indirect(
        self,
        table: str,
        key: Sequence[KeyPart],
        priority: int,
        *,
        member: int | None = None,
        group: int | None = None,
    ) -> int:
        """Add an entry that names a member or a group of the table's action profile."""
        found = self._indirect(table)
        return self._insert(found, key, priority, 0, self._reference(found, member, group))

    def _insert(
        self, found: _Table, key: Sequence[KeyPart], priority: int, action_id: int, packed: object
    ) -> int:
        values, masks, prefix = self._key(found, key)
        if found.ir.match is not ir.Match.TERNARY:
            priority = prefix
        elif not 0 < priority < 1 << 31:
            name = found.ir.name
            raise EntryError(f"table '{name}': priority {priority} is not in 1..2147483647")
        return self._add(found, values, masks, priority, action_id, packed)

    def modify(
        self,
        table: str,
        handle: int,
        action: str,
        args: Sequence[int],
        *,
        idle_timeout_ms: int | None = None,
    ) -> None:
        """Replace an entry's action; its key, priority, age and counter stay."""
        found = self._direct(table)
        action_id = self._action(found, action)
        packed = self._args(found, action_id, args)
        rc = self._lib.sw_modify(self._live(), found.index, handle, action_id, packed)
        self._check(rc, f"table '{table}', entry {handle}")
        if idle_timeout_ms is not None:
            self._set_idle(found, handle, idle_timeout_ms)

    def modify_indirect(
        self, table: str, handle: int, *, member: int | None = None, group: int | None = None
    ) -> None:
        """Let an entry name another member or group."""
        found = self._indirect(table)
        packed = self._reference(found, member, group)
        rc = self._lib.sw_modify(self._live(), found.index, handle, 0, packed)
        self._check(rc, f"table '{table}', entry {handle}")

    def since_last_hit_us(self, table: str, handle: int) -> int:
        """Microseconds since something hit the entry, or since it was made."""
        ago = ctypes.c_uint64()
        index = self._table(table).index
        rc = self._lib.sw_entry_last_hit(self._live(), index, handle, ctypes.byref(ago))
        self._check(rc, f"table '{table}', entry {handle}")
        return ago.value

    def delete(self, table: str, handle: int) -> None:
        """Remove an entry."""
        found = self._mutable(table)
        rc = self._lib.sw_delete(self._live(), found.index, handle)
        self._check(rc, f"table '{table}', entry {handle}")

    def set_default(self, table: str, action: str, args: Sequence[int]) -> None:
        """Replace the action that runs on a miss."""
        found = self._table(table)
        if found.ir.default_const:
            raise EntryError(f"table '{table}': the default entry is constant")
        action_id = self._action(found, action)
        packed = self._args(found, action_id, args)
        rc = self._lib.sw_set_default(self._live(), found.index, action_id, packed)
        self._check(rc, f"table '{table}'")

    def reset_default(self, table: str) -> None:
        """Return to the program's own default entry."""
        self._reset_default(self._table(table))

    def entry_count(self, table: str) -> int:
        """Entries in a table, without the default."""
        count = ctypes.c_uint32()
        found = self._table(table)
        self._lib.sw_entry_count(self._live(), found.index, ctypes.byref(count))
        return count.value

    # --- counters -----------------------------------------------------------------------------

    def direct_counter(self, table: str, handle: int) -> tuple[int, int]:
        """(packets, bytes) that hit an entry; bytes are those of the received frame."""
        packets, size = ctypes.c_uint64(), ctypes.c_uint64()
        rc = self._lib.sw_direct_read(
            self._live(),
            self._table(table).index,
            handle,
            ctypes.byref(packets),
            ctypes.byref(size),
        )
        self._check(rc, f"table '{table}', entry {handle}")
        return packets.value, size.value

    def set_direct_counter(self, table: str, handle: int, packets: int, bytes_: int) -> None:
        """Overwrite an entry's counter."""
        index = self._table(table).index
        rc = self._lib.sw_direct_write(self._live(), index, handle, packets, bytes_)
        self._check(rc, f"table '{table}', entry {handle}")

    def counter_read(self, counter: str, first: int, count: int) -> list[tuple[int, int]]:
        """(packets, bytes) of `count` cells from `first` on."""
        index = self._counter(counter, first, count)
        cells = (Counter * count)()
        rc = self._lib.sw_counter_read(self._live(), index, first, count, cells)
        self._check(rc, f"counter '{counter}'")
        return [(cell.packets, cell.bytes) for cell in cells]

    def counter_write(self, counter: str, index: int, packets: int, bytes_: int) -> None:
        """Overwrite one cell."""
        number = self._counter(counter, index, 1)
        rc = self._lib.sw_counter_write(self._live(), number, index, packets, bytes_)
        self._check(rc, f"counter '{counter}'")

    # --- multicast ----------------------------------------------------------------------------

    def multicast_set(self, group: int, replicas: Sequence[tuple[int, int]]) -> None:
        """Make or replace a group; `replicas` are (egress port, rid), sent in that order."""
        self._check_group(group)
        copies = (Replica * max(1, len(replicas)))(*(Replica(p, rid) for p, rid in replicas))
        rc = self._lib.sw_group_set(self._live(), group, len(replicas), copies)
        self._check(rc, f"multicast group {group}")

    def multicast_delete(self, group: int) -> None:
        """Remove a group; packets sent to it are dropped from then on."""
        self._check_group(group)
        rc = self._lib.sw_group_delete(self._live(), group)
        self._check(rc, f"multicast group {group}")

    # --- meters -------------------------------------------------------------------------------

    def meter_set(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """Configure a cell, with full buckets; None: not configured, so always green."""
        number = self._meter(meter, index)
        rates = None
        if config is not None:
            rates = ctypes.byref(MeterRates(config.cir, config.cburst, config.pir, config.pburst))
        rc = self._lib.sw_meter_set(self._live(), number, index, rates)
        self._check(rc, f"meter '{meter}', cell {index}")

    def meter_get(self, meter: str, index: int) -> MeterConfig | None:
        """A cell's configuration; None where it has none."""
        number, rates = self._meter(meter, index), MeterRates()
        rc = self._lib.sw_meter_get(self._live(), number, index, ctypes.byref(rates))
        self._check(rc, f"meter '{meter}', cell {index}")
        if not rc:
            return None
        return MeterConfig(rates.cir, rates.cburst, rates.pir, rates.pburst)

    def _meter(self, name: str, index: int) -> int:
        if name not in self.program.meters:
            raise UnknownNameError(f"no indirect meter '{name}'")
        size = self.program.meters[name].size
        if not 0 <= index < size:
            raise EntryError(f"meter '{name}': {index} is not in 0..{size - 1}")
        return list(self.program.meters).index(name)

    # --- action profiles ----------------------------------------------------------------------

    def member_add(self, profile: str, action: str, args: Sequence[int]) -> int:
        """Make a member; returns its number, the lowest that is free."""
        found = self._profile(profile)
        member = _lowest_free(found.members)
        self._member(found, member, action, args)
        found.members.add(member)
        return member

    def member_modify(self, profile: str, member: int, action: str, args: Sequence[int]) -> None:
        """Replace a member's action, for all that refer to it."""
        found = self._profile(profile)
        found.need_member(member)
        self._member(found, member, action, args)

    def member_delete(self, profile: str, member: int) -> None:
        """Remove a member that no group has; entries that still name it have no action."""
        found = self._profile(profile)
        found.need_member(member)
        for group, members in found.groups.items():
            if member in members:
                raise EntryError(f"profile '{profile}': member {member} is in group {group}")
        rc = self._lib.sw_member_delete(self._live(), found.index, member)
        self._check(rc, f"profile '{profile}', member {member}")
        found.members.remove(member)

    def group_add(self, profile: str) -> int:
        """Make an empty group; returns its number, the lowest that is free."""
        found = self._profile(profile)
        group = _lowest_free(found.groups)
        found.groups[group] = ()
        self._put_group(found, group)
        return group

    def group_set(self, profile: str, group: int, members: Sequence[int]) -> None:
        """Replace a group's members. The hash of a packet chooses by position."""
        found = self._profile(profile)
        found.need_group(group)
        for member in members:
            found.need_member(member)
        found.groups[group] = tuple(members)
        self._put_group(found, group)

    def group_delete(self, profile: str, group: int) -> None:
        """Remove a group; entries that still name it have no action."""
        found = self._profile(profile)
        found.need_group(group)
        rc = self._lib.sw_member_group_delete(self._live(), found.index, group)
        self._check(rc, f"profile '{profile}', group {group}")
        del found.groups[group]

    def _put_group(self, found: _Profile, group: int) -> None:
        members = found.groups[group]
        packed = (ctypes.c_uint32 * max(1, len(members)))(*members)
        rc = self._lib.sw_member_group_set(self._live(), found.index, group, len(members), packed)
        self._check(rc, f"profile '{found.name}', group {group}")

    def _member(self, found: _Profile, member: int, action: str, args: Sequence[int]) -> None:
        tables = [t for t in self._tables.values() if t.ir.profile == found.name]
        ids = {t.ir.actions[action] for t in tables if action in t.ir.actions}
        if not ids:
            raise UnknownNameError(f"profile '{found.name}' has no action '{action}'")
        action_id = ids.pop()
        values = self._packed(action_id, args)
        packed = (ctypes.c_uint64 * (len(values) + 1))(*values)
        rc = self._lib.sw_member_set(
            self._live(), found.index, member, action_id, len(values), packed
        )
        self._check(rc, f"profile '{found.name}', member {member}")

    def _profile(self, name: str) -> _Profile:
        found = self._profiles.get(name)
        if found is None:
            raise UnknownNameError(f"no action profile '{name}'")
        return found

    def _reference(self, table: _Table, member: int | None, group: int | None) -> object:
        profile = self._profile(table.ir.profile or "")
        if (member is None) == (group is None):
            raise EntryError(f"table '{table.ir.name}': name one member or one group")
        if member is not None:
            profile.need_member(member)
            reference = member
        elif group is not None:
            profile.need_group(group)
            reference = _GROUP_REF | group
        return (ctypes.c_uint64 * 2)(reference)

    # --- clone sessions -----------------------------------------------------------------------

    def clone_session_set(
        self, session: int, replicas: Sequence[tuple[int, int]], packet_length_bytes: int = 0
    ) -> None:
        """Make or replace a session; a clone is sent to each (port, rid)."""
        if packet_length_bytes:
            raise EntryError(f"clone session {session}: truncation is not supported")
        copies = (Replica * max(1, len(replicas)))(*(Replica(p, rid) for p, rid in replicas))
        rc = self._lib.sw_session_set(self._live(), session, len(replicas), copies)
        self._check(rc, f"clone session {session}")

    def clone_session_delete(self, session: int) -> None:
        """Remove a session; clones for it are dropped from then on."""
        self._check(self._lib.sw_session_delete(self._live(), session), f"clone session {session}")

    # --- events -------------------------------------------------------------------------------

    def set_cpu_port(self, port: int | None) -> None:
        """Frames that leave by this port become PacketIn events."""
        self._lib.sw_set_cpu_port(self._live(), _NO_PORT if port is None else port)

    def inject(self, port: int, packet: bytes) -> None:
        """Let the packet thread handle a packet as received on `port`."""
        rc = self._lib.sw_inject(self._live(), port, packet, len(packet))
        if rc:
            raise PortError(f"packet for port {port}: {os.strerror(-rc)}")

    def event_fd(self) -> int:
        """A descriptor that is readable while events wait."""
        return int(self._lib.sw_event_fd(self._live()))

    def take_events(self, limit: int = 1024) -> list[Event]:
        """Up to `limit` events, oldest first; the rest stays for the next call."""
        if not self._waiting:
            data, size = ctypes.c_void_p(), ctypes.c_size_t()
            self._lib.sw_take_events(self._live(), ctypes.byref(data), ctypes.byref(size))
            if data.value:
                raw = ctypes.string_at(data.value, size.value)
                self._lib.sw_free(data)
                names = [learn.name for learn in self.program.learn_lists.values()]
                tables = {table.index: name for name, table in self._tables.items()}
                self._waiting = parse_events(raw, names, tables)
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return taken

    # --- packets ------------------------------------------------------------------------------

    def add_port(self, port: int, ifname: str) -> None:
        """Bind a port (0 to 510) to an interface; only while the packet thread does not run."""
        rc = self._lib.sw_port_add(self._live(), port, ifname.encode())
        reasons = {
            errno.ERANGE: "port numbers run from 0 to 510",
            errno.EBUSY: "the packet thread is running",
            errno.EEXIST: "the port number is in use",
            errno.ENODEV: "no such interface",
        }
        if rc:
            reason = reasons.get(-rc, os.strerror(-rc))
            raise PortError(f"port {port} at '{ifname}': {reason}")
        self._interfaces[port] = ifname

    def set_port_rate(self, port: int, pps: int | None) -> None:
        """Packets per second that leave by a port, strict priority between its 8 queues of 64
        packets; None: as fast as the interface takes them."""
        rc = self._lib.sw_port_rate(self._live(), port, pps or 0)
        self._check(rc, f"port {port}")

    def start(self) -> None:
        """Open all ports and start moving packets. Raises PortError and leaves nothing open."""
        port = ctypes.c_uint32()
        rc = self._lib.sw_start(self._live(), ctypes.byref(port))
        if rc:
            name = self._interfaces.get(port.value)
            place = f"port {port.value} at '{name}'" if name is not None else "packet thread"
            raise PortError(f"{place}: {os.strerror(-rc)}")

    def stop(self) -> None:
        """Stop the packet thread and close the ports' sockets. May be called again."""
        if self._engine is not None:
            self._lib.sw_stop(self._engine)

    def port_stats(self) -> dict[int, PortStats]:
        """Statistics by port number."""
        records = (PortRecord * (MAX_PORTS := 512))()
        count = self._lib.sw_port_stats_read(self._live(), records, MAX_PORTS)
        return {
            r.port: PortStats(
                interface=self._interfaces[r.port],
                up=bool(r.up),
                rx_packets=r.rx_packets,
                rx_bytes=r.rx_bytes,
                tx_packets=r.tx_packets,
                tx_bytes=r.tx_bytes,
                rx_kernel_drops=r.rx_kernel_drops,
                rx_oversize=r.rx_oversize,
                tx_failures=r.tx_failures,
            )
            for r in records[:count]
        }

    def drop_stats(self) -> DropStats:
        """Packets lost to a port that does not exist or to a priority without a queue."""
        drops = Drops()
        self._lib.sw_drops_read(self._live(), ctypes.byref(drops))
        return DropStats(
            drops.unknown_port, drops.priority, drops.clones, drops.queue_full, drops.events
        )

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """Run one packet received on `port`: (egress port, bytes) of all that comes out, in order.

        Needs no interfaces; not while the packet thread runs.
        """
        out, size = ctypes.c_void_p(), ctypes.c_size_t()
        rc = self._lib.sw_process(
            self._live(), port, packet, len(packet), ctypes.byref(out), ctypes.byref(size)
        )
        self._check(rc, "packet")
        data = ctypes.string_at(out.value, size.value) if size.value and out.value else b""
        result, at = [], 0
        while at < len(data):
            egress, length = struct.unpack_from("=II", data, at)
            at += 8
            result.append((egress, data[at : at + length]))
            at += length
        return result

    def close(self) -> None:
        """Stop and free everything; the engine is of no use afterwards. May be called again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            self._lib.sw_stop(engine)
            self._lib.sw_destroy(engine)

    # --- inside -------------------------------------------------------------------------------

    def _live(self) -> int:
        if self._engine is None:
            raise EngineError("the engine is closed")
        return self._engine

    def _check(self, rc: int, what: str) -> None:
        if rc >= 0:
            return
        match -rc:
            case errno.ENOSPC:
                raise TableFullError(f"{what}: the table is full")
            case errno.EEXIST:
                raise DuplicateEntryError(f"{what}: an entry with this key exists")
            case errno.ENOENT:
                raise UnknownNameError(f"{what}: does not exist")
        raise EngineError(f"{what}: {os.strerror(-rc)}")

    def _table(self, name: str) -> _Table:
        found = self._tables.get(name)
        if found is None:
            raise UnknownNameError(f"no table '{name}'")
        return found

    def _mutable(self, name: str) -> _Table:
        found = self._table(name)
        if found.ir.entries is not None:
            raise EntryError(f"table '{name}': its entries are constant")
        return found

    def _action(self, table: _Table, name: str) -> int:
        found = table.ir.actions.get(name)
        if found is None:
            raise UnknownNameError(f"table '{table.ir.name}' has no action '{name}'")
        return found

    def _counter(self, name: str, first: int, count: int) -> int:
        if name not in self._counters:
            raise UnknownNameError(f"no indirect counter '{name}'")
        size = self.program.counters[name]
        if first < 0 or count < 0 or first + count > size:
            last = first + count - 1
            raise EntryError(f"counter '{name}': {first}..{last} is not in 0..{size - 1}")
        return self._counters[name]

    def _check_group(self, group: int) -> None:
        if not 0 < group <= MAX_GROUP:
            raise EntryError(f"multicast group {group} is not in 1..{MAX_GROUP}")

    def _key(self, table: _Table, key: Sequence[KeyPart]) -> tuple[list[int], list[int], int]:
        """Values, masks, and the prefix length of the lpm field."""
        fields = table.ir.keys
        if not fields:
            raise EntryError(f"table '{table.ir.name}' has no key, so it takes no entries")
        if len(key) != len(fields):
            raise EntryError(f"table '{table.ir.name}': {len(key)} of {len(fields)} key fields")
        values, masks, prefix = [], [], 0
        for part, key_field in zip(key, fields, strict=True):
            full = (1 << key_field.width) - 1
            match key_field.match:
                case ir.Match.EXACT:
                    mask = full
                case ir.Match.TERNARY:
                    mask = part.mask
                case ir.Match.LPM:
                    prefix = part.prefix_len
                    if not 0 <= prefix <= key_field.width:
                        raise EntryError(
                            f"table '{table.ir.name}', field '{key_field.name}': prefix length "
                            f"{prefix} is not in 0..{key_field.width}"
                        )
                    mask = full & ~(full >> prefix)
            if not 0 <= part.value <= full or not 0 <= mask <= full:
                raise EntryError(
                    f"table '{table.ir.name}', field '{key_field.name}': value {part.value:#x} or "
                    f"mask {mask:#x} does not fit {key_field.width} bits"
                )
            values.append(part.value & mask)
            masks.append(mask)
        return values, masks, prefix

    def _args(self, table: _Table, action_id: int, args: Sequence[int]) -> object:
        return (ctypes.c_uint64 * (table.arg_words + 1))(*self._packed(action_id, args))

    def _packed(self, action_id: int, args: Sequence[int]) -> list[int]:
        """An action's arguments as 64-bit words."""
        action = self.program.actions[action_id]
        if len(args) != len(action.params):
            raise EntryError(
                f"action '{action.name}': {len(args)} arguments for {len(action.params)} parameters"
            )
        packed: list[int] = []
        for index, (value, (name, width)) in enumerate(zip(args, action.params, strict=True)):
            least = -(1 << (width - 1)) if index in action.negative else 0
            if not least <= value < 1 << width:
                raise EntryError(
                    f"action '{action.name}', parameter '{name}': {value:#x} does not fit "
                    f"{width} bits"
                )
            packed += [value >> 64 * i & (_WORD - 1) for i in range(words(action.bits(index)))]
        return packed

    def _direct(self, name: str) -> _Table:
        found = self._mutable(name)
        if found.ir.profile is not None:
            raise EntryError(f"table '{name}': entries name members or groups of its profile")
        return found

    def _indirect(self, name: str) -> _Table:
        found = self._mutable(name)
        if found.ir.profile is None:
            raise EntryError(f"table '{name}' has no action profile")
        return found

    def _set_idle(self, table: _Table, handle: int, idle_timeout_ms: int) -> None:
        if not table.ir.ages:
            raise EntryError(f"table '{table.ir.name}' supports no idle timeout")
        rc = self._lib.sw_entry_idle(self._live(), table.index, handle, idle_timeout_ms)
        self._check(rc, f"table '{table.ir.name}', entry {handle}")

    def _add(
        self,
        table: _Table,
        values: Sequence[int],
        masks: Sequence[int],
        priority: int,
        action_id: int,
        packed: object,
    ) -> int:
        size = 8 * table.layout.words
        handle = ctypes.c_uint64()
        rc = self._lib.sw_insert(
            self._live(),
            table.index,
            table.layout.pack(values).to_bytes(size, "little"),
            table.layout.pack(masks).to_bytes(size, "little"),
            priority,
            action_id,
            packed,
            ctypes.byref(handle),
        )
        self._check(rc, f"table '{table.ir.name}'")
        return handle.value

    def _reset_default(self, table: _Table) -> None:
        default = table.ir.default
        if default is None:
            no_action = (1 << 32) - 1
            empty = (ctypes.c_uint64 * (table.arg_words + 1))()
            self._lib.sw_set_default(self._live(), table.index, no_action, empty)
            return
        packed = self._args(table, default.action, default.args)
        self._lib.sw_set_default(self._live(), table.index, default.action, packed)

    def _insert_const(self, table: _Table) -> None:
        """The program's own entries. There, the smaller priority wins."""
        entries = table.ir.entries or ()
        worst = max((entry.priority for entry in entries), default=0)
        for entry in entries:
            values, masks = [v for v, _ in entry.key], [m for _, m in entry.key]
            priority = worst - entry.priority + 1
            if table.ir.match is not ir.Match.TERNARY:
                priority = sum(m.bit_count() for m in masks)
            packed = self._args(table, entry.call.action, entry.call.args)
            self._add(table, values, masks, priority, entry.call.action, packed)
