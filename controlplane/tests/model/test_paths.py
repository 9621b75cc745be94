"""Shortest paths, and which slices are present where."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from dfvisor.model.paths import ecmp_next_hops, next_hops, path
from dfvisor.model.plain import link
from dfvisor.model.presence import slices_at
from dfvisor.model.records import Fabric, Switch
from dfvisor.model.types import PortRef
from hypothesis import given, settings
from hypothesis import strategies as st

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")


def fabric(*cables: tuple[str, str, int]) -> Fabric:
    """Cables `("a:1", "b:1", cost)`."""
    links = tuple(link(PortRef.parse(a), PortRef.parse(b), cost) for a, b, cost in cables)
    names = sorted({end.switch for cable in links for end in (cable.a, cable.b)})
    return Fabric(
        switches={
            name: Switch(name=name, device_id=number, vtep=IPv4Address(number))
            for number, name in enumerate(names, 1)
        },
        links=links,
    )


@pytest.mark.parametrize(
    ("source", "destination", "avoid", "expected"),
    [
        ("s1", "s4", [], ("s1", "s2", "s4")),  # a tie: the lower name
        ("s1", "s4", ["s2"], ("s1", "s3", "s4")),
        ("s1", "s4", ["s2", "s3"], None),
        ("s2", "s3", ["s1"], ("s2", "s4", "s3")),
        ("s1", "s2", ["s1", "s2"], ("s1", "s2")),  # not for transit, but to and from
        ("s1", "s1", [], ("s1",)),
    ],
)
def test_path_in_the_diamond(
    source: str, destination: str, avoid: list[str], expected: tuple[str, ...] | None
) -> None:
    assert path(DEMO.fabric, source, destination, avoid) == expected


def test_costs_decide_before_names() -> None:
    diamond = fabric(("a:1", "b:1", 5), ("b:2", "d:1", 5), ("a:2", "c:1", 4), ("c:2", "d:2", 5))
    assert path(diamond, "a", "d") == ("a", "c", "d")


def test_parallel_links_take_the_cheaper_then_the_lower_port() -> None:
    two = fabric(("a:2", "b:2", 1), ("a:1", "b:1", 1), ("a:3", "b:3", 2))
    assert next_hops(two, "b")["a"].port == PortRef("a", 1)
    assert next_hops(two, "b")["a"].neighbour_port == PortRef("b", 1)


def test_switch_to_be_avoided_still_finds_its_own_way() -> None:
    line = fabric(("a:1", "b:1", 1), ("b:2", "c:1", 1))
    hops = next_hops(line, "c", ["b"])
    assert hops["b"].neighbour == "c"
    assert "a" not in hops


@st.composite
def fabrics(draw: st.DrawFn) -> Fabric:
    names = [f"s{number}" for number in range(draw(st.integers(2, 7)))]
    cables = draw(
        st.lists(
            st.tuples(st.sampled_from(names), st.sampled_from(names), st.integers(1, 4)),
            max_size=14,
        )
    )
    return fabric(
        *(
            (f"{a}:{number}", f"{b}:{number}", cost)
            for number, (a, b, cost) in enumerate(cables, 1)
            if a != b
        )
    )


@settings(max_examples=200)
@given(fabrics(), st.sets(st.sampled_from(["s0", "s1", "s2"])), st.randoms())
def test_trees_are_loop_free_shortest_and_independent_of_order(
    net: Fabric, avoid: set[str], random: object
) -> None:
    shuffled = list(net.links)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for destination in net.switches:
        hops = next_hops(net, destination, avoid)
        assert hops == next_hops(
            Fabric(switches=net.switches, links=tuple(shuffled)), destination, avoid
        )
        costs = bellman_ford(net, destination, avoid)
        every = ecmp_next_hops(net, destination, avoid)
        assert hops == {switch: found[0] for switch, found in every.items()}
        for source, found in every.items():
            assert [(hop.neighbour, hop.port) for hop in found] == sorted(
                (far.switch, near)
                for cable in net.links
                for near, far in ((cable.a, cable.b), (cable.b, cable.a))
                if near.switch == source
                and (far.switch == destination or far.switch not in avoid)
                and far.switch in costs
                and costs[far.switch] + cable.cost == costs[source]
            )
        assert hops.keys() == costs.keys() - {destination}
        for source in hops:
            at, cost, seen = source, 0, {source}
            while at != destination:
                hop = hops[at]
                assert hop.port.switch == at
                assert hop.neighbour_port.switch == hop.neighbour
                cost += min(
                    cable.cost
                    for cable in net.links
                    if {cable.a, cable.b} == {hop.port, hop.neighbour_port}
                )
                at = hop.neighbour
                assert at not in seen
                assert at == destination or at not in avoid
                seen.add(at)
            assert cost == costs[source]


def bellman_ford(net: Fabric, destination: str, avoid: set[str]) -> dict[str, int]:
    costs = {destination: 0}
    for _ in net.switches:
        for cable in net.links:
            for near, far in ((cable.a.switch, cable.b.switch), (cable.b.switch, cable.a.switch)):
                through = far == destination or far not in avoid
                if far in costs and through and costs[far] + cable.cost < costs.get(near, 10**9):
                    costs[near] = costs[far] + cable.cost
    return costs


def test_slices_of_the_demo_are_where_their_paths_lead() -> None:
    assert slices_at(DEMO.fabric, DEMO.vns["red"]) == {
        "s1": {"default", "gold", "silver"},
        "s2": {"default", "gold", "silver"},
        "s3": {"silver"},
        "s4": {"default", "gold", "silver"},
    }
    assert slices_at(DEMO.fabric, DEMO.vns["blue"]) == {
        "s1": {"default", "gold"},
        "s3": {"default", "gold"},
        "s4": {"default", "gold"},
    }
    assert slices_at(DEMO.fabric, DEMO.vns["green"]) == {"s2": {"default"}, "s3": {"default"}}


def test_all_paths_of_equal_cost_are_found_in_order() -> None:
    found = ecmp_next_hops(DEMO.fabric, "s4")["s1"]
    assert [(hop.neighbour, str(hop.port)) for hop in found] == [("s2", "s1:1"), ("s3", "s1:2")]
    two = fabric(("a:2", "b:2", 1), ("a:1", "b:1", 1), ("a:3", "b:3", 2))
    assert [hop.port.port for hop in ecmp_next_hops(two, "b")["a"]] == [1, 2]
    assert ecmp_next_hops(two, "b", ["a"])["a"]  # not for transit, but from


def test_hop_knows_the_mtu_of_its_link() -> None:
    cable = link(PortRef("a", 1), PortRef("b", 1), mtu=9000)
    assert next_hops(Fabric(links=(cable,)), "b")["a"].mtu == 9000


def test_slices_are_present_at_the_switch_of_a_peer_that_an_endpoint_is_behind() -> None:
    network = load_network(Path(__file__).parents[3] / "examples" / "foreign-peer.yaml")
    assert network.fabric.home(network.vns["lab"].endpoints["guest"]) == "s2"
    assert slices_at(network.fabric, network.vns["lab"]) == {"s1": {"default"}, "s2": {"default"}}
    alone = Fabric(switches=network.fabric.switches, links=network.fabric.links)
    assert slices_at(alone, network.vns["lab"]) == {"s1": {"default"}}
