"""Shortest paths through the fabric: pure, and the same answer everywhere for the same input.

Every part that needs a path (agents, VN controllers, validation) asks here, so all switches agree
on one destination-rooted tree and no loop can arise from different choices. Slices follow one tree
(`next_hops`), the underlay all paths of equal cost (`ecmp_next_hops`). The way to a foreign peer is
the way to the switch of its port, and from there out of that port.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

from dfvisor.model.records import DEFAULT_MTU, Fabric
from dfvisor.model.types import PortRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """The way onwards from a switch: its own `port`, the `neighbour` there and the neighbour's
    port. `mtu` is that of the link.
    """

    port: PortRef
    neighbour: str
    neighbour_port: PortRef
    mtu: int = DEFAULT_MTU


def next_hops(fabric: Fabric, destination: str, avoid: Collection[str] = ()) -> dict[str, Hop]:
    """The next hop towards switch `destination` from every switch that can reach it.

    The tree is rooted at the destination: least total cost first; among equals the neighbour of
    lower name, then the lower local port. Switches in `avoid` are not used for transit, but may
    themselves be source or destination. The destination is not in the result, nor is a switch
    without a path.
    """
    return {
        switch: found[0] for switch, found in ecmp_next_hops(fabric, destination, avoid).items()
    }


def ecmp_next_hops(
    fabric: Fabric, destination: str, avoid: Collection[str] = ()
) -> dict[str, tuple[Hop, ...]]:
    """All next hops of least total cost towards switch `destination`, from every switch that can
    reach it; ordered by the neighbour's name, then the local port. Otherwise as `next_hops`, which
    takes the first of them.

    The cost falls with every hop, so no choice among them makes a loop.
    """
    links: dict[str, list[tuple[str, PortRef, PortRef, int, int]]] = {}
    for link in fabric.links:
        weight = fabric.weight(link)
        for near, far in ((link.a, link.b), (link.b, link.a)):
            links.setdefault(near.switch, []).append((far.switch, near, far, weight, link.mtu))
    avoided = frozenset(avoid)
    cost: dict[str, int] = {}
    heap: list[tuple[int, str]] = [(0, destination)]
    while heap:
        distance, switch = heapq.heappop(heap)
        if switch in cost:
            continue
        cost[switch] = distance
        if switch in avoided and switch != destination:
            continue  # a source at best: nothing is reached through it
        for other, _, _, weight, _ in links.get(switch, ()):
            if other not in cost:
                heapq.heappush(heap, (distance + weight, other))

    hops: dict[str, tuple[Hop, ...]] = {}
    for switch in sorted(cost.keys() - {destination}):
        hops[switch] = tuple(
            Hop(port=near, neighbour=other, neighbour_port=far_port, mtu=mtu)
            for other, near, far_port, weight, mtu in sorted(links[switch], key=lambda one: one[:2])
            if other in cost
            and (other == destination or other not in avoided)
            and cost[other] + weight == cost[switch]
        )
    return hops


def path(
    fabric: Fabric, source: str, destination: str, avoid: Collection[str] = ()
) -> tuple[str, ...] | None:
    """Switches from `source` to `destination`, both included; None when there is no path."""
    hops = next_hops(fabric, destination, avoid)
    switches = [source]
    while switches[-1] != destination:
        hop = hops.get(switches[-1])
        if hop is None:
            return None
        switches.append(hop.neighbour)
    return tuple(switches)
