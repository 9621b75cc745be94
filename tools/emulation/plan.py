"""From a network to what has to be built on this machine: pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dfvisor.model.records import Endpoint, Network
from dfvisor.model.types import Mac, PortRef

from emulation.errors import EmulationError

ACCESS_MTU = 1450
FABRIC_MTU = 1500  # the tunnel adds 42 bytes to the frame
IPV4_PREFIX = 24
IPV6_PREFIX = 64
HOST_INTERFACE = "eth0"
UPLINK = "uplink"  # of a foreign peer, towards our fabric


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """A tenant's host: an endpoint of VN `vn`, on access port `port`; a host behind a foreign peer
    has the port of that peer."""

    name: str
    vn: str
    endpoint: str
    mac: Mac
    ips: tuple[IPv4Address | IPv6Address, ...]
    port: PortRef

    @property
    def ipv6(self) -> bool:
        return any(ip.version == 6 for ip in self.ips)

    @property
    def ipv4(self) -> IPv4Address | None:
        """The host's first IPv4 address."""
        return next((ip for ip in self.ips if isinstance(ip, IPv4Address)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPlan:
    """A switch and its P4 ports, ascending; each is an interface in the switch's namespace."""

    name: str
    device_id: int
    access_ports: tuple[int, ...]
    fabric_ports: tuple[int, ...]

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(sorted(self.access_ports + self.fabric_ports))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPlan:
    """A foreign GRE endpoint at fabric port `port`, with the hosts behind it.

    `tunnels` are, for each VN of these hosts, the key of its best-effort slice and the VTEPs of the
    switches where it has access ports.
    """

    name: str
    vtep: IPv4Address
    mac: Mac
    port: PortRef
    guests: tuple[HostPlan, ...]
    tunnels: dict[str, tuple[int, tuple[IPv4Address, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Nodes by name, and the cables between switches (hosts and peers know their own port). `hosts`
    are at access ports; those behind a peer are the peer's."""

    hosts: dict[str, HostPlan]
    switches: dict[str, SwitchPlan]
    links: tuple[tuple[PortRef, PortRef], ...]
    peers: dict[str, PeerPlan]


def switch_interface(port: int) -> str:
    """The interface of a P4 port in its switch's namespace."""
    return f"p{port}"


def guest_interface(number: int) -> str:
    """The interface of a peer's n-th guest in the peer's namespace."""
    return f"g{number}"


def plan(network: Network) -> Plan:
    """What to build for `network`. A host is named as its endpoint, or `<vn>.<endpoint>` where that
    name is not unique. EmulationError where two things want the same port, or for an endpoint in a
    VLAN.
    """
    names = Counter([e for vn in network.vns.values() for e in vn.endpoints])
    names.update([*network.fabric.switches, *network.fabric.peers])
    hosts: dict[str, HostPlan] = {}
    guests: dict[str, list[HostPlan]] = {name: [] for name in network.fabric.peers}
    taken: dict[PortRef, str] = {}

    def take(port: PortRef, what: str) -> None:
        if port in taken:
            raise EmulationError(
                f"port {port} is wanted by {taken[port]} and {what}; one cable fits in a port"
            )
        if port.switch not in network.fabric.switches:
            raise EmulationError(f"{what} is on port {port}, but there is no such switch")
        taken[port] = what

    fabric: dict[str, list[int]] = {name: [] for name in network.fabric.switches}
    access: dict[str, list[int]] = {name: [] for name in network.fabric.switches}
    for link in network.fabric.links:
        for end in (link.a, link.b):
            take(end, f"link {link.a} - {link.b}")
            fabric[end.switch].append(end.port)
    for peer in network.fabric.peers.values():
        take(peer.port, f"peer {peer.name}")
        fabric[peer.port.switch].append(peer.port.port)
    for vn in network.vns.values():
        for endpoint in vn.endpoints.values():
            name = endpoint.name if names[endpoint.name] == 1 else f"{vn.name}.{endpoint.name}"
            if endpoint.vlan is not None:
                raise EmulationError(f"host {name} is in a VLAN; that is not emulated")
            if endpoint.peer is not None:
                port = network.fabric.peers[endpoint.peer].port
                guests[endpoint.peer].append(_host(name, vn.name, endpoint, port))
            elif endpoint.port is not None:
                take(endpoint.port, f"host {name}")
                access[endpoint.port.switch].append(endpoint.port.port)
                hosts[name] = _host(name, vn.name, endpoint, endpoint.port)
    switches = {
        switch.name: SwitchPlan(
            name=switch.name,
            device_id=switch.device_id,
            access_ports=tuple(sorted(access[switch.name])),
            fabric_ports=tuple(sorted(fabric[switch.name])),
        )
        for switch in network.fabric.switches.values()
    }
    peers = {
        peer.name: PeerPlan(
            name=peer.name,
            vtep=peer.vtep,
            mac=peer.mac,
            port=peer.port,
            guests=tuple(guests[peer.name]),
            tunnels={vn: _tunnel(network, vn) for vn in sorted({g.vn for g in guests[peer.name]})},
        )
        for peer in network.fabric.peers.values()
    }
    links = tuple((link.a, link.b) for link in network.fabric.links)
    return Plan(hosts=hosts, switches=switches, links=links, peers=peers)


def _host(name: str, vn: str, endpoint: Endpoint, port: PortRef) -> HostPlan:
    return HostPlan(
        name=name,
        vn=vn,
        endpoint=endpoint.name,
        mac=endpoint.mac,
        ips=endpoint.ips,
        port=port,
    )


def _tunnel(network: Network, vn: str) -> tuple[int, tuple[IPv4Address, ...]]:
    found = network.vns[vn]
    homes = {end.port.switch for end in found.endpoints.values() if end.port is not None}
    vteps = tuple(network.fabric.switches[home].vtep for home in sorted(homes))
    return found.best_effort_slice.key, vteps
