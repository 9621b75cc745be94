"""What of a fabric still works, as far as path classes have to know: pure.

Links that are down cost `DOWN_COST` more (`model.links`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from dfvisor.model.links import DOWN_COST
from dfvisor.model.records import Fabric
from dfvisor.vnc.routing import Routing


def cut_off(fabric: Fabric) -> frozenset[str]:
    """The switches that no packet reaches and none comes from: all their links are down."""
    joined = {
        end.switch for link in fabric.links if link.cost < DOWN_COST for end in (link.a, link.b)
    }
    return frozenset(fabric.switches.keys() - joined)


def apart(fabric: Fabric, switches: Collection[str]) -> frozenset[str]:
    """Those of a VN's switches that are cut off from the others; one alone is not, from nobody."""
    return cut_off(fabric).intersection(switches) if len(switches) > 1 else frozenset()


def broken(fabric: Fabric, routing: Routing, homes: Iterable[str], avoid: Collection[str]) -> bool:
    """Whether some way between two of the homes ends on the way: at a switch that is cut off, or
    at a link that is gone, or down with no way around it. (An end that is cut off is no way's
    fault: nothing else would lead there.)
    """
    neighbours = _neighbours(fabric)
    dead = cut_off(fabric)
    ends = sorted(set(homes) - dead)
    seen: set[tuple[str, str]] = set()
    for destination in ends:
        tree = routing.trees.get(destination, {})
        for source in ends:
            way = [source]
            while way[-1] != destination and way[-1] in tree and len(way) <= len(tree):
                way.append(tree[way[-1]][0])
            if way[-1] != destination:
                return True
            seen.update(pairwise(way))
    cables = {frozenset((link.a.switch, link.b.switch)) for link in fabric.links}
    return any(
        frozenset(hop) not in cables or not _passable(neighbours, *hop, frozenset(avoid))
        for hop in seen
    )


def _neighbours(fabric: Fabric) -> Mapping[str, set[str]]:
    """By links that are up."""
    found: dict[str, set[str]] = {name: set() for name in fabric.switches}
    for link in fabric.links:
        if link.cost < DOWN_COST and link.a.switch in found and link.b.switch in found:
            found[link.a.switch].add(link.b.switch)
            found[link.b.switch].add(link.a.switch)
    return found


def _passable(neighbours: Mapping[str, set[str]], a: str, b: str, avoided: frozenset[str]) -> bool:
    """Whether one comes from a to b, by their link or around it."""
    reached, ahead = {a}, [a]
    while ahead:
        for other in neighbours.get(ahead.pop(), ()):
            if other == b:
                return True
            if other not in reached and other not in avoided:
                reached.add(other)
                ahead.append(other)
    return False
