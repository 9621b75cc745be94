"""Reading the counters of a P4Runtime server: of entries, and cells of indirect ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dfvisor.p4rt.entries import TableEntry
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r

HIT_ONLY_KEY = "softswitch-hit-only"  # metadata of a Read, which other switches do not know
CELLS_PER_READ = 4096
ENTRIES_PER_TURN = 200  # decoded before others get a turn on the event loop


@dataclass(frozen=True, slots=True)
class CounterValue:
    """What a counter has counted; a counter of packets alone has 0 bytes."""

    packets: int
    bytes: int


_NOTHING = CounterValue(0, 0)


@dataclass(frozen=True, slots=True)
class CountedEntry:
    """A table entry and its direct counter."""

    entry: TableEntry
    counter: CounterValue


class Read(Protocol):
    """The entities that a server has for wildcards (`P4RuntimeClient.read`)."""

    def __call__(
        self, entities: Iterable[p4r.Entity], metadata: Mapping[str, str] | None = None, /
    ) -> Awaitable[list[p4r.Entity]]: ...


class CounterReader:
    """Reads by `read`; `schema` gives the pipeline's, or raises."""

    def __init__(self, read: Read, schema: Callable[[], Schema]) -> None:
        self._read = read
        self._schema = schema
        # what `direct` found last, by its bytes: reading again is mostly reading the same
        self._decoded: dict[tuple[str, ...], dict[bytes, TableEntry]] = {}
        self._asked: (  # what `statistics` asked for last, and that as it is sent
            tuple[tuple[tuple[str, ...], str, tuple[int, ...]], list[p4r.Entity]] | None
        ) = None

    async def direct(self, *tables: str) -> list[CountedEntry]:
        """All entries of the tables with their direct counters."""
        return await self._counted(tables, await self._read(self._wildcards(tables)))

    async def cells(self, name: str, indexes: Iterable[int]) -> dict[int, CounterValue]:
        """Cells of an indirect counter, by index."""
        wanted = self._cells(name, indexes)
        found: dict[int, CounterValue] = {}
        for start in range(0, len(wanted), CELLS_PER_READ):
            found |= _cell_values(await self._read(wanted[start : start + CELLS_PER_READ]))
        return found

    async def statistics(
        self,
        tables: tuple[str, ...],
        name: str,
        indexes: tuple[int, ...],
        *,
        sparse: tuple[str, ...] = (),
    ) -> tuple[list[CountedEntry], dict[int, CounterValue]]:
        """As `direct` of the tables and `cells`, in one request where that will do.
        Of the tables that are `sparse`, too, entries that have counted nothing are left out.
        """
        ids = frozenset(self._schema().table(table).id for table in sparse)
        hint = {HIT_ONLY_KEY: ",".join(map(str, sorted(ids)))} if ids else {}
        if len(indexes) > CELLS_PER_READ:
            counted = await self._read(self._wildcards(tables), hint)
            return await self._counted(tables, counted, ids), await self.cells(name, indexes)
        asked = (tables, name, indexes)
        if self._asked is None or self._asked[0] != asked:
            self._asked = (asked, [*self._wildcards(tables), *self._cells(name, indexes)])
        entries: list[p4r.Entity] = []
        cells: list[p4r.Entity] = []
        for entity in await self._read(self._asked[1], hint):
            (entries if entity.HasField("table_entry") else cells).append(entity)
        return await self._counted(tables, entries, ids), _cell_values(cells)

    def _wildcards(self, tables: Iterable[str]) -> list[p4r.Entity]:
        schema = self._schema()
        wildcards = []
        for table in tables:
            wildcard = p4r.Entity(table_entry=p4r.TableEntry(table_id=schema.table(table).id))
            wildcard.table_entry.counter_data.SetInParent()
            wildcards.append(wildcard)
        return wildcards

    def _cells(self, name: str, indexes: Iterable[int]) -> list[p4r.Entity]:
        counter = self._schema().counter(name)
        cells = []
        for index in sorted(set(indexes)):
            cell = p4r.Entity()
            cell.counter_entry.counter_id = counter.id
            cell.counter_entry.index.index = index
            cells.append(cell)
        return cells

    async def _counted(
        self,
        tables: tuple[str, ...],
        entities: Iterable[p4r.Entity],
        sparse: frozenset[int] = frozenset(),
    ) -> list[CountedEntry]:
        schema = self._schema()
        found: list[CountedEntry] = []
        known = self._decoded.get(tables, {})
        decoded: dict[bytes, TableEntry] = {}
        for place, entity in enumerate(entities):
            if place % ENTRIES_PER_TURN == 0:
                await asyncio.sleep(0)
            message = entity.table_entry
            counter = _counter(message.counter_data)
            if counter == _NOTHING and message.table_id in sparse:
                continue
            message.ClearField("counter_data")
            data = message.SerializeToString()
            entry = known.get(data) or schema.decode_entry(message)
            decoded[data] = entry
            found.append(CountedEntry(entry, counter))
        self._decoded[tables] = decoded
        return found


def _cell_values(entities: Iterable[p4r.Entity]) -> dict[int, CounterValue]:
    return {
        entity.counter_entry.index.index: _counter(entity.counter_entry.data) for entity in entities
    }


def _counter(data: p4r.CounterData) -> CounterValue:
    return CounterValue(data.packet_count, data.byte_count)
