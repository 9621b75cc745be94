"""`dfvctl get`: the records of the database, as tables or as a description."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from dfvisor.cli.change import Refused
from dfvisor.cli.output import Output, console, dump, table
from dfvisor.model import plain as form
from dfvisor.model.description import render, render_vn
from dfvisor.model.granted import render_grant
from dfvisor.model.rates import render_bps, render_rate
from dfvisor.model.records import Endpoint, Match, Network, Rate, VirtualNetwork
from dfvisor.model.render import render_match
from dfvisor.model.source import Plain


class Kind(StrEnum):
    ALL = "all"
    SWITCHES = "switches"
    LINKS = "links"
    PEERS = "peers"
    TENANTS = "tenants"
    GRANTS = "grants"
    VNS = "vns"
    VN = "vn"
    SLICES = "slices"
    FLOWSPACES = "flowspaces"
    ENDPOINTS = "endpoints"
    PROFILES = "profiles"


Rows = list[tuple[object, ...]]


def show(network: Network, kind: Kind, vn: str | None, output: Output) -> None:
    """Print records; Refused when the VN named does not exist."""
    if vn is not None and vn not in network.vns:
        raise Refused(f"there is no virtual network {vn!r}")
    if kind is Kind.VN and vn is None:
        raise Refused("which virtual network? dfvctl get vn NAME")
    vns = {name: network.vns[name] for name in network.vns if vn in (None, name)}
    if output is not Output.TABLE:
        dump(_plain(network, kind, vn, vns), output)
        return
    shown = [kind]
    if kind is Kind.ALL:
        shown = [Kind.SWITCHES, Kind.LINKS, Kind.PEERS, Kind.TENANTS, Kind.GRANTS, Kind.VNS]
    if kind in (Kind.ALL, Kind.VN):
        shown += [Kind.PROFILES, Kind.SLICES, Kind.ENDPOINTS, Kind.FLOWSPACES]
    for number, one in enumerate(shown):
        columns, right, rows = _TABLES[one](network, vns)
        if number:
            console().print()
        console().print(table(one.value if len(shown) > 1 else "", columns, rows, right))


def _plain(
    network: Network, kind: Kind, vn: str | None, vns: dict[str, VirtualNetwork]
) -> dict[str, Plain]:
    """A description, or fragment of one, that `apply` takes."""
    whole = render(network)
    if kind is Kind.ALL and vn is None:
        return whole
    if kind in (Kind.SWITCHES, Kind.LINKS, Kind.PEERS, Kind.TENANTS, Kind.GRANTS):
        return {"schema": whole["schema"], kind.value: whole[kind.value]}
    if kind in (Kind.VN, Kind.VNS, Kind.ALL):
        return {
            "schema": whole["schema"],
            "vns": {name: render_vn(one) for name, one in vns.items()},
        }
    return {
        "schema": whole["schema"],
        "vns": {name: {kind.value: render_vn(one)[kind.value]} for name, one in vns.items()},
    }


def _switches(network: Network, _: dict[str, VirtualNetwork]) -> Rows:
    return [
        (s.name, s.device_id, s.vtep, _yes(s.drained)) for s in network.fabric.switches.values()
    ]


def _links(network: Network, _: dict[str, VirtualNetwork]) -> Rows:
    return [
        (
            form.link_name(link),
            link.a,
            link.b,
            link.cost,
            link.mtu,
            None if link.capacity_bps is None else render_bps(link.capacity_bps),
            _yes(link.drained),
        )
        for link in network.fabric.links
    ]


def _peers(network: Network, _: dict[str, VirtualNetwork]) -> Rows:
    return [(p.name, p.vtep, p.port, p.mac, p.mtu) for p in network.fabric.peers.values()]


def _tenants(network: Network, _: dict[str, VirtualNetwork]) -> Rows:
    return [
        (name, ", ".join(vn.name for vn in network.vns.values() if vn.tenant == name))
        for name in network.tenants
    ]


def _grants(network: Network, _: dict[str, VirtualNetwork]) -> Rows:
    return [
        (
            grant.vn,
            grant.tenant,
            *(
                _granted(granted.get(name))
                for granted in (render_grant(grant),)
                for name in _GRANTED
            ),
        )
        for grant in network.grants.values()
    ]


_GRANTED = (
    "keys",
    "ports",
    "peers",
    "max_slices",
    "max_flowspaces",
    "max_endpoints",
    "max_flow_entries",
    "max_rate",
    "max_queue",
    "controllers",
)


def _granted(value: Plain) -> str:
    """`s1: 11-19 21, s2: 11`; nothing where there is no limit."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_granted(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "" if value is None else str(value)


def _vns(_: Network, vns: dict[str, VirtualNetwork]) -> Rows:
    return [
        (
            vn.name,
            vn.tenant,
            vn.unknown_unicast.value,
            vn.flood_pps,
            _yes(vn.source_guard),
            _yes(vn.learning),
            len(vn.slices),
            len(vn.endpoints),
            len(vn.flowspaces),
        )
        for vn in vns.values()
    ]


def _profiles(_: Network, vns: dict[str, VirtualNetwork]) -> Rows:
    return [
        (vn.name, p.name, p.queue, p.dscp, _rate(p.rate))
        for vn in vns.values()
        for p in vn.profiles.values()
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _rate(rate: Rate | None) -> str | None:
    return None if rate is None else render_rate(rate)


def _slices(_: Network, vns: dict[str, VirtualNetwork]) -> Rows:
    return [
        (
            vn.name,
            s.name,
            s.key,
            s.profile or "best effort",
            s.miss.value,
            s.punt_pps,
            ", ".join(s.avoid),
            _yes(s.disabled),
        )
        for vn in vns.values()
        for s in vn.slices.values()
    ]


def _endpoints(_: Network, vns: dict[str, VirtualNetwork]) -> Rows:
    return [
        (vn.name, e.name, e.mac, ", ".join(str(ip) for ip in e.ips), _place(e), e.vlan)
        for vn in vns.values()
        for e in vn.endpoints.values()
    ]


def _place(endpoint: Endpoint) -> str:
    return f"peer {endpoint.peer}" if endpoint.port is None else str(endpoint.port)


def _flowspaces(_: Network, vns: dict[str, VirtualNetwork]) -> Rows:
    return [
        (
            vn.name,
            f.name,
            f.priority,
            match_text(f.match),
            f.slice,
            f.treatment.value,
            _rate(f.rate),
            "both ways" if f.bidirectional else "",
        )
        for vn in vns.values()
        for f in sorted(vn.flowspaces.values(), key=lambda f: (-f.priority, f.name))
    ]


def match_text(match: Match) -> str:
    """`ip_proto=tcp l4_dst=80`; `any` for an empty match."""
    parts: Iterable[str] = (f"{key}={value}" for key, value in render_match(match).items())
    return " ".join(parts) or "any"


_Reader = Callable[[Network, dict[str, VirtualNetwork]], Rows]


def _kind(
    columns: str, right: str, read: _Reader
) -> Callable[[Network, dict[str, VirtualNetwork]], tuple[list[str], list[str], Rows]]:
    return lambda network, vns: (columns.split("|"), right.split("|"), read(network, vns))


_TABLES = {
    Kind.SWITCHES: _kind("switch|device id|VTEP|drained", "device id", _switches),
    Kind.LINKS: _kind("link|a|b|cost|MTU|capacity|drained", "cost|MTU|capacity", _links),
    Kind.PEERS: _kind("peer|VTEP|port|MAC|MTU", "MTU", _peers),
    Kind.TENANTS: _kind("tenant|virtual networks", "", _tenants),
    Kind.GRANTS: _kind(
        "VN|tenant|GRE keys|ports|peers|slices|flowspaces|endpoints|entries|rate|queue|controllers",
        "slices|flowspaces|endpoints|entries|rate|queue",
        _grants,
    ),
    Kind.VNS: _kind(
        "VN|tenant|unknown unicast|flood/s|source guard|learning|slices|endpoints|flowspaces",
        "flood/s|slices|endpoints|flowspaces",
        _vns,
    ),
    Kind.PROFILES: _kind("VN|profile|queue|DSCP|rate", "queue|DSCP", _profiles),
    Kind.SLICES: _kind(
        "VN|slice|GRE key|profile|miss|punts/s|avoid|disabled", "GRE key|punts/s", _slices
    ),
    Kind.ENDPOINTS: _kind("VN|endpoint|MAC|addresses|port|VLAN", "VLAN", _endpoints),
    Kind.FLOWSPACES: _kind(
        "VN|flowspace|priority|match|slice|treatment|rate|direction", "priority", _flowspaces
    ),
}
