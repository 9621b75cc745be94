"""What a switch should hold and does hold, entry by entry, and who wants it: pure bookkeeping.

Each owner (the fabric, or a VN) has a part of the desired state; parts never share an entry.
`pending` gives the writes for what has changed since; `written` records what became of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from dfvisor.agent.claims import Claims, Source
from dfvisor.errors import DFVisorError
from dfvisor.p4rt.entries import (
    Changes,
    EntryKey,
    Item,
    by_key,
    diff_maps,
    entry_key,
    is_reset,
)

_NONE: Mapping[str, Source] = {}


class Clash(DFVisorError):
    """Two owners want the same entry (for example one GRE key, or one access port)."""

    def __init__(self, item: Item, other: str) -> None:
        self.other = other
        super().__init__(f"{item}: belongs to {other} already")


class Book:
    """Desired entries by owner, and the entries that the switch has as far as known."""

    def __init__(self) -> None:
        self._desired: dict[EntryKey, Item] = {}
        self._owner: dict[EntryKey, str] = {}
        self._parts: dict[str, dict[int, Item]] = {}  # items by id(), which they keep alive
        self._claims: dict[str, Claims] = {}
        self._actual: dict[EntryKey, Item] = {}
        self._touched: dict[EntryKey, None] = {}  # a set that keeps its order

    def set_part(
        self, owner: str, items: Iterable[Item], sources: Mapping[str, Source] = _NONE
    ) -> None:
        """Replace an owner's part; Clash, and nothing changed, if another has one of the items.

        No two of `items` may have one identity, nor may one of the sources have it; two sources
        may. Items that are the same objects as before cost nothing, and sources that are `Named`
        only what differs.
        """
        part = {id(item): item for item in items}
        old = self._parts.get(owner, {})
        added = by_key(item for number, item in part.items() if number not in old)
        claims = self._claims.get(owner) or Claims()
        change = claims.change(sources)
        coming: list[tuple[Iterable[EntryKey], Iterable[Item]]] = [(added.keys(), added.values())]
        coming += [(one.keys, one.items) for one in change.values() if one is not None]
        owners = self._owner
        for keys, wanted_here in coming:
            for key, item in zip(keys, wanted_here, strict=True):
                if owners.get(key, owner) != owner:
                    raise Clash(item, owners[key])
        for number, item in old.items():
            if number in part:
                continue
            key = entry_key(item)
            if key not in added:
                del self._desired[key], self._owner[key]
                self._touched[key] = None
        desired, touched = self._desired, self._touched
        for key, wanted in chain(claims.follow(sources, change), added.items()):
            if desired.get(key) != wanted:
                touched[key] = None
            if wanted is not None:
                desired[key] = wanted
                owners[key] = owner
            elif key in desired:
                del desired[key], owners[key]
        self._parts[owner], self._claims[owner] = part, claims
        if not part:
            del self._parts[owner]
        if not claims.keys():
            del self._claims[owner]

    @property
    def desired(self) -> Iterable[Item]:
        """All that is wanted."""
        return self._desired.values()

    def owner_of(self, item: Item) -> str | None:
        """Who wants the item's entry; None if nobody does."""
        return self._owner.get(entry_key(item))

    def read_back(self, actual: Iterable[Item]) -> None:
        """The switch has exactly these entries."""
        self._actual = by_key(actual)
        self._touched = dict.fromkeys((*self._desired, *self._actual))

    def pending(self) -> Changes:
        """The writes that make the switch as desired."""
        return diff_maps(
            {key: self._actual[key] for key in self._touched if key in self._actual},
            {key: self._desired[key] for key in self._touched if key in self._desired},
        )

    def written(self, item: Item, *, deleted: bool = False) -> None:
        """The switch has accepted this item of `pending`, or its deletion."""
        key = entry_key(item)
        if deleted or is_reset(item):
            self._actual.pop(key, None)
        else:
            self._actual[key] = item
        if self._actual.get(key) == self._desired.get(key):
            self._touched.pop(key, None)

    def settle(self) -> None:
        """Forget what was touched without difference, so that `pending` stays cheap."""
        self._touched = {
            key: None for key in self._touched if self._actual.get(key) != self._desired.get(key)
        }
