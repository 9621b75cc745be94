"""What one switch should hold, all but `flow` and `slice_forward`: pure.

`fabric_items` come from the provider's part, `vn_plan` from one VN; no item belongs to two of them.
The same input and numbers give the same items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dfvisor.agent.edge import Address, Classified, Edge, Port, where
from dfvisor.agent.making import LOWEST_PRIORITY, entry, exact, packet_meter
from dfvisor.agent.numbers import Kind, Numbers
from dfvisor.agent.probing import FABRIC_VN
from dfvisor.agent.site import Peer, Route, Site
from dfvisor.model.changes import changes
from dfvisor.model.named import Named
from dfvisor.model.records import DEFAULT_PUNT_PPS, Endpoint, MissPolicy, Slice, VirtualNetwork
from dfvisor.p4rt.entries import (
    CloneSession,
    DigestSubscription,
    Item,
    Lpm,
    Member,
    Meter,
    TableEntry,
    identity,
    spelled,
)
from dfvisor.p4rt.ports import NEIGHBOUR, SliceInfo

INFRASTRUCTURE = (
    "access_port",
    "source_guard",
    "known_host",
    "known_address",
    "arp_responder",
    "nd_responder",
    "classifier",
    "slice",
    "vtep",
    "peer",
    "l3_endpoint",
    "slice_policy",
    "bridge",
    "flood",
    "next_hop",
    "underlay",
    "replica",
)
"""The tables that the agent keeps, besides the default entry of DEFAULTS, groups and meters."""
DEFAULTS = ("switch_config",)

HASH_SPREAD = 40503  # 2^16 / the golden ratio, odd: each device id another seed of many bits
NO_SLICE = 0
QOS_BEST_EFFORT = 0
QOS_FLOWS = 1
MISS = {  # `MissPolicy` of the P4 program
    MissPolicy.DROP: 0,
    MissPolicy.BEST_EFFORT: 1,
    MissPolicy.PACKET_IN: 2,
}
CPU_PORT = 510
TRACE_SESSION = 1  # clone session; both as in the P4 program
LEARN = DigestSubscription(
    "learn_t", max_timeout_ns=50_000_000, max_list_size=64, ack_timeout_ns=1_000_000_000
)
"""Reports of senders that are not known; wanted while a VN of the switch learns."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a plan is made from besides the VN."""

    site: Site
    learned: Mapping[int, int]
    doubted: frozenset[int]
    addresses: tuple[Address, ...]

    def same(self, other: Inputs) -> bool:
        return (
            (self.site is other.site or self.site.same_for_vns(other.site))
            and self.learned == other.learned
            and self.doubted == other.doubted
            and self.addresses == other.addresses
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VnPlan:
    """A VN on one switch: its items, and the numbers by which the slicer and readers know it.

    `base` are the items that no flowspace makes, `classified` what each flowspace makes. `slices`
    are those carried here; `ports` the next-hop ids of its local access ports; `access` tells
    whether it has any. `inputs` are what it was made from besides the VN.
    """

    vn: VirtualNetwork
    vn_id: int
    base: tuple[Item, ...]
    slices: dict[str, SliceInfo]
    ports: dict[int, int]
    classified: Named[Classified] = field(default_factory=Named, repr=False, compare=False)
    edge: Edge | None = field(default=None, repr=False, compare=False)
    inputs: Inputs | None = field(default=None, repr=False, compare=False)

    @property
    def items(self) -> tuple[Item, ...]:
        """All items, spelled out; of two that flowspaces make with one identity, that of the lower
        name.
        """
        found = {
            identity(item): item
            for _, one in sorted(self.classified.items(), reverse=True)
            for item in one.items
        }
        return tuple(map(spelled, (*self.base, *found.values())))

    @property
    def access(self) -> bool:
        return bool(self.ports)

    @property
    def learns(self) -> bool:
        return self.access and self.vn.learning


# -- the provider's part


def fabric_items(site: Site, numbers: Numbers) -> list[Item]:
    """Everything about this switch, its links and the other VTEPs."""
    config = (
        ("vtep", site.vtep),
        ("mac", site.mac),
        ("hash_seed", site.device_id * HASH_SPREAD & 0xFFFF),
    )
    items: list[Item] = [
        TableEntry("switch_config", (), 0, "set_switch_config", config, is_default=True),
        CloneSession(TRACE_SESSION, frozenset({(CPU_PORT, 0)})),
        Meter("punt_meters", NO_SLICE, packet_meter(DEFAULT_PUNT_PPS)),
        entry("vtep", "terminate", exact(outer_dst=site.vtep)),
    ]
    items += [
        entry("access_port", "set_fabric", exact(port=port), LOWEST_PRIORITY)
        for port in sorted(site.fabric_ports)
    ]
    items += _fabric_answers(site)
    for peer in site.peers.values():
        items += _peer(peer, numbers)
    return items


def _fabric_answers(site: Site) -> Iterator[TableEntry]:
    """ARP for the own VTEP. A foreign peer attached here reaches all VTEPs through here, and may
    take them for neighbours of its own.
    """
    vteps = [site.vtep]
    if site.hosts_peers:
        vteps += [peer.vtep for peer in site.peers.values() if peer.device_id is not None]
    for vtep in vteps:
        yield entry("arp_responder", "arp_reply", exact(vn=FABRIC_VN, target=vtep), mac=site.mac)


def _peer(peer: Peer, numbers: Numbers) -> Iterator[TableEntry]:
    ours = peer.device_id is not None
    yield entry("peer", "peer_ours" if ours else "peer_foreign", exact(outer_src=peer.vtep))
    next_hop = numbers.number(Kind.NEXT_HOP, f"vtep/{peer.name}")
    yield entry("next_hop", "to_vtep", exact(next_hop=next_hop), vtep=peer.vtep)
    if peer.link is not None:
        key = exact(next_hop=neighbour_next_hop(peer.name, numbers))
        if peer.around:
            yield entry("next_hop", "to_vtep", key, vtep=peer.vtep)
        else:
            yield entry(
                "next_hop",
                "to_neighbour",
                key,
                vtep=peer.vtep,
                port=peer.link.port,
                mac=peer.link.mac,
                mtu=peer.link.mtu,
            )
    towards = (("outer_dst", Lpm(peer.vtep, 32)),)
    yield TableEntry("underlay", towards, 0, "", members=ecmp_members(peer.routes))
    if peer.flood is not None:
        yield entry(
            "replica",
            "replica_to_vtep",
            exact(replication_id=numbers.number(Kind.REPLICA, peer.name)),
            vtep=peer.vtep,
            mac=peer.flood.mac,
            mtu=peer.flood.mtu,
        )


def ecmp_members(routes: Sequence[Route]) -> tuple[Member, ...]:
    """One member for each route, all but the first left out while their ports are down.

    The first stays whatever happens: a group of which no member is left makes BMv2 crash. Where
    there is no route, one that says so.
    """
    if not routes:
        return (Member("unreachable", ()),)
    return tuple(
        Member(
            "route_to",
            (("port", route.port), ("mac", route.mac), ("mtu", route.mtu)),
            watch_port=route.port if place else None,
        )
        for place, route in enumerate(routes)
    )


def neighbour_next_hop(switch: str, numbers: Numbers) -> int:
    """The next-hop id of a neighbour switch over a link."""
    return numbers.number(Kind.NEXT_HOP, f"neighbour/{switch}")


def neighbours(site: Site, numbers: Numbers) -> dict[int, int]:
    """Virtual next hop -> next-hop id of every neighbour switch."""
    return {
        NEIGHBOUR + peer.device_id: neighbour_next_hop(peer.name, numbers)
        for peer in site.peers.values()
        if peer.link is not None and peer.device_id is not None
    }


# -- one VN


def vn_plan(
    site: Site,
    vn: VirtualNetwork,
    numbers: Numbers,
    before: VnPlan | None = None,
    learned: Mapping[int, int] | None = None,
    doubted: Collection[int] = (),
    addresses: Collection[Address] = (),
) -> VnPlan | None:
    """The VN's items on this switch; None if it has no endpoint here, none behind a peer that is
    attached here, and no path through it.

    `before` is an earlier plan of the same VN and switch; it only saves work: where nothing but
    flowspaces differs, only these are looked at. `learned` are MACs that were seen at access ports;
    those of endpoints, and at ports that are not the VN's, are left out. Of these the `doubted` are
    to be reported if they send; `addresses` are what they say to have.
    """
    inputs = Inputs(site, dict(learned or {}), frozenset(doubted), tuple(addresses))
    if before is not None and before.inputs is not None and before.inputs.same(inputs):
        changed = changes(before.vn, vn)
        if not changed.structure and not changed.endpoints:
            return _with_flowspaces(replace(before, inputs=inputs), vn, changed.flowspaces)
    home = site.is_home(vn)
    carried = [slice_ for slice_ in vn.slices.values() if _carries(site, vn, slice_, home)]
    if not carried:
        return None
    best_effort = vn.best_effort_slice
    if best_effort not in carried:
        carried.append(best_effort)  # what is demoted here goes on in it
    vn_id = numbers.number(Kind.VN, vn.name)
    slices = {
        slice_.name: SliceInfo(
            slice_.key,
            numbers.number(Kind.SLICE, f"{vn.name}/{slice_.name}"),
            slice_.best_effort,
        )
        for slice_ in carried
    }
    local = [end for end in vn.endpoints.values() if where(end) == site.name]
    ports = {
        end.port.port: Port(
            number=end.port.port,
            vid=end.vlan or 0,
            next_hop=numbers.number(Kind.NEXT_HOP, f"local/{vn.name}/{end.port.port}"),
        )
        for end in local
        if end.port is not None
    }
    items: list[Item] = []
    classified: Named[Classified] = Named()
    edge = None
    for slice_ in carried:
        items += _slice(vn, vn_id, slice_, slices, bool(local))
    items += [
        entry("next_hop", "to_port", exact(next_hop=port.next_hop), port=port.number, vid=port.vid)
        for port in ports.values()
    ]
    items += [_bridge(site, vn_id, end, ports, numbers) for end in vn.endpoints.values()]
    if local:
        macs = {end.mac.value for end in vn.endpoints.values()}
        edge = Edge(
            site=site,
            vn=vn,
            vn_id=vn_id,
            slices=slices,
            ports=ports,
            local=local,
            learned={
                mac: port
                for mac, port in inputs.learned.items()
                if port in ports and mac not in macs
            },
            doubted=inputs.doubted,
            addresses=inputs.addresses,
            numbers=numbers,
        )
        items += edge.items()
        classified = edge.classified(before.classified if before else {})
    return VnPlan(
        vn=vn,
        vn_id=vn_id,
        base=tuple(items),
        slices=slices,
        ports={port.number: port.next_hop for port in ports.values()},
        classified=classified,
        edge=edge,
        inputs=inputs,
    )


def _with_flowspaces(before: VnPlan, vn: VirtualNetwork, names: Collection[str]) -> VnPlan:
    """The plan of a VN of which only these flowspaces differ."""
    edge, classified = before.edge, before.classified
    if edge is not None:
        edge = replace(edge, vn=vn)
        if names:  # else nobody need look at what is perhaps a former copy
            classified = classified.changed(edge.classify(names, classified))
    return replace(before, vn=vn, classified=classified, edge=edge)


def _carries(site: Site, vn: VirtualNetwork, slice_: Slice, home: bool) -> bool:
    """Best effort passes other switches unseen; a QoS slice is looked at by every hop."""
    return home or (not slice_.best_effort and site.crosses(vn, slice_.avoid))


def _slice(
    vn: VirtualNetwork, vn_id: int, slice_: Slice, slices: Mapping[str, SliceInfo], local: bool
) -> Iterator[Item]:
    info, best_effort = slices[slice_.name], slices[vn.best_effort_slice.name]
    profile = None if slice_.profile is None else vn.profiles[slice_.profile]
    yield entry(
        "slice_policy",
        "set_slice_policy",
        exact(slice_id=info.slice_id),
        gre_key=slice_.key,
        qos_level=QOS_BEST_EFFORT if profile is None else QOS_FLOWS,
        miss_policy=MISS[slice_.miss],
        queue=profile.queue if profile else 0,
        dscp=profile.dscp if profile else 0,
        best_effort_slice=best_effort.slice_id,
        best_effort_key=best_effort.key,
        dscp_yellow=profile.dscp_yellow if profile else 0,
    )
    yield Meter("punt_meters", info.slice_id, packet_meter(slice_.punt_pps))
    if local or not slice_.best_effort:
        key = exact(gre_key=slice_.key)
        yield entry("slice", "set_slice", key, slice_id=info.slice_id, vn=vn_id)


def _bridge(
    site: Site, vn_id: int, endpoint: Endpoint, ports: Mapping[int, Port], numbers: Numbers
) -> TableEntry:
    key = exact(vn=vn_id, eth_dst=endpoint.mac.value)
    if endpoint.port is not None and where(endpoint) == site.name:
        next_hop = ports[endpoint.port.port].next_hop
        return entry("bridge", "bridge_local", key, next_hop=next_hop)
    next_hop = numbers.number(Kind.NEXT_HOP, f"vtep/{where(endpoint)}")
    return entry("bridge", "bridge_remote", key, next_hop=next_hop)
