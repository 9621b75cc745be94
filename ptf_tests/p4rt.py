"""The project's P4Runtime client, one step after the other: each call returns when done.

The asyncio client runs on a loop in a thread of its own. What the switch sends by itself (packets,
digests, idle timeouts) is kept until a test asks for it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from dfvisor.errors import SwitchError
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.counters import CountedEntry, CounterValue
from dfvisor.p4rt.entries import (
    CloneSession,
    DigestSubscription,
    Item,
    Meter,
    MeterConfig,
    TableEntry,
    rank,
)
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.streamed import DigestList, IdleEntries, PacketIn, PacketOut, StreamEvent

from ptf_tests.tables import Timed

Result = TypeVar("Result")

ATTEMPT_S = 0.2
CALL_TIMEOUT_S = 120.0
TRACE_SESSION = 1
CPU_PORT = 510
UNDERLAY = "underlay"
LEARN = "learn_t"


@dataclass(frozen=True, slots=True)
class Learned:
    """A message of the digest `learn_t`."""

    vn: int
    port: int
    mac: int
    ipv4: int = 0
    ipv6_high: int = 0
    ipv6_low: int = 0


class SwitchClient:
    """The primary of one switch. Raises what the asyncio client raises."""

    def __init__(self, address: str, device_id: int, schema: Schema, election: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="p4rt", daemon=True)
        self._thread.start()
        self.schema = schema
        self._packets: queue.SimpleQueue[PacketIn] = queue.SimpleQueue()
        self._digests: queue.SimpleQueue[Learned] = queue.SimpleQueue()
        self._idle: queue.SimpleQueue[TableEntry] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[StreamEvent] = queue.SimpleQueue()
        self._client = self._run(self._open(address, device_id, election))

    async def _open(self, address: str, device_id: int, election: int) -> P4RuntimeClient:
        client = P4RuntimeClient(
            address,
            device_id,
            election_id=(0, election),
            schema=self.schema,
            on_event=self._heard.put,
        )
        await client.connect()
        await client.become_primary()
        return client

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT_S)

    def close(self) -> None:
        """End the connection and its thread."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self._client.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)

    def push_pipeline(self, device_config: bytes) -> None:
        """Load a pipeline: the switch's tables are empty afterwards."""
        self._run(self._client.set_pipeline(self.schema, device_config, 1))

    # -- entries and groups

    def insert(self, *items: Item | Timed) -> None:
        """Insert items, those that are referred to first. Default entries and meters are set."""
        self._write(*(self._insertion(item) for item in sorted(items, key=_rank)))

    def modify(self, *items: Item | Timed) -> None:
        """Replace the actions of entries, or the replicas of groups, that exist."""
        self._write(*(_update(p4r.Update.MODIFY, self._encode(item)) for item in items))

    def delete(self, *items: Item | Timed) -> None:
        """Delete entries and groups, those that refer to others first."""
        ordered = sorted(items, key=_rank, reverse=True)
        self._write(*(self.schema.delete(_entry(item)) for item in ordered))

    def clear(self) -> None:
        """Delete all entries but default ones, and all groups."""
        entries = self._run(self._client.read([p4r.Entity(table_entry=p4r.TableEntry())]))
        self._write(*(_update(p4r.Update.DELETE, _identity(entity)) for entity in entries))
        groups = self._run(self._client.read_multicast())
        self._write(*(self.schema.delete(group) for group in groups))

    def _write(self, *updates: p4r.Update) -> None:
        if updates:
            self._run(self._client.write(updates))

    def _insertion(self, item: Item | Timed) -> p4r.Update:
        fixed = isinstance(item, Meter) or getattr(item, "is_default", False)
        return _update(p4r.Update.MODIFY if fixed else p4r.Update.INSERT, self._encode(item))

    def _encode(self, item: Item | Timed) -> p4r.Entity:
        entity = self.schema.encode(_entry(item))
        if isinstance(item, Timed):
            entity.table_entry.idle_timeout_ns = item.idle_timeout_ms * 1_000_000
        return entity

    # -- action profile members and groups, which one-shot entries do without

    def route_by_group(self, route: TableEntry) -> None:
        """A route of one hop through member 1 of group 1, both made for it."""
        one_shot = self.schema.encode(route)
        actions = one_shot.table_entry.action.action_profile_action_set.action_profile_actions
        self._write(
            _update(p4r.Update.INSERT, self._member(actions[0].action)),
            _update(p4r.Update.INSERT, self._group((1,))),
        )
        one_shot.table_entry.action.action_profile_group_id = 1
        self._write(_update(p4r.Update.INSERT, one_shot))

    def set_members(self, members: tuple[int, ...]) -> None:
        """Give group 1 these members."""
        self._write(_update(p4r.Update.MODIFY, self._group(members)))

    def delete_groups(self) -> None:
        """Delete all routes, then group 1 and member 1."""
        self.clear()
        self._write(
            _update(p4r.Update.DELETE, self._group(())),
            _update(p4r.Update.DELETE, self._member(None)),
        )

    def _profile(self) -> int:
        return self.schema.proto.action_profiles[0].preamble.id

    def _member(self, action: p4r.Action | None) -> p4r.Entity:
        member = p4r.ActionProfileMember(
            action_profile_id=self._profile(), member_id=1, action=action
        )
        return p4r.Entity(action_profile_member=member)

    def _group(self, members: tuple[int, ...]) -> p4r.Entity:
        group = p4r.ActionProfileGroup(action_profile_id=self._profile(), group_id=1)
        for member in members:
            group.members.add(member_id=member, weight=1)
        return p4r.Entity(action_profile_group=group)

    # -- counters and meters

    def direct(self, *tables: str) -> list[CountedEntry]:
        """Entries of the tables with their direct counters."""
        return self._run(self._client.counters.direct(*tables))

    def cells(self, counter: str, indexes: Iterable[int]) -> dict[int, CounterValue]:
        """Cells of a counter array, by index."""
        return self._run(self._client.counters.cells(counter, indexes))

    def set_meter(self, meter: str, index: int, rates: MeterConfig | None) -> None:
        """Configure a meter cell, which fills its buckets; None: always green."""
        self.modify(Meter(meter, index, rates))

    # -- the stream

    def trace_to_agent(self, *, on: bool) -> None:
        """Write or delete the clone session that traces use."""
        session = CloneSession(TRACE_SESSION, frozenset({(CPU_PORT, 1)}))
        (self.insert if on else self.delete)(session)

    def learn(self, *, on: bool) -> None:
        """Have the switch report, or not report, what it learns."""
        subscription = DigestSubscription(LEARN, 0, 1, 1_000_000)
        (self.insert if on else self.delete)(subscription)

    def packet_out(self, frame: bytes, **fields: int) -> None:
        """Hand the switch a packet; fields of packet_out_t that are left out are 0."""
        self._loop.call_soon_threadsafe(self._client.send_packet, PacketOut(frame, fields))

    def next_packet(self, timeout_s: float) -> PacketIn | None:
        """The next packet from the switch; None if there is none for so long."""
        return self._next(self._packets, timeout_s)

    def next_learned(self, timeout_s: float) -> Learned | None:
        """The next address that the switch reports, acknowledged."""
        return self._next(self._digests, timeout_s)

    def next_idle(self, timeout_s: float) -> TableEntry | None:
        """The next entry that the switch says is idle."""
        return self._next(self._idle, timeout_s)

    def forget(self) -> None:
        """Forget what the switch has sent by itself."""
        while True:
            try:
                self._heard.get_nowait()
            except queue.Empty:
                break
        for one in (self._packets, self._digests, self._idle):
            while not one.empty():
                one.get()

    def _next(self, wanted: queue.SimpleQueue[Result], timeout_s: float) -> Result | None:
        deadline = self._loop.time() + timeout_s
        while wanted.empty():
            try:
                self._sort(self._heard.get(timeout=max(0.0, deadline - self._loop.time())))
            except queue.Empty:
                return None
        return wanted.get()

    def _sort(self, event: StreamEvent) -> None:
        match event:
            case PacketIn():
                self._packets.put(event)
            case DigestList():
                self._loop.call_soon_threadsafe(self._client.acknowledge, event)
                for message in event.messages:
                    self._digests.put(Learned(**message))
            case IdleEntries():
                for entry in event.entries:
                    self._idle.put(entry)


def _update(kind: p4r.Update.Type.ValueType, entity: p4r.Entity) -> p4r.Update:
    return p4r.Update(type=kind, entity=entity)


def _entry(item: Item | Timed) -> Item:
    return item.entry if isinstance(item, Timed) else item


def _rank(item: Item | Timed) -> int:
    return rank(_entry(item))


def _identity(entity: p4r.Entity) -> p4r.Entity:
    """A table entry, whatever it says, as a DELETE takes it."""
    entry = entity.table_entry
    return p4r.Entity(
        table_entry=p4r.TableEntry(
            table_id=entry.table_id, match=entry.match, priority=entry.priority
        )
    )


def await_server(address: str, timeout_s: float, alive: Callable[[], bool]) -> None:
    """Return when a server accepts connections; RuntimeError when `alive` says no, or too late."""
    asyncio.run(_await_server(address, timeout_s, alive))


async def _await_server(address: str, timeout_s: float, alive: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        client = P4RuntimeClient(address, 1)
        try:
            await client.connect(ATTEMPT_S)
        except SwitchError as error:
            if not alive():
                raise RuntimeError("the switch ended before it served P4Runtime") from error
            if loop.time() > deadline:
                raise RuntimeError(f"no P4Runtime at {address} after {timeout_s} s") from error
        else:
            return
        finally:
            await client.close()
