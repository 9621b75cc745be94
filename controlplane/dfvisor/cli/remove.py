"""`dfvctl delete`: the network without a record, or the reason why not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from dfvisor.cli.change import Refused
from dfvisor.model.plain import link_name
from dfvisor.model.records import Network, VirtualNetwork

V = TypeVar("V")


def without_vn(network: Network, name: str) -> Network:
    """The network without a VN and all in it."""
    return replace(network, vns=_without(network.vns, name, "virtual network"))


def without_slice(network: Network, vn_name: str, name: str, *, cascade: bool) -> Network:
    """Without a slice; with `cascade` also without its flowspaces, whose traffic is then best
    effort.
    """
    vn = _vn(network, vn_name)
    slices = _without(vn.slices, name, f"slice in {vn_name}")
    if vn.slices[name].best_effort:
        raise Refused(
            f"slice {vn_name}/{name} is the best-effort slice, which goes only with its virtual "
            f"network: dfvctl delete vn {vn_name}"
        )
    users = sorted(f.name for f in vn.flowspaces.values() if f.slice == name)
    if users and not cascade:
        raise Refused(
            f"slice {vn_name}/{name} is used by flowspaces {', '.join(users)}; "
            f"--cascade deletes them, too"
        )
    flowspaces = {n: f for n, f in vn.flowspaces.items() if f.slice != name}
    return _with(network, replace(vn, slices=slices, flowspaces=flowspaces))


def without_flowspace(network: Network, vn_name: str, name: str) -> Network:
    vn = _vn(network, vn_name)
    flowspaces = _without(vn.flowspaces, name, f"flowspace in {vn_name}")
    parts = sorted(f.name for f in flowspaces.values() if f.under == name)
    if parts:
        raise Refused(
            f"parts of flowspace {vn_name}/{name} are delegated: {', '.join(parts)}; delete those "
            f"first"
        )
    return _with(network, replace(vn, flowspaces=flowspaces))


def without_endpoint(network: Network, vn_name: str, name: str) -> Network:
    vn = _vn(network, vn_name)
    endpoints = _without(vn.endpoints, name, f"endpoint in {vn_name}")
    users = sorted(f.name for f in vn.flowspaces.values() if f.match.endpoint == name)
    if users:
        raise Refused(f"endpoint {vn_name}/{name} is used by flowspaces {', '.join(users)}")
    return _with(network, replace(vn, endpoints=endpoints))


def without_profile(network: Network, vn_name: str, name: str) -> Network:
    vn = _vn(network, vn_name)
    profiles = _without(vn.profiles, name, f"profile in {vn_name}")
    users = sorted(s.name for s in vn.slices.values() if s.profile == name)
    if users:
        raise Refused(f"profile {vn_name}/{name} is used by slices {', '.join(users)}")
    return _with(network, replace(vn, profiles=profiles))


def without_tenant(network: Network, name: str) -> Network:
    tenants = _without(network.tenants, name, "tenant")
    users = sorted(vn.name for vn in network.vns.values() if vn.tenant == name)
    if users:
        raise Refused(f"tenant {name} owns virtual networks {', '.join(users)}")
    users = sorted(grant.vn for grant in network.grants.values() if grant.tenant == name)
    if users:
        raise Refused(f"tenant {name} has grants for virtual networks {', '.join(users)}")
    return replace(network, tenants=tenants)


def without_grant(network: Network, name: str) -> Network:
    """The virtual network `name` has no limits any more."""
    return replace(network, grants=_without(network.grants, name, "grant"))


def without_link(network: Network, name: str) -> Network:
    """`name` is `s1:1-s2:1`, in either order."""
    ends = name.split("-")
    names = {name, f"{ends[-1]}-{ends[0]}"}
    links = tuple(link for link in network.fabric.links if link_name(link) not in names)
    if len(links) == len(network.fabric.links):
        known = ", ".join(link_name(link) for link in network.fabric.links)
        raise Refused(f"there is no link {name!r}; there are: {known or 'none'}")
    return replace(network, fabric=replace(network.fabric, links=links))


def without_switch(network: Network, name: str) -> Network:
    """Without a switch that nothing refers to."""
    switches = _without(network.fabric.switches, name, "switch")
    users = [
        f"link {link_name(link)}"
        for link in network.fabric.links
        if name in (link.a.switch, link.b.switch)
    ]
    users += [f"peer {p.name}" for p in network.fabric.peers.values() if p.port.switch == name]
    for vn in network.vns.values():
        users += [
            f"endpoint {vn.name}/{e.name}"
            for e in vn.endpoints.values()
            if e.port is not None and e.port.switch == name
        ]
        users += [f"slice {vn.name}/{s.name}" for s in vn.slices.values() if name in s.avoid]
    users += [
        f"grant {grant.vn}" for grant in network.grants.values() if name in (grant.ports or ())
    ]
    if users:
        raise Refused(f"switch {name} is used by {', '.join(users)}")
    return replace(network, fabric=replace(network.fabric, switches=switches))


def without_peer(network: Network, name: str) -> Network:
    """Without a foreign GRE endpoint that no endpoint is behind."""
    peers = _without(network.fabric.peers, name, "peer")
    users = [
        f"{vn.name}/{e.name}"
        for vn in network.vns.values()
        for e in vn.endpoints.values()
        if e.peer == name
    ]
    granted = [grant.vn for grant in network.grants.values() if name in (grant.peers or ())]
    if granted:
        raise Refused(f"peer {name} is granted to virtual networks {', '.join(granted)}")
    if users:
        raise Refused(f"peer {name} has endpoints {', '.join(users)} behind it")
    return replace(network, fabric=replace(network.fabric, peers=peers))


def _vn(network: Network, name: str) -> VirtualNetwork:
    if name not in network.vns:
        raise Refused(f"there is no virtual network {name!r}{_known(network.vns)}")
    return network.vns[name]


def _without(records: Mapping[str, V], name: str, what: str) -> dict[str, V]:
    if name not in records:
        raise Refused(f"there is no {what} named {name!r}{_known(records)}")
    return {key: record for key, record in records.items() if key != name}


def _known(records: Mapping[str, object]) -> str:
    if not records:
        return ""
    names = sorted(records)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"; there are: {', '.join(names[:20])}{more}"


def _with(network: Network, vn: VirtualNetwork) -> Network:
    return replace(network, vns=network.vns | {vn.name: vn})
