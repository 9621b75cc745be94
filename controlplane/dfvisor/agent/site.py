"""The fabric as one switch sees it: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dfvisor.model.paths import Hop, next_hops
from dfvisor.model.records import Fabric, VirtualNetwork

_LINK_MAC = 0x02DF_0000_0000  # locally administered; the low 16 bits are the device id


def link_mac(device_id: int) -> int:
    """The address of a switch on its fabric ports, 48 bits."""
    return _LINK_MAC | device_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another switch: `vtep` and `mac` are integers. `port` and `hop_mac` lead towards it along the
    shortest path, None where there is no path. `link` is our port of the link to it, if it is a
    neighbour.
    """

    name: str
    device_id: int
    vtep: int
    mac: int
    port: int | None
    hop_mac: int | None
    link: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One switch and its place in the fabric."""

    name: str
    device_id: int
    vtep: int
    mac: int
    fabric_ports: frozenset[int]
    peers: dict[str, Peer]
    fabric: Fabric
    _trees: dict[tuple[str, frozenset[str]], dict[str, Hop]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def tree(self, destination: str, avoid: Iterable[str]) -> dict[str, Hop]:
        """Next hops towards a switch, from all others."""
        question = (destination, frozenset(avoid))
        if question not in self._trees:
            self._trees[question] = next_hops(self.fabric, destination, question[1])
        return self._trees[question]

    def crosses(self, vn: VirtualNetwork, avoid: Iterable[str]) -> bool:
        """Whether a path between two endpoints of the VN, avoiding these switches, leads through
        here (or begins or ends here).
        """
        homes = sorted({endpoint.port.switch for endpoint in vn.endpoints.values()})
        if self.name in homes:
            return True
        for destination in homes:
            tree = self.tree(destination, avoid)
            if self.name not in tree:
                continue
            for source in homes:
                at = source
                while at in tree and at != self.name:
                    at = tree[at].neighbour
                if at == self.name:
                    return True
        return False


def look(fabric: Fabric, name: str) -> Site | None:
    """The site of a switch, None if the fabric does not have it."""
    switch = fabric.switches.get(name)
    if switch is None:
        return None
    links: dict[str, list[tuple[int, int]]] = {}
    ports: set[int] = set()
    for link in fabric.links:
        for here, there in ((link.a, link.b), (link.b, link.a)):
            if here.switch == name:
                ports.add(here.port)
                links.setdefault(there.switch, []).append((link.cost, here.port))
    site = Site(
        name=name,
        device_id=switch.device_id,
        vtep=int(switch.vtep),
        mac=link_mac(switch.device_id),
        fabric_ports=frozenset(ports),
        peers={},
        fabric=fabric,
    )
    for other in fabric.switches.values():
        if other.name == name:
            continue
        hop = site.tree(other.name, ()).get(name)
        site.peers[other.name] = Peer(
            name=other.name,
            device_id=other.device_id,
            vtep=int(other.vtep),
            mac=link_mac(other.device_id),
            port=hop.port.port if hop else None,
            hop_mac=link_mac(fabric.switches[hop.neighbour].device_id) if hop else None,
            link=min(links[other.name])[1] if other.name in links else None,
        )
    return site
