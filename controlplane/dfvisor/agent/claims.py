"""Items by key from named sources, of which two may want the same key: pure bookkeeping.

Two flowspaces may expand to one key and priority, and then do the same with its packets (others are
refused); the entry is that of the lower name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from dfvisor.model.named import Named, differing
from dfvisor.p4rt.entries import EntryKey, Item, entry_key


class Source(Protocol):
    """What wants some items."""

    @property
    def items(self) -> tuple[Item, ...]: ...


class Claims:
    """The items of one owner's sources."""

    def __init__(self) -> None:
        self._held: Mapping[str, Source] = Named()
        self._first: dict[EntryKey, tuple[str, Item]] = {}
        self._others: dict[EntryKey, dict[str, Item]] = {}  # all of a key that several want

    def keys(self) -> Iterable[EntryKey]:
        """Of all items."""
        return self._first.keys()

    def coming(self, sources: Mapping[str, Source]) -> Iterator[tuple[EntryKey, Item]]:
        """The items that `follow` would add or replace, and perhaps others of those sources."""
        for one in differing(self._held, sources).values():
            if one is not None:
                yield from ((entry_key(item), item) for item in one.items)

    def follow(self, sources: Mapping[str, Source]) -> dict[EntryKey, Item | None]:
        """These sources from now on; returns what is to be under the keys concerned."""
        touched: dict[EntryKey, None] = {}
        held = self._held
        for name, one in differing(held, sources).items():
            before = held.get(name)
            for item in before.items if before is not None else ():
                self._withdraw(entry_key(item), name, touched)
            for item in one.items if one is not None else ():
                self._claim(entry_key(item), name, item, touched)
        self._held = sources
        return {key: self._first[key][1] if key in self._first else None for key in touched}

    def _claim(self, key: EntryKey, name: str, item: Item, touched: dict[EntryKey, None]) -> None:
        touched[key] = None
        first = self._first.get(key)
        if first is None:
            self._first[key] = (name, item)
            return
        wanted = self._others.setdefault(key, {first[0]: first[1]})
        wanted[name] = item
        self._first[key] = min(wanted.items(), key=lambda one: one[0])

    def _withdraw(self, key: EntryKey, name: str, touched: dict[EntryKey, None]) -> None:
        touched[key] = None
        wanted = self._others.get(key)
        if wanted is None:
            del self._first[key]
            return
        del wanted[name]
        self._first[key] = min(wanted.items(), key=lambda one: one[0])
        if len(wanted) == 1:
            del self._others[key]
