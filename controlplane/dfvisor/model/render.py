"""Records to plain values, which plain.py reads back as the same record; without defaults. Pure."""

from __future__ import annotations

from dfvisor.model.plain import ETH_NAMES, IP_NAMES
from dfvisor.model.rates import render_bps
from dfvisor.model.records import (
    DEFAULT_MTU,
    DEFAULT_PUNT_PPS,
    DEFAULT_STALE_AFTER_S,
    UNTAGGED,
    Endpoint,
    Flowspace,
    Link,
    Match,
    MissPolicy,
    Peer,
    Profile,
    Rate,
    Slice,
    Stale,
    Switch,
    Treatment,
)
from dfvisor.model.source import Plain
from dfvisor.model.types import PortRange


def render_switch(switch: Switch) -> dict[str, Plain]:
    plain: dict[str, Plain] = {"device_id": switch.device_id, "vtep": str(switch.vtep)}
    if switch.drained:
        plain["drained"] = True
    return plain


def render_link(cable: Link) -> dict[str, Plain]:
    plain: dict[str, Plain] = {"a": str(cable.a), "b": str(cable.b), "cost": cable.cost}
    if cable.mtu != DEFAULT_MTU:
        plain["mtu"] = cable.mtu
    if cable.drained:
        plain["drained"] = True
    if cable.capacity_bps is not None:
        plain["capacity"] = render_bps(cable.capacity_bps)
    return plain


def render_peer(peer: Peer) -> dict[str, Plain]:
    plain: dict[str, Plain] = {
        "vtep": str(peer.vtep),
        "port": str(peer.port),
        "mac": str(peer.mac),
    }
    if peer.mtu != DEFAULT_MTU:
        plain["mtu"] = peer.mtu
    return plain


def render_profile(profile: Profile) -> dict[str, Plain]:
    plain: dict[str, Plain] = {"queue": profile.queue, "dscp": profile.dscp}
    if profile.rate is not None:
        plain["rate"] = render_rate(profile.rate)
    return plain


def render_rate(rate: Rate) -> dict[str, Plain]:
    plain: dict[str, Plain] = {
        "committed": render_bps(rate.committed_bps),
        "peak": render_bps(rate.peak_bps),
    }
    if rate.burst_bytes is not None:
        plain["burst"] = rate.burst_bytes
    return plain


def render_slice(slice_: Slice) -> dict[str, Plain]:
    plain: dict[str, Plain] = {"key": slice_.key}
    if slice_.profile is not None:
        plain["profile"] = slice_.profile
    if slice_.miss is not MissPolicy.BEST_EFFORT:
        plain["miss"] = slice_.miss.value
    if slice_.avoid:
        plain["avoid"] = list(slice_.avoid)
    if slice_.punt_pps != DEFAULT_PUNT_PPS:
        plain["punt_pps"] = slice_.punt_pps
    if slice_.stale is not Stale.HOLD:
        plain["stale"] = slice_.stale.value
    if slice_.stale_after_s != DEFAULT_STALE_AFTER_S:
        plain["stale_after_s"] = slice_.stale_after_s
    if slice_.disabled:
        plain["disabled"] = True
    return plain


def render_endpoint(endpoint: Endpoint) -> dict[str, Plain]:
    plain: dict[str, Plain] = {"mac": str(endpoint.mac)}
    if endpoint.ips:
        plain["ips"] = [str(ip) for ip in endpoint.ips]
    if endpoint.port is not None:
        plain["port"] = str(endpoint.port)
    if endpoint.vlan is not None:
        plain["vlan"] = endpoint.vlan
    if endpoint.peer is not None:
        plain["peer"] = endpoint.peer
    return plain


def render_match(match: Match) -> dict[str, Plain]:
    plain: dict[str, Plain] = {
        "endpoint": match.endpoint,
        "eth_src": None if match.eth_src is None else str(match.eth_src),
        "eth_dst": None if match.eth_dst is None else str(match.eth_dst),
        "eth_type": match.eth_type
        if match.eth_type is None
        else ETH_NAMES.get(match.eth_type, match.eth_type),
        "vlan": "untagged" if match.vlan == UNTAGGED else match.vlan,
        "ipv4_src": None if match.ipv4_src is None else str(match.ipv4_src),
        "ipv4_dst": None if match.ipv4_dst is None else str(match.ipv4_dst),
        "ipv6_src": None if match.ipv6_src is None else str(match.ipv6_src),
        "ipv6_dst": None if match.ipv6_dst is None else str(match.ipv6_dst),
        "ip_proto": match.ip_proto
        if match.ip_proto is None
        else IP_NAMES.get(match.ip_proto, match.ip_proto),
        "dscp": match.dscp,
        "fragment": match.fragment,
        "l4_src": None if match.l4_src is None else render_ports(match.l4_src),
        "l4_dst": None if match.l4_dst is None else render_ports(match.l4_dst),
        "tcp_flags": None if match.tcp_flags is None else render_flags(match.tcp_flags),
    }
    return {key: value for key, value in plain.items() if value is not None}


def render_ports(ports: PortRange) -> int | str:
    return ports.low if ports.low == ports.high else str(ports)


def render_flags(flags: tuple[int, int]) -> str:
    return f"0x{flags[0]:02x}/0x{flags[1]:02x}"


def render_flowspace(flowspace: Flowspace) -> dict[str, Plain]:
    plain: dict[str, Plain] = {
        "priority": flowspace.priority,
        "match": render_match(flowspace.match),
        "slice": flowspace.slice,
    }
    if flowspace.treatment is not Treatment.PERMIT:
        plain["treatment"] = flowspace.treatment.value
    if flowspace.bidirectional:
        plain["bidirectional"] = True
    if flowspace.rate is not None:
        plain["rate"] = render_rate(flowspace.rate)
    if flowspace.under is not None:
        plain["under"] = flowspace.under
    if flowspace.readers:
        plain["readers"] = list(flowspace.readers)
    return plain
