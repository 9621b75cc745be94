"""What a switch does when links go and come: stages, next hops, and slices that linger."""

from __future__ import annotations

from dataclasses import replace

from dfvisor.agent.desired import fabric_items
from dfvisor.agent.repair import CALM_STAGE_S, LINGER_S, STAGE_S, Repair
from dfvisor.agent.site import Peer, Route
from dfvisor.model.records import Fabric
from dfvisor.model.types import PortRef
from dfvisor.p4rt.entries import Item, TableEntry

from .networks import MemoryNumbers, demo
from .test_ways import fabric_of

DIAMOND = demo().fabric
TRIANGLE = fabric_of((0, 1), (1, 2), (0, 2))  # s0:1-s1:2, s1:11-s2:12, s0:21-s2:22


def repair(fabric: Fabric, switch: str) -> Repair:
    found = Repair(switch)
    found.set_fabric(fabric, 0.0)
    return found


def peer(found: Repair, name: str, shunned: tuple[str, ...] = ()) -> Peer:
    site = found.site(shunned)
    assert site is not None
    return site.peers[name]


def settle(found: Repair, now: float) -> float:
    """Go through all stages; the time after."""
    while not found.settled:
        at = found.next_at()
        assert at is not None
        found.advance(at)
        now = at
    return now


def test_way_that_is_left_over_is_used_alone_at_once() -> None:
    found = repair(DIAMOND, "s1")
    assert [route.port for route in peer(found, "s4").routes] == [1, 2]
    assert found.set_own({1}, 1.0)
    assert [route.port for route in peer(found, "s4").routes] == [2]


def test_link_down_is_the_same_whoever_reports_it() -> None:
    found = repair(DIAMOND, "s1")
    assert found.set_reported({PortRef("s2", 1)}, 1.0)
    assert not found.set_own({1}, 1.1)
    assert not found.set_own(set(), 2.0)
    assert [route.port for route in peer(found, "s4").routes] == [2]
    assert found.set_reported(set(), 3.0)


def test_detour_that_could_come_back_is_for_slices_alone_until_the_next_stage() -> None:
    found = repair(DIAMOND, "s1")
    found.set_own({1}, 1.0)
    assert peer(found, "s2").routes == ()  # what comes back is dropped
    assert peer(found, "s2").link == Route(2, 0x02DF_0000_0003, 1500)
    assert not peer(found, "s2").around
    assert not found.advance(1.0 + STAGE_S * 0.9)
    assert found.advance(1.0 + STAGE_S)
    assert [route.port for route in peer(found, "s2").routes] == [2]
    settle(found, 1.2)
    assert peer(found, "s2").around


def test_detour_is_rather_over_one_that_never_came_back() -> None:
    # s0 - s1 fails; s2 is as near to s1 over s0 as over s3, s4 has a link of its own
    fabric = fabric_of((0, 1), (0, 2), (2, 3), (3, 1), (0, 4), (4, 1))
    found = repair(fabric, "s0")
    found.set_own({1}, 1.0)
    link = peer(found, "s1").link
    assert link is not None and link.port == 41


def test_neighbour_is_reached_at_once_over_one_that_never_came_back_here() -> None:
    found = repair(TRIANGLE, "s0")
    found.set_own({1}, 1.0)
    step = peer(found, "s1")
    assert step.link is not None and not step.around
    assert step.link.port == 21  # to s2, in the tunnel that ends at s1
    assert step.routes == ()  # the underlay waits: s2 might do the same if s1 were dead


def test_neighbour_is_reached_over_a_second_link_to_it() -> None:
    twice = fabric_of((0, 1), (0, 1), (1, 2))
    found = repair(twice, "s0")
    assert peer(found, "s1").link == Route(1, 0x02DF_0000_0002, 1500)
    found.set_own({1}, 1.0)
    assert peer(found, "s1").link == Route(11, 0x02DF_0000_0002, 1500)


def test_slices_that_shun_a_switch_are_not_led_around_through_it() -> None:
    found = repair(TRIANGLE, "s0")
    found.set_own({1}, 1.0)
    direct = peer(found, "s1", ("s2",))
    assert direct.link is not None and direct.link.port == 1
    settle(found, 1.0)
    assert not peer(found, "s1", ("s2",)).around
    assert peer(found, "s1").around


def test_neighbour_without_any_other_way_keeps_its_next_hop() -> None:
    line = fabric_of((0, 1), (1, 2))
    found = repair(line, "s0")
    found.set_own({1}, 1.0)
    settle(found, 1.0)
    assert peer(found, "s1").link == Route(1, 0x02DF_0000_0002, 1500)
    assert [route.port for route in peer(found, "s2").routes] == [1]


def test_repair_of_a_neighbour_is_one_write() -> None:
    def items(found: Repair) -> dict[tuple[str, object], Item]:
        site = found.site()
        assert site is not None
        return {
            (item.table, item.key): item
            for item in fabric_items(site, numbers)
            if isinstance(item, TableEntry)
        }

    numbers = MemoryNumbers()
    found = repair(TRIANGLE, "s0")
    before = items(found)
    found.set_own({1}, 1.0)
    after = items(found)
    changed = [after[key].table for key in after if after[key] != before[key]]  # type: ignore[union-attr]
    assert changed.count("next_hop") == 1
    assert before.keys() == after.keys()


def test_slices_linger_on_a_switch_that_their_path_has_left() -> None:
    vn = demo().vns["red"]
    gone = replace(vn, endpoints={n: e for n, e in vn.endpoints.items() if n != "r3"})
    found = repair(DIAMOND, "s2")
    assert found.site() is not None

    def crosses() -> bool:
        site = found.site()
        assert site is not None
        return site.crosses(gone, ())

    assert crosses()  # s1 - s2 - s4
    found.set_reported({PortRef("s1", 1)}, 1.0)
    now = settle(found, 1.0)
    assert crosses()
    while (at := found.next_at()) is not None:
        found.advance(at)
        now = at
    assert now >= 1.0 + LINGER_S
    assert not crosses()


def drained(fabric: Fabric, switch: str) -> Fabric:
    one = replace(fabric.switches[switch], drained=True)
    return replace(fabric, switches={**fabric.switches, switch: one})


def test_drain_goes_in_stages_and_nobody_drops_meanwhile() -> None:
    link = replace(TRIANGLE, links=(replace(TRIANGLE.links[0], drained=True), *TRIANGLE.links[1:]))
    for fabric, switch, far in ((link, "s0", "s1"), (drained(TRIANGLE, "s1"), "s0", "s1")):
        found = repair(TRIANGLE, switch)
        found.set_fabric(fabric, 1.0)
        while not found.settled:
            assert peer(found, far).routes
            found.advance(found.next_at() or 0.0)
    assert found.down == frozenset()


def test_change_waits_for_the_one_before_unless_a_link_fails() -> None:
    whole = fabric_of((0, 1), (1, 2), (2, 3), (3, 0))
    dear = replace(whole, links=(replace(whole.links[0], cost=9), *whole.links[1:]))
    found = repair(whole, "s0")
    found.set_fabric(dear, 1.0)
    begun = found.next_at()
    assert begun == 1.0 + CALM_STAGE_S and [one.port for one in peer(found, "s1").routes] == [1]
    found.set_fabric(whole, 1.2)
    assert found.next_at() == begun
    now = settle(found, 1.2)  # there and back
    assert now > 1.0 + 1.9 * CALM_STAGE_S
    assert [one.port for one in peer(found, "s1").routes] == [1]
    found.set_fabric(dear, 3.0)
    assert found.set_own({1}, 3.1)
    assert found.next_at() == 3.1 + STAGE_S


def test_change_of_costs_in_the_description_goes_in_stages_and_of_cables_at_once() -> None:
    found = repair(DIAMOND, "s1")
    dear = replace(
        DIAMOND,
        links=tuple(
            replace(link, cost=link.cost + 9 * (link.a.port == 1)) for link in DIAMOND.links
        ),
    )
    found.set_fabric(dear, 1.0)
    assert not found.settled
    found.set_fabric(replace(DIAMOND, links=DIAMOND.links[1:]), 2.0)
    assert found.settled
