"""Ways through the underlay while links come and go."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from dfvisor.agent.ways import Graph, Ways
from dfvisor.model.links import DOWN_COST, usable
from dfvisor.model.paths import Hop, ecmp_next_hops
from dfvisor.model.records import Fabric, Link, Switch
from dfvisor.model.types import PortRef
from hypothesis import given
from hypothesis import strategies as st

from .networks import demo

LAST = 1 << 20


def fabric_of(*pairs: tuple[int, int]) -> Fabric:
    """Switches s0.. with a link for each pair; its ports are 10 * the pair's place + 1 and + 2."""
    names = {f"s{end}" for pair in pairs for end in pair}
    return Fabric(
        switches={
            name: Switch(name=name, device_id=place, vtep=IPv4Address(f"192.0.2.{place}"))
            for place, name in enumerate(sorted(names), 1)
        },
        links=tuple(
            Link(a=PortRef(f"s{a}", 10 * place + 1), b=PortRef(f"s{b}", 10 * place + 2))
            for place, (a, b) in enumerate(pairs)
        ),
    )


def ring(count: int) -> Fabric:
    return fabric_of(*((place, (place + 1) % count) for place in range(count)))


def cut(fabric: Fabric, *places: int) -> Fabric:
    return usable(fabric, {fabric.links[place].a for place in places})


def ways(old: Fabric, new: Fabric) -> Ways:
    return Ways(Graph(old), Graph(new))


def neighbours(hops: tuple[Hop, ...]) -> list[str]:
    return [hop.neighbour for hop in hops]


def test_graph_finds_the_hops_that_paths_finds() -> None:
    fabric = demo().fabric
    graph = Graph(fabric)
    for destination in fabric.switches:
        expected = ecmp_next_hops(fabric, destination)
        for switch in fabric.switches:
            assert graph.shortest(switch, destination) == expected.get(switch, ())


def test_one_of_two_equal_ways_is_left_at_once() -> None:
    fabric = demo().fabric
    found = ways(fabric, cut(fabric, 0))
    assert neighbours(found.hops("s1", "s4", 0)) == ["s3"]
    assert neighbours(found.hops("s4", "s1", 0)) == ["s3"]


def test_switch_whose_detour_could_come_back_drops_until_the_others_know() -> None:
    fabric = demo().fabric
    found = ways(fabric, cut(fabric, 0))
    assert found.hops("s1", "s2", 0) == ()
    assert neighbours(found.hops("s3", "s2", 0)) == ["s4"]
    assert found.last == 2
    assert neighbours(found.hops("s1", "s2", 1)) == ["s3"]


def test_link_that_comes_back_is_used_from_the_near_end_on_and_nobody_drops() -> None:
    whole = ring(8)
    found = ways(cut(whole, 0), whole)  # s0-s1 comes back; to s0 from s1 to s3 it is the better way
    for stage in range(found.last + 1):
        for switch in whole.switches:
            assert switch == "s0" or found.hops(switch, "s0", stage)
    assert neighbours(found.hops("s1", "s0", 0)) == ["s0"]
    assert neighbours(found.hops("s3", "s0", 0)) == ["s4"]
    assert neighbours(found.hops("s3", "s0", found.last)) == ["s2"]


def test_only_way_is_kept_when_its_link_is_said_to_be_down() -> None:
    line = fabric_of((0, 1), (1, 2))
    found = ways(line, cut(line, 0, 1))
    for stage in range(found.last + 1):
        assert neighbours(found.hops("s0", "s2", stage)) == ["s1"]


def test_nothing_changed_is_the_last_stage_already() -> None:
    fabric = ring(4)
    found = ways(fabric, replace(fabric))
    assert found.last == 0
    assert neighbours(found.hops("s0", "s2", 0)) == ["s1", "s3"]


@st.composite
def events(draw: st.DrawFn) -> tuple[Fabric, Fabric]:
    """A ring of up to 9 switches with chords, before and after up to 3 links went or came."""
    count = draw(st.integers(3, 9))
    pairs = [(n, (n + 1) % count) for n in range(count)]
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    pairs += draw(st.lists(ends.filter(lambda pair: pair[0] != pair[1]), max_size=3))
    fabric = fabric_of(*pairs)
    costs = draw(st.lists(st.integers(1, 3), min_size=len(pairs), max_size=len(pairs)))
    fabric = replace(
        fabric,
        links=tuple(
            replace(link, cost=cost) for link, cost in zip(fabric.links, costs, strict=True)
        ),
    )
    places = st.sets(st.integers(0, len(pairs) - 1), max_size=3)
    after = fabric
    if draw(st.booleans()):
        dearer = draw(places)
        links = [
            replace(link, drained=place in dearer, cost=draw(st.integers(1, 3)))
            for place, link in enumerate(fabric.links)
        ]
        after = replace(fabric, links=tuple(links))
    if draw(st.booleans()):
        return fabric, after
    return cut(fabric, *draw(places)), cut(after, *draw(places))


def has_loop(hops: dict[str, tuple[Hop, ...]]) -> bool:
    state: dict[str, int] = {}

    def visit(switch: str) -> bool:
        if state.get(switch) == 1:
            return True
        if switch in state:
            return False
        state[switch] = 1
        found = any(visit(hop.neighbour) for hop in hops.get(switch, ()))
        state[switch] = 2
        return found

    return any(visit(switch) for switch in hops)


@given(events(), st.data())
def test_switches_in_neighbouring_stages_never_make_a_loop(
    event: tuple[Fabric, Fabric], data: st.DataObject
) -> None:
    old, new = event
    found = ways(old, new)
    stage = data.draw(st.integers(-1, found.last), label="stage")  # -1: has not heard of it
    ahead = data.draw(st.sets(st.sampled_from(sorted(old.switches))), label="ahead")
    for destination in old.switches:
        hops = {
            switch: found.old.shortest(switch, destination)
            if (own := stage + (switch in ahead)) < 0
            else found.hops(switch, destination, own)
            for switch in old.switches
        }
        assert not has_loop(hops), destination


@given(events())
def test_last_stage_is_that_of_least_costs(event: tuple[Fabric, Fabric]) -> None:
    old, new = event
    found = ways(old, new)
    for destination in new.switches:
        expected = ecmp_next_hops(new, destination)
        for switch in new.switches:
            assert found.hops(switch, destination, found.last) == expected.get(switch, ())


@given(events())
def test_way_that_stays_whole_never_drops(event: tuple[Fabric, Fabric]) -> None:
    """Whoever had a way of links that are up before and after has one in every stage."""
    old, new = event
    found = ways(old, new)
    for destination in new.switches:
        before, after = found.old.costs(destination), found.new.costs(destination)
        for switch in new.switches:
            if switch != destination and (
                found.calm or after[switch] <= before[switch] < DOWN_COST
            ):
                for stage in range(found.last + 1):
                    assert found.hops(switch, destination, stage)
