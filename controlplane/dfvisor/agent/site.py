"""The fabric as one switch sees it: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dfvisor.model.paths import Hop, ecmp_next_hops, next_hops
from dfvisor.model.records import Fabric, VirtualNetwork

_LINK_MAC = 0x02DF_0000_0000  # locally administered; the low 16 bits are the device id


def link_mac(device_id: int) -> int:
    """The address of a switch on its fabric ports, 48 bits."""
    return _LINK_MAC | device_id


@dataclass(frozen=True, slots=True)
class Route:
    """The first step of a way: out of fabric port `port`, to link address `mac`, `mtu` bytes behind
    the Ethernet header at most.
    """

    port: int
    mac: int
    mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another VTEP: a switch of ours, or a foreign one (`device_id` is None).

    `routes` are the first steps of all shortest ways to it, none where there is no way. `link` is
    our link to it if it is a neighbour switch: the cheapest, then that of the lowest port.
    """

    name: str
    device_id: int | None
    vtep: int
    routes: tuple[Route, ...]
    link: Route | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One switch and its place in the fabric. `peers` are by name: a foreign one never has the name
    of a switch. `hosts_peers`: a foreign peer is attached here.
    """

    name: str
    device_id: int
    vtep: int
    mac: int
    fabric_ports: frozenset[int]
    peers: dict[str, Peer]
    hosts_peers: bool
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

    def is_home(self, vn: VirtualNetwork) -> bool:
        """Whether an endpoint of the VN is here, or behind a peer that is attached here."""
        return any(self.fabric.home(endpoint) == self.name for endpoint in vn.endpoints.values())

    def crosses(self, vn: VirtualNetwork, avoid: Iterable[str]) -> bool:
        """Whether a path between the homes of two endpoints of the VN, avoiding these switches,
        leads through here (or begins or ends here).
        """
        homes = sorted(
            {home for end in vn.endpoints.values() if (home := self.fabric.home(end)) is not None}
        )
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
    links: dict[str, list[tuple[int, int, int]]] = {}
    ports = {peer.port.port for peer in fabric.peers.values() if peer.port.switch == name}
    hosts_peers = bool(ports)
    for link in fabric.links:
        for here, there in ((link.a, link.b), (link.b, link.a)):
            if here.switch == name:
                ports.add(here.port)
                links.setdefault(there.switch, []).append(
                    (fabric.weight(link), here.port, link.mtu)
                )
    peers: dict[str, Peer] = {}
    for other in fabric.switches.values():
        if other.name == name:
            continue
        nearest = min(links[other.name]) if other.name in links else None
        peers[other.name] = Peer(
            name=other.name,
            device_id=other.device_id,
            vtep=int(other.vtep),
            routes=_routes(fabric, name, other.name),
            link=Route(nearest[1], link_mac(other.device_id), nearest[2]) if nearest else None,
        )
    for foreign in fabric.peers.values():
        home = foreign.port.switch
        if home == name:
            routes: tuple[Route, ...] = (Route(foreign.port.port, foreign.mac.value, foreign.mtu),)
        else:
            routes = peers[home].routes if home in peers else ()
        peers[foreign.name] = Peer(
            name=foreign.name, device_id=None, vtep=int(foreign.vtep), routes=routes
        )
    return Site(
        name=name,
        device_id=switch.device_id,
        vtep=int(switch.vtep),
        mac=link_mac(switch.device_id),
        fabric_ports=frozenset(ports),
        peers=peers,
        hosts_peers=hosts_peers,
        fabric=fabric,
    )


def _routes(fabric: Fabric, source: str, destination: str) -> tuple[Route, ...]:
    return tuple(
        Route(hop.port.port, link_mac(fabric.switches[hop.neighbour].device_id), hop.mtu)
        for hop in ecmp_next_hops(fabric, destination).get(source, ())
    )
