"""Hypothesis strategies for records, shared by the property tests of the control plane."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from dfvisor.model.granted import MAX_COUNT
from dfvisor.model.grants import Grant, Span
from dfvisor.model.plain import (
    MAX_BURST_BYTES,
    MAX_MTU,
    MAX_PPS,
    MIN_BURST_BYTES,
    MIN_MTU,
    link,
    link_name,
)
from dfvisor.model.rates import MAX_BPS, MIN_BPS
from dfvisor.model.records import (
    DEFAULT_MTU,
    UNTAGGED,
    Endpoint,
    Fabric,
    Flowspace,
    Match,
    MissPolicy,
    Network,
    Peer,
    Profile,
    Rate,
    Slice,
    Stale,
    Switch,
    Tenant,
    Treatment,
    UnknownUnicast,
    VirtualNetwork,
)
from dfvisor.model.types import MAX_PORT, Mac, PortRange, PortRef
from hypothesis import strategies as st

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True) | st.sampled_from(
    ["on", "no", "null", "1", "1e5", "0x10", "true", "1_000", "2001-01-01"]
)
macs = st.integers(0, 2**48 - 1).map(Mac)
port_refs = st.builds(PortRef, names, st.integers(1, MAX_PORT))
ports = st.integers(0, 0xFFFF)
port_ranges = st.tuples(ports, ports).map(lambda ends: PortRange(min(ends), max(ends)))
ipv4_networks = st.builds(
    lambda value, length: IPv4Network((value >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
ipv6_networks = st.builds(
    lambda value, length: IPv6Network((value >> (128 - length) << (128 - length), length)),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
tcp_flags = st.builds(
    lambda value, mask: (value & mask, mask), st.integers(0, 255), st.integers(1, 255)
)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


matches = st.builds(
    Match,
    endpoint=maybe(names),
    eth_src=maybe(macs),
    eth_dst=maybe(macs),
    eth_type=maybe(st.integers(0, 0xFFFF)),
    vlan=maybe(st.integers(UNTAGGED, 4095)),
    ipv4_src=maybe(ipv4_networks),
    ipv4_dst=maybe(ipv4_networks),
    ipv6_src=maybe(ipv6_networks),
    ipv6_dst=maybe(ipv6_networks),
    ip_proto=maybe(st.integers(0, 255)),
    dscp=maybe(st.integers(0, 63)),
    fragment=maybe(st.booleans()),
    l4_src=maybe(port_ranges),
    l4_dst=maybe(port_ranges),
    tcp_flags=maybe(tcp_flags),
)


def named(record: type, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict]:
    """Dictionaries of records that carry the name of their key."""
    return st.dictionaries(names, st.builds(dict, **fields), max_size=4).map(
        lambda found: {name: record(name=name, **values) for name, values in found.items()}
    )


addresses = st.builds(IPv4Address, st.integers(0, 2**32 - 1)) | st.builds(
    IPv6Address, st.integers(0, 2**128 - 1)
)


bit_rates = st.integers(MIN_BPS, MAX_BPS) | st.sampled_from([10**6, 1_500_000, 64_000, MAX_BPS])
rates = st.builds(
    lambda one, two, burst: Rate(
        committed_bps=min(one, two), peak_bps=max(one, two), burst_bytes=burst
    ),
    bit_rates,
    bit_rates,
    maybe(st.integers(MIN_BURST_BYTES, MAX_BURST_BYTES)),
)
mtus = st.integers(MIN_MTU, MAX_MTU) | st.just(DEFAULT_MTU)


@st.composite
def vns(draw: st.DrawFn, name: str) -> VirtualNetwork:
    """Well-formed records; references need not lead anywhere."""
    return VirtualNetwork(
        name=name,
        tenant=draw(names),
        unknown_unicast=draw(st.sampled_from(UnknownUnicast)),
        source_guard=draw(st.booleans()),
        learning=draw(st.booleans()),
        flood_pps=draw(maybe(st.integers(1, MAX_PPS))),
        profiles=draw(
            named(Profile, queue=st.integers(0, 7), dscp=st.integers(0, 63), rate=maybe(rates))
        ),
        slices=draw(
            named(
                Slice,
                key=st.integers(1, 2**32 - 1),
                profile=maybe(names),
                miss=st.sampled_from(MissPolicy),
                avoid=st.lists(names, max_size=2).map(tuple),
                punt_pps=st.integers(1, MAX_PPS),
                stale=st.sampled_from(Stale),
                stale_after_s=st.integers(1, 7 * 86400),
                disabled=st.booleans(),
            )
        ),
        endpoints=draw(
            named(
                Endpoint,
                mac=macs,
                ips=st.lists(addresses, max_size=3).map(tuple),
                port=port_refs,
                vlan=maybe(st.integers(1, 4094)),
            )
            | named(Endpoint, mac=macs, ips=st.just(()), peer=names)
        ),
        flowspaces=draw(
            named(
                Flowspace,
                priority=st.integers(1, 65000),
                match=matches,
                slice=names,
                treatment=st.sampled_from(Treatment),
                bidirectional=st.booleans(),
            )
            | named(Flowspace, priority=st.just(1), match=matches, slice=names, rate=maybe(rates))
        ),
    )


def spans(high: int) -> st.SearchStrategy[tuple[Span, ...]]:
    """A few ranges within 1..high."""
    numbers = st.integers(1, high)
    span = st.tuples(numbers, numbers).map(lambda ends: Span(min(ends), max(ends)))
    return st.lists(span, max_size=3).map(tuple)


def grants(vn: str) -> st.SearchStrategy[Grant]:
    """Any grant for the VN."""
    counts = maybe(st.integers(1, MAX_COUNT))
    return st.builds(
        Grant,
        vn=st.just(vn),
        tenant=names,
        keys=maybe(spans(2**32 - 1)),
        ports=maybe(st.dictionaries(names, spans(MAX_PORT), max_size=3)),
        peers=maybe(st.lists(names, max_size=2).map(tuple)),
        max_slices=counts,
        max_flowspaces=counts,
        max_endpoints=counts,
        max_flow_entries=counts,
        max_rate_bps=maybe(bit_rates),
        max_queue=maybe(st.integers(0, 7)),
        controllers=st.lists(names, max_size=2).map(tuple),
    )


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Well-formed records; references need not lead anywhere."""
    vtep = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
    links = {
        link_name(cable): cable
        for cable in draw(
            st.lists(st.builds(link, port_refs, port_refs, st.integers(1, 1000), mtus), max_size=4)
        )
    }
    return Network(
        fabric=Fabric(
            switches=draw(named(Switch, device_id=st.integers(1, 65535), vtep=vtep)),
            links=tuple(links[name] for name in sorted(links)),
            peers=draw(named(Peer, vtep=vtep, port=port_refs, mac=macs, mtu=mtus)),
        ),
        tenants=draw(named(Tenant)),
        grants={n: draw(grants(n)) for n in draw(st.lists(names, max_size=2, unique=True))},
        vns={name: draw(vns(name)) for name in draw(st.lists(names, max_size=3, unique=True))},
    )
