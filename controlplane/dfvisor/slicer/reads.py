"""What a role reads: its own entries, from the mirror; its counters and meters, from the switch.

A slice's role also sees the entries of others within the flowspaces that it may READ.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from dfvisor.model.space import Space
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SliceDirectory, SliceInfo, SwitchPort
from dfvisor.slicer.digests import Digests
from dfvisor.slicer.held import Place
from dfvisor.slicer.mirror import HEAD
from dfvisor.slicer.refusal import denied, invalid
from dfvisor.slicer.tables import FlowTables
from dfvisor.slicer.translate import Translator
from dfvisor.slicer.view import DROP_CELLS, DROPS, METERS

CHUNK = 32
SHARED_CHUNK = 16
"""Entities of one answer, at about 8 us; fewer while another role wants to write."""
REST_S = 0.002
"""Between answers, whoever they are for, while another role wants to write."""

_NO_COUNTER = p4r.CounterData()

Found = list[tuple[Place, int, bytes]]
"""Slice id and key, GRE key, the switch's entry."""


class Reader:
    """Answers reads. `schema` is that of the whole program."""

    def __init__(
        self,
        switch: SwitchPort,
        schema: Schema,
        directory: SliceDirectory,
        tables: FlowTables,
        digests: Digests,
    ) -> None:
        self._switch = switch
        self._schema = schema
        self._directory = directory
        self._tables = tables
        self._digests = digests
        self._gate = asyncio.Lock()  # one answer is made at a time

    async def read(
        self, translator: Translator, asked: p4r.Entity
    ) -> AsyncIterator[list[p4r.Entity]]:
        """The role's entities that answer one of a ReadRequest, in chunks.

        Entities of kinds that no role has (groups, profiles, ...) are answered with nothing:
        clients sweep them before they start.
        """
        kind = asked.WhichOneof("entity")
        if kind == "table_entry":
            counted = asked.table_entry.HasField("counter_data")
            async for entities in self._entries(translator, asked.table_entry, counted, False):
                yield entities
        elif kind == "direct_counter_entry":
            pattern = asked.direct_counter_entry.table_entry
            async for entities in self._entries(translator, pattern, True, True):
                yield entities
        elif kind == "digest_entry":
            yield self._digests.read(translator.role, asked.digest_entry.digest_id)
        elif kind == "counter_entry" and asked.counter_entry.counter_id:
            yield await self._cells(translator, asked)
        elif kind == "meter_entry" and asked.meter_entry.meter_id:
            yield await self._meter(translator, asked)

    # -- entries

    async def _entries(
        self, translator: Translator, pattern: p4r.TableEntry, counted: bool, alone: bool
    ) -> AsyncIterator[list[p4r.Entity]]:
        """Entries; with their counters if `counted`, of which nothing else is shown if `alone`."""
        found = self._select(translator, pattern)
        turns = self._tables.turns
        start = 0
        while start < len(found):
            async with self._gate:
                shared = turns.contended(translator.role)
                end = start + (SHARED_CHUNK if shared else CHUNK)
                entities = await self._shown(translator, found[start:end], counted, alone)
                start = end
                await asyncio.sleep(REST_S if shared else 0)
            yield entities

    async def _shown(
        self, translator: Translator, chunk: Found, counted: bool, alone: bool
    ) -> list[p4r.Entity]:
        counters = await self._counters(chunk) if counted else {}
        entities: list[p4r.Entity] = []
        for place, gre_key, entry in chunk:
            counter = counters.get(place)
            if counter is None:
                if counted:
                    continue  # deleted meanwhile
                counter = _NO_COUNTER
            entity = p4r.Entity()
            shown = entity.direct_counter_entry.table_entry if alone else entity.table_entry
            shown.ParseFromString(entry)
            translator.to_view(shown, gre_key)
            if alone:
                shown.ClearField("action")
                entity.direct_counter_entry.data.CopyFrom(counter)
            elif counted:
                shown.counter_data.CopyFrom(counter)
            entities.append(entity)
        return entities

    def _select(self, translator: Translator, pattern: p4r.TableEntry) -> Found:
        """The role's entries that a pattern asks for: table 0 is all tables, no key all keys."""
        layouts = translator.view.layouts
        if pattern.table_id and pattern.table_id not in layouts:
            raise denied(
                f"role {translator.role} has no table {pattern.table_id:#x}; it has "
                f"{translator.view.tables}"
            )
        if pattern.is_default_action:
            return []  # constant, and the program's
        mirror = self._tables.mirror
        if pattern.match:
            if not pattern.table_id:
                raise invalid("a key needs the table that it is for; give table_id")
            identity = translator.identify(pattern)
            info = identity.rights.info
            entry = mirror.get(info.slice_id, identity.key)
            return [((info.slice_id, identity.key), info.key, entry)] if entry else []
        head = pattern.table_id.to_bytes(HEAD, "big") if pattern.table_id else b""
        priority = pattern.priority.to_bytes(HEAD, "big") if pattern.priority > 0 else b""
        found: Found = []
        for info, within in self._readable(translator):
            slice_id, gre_key = info.slice_id, info.key
            entries: Iterable[tuple[bytes, bytes]] = mirror.of(slice_id).items()
            if head or priority:
                entries = [
                    (key, entry)
                    for key, entry in entries
                    if key.startswith(head) and (not priority or key[HEAD : 2 * HEAD] == priority)
                ]
            if within is not None:
                entries = [one for one in entries if self._tables.covered(one[1], within)]
            found += [((slice_id, key), gre_key, entry) for key, entry in entries]
        return found

    def _readable(self, translator: Translator) -> list[tuple[SliceInfo, Space | None]]:
        """The slices that the role may read, each with the space that it may see of it."""
        found: list[tuple[SliceInfo, Space | None]] = [
            (info, None) for info in translator.slices().values()
        ]
        role = translator.role
        if role.slice is not None:
            slices = self._directory.slices_of(role.vn)
            for name, space in self._directory.readable(role.vn, role.slice):
                if name in slices and not slices[name].best_effort:
                    found.append((slices[name], space))
        return found

    async def _counters(self, chunk: Found) -> Mapping[Place, p4r.CounterData]:
        request = p4r.ReadRequest()
        for _, _, entry in chunk:
            message = request.entities.add().table_entry
            message.ParseFromString(entry)
            message.ClearField("action")
            message.ClearField("idle_timeout_ns")
            message.counter_data.SetInParent()
        return {
            self._tables.place_of(entity.table_entry): entity.table_entry.counter_data
            for entity in await self._switch.read(request)
        }

    # -- counters and meters of the slice

    async def _cells(self, translator: Translator, asked: p4r.Entity) -> list[p4r.Entity]:
        """Drop counters of the role's slice: cell = reason."""
        info = self._own(translator, asked.counter_entry.counter_id, DROPS)
        wanted: Sequence[int] = range(DROP_CELLS)
        if asked.counter_entry.HasField("index"):
            wanted = [self._index(asked.counter_entry.index.index, DROP_CELLS)]
        request = p4r.ReadRequest()
        for cell in wanted:
            wanted_cell = request.entities.add().counter_entry
            wanted_cell.counter_id = asked.counter_entry.counter_id
            wanted_cell.index.index = info.slice_id * DROP_CELLS + cell
        found = [one for one in await self._switch.read(request) if one.HasField("counter_entry")]
        for one in found:
            one.counter_entry.index.index &= DROP_CELLS - 1
        return found

    async def _meter(self, translator: Translator, asked: p4r.Entity) -> list[p4r.Entity]:
        """The meter of the role's slice, in cell 0: read only."""
        info = self._own(translator, asked.meter_entry.meter_id, *METERS)
        if asked.meter_entry.HasField("index"):
            self._index(asked.meter_entry.index.index, 1)
        request = p4r.ReadRequest()
        one = request.entities.add().meter_entry
        one.meter_id = asked.meter_entry.meter_id
        one.index.index = info.slice_id
        found = [one for one in await self._switch.read(request) if one.HasField("meter_entry")]
        for entity in found:
            entity.meter_entry.index.index = 0
        return found

    def _own(self, translator: Translator, id_: int, *names: str) -> SliceInfo:
        """The role's one slice, if one of these arrays of the view is meant."""
        schema = translator.view.schema
        known = [one.id for one in schema.counters.values() if one.name in names]
        known += [one.id for one in schema.meters.values() if one.name in names]
        if id_ not in known:
            raise denied(f"role {translator.role} has no array {id_:#x}; its P4Info has none")
        for info in translator.slices().values():
            return info
        raise denied(f"role {translator.role} has no QoS slice here")

    def _index(self, index: int, size: int) -> int:
        if not 0 <= index < size:
            raise invalid(f"index {index} is out of range 0..{size - 1}")
        return index
