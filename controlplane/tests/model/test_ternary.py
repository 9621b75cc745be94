"""Matches to ternary keys."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Network, IPv6Network

import pytest
from dfvisor.model.records import UNTAGGED, Match
from dfvisor.model.ternary import WIDTHS, expand, mirror, prefixes
from dfvisor.model.types import Mac, PortRange
from hypothesis import given, settings
from hypothesis import strategies as st

ports = st.integers(0, 0xFFFF)


@given(ports, ports, ports)
def test_prefixes_cover_exactly_the_range(one: int, two: int, probe: int) -> None:
    ports = PortRange(min(one, two), max(one, two))
    hits = sum(probe & mask == value for value, mask in prefixes(ports))
    assert hits == (1 if ports.low <= probe <= ports.high else 0)


@given(ports, ports)
def test_prefixes_cover_the_ends_and_not_beyond(one: int, two: int) -> None:
    ports = PortRange(min(one, two), max(one, two))
    covered = [(value, value + (mask ^ 0xFFFF)) for value, mask in prefixes(ports)]
    assert covered[0][0] == ports.low
    assert covered[-1][1] == ports.high
    assert all(high + 1 == low for (_, high), (low, _) in itertools.pairwise(covered))
    assert len(covered) <= 30


@pytest.mark.parametrize(
    ("match", "fields"),
    [
        (Match(), {}),
        (Match(endpoint="e"), {}),
        (Match(eth_src=Mac(1)), {"eth_src": (1, 2**48 - 1)}),
        (Match(eth_type=0x806), {"eth_type": (0x806, 0xFFFF)}),
        (Match(vlan=5), {"vlan_tci": (0x1005, 0x1FFF)}),
        (Match(vlan=0), {"vlan_tci": (0x1000, 0x1FFF)}),
        (Match(vlan=UNTAGGED), {"vlan_tci": (0, 0x1FFF)}),
        (
            Match(ipv4_src=IPv4Network("10.0.0.0/24")),
            {"eth_type": (0x800, 0xFFFF), "ipv4_src": (0x0A000000, 0xFFFFFF00)},
        ),
        (Match(ipv4_dst=IPv4Network("0.0.0.0/0")), {"eth_type": (0x800, 0xFFFF)}),
        (
            Match(ipv6_dst=IPv6Network("2001:db8::/32")),
            {"eth_type": (0x86DD, 0xFFFF), "ipv6_dst": (0x20010DB8 << 96, 0xFFFFFFFF << 96)},
        ),
        (Match(dscp=46), {"ip_dscp": (46, 63)}),
        (Match(fragment=True), {"is_fragment": (1, 1)}),
        (
            Match(ip_proto=6, l4_dst=PortRange(80, 80)),
            {"ip_proto": (6, 255), "is_fragment": (0, 1), "l4_dst": (80, 0xFFFF)},
        ),
        (
            Match(ip_proto=6, tcp_flags=(2, 0x12)),
            {"ip_proto": (6, 255), "is_fragment": (0, 1), "tcp_flags": (2, 0x12)},
        ),
        (
            Match(ip_proto=6, l4_dst=PortRange(0, 0xFFFF)),
            {"ip_proto": (6, 255), "is_fragment": (0, 1)},
        ),
    ],
)
def test_match_expands_to_its_fields(match: Match, fields: dict[str, tuple[int, int]]) -> None:
    assert [key.fields for key in expand(match)] == [fields]


def test_bidirectional_adds_the_mirror_once() -> None:
    one_way = Match(ip_proto=17, l4_dst=PortRange(53, 53))
    keys = expand(one_way, bidirectional=True)
    assert [key.fields.get("l4_dst") for key in keys] == [(53, 0xFFFF), None]
    assert [key.fields.get("l4_src") for key in keys] == [None, (53, 0xFFFF)]
    assert len(expand(Match(ip_proto=17), bidirectional=True)) == 1


@settings(max_examples=200)
@given(
    st.builds(
        Match,
        ip_proto=st.just(6),
        l4_src=st.none() | st.builds(PortRange, st.integers(0, 9), st.integers(9, 20)),
        l4_dst=st.none() | st.builds(PortRange, st.integers(0, 9), st.integers(9, 20)),
    ),
    st.integers(0, 22),
    st.integers(0, 22),
    st.integers(0, 1),
)
def test_keys_hit_exactly_what_the_match_says(
    match: Match, src: int, dst: int, fragment: int
) -> None:
    def says(match: Match) -> bool:
        with_ports = match.l4_src is not None or match.l4_dst is not None
        return (
            (match.l4_src is None or match.l4_src.low <= src <= match.l4_src.high)
            and (match.l4_dst is None or match.l4_dst.low <= dst <= match.l4_dst.high)
            and not (with_ports and fragment)
        )

    packet = {"ip_proto": 6, "l4_src": src, "l4_dst": dst, "is_fragment": fragment}
    assert any(key.matches(packet) for key in expand(match)) == says(match)
    both = expand(match, bidirectional=True)
    assert any(key.matches(packet) for key in both) == (says(match) or says(mirror(match)))


@given(st.lists(st.tuples(ports, ports), min_size=2, max_size=2))
def test_keys_are_normal_and_differ(ends: list[tuple[int, int]]) -> None:
    ranges = [PortRange(min(pair), max(pair)) for pair in ends]
    keys = expand(Match(ip_proto=6, l4_src=ranges[0], l4_dst=ranges[1]), bidirectional=True)
    for key in keys:
        for name, (value, mask) in key.fields.items():
            assert mask
            assert value & ~mask == 0
            assert mask < 1 << WIDTHS[name]
    assert len({tuple(key.fields.items()) for key in keys}) == len(keys)
