"""The overlap of flowspaces against brute force over small packets."""

from __future__ import annotations

import functools
import itertools
from ipaddress import IPv4Network
from unittest import mock

import pytest
from dfvisor.model import overlap
from dfvisor.model.overlap import Overlaps, conflicts
from dfvisor.model.records import UNTAGGED, Flowspace, Match, Treatment
from dfvisor.model.ternary import expand
from dfvisor.model.types import PortRange
from hypothesis import given, settings
from hypothesis import strategies as st

# every field has a few values that the matches below tell apart
PACKETS = [
    dict(
        zip(("eth_type", "ipv4_src", "ipv4_dst", "is_fragment", "l4_src", "l4_dst"), v, strict=True)
    )
    | {"ip_proto": proto, "vlan_tci": vlan, "tcp_flags": flags}
    for v in itertools.product((0x800, 0x86DD), (0, 1 << 31), (0, 1 << 31), (0, 1), (3, 4), (3, 4))
    for proto, flags in itertools.product((6, 17), range(4))
    for vlan in (0, 0x1001)
]
halves = st.sampled_from(
    [None, IPv4Network("0.0.0.0/0"), IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")]
)
ranges = st.sampled_from([None, PortRange(3, 3), PortRange(4, 4), PortRange(3, 4)])
matches = st.builds(
    Match,
    eth_type=st.sampled_from([None, 0x800]),
    ipv4_src=halves,
    ipv4_dst=halves,
    ip_proto=st.sampled_from([None, 6, 17]),
    fragment=st.sampled_from([None, False, True]),
    l4_src=ranges,
    l4_dst=ranges,
    vlan=st.sampled_from([None, UNTAGGED, 1]),
    tcp_flags=st.sampled_from([None, (1, 1), (0, 1), (2, 3), (2, 2)]),
)


@st.composite
def flowspaces(draw: st.DrawFn) -> list[Flowspace]:
    return [
        Flowspace(
            name=f"f{number}",
            priority=draw(st.sampled_from([1, 1, 1, 2])),
            match=draw(matches),
            slice=draw(st.sampled_from(["a", "b"])),
            treatment=draw(st.sampled_from([Treatment.PERMIT, Treatment.DENY])),
            bidirectional=draw(st.booleans()),
        )
        for number in range(draw(st.integers(2, 5)))
    ]


EVERY_PACKET = (1 << len(PACKETS)) - 1


@functools.cache
def packets_with(name: str, value: int, mask: int) -> int:
    """A bit for each packet whose field matches."""
    return sum(1 << n for n, packet in enumerate(PACKETS) if packet.get(name, 0) & mask == value)


def brute_force(found: list[Flowspace]) -> set[tuple[str, str]]:
    hits = {}
    for f in found:
        hits[f.name] = 0
        for key in expand(f.match, bidirectional=f.bidirectional):
            mine = EVERY_PACKET
            for name, (value, mask) in key.fields.items():
                mine &= packets_with(name, value, mask)
            hits[f.name] |= mine
    return {
        (one.name, two.name)
        for one, two in itertools.combinations(found, 2)
        if one.priority == two.priority
        and (one.slice, one.treatment) != (two.slice, two.treatment)
        and hits[one.name] & hits[two.name]
    }


@settings(max_examples=300, deadline=None)
@given(flowspaces())
def test_conflicts_are_those_that_a_packet_shows(found: list[Flowspace]) -> None:
    assert set(conflicts(found)) == brute_force(found)


@pytest.mark.parametrize("few", [0, 64])
@settings(max_examples=150, deadline=None)
@given(found=flowspaces(), known=st.integers(0, 4))
def test_index_that_is_extended_finds_the_same_conflicts(
    found: list[Flowspace], known: int, few: int
) -> None:
    before, come = found[:known], found[known:]
    if conflicts(before):
        return
    with mock.patch.object(overlap, "FEW", few):  # 0: more than are known make it anew
        index = Overlaps(before)
        assert index.extend(come) is not bool(conflicts(found))
        if not conflicts(found):
            index.discard(found[:known])
            assert index.extend(found[:known])
            index.discard(found)
            assert index.extend(found)


def test_conflicts_of_many_disjoint_flowspaces_are_found_quickly() -> None:
    many = [
        Flowspace(
            name=f"f{port}",
            priority=1,
            match=Match(ip_proto=6, l4_dst=PortRange(port, port)),
            slice=f"s{port % 7}",
        )
        for port in range(20_000)
    ]
    extra = Flowspace(
        name="x", priority=1, match=Match(ip_proto=6, l4_dst=PortRange(7, 8)), slice="s0"
    )
    assert conflicts([*many, extra]) == [("f8", "x")]


def test_conflicts_are_limited() -> None:
    many = [
        Flowspace(name=f"f{n}", priority=1, match=Match(), slice=f"s{n % 2}") for n in range(100)
    ]
    assert len(conflicts(many, limit=10)) == 10


def test_endpoints_tell_flowspaces_apart() -> None:
    one = Flowspace(name="a", priority=1, match=Match(endpoint="e1"), slice="a")
    two = Flowspace(name="b", priority=1, match=Match(endpoint="e2"), slice="b")
    anywhere = Flowspace(name="c", priority=1, match=Match(), slice="c")
    assert conflicts([one, two]) == []
    assert conflicts([one, two, anywhere]) == [("a", "c"), ("b", "c")]
