"""Which keys are within a slice's flowspaces, against the packets themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
from dfvisor.model.description import load_network
from dfvisor.model.records import Flowspace, Match, Treatment
from dfvisor.model.space import Space, Spaces, everything
from dfvisor.model.types import PortRange
from hypothesis import given
from hypothesis import strategies as st

NETWORK = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
NAMES = ("ip_proto", "ip_dscp")
_ternary = st.tuples(st.integers(0, 7), st.integers(0, 7)).map(lambda p: (p[0] & p[1], p[1]))
_key = st.dictionaries(st.sampled_from(NAMES), _ternary.filter(lambda p: p[1] != 0))


def covers(space: Space, key: dict[str, tuple[int, int]]) -> bool:
    return space.covers(
        tuple((name, mask) for name, (_, mask) in key.items()),
        tuple(value for value, _ in key.values()),
    )


@given(keys=st.lists(_key, max_size=3), asked=_key)
def test_key_is_covered_exactly_if_every_packet_of_it_is_in_one_key(
    keys: list[dict[str, tuple[int, int]]], asked: dict[str, tuple[int, int]]
) -> None:
    def hits(key: dict[str, tuple[int, int]], packet: dict[str, int]) -> bool:
        return all(packet[name] & mask == value for name, (value, mask) in key.items())

    packets = [{"ip_proto": a, "ip_dscp": b} for a in range(8) for b in range(8)]
    mine = [packet for packet in packets if hits(asked, packet)]
    expected = any(all(hits(key, packet) for packet in mine) for key in keys)
    assert covers(Space(keys), asked) is expected
    space = Space(keys)
    assert all(space.has(packet) is any(hits(key, packet) for key in keys) for packet in packets)


def test_everything_covers_the_empty_key() -> None:
    assert covers(everything(), {}) and not covers(Space(), {})


def test_spaces_follow_the_records_and_say_what_shrank() -> None:
    vn = NETWORK.vns["red"]
    spaces = Spaces()
    assert spaces.update(vn) == set()
    extra = Flowspace(
        name="extra", priority=7, slice="gold", match=Match(ip_proto=17, l4_dst=PortRange(4, 7))
    )
    key = {"ip_proto": (17, 0xFF), "is_fragment": (0, 1), "l4_dst": (5, 0xFFFF)}
    assert not covers(spaces.of("gold"), key)
    more = dataclasses.replace(vn, flowspaces=vn.flowspaces | {"extra": extra})
    assert spaces.update(more) == set()
    assert covers(spaces.of("gold"), key) and not covers(spaces.of("silver"), key)
    denied = msgspec.structs.replace(extra, treatment=Treatment.DENY)
    assert spaces.update(dataclasses.replace(vn, flowspaces=vn.flowspaces | {"extra": denied})) == {
        "gold"
    }
    assert not covers(spaces.of("gold"), key)
    spaces.update(more)
    assert spaces.update(vn) == {"gold"}
    fresh = Spaces()
    fresh.update(vn)
    for name in vn.slices:
        assert str(fresh.of(name)) == str(spaces.of(name))


def test_endpoint_is_told_by_its_mac() -> None:
    vn = NETWORK.vns["red"]
    endpoint = next(iter(vn.endpoints.values()))
    mine = Flowspace(
        name="mine", priority=7, slice="gold", match=Match(endpoint=endpoint.name, eth_type=0x800)
    )
    spaces = Spaces()
    spaces.update(dataclasses.replace(vn, flowspaces={"mine": mine}))
    key = {"eth_src": (endpoint.mac.value, (1 << 48) - 1), "eth_type": (0x800, 0xFFFF)}
    assert covers(spaces.of("gold"), key)
    assert not covers(spaces.of("gold"), {"eth_type": (0x800, 0xFFFF)})
