"""What a switch should hold and does hold, entry by entry, and who wants it: pure bookkeeping.

Each owner (the fabric, or a VN) has a part of the desired state; parts never share an entry.
`pending` gives the writes for what has changed since; `written` records what became of them.

A part is made of items, and of named sources of items: flowspaces. Two of these may expand to one
key and priority, and then do the same with its packets (others are refused); the entry is that of
the lower name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from dfvisor.errors import DFVisorError
from dfvisor.model.named import Named, differing
from dfvisor.p4rt.entries import (
    Changes,
    Identity,
    Item,
    compact,
    identity,
    is_reset,
    spelled,
    turned,
)


class Source(Protocol):
    """What wants some items, as they are kept."""

    @property
    def items(self) -> tuple[Item, ...]: ...


_NONE: Named[Source] = Named()


class Clash(DFVisorError):
    """Two owners want the same entry (for example one GRE key, or one access port)."""

    def __init__(self, item: Item, other: str) -> None:
        self.other = other
        super().__init__(f"{item}: belongs to {other} already")


class _Place(msgspec.Struct, eq=False, gc=False):
    """What is known of one identity: what is wanted there, who wants it, what is written there.

    `source` is the one of the owner's whose item is wanted (None: the owner's own item); `claims`
    are those of all sources, where there are several.
    """

    key: Identity
    wanted: Item | None = None
    owner: str = ""
    source: str | None = None
    claims: dict[str, Item] | None = None
    written: Item | None = None


class _Part:
    """What an owner wants."""

    def __init__(self) -> None:
        self.items: dict[int, Item] = {}  # by id(), which they keep alive
        self.sources: Mapping[str, Source] = _NONE
        self.held: dict[str, Source] = {}  # the same; looking at a former `Named` is dear


class Book:
    """Desired entries by owner, and the entries that the switch has as far as known."""

    def __init__(self) -> None:
        self._places: dict[Identity, _Place] = {}
        self._parts: dict[str, _Part] = {}
        self._touched: dict[_Place, None] = {}  # a set that keeps its order

    # -- what is wanted

    def set_part(
        self, owner: str, items: Iterable[Item], sources: Mapping[str, Source] = _NONE
    ) -> None:
        """Replace an owner's part; Clash, and nothing changed, if another has one of the items.

        No two of `items` may have one identity, nor may one of the sources have it; two sources
        may. Nobody else's items have the identity of a source's, which holds a number of the
        owner's. Items that are the same objects as before cost nothing, and sources that are
        `Named` only what differs.
        """
        part = self._parts.get(owner) or _Part()
        wanted = {id(item): item for item in items}
        added = {
            identity(item): item for number, item in wanted.items() if number not in part.items
        }
        for key, item in added.items():
            place = self._places.get(key)
            if place is not None and place.wanted is not None and place.owner != owner:
                raise Clash(item, place.owner)
        for number, item in part.items.items():
            if number not in wanted and (key := identity(item)) not in added:
                place = self._places[key]
                place.wanted = None
                self._touched[place] = None
        change = differing(part.sources, sources)
        for name, one in change.items():
            before = part.held.pop(name, None)
            if before is not None:
                for item in before.items:
                    self._withdraw(identity(item), name)
            if one is not None:
                part.held[name] = one
                self._claim(owner, name, one)
        for key, item in added.items():
            place = self._place(key)
            place.wanted, place.owner, place.source = item, owner, None
            self._touched[place] = None
        part.items, part.sources = wanted, sources
        if part.items or part.held:
            self._parts[owner] = part
        else:
            self._parts.pop(owner, None)

    def _place(self, key: Identity) -> _Place:
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(key)
        return place

    def _claim(self, owner: str, name: str, source: Source) -> None:
        """The source wants its items, which perhaps another wants, too."""
        places, touched = self._places, self._touched
        for item in source.items:
            key = identity(item)
            place = places.get(key)
            if place is None:
                places[key] = place = _Place(key, item, owner, name)
            elif place.wanted is None:
                place.wanted, place.owner, place.source = item, owner, name
            else:
                assert place.owner == owner and place.source is not None, "see `set_part`"
                if place.claims is None:
                    place.claims = {place.source: place.wanted}
                place.claims[name] = item
                _choose(place, place.claims)
            touched[place] = None

    def _withdraw(self, key: Identity, name: str) -> None:
        """A source does not want what is there any more."""
        place = self._places[key]
        self._touched[place] = None
        if place.claims is None:
            place.wanted = None
            return
        del place.claims[name]
        _choose(place, place.claims)
        if len(place.claims) == 1:
            place.claims = None

    @property
    def desired(self) -> Iterable[Item]:
        """All that is wanted, spelled out."""
        return [
            spelled(place.wanted) for place in self._places.values() if place.wanted is not None
        ]

    def owner_of(self, item: Item) -> str | None:
        """Who wants the item's entry; None if nobody does."""
        place = self._places.get(identity(compact(item)))
        return None if place is None or place.wanted is None else place.owner

    # -- what is there

    def read_back(self, actual: Iterable[Item]) -> None:
        """The switch has exactly these entries."""
        for place in self._places.values():
            place.written = None
        for item in map(compact, actual):
            self._place(identity(item)).written = item
        self._touched = dict.fromkeys(self._places.values())

    def pending(self) -> Changes:
        """The writes that make the switch as desired."""
        return turned([(place.written, place.wanted) for place in self._touched])

    def written(self, item: Item, *, deleted: bool = False) -> None:
        """The switch has accepted this item of `pending`, or its deletion."""
        place = self._place(identity(item))
        place.written = None if deleted or is_reset(item) else item
        if place.written is place.wanted or place.written == place.wanted:
            self._touched.pop(place, None)
            if place.wanted is None:
                del self._places[place.key]

    def settle(self) -> None:
        """Forget what was touched without difference, so that `pending` stays cheap."""
        touched = self._touched
        for place in [place for place in touched if place.written == place.wanted]:
            del touched[place]
            if place.wanted is None:
                del self._places[place.key]


def _choose(place: _Place, claims: Mapping[str, Item]) -> None:
    """Of several sources that want it, the one of the lowest name."""
    place.source, place.wanted = min(claims.items(), key=lambda one: one[0])
