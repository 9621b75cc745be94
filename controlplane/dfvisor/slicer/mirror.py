"""What `flow` and `slice_forward` of the switch hold, by slice. Pure: no I/O.

Entries are the switch's own (its slice ids and next-hop ids), as serialized messages: a hundred
bytes each, and a read only has to copy them. The mirror changes only when the switch has
acknowledged a change: after an unknown outcome it is what the switch is made equal to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat

HEAD = 4
"""A key's first bytes: the table id, big endian. Then the priority, then the fields without the
slice id."""

_NOTHING: Mapping[bytes, bytes] = {}


class Mirror:
    """Serialized entries by slice id, then by key."""

    def __init__(self) -> None:
        self._slices: dict[int, dict[bytes, bytes]] = {}
        self._counts: dict[tuple[int, bytes], int] = {}

    def of(self, slice_id: int) -> Mapping[bytes, bytes]:
        """The entries of one slice. A view: take a copy before awaiting."""
        return self._slices.get(slice_id, _NOTHING)

    def get(self, slice_id: int, key: bytes) -> bytes | None:
        """The entry of that key."""
        entries = self._slices.get(slice_id)
        return None if entries is None else entries.get(key)

    def count(self, slice_id: int, head: bytes) -> int:
        """How many entries a slice has in a table."""
        return self._counts.get((slice_id, head), 0)

    def put(self, slice_id: int, key: bytes, entry: bytes) -> None:
        """Add an entry, or replace the one of its key."""
        self.put_all((slice_id, key[:HEAD]), {key: entry})

    def remove(self, slice_id: int, key: bytes) -> None:
        """Take the entry of that key out; no error if there is none."""
        self.remove_all((slice_id, key[:HEAD]), (key,))

    def put_all(self, table: tuple[int, bytes], entries: Mapping[bytes, bytes]) -> None:
        """As `put`, of entries of one slice and table, by key."""
        held = self._slices.setdefault(table[0], {})
        before = len(held)
        held.update(entries)
        if len(held) > before:
            self._counts[table] = self._counts.get(table, 0) + len(held) - before

    def remove_all(self, table: tuple[int, bytes], keys: Iterable[bytes]) -> None:
        """As `remove`, of entries of one slice and table."""
        held = self._slices.get(table[0])
        if held is None:
            return
        before = len(held)
        deque(map(held.pop, keys, repeat(None)), maxlen=0)
        if len(held) < before:
            self._counts[table] -= before - len(held)
            if not self._counts[table]:
                del self._counts[table]
        if not held:
            del self._slices[table[0]]

    def become(self, other: Mirror) -> None:
        """Hold what another holds, which is used no more."""
        self._slices, self._counts = other._slices, other._counts

    def drop(self, slice_id: int) -> dict[bytes, bytes]:
        """Take a slice's entries out, and return them."""
        for place in [place for place in self._counts if place[0] == slice_id]:
            del self._counts[place]
        return self._slices.pop(slice_id, {})

    def slice_ids(self) -> list[int]:
        """The slices that have entries."""
        return list(self._slices)

    def __iter__(self) -> Iterator[tuple[int, bytes, bytes]]:
        for slice_id, entries in self._slices.items():
            for key, entry in entries.items():
                yield slice_id, key, entry

    def __len__(self) -> int:
        return sum(self._counts.values())
