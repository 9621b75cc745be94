"""Items by key from named sources, of which two may want the same key: pure bookkeeping.

Two flowspaces may expand to one key and priority, and then do the same with its packets (others are
refused); the entry is that of the lower name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from dfvisor.model.named import Named, differing
from dfvisor.p4rt.entries import EntryKey, Item


class Source(Protocol):
    """What wants some items; `keys` are what identifies them, in the same order."""

    @property
    def items(self) -> tuple[Item, ...]: ...

    @property
    def keys(self) -> tuple[EntryKey, ...]: ...


Change: TypeAlias = Mapping[str, Source | None]
"""Sources that came or differ, and None for those that went."""


class Claims:
    """The items of one owner's sources."""

    def __init__(self) -> None:
        self._held: Mapping[str, Source] = Named()
        self._sources: dict[str, Source] = {}  # the same; looking at a former `Named` is dear
        self._first: dict[EntryKey, tuple[str, Item]] = {}
        self._others: dict[EntryKey, dict[str, Item]] = {}  # all of a key that several want

    def keys(self) -> Iterable[EntryKey]:
        """Of all items."""
        return self._first.keys()

    def change(self, sources: Mapping[str, Source]) -> Change:
        """What is to be followed so that these are the sources."""
        return differing(self._held, sources)

    def follow(
        self, sources: Mapping[str, Source], change: Change
    ) -> Iterable[tuple[EntryKey, Item | None]]:
        """These sources from now on, of which `change` differs; returns what is to be under the
        keys concerned.
        """
        touched: dict[EntryKey, None] = {}
        first, held = self._first, self._sources
        for name, one in change.items():
            before = held.pop(name, None)
            if before is not None:
                for key in before.keys:
                    self._withdraw(key, name, touched)
            if one is None:
                continue
            held[name] = one
            for key, item in zip(one.keys, one.items, strict=True):
                touched[key] = None
                if key in first:
                    self._claim(key, name, item)
                else:
                    first[key] = (name, item)
        self._held = sources
        return [(key, first[key][1] if key in first else None) for key in touched]

    def _claim(self, key: EntryKey, name: str, item: Item) -> None:
        """Of another source, too."""
        first = self._first[key]
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
