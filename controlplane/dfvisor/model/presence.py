"""Which switches a VN's slices are present on: pure."""

from __future__ import annotations

from dfvisor.model.paths import next_hops
from dfvisor.model.records import Fabric, VirtualNetwork


def slices_at(fabric: Fabric, vn: VirtualNetwork) -> dict[str, frozenset[str]]:
    """Switch -> names of the slices present there, for every switch with any.

    All slices are present where the VN has an endpoint (for one behind a peer: at the switch of the
    peer's port); a QoS slice also where one of its paths between two endpoints leads through. (Best
    effort passes through other switches as tunnels that they do not look into.)
    """
    homes = sorted({home for one in vn.endpoints.values() if (home := fabric.home(one))})
    found = {home: set(vn.slices) for home in homes}
    through: dict[tuple[str, ...], set[str]] = {}
    for slice_ in vn.slices.values():
        if slice_.best_effort:
            continue
        avoid = tuple(sorted(set(slice_.avoid)))
        if avoid not in through:
            through[avoid] = _crossed(fabric, homes, avoid)
        for switch in through[avoid]:
            found.setdefault(switch, set()).add(slice_.name)
    return {switch: frozenset(names) for switch, names in sorted(found.items())}


def _crossed(fabric: Fabric, homes: list[str], avoid: tuple[str, ...]) -> set[str]:
    """Switches on any of the paths between the homes."""
    crossed: set[str] = set()
    for destination in homes:
        hops = next_hops(fabric, destination, avoid)
        seen: set[str] = set()
        for source in homes:
            at = source
            while at in hops and at not in seen:
                seen.add(at)
                at = hops[at].neighbour
        crossed |= seen
    return crossed
