"""What `flow` and `slice_forward` of the switch hold, by slice. Pure: no I/O.

Entries are the switch's own (its slice ids and next-hop ids). The mirror changes only when the
switch has acknowledged a change: after an unknown outcome it is what the switch is made equal to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dfvisor.p4rt.entries import EntryKey, Item, TableEntry, entry_key
from dfvisor.slicer.translate import slice_of

_NOTHING: Mapping[EntryKey, TableEntry] = {}


class Mirror:
    """Entries by slice id, then by identity."""

    def __init__(self, entries: Iterable[TableEntry] = ()) -> None:
        self._slices: dict[int, dict[EntryKey, TableEntry]] = {}
        for entry in entries:
            self.put(entry)

    def of(self, slice_id: int) -> Mapping[EntryKey, TableEntry]:
        """The entries of one slice. A view: take a copy before awaiting."""
        return self._slices.get(slice_id, _NOTHING)

    def get(self, slice_id: int, key: EntryKey) -> TableEntry | None:
        """The entry of that identity."""
        return self.of(slice_id).get(key)

    def put(self, entry: TableEntry) -> None:
        """Add an entry, or replace the one of its identity."""
        self._slices.setdefault(slice_of(entry.key), {})[entry_key(entry)] = entry

    def remove(self, entry: TableEntry) -> None:
        """Take the entry of that identity out; no error if there is none."""
        slice_id = slice_of(entry.key)
        entries = self._slices.get(slice_id)
        if entries is not None:
            entries.pop(entry_key(entry), None)
            if not entries:
                del self._slices[slice_id]

    def drop(self, slice_id: int) -> list[TableEntry]:
        """Take a slice's entries out, and return them."""
        return list(self._slices.pop(slice_id, {}).values())

    def by_key(self) -> dict[EntryKey, Item]:
        """All entries by identity."""
        return {key: entry for entries in self._slices.values() for key, entry in entries.items()}

    def __iter__(self) -> Iterator[TableEntry]:
        for entries in self._slices.values():
            yield from entries.values()

    def __len__(self) -> int:
        return sum(map(len, self._slices.values()))
