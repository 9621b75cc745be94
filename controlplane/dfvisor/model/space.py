"""What the packets of a slice can be: the flowspaces that let them in, as a set of ternary keys.

Pure. A flow entry belongs to a slice's space if every packet that it matches is matched by one of
the space's keys. Keys with the same masks are one set of values, so the question costs one look-up
for each combination of masks in use, however many flowspaces there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from dfvisor.model.named import differing
from dfvisor.model.records import Flowspace, Match, Treatment, VirtualNetwork
from dfvisor.model.ternary import WIDTHS, TernaryMatch, expand
from dfvisor.model.ternary import Masks as Masks
from dfvisor.model.ternary import Values as Values
from dfvisor.model.types import Mac

Projection: TypeAlias = list[tuple[int, int]]
"""Where to look, and under which mask."""
Fields: TypeAlias = Mapping[str, tuple[int, int]]
"""Field -> (value, mask)."""

KNOWN_SHAPES = 1024  # combinations of masks that are remembered; a client may send any number
SHOWN_KEYS = 3


class Space:
    """Ternary keys, each as often as it was added. `demotable` are the MACs whose packets any entry
    may demote: endpoints behind foreign peers, which no slice reaches.
    """

    def __init__(self, keys: Iterable[Fields] = ()) -> None:
        self.demotable: frozenset[int] = frozenset()
        self._groups: dict[Masks, dict[Values, int]] = {}
        self._shapes: dict[Masks, list[tuple[Projection, dict[Values, int]]]] = {}
        for key in keys:
            self.add(key)

    def add(self, key: Fields) -> None:
        """One key more."""
        self.put((_split(key),))

    def put(self, keys: Iterable[TernaryMatch]) -> None:
        """These keys more; `take` takes them again."""
        last: Masks | None = None
        members: dict[Values, int] = {}
        for key in keys:
            masks, values = key.masks, key.values
            if masks != last:
                last = masks
                if masks not in self._groups:
                    self._groups[masks] = {}
                    self._shapes.clear()
                members = self._groups[masks]
            members[values] = members.get(values, 0) + 1

    def take(self, keys: Iterable[TernaryMatch]) -> None:
        """These keys less; KeyError if one was never put."""
        for key in keys:
            masks, values = key.masks, key.values
            members = self._groups[masks]
            members[values] -= 1
            if not members[values]:
                del members[values]
            if not members:
                del self._groups[masks]
                self._shapes.clear()

    def covers(self, masks: Masks, values: Values) -> bool:
        """Whether every packet with these values under these masks is in the space: within one of
        its keys.
        """
        for projection, members in self._shapes_of(masks):
            if tuple([values[place] & mask for place, mask in projection]) in members:
                return True
        return False

    def places(self, masks: Masks) -> list[int]:
        """Places of the values that make a difference to `covers`, ascending."""
        shapes = self._shapes_of(masks)
        return sorted({place for projection, _ in shapes for place, _ in projection})

    def has(self, packet: Mapping[str, int]) -> bool:
        """Whether a packet with these field values (absent: 0) is in the space."""
        return any(
            tuple([packet.get(name, 0) & mask for name, mask in masks]) in members
            for masks, members in self._groups.items()
        )

    def _shapes_of(self, masks: Masks) -> list[tuple[Projection, dict[Values, int]]]:
        shapes = self._shapes.get(masks)
        return self._fit(masks) if shapes is None else shapes

    def _fit(self, masks: Masks) -> list[tuple[Projection, dict[Values, int]]]:
        """The groups whose every mask is within the given ones: where to find each field."""
        places = {name: (place, mask) for place, (name, mask) in enumerate(masks)}
        found = []
        for wanted, members in self._groups.items():
            projection = []
            for name, mask in wanted:
                place, given = places.get(name, (0, 0))
                if mask & ~given:
                    break
                projection.append((place, mask))
            else:
                found.append((projection, members))
        if len(self._shapes) >= KNOWN_SHAPES:
            self._shapes.clear()
        self._shapes[masks] = found
        return found

    def __str__(self) -> str:
        """The first keys, for a message."""
        shown: list[str] = []
        for masks, members in self._groups.items():
            for values in members:
                if len(shown) == SHOWN_KEYS:
                    return "; ".join(shown) + "; ..."
                parts = [
                    f"{name}={_text(name, value, mask)}"
                    for (name, mask), value in zip(masks, values, strict=True)
                ]
                shown.append(" ".join(parts) or "everything")
        return "; ".join(shown) or "nothing, because no flowspace leads into it"


class Spaces:
    """The spaces of a VN's slices, kept up with its records: a change costs what has changed."""

    def __init__(self) -> None:
        self._spaces: dict[str, Space] = {}
        self._demotable = frozenset[int]()
        self._held: dict[str, Flowspace] = {}
        self._macs: dict[str, Mac] = {}  # of the endpoints at which those enter that say so
        self._vn: VirtualNetwork | None = None  # the last one

    def of(self, slice_name: str) -> Space:
        """The space of a slice; empty for one that no flowspace leads into."""
        return self._spaces.setdefault(slice_name, Space())

    def update(self, vn: VirtualNetwork) -> set[str]:
        """The VN's newest records; returns the slices whose spaces have lost something."""
        last, self._vn = self._vn, vn
        same = last is not None and last.endpoints == vn.endpoints
        looked: Mapping[str, Flowspace | None] = vn.flowspaces
        if last is not None and same:
            looked = differing(last.flowspaces, vn.flowspaces)
            gone = [name for name, flowspace in looked.items() if flowspace is None]
        else:
            gone = [name for name in self._held if name not in vn.flowspaces]
        every, macs = self._held, self._macs
        shrunk = {self._forget(name) for name in gone if name in every}
        come: defaultdict[str, list[TernaryMatch]] = defaultdict(list)
        for name, flowspace in looked.items():
            if flowspace is None:
                continue
            held = every.get(name)
            match = flowspace.match
            mac = None if match.endpoint is None else _entrance(vn, match)
            if held is not None:
                if (held is flowspace or held == flowspace) and macs.get(name) == mac:
                    continue
                shrunk.add(self._forget(name))
            every[name] = flowspace
            if mac is not None:
                macs[name] = mac
            come[flowspace.slice] += _letting(flowspace, mac)
        for slice_name, found in come.items():
            self.of(slice_name).put(found)
        if not same:
            self._demotable = frozenset(
                end.mac.value for end in vn.endpoints.values() if end.peer is not None
            )
        for name in vn.slices:
            self.of(name).demotable = self._demotable
        for name in [name for name in self._spaces if name not in vn.slices]:
            del self._spaces[name]
        return shrunk

    def _forget(self, name: str) -> str:
        flowspace = self._held.pop(name)
        self.of(flowspace.slice).take(_letting(flowspace, self._macs.pop(name, None)))
        return flowspace.slice


def everything() -> Space:
    """The space that all packets are in."""
    return Space([{}])


def flowspace_keys(vn: VirtualNetwork, flowspace: Flowspace) -> list[Fields]:
    """The keys of one flowspace, as they can be told inside the fabric, where there is no access
    port to look at: an endpoint is told by its MAC.
    """
    return [key.fields for key in _keys(flowspace, _entrance(vn, flowspace.match))]


def _letting(flowspace: Flowspace, mac: Mac | None) -> Sequence[TernaryMatch]:
    """The keys by which it lets packets into its slice."""
    if flowspace.treatment is Treatment.DENY:
        return ()
    if mac is None:
        return expand(flowspace.match, bidirectional=flowspace.bidirectional)
    return _keys(flowspace, mac)


def _keys(flowspace: Flowspace, mac: Mac | None) -> list[TernaryMatch]:
    match = flowspace.match
    if mac is not None:
        match = msgspec.structs.replace(match, eth_src=mac)
    return expand(match, bidirectional=flowspace.bidirectional)


def _entrance(vn: VirtualNetwork, match: Match) -> Mac | None:
    if match.endpoint is None or match.eth_src is not None:
        return None
    endpoint = vn.endpoints.get(match.endpoint)
    return None if endpoint is None else endpoint.mac


def _split(key: Fields) -> TernaryMatch:
    names = [name for name in WIDTHS if name in key]
    return TernaryMatch(
        tuple([(name, key[name][1]) for name in names]), tuple([key[name][0] for name in names])
    )


def _text(name: str, value: int, mask: int) -> str:
    full = (1 << WIDTHS[name]) - 1
    return f"{value:#x}" if mask == full else f"{value:#x}/{mask:#x}"
