"""Hosts that are no endpoints but were seen at access ports: pure.

Each switch claims the hosts that it has seen at its ports. Readers put the claims of all switches
together in the same way, so all come to the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dfvisor.model.records import Endpoint, VirtualNetwork
from dfvisor.model.types import Mac, PortRef

PREFIX = "~"
"""Begins the name of the endpoint that stands for a learned host; no name in a description does."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A host is at an access port, since a time in seconds since the epoch."""

    port: int
    since: float


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


def with_hosts(vn: VirtualNetwork, hosts: Mapping[Mac, tuple[str, Claim]]) -> VirtualNetwork:
    """The VN with an endpoint for each host that is none yet and is at one of its access ports.

    The same object where the VN does not learn, or there are none.
    """
    if not vn.learning or not hosts:
        return vn
    known = {endpoint.mac for endpoint in vn.endpoints.values()}
    vlans = {one.port: one.vlan for one in vn.endpoints.values() if one.port is not None}
    added: dict[str, Endpoint] = {}
    for mac in sorted(hosts):
        switch, claim = hosts[mac]
        port = PortRef(switch, claim.port)
        name = PREFIX + str(mac).replace(":", "")
        if mac not in known and port in vlans and name not in vn.endpoints:
            added[name] = Endpoint(name=name, mac=mac, ips=(), port=port, vlan=vlans[port])
    return replace(vn, endpoints=vn.endpoints | added) if added else vn
