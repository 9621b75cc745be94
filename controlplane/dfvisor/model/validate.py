"""What makes a network impossible although each of its records is well formed: pure.

The same checks run for `dfvctl check`, before every apply, and on what the daemons read.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address

from dfvisor.errors import Problem
from dfvisor.model.granted import clashes, outside
from dfvisor.model.grants import Grant
from dfvisor.model.learned import PREFIX
from dfvisor.model.overlap import conflicts
from dfvisor.model.paths import next_hops
from dfvisor.model.permissions import permission_problems
from dfvisor.model.plain import ETH_TYPES, IP_PROTOCOLS, Problems, link_name
from dfvisor.model.records import (
    Endpoint,
    Fabric,
    Flowspace,
    MissPolicy,
    Network,
    Peer,
    Stale,
    Tenant,
    Treatment,
    VirtualNetwork,
)
from dfvisor.model.source import Path
from dfvisor.model.types import Mac, PortRef

PORT_PROTOCOLS = frozenset(IP_PROTOCOLS[name] for name in ("tcp", "udp", "sctp"))
_IP_TYPES = (ETH_TYPES["ipv4"], ETH_TYPES["ipv6"])


def validate(
    network: Network,
    *,
    lines: Mapping[Path, int] | None = None,
    broken: Collection[Path] = (),
) -> list[Problem]:
    """Every problem of the network, in the order of the records.

    `lines` gives places in a file. `broken` are paths of records that could not be read:
    references to them are not reported.
    """
    return _Validator(network, Problems(lines), frozenset(broken)).run()


def validate_vn(
    fabric: Fabric,
    vn: VirtualNetwork,
    grant: Grant | None,
    tenants: Mapping[str, Tenant] | None = None,
) -> list[Problem]:
    """Every problem of one VN, for who reads it from the database: also what is outside its grant
    (None: not known, so not checked).

    Without `tenants` its own is taken to exist.
    """
    known = {vn.tenant: Tenant(name=vn.tenant)} if tenants is None else dict(tenants)
    found = validate(Network(fabric=fabric, tenants=known, vns={vn.name: vn}))
    return found if grant is None else found + outside_grant(vn, grant)


def outside_grant(vn: VirtualNetwork, grant: Grant) -> list[Problem]:
    """What of the VN is outside its grant."""
    problems = Problems()
    for path, message in outside(vn, grant):
        problems.add(path, message)
    return problems.found


class _Validator:
    def __init__(self, network: Network, problems: Problems, broken: frozenset[Path]) -> None:
        self._network = network
        self._problems = problems
        self._broken = broken
        self._fabric_ports: dict[PortRef, str] = {}
        self._access_ports: dict[tuple[PortRef, int | None], str] = {}
        self._ports_of_vns: dict[tuple[PortRef, str], str] = {}
        self._keys: dict[int, str] = {}
        self._paths_known = True
        self._trees: dict[tuple[str, tuple[str, ...]], frozenset[str]] = {}

    def run(self) -> list[Problem]:
        self._fabric(self._network.fabric)
        # paths through what could not be read, or leads nowhere, would be missed
        self._paths_known = not self._problems.found and not any(
            where[0] in ("switches", "links") for where in self._broken if where
        )
        for vn in self._network.vns.values():
            self._vn(vn)
        self._grants()
        return self._problems.found

    def _add(self, path: Path, message: str) -> None:
        self._problems.add(path, message)

    def _refer(self, path: Path, what: str, name: str, known: Collection[str], where: Path) -> bool:
        """Report a reference to a record that does not exist; False then."""
        if name in known:
            return True
        if (*where, name) in self._broken:
            return False
        close = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        self._add(path, f"there is no {what} {name!r}{hint}")
        return False

    # -- the provider's part

    def _fabric(self, fabric: Fabric) -> None:
        device_ids: dict[int, str] = {}
        vteps: dict[IPv4Address, str] = {}
        for name, switch in fabric.switches.items():
            path = ("switches", name)
            other = device_ids.setdefault(switch.device_id, name)
            if other != name:
                self._add(
                    (*path, "device_id"), f"{switch.device_id} is already that of switch {other}"
                )
            self._vtep(path, switch.vtep, f"switch {name}", vteps)
        for cable in fabric.links:
            name = link_name(cable)
            path = ("links", name)
            for end in (cable.a, cable.b):
                self._refer(path, "switch", end.switch, fabric.switches, ("switches",))
                other = self._fabric_ports.setdefault(end, f"link {name}")
                if other != f"link {name}":
                    self._add(path, f"port {end} is already used by {other}")
            if cable.a.switch == cable.b.switch:
                self._add(path, f"both ends are at switch {cable.a.switch}")
        for peer in fabric.peers.values():
            self._peer(fabric, peer, vteps)

    def _peer(self, fabric: Fabric, peer: Peer, vteps: dict[IPv4Address, str]) -> None:
        path = ("peers", peer.name)
        if peer.name in fabric.switches:
            self._add(path, "a switch has this name")
        self._vtep(path, peer.vtep, f"peer {peer.name}", vteps)
        where = (*path, "port")
        self._refer(where, "switch", peer.port.switch, fabric.switches, ("switches",))
        other = self._fabric_ports.setdefault(peer.port, f"peer {peer.name}")
        if other.startswith("link "):  # several peers may be behind one port
            self._add(where, f"{peer.port} is already used by {other}")
        self._unicast((*path, "mac"), peer.mac)

    def _vtep(
        self, path: Path, vtep: IPv4Address, owner: str, vteps: dict[IPv4Address, str]
    ) -> None:
        where = (*path, "vtep")
        other = vteps.setdefault(vtep, owner)
        if other != owner:
            self._add(where, f"{vtep} is already that of {other}")
        if vtep.is_multicast or vtep.is_unspecified or vtep.is_reserved:
            self._add(where, f"{vtep} is not a unicast address")
        if vtep.is_link_local:
            self._add(where, f"{vtep} is link-local: these are for probes of links")

    def _unicast(self, path: Path, mac: Mac) -> None:
        if mac.multicast:
            self._add(path, f"{mac} is a multicast address")
        elif not mac.value:
            self._add(path, "the address is all zero")

    def _grants(self) -> None:
        network = self._network
        for name, grant in network.grants.items():
            path: Path = ("grants", name)
            self._refer((*path, "tenant"), "tenant", grant.tenant, network.tenants, ("tenants",))
            for switch in grant.ports or ():
                self._refer(
                    (*path, "ports"), "switch", switch, network.fabric.switches, ("switches",)
                )
            for peer in grant.peers or ():
                self._refer((*path, "peers"), "peer", peer, network.fabric.peers, ("peers",))
            vn = network.vns.get(name)
            if vn is not None and ("vns", name) not in self._broken:
                self._add_all(outside(vn, grant))
        self._add_all(clashes(network.grants, network.vns))

    def _add_all(self, found: Iterable[tuple[Path, str]]) -> None:
        for path, message in found:
            self._add(path, message)

    # -- virtual networks

    def _vn(self, vn: VirtualNetwork) -> None:
        path = ("vns", vn.name)
        if vn.tenant:
            self._refer((*path, "tenant"), "tenant", vn.tenant, self._network.tenants, ("tenants",))
        elif path not in self._broken:
            self._add(path, "tenant is missing")
        self._slices(vn, path)
        self._endpoints(vn, path)
        for flowspace in vn.flowspaces.values():
            self._flowspace(vn, flowspace, (*path, "flowspaces", flowspace.name))
        self._overlaps(vn, path)
        if not self._paths_known:
            return
        if self._reachable(vn, (), path):
            for slice_ in vn.slices.values():
                if slice_.avoid:
                    self._reachable(vn, slice_.avoid, (*path, "slices", slice_.name))

    def _slices(self, vn: VirtualNetwork, path: Path) -> None:
        best_effort: list[str] = []
        for name, slice_ in vn.slices.items():
            where = (*path, "slices", name)
            other = self._keys.setdefault(slice_.key, f"{vn.name}/{name}")
            if other != f"{vn.name}/{name}":
                self._add((*where, "key"), f"{slice_.key} is already the GRE key of slice {other}")
            for switch in slice_.avoid:
                self._refer(
                    (*where, "avoid"),
                    "switch",
                    switch,
                    self._network.fabric.switches,
                    ("switches",),
                )
            if slice_.profile is not None:
                self._refer(
                    (*where, "profile"),
                    "profile",
                    slice_.profile,
                    vn.profiles,
                    (*path, "profiles"),
                )
                continue
            best_effort.append(name)
            if slice_.avoid:
                self._add(
                    (*where, "avoid"), "a best-effort slice takes any path and can avoid nothing"
                )
            if slice_.stale is not Stale.HOLD:
                self._add((*where, "stale"), "what is best effort already holds")
            if slice_.disabled:
                self._add((*where, "disabled"), "a virtual network needs its best-effort slice")
            if slice_.miss is not MissPolicy.BEST_EFFORT:
                self._add((*where, "miss"), "a best-effort slice has no flow entries to miss")
        unread = any(broken[: len(path) + 1] == (*path, "slices") for broken in self._broken)
        if not best_effort and not unread:
            self._add(path, "no best-effort slice: exactly one slice must have no profile")
        for name in best_effort[1:]:
            self._add(
                (*path, "slices", name),
                f"a second best-effort slice besides {best_effort[0]}: give it a profile",
            )

    def _endpoints(self, vn: VirtualNetwork, path: Path) -> None:
        macs: dict[object, str] = {}
        ips: dict[object, str] = {}
        for name, endpoint in vn.endpoints.items():
            where = (*path, "endpoints", name)
            self._unicast((*where, "mac"), endpoint.mac)
            other = macs.setdefault(endpoint.mac, name)
            if other != name:
                self._add((*where, "mac"), f"{endpoint.mac} is already that of endpoint {other}")
            for ip, count in Counter(endpoint.ips).items():
                other = ips.setdefault(ip, name)
                if other != name:
                    self._add((*where, "ips"), f"{ip} is already that of endpoint {other}")
                if count > 1:
                    self._add((*where, "ips"), f"{ip} is given twice")
                if ip.is_multicast or ip.is_unspecified:
                    self._add((*where, "ips"), f"{ip} is not a unicast address")
            if endpoint.peer is not None:
                self._refer(
                    (*where, "peer"),
                    "peer",
                    endpoint.peer,
                    self._network.fabric.peers,
                    ("peers",),
                )
            if endpoint.port is not None:
                self._access_port(vn, endpoint, endpoint.port, where)

    def _access_port(
        self, vn: VirtualNetwork, endpoint: Endpoint, port: PortRef, path: Path
    ) -> None:
        if endpoint.name.startswith(PREFIX):
            return  # learned there, where an endpoint is
        where = (*path, "port")
        self._refer(where, "switch", port.switch, self._network.fabric.switches, ("switches",))
        if port in self._fabric_ports:
            self._add(where, f"{port} is a fabric port of {self._fabric_ports[port]}")
        label = f"{vn.name}/{endpoint.name}"
        same_vn = self._ports_of_vns.setdefault((port, vn.name), label)
        other = self._access_ports.setdefault((port, endpoint.vlan), label)
        if same_vn != label:
            self._add(
                where, f"{port} is already the port of endpoint {same_vn} of the same network"
            )
        elif other != label and endpoint.vlan is None:
            self._add(
                where, f"{port} is already the port of endpoint {other}; a vlan tells them apart"
            )
        elif other != label:
            self._add(
                (*path, "vlan"),
                f"{endpoint.vlan} is already that of endpoint {other} at port {port}",
            )

    def _flowspace(self, vn: VirtualNetwork, flowspace: Flowspace, path: Path) -> None:
        self._refer(
            (*path, "slice"), "slice", flowspace.slice, vn.slices, ("vns", vn.name, "slices")
        )
        in_slice = vn.slices.get(flowspace.slice)
        if flowspace.treatment is Treatment.TO_CONTROLLER and in_slice and in_slice.best_effort:
            self._add(
                (*path, "treatment"),
                f"slice {in_slice.name} is best effort: it has no flow entries and no controller",
            )
        for message in permission_problems(vn, flowspace):
            self._add(path, message)
        match = flowspace.match
        where = (*path, "match")
        if match.endpoint is not None:
            self._refer(
                (*where, "endpoint"),
                "endpoint",
                match.endpoint,
                vn.endpoints,
                ("vns", vn.name, "endpoints"),
            )
            endpoint = vn.endpoints.get(match.endpoint)
            if endpoint is not None and endpoint.port is None:
                self._add(
                    (*where, "endpoint"),
                    f"{match.endpoint} is behind peer {endpoint.peer}: its frames enter at no port",
                )
            if flowspace.bidirectional:
                self._add(
                    (*path, "bidirectional"),
                    "a match on the entry's endpoint has no reverse; write two flowspaces",
                )
        for message in match_problems(flowspace):
            self._add(where, message)

    def _overlaps(self, vn: VirtualNetwork, path: Path) -> None:
        for first, second in conflicts(vn.flowspaces.values()):
            one, two = vn.flowspaces[first], vn.flowspaces[second]
            outcomes = [f"{one.slice}/{one.treatment.value}", f"{two.slice}/{two.treatment.value}"]
            differs = f"but goes to {outcomes[1]} instead of {outcomes[0]}"
            if outcomes[0] == outcomes[1]:
                differs = "and one meter has to count the packets of both"
            self._add(
                (*path, "flowspaces", second),
                f"overlaps flowspace {first} of equal priority {one.priority}, {differs}",
            )

    def _reachable(self, vn: VirtualNetwork, avoid: tuple[str, ...], path: Path) -> bool:
        """Every two endpoints must have a path around the switches to avoid. Whether they have."""
        homes: dict[str, str] = {}
        for endpoint in vn.endpoints.values():
            home = self._network.fabric.home(endpoint)
            if home is not None:
                homes.setdefault(home, endpoint.name)
        names = sorted(homes)
        cut: list[str] = []
        for position, destination in enumerate(names):
            reached = self._reach(destination, avoid)
            cut += [
                f"{homes[source]}@{source} and {homes[destination]}@{destination}"
                for source in names[position + 1 :]
                if source not in reached
            ]
        if cut:
            more = f" and {len(cut) - 3} more pairs" if len(cut) > 3 else ""
            why = f" avoiding {', '.join(avoid)}" if avoid else ""
            self._add(path, f"no path{why} between {'; '.join(cut[:3])}{more}")
        return not cut

    def _reach(self, destination: str, avoid: Iterable[str]) -> frozenset[str]:
        question = (destination, tuple(sorted(set(avoid))))
        if question not in self._trees:
            self._trees[question] = frozenset(next_hops(self._network.fabric, *question))
        return self._trees[question]


def match_problems(flowspace: Flowspace) -> list[str]:
    """Why a match could match nothing, or says less than it seems to."""
    match = flowspace.match
    ipv4 = match.ipv4_src is not None or match.ipv4_dst is not None
    ipv6 = match.ipv6_src is not None or match.ipv6_dst is not None
    ports = match.l4_src is not None or match.l4_dst is not None
    found: list[str] = []
    if ipv4 and ipv6:
        found.append("IPv4 and IPv6 addresses exclude each other")
    if match.eth_type is not None:
        for used, name in ((ipv4, "ipv4"), (ipv6, "ipv6")):
            if used and match.eth_type != ETH_TYPES[name]:
                found.append(f"{name} addresses need eth_type {name}, not 0x{match.eth_type:04x}")
    if ports and match.ip_proto not in PORT_PROTOCOLS:
        found.append("l4_src and l4_dst need ip_proto tcp, udp or sctp")
    if match.tcp_flags is not None and match.ip_proto != IP_PROTOCOLS["tcp"]:
        found.append("tcp_flags needs ip_proto tcp")
    if (ports or match.tcp_flags is not None) and match.fragment:
        found.append("later fragments carry no ports and no TCP flags")
    if match.eth_type is not None and match.eth_type not in _IP_TYPES:
        said = {"ip_proto": match.ip_proto, "dscp": match.dscp, "fragment": match.fragment}
        if names := [name for name, value in said.items() if value is not None]:
            found.append(f"{', '.join(names)} need an IP eth_type, not 0x{match.eth_type:04x}")
    return found
