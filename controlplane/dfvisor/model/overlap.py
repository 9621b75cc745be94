"""Flowspaces of equal priority that overlap and disagree: pure.

A match, once canonical, is a box: an interval per field (exact values, prefixes and port ranges
are all intervals), plus TCP flags, which are ternary. Two matches overlap when all intervals do.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dfvisor.model.records import Flowspace, Match
from dfvisor.model.ternary import WIDTHS, canonical, mirror

_FIELDS = ("endpoint", *(name for name in WIDTHS if name != "tcp_flags"))


@dataclass(frozen=True, slots=True)
class Box:
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
    groups: dict[int, list[Flowspace]] = {}
    for flowspace in flowspaces:
        groups.setdefault(flowspace.priority, []).append(flowspace)
    found: list[tuple[str, str]] = []
    for priority in sorted(groups):
        group = groups[priority]
        if len({_outcome(flowspace) for flowspace in group}) > 1:
            found += [(group[a].name, group[b].name) for a, b in _conflicts(group, limit)]
    return found


def _outcome(flowspace: Flowspace) -> tuple[str, str, str]:
    meter = "" if flowspace.rate is None else flowspace.name
    return flowspace.slice, flowspace.treatment.value, meter


def _conflicts(group: Sequence[Flowspace], limit: int) -> list[tuple[int, int]]:
    endpoints = sorted({f.match.endpoint for f in group if f.match.endpoint is not None})
    numbers = {name: number for number, name in enumerate(endpoints)}
    boxes: list[tuple[int, Box]] = []
    for index, flowspace in enumerate(group):
        boxes.append((index, box(flowspace.match, numbers)))
        if flowspace.bidirectional:
            boxes.append((index, box(mirror(flowspace.match), numbers)))

    field = min(range(len(_FIELDS)), key=lambda f: _meetings([b.intervals[f] for _, b in boxes]))
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


def _meetings(intervals: Sequence[tuple[int, int]]) -> int:
    """How many pairs of the intervals overlap."""
    if len(set(intervals)) == 1:  # most often: nobody says anything about this field
        return len(intervals) * (len(intervals) - 1) // 2
    highs = sorted(high for _, high in intervals)
    lows = sorted(low for low, _ in intervals)
    return sum(position - bisect_left(highs, low) for position, low in enumerate(lows))


def box(match: Match, endpoints: dict[str, int]) -> Box:
    """The box of a match; endpoints become numbers."""
    match = canonical(match)
    intervals: list[tuple[int, int]] = [
        _exact(None if match.endpoint is None else endpoints[match.endpoint], 32),
        _exact(None if match.eth_src is None else match.eth_src.value, WIDTHS["eth_src"]),
        _exact(None if match.eth_dst is None else match.eth_dst.value, WIDTHS["eth_dst"]),
        _exact(match.eth_type, WIDTHS["eth_type"]),
        _exact(match.vlan, WIDTHS["vlan_tci"]),  # untagged is -1: any value of its own will do
    ]
    for network, width in (
        (match.ipv4_src, 32),
        (match.ipv4_dst, 32),
        (match.ipv6_src, 128),
        (match.ipv6_dst, 128),
    ):
        if network is None:
            intervals.append((0, (1 << width) - 1))
        else:
            low = int(network.network_address)
            intervals.append((low, low | (1 << width - network.prefixlen) - 1))
    intervals += [
        _exact(match.ip_proto, WIDTHS["ip_proto"]),
        _exact(match.dscp, WIDTHS["ip_dscp"]),
        _exact(None if match.fragment is None else int(match.fragment), WIDTHS["is_fragment"]),
    ]
    for ports in (match.l4_src, match.l4_dst):
        intervals.append((0, 0xFFFF) if ports is None else (ports.low, ports.high))
    return Box(tuple(intervals), match.tcp_flags or (0, 0))


def _exact(value: int | None, width: int) -> tuple[int, int]:
    return (-1, (1 << width) - 1) if value is None else (value, value)


class Overlaps:
    """Flowspaces by priority, to ask which of them a changed one conflicts with: as `conflicts`,
    at the cost of those that are near it.
    """

    def __init__(self, flowspaces: Iterable[Flowspace]) -> None:
        groups: dict[int, list[Flowspace]] = {}
        for flowspace in flowspaces:
            groups.setdefault(flowspace.priority, []).append(flowspace)
        self._groups = {priority: _Group(group) for priority, group in groups.items()}

    def discard(self, flowspace: Flowspace) -> None:
        """Forget one that is known."""
        group = self._groups[flowspace.priority]
        group.discard(flowspace)
        if not group.flowspaces:
            del self._groups[flowspace.priority]

    def add(self, flowspace: Flowspace) -> None:
        """Know one more."""
        group = self._groups.get(flowspace.priority)
        if group is None:
            self._groups[flowspace.priority] = _Group([flowspace])
        else:
            group.add(flowspace)

    def conflict(self, flowspace: Flowspace) -> bool:
        """Whether a known one of the same priority overlaps this one but differs in outcome."""
        group = self._groups.get(flowspace.priority)
        return group is not None and group.conflict(flowspace)


class _Group:
    """Flowspaces of one priority, indexed by the field that tells most of them apart when the group
    is made.

    Each interval of that field is kept under the smallest aligned block that holds it. One that
    meets another either begins within it, or its block holds the other's beginning.
    """

    def __init__(self, flowspaces: Sequence[Flowspace]) -> None:
        self.flowspaces: dict[str, Flowspace] = {}
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._endpoints: dict[str, int] = {}  # numbers of endpoints; never reused
        self._boxes: dict[str, tuple[Box, ...]] = {}
        self._blocks: dict[int, dict[int, set[str]]] = {}  # by level, by block
        self._begins: list[tuple[int, str]] = []
        boxes = [(one, self._boxes_of(one)) for one in flowspaces]
        self._field = min(
            range(len(_FIELDS)),
            key=lambda f: _meetings([box.intervals[f] for _, found in boxes for box in found]),
        )
        for flowspace, found in boxes:
            self._put(flowspace, found)
        self._begins.sort()

    def add(self, flowspace: Flowspace) -> None:
        found = self._boxes_of(flowspace)
        before = len(self._begins)
        self._put(flowspace, found)
        added = self._begins[before:]
        del self._begins[before:]
        for begin in added:
            insort(self._begins, begin)

    def _put(self, flowspace: Flowspace, boxes: tuple[Box, ...]) -> None:
        self.flowspaces[flowspace.name] = flowspace
        self._outcomes[_outcome(flowspace)] += 1
        self._boxes[flowspace.name] = boxes
        for found in boxes:
            low, high = self._interval(found)
            level = (low ^ high).bit_length()
            self._blocks.setdefault(level, {}).setdefault(low >> level, set()).add(flowspace.name)
            self._begins.append((low, flowspace.name))

    def discard(self, flowspace: Flowspace) -> None:
        held = self.flowspaces.pop(flowspace.name)
        outcome = _outcome(held)
        self._outcomes[outcome] -= 1
        if not self._outcomes[outcome]:
            del self._outcomes[outcome]
        for found in self._boxes.pop(flowspace.name):
            low, high = self._interval(found)
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
                    and any(new.meets(old) for old in self._boxes[name])
                ):
                    return True
        return False

    def _interval(self, box: Box) -> tuple[int, int]:
        """In the field of the index, and not negative."""
        low, high = box.intervals[self._field]
        return low + 1, high + 1

    def _boxes_of(self, flowspace: Flowspace) -> tuple[Box, ...]:
        match = flowspace.match
        if match.endpoint is not None:
            self._endpoints.setdefault(match.endpoint, len(self._endpoints))
        matches = (match, mirror(match)) if flowspace.bidirectional else (match,)
        return tuple(box(one, self._endpoints) for one in matches)
