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


MOST_UPDATES = 1000  # in a Write: each costs both ends as much as a hundred updates
MOST_BYTES = 192 * 1024  # the slicer takes 256 KiB
AT_A_TIME = 125  # updates that are encoded together


class Portion:
    """What of a batch goes into one Write, the same to all switches."""

    __slots__ = ("entries", "updates")

    def __init__(self, entries: dict[EntryKey, TableEntry], data: bytes) -> None:
        self.entries = entries
        self.updates = Updates(data, len(entries))

    def __len__(self) -> int:
        return len(self.entries)


class Batch(Collection[EntryKey]):
    """Entries of a slice by key, which were not there before; all in `flow`. As a collection it has
    their keys.
    """

    def __init__(self, gre_key: int, runs: Iterable[Run]) -> None:
        self.gre_key = gre_key
        self._runs = [run for run in runs if run[0]]
        self._keys = frozenset(key for keys, _ in self._runs for key in keys)
        self._portions: list[Portion] = []
        self._framer: Framer | None = None

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

    def portions(self, framer: Framer) -> Sequence[Portion]:
        """All of it; the same objects for all who ask with the same framer."""
        if self._framer is not framer:
            self._portions, self._framer = list(self._cut(framer)), framer
        return self._portions

    def _cut(self, framer: Framer) -> Iterator[Portion]:
        entries: dict[EntryKey, TableEntry] = {}
        pieces: list[bytes] = []
        size = 0
        for keys, found in self._runs:
            for start in range(0, len(keys), AT_A_TIME):
                some = found[start : start + AT_A_TIME]
                data = framer.inserts(some)
                full = len(entries) + len(some) > MOST_UPDATES or size + len(data) > MOST_BYTES
                if entries and full:
                    yield Portion(entries, b"".join(pieces))
                    entries, pieces, size = {}, [], 0
                entries.update(zip(keys[start : start + AT_A_TIME], some, strict=True))
                pieces.append(data)
                size += len(data)
        if entries:
            yield Portion(entries, b"".join(pieces))
