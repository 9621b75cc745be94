"""Where a slice's packets go: trees to the homes of a VN's endpoints, switches on them. Pure.

Trees depend on the fabric alone, so all VNs of a controller share them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dfvisor.model.paths import next_hops
from dfvisor.model.records import Fabric
from dfvisor.p4rt.ports import NEIGHBOUR

Tree = Mapping[str, tuple[str, int]]
"""Switch -> the neighbour on its way to the tree's root, and the virtual next hop to it."""


class Trees:
    """The trees of one fabric, each computed once."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self._held: dict[tuple[str, frozenset[str]], Tree] = {}

    def towards(self, destination: str, avoid: Collection[str] = ()) -> Tree:
        """The tree rooted at a switch, around those to avoid (`model.paths.next_hops`)."""
        question = (destination, frozenset(avoid))
        held = self._held.get(question)
        if held is None:
            switches = self.fabric.switches
            held = {
                switch: (hop.neighbour, NEIGHBOUR + switches[hop.neighbour].device_id)
                for switch, hop in next_hops(self.fabric, *question).items()
            }
            self._held[question] = held
        return held


@dataclass(frozen=True, slots=True)
class Routing:
    """Trees by home, and the switches on the paths between homes, the homes among them."""

    trees: Mapping[str, Tree] = field(default_factory=dict)
    switches: frozenset[str] = frozenset()


def route(trees: Trees, homes: Collection[str], avoid: Collection[str]) -> Routing:
    """The routing between these homes."""
    found = {home: trees.towards(home, avoid) for home in sorted(homes)}
    reached: set[str] = set(homes)
    for destination, tree in found.items():
        seen = {destination}
        for source in homes:
            at = source
            while at not in seen and at in tree:
                seen.add(at)
                at = tree[at][0]
        reached |= seen
    return Routing(found, frozenset(reached))


def rerouted(old: Routing, new: Routing) -> bool:
    """Whether a switch that is in both sends packets for a home that is in both another way."""
    common = old.switches & new.switches
    for home, tree in new.trees.items():
        before = old.trees.get(home)
        if before is None or before is tree:
            continue
        if any(before.get(switch) != tree.get(switch) for switch in common):
            return True
    return False
