"""What the tables of one switch should hold, all but `flow` and `slice_forward`: pure.

`fabric_items` come from the provider's part, `vn_plan` from one VN; no item belongs to two of them.
The same input and numbers give the same items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dfvisor.agent.numbers import Kind, Numbers
from dfvisor.agent.site import Site
from dfvisor.model.records import (
    Endpoint,
    Flowspace,
    MissPolicy,
    Slice,
    Treatment,
    UnknownUnicast,
    VirtualNetwork,
)
from dfvisor.model.ternary import WIDTHS, expand
from dfvisor.p4rt.cookies import NO_FLOWSPACE, flowspace_cookie
from dfvisor.p4rt.entries import (
    Exact,
    FieldMatch,
    Item,
    Key,
    Lpm,
    MulticastGroup,
    TableEntry,
    Ternary,
)
from dfvisor.p4rt.ports import NEIGHBOUR, SliceInfo

INFRASTRUCTURE = (
    "access_port",
    "classifier",
    "slice",
    "vtep",
    "peer",
    "slice_policy",
    "bridge",
    "flood",
    "next_hop",
    "underlay",
    "replica",
)
"""The tables that the agent keeps, besides the default entry of DEFAULTS and the groups."""
DEFAULTS = ("tunnel_source",)

PORT_MASK = (1 << 9) - 1
CATCH_ALL_PRIORITY = 1
QOS_BEST_EFFORT = 0
QOS_FLOWS = 1
MISS = {MissPolicy.DROP: 0, MissPolicy.BEST_EFFORT: 1}  # `MissPolicy` of the P4 program
LOCAL_COPY = 0  # replication id of a copy that leaves as it is


@dataclass(frozen=True, slots=True)
class Classified:
    """A flowspace's classifier entries, and what they depend on: VN id, slice id, port."""

    flowspace: Flowspace
    context: tuple[int, int, int | None]
    entries: tuple[TableEntry, ...]
    hashes: tuple[int, ...]  # of the entries' keys and priorities


@dataclass(frozen=True, slots=True, kw_only=True)
class VnPlan:
    """A VN on one switch: its items, and the numbers by which the slicer and readers know it.

    `slices` are those carried here; `ports` the next-hop ids of its local access ports; `access`
    tells whether it has any.
    """

    vn: VirtualNetwork
    vn_id: int
    items: tuple[Item, ...]
    slices: dict[str, SliceInfo]
    ports: dict[int, int]
    classified: dict[str, Classified] = field(default_factory=dict, repr=False, compare=False)

    @property
    def access(self) -> bool:
        return bool(self.ports)


def entry(table: str, action: str, key: Key, priority: int = 0, /, **args: int) -> TableEntry:
    """An entry, its arguments in the action's order."""
    return TableEntry(table, key, priority, action, tuple(args.items()))


def exact(**fields: int) -> Key:
    """A key of exact matches, its fields in the table's order."""
    return tuple((name, Exact(value)) for name, value in fields.items())


# -- the provider's part


def fabric_items(site: Site, numbers: Numbers) -> list[Item]:
    """Everything about this switch, its links and the other switches."""
    source = (("vtep", site.vtep), ("mac", site.mac))
    items: list[Item] = [
        TableEntry("tunnel_source", (), 0, "set_tunnel_source", source, is_default=True),
        entry("vtep", "terminate", exact(outer_dst=site.vtep)),
    ]
    items += [
        entry("access_port", "set_fabric", exact(port=port)) for port in sorted(site.fabric_ports)
    ]
    for peer in site.peers.values():
        items.append(entry("peer", "peer_ours", exact(outer_src=peer.vtep)))
        next_hop = numbers.number(Kind.NEXT_HOP, f"vtep/{peer.name}")
        items.append(entry("next_hop", "to_vtep", exact(next_hop=next_hop), vtep=peer.vtep))
        if peer.link is not None:
            next_hop = neighbour_next_hop(peer.name, numbers)
            items.append(
                entry(
                    "next_hop",
                    "to_neighbour",
                    exact(next_hop=next_hop),
                    vtep=peer.vtep,
                    port=peer.link,
                    mac=peer.mac,
                )
            )
        if peer.port is not None and peer.hop_mac is not None:
            items.append(
                entry(
                    "underlay",
                    "route_to",
                    (("outer_dst", Lpm(peer.vtep, 32)),),
                    port=peer.port,
                    mac=peer.hop_mac,
                )
            )
            rid = numbers.number(Kind.REPLICA, peer.name)
            items.append(
                entry(
                    "replica",
                    "replica_to_vtep",
                    exact(replication_id=rid),
                    vtep=peer.vtep,
                    mac=peer.hop_mac,
                )
            )
    return items


def neighbour_next_hop(switch: str, numbers: Numbers) -> int:
    """The next-hop id of a neighbour switch over a link."""
    return numbers.number(Kind.NEXT_HOP, f"neighbour/{switch}")


def neighbours(site: Site, numbers: Numbers) -> dict[int, int]:
    """Virtual next hop -> next-hop id of every neighbour switch."""
    return {
        NEIGHBOUR + peer.device_id: neighbour_next_hop(peer.name, numbers)
        for peer in site.peers.values()
        if peer.link is not None
    }


# -- one VN


def vn_plan(
    site: Site, vn: VirtualNetwork, numbers: Numbers, before: VnPlan | None = None
) -> VnPlan | None:
    """The VN's items on this switch; None if it has no access port here and no path through it.

    `before` is an earlier plan of the same VN and switch; it only saves work.
    """
    local = [end for end in vn.endpoints.values() if end.port.switch == site.name]
    carried = [slice_ for slice_ in vn.slices.values() if _carries(site, vn, slice_, bool(local))]
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
    ports = {
        end.port.port: numbers.number(Kind.NEXT_HOP, f"local/{vn.name}/{end.port.port}")
        for end in local
    }
    items: list[Item] = []
    classified: dict[str, Classified] = {}
    for slice_ in carried:
        info = slices[slice_.name]
        items.append(_policy(vn, slice_, info, slices[best_effort.name]))
        if local or not slice_.best_effort:
            items.append(
                entry(
                    "slice",
                    "set_slice",
                    exact(gre_key=slice_.key),
                    slice_id=info.slice_id,
                    vn=vn_id,
                )
            )
    items += [
        entry("next_hop", "to_port", exact(next_hop=next_hop), port=port)
        for port, next_hop in ports.items()
    ]
    items += [_bridge(site, vn_id, end, ports, numbers) for end in vn.endpoints.values()]
    if local:
        items += _access(site, vn, vn_id, slices)
        classified = _classified(site, vn, vn_id, slices, before.classified if before else {})
        items += _without_twins(classified)
        items += _flood(site, vn, vn_id, numbers)
    return VnPlan(
        vn=vn,
        vn_id=vn_id,
        items=tuple(items),
        slices=slices,
        ports=ports,
        classified=classified,
    )


def _carries(site: Site, vn: VirtualNetwork, slice_: Slice, local: bool) -> bool:
    """Best effort passes other switches unseen; a QoS slice is looked at by every hop."""
    return local or (not slice_.best_effort and site.crosses(vn, slice_.avoid))


def _policy(
    vn: VirtualNetwork, slice_: Slice, info: SliceInfo, best_effort: SliceInfo
) -> TableEntry:
    profile = None if slice_.profile is None else vn.profiles[slice_.profile]
    return entry(
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
    )


def _bridge(
    site: Site, vn_id: int, endpoint: Endpoint, ports: dict[int, int], numbers: Numbers
) -> TableEntry:
    key = exact(vn=vn_id, eth_dst=endpoint.mac.value)
    if endpoint.port.switch == site.name:
        return entry("bridge", "bridge_local", key, next_hop=ports[endpoint.port.port])
    next_hop = numbers.number(Kind.NEXT_HOP, f"vtep/{endpoint.port.switch}")
    return entry("bridge", "bridge_remote", key, next_hop=next_hop)


def _access(
    site: Site, vn: VirtualNetwork, vn_id: int, slices: dict[str, SliceInfo]
) -> Iterator[TableEntry]:
    best_effort = slices[vn.best_effort_slice.name].slice_id
    for port in _local_ports(site, vn):
        yield entry(
            "access_port",
            "set_access",
            exact(port=port),
            vn=vn_id,
            best_effort_slice=best_effort,
        )
        yield entry(
            "classifier",
            "classify",
            (("vn", Exact(vn_id)), ("port", Ternary(port, PORT_MASK))),
            CATCH_ALL_PRIORITY,
            slice_id=best_effort,
            cookie=NO_FLOWSPACE,
        )


def _classified(
    site: Site,
    vn: VirtualNetwork,
    vn_id: int,
    slices: dict[str, SliceInfo],
    before: dict[str, Classified],
) -> dict[str, Classified]:
    """The classifier entries of each flowspace; those of one that is as before are taken over."""
    made: dict[str, Classified] = {}
    for name in sorted(vn.flowspaces):
        flowspace = vn.flowspaces[name]
        port = None
        if flowspace.match.endpoint is not None:
            entrance = vn.endpoints[flowspace.match.endpoint].port
            if entrance.switch != site.name:
                continue
            port = entrance.port
        context = (vn_id, slices[flowspace.slice].slice_id, port)
        held = before.get(name)
        if (
            held is not None
            and held.context == context
            and (held.flowspace is flowspace or held.flowspace == flowspace)
        ):
            made[name] = held
        else:
            entries = tuple(_classifier_entries(vn.name, flowspace, *context))
            hashes = tuple(hash((found.key, found.priority)) for found in entries)
            made[name] = Classified(flowspace, context, entries, hashes)
    return made


def _without_twins(classified: dict[str, Classified]) -> list[TableEntry]:
    """All entries; of two with one key and priority, whose treatment is equal, the first's by name.

    Hashes first: they are at hand, and hardly ever meet.
    """
    found = [one for part in classified.values() for one in part.entries]
    if len({number for part in classified.values() for number in part.hashes}) == len(found):
        return found
    return list({(one.key, one.priority): one for one in reversed(found)}.values())


def _classifier_entries(
    vn: str, flowspace: Flowspace, vn_id: int, slice_id: int, port: int | None
) -> Iterator[TableEntry]:
    at: tuple[tuple[str, FieldMatch], ...] = (("vn", Exact(vn_id)),)
    if port is not None:
        at += (("port", Ternary(port, PORT_MASK)),)
    cookie = flowspace_cookie(vn, flowspace.name)
    priority = flowspace.priority + CATCH_ALL_PRIORITY
    for found in expand(flowspace.match, bidirectional=flowspace.bidirectional):
        key = at + tuple(
            (name, Ternary(*found.fields[name])) for name in WIDTHS if name in found.fields
        )
        if flowspace.treatment is Treatment.DENY:
            yield entry("classifier", "classify_deny", key, priority, cookie=cookie)
        else:
            yield entry("classifier", "classify", key, priority, slice_id=slice_id, cookie=cookie)


def _flood(site: Site, vn: VirtualNetwork, vn_id: int, numbers: Numbers) -> Iterator[Item]:
    """From-access also goes to every other switch with endpoints; from-fabric stays here."""
    local = frozenset((port, LOCAL_COPY) for port in _local_ports(site, vn))
    remote: set[tuple[int, int]] = set()
    for switch in {end.port.switch for end in vn.endpoints.values()} - {site.name}:
        peer = site.peers[switch]
        if peer.port is not None:
            remote.add((peer.port, numbers.number(Kind.REPLICA, switch)))
    from_access = numbers.number(Kind.GROUP, f"access/{vn.name}")
    from_fabric = numbers.number(Kind.GROUP, f"fabric/{vn.name}")
    yield MulticastGroup(from_access, local | remote)
    yield MulticastGroup(from_fabric, local)
    yield entry(
        "flood",
        "flood_to",
        exact(vn=vn_id),
        from_access=from_access,
        from_fabric=from_fabric,
        unknown_unicast=int(vn.unknown_unicast is UnknownUnicast.FLOOD),
    )


def _local_ports(site: Site, vn: VirtualNetwork) -> list[int]:
    return sorted({end.port.port for end in vn.endpoints.values() if end.port.switch == site.name})
