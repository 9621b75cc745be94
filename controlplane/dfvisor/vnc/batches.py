"""New flow entries of a slice, made in bulk: the same on all its switches, so encoded once.

To look at entries key by key costs a controller as much again for every switch. A batch is written
as it stands wherever none of its keys is there, or about to be looked at; anywhere else its keys
are looked at like all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from dfvisor.p4rt.entries import EntryKey, TableEntry
from dfvisor.p4rt.framing import Framer
from dfvisor.p4rt.updates import Updates

Run = tuple[Sequence[EntryKey], Sequence[TableEntry]]
"""Keys and entries of one form, as `Framer.inserts` has it."""


class Portion:
    """What of a batch goes into one Write."""

    __slots__ = ("_framer", "_runs", "_updates", "entries")

    def __init__(self, runs: Sequence[Run]) -> None:
        self.entries: dict[EntryKey, TableEntry] = {}
        for keys, entries in runs:
            self.entries.update(zip(keys, entries, strict=True))
        self._runs = runs
        self._framer: Framer | None = None
        self._updates = Updates(b"", 0)

    def __len__(self) -> int:
        return len(self.entries)

    def updates(self, framer: Framer) -> Updates:
        """Their INSERTs; the same object for all who ask with the same framer."""
        if self._framer is not framer:
            data = b"".join([framer.inserts(entries) for _, entries in self._runs])
            self._framer, self._updates = framer, Updates(data, len(self.entries))
        return self._updates


class Batch(Collection[EntryKey]):
    """Entries of a slice by key, which were not there before; all in `flow`. As a collection it has
    their keys.
    """

    def __init__(self, gre_key: int, runs: Iterable[Run]) -> None:
        self.gre_key = gre_key
        self._runs = [run for run in runs if run[0]]
        self._keys = frozenset(key for keys, _ in self._runs for key in keys)
        self._portions: list[Portion] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[EntryKey]:
        for keys, _ in self._runs:
            yield from keys

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def apart(self, keys: Collection[EntryKey]) -> bool:
        """Whether none of these keys is one of the batch's; costs as much as the fewer of both."""
        if len(keys) < len(self._keys):
            return self._keys.isdisjoint(keys)
        return all(key not in keys for key in self._keys)

    def portions(self, size: int) -> Sequence[Portion]:
        """All of it, so many entries at a time; the same objects for all who ask."""
        if self._size != size:
            self._portions, self._size = [Portion(runs) for runs in self._cut(size)], size
        return self._portions

    def _cut(self, size: int) -> Iterator[list[Run]]:
        gathered: list[Run] = []
        room = size
        for keys, entries in self._runs:
            start = 0
            while start < len(keys):
                end = start + room
                gathered.append((keys[start:end], entries[start:end]))
                room -= len(gathered[-1][0])
                start = end
                if not room:
                    yield gathered
                    gathered, room = [], size
        if gathered:
            yield gathered
