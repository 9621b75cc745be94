"""Flowspaces of equal priority that overlap and disagree: pure.

A match, once canonical, is a box: an interval per field (exact values, prefixes and port ranges
are all intervals), plus TCP flags, which are ternary. Two matches overlap when all intervals do.
"""

from __future__ import annotations

from bisect import bisect_left
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
            intervals.append((int(network.network_address), int(network.broadcast_address)))
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
