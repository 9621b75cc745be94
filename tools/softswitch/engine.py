"""The engine: one running P4 program, as a Python object around the compiled pipeline.

Owns nothing of P4Runtime: tables and actions go by their names in the BMv2 JSON, values are
integers. Every method may be called from any thread; calls into C release the interpreter lock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from softswitch import ir
from softswitch.build import build
from softswitch.codegen import generate
from softswitch.config import load_program
from softswitch.entries import FlatKey, KeyPart, PackedKey, Table, Words
from softswitch.errors import (
    INCONSISTENT,
    BusyError,
    EntryError,
    PortError,
    UnknownNameError,
    inconsistent,
)
from softswitch.events import Digest, Event, EventQueue, IdleTimeout, Mark, PacketIn, PortOutput
from softswitch.instance import Instance
from softswitch.meters import (
    ColorCounts,
    MeterConfig,
    Meters,
    counts_array,
    counts_of,
    rates_of,
)
from softswitch.native import Counter, Drops, Library, PortRecord, QueueRecord, Replica
from softswitch.profiles import Profile
from softswitch.rates import QUEUES, Rate
from softswitch.registers import Registers
from softswitch.stats import DropStats, PortStats, QueueStats
from softswitch.wire import DescribedTable, Wire

__all__ = [
    "ColorCounts",
    "Digest",
    "DropStats",
    "Engine",
    "Event",
    "FlatKey",
    "IdleTimeout",
    "KeyPart",
    "Mark",
    "MeterConfig",
    "PacketIn",
    "PortOutput",
    "PortStats",
    "QueueStats",
    "Rate",
]

MAX_GROUP = 65535
MAX_PORTS = 512
FUZZ_MAP = 1 << 15
_NO_PORT = (1 << 32) - 1
_NO_ACTION = (1 << 32) - 1


class Engine:
    """A program with its tables, counters, groups and ports. Make one with `Engine.build`."""

    def __init__(self, program: ir.Program, library: Library) -> None:
        self.program = program
        self._c = Instance(library)
        self._tables = {
            name: Table(program, index, table)
            for index, (name, table) in enumerate(program.tables.items())
        }
        self._counters = {name: i for i, name in enumerate(program.counters)}
        self._interfaces: dict[int, str] = {}
        tables = list(self._tables.values())
        self._profiles = {
            name: Profile(self._c, program, index, tables)
            for index, name in enumerate(program.profiles)
        }
        self._meters = Meters(self._c, program)
        self._registers = Registers(self._c, program)
        self._events = EventQueue(
            self._c,
            [learn.name for learn in program.learn_lists.values()],
            {table.index: table.name for table in tables},
        )
        self._const_handles: dict[str, tuple[int, ...]] = {}
        for table in tables:
            self._reset_default(table)
            self._const_handles[table.name] = tuple(self._insert_const(table))

    @classmethod
    def build(
        cls,
        bmv2_json: bytes,
        *,
        cache_dir: Path,
        sanitize: bool = False,
        fuzzer: bool = False,
    ) -> Engine:
        """Read, generate, compile (or take from the cache) and load a program; state is empty.

        Blocking, seconds on a cache miss. Raises ConfigError, UnsupportedError, CompileError.
        """
        program = load_program(bmv2_json)
        path = build(generated(program), cache_dir, sanitize=sanitize, fuzzer=fuzzer)
        return cls(program, Library(path))

    # --- tables -------------------------------------------------------------------------------

    def insert(
        self,
        table: str,
        key: Sequence[KeyPart],
        priority: int,
        action: str,
        args: Sequence[int],
        idle_timeout_ms: int = 0,
    ) -> int:
        """Add an entry and return its handle.

        `priority` (1 to 2^31-1, the highest wins, then the oldest) counts for tables with ternary
        fields only. With `idle_timeout_ms`, an IdleTimeout event tells that nothing has hit it for
        so long. Raises TableFullError, DuplicateEntryError, EntryError.
        """
        found = self._direct(table)
        action_id = found.action(action)
        if idle_timeout_ms:
            self._check_idle(found, idle_timeout_ms)
        handle = self._insert(found, key, priority, action_id, found.args(action_id, args))
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

    def modify(
        self,
        table: str,
        handle: int,
        action: str,
        args: Sequence[int],
        idle_timeout_ms: int | None = None,
    ) -> None:
        """Replace an entry's action; its key, priority, age and counter stay."""
        found = self._direct(table)
        action_id = found.action(action)
        self._change(found, handle, action_id, found.args(action_id, args))
        if idle_timeout_ms is not None:
            self._set_idle(found, handle, idle_timeout_ms)

    def modify_indirect(
        self, table: str, handle: int, *, member: int | None = None, group: int | None = None
    ) -> None:
        """Let an entry name another member or group."""
        found = self._indirect(table)
        self._change(found, handle, 0, self._reference(found, member, group))

    def set_idle_timeout(self, table: str, handle: int, idle_timeout_ms: int) -> None:
        """Report the entry when nothing has hit it for so long; 0: never. Its clock starts anew."""
        self._set_idle(self._mutable(table), handle, idle_timeout_ms)

    def since_last_hit_us(self, table: str, handle: int) -> int:
        """Microseconds since something hit the entry, or since it was made."""
        ago = ctypes.c_uint64()
        self._entry(self._table(table), handle, "sw_entry_last_hit", ctypes.byref(ago))
        return ago.value

    def delete(self, table: str, handle: int) -> None:
        """Remove an entry."""
        self._entry(self._mutable(table), handle, "sw_delete")

    def set_default(self, table: str, action: str, args: Sequence[int]) -> None:
        """Replace the action that runs on a miss."""
        found = self._table(table)
        if found.ir.profile is not None:
            raise EntryError(f"table '{table}': entries name members or groups of its profile")
        if found.ir.default_const:
            raise EntryError(f"table '{table}': the default entry is constant")
        action_id = found.action(action)
        self._set_default(found, action_id, found.args(action_id, args))

    def reset_default(self, table: str) -> None:
        """Return to the program's own default entry."""
        self._reset_default(self._table(table))

    def const_handles(self, table: str) -> Sequence[int]:
        """Handles of the program's own entries, in their order."""
        return self._const_handles[self._table(table).name]

    def find(self, table: str, key: Sequence[KeyPart], priority: int) -> list[int]:
        """Handles of the entries with this key: at most one, but of a table with ternary fields
        those of all priorities, the highest first, if `priority` is 0. Not for the program's own
        entries."""
        found = self._mutable(table)
        packed = found.flat_key(key.flat) if isinstance(key, FlatKey) else found.key(key)
        room = 1
        while True:
            handles = (ctypes.c_uint64 * room)()
            arguments = packed.values, packed.masks, priority, handles, room
            count = self._c.call(f"table '{table}'", "sw_find", found.index, *arguments)
            if count <= room:
                return handles[:count]
            room = count

    def wire(self, described: Sequence[DescribedTable]) -> Wire:
        """What takes updates of these tables as they come on the wire; any earlier one is void."""
        return Wire(self._c, self._tables, described)

    def entry_count(self, table: str) -> int:
        """Entries in a table, without the default."""
        count = ctypes.c_uint32()
        found = self._table(table)
        self._c.call(f"table '{table}'", "sw_entry_count", found.index, ctypes.byref(count))
        return count.value

    # --- counters -----------------------------------------------------------------------------

    def direct_counter(self, table: str, handle: int) -> tuple[int, int]:
        """(packets, bytes) that hit an entry; bytes are those of the received frame."""
        packets, size = ctypes.c_uint64(), ctypes.c_uint64()
        results = ctypes.byref(packets), ctypes.byref(size)
        self._entry(self._table(table), handle, "sw_direct_read", *results)
        return packets.value, size.value

    def set_direct_counter(self, table: str, handle: int, packets: int, bytes_: int) -> None:
        """Overwrite an entry's counter."""
        self._entry(self._table(table), handle, "sw_direct_write", packets, bytes_)

    def direct_counted(self, table: str) -> dict[int, tuple[int, int]]:
        """(packets, bytes) of the entries that have counted anything, by handle."""
        index, room = self._table(table).index, 64
        while True:
            handles, cells = (ctypes.c_uint64 * room)(), (Counter * room)()
            what = f"table '{table}'"
            count = self._c.call(what, "sw_direct_counted", index, handles, cells, room)
            if count <= room:
                pairs = zip(handles[:count], cells, strict=False)
                return {handle: (cell.packets, cell.bytes) for handle, cell in pairs}
            room = count + room

    def counter_read(self, counter: str, first: int, count: int) -> list[tuple[int, int]]:
        """(packets, bytes) of `count` cells from `first` on."""
        index = self._counter(counter, first, count)
        cells = (Counter * count)()
        self._c.call(f"counter '{counter}'", "sw_counter_read", index, first, count, cells)
        return [(cell.packets, cell.bytes) for cell in cells]

    def counter_write(self, counter: str, index: int, packets: int, bytes_: int) -> None:
        """Overwrite one cell."""
        number = self._counter(counter, index, 1)
        what = f"counter '{counter}'"
        self._c.call(what, "sw_counter_write", number, index, packets, bytes_)

    # --- multicast ----------------------------------------------------------------------------

    def multicast_set(self, group: int, replicas: Sequence[tuple[int, int]]) -> None:
        """Make or replace a group; `replicas` are (egress port, rid), sent in that order."""
        self._check_group(group)
        what = f"multicast group {group}"
        self._c.call(what, "sw_group_set", group, len(replicas), _copies(replicas))

    def multicast_delete(self, group: int) -> None:
        """Remove a group; packets sent to it are dropped from then on."""
        self._check_group(group)
        self._c.call(f"multicast group {group}", "sw_group_delete", group)

    # --- meters -------------------------------------------------------------------------------

    def meter_set(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """Configure a cell, with full buckets; None: not configured, so always green."""
        self._meters.set(meter, index, config)

    def meter_get(self, meter: str, index: int) -> MeterConfig | None:
        """A cell's configuration; None where it has none."""
        return self._meters.get(meter, index)

    def meter_counts(self, meter: str, index: int) -> ColorCounts:
        """(packets, bytes) that a cell marked green, yellow and red."""
        return self._meters.counts(meter, index)

    def set_meter_counts(self, meter: str, index: int, counts: ColorCounts) -> None:
        """Overwrite these."""
        self._meters.set_counts(meter, index, counts)

    def direct_meter_set(self, table: str, handle: int, config: MeterConfig | None) -> None:
        """Configure the meter of an entry, with full buckets; None: green."""
        found = self._metered(table)
        rates = rates_of(config, f"table '{table}', entry {handle}")
        given = None if rates is None else ctypes.byref(rates)
        self._entry(found, handle, "sw_direct_meter_set", given)

    def direct_meter_counts(self, table: str, handle: int) -> ColorCounts:
        """(packets, bytes) that the meter of an entry marked green, yellow and red."""
        numbers = counts_array()
        self._entry(self._metered(table), handle, "sw_direct_meter_counts", numbers)
        return counts_of(numbers)

    def set_direct_meter_counts(self, table: str, handle: int, counts: ColorCounts) -> None:
        """Overwrite these."""
        numbers = counts_array(counts)
        self._entry(self._metered(table), handle, "sw_direct_meter_set_counts", numbers)

    def _metered(self, name: str) -> Table:
        found = self._table(name)
        if found.ir.meter is None:
            raise EntryError(f"table '{name}' has no direct meter")
        return found

    # --- registers ----------------------------------------------------------------------------

    def register_read(self, register: str, first: int, count: int) -> list[int]:
        """`count` cells from `first` on, unsigned."""
        return self._registers.read(register, first, count)

    def register_write(self, register: str, first: int, values: Sequence[int]) -> None:
        """Overwrite the cells from `first` on."""
        self._registers.write(register, first, values)

    # --- action profiles ----------------------------------------------------------------------

    def member_add(self, profile: str, action: str, args: Sequence[int]) -> int:
        """Make a member; returns its number, the lowest that is free."""
        return self._profile(profile).member_add(action, args)

    def member_modify(self, profile: str, member: int, action: str, args: Sequence[int]) -> None:
        """Replace a member's action, for all that refer to it."""
        self._profile(profile).member_modify(member, action, args)

    def member_delete(self, profile: str, member: int) -> None:
        """Remove a member that no group has; entries that still name it have no action."""
        self._profile(profile).member_delete(member)

    def group_add(self, profile: str) -> int:
        """Make an empty group; returns its number, the lowest that is free."""
        return self._profile(profile).group_add()

    def group_set(self, profile: str, group: int, members: Sequence[int]) -> None:
        """Replace a group's members. The hash of a packet chooses by position."""
        self._profile(profile).group_set(group, members)

    def group_delete(self, profile: str, group: int) -> None:
        """Remove a group; entries that still name it have no action."""
        self._profile(profile).group_delete(group)

    def _profile(self, name: str) -> Profile:
        found = self._profiles.get(name)
        if found is None:
            raise UnknownNameError(f"no action profile '{name}'")
        return found

    def _reference(self, table: Table, member: int | None, group: int | None) -> Words:
        return self._profile(table.ir.profile or "").reference(table.name, member, group)

    # --- clone sessions -----------------------------------------------------------------------

    def clone_session_set(
        self, session: int, replicas: Sequence[tuple[int, int]], packet_length_bytes: int = 0
    ) -> None:
        """Make or replace a session; a clone is sent to each (port, rid), at most so many bytes of
        it (0: all)."""
        what = f"clone session {session}"
        copies = _copies(replicas)
        self._c.call(what, "sw_session_set", session, packet_length_bytes, len(replicas), copies)

    def clone_session_delete(self, session: int) -> None:
        """Remove a session; clones for it are dropped from then on."""
        self._c.call(f"clone session {session}", "sw_session_delete", session)

    # --- events -------------------------------------------------------------------------------

    def set_cpu_port(self, port: int | None) -> None:
        """Frames that leave by this port become PacketIn events."""
        self._c.raw("sw_set_cpu_port", _NO_PORT if port is None else port)

    def set_events_only(self, on: bool) -> None:
        """Every port exists, and what leaves by it becomes a PortOutput event (but a PacketIn by
        the CPU port)."""
        self._c.raw("sw_set_events_only", int(on))

    def inject(self, port: int, packet: bytes, packet_id: int = 0) -> None:
        """Let the packet thread handle a packet as received on `port`. Raises BusyError when too
        many wait already."""
        rc = self._c.raw("sw_inject", port, packet, len(packet), packet_id)
        if rc == -errno.EAGAIN:
            raise BusyError(f"packet for port {port}: too many wait")
        if rc:
            raise PortError(f"packet for port {port}: {os.strerror(-rc)}")

    def inject_mark(self, mark: int) -> None:
        """Have a Mark event reported when all packets handed in before are done."""
        rc = self._c.raw("sw_inject_mark", mark)
        if rc:
            raise PortError(f"mark {mark}: {os.strerror(-rc)}")

    def event_fd(self) -> int:
        """A descriptor that is readable while events wait."""
        return self._events.fd()

    def take_events(self, limit: int = 1024) -> list[Event]:
        """Up to `limit` events, oldest first; the rest stays for the next call."""
        return self._events.take(limit)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """No packet is handled while this lasts: it sees all of what this thread does, or none."""
        self._c.raw("sw_hold")
        try:
            yield
        finally:
            self._c.raw("sw_release")

    # --- packets ------------------------------------------------------------------------------

    def add_port(self, port: int, ifname: str) -> None:
        """Bind a port (0 to 510) to an interface; only while the packet thread does not run."""
        rc = self._c.raw("sw_port_add", port, ifname.encode())
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

    def set_port_rate(self, port: int, rate: Rate | int | None, queue: int | None = None) -> None:
        """What leaves by a port, or by one of its queues, in a second at most; None: no limit, a
        bare number: packets.

        A port with any rate has 8 queues of 64 packets, the highest served first.
        """
        if isinstance(rate, int):
            rate = Rate(rate)
        if queue is not None and not 0 <= queue < QUEUES:
            raise PortError(f"port {port}: queue {queue} is not in 0..{QUEUES - 1}")
        per_second, bits = (rate.per_second, rate.bits) if rate is not None else (0, False)
        if rate is not None and not 0 < per_second < 1 << 63:
            raise PortError(f"port {port}: rate {rate}, expected 1 or more a second")
        place = QUEUES if queue is None else queue
        self._c.call(f"port {port}", "sw_port_rate", port, place, per_second, bits)

    def queue_stats(self, port: int) -> list[QueueStats]:
        """The statistics of a port's queues, 0 first."""
        records = (QueueRecord * QUEUES)()
        self._c.call(f"port {port}", "sw_queue_stats_read", port, records)
        return [QueueStats(r.packets, r.bytes, r.drops, r.waiting) for r in records]

    def capture(self, port: int, received: Path, sent: Path) -> None:
        """Add what a port receives and sends to two pcap files; before `start`."""
        rc = self._c.raw("sw_port_pcap", port, os.fsencode(received), os.fsencode(sent))
        if rc:
            raise PortError(f"port {port}: cannot write {received}, {sent}: {os.strerror(-rc)}")

    def start(self) -> None:
        """Open all ports and start moving packets. Raises PortError and leaves nothing open."""
        port = ctypes.c_uint32()
        rc = self._c.raw("sw_start", ctypes.byref(port))
        if rc:
            name = self._interfaces.get(port.value)
            place = f"port {port.value} at '{name}'" if name is not None else "packet thread"
            raise PortError(f"{place}: {os.strerror(-rc)}")

    def stop(self) -> None:
        """Stop the packet thread and close the ports' sockets. May be called again."""
        self._c.stop()

    def port_stats(self) -> dict[int, PortStats]:
        """Statistics by port number."""
        records = (PortRecord * MAX_PORTS)()
        count = self._c.raw("sw_port_stats_read", records, MAX_PORTS)
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
                pcap_failures=r.pcap_failures,
            )
            for r in records[:count]
        }

    def drop_stats(self) -> DropStats:
        """Packets lost to a port that does not exist or to a priority without a queue."""
        drops = Drops()
        self._c.raw("sw_drops_read", ctypes.byref(drops))
        return DropStats(
            drops.unknown_port,
            drops.priority,
            drops.clones,
            drops.passes,
            drops.queue_full,
            drops.events,
        )

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """Run one packet received on `port`: (egress port, bytes) of all that comes out, in order.

        Needs no interfaces; not while the packet thread runs.
        """
        out, size = ctypes.c_void_p(), ctypes.c_size_t()
        results = ctypes.byref(out), ctypes.byref(size)
        self._c.call("packet", "sw_process", port, packet, len(packet), *results)
        data = ctypes.string_at(out.value, size.value) if size.value and out.value else b""
        return _records(data)

    def replay(self, port: int, packets: Sequence[bytes], rounds: int) -> int:
        """Run packets of one length `rounds` times over, as the packet thread would; returns how
        many came out. For measurements: nothing is collected. Not while the packet thread runs."""
        stride = len(packets[0])
        if any(len(packet) != stride for packet in packets):
            raise PortError("replayed packets must have one length")
        out = ctypes.c_uint64()
        data = b"".join(packets)
        arguments = port, data, stride, len(packets), rounds, ctypes.byref(out)
        self._c.call("replay", "sw_replay", *arguments)
        return out.value

    def fuzz(
        self, seed: int, count: int, known: Sequence[tuple[int, bytes]], seen: bytearray
    ) -> list[tuple[int, bytes]]:
        """Run `count` packets made from the known ones; returns those that took new ways.

        `seen` (FUZZ_MAP bytes) remembers the ways and is updated. Only of an engine that was built
        with `fuzzer`.
        """
        data = b"".join(struct.pack("=II", port, len(p)) + p for port, p in known)
        out, size = ctypes.c_void_p(), ctypes.c_size_t()
        ways = (ctypes.c_uint8 * FUZZ_MAP).from_buffer(seen)
        results = ways, ctypes.byref(out), ctypes.byref(size)
        self._c.call("fuzzer", "sw_fuzz", seed, count, data, len(data), *results)
        assert out.value is not None
        found = _records(ctypes.string_at(out.value, size.value))
        self._c.free(out.value)
        return found

    def close(self) -> None:
        """Stop and free everything; the engine is of no use afterwards. May be called again."""
        self._c.close()

    # --- inside -------------------------------------------------------------------------------

    def _table(self, name: str) -> Table:
        found = self._tables.get(name)
        if found is None:
            raise UnknownNameError(f"no table '{name}'")
        return found

    def _mutable(self, name: str) -> Table:
        found = self._table(name)
        if found.ir.entries is not None:
            raise EntryError(f"table '{name}': its entries are constant")
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

    def _direct(self, name: str) -> Table:
        found = self._mutable(name)
        if found.ir.profile is not None:
            raise EntryError(f"table '{name}': entries name members or groups of its profile")
        return found

    def _indirect(self, name: str) -> Table:
        found = self._mutable(name)
        if found.ir.profile is None:
            raise EntryError(f"table '{name}' has no action profile")
        return found

    @staticmethod
    def _check_idle(table: Table, idle_timeout_ms: int) -> None:
        if not table.ir.ages:
            raise EntryError(f"table '{table.name}' supports no idle timeout")
        if not 0 <= idle_timeout_ms < 1 << 32:
            raise EntryError(f"table '{table.name}': idle timeout {idle_timeout_ms} ms")

    def _set_idle(self, table: Table, handle: int, idle_timeout_ms: int) -> None:
        self._check_idle(table, idle_timeout_ms)
        self._entry(table, handle, "sw_entry_idle", idle_timeout_ms)

    def _entry(self, table: Table, handle: int, function: str, *arguments: object) -> None:
        """A call about one entry."""
        what = f"table '{table.name}', entry {handle}"
        self._c.call(what, function, table.index, handle, *arguments)

    def _change(self, table: Table, handle: int, action_id: int, args: Words) -> None:
        self._entry(table, handle, "sw_modify", action_id, args)

    def _insert(
        self, table: Table, key: Sequence[KeyPart], priority: int, action_id: int, args: Words
    ) -> int:
        packed = table.flat_key(key.flat) if isinstance(key, FlatKey) else table.key(key)
        if table.ir.match is not ir.Match.TERNARY:
            priority = packed.prefix_len
        elif not 0 < priority < 1 << 31:
            raise EntryError(f"table '{table.name}': priority {priority} is not in 1..2147483647")
        return self._add(table, packed, priority, action_id, args)

    def _add(self, table: Table, key: PackedKey, priority: int, action_id: int, args: Words) -> int:
        handle = ctypes.c_uint64()
        arguments = key.values, key.masks, priority, action_id, args, ctypes.byref(handle)
        self._c.call(f"table '{table.name}'", "sw_insert", table.index, *arguments)
        return handle.value

    def _set_default(self, table: Table, action_id: int, args: Words) -> None:
        self._c.call(f"table '{table.name}'", "sw_set_default", table.index, action_id, args)

    def _reset_default(self, table: Table) -> None:
        default = table.ir.default
        if default is None:
            self._set_default(table, _NO_ACTION, table.no_args())
        else:
            self._set_default(table, default.action, table.args(default.action, default.args))

    def _insert_const(self, table: Table) -> Iterator[int]:
        """Add the program's own entries; their handles. There, the smaller priority wins."""
        entries = table.ir.entries or ()
        worst = max((entry.priority for entry in entries), default=0)
        for entry in entries:
            values, masks = [v for v, _ in entry.key], [m for _, m in entry.key]
            priority = worst - entry.priority + 1
            if table.ir.match is not ir.Match.TERNARY:
                priority = sum(m.bit_count() for m in masks)
            args = table.args(entry.call.action, entry.call.args)
            key = table.packed(values, masks, 0)
            yield self._add(table, key, priority, entry.call.action, args)


def _records(data: bytes) -> list[tuple[int, bytes]]:
    """(port, bytes) of what C wrote one after the other."""
    result, at = [], 0
    while at < len(data):
        port, length = struct.unpack_from("=II", data, at)
        at += 8
        result.append((port, data[at : at + length]))
        at += length
    return result


def generated(program: ir.Program) -> str:
    """The program's C text. Raises ConfigError, UnsupportedError."""
    try:
        return generate(program)
    except INCONSISTENT as error:
        raise inconsistent(error) from error


def _copies(replicas: Sequence[tuple[int, int]]) -> object:
    return (Replica * max(1, len(replicas)))(*(Replica(port, rid) for port, rid in replicas))
