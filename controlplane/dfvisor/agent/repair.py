"""From links that go and come to the place of this switch in the fabric: pure, time passed in.

Keeps the fabric that everybody has settled on and the one that it is to become, and goes through
the stages between (`agent.ways`). If a link fails meanwhile, all starts anew from what was settled
last; any other change waits, because not all switches will have settled at one moment.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from dfvisor.agent.site import Site, look
from dfvisor.agent.ways import Graph, Ways
from dfvisor.model.links import links_down, usable
from dfvisor.model.records import Fabric
from dfvisor.model.types import PortRef

STAGE_S = 0.15  # longer than news of a link needs to reach every agent
CALM_STAGE_S = 0.4  # the same where no link has failed, and nobody drops
LINGER_S = 5.0  # how long slices stay on a switch that their paths have left
MOST_FORMER = 4


class Repair:
    """The fabric as described, what is down in it, and how far the change to that has got."""

    def __init__(self, switch: str) -> None:
        self._switch = switch
        self._described: Fabric | None = None
        self._own: frozenset[PortRef] = frozenset()
        self._reported: frozenset[PortRef] = frozenset()
        self._wanted: Fabric | None = None  # the last one
        self._graph: Graph | None = None  # settled
        self._ways: Ways | None = None
        self._stage = 0
        self._next_at: float | None = None
        self._former: list[tuple[float, Fabric]] = []
        self.turned_at = 0.0
        """When the fabric to be settled on became another."""

    @property
    def down(self) -> frozenset[PortRef]:
        """The ports that are down, by whoever says so, of links that there are."""
        known = self._own | self._reported
        if self._described is None:
            return known
        ends = {end for link in links_down(self._described, known) for end in (link.a, link.b)}
        return known & ends

    @property
    def settled(self) -> bool:
        """Whether this switch uses the ways of least cost."""
        return self._ways is None

    def set_fabric(self, fabric: Fabric, now: float) -> None:
        """The fabric as described. If only costs differ, the change is made in stages."""
        before, self._described = self._described, fabric
        if before is None or _cables(before) != _cables(fabric):
            self._graph, self._ways, self._next_at, self._wanted = None, None, None, None
            self._former = []
        self._turn(now)

    def set_own(self, ports: Collection[int], now: float) -> bool:
        """These of our ports are down; whether anything is to be done."""
        self._own = frozenset(PortRef(self._switch, port) for port in ports)
        return self._turn(now)

    def set_reported(self, ports: Collection[PortRef], now: float) -> bool:
        """What is reported of all switches; of our own we know better."""
        self._reported = frozenset(port for port in ports if port.switch != self._switch)
        return self._turn(now)

    def next_at(self) -> float | None:
        """When to call `advance`; None: not without another change."""
        times = [until for until, _ in self._former]
        if self._next_at is not None:
            times.append(self._next_at)
        return min(times, default=None)

    def advance(self, now: float) -> bool:
        """Do what time has come for; whether the site is another."""
        changed = False
        if self._ways is not None and self._next_at is not None and now >= self._next_at:
            self._stage += 1
            changed = True
            if self._stage >= self._ways.last:
                self._settle(self._ways.new, now)
                self._turn(now)  # to what has waited
            else:
                self._next_at += self._stage_s
        kept = [one for one in self._former if one[0] > now]
        if len(kept) != len(self._former):
            self._former = kept
            changed = True
        return changed

    def site(self, shunned: Collection[str] = ()) -> Site | None:
        """The switch in the fabric as it is now; `shunned` as in `look`."""
        if self._described is None or self._graph is None:
            return None
        return look(
            usable(self._described, self.down),
            self._switch,
            ways=self._ways or Ways(self._graph, self._graph),
            stage=self._stage,
            former=tuple(fabric for _, fabric in self._former),
            shunned=shunned,
        )

    def _turn(self, now: float) -> bool:
        """Begin a change if there is one."""
        if self._described is None:
            return False
        before, self._wanted = self._wanted, usable(self._described, self.down)
        wanted = self._wanted
        if before != wanted:
            self.turned_at = now
        if self._graph is None:
            self._graph = Graph(wanted)
            return True
        target = self._ways.new if self._ways is not None else self._graph
        if target.fabric == wanted:
            return before != wanted
        if _costs(target.fabric) == _costs(wanted):  # peers, MTUs: no other ways
            if self._ways is None:
                self._graph = Graph(wanted)
            else:
                self._ways = Ways(self._ways.old, Graph(wanted))
            return True
        if before is not None:
            self._remember(before, now)
        if self._ways is not None and Ways(target, Graph(wanted)).calm:
            return before != wanted
        self._remember(target.fabric, now)
        ways = Ways(self._graph, Graph(wanted))
        self._stage = 0
        if ways.last == 0:
            self._settle(ways.new, now)
        else:
            self._ways = ways
            self._next_at = now + self._stage_s
        return True

    @property
    def _stage_s(self) -> float:
        return CALM_STAGE_S if self._ways is not None and self._ways.calm else STAGE_S

    def _settle(self, graph: Graph, now: float) -> None:
        if self._graph is not None:
            self._remember(self._graph.fabric, now)
        self._graph, self._ways, self._next_at, self._stage = graph, None, None, 0

    def _remember(self, fabric: Fabric, now: float) -> None:
        """Its paths may be in use for a while."""
        self._former = [one for one in self._former if one[1] != fabric]
        self._former.append((now + LINGER_S, fabric))
        del self._former[:-MOST_FORMER]


def _cables(fabric: Fabric) -> object:
    switches = {name: replace(one, drained=False) for name, one in fabric.switches.items()}
    return switches, sorted((link.a, link.b) for link in fabric.links)


def _costs(fabric: Fabric) -> object:
    return sorted((link.a, link.b, fabric.weight(link)) for link in fabric.links)
