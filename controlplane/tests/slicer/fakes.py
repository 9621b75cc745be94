"""A switch and a directory in memory: what a slicer has around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from dfvisor.model.space import Space, everything
from dfvisor.p4rt.entries import EntryKey, Exact, TableEntry, Ternary, entry_key
from dfvisor.p4rt.errors import RpcFailed, SwitchUnavailable
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import ANYONE, NEIGHBOUR, AccessVlans, Fence, SliceInfo, UpdateStatus
from dfvisor.p4rt.streamed import PacketOut

EVERYTHING = everything()
P4INFO = Path(__file__).parents[3] / "bmv2_configs" / "dfvisor.p4info.txtpb"
DEVICE = 7

RED_GOLD = SliceInfo(0xABCDEF01, 11, False)
RED_SILVER = SliceInfo(70_001, 12, False)
RED_BEST_EFFORT = SliceInfo(70_002, 13, True)
BLUE_GOLD = SliceInfo(80_000, 21, False)


class FakeSwitch:
    """A `SwitchPort`: the tables of a switch, with its own checks of existence."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.entries: dict[EntryKey, TableEntry] = {}
        self.counters: dict[EntryKey, tuple[int, int]] = {}
        self.refuse: Callable[[TableEntry], UpdateStatus] = lambda entry: UpdateStatus()
        self.away = False
        self.atomic = True  # knows DATAPLANE_ATOMIC
        self.at_once = 0
        self.before_write: Callable[[], None] = lambda: None
        self.batches: list[int] = []
        self.timeouts: dict[EntryKey, int] = {}
        self.sent: list[PacketOut] = []

    async def write(
        self,
        updates: Sequence[p4r.Update],
        *,
        at_once: bool = False,
        activating: tuple[str, int] | None = None,
    ) -> list[UpdateStatus]:
        await asyncio.sleep(0)
        if at_once:
            if not self.atomic:
                raise RpcFailed(grpc.StatusCode.UNIMPLEMENTED, "no such atomicity")
            self.at_once += 1
            return await self._write_at_once(updates)
        self.before_write()
        if self.away:
            raise SwitchUnavailable("the switch is away")
        self.batches.append(len(updates))
        return [self._write(update) for update in updates]

    async def _write_at_once(self, updates: Sequence[p4r.Update]) -> list[UpdateStatus]:
        entries, timeouts = dict(self.entries), dict(self.timeouts)
        statuses = await self.write(updates)
        if not any(status.code for status in statuses):
            return statuses
        self.entries, self.timeouts = entries, timeouts
        aborted = UpdateStatus(grpc.StatusCode.ABORTED.value[0], "another failed")
        return [status if status.code else aborted for status in statuses]

    def _write(self, update: p4r.Update) -> UpdateStatus:
        entry = self.schema.decode_entry(update.entity.table_entry)
        key = entry_key(entry)
        refused = self.refuse(entry)
        if refused.code:
            return refused
        if update.type == p4r.Update.INSERT:
            if key in self.entries:
                return UpdateStatus(grpc.StatusCode.ALREADY_EXISTS.value[0], "exists")
        elif key not in self.entries:
            return UpdateStatus(grpc.StatusCode.NOT_FOUND.value[0], "not there")
        if update.type == p4r.Update.DELETE:
            del self.entries[key]
        else:
            self.schema.encode_entry(entry)  # would not fit otherwise
            self.entries[key] = entry
            self.timeouts[key] = update.entity.table_entry.idle_timeout_ns
        return UpdateStatus()

    def _read_cell(self, asked: p4r.Entity) -> p4r.Entity:
        """A cell of an indirect counter or meter: its own index, so that a test can tell."""
        found = p4r.Entity()
        found.CopyFrom(asked)
        if asked.HasField("counter_entry"):
            found.counter_entry.data.packet_count = asked.counter_entry.index.index
        else:
            found.meter_entry.config.cir = asked.meter_entry.index.index
        return found

    def send_packet(self, packet: PacketOut) -> None:
        if self.away:
            raise SwitchUnavailable("the switch is away")
        self.sent.append(packet)

    async def read(self, request: p4r.ReadRequest) -> list[p4r.Entity]:
        await asyncio.sleep(0)
        if self.away:
            raise SwitchUnavailable("the switch is away")
        found: list[p4r.Entity] = []
        for asked in request.entities:
            if not asked.HasField("table_entry"):
                found.append(self._read_cell(asked))
                continue
            pattern = asked.table_entry
            wanted = self.schema.decode_entry(pattern)
            entries = self.entries.items()
            if pattern.match:
                key = entry_key(wanted)
                entries = {key: self.entries[key]}.items() if key in self.entries else ()
            for key, entry in entries:
                if entry.table == wanted.table:
                    message = self.schema.encode_entry(entry)
                    message.idle_timeout_ns = self.timeouts.get(key, 0)
                    if pattern.HasField("counter_data"):
                        packets, size = self.counters.get(key, (0, 0))
                        message.counter_data.packet_count = packets
                        message.counter_data.byte_count = size
                    found.append(p4r.Entity(table_entry=message))
        return found


@dataclass
class FakeDirectory:
    """A `SliceDirectory`: VN red with ports 1 and 2 and neighbours 2 and 3, VN blue with port 3."""

    slices: dict[str, dict[str, SliceInfo]] = field(
        default_factory=lambda: {
            "red": {"gold": RED_GOLD, "silver": RED_SILVER, "rest": RED_BEST_EFFORT},
            "blue": {"gold": BLUE_GOLD},
        }
    )
    next_hops_by_vn: dict[tuple[str, int], int] = field(
        default_factory=lambda: {
            ("red", 1): 101,
            ("red", 2): 102,
            ("red", NEIGHBOUR + 2): 202,
            ("red", NEIGHBOUR + 3): 203,
            ("blue", 3): 103,
            ("blue", NEIGHBOUR + 2): 202,
        }
    )
    revisions: dict[str, int] = field(default_factory=lambda: {"red": 5, "blue": 1})
    active: dict[str, int] = field(default_factory=dict)  # where it is not the revision held
    completed: list[tuple[str, int]] = field(default_factory=list)
    activated: list[tuple[str, int]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    spaces: dict[tuple[str, str], Space] = field(default_factory=dict)
    quotas: dict[tuple[str, str], int] = field(default_factory=dict)
    writers: dict[tuple[str, str], str] = field(default_factory=dict)
    readers: dict[tuple[str, str], list[tuple[str, Space]]] = field(default_factory=dict)
    tenants: dict[str, str] = field(default_factory=lambda: {"red": "Red", "blue": "Blue"})
    fences: dict[str, Fence | None] = field(default_factory=dict)
    vlans: dict[tuple[str, int], AccessVlans] = field(default_factory=dict)
    listeners: list[Callable[[str], None]] = field(default_factory=list)

    def change(self, vn: str) -> None:
        """Tell the slicer that something of the VN has changed."""
        for listener in self.listeners:
            listener(vn)

    def on_change(self, changed: Callable[[str], None]) -> None:
        self.listeners.append(changed)

    def slice_by_id(self, slice_id: int) -> tuple[str, str] | None:
        for vn, slices in self.slices.items():
            for name, info in slices.items():
                if info.slice_id == slice_id:
                    return vn, name
        return None

    def vn_by_id(self, vn_id: int) -> str | None:
        return {1: "red", 2: "blue"}.get(vn_id)

    def writer(self, vn: str, slice_name: str) -> str | None:
        return self.writers.get((vn, slice_name))

    def entry_quota(self, vn: str, slice_name: str) -> int | None:
        return self.quotas.get((vn, slice_name))

    def space(self, vn: str, slice_name: str) -> Space:
        return self.spaces.get((vn, slice_name), EVERYTHING)

    def readable(self, vn: str, slice_name: str) -> Sequence[tuple[str, Space]]:
        return self.readers.get((vn, slice_name), ())

    def tenant(self, vn: str) -> str | None:
        return self.tenants.get(vn)

    def fence(self, vn: str) -> Fence | None:
        return self.fences.get(vn, ANYONE)

    def next_hops(self, vn: str) -> Sequence[int]:
        return sorted(virtual for name, virtual in self.next_hops_by_vn if name == vn)

    def access_vlans(self, vn: str, port: int) -> AccessVlans | None:
        if port >= NEIGHBOUR or (vn, port) not in self.next_hops_by_vn:
            return None
        return self.vlans.get((vn, port), AccessVlans(frozenset({None}), frozenset()))

    def virtual_port(self, vn: str, port: int) -> int:
        return port if (vn, port) in self.next_hops_by_vn else 0

    def vns(self) -> Sequence[str]:
        return sorted(self.slices)

    def revision(self, vn: str) -> int | None:
        return self.revisions.get(vn)

    def slices_of(self, vn: str) -> Mapping[str, SliceInfo]:
        return self.slices.get(vn, {})

    def slice_id(self, vn: str, slice_name: str) -> int | None:
        info = self.slices_of(vn).get(slice_name)
        return info.slice_id if info else None

    def next_hop_id(self, vn: str, virtual: int) -> int | None:
        return self.next_hops_by_vn.get((vn, virtual))

    def virtual_next_hop(self, vn: str, next_hop: int) -> int | None:
        for (name, virtual), id_ in self.next_hops_by_vn.items():
            if (name, id_) == (vn, next_hop):
                return virtual
        return None

    async def wait_for_revision(self, vn: str, revision: int, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(min(timeout_s, 0.5)):
                while self.revisions.get(vn, -1) < revision:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    async def wait_for_active(self, vn: str, revision: int, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(min(timeout_s, 0.5)):
                while self.active.get(vn, self.revisions.get(vn, -1)) < revision:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    def activate(self, vn: str, revision: int) -> None:
        self.activated.append((vn, revision))

    def flows_written(self, vn: str, revision: int) -> None:
        pass

    def flows_completed(
        self, vn: str, revision: int, *, hold: bool = False, fabric: int | None = None
    ) -> None:
        self.completed.append((vn, revision))


def flow(
    slice_id: int | None, tcp_port: int = 80, priority: int = 10, cookie: int = 1
) -> TableEntry:
    """A `flow` entry; `slice_id` None as a `slice/...` role writes it."""
    key = (("ip_proto", Ternary(6, 0xFF)), ("l4_dst", Ternary(tcp_port, 0xFFFF)))
    if slice_id is not None:
        return TableEntry(
            "flow", (("slice_id", Exact(slice_id)), *key), priority, "permit", (("cookie", cookie),)
        )
    return TableEntry("flow", key, priority, "permit", (("cookie", cookie),))


def forward(slice_id: int | None, next_hop: int, mac: int = 0x0200_0000_0001) -> TableEntry:
    """A `slice_forward` entry."""
    key = (("path_class", Exact(0)), ("eth_dst", Exact(mac)))
    args = (("next_hop", next_hop), ("cookie", 0))
    if slice_id is not None:
        return TableEntry(
            "slice_forward", (("slice_id", Exact(slice_id)), *key), 0, "forward", args
        )
    return TableEntry("slice_forward", key, 0, "forward", args)


def path(slice_id: int | None, path_class: int) -> TableEntry:
    """A `slice_path` entry for the whole slice."""
    key = () if slice_id is None else (("slice_id", Exact(slice_id)),)
    return TableEntry("slice_path", key, 1, "set_path", (("path_class", path_class),))
