"""What became of a VN: who made which revision, when and why. Bounded.

Kept are the last `KEPT` revisions, and those before that are needed to make the oldest of them
again: small changes stand in their own entries, from a revision whose pages hold it all. And for
some time all others, but for those beyond `MOST`: a writer who lost its connection looks here for
the outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from dfvisor.errors import StoreError
from dfvisor.store import layout
from dfvisor.store.codec import History, Revision, decode, encode
from dfvisor.store.zk import Create, Delete, NoNode, Operation, ZooKeeper

KEPT = 64
MOST = 1000
_READS_AT_ONCE = 64
_END = "-deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One revision, or the deletion after it. `time` in seconds since the epoch, by the server's
    clock. `put` and `dropped` count records.
    """

    revision: int
    time: float
    zxid: int
    change: str
    user: str
    why: str
    put: int
    dropped: int
    deleted: bool


class HistoryStore:
    """Reads, bounds and ends histories; what appends to them is part of the change itself."""

    def __init__(self, zk: ZooKeeper, *, grace_s: float, kept: int = KEPT) -> None:
        """`grace_s`: how long an entry is kept in any case."""
        self._zk = zk
        self._grace_s = grace_s
        self._kept = kept
        self._prepared: set[str] = set()
        self._records: dict[str, dict[str, tuple[History, float]]] = {}  # of those trimmed here

    async def prepare(self, name: str) -> None:
        """See that entries can be made."""
        if name not in self._prepared:
            await self._zk.ensure(layout.history(name))
            self._prepared.add(name)

    async def entries(self, name: str) -> tuple[HistoryEntry, ...]:
        """The oldest first; none where there never was such a VN."""
        found: list[HistoryEntry] = []
        nodes = await self._nodes(name)
        for start in range(0, len(nodes), _READS_AT_ONCE):
            batch = nodes[start : start + _READS_AT_ONCE]
            found += filter(None, await asyncio.gather(*(self._entry(name, n) for n in batch)))
        return tuple(found)

    async def _entry(self, name: str, node: str) -> HistoryEntry | None:
        path = f"{layout.history(name)}/{node}"
        try:
            data, stat = await self._zk.get(path)
        except NoNode:
            return None  # trimmed meanwhile
        entry = decode(data, History, path)
        return HistoryEntry(
            revision=entry.record.revision,
            time=stat.mtime,
            zxid=stat.czxid,
            change=entry.record.changes[0] if entry.record.changes else "",
            user=entry.user,
            why=entry.why,
            put=entry.put,
            dropped=entry.dropped,
            deleted=entry.deleted,
        )

    async def record(self, name: str, revision: int) -> History:
        """One entry; StoreError if it is not kept."""
        try:
            return (await self._record(layout.history_of(name, revision)))[0]
        except NoNode as error:
            raise not_kept(name, revision) from error

    async def _record(self, path: str) -> tuple[History, float]:
        """And when it was made."""
        data, stat = await self._zk.get(path)
        return decode(data, History, path), stat.ctime

    async def has(self, name: str, change: str, revisions: Collection[int]) -> bool | None:
        """Whether a change, by its uuid, made one of these revisions (0: the VN's first). None: it
        may have, but nothing is kept of that time.
        """
        nodes = await self._nodes(name)
        kept = [int(node) for node in nodes if not node.endswith(_END)]
        ends = [node for node in nodes if node.endswith(_END)]
        if 0 in revisions:
            wanted = nodes
        else:
            wanted = [f"{number:010d}" for number in sorted(revisions) if number in kept] + ends
        for node in reversed(wanted):
            try:
                found, _ = await self._record(f"{layout.history(name)}/{node}")
            except NoNode:
                continue  # trimmed meanwhile
            if change in found.record.changes:
                return True
        ended = max((int(end.removesuffix(_END)) for end in ends), default=0)
        trimmed = [number for number in revisions if kept and ended < number < kept[0]]
        return None if trimmed else False

    async def trim(self, name: str, now: float, *, delete: bool = True) -> Iterable[Revision]:
        """Delete what need not be kept; returns the records of what is. `now` by the server's
        clock.

        With `delete` False all is kept: whoever may only append leaves that to others. NoNode when
        somebody else trims at the same time.
        """
        nodes = [node for node in await self._nodes(name) if not node.endswith(_END)]
        held = self._records.get(name, {})
        missing = [node for node in nodes if node not in held]
        paths = [f"{layout.history(name)}/{node}" for node in missing]
        read = await asyncio.gather(*(self._record(path) for path in paths))
        held = {node: held[node] for node in nodes if node in held}
        held |= dict(zip(missing, read, strict=True))
        self._records[name] = held
        if delete and len(nodes) > self._kept:
            oldest = nodes[-self._kept]
            needed = min(int(oldest), held[oldest][0].record.paged + 1)
            for node in nodes:
                young = now - held[node][1] < self._grace_s and len(held) <= MOST
                if int(node) >= needed or young:
                    break
                await self._zk.delete(f"{layout.history(name)}/{node}")
                del held[node]
        return [entry.record for entry, _ in held.values()]

    async def end(self, name: str, last: Revision, user: str, why: str) -> list[Operation]:
        """What to write together with the deletion of the VN at its last revision."""
        await self.prepare(name)
        self._records.pop(name, None)
        record = msgspec.structs.replace(last, pages={}, manifest=None, deltas=())
        entry = History(record=record, user=user, why=why, deleted=True)
        nodes = await self._nodes(name)
        return [
            *(Delete(f"{layout.history(name)}/{node}") for node in nodes),
            Create(layout.history_end(name, last.revision), encode(entry)),
        ]

    async def _nodes(self, name: str) -> list[str]:
        try:
            return await self._zk.children(layout.history(name))
        except NoNode:
            return []


def not_kept(name: str, revision: int) -> StoreError:
    """What is said of a revision that is too old."""
    return StoreError(f"virtual network {name}: revision {revision} is not kept in its history")
