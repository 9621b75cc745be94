"""Ways through the underlay while links come and go, without a loop at any moment: pure.

Every switch changes over by itself, and for a while some still go by the old costs. Two rules keep
packets from going in circles meanwhile (RFC 5715, path locking via safe neighbours; RFC 6976):

- At once a switch uses only neighbours that are nearer to the destination by the old costs *and* by
  the new ones (safe): among switches that all do so, or still go by the old costs, every hop gets
  nearer by the old costs.
- A switch without a safe neighbour waits until one that it will use has changed over: its rank is
  one more than the lowest of theirs, and it changes in the stage of its rank. One whose old ways
  are broken drops meanwhile; where no link has failed (`calm`), all keep their old ones.

In the last stage everybody uses all ways of least cost. Stages are a set time apart, longer than
the news of a link needs to reach everybody; what is slower than that is bounded by the TTL.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from dfvisor.model.links import DOWN_COST
from dfvisor.model.paths import Hop
from dfvisor.model.records import Fabric, Link
from dfvisor.model.types import PortRef

Costs = Mapping[str, int]
"""Switch -> cost of its cheapest way to a destination; a switch without any is absent."""


class Graph:
    """A fabric, and the costs to each destination that was asked for."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.hops: dict[str, list[tuple[int, Hop]]] = {name: [] for name in fabric.switches}
        for link in fabric.links:
            for near, far in ((link.a, link.b), (link.b, link.a)):
                if near.switch in self.hops and far.switch in self.hops:
                    hop = Hop(port=near, neighbour=far.switch, neighbour_port=far, mtu=link.mtu)
                    self.hops[near.switch].append((fabric.weight(link), hop))
        for found in self.hops.values():
            found.sort(key=lambda one: (one[1].neighbour, one[1].port))
        self._costs: dict[str, Costs] = {}

    def costs(self, destination: str) -> Costs:
        """To a switch, from all others that have a way."""
        found = self._costs.get(destination)
        if found is None:
            found = self._costs[destination] = self._dijkstra(destination)
        return found

    def adopt(self, destination: str, costs: Costs) -> None:
        """These are known to be the costs."""
        self._costs.setdefault(destination, costs)

    def shortest(self, switch: str, destination: str) -> tuple[Hop, ...]:
        """All first hops of least cost, in the order of `model.paths.ecmp_next_hops`."""
        costs = self.costs(destination)
        mine = costs.get(switch)
        if mine is None or switch == destination:
            return ()
        return tuple(
            hop
            for cost, hop in self.hops[switch]
            if (there := costs.get(hop.neighbour)) is not None and there + cost == mine
        )

    def between(self, switch: str, destination: str) -> frozenset[str]:
        """The switches on all ways of least cost, both ends included."""
        found: set[str] = set()
        ahead = [switch]
        while ahead:
            at = ahead.pop()
            if at not in found:
                found.add(at)
                ahead += [hop.neighbour for hop in self.shortest(at, destination)]
        return frozenset(found)

    def _dijkstra(self, destination: str) -> Costs:
        done: dict[str, int] = {}
        heap = [(0, destination)]
        while heap:
            far, switch = heapq.heappop(heap)
            if switch in done:
                continue
            done[switch] = far
            for cost, hop in self.hops.get(switch, ()):
                if hop.neighbour not in done:
                    heapq.heappush(heap, (far + cost, hop.neighbour))
        return done


@dataclass(frozen=True, slots=True)
class _Change:
    """A link whose cost has changed between two switches."""

    a: str
    b: str
    old: int
    new: int


class Ways:
    """From the costs of `old` to those of `new`; both are of one fabric, only its links' costs
    differ. Without a difference there is one stage, the last.
    """

    def __init__(self, old: Graph, new: Graph) -> None:
        self.old = old
        self.new = new
        self._changes = _changes(old.fabric, new.fabric)
        self.calm = not any(change.new >= DOWN_COST > change.old for change in self._changes)
        self._worse = not self.calm and all(change.new > change.old for change in self._changes)
        self._ranks: dict[str, dict[str, int]] = {}
        self._last: int | None = None

    @property
    def last(self) -> int:
        """The number of the last stage; the first is 0."""
        if self._last is None:
            ranks = [
                rank
                for destination in self.new.fabric.switches
                if self._affects(destination)
                for rank in self._ranks_to(destination).values()
            ]
            # whoever drops meanwhile has no order to keep: nothing comes back from there
            highest = min(1, max(ranks, default=0)) if self._worse else max(ranks, default=0)
            self._last = highest + 1 if ranks else 0
        return self._last

    def hops(self, switch: str, destination: str, stage: int) -> tuple[Hop, ...]:
        """The first hops to use in a stage; none: drop."""
        if stage >= self.last or not self._affects(destination):
            return self.new.shortest(switch, destination)
        ranks = self._ranks_to(destination)
        rank = ranks.get(switch)
        if rank is None:
            return ()
        if rank == 0:
            return self._safe(switch, destination, ranks)
        if stage >= (1 if self._worse else rank):
            shortest = self.new.shortest(switch, destination)
            if self._worse:
                return shortest
            return tuple(hop for hop in shortest if ranks[hop.neighbour] < rank)
        before, after = self.old.costs(destination), self.new.costs(destination)
        if after[switch] > before[switch] and not self.calm:
            return ()
        return self.old.shortest(switch, destination)

    def _safe(self, switch: str, destination: str, ranks: Mapping[str, int]) -> tuple[Hop, ...]:
        """Neighbours nearer by old and new costs whose own way is safe to the end: of those the
        hops of least cost, else the best of the others.
        """
        before, after = self.old.costs(destination), self.new.costs(destination)
        found = [
            (after[hop.neighbour] + cost, hop)
            for cost, hop in self.new.hops[switch]
            if (cost < DOWN_COST or after[switch] >= DOWN_COST)  # what has no other way may try
            and hop.neighbour in before
            and before[hop.neighbour] < before[switch]
            and after[hop.neighbour] < after[switch]
            and ranks.get(hop.neighbour) == 0
        ]
        least = min((cost for cost, _ in found), default=0)
        return tuple(hop for cost, hop in found if cost == least)

    def _ranks_to(self, destination: str) -> dict[str, int]:
        found = self._ranks.get(destination)
        if found is None:
            found = self._ranks[destination] = self._rank(destination)
        return found

    def _rank(self, destination: str) -> dict[str, int]:
        """Nearest first by the new costs, so that a switch comes after those that it will use."""
        after = self.new.costs(destination)
        ranks = {destination: 0}
        for switch in sorted(after, key=lambda name: (after[name], name)):
            if switch == destination:
                continue
            if self._safe(switch, destination, ranks):
                ranks[switch] = 0
            else:
                nexts = self.new.shortest(switch, destination)
                ranks[switch] = 1 + min(ranks[hop.neighbour] for hop in nexts)
        return ranks

    def _affects(self, destination: str) -> bool:
        """Whether the changes can make a difference to the ways to a destination."""
        if not self._changes:
            return False
        before = self.old.costs(destination)
        for change in self._changes:
            a, b = before.get(change.a), before.get(change.b)
            if a is None or b is None:
                continue
            if abs(a - b) >= min(change.old, change.new):
                return True
        self.new.adopt(destination, before)
        return False


def _changes(old: Fabric, new: Fabric) -> tuple[_Change, ...]:
    def key(link: Link) -> tuple[PortRef, PortRef]:
        return link.a, link.b

    costs = {key(link): old.weight(link) for link in old.links}
    return tuple(
        _Change(link.a.switch, link.b.switch, costs[key(link)], new.weight(link))
        for link in new.links
        if key(link) in costs and costs[key(link)] != new.weight(link)
    )
