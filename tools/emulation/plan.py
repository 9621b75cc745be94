"""From a network to what has to be built on this machine: pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dfvisor.model.records import Network
from dfvisor.model.types import Mac, PortRef

from emulation.errors import EmulationError

ACCESS_MTU = 1450
FABRIC_MTU = 1500  # the tunnel adds 42 bytes to the frame
IPV4_PREFIX = 24
IPV6_PREFIX = 64
HOST_INTERFACE = "eth0"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """A tenant's host: an endpoint of VN `vn`, on access port `port`."""

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


@dataclass(frozen=True, slots=True)
class Plan:
    """Nodes by name, and the cables between switches (hosts know their own port)."""

    hosts: dict[str, HostPlan]
    switches: dict[str, SwitchPlan]
    links: tuple[tuple[PortRef, PortRef], ...]


def switch_interface(port: int) -> str:
    """The interface of a P4 port in its switch's namespace."""
    return f"p{port}"


def plan(network: Network) -> Plan:
    """What to build for `network`. A host is named as its endpoint, or `<vn>.<endpoint>` where that
    name is not unique. EmulationError where two things want the same port.
    """
    names = Counter([e for vn in network.vns.values() for e in vn.endpoints])
    names.update(list(network.fabric.switches))
    hosts: dict[str, HostPlan] = {}
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
    for vn in network.vns.values():
        for endpoint in vn.endpoints.values():
            name = endpoint.name if names[endpoint.name] == 1 else f"{vn.name}.{endpoint.name}"
            take(endpoint.port, f"host {name}")
            access[endpoint.port.switch].append(endpoint.port.port)
            hosts[name] = HostPlan(
                name=name,
                vn=vn.name,
                endpoint=endpoint.name,
                mac=endpoint.mac,
                ips=endpoint.ips,
                port=endpoint.port,
            )
    switches = {
        switch.name: SwitchPlan(
            name=switch.name,
            device_id=switch.device_id,
            access_ports=tuple(sorted(access[switch.name])),
            fabric_ports=tuple(sorted(fabric[switch.name])),
        )
        for switch in network.fabric.switches.values()
    }
    return Plan(hosts, switches, tuple((link.a, link.b) for link in network.fabric.links))
