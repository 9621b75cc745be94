"""When slices may take a new path class, and what of the former ones stays until then."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dfvisor.model.description import load_network
from dfvisor.model.links import usable
from dfvisor.model.records import Endpoint, Fabric, VirtualNetwork
from dfvisor.model.types import Mac, PortRef
from dfvisor.p4rt.entries import Exact, TableEntry
from dfvisor.vnc.adopt import adopt
from dfvisor.vnc.compile import Compiler
from dfvisor.vnc.health import apart, broken, cut_off
from dfvisor.vnc.routing import Trees, route
from dfvisor.vnc.turning import PATIENCE_S, Turning

from .test_incremental import everything, settle

NETWORK = load_network(Path(__file__).parents[3] / "examples" / "redundant.yaml")
FABRIC = NETWORK.fabric
VN = NETWORK.vns["red"]
LINKS = {frozenset((one.a.switch, one.b.switch)): one for one in FABRIC.links}
SWITCHES = set(FABRIC.switches)


def without(*links: str) -> Fabric:
    """The fabric with links down, each as `s1-s2`."""
    down = {end for name in links for end in _ends(name)}
    return usable(FABRIC, down)


def _ends(name: str) -> tuple[PortRef, PortRef]:
    link = LINKS[frozenset(name.split("-"))]
    return link.a, link.b


def costly(name: str) -> Fabric:
    """The fabric with a link that nobody would choose."""
    link = LINKS[frozenset(name.split("-"))]
    return dataclasses.replace(
        FABRIC,
        links=tuple(
            dataclasses.replace(one, cost=50) if one is link else one for one in FABRIC.links
        ),
    )


def compiled(vn: VirtualNetwork = VN) -> Compiler:
    compiler = Compiler()
    compiler.update(Trees(FABRIC), vn)
    return compiler


def paths(compiler: Compiler, switch: str) -> list[int]:
    """The path classes that packets take which enter at a switch."""
    return [
        entry.arg("path_class") for entry in compiler.entries(switch) if entry.table == "slice_path"
    ]


def forwards(compiler: Compiler, switch: str) -> dict[int, set[TableEntry]]:
    """By path class."""
    found: dict[int, set[TableEntry]] = {}
    for entry in compiler.entries(switch):
        if entry.table == "slice_forward":
            path_class = entry.field("path_class")
            assert isinstance(path_class, Exact)
            found.setdefault(path_class.value, set()).add(entry)
    return found


def test_path_change_leaves_flows_and_former_forwarding_alone_and_stamps_by_one_write() -> None:
    compiler = compiled()
    before = everything(compiler)
    update = compiler.update(Trees(costly("s1-s2")), VN)
    assert update.repathed == {"gold"} == compiler.turning
    for switch, held in everything(compiler).items():
        assert held.items() >= before.get(switch, {}).items()
    assert paths(compiler, "s1") == [1]
    stamped = compiler.stamp(["gold"])
    assert paths(compiler, "s1") == [2]
    assert all(
        [key.table for group in groups for key in group] == ["slice_path"]
        for groups in stamped.changed.values()
    )
    assert stamped.changed.keys() == compiler.switches
    settle(compiler)
    assert forwards(compiler, "s1").keys() == {2}


def test_new_host_is_reached_on_the_former_class_too_and_a_moved_one_on_the_new_alone() -> None:
    compiler = compiled()
    compiler.update(Trees(costly("s1-s2")), VN)
    new = Endpoint(name="new", mac=Mac(0x99), ips=(), port=PortRef("s2", 40))
    vn = dataclasses.replace(VN, endpoints={**VN.endpoints, "new": new})
    assert not compiler.update(Trees(costly("s1-s2")), vn).repathed
    found = forwards(compiler, "s1")
    assert {len(entries) for entries in found.values()} == {4} and found.keys() == {1, 2}
    moved = dataclasses.replace(new, port=PortRef("s3", 40))
    vn = dataclasses.replace(VN, endpoints={**VN.endpoints, "new": moved})
    assert compiler.update(Trees(costly("s1-s2")), vn).repathed == {"gold"}
    found = forwards(compiler, "s1")
    assert {path_class: len(entries) for path_class, entries in found.items()} == {1: 3, 3: 4}


def test_class_is_stamped_only_when_all_switches_on_its_ways_know_it() -> None:
    compiler, turning = compiled(), Turning()
    fabric = costly("s1-s2")
    turning.begin(compiler.update(Trees(fabric), VN).repathed, 100.0)
    for switch in compiler.slice("gold").routing.switches:
        ready = (SWITCHES - {switch}).__contains__
        assert not turning.to_stamp(compiler, fabric, ready, 100.0)
        assert not turning.to_stamp(compiler, fabric, ready, 100.0 + 10 * PATIENCE_S)
    ready = (SWITCHES - {"s2"}).__contains__  # not on these ways any more
    assert turning.to_stamp(compiler, fabric, ready, 100.0) == {"gold"}
    compiler.stamp(["gold"])
    assert turning.to_retire(compiler, ready) == {"gold"}  # nothing enters at s2
    assert not turning.to_retire(compiler, (SWITCHES - {"s1"}).__contains__)


def test_class_is_stamped_after_a_while_if_the_former_ways_are_broken() -> None:
    compiler, turning = compiled(), Turning()
    fabric = without("s1-s2", "s2-s4")  # s2 has gone, and with it the way from a to c
    turning.begin(compiler.update(Trees(fabric), VN).repathed, 100.0)
    ready = (SWITCHES - {"s3"}).__contains__
    assert not turning.to_stamp(compiler, fabric, ready, 100.0 + PATIENCE_S / 2)
    assert turning.to_stamp(compiler, fabric, ready, 100.0 + PATIENCE_S) == {"gold"}


def test_link_that_is_led_around_breaks_no_way_and_a_dead_switch_does() -> None:
    routing = route(Trees(FABRIC), {"s1", "s4"}, ())
    homes = {"s1", "s4"}
    assert not broken(FABRIC, routing, homes, ())
    assert not broken(without("s1-s2"), routing, homes, ())
    assert broken(without("s1-s2"), routing, homes, ("s3",))  # no way around
    assert cut_off(without("s1-s2", "s2-s4")) == {"s2"}
    assert broken(without("s1-s2", "s2-s4"), routing, homes, ())
    assert not broken(without("s1-s2", "s2-s4"), routing, {"s1"}, ())
    links = tuple(one for key, one in LINKS.items() if key != frozenset(("s1", "s2")))
    gone = dataclasses.replace(FABRIC, links=links)  # no switch leads around what is no link
    assert broken(gone, routing, homes, ())


def test_switch_that_has_a_virtual_network_alone_is_cut_off_from_nobody() -> None:
    fabric = without("s1-s2", "s2-s4")
    assert apart(fabric, {"s1", "s2"}) == {"s2"}
    assert apart(fabric, {"s1", "s3"}) == frozenset()
    assert apart(fabric, {"s2"}) == frozenset()
    assert apart(Fabric(switches={"s1": FABRIC.switches["s1"]}), {"s1"}) == frozenset()


def test_switch_that_is_cut_off_is_not_waited_for() -> None:
    vn = dataclasses.replace(
        VN,
        endpoints={
            **VN.endpoints,
            "d": Endpoint(name="d", mac=Mac(0x98), ips=(), port=PortRef("s2", 40)),
        },
    )
    compiler, turning = compiled(vn), Turning()
    fabric = without("s1-s2", "s2-s4")
    turning.begin(compiler.update(Trees(fabric), vn).repathed, 100.0)
    assert "s2" in compiler.slice("gold").switches
    dead = cut_off(fabric)
    assert turning.to_stamp(compiler, fabric, lambda switch: switch in {"s1", "s3", "s4"} | dead, 0)


def test_new_leader_leaves_alone_what_another_class_needs_that_may_be_stamped_somewhere() -> None:
    before = compiled()
    before.update(Trees(costly("s1-s2")), VN)
    held = everything(before)
    before.stamp(["gold"])
    held["s1"] = everything(before)["s1"]  # one switch has the new class stamped already
    compiler = Compiler()
    compiler.update(Trees(costly("s1-s2")), VN)
    turned = adopt(compiler, held)
    # most stamp class 1, which is not the way that it should be
    assert turned == {"gold"} == compiler.turning
    assert paths(compiler, "s4") == [1] and compiler.classes["gold"] == 3
    kept = [key for entries in held.values() for key in entries if key.table == "slice_forward"]
    assert not list(compiler.wanted("s1", kept))
    compiler.stamp(["gold"])
    assert compiler.retire(["gold"]) is None  # all that is there has to be looked at
    assert len(list(compiler.wanted("s1", kept))) == len(kept)


def test_new_leader_finds_nothing_to_do_where_nothing_is_under_way() -> None:
    compiler = compiled()
    settle(compiler)
    held = everything(compiler)
    successor = Compiler()
    successor.update(Trees(FABRIC), VN)
    assert not adopt(successor, held) and not successor.turning
    assert everything(successor) == held
