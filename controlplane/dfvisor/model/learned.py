"""Hosts that are no endpoints but were seen at access ports: pure.

Each switch claims the hosts that it has seen at its ports. Readers put the claims of all switches
together in the same way, so all come to the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from dfvisor.model.records import Endpoint, VirtualNetwork
from dfvisor.model.types import Mac, PortRef

PREFIX = "~"
"""Begins the name of the endpoint that stands for a learned host; no name in a description does."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A host is at an access port, since a time in seconds since the epoch. `ips` are the addresses
    that it says to have, each with the time since when.
    """

    port: int
    since: float
    ips: Mapping[Ip, float] = field(default_factory=dict)


Ip: TypeAlias = IPv4Address | IPv6Address
Claims = Mapping[Mac, Claim]


def settle(claims: Mapping[str, Claims]) -> dict[Mac, tuple[str, Claim]]:
    """Where each host is: switch and claim. The latest claim holds; of two of one time, that of the
    switch of lower name.
    """
    found: dict[Mac, tuple[str, Claim]] = {}
    for switch in sorted(claims):
        for mac, claim in claims[switch].items():
            held = found.get(mac)
            if held is None or claim.since > held[1].since:
                found[mac] = (switch, claim)
    return found


def with_hosts(
    vn: VirtualNetwork,
    hosts: Mapping[Mac, tuple[str, Claim]],
    owners: Mapping[Ip, Mac] | None = None,
) -> VirtualNetwork:
    """The VN with an endpoint for each host that is none yet and is at one of its access ports.

    The same object where the VN does not learn, or there are none. `owners` as of
    `settle_addresses`, if there are more hosts.
    """
    if not vn.learning or not hosts:
        return vn
    known = {endpoint.mac for endpoint in vn.endpoints.values()}
    owners = settle_addresses(vn, hosts) if owners is None else owners
    vlans = {one.port: one.vlan for one in vn.endpoints.values() if one.port is not None}
    added: dict[str, Endpoint] = {}
    for mac in sorted(hosts):
        switch, claim = hosts[mac]
        port = PortRef(switch, claim.port)
        name = PREFIX + str(mac).replace(":", "")
        if mac not in known and port in vlans and name not in vn.endpoints:
            ips = tuple(sorted((ip for ip in claim.ips if owners.get(ip) == mac), key=_order))
            added[name] = Endpoint(name=name, mac=mac, ips=ips, port=port, vlan=vlans[port])
    return replace(vn, endpoints=vn.endpoints | added) if added else vn


def settle_addresses(vn: VirtualNetwork, hosts: Mapping[Mac, tuple[str, Claim]]) -> dict[Ip, Mac]:
    """Whose each address is: an endpoint's above all, else the host's that has said so first. So
    nobody takes over an address that somebody has; of two of one time, the lower MAC has it.
    """
    described = {ip for endpoint in vn.endpoints.values() for ip in endpoint.ips}
    found: dict[Ip, tuple[float, Mac]] = {}
    for mac, (_, claim) in hosts.items():
        for ip, since in claim.ips.items():
            if ip not in described and (ip not in found or (since, mac) < found[ip]):
                found[ip] = (since, mac)
    return {ip: mac for ip, (_, mac) in found.items()}


def _order(ip: Ip) -> tuple[int, int]:
    return ip.version, int(ip)
