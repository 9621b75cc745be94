"""Which flow shows which slice: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dfvisor.model.paths import ecmp_next_hops, path
from dfvisor.model.records import Fabric, Network, Treatment, VirtualNetwork

from emulation.plan import HostPlan

UDP, TCP = 17, 6
BEST_EFFORT_PORT = 5300  # moved up until no flowspace of the network says it
FIRST_SOURCE = 40000
SOURCES_PER_FLOW = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One slice's traffic: from host to host, to an L4 port that its flowspaces claim.

    `path` is where the model says it must go; best effort may take any of `ways`, all shortest ones
    (one of them for each connection). `source` is the first of SOURCES_PER_FLOW source
    ports that no other flow uses, so that a captured packet tells its flow even if tenants'
    addresses agree.
    """

    vn: str
    slice: str
    key: int
    best_effort: bool
    source_host: str
    destination_host: str
    ip: str
    port: int
    source: int
    path: tuple[str, ...]
    ways: frozenset[tuple[str, ...]]
    udp: bool = True
    tcp: bool = True

    @property
    def name(self) -> str:
        return f"{self.vn}/{self.slice}"


def choose(network: Network, hosts: dict[str, HostPlan]) -> list[Flow]:
    """A flow for every slice that one can be sent in, between the VN's two most distant IPv4
    hosts.
    """
    free = _free_port(network)
    flows: list[Flow] = []
    for vn in network.vns.values():
        pair = _farthest(network.fabric, [h for h in hosts.values() if h.vn == vn.name and h.ipv4])
        if pair is None:
            continue
        source, destination = pair
        for slice_ in vn.slices.values():
            ports = {UDP: free, TCP: free} if slice_.best_effort else _ports(vn, slice_.name)
            both = ports.get(UDP), ports.get(TCP)
            port = both[0] or both[1]
            if port is None:
                continue
            avoid = () if slice_.best_effort else slice_.avoid
            ends = source.port.switch, destination.port.switch
            way = path(network.fabric, *ends, avoid) or ()
            flows.append(
                Flow(
                    vn=vn.name,
                    slice=slice_.name,
                    key=slice_.key,
                    best_effort=slice_.best_effort,
                    source_host=source.name,
                    destination_host=destination.name,
                    ip=str(destination.ipv4),
                    port=port,
                    source=FIRST_SOURCE + SOURCES_PER_FLOW * len(flows),
                    path=way,
                    ways=ways(network.fabric, *ends) if slice_.best_effort else frozenset({way}),
                    udp=both[0] == port,
                    tcp=both[1] == port,
                )
            )
    return flows


def as_other(flow: Flow, other: Flow, source: int) -> Flow:
    """The packets of `flow`, expected in the slice of `other` (before it exists, after its end)."""
    return replace(
        other,
        source_host=flow.source_host,
        destination_host=flow.destination_host,
        ip=flow.ip,
        port=flow.port,
        source=source,
    )


def ways(fabric: Fabric, source: str, destination: str) -> frozenset[tuple[str, ...]]:
    """All shortest paths between two switches."""
    hops = ecmp_next_hops(fabric, destination)
    found: set[tuple[str, ...]] = set()
    begun: list[tuple[str, ...]] = [(source,)]
    while begun:
        way = begun.pop()
        if way[-1] == destination:
            found.add(way)
        else:
            begun += [(*way, hop.neighbour) for hop in hops.get(way[-1], ())]
    return frozenset(found)


def _free_port(network: Network) -> int:
    port = BEST_EFFORT_PORT
    while any(
        f.match.l4_dst and f.match.l4_dst.low <= port <= f.match.l4_dst.high
        for vn in network.vns.values()
        for f in vn.flowspaces.values()
    ):
        port += 1
    return port


def _ports(vn: VirtualNetwork, slice_: str) -> dict[int, int]:
    """Destination ports by IP protocol that the slice's plain flowspaces claim."""
    found: dict[int, int] = {}
    for flowspace in vn.flowspaces.values():
        match = flowspace.match
        if (
            flowspace.slice == slice_
            and flowspace.treatment is Treatment.PERMIT
            and match.l4_dst
            and match.ip_proto in (UDP, TCP)
        ):
            found.setdefault(match.ip_proto, match.l4_dst.low)
    return found


def _farthest(fabric: Fabric, hosts: list[HostPlan]) -> tuple[HostPlan, HostPlan] | None:
    best: tuple[int, HostPlan, HostPlan] | None = None
    for number, a in enumerate(hosts):
        for b in hosts[number + 1 :]:
            way = path(fabric, a.port.switch, b.port.switch)
            if way and (best is None or len(way) > best[0]):
                best = (len(way), a, b)
    return best[1:] if best else None
