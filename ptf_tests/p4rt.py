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
from dfvisor.p4rt.client import CountedEntry, CounterValue, P4RuntimeClient
from dfvisor.p4rt.entries import MulticastGroup, TableEntry, rank
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r

from ptf_tests.tables import Anything, Hop, Route, Timed

Result = TypeVar("Result")

ATTEMPT_S = 0.2
CALL_TIMEOUT_S = 120.0
TRACE_SESSION = 1
CPU_PORT = 510
UNDERLAY = "underlay"
HEARD = ("packet", "digest", "idle_timeout_notification")


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet from the switch and what it says about it; the fields of packet_in_t."""

    frame: bytes
    fields: dict[str, int]


@dataclass(frozen=True, slots=True)
class Learned:
    """A member of a `learn_t` digest."""

    vn: int
    port: int
    mac: int


class _Client(P4RuntimeClient):
    """The client, keeping what the switch sends by itself."""

    heard: queue.SimpleQueue[p4r.StreamMessageResponse]

    async def _handle(self, message: p4r.StreamMessageResponse) -> None:
        if message.WhichOneof("update") in HEARD:
            self.heard.put(message)
        else:
            await super()._handle(message)

    async def say(self, message: p4r.StreamMessageRequest) -> None:
        """Send a message on the stream."""
        await self._requests.put(message)


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
        self._heard: queue.SimpleQueue[p4r.StreamMessageResponse] = queue.SimpleQueue()
        self._packet_in = _metadata(schema, "packet_in")
        self._packet_out = _metadata(schema, "packet_out")
        self._client = self._run(self._open(address, device_id, election))

    async def _open(self, address: str, device_id: int, election: int) -> _Client:
        client = _Client(address, device_id, election_id=(0, election), schema=self.schema)
        client.heard = self._heard
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

    def insert(self, *items: Anything) -> None:
        """Insert entries and groups, those that are referred to first. Default entries are set."""
        self._write(
            *(
                (
                    p4r.Update.MODIFY if getattr(item, "is_default", False) else p4r.Update.INSERT,
                    self._encode(item),
                )
                for item in sorted(items, key=_rank)
            )
        )

    def modify(self, *items: Anything) -> None:
        """Replace the actions of entries, or the replicas of groups, that exist."""
        self._write(*((p4r.Update.MODIFY, self._encode(item)) for item in items))

    def delete(self, *items: Anything) -> None:
        """Delete entries and groups, those that refer to others first."""
        ordered = sorted(items, key=_rank, reverse=True)
        self._write(*((p4r.Update.DELETE, _identity(self._encode(item))) for item in ordered))

    def clear(self) -> None:
        """Delete all entries but default ones, and all groups."""
        wildcards = [p4r.Entity(table_entry=p4r.TableEntry()), p4r.Entity()]
        replication = wildcards[1].packet_replication_engine_entry
        replication.multicast_group_entry.SetInParent()
        for wildcard in wildcards:
            left = self._run(self._client.read([wildcard]))
            if left:
                self._write(*((p4r.Update.DELETE, _identity(entity)) for entity in left))

    def _write(self, *updates: tuple[p4r.Update.Type.ValueType, p4r.Entity]) -> None:
        self._run(
            self._client.write([p4r.Update(type=kind, entity=entity) for kind, entity in updates])
        )

    def _encode(self, item: Anything) -> p4r.Entity:
        if isinstance(item, Timed):
            entity = self.schema.encode(item.entry)
            entity.table_entry.idle_timeout_ns = item.idle_timeout_ms * 1_000_000
            return entity
        if not isinstance(item, Route):
            return self.schema.encode(item)
        table = self.schema.table(UNDERLAY)
        entity = p4r.Entity(table_entry=p4r.TableEntry(table_id=table.id))
        entry = entity.table_entry
        if not item.hops:
            member = entry.action.action_profile_action_set.action_profile_actions.add(weight=1)
            member.action.action_id = table.actions["unreachable"].id
        if item.prefix_len:
            match = entry.match.add(field_id=table.fields[0].id)
            match.lpm.value = _bytes(item.address)
            match.lpm.prefix_len = item.prefix_len
        for hop in item.hops:
            member = entry.action.action_profile_action_set.action_profile_actions.add()
            member.weight = hop.weight
            if hop.watch:
                member.watch_port = _bytes(hop.watch)
            self._encode_hop(hop, member.action)
        return entity

    def route_by_group(self, address: int, prefix_len: int, hop: Hop) -> None:
        """A route through member 1 of group 1, both made for it."""
        profile = self.schema.proto.action_profiles[0].preamble.id
        table = self.schema.table(UNDERLAY)
        member = p4r.Entity()
        member.action_profile_member.action_profile_id = profile
        member.action_profile_member.member_id = 1
        self._encode_hop(hop, member.action_profile_member.action)
        self._write((p4r.Update.INSERT, member))
        self._write((p4r.Update.INSERT, self._group((1,))))
        entity = p4r.Entity(table_entry=p4r.TableEntry(table_id=table.id))
        match = entity.table_entry.match.add(field_id=table.fields[0].id)
        match.lpm.value = _bytes(address)
        match.lpm.prefix_len = prefix_len
        entity.table_entry.action.action_profile_group_id = 1
        self._write((p4r.Update.INSERT, entity))

    def set_members(self, members: tuple[int, ...]) -> None:
        """Give group 1 these members."""
        self._write((p4r.Update.MODIFY, self._group(members)))

    def delete_groups(self) -> None:
        """Delete all routes, then group 1 and member 1."""
        self.clear()
        profile = self.schema.proto.action_profiles[0].preamble.id
        member = p4r.Entity()
        member.action_profile_member.action_profile_id = profile
        member.action_profile_member.member_id = 1
        self._write((p4r.Update.DELETE, self._group(())))
        self._write((p4r.Update.DELETE, member))

    def _group(self, members: tuple[int, ...]) -> p4r.Entity:
        entity = p4r.Entity()
        group = entity.action_profile_group
        group.action_profile_id = self.schema.proto.action_profiles[0].preamble.id
        group.group_id = 1
        for member in members:
            group.members.add(member_id=member, weight=1)
        return entity

    def _encode_hop(self, hop: Hop, action: p4r.Action) -> None:
        route_to = self.schema.table(UNDERLAY).actions["route_to"]
        action.action_id = route_to.id
        for param, value in zip(route_to.params, (hop.port, hop.mac, hop.mtu), strict=True):
            action.params.add(param_id=param.id, value=_bytes(value))

    # -- counters and meters

    def direct(self, *tables: str) -> list[CountedEntry]:
        """Entries of the tables with their direct counters."""
        return self._run(self._client.read_direct(*tables))

    def cells(self, counter: str, indexes: Iterable[int]) -> dict[int, CounterValue]:
        """Cells of a counter array, by index."""
        return self._run(self._client.read_counters(counter, indexes))

    def set_meter(self, meter: str, index: int, rates: tuple[int, int, int, int] | None) -> None:
        """Configure a meter cell: (cir, cburst, pir, pburst) per second; None: always green."""
        entity = p4r.Entity()
        entity.meter_entry.meter_id = next(
            known.preamble.id for known in self.schema.proto.meters if known.preamble.alias == meter
        )
        entity.meter_entry.index.index = index
        if rates is not None:
            config = entity.meter_entry.config
            config.cir, config.cburst, config.pir, config.pburst = rates
        self._write((p4r.Update.MODIFY, entity))

    # -- the stream

    def trace_to_agent(self, *, on: bool) -> None:
        """Write or delete the clone session that traces use."""
        entity = p4r.Entity()
        session = entity.packet_replication_engine_entry.clone_session_entry
        session.session_id = TRACE_SESSION
        if on:
            session.replicas.add(egress_port=CPU_PORT, instance=1)
        self._write((p4r.Update.INSERT if on else p4r.Update.DELETE, entity))

    def learn(self, *, on: bool) -> None:
        """Have the switch report, or not report, what it learns."""
        entity = p4r.Entity()
        entity.digest_entry.digest_id = self.schema.proto.digests[0].preamble.id
        if on:
            entity.digest_entry.config.max_list_size = 1
            entity.digest_entry.config.ack_timeout_ns = 1_000_000
        self._write((p4r.Update.INSERT if on else p4r.Update.DELETE, entity))

    def packet_out(self, frame: bytes, **fields: int) -> None:
        """Hand the switch a packet; fields of packet_out_t that are left out are 0."""
        message = p4r.StreamMessageRequest()
        message.packet.payload = frame
        for name, field_id in self._packet_out.items():
            message.packet.metadata.add(metadata_id=field_id, value=_bytes(fields.pop(name, 0)))
        if fields:
            raise KeyError(f"packet_out has no field {', '.join(fields)}")
        self._run(self._client.say(message))

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

    def _sort(self, message: p4r.StreamMessageResponse) -> None:
        kind = message.WhichOneof("update")
        if kind == "packet":
            names = {field_id: name for name, field_id in self._packet_in.items()}
            fields = {
                names[field.metadata_id]: int.from_bytes(field.value, "big")
                for field in message.packet.metadata
            }
            self._packets.put(PacketIn(message.packet.payload, fields))
        elif kind == "digest":
            acknowledgement = p4r.StreamMessageRequest()
            acknowledgement.digest_ack.digest_id = message.digest.digest_id
            acknowledgement.digest_ack.list_id = message.digest.list_id
            self._run(self._client.say(acknowledgement))
            for data in message.digest.data:
                values = [int.from_bytes(member.bitstring, "big") for member in data.struct.members]
                self._digests.put(Learned(*values))
        else:
            for entry in message.idle_timeout_notification.table_entry:
                self._idle.put(self.schema.decode_entry(entry))


def _metadata(schema: Schema, name: str) -> dict[str, int]:
    for header in schema.proto.controller_packet_metadata:
        if header.preamble.name == name:
            return {field.name: field.id for field in header.metadata}
    raise KeyError(f"the P4Info has no header {name}")


def _bytes(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _identity(entity: p4r.Entity) -> p4r.Entity:
    """The entity as a DELETE takes it."""
    entry = p4r.Entity()
    entry.CopyFrom(entity)
    if entry.WhichOneof("entity") == "table_entry":
        for field in ("action", "idle_timeout_ns", "counter_data", "time_since_last_hit"):
            entry.table_entry.ClearField(field)
    else:
        entry.packet_replication_engine_entry.multicast_group_entry.ClearField("replicas")
    return entry


def _rank(item: Anything) -> int:
    if isinstance(item, Route):
        return -1
    entry = item.entry if isinstance(item, Timed) else item
    assert isinstance(entry, TableEntry | MulticastGroup)
    return rank(entry)


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
