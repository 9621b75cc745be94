"""The fabric as one switch sees it: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from dfvisor.agent.ways import Graph, Ways
from dfvisor.model.links import DOWN_COST, end_of
from dfvisor.model.paths import Hop, next_hops
from dfvisor.model.records import Fabric, VirtualNetwork
from dfvisor.model.types import PortRef

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
class Cable:
    """A link of this switch: its own `port`, the neighbour and its device id, link address and port
    `far`. A link that is down costs `DOWN_COST` more.
    """

    port: int
    neighbour: str
    device_id: int
    far: PortRef
    mac: int
    mtu: int
    cost: int

    @property
    def up(self) -> bool:
        return self.cost < DOWN_COST

    @property
    def route(self) -> Route:
        return Route(self.port, self.mac, self.mtu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another VTEP: a switch of ours, or a foreign one (`device_id` is None).

    `routes` are the first steps of the ways to it, none where there is no way, or none that is safe
    at the moment; `flood` is that of copies. `link` is the step to a neighbour switch: over the
    cheapest link, then that of the lowest port; while none of them is up, over another neighbour.
    With `around` it is reached by the underlay instead.
    """

    name: str
    device_id: int | None
    vtep: int
    routes: tuple[Route, ...]
    flood: Route | None = None
    link: Route | None = None
    around: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One switch and its place in the fabric. `peers` are by name: a foreign one never has the name
    of a switch. `hosts_peers`: a foreign peer is attached here. `former` are fabrics whose paths
    may still be in use.
    """

    name: str
    device_id: int
    vtep: int
    mac: int
    fabric_ports: frozenset[int]
    peers: dict[str, Peer]
    hosts_peers: bool
    fabric: Fabric
    cables: tuple[Cable, ...] = ()
    former: tuple[Fabric, ...] = ()
    _trees: dict[tuple[int, str, frozenset[str]], dict[str, Hop]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def same_for_vns(self, other: Site) -> bool:
        """Whether VNs have the same entries here as at the other site."""
        return (
            self.fabric == other.fabric
            and self.former == other.former
            and self.peers.keys() == other.peers.keys()
            and all(peer.flood == other.peers[name].flood for name, peer in self.peers.items())
        )

    def _tree(self, fabric: int, destination: str, avoid: Iterable[str]) -> dict[str, Hop]:
        """Next hops towards a switch, from all others; fabric 0, or a former one from 1 on."""
        question = (fabric, destination, frozenset(avoid))
        if question not in self._trees:
            found = self.former[fabric - 1] if fabric else self.fabric
            self._trees[question] = next_hops(found, destination, question[2])
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
        return self.name in homes or any(
            self._crossed(number, homes, avoid) for number in range(len(self.former) + 1)
        )

    def _crossed(self, fabric: int, homes: list[str], avoid: Iterable[str]) -> bool:
        for destination in homes:
            tree = self._tree(fabric, destination, avoid)
            if self.name not in tree:
                continue
            for source in homes:
                at = source
                while at in tree and at != self.name:
                    at = tree[at].neighbour
                if at == self.name:
                    return True
        return False


def look(
    fabric: Fabric,
    name: str,
    *,
    ways: Ways | None = None,
    stage: int = 0,
    former: tuple[Fabric, ...] = (),
    shunned: Collection[str] = (),
) -> Site | None:
    """The site of a switch, None if the fabric does not have it.

    `ways` lead to this fabric from another one, and this is the `stage` reached. `shunned` switches
    are not to be passed on the way around a link that is down.
    """
    switch = fabric.switches.get(name)
    if switch is None:
        return None
    if ways is None:
        graph = Graph(fabric)
        ways = Ways(graph, graph)
    ports = {peer.port.port for peer in fabric.peers.values() if peer.port.switch == name}
    hosts_peers = bool(ports)
    cables = _cables(fabric, name)
    ports |= {cable.port for cable in cables}
    peers: dict[str, Peer] = {}
    for other in fabric.switches.values():
        if other.name == name:
            continue
        hops = ways.hops(name, other.name, stage)
        link, around = _step(ways, stage, name, other.name, cables, frozenset(shunned))
        peers[other.name] = Peer(
            name=other.name,
            device_id=other.device_id,
            vtep=int(other.vtep),
            routes=_routes(fabric, hops),
            flood=next(iter(_routes(fabric, hops or ways.new.shortest(name, other.name))), None),
            link=link,
            around=around,
        )
    for foreign in fabric.peers.values():
        home = foreign.port.switch
        if home == name:
            routes: tuple[Route, ...] = (Route(foreign.port.port, foreign.mac.value, foreign.mtu),)
            flood: Route | None = routes[0]
        else:
            routes = peers[home].routes if home in peers else ()
            flood = peers[home].flood if home in peers else None
        peers[foreign.name] = Peer(
            name=foreign.name,
            device_id=None,
            vtep=int(foreign.vtep),
            routes=routes,
            flood=flood,
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
        cables=cables,
        former=former,
    )


def _cables(fabric: Fabric, name: str) -> tuple[Cable, ...]:
    found: list[Cable] = []
    for link in fabric.links:
        ends = end_of(link, name)
        if ends is None or ends[1].switch == name:
            continue
        near, far = ends
        device_id = fabric.switches[far.switch].device_id
        found.append(
            Cable(
                port=near.port,
                neighbour=far.switch,
                device_id=device_id,
                far=far,
                mac=link_mac(device_id),
                mtu=link.mtu,
                cost=fabric.weight(link),
            )
        )
    return tuple(sorted(found, key=lambda cable: cable.port))


def _routes(fabric: Fabric, hops: Iterable[Hop]) -> tuple[Route, ...]:
    return tuple(
        Route(hop.port.port, link_mac(fabric.switches[hop.neighbour].device_id), hop.mtu)
        for hop in hops
    )


def _step(
    ways: Ways,
    stage: int,
    name: str,
    neighbour: str,
    cables: Iterable[Cable],
    shunned: frozenset[str],
) -> tuple[Route | None, bool]:
    """The step to a neighbour switch, and whether the underlay must lead around it."""
    direct = [cable for cable in cables if cable.neighbour == neighbour]
    if not direct:
        return None, False
    nearest = min(direct, key=lambda cable: (cable.cost, cable.port))
    if nearest.up:
        return nearest.route, False
    detour = _detour(ways, name, neighbour, cables, shunned)
    if detour is not None and stage < ways.last:
        return detour, False
    new = ways.new.costs(neighbour)
    passed = ways.new.between(name, neighbour) - {name, neighbour}
    whole = name in new and new[name] < DOWN_COST and not passed & shunned
    return nearest.route, whole and bool(ways.hops(name, neighbour, stage))


def _detour(
    ways: Ways, name: str, neighbour: str, cables: Iterable[Cable], shunned: frozenset[str]
) -> Route | None:
    """Over another neighbour, as the first step of the tunnel to this one: the best by the new
    costs, and rather one whose old ways never led over us (RFC 5286, inequality 1).

    A neighbour that has not heard of the failure may send the packet back. It then comes as transit
    and goes by the underlay alone, which has no circles in any stage: at worst it is dropped here.
    """
    old, new = ways.old.costs(neighbour), ways.new.costs(neighbour)
    found: list[tuple[bool, int, int, Route]] = []
    for cable in cables:
        other = cable.neighbour
        if not cable.up or other == neighbour or new.get(other, DOWN_COST) >= DOWN_COST:
            continue
        passed = ways.new.between(other, neighbour)
        if name in passed or (passed - {neighbour}) & shunned:
            continue
        back = ways.old.costs(name)[other]
        comes_back = old[other] >= back + old[name]
        if not (ways.old.between(other, neighbour) - {name, neighbour}) & shunned:
            found.append((comes_back, cable.cost + new[other], cable.port, cable.route))
    return min(found)[3] if found else None
