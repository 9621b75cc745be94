"""Flowspaces of equal priority that overlap and disagree: pure.

A match, once canonical, is a box: an interval per field (exact values, prefixes and port ranges
are all intervals), plus TCP flags, which are ternary. Two matches overlap when all intervals do.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

import msgspec
from msgspec.structs import astuple

from dfvisor.model.records import Flowspace, Match, Treatment
from dfvisor.model.ternary import WIDTHS, canonical, mirror
from dfvisor.model.types import PortRange

_FIELDS = ("endpoint", *(name for name in WIDTHS if name != "tcp_flags"))
_SAID = Match.__struct_fields__  # in the same order
_NO_FLAGS = (0, 0)
SHOWN = 2000  # boxes by which a field is chosen, about
FEW = 64  # flowspaces: for more than that, and than are known, the index is made anew


class Box(msgspec.Struct, frozen=True, gc=False):
    """Inclusive intervals in the order of _FIELDS, and TCP flags as (value, mask)."""

    intervals: tuple[tuple[int, int], ...]
    flags: tuple[int, int]

    def meets(self, other: Box) -> bool:
        for (low, high), (other_low, other_high) in zip(
            self.intervals, other.intervals, strict=True
        ):
            if low > other_high or other_low > high:
                return False
        return not (self.flags[0] ^ other.flags[0]) & self.flags[1] & other.flags[1]


def conflicts(flowspaces: Iterable[Flowspace], limit: int = 100) -> list[tuple[str, str]]:
    """Names of flowspaces (first, later in the given order) of equal priority that overlap,
    directly or through a mirror, but differ in slice, treatment or meter (no two flowspaces share
    one). At most `limit` pairs per priority.
    """
    groups = _by_priority(flowspaces)
    found: list[tuple[str, str]] = []
    for priority in sorted(groups):
        group = groups[priority]
        if _disagree(group):
            found += [(group[a].name, group[b].name) for a, b in _conflicts(group, limit)]
    return found


def _disagree(group: Iterable[Flowspace]) -> bool:
    return len(set(_outcomes(group))) > 1


_Outcome: TypeAlias = tuple[str, Treatment, str]


def _outcome(flowspace: Flowspace) -> _Outcome:
    meter = "" if flowspace.rate is None else flowspace.name
    return flowspace.slice, flowspace.treatment, meter


def _outcomes(flowspaces: Iterable[Flowspace]) -> list[_Outcome]:
    return [(f.slice, f.treatment, "" if f.rate is None else f.name) for f in flowspaces]


def _conflicts(group: Sequence[Flowspace], limit: int) -> list[tuple[int, int]]:
    endpoints = sorted({f.match.endpoint for f in group if f.match.endpoint is not None})
    numbers = {name: number for number, name in enumerate(endpoints)}
    boxes: list[tuple[int, Box]] = []
    for index, flowspace in enumerate(group):
        boxes.append((index, box(flowspace.match, numbers)))
        if flowspace.bidirectional:
            boxes.append((index, box(mirror(flowspace.match), numbers)))

    field = _telling([box for _, box in boxes])
    boxes.sort(key=lambda item: item[1].intervals[field])
    found: set[tuple[int, int]] = set()
    active: list[tuple[int, Box]] = []
    for index, new in boxes:
        low = new.intervals[field][0]
        active = [item for item in active if item[1].intervals[field][1] >= low]
        for other, old in active:
            pair = (min(index, other), max(index, other))
            if (
                pair not in found
                and _outcome(group[index]) != _outcome(group[other])
                and new.meets(old)
            ):
                found.add(pair)
                if len(found) >= limit:
                    return sorted(found)
        active.append((index, new))
    return sorted(found)


def _telling(boxes: Sequence[Box]) -> int:
    """The field that tells most of the boxes apart, as far as some of them show."""
    shown = boxes[:: len(boxes) // SHOWN | 1]
    return min(range(len(_FIELDS)), key=lambda f: _meetings([one.intervals[f] for one in shown]))


def _meetings(intervals: Sequence[tuple[int, int]]) -> int:
    """How many pairs of the intervals overlap."""
    if len(set(intervals)) == 1:  # most often: nobody says anything about this field
        return len(intervals) * (len(intervals) - 1) // 2
    highs = sorted(high for _, high in intervals)
    lows = sorted(low for low, _ in intervals)
    return sum(position - bisect_left(highs, low) for position, low in enumerate(lows))


def box(match: Match, endpoints: dict[str, int]) -> Box:
    """The box of a match; endpoints become numbers."""
    (
        endpoint,
        eth_src,
        eth_dst,
        eth_type,
        vlan,
        ipv4_src,
        ipv4_dst,
        ipv6_src,
        ipv6_dst,
        ip_proto,
        dscp,
        fragment,
        l4_src,
        l4_dst,
        tcp_flags,
    ) = astuple(canonical(match))
    return Box(
        (
            _ANY_ENDPOINT if endpoint is None else (endpoints[endpoint],) * 2,
            _ANY_ETH if eth_src is None else (eth_src.value,) * 2,
            _ANY_ETH if eth_dst is None else (eth_dst.value,) * 2,
            _ANY_TYPE if eth_type is None else (eth_type, eth_type),
            _ANY_VLAN if vlan is None else (vlan, vlan),  # untagged is -1: any of its own will do
            _ANY_IPV4 if ipv4_src is None else _span(ipv4_src, 32),
            _ANY_IPV4 if ipv4_dst is None else _span(ipv4_dst, 32),
            _ANY_IPV6 if ipv6_src is None else _span(ipv6_src, 128),
            _ANY_IPV6 if ipv6_dst is None else _span(ipv6_dst, 128),
            _ANY_PROTO if ip_proto is None else (ip_proto, ip_proto),
            _ANY_DSCP if dscp is None else (dscp, dscp),
            _ANY_FRAGMENT if fragment is None else (int(fragment),) * 2,
            _ANY_PORT if l4_src is None else (l4_src.low, l4_src.high),
            _ANY_PORT if l4_dst is None else (l4_dst.low, l4_dst.high),
        ),
        tcp_flags or _NO_FLAGS,
    )


def _any(width: int) -> tuple[int, int]:
    """More than every exact value: what is not said also meets what is not there."""
    return -1, (1 << width) - 1


_ANY_ENDPOINT = _any(32)
_ANY_ETH, _ANY_TYPE, _ANY_VLAN = map(_any, (48, WIDTHS["eth_type"], WIDTHS["vlan_tci"]))
_ANY_PROTO, _ANY_DSCP = _any(WIDTHS["ip_proto"]), _any(WIDTHS["ip_dscp"])
_ANY_FRAGMENT = _any(WIDTHS["is_fragment"])
_ANY_IPV4, _ANY_IPV6, _ANY_PORT = (0, (1 << 32) - 1), (0, (1 << 128) - 1), (0, 0xFFFF)


def _span(network: IPv4Network | IPv6Network, width: int) -> tuple[int, int]:
    low = int(network.network_address)
    return low, low | (1 << width - network.prefixlen) - 1


class Overlaps:
    """Flowspaces by priority, to ask which of them a changed one conflicts with: as `conflicts`,
    at the cost of those that are near it.
    """

    def __init__(self, flowspaces: Iterable[Flowspace]) -> None:
        self._groups = {
            priority: _Group(group) for priority, group in _by_priority(flowspaces).items()
        }

    def discard(self, flowspaces: Iterable[Flowspace]) -> None:
        """Forget some that are known."""
        for priority, gone in _by_priority(flowspaces).items():
            group = self._groups[priority]
            if len(gone) > max(FEW, len(group.flowspaces) // 2):
                names = {flowspace.name for flowspace in gone}
                left = [one for name, one in group.flowspaces.items() if name not in names]
                self._groups[priority] = group = _Group(left)
            else:
                for flowspace in gone:
                    group.discard(flowspace)
            if not group.flowspaces:
                del self._groups[priority]

    def add(self, flowspace: Flowspace) -> None:
        """Know one more."""
        self.extend((flowspace,))

    def extend(self, flowspaces: Iterable[Flowspace]) -> bool:
        """Know these, too, of which none is known; False, and the index is of no more use, if one
        conflicts with another or with one that is known.
        """
        for priority, come in _by_priority(flowspaces).items():
            group = self._groups.get(priority)
            if group is not None and len(come) <= max(FEW, len(group.flowspaces)):
                if not group.extend(come):
                    return False
                continue
            every = come if group is None else [*group.flowspaces.values(), *come]
            made = _Group(every)
            if made.disagrees and _conflicts(every, 1):
                return False
            self._groups[priority] = made
        return True

    def conflict(self, flowspace: Flowspace) -> bool:
        """Whether a known one of the same priority overlaps this one but differs in outcome."""
        group = self._groups.get(flowspace.priority)
        return group is not None and group.conflict(flowspace)


def _by_priority(flowspaces: Iterable[Flowspace]) -> dict[int, list[Flowspace]]:
    groups: defaultdict[int, list[Flowspace]] = defaultdict(list)
    for flowspace in flowspaces:
        groups[flowspace.priority].append(flowspace)
    return groups


class _Group:
    """Flowspaces of one priority. As long as they all have one outcome none conflicts with another,
    wherever they are; only then places become of interest, and are indexed by the field that tells
    most of them apart at that moment.

    Each interval of that field is kept under the smallest aligned block that holds it. One that
    meets another either begins within it, or its block holds the other's beginning.
    """

    def __init__(self, flowspaces: Sequence[Flowspace]) -> None:
        self.flowspaces: dict[str, Flowspace] = {}
        self._outcomes: Counter[_Outcome] = Counter()
        self._endpoints: dict[str, int] = {}  # numbers of endpoints; never reused
        self._boxes: dict[str, tuple[Box, ...]] = {}  # of those that were looked at
        self._blocks: dict[int, dict[int, set[str]]] = {}  # by level, by block
        self._begins: list[tuple[int, str]] = []
        self._field: int | None = None  # None: places are not indexed yet
        self._put(flowspaces)
        if self.disagrees:
            self._index()

    def extend(self, flowspaces: Sequence[Flowspace]) -> bool:
        """Know these, too; False, and the group is of no more use, if there is a conflict."""
        if len({*self._outcomes, *_outcomes(flowspaces)}) == 1:  # then they may overlap
            self._put(flowspaces)
            return True
        for flowspace in flowspaces:
            if self.conflict(flowspace):
                return False
            self._put((flowspace,))
        return True

    @property
    def disagrees(self) -> bool:
        """Whether there is more than one outcome."""
        return len(self._outcomes) > 1

    def _put(self, flowspaces: Sequence[Flowspace]) -> None:
        self._outcomes.update(_outcomes(flowspaces))
        self.flowspaces.update({flowspace.name: flowspace for flowspace in flowspaces})
        if self._field is not None:
            self._place(flowspaces)

    def _index(self) -> None:
        every = list(self.flowspaces.values())
        shown = every[:: len(every) // SHOWN | 1]
        self._field = _telling([one for flowspace in shown for one in self._boxes_of(flowspace)])
        self._place(every)

    def _place(self, flowspaces: Sequence[Flowspace]) -> None:
        begins: list[tuple[int, str]] = []
        blocks = self._blocks
        for flowspace in flowspaces:
            name = flowspace.name
            for low, high in self._intervals(flowspace):
                level = (low ^ high).bit_length()
                of_level = blocks.get(level)
                if of_level is None:
                    of_level = blocks[level] = {}
                names = of_level.get(low >> level)
                if names is None:
                    of_level[low >> level] = {name}
                else:
                    names.add(name)
                begins.append((low, name))
        if len(begins) <= FEW:
            for begin in begins:
                insort(self._begins, begin)
        else:
            self._begins += begins
            self._begins.sort()

    def discard(self, flowspace: Flowspace) -> None:
        held = self.flowspaces.pop(flowspace.name)
        outcome = _outcome(held)
        self._outcomes[outcome] -= 1
        if not self._outcomes[outcome]:
            del self._outcomes[outcome]
        self._boxes.pop(flowspace.name, None)
        if self._field is None:
            return
        for low, high in self._intervals(held):
            level = (low ^ high).bit_length()
            blocks = self._blocks[level]  # two boxes of one flowspace may be in one block
            names = blocks.get(low >> level, set())
            names.discard(flowspace.name)
            if not names:
                blocks.pop(low >> level, None)
            del self._begins[bisect_left(self._begins, (low, flowspace.name))]

    def conflict(self, flowspace: Flowspace) -> bool:
        outcome = _outcome(flowspace)
        if self._outcomes.keys() <= {outcome}:
            return False
        if self._field is None:
            self._index()
        for new in self._boxes_of(flowspace):
            low, high = self._interval(new)
            start = bisect_left(self._begins, (low, ""))
            end = bisect_left(self._begins, (high + 1, ""))
            near = {name for _, name in self._begins[start:end]}
            for level, blocks in self._blocks.items():
                near |= blocks.get(low >> level, set())
            for name in near:
                other = self.flowspaces[name]
                if (
                    name != flowspace.name
                    and _outcome(other) != outcome
                    and any(new.meets(old) for old in self._known(other))
                ):
                    return True
        return False

    def _interval(self, box: Box) -> tuple[int, int]:
        """In the field of the index, and not negative."""
        assert self._field is not None, "places are indexed"
        low, high = box.intervals[self._field]
        return low + 1, high + 1

    def _intervals(self, flowspace: Flowspace) -> list[tuple[int, int]]:
        """Those of its boxes, which need not be made for that where the field says it all."""
        if not flowspace.bidirectional and self._field is not None:
            value = getattr(flowspace.match, _SAID[self._field])
            if isinstance(value, PortRange):
                return [(value.low + 1, value.high + 1)]
            if isinstance(value, IPv4Network):
                low, high = _span(value, 32)
                return [(low + 1, high + 1)]
        return [self._interval(one) for one in self._boxes_of(flowspace)]

    def _known(self, flowspace: Flowspace) -> tuple[Box, ...]:
        found = self._boxes.get(flowspace.name)
        if found is None:
            found = self._boxes[flowspace.name] = self._boxes_of(flowspace)
        return found

    def _boxes_of(self, flowspace: Flowspace) -> tuple[Box, ...]:
        match = flowspace.match
        if match.endpoint is not None:
            self._endpoints.setdefault(match.endpoint, len(self._endpoints))
        if flowspace.bidirectional:
            return box(match, self._endpoints), box(mirror(match), self._endpoints)
        return (box(match, self._endpoints),)
