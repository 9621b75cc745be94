"""A change takes effect in two steps, and what packets under way need outlives it."""

from __future__ import annotations

import dataclasses

from dfvisor.agent.book import Book
from dfvisor.agent.planner import Planner, Staged
from dfvisor.model.grants import Grant
from dfvisor.model.records import Endpoint, Fabric, Flowspace, Match, Slice, VirtualNetwork
from dfvisor.model.space import Spaces
from dfvisor.model.types import Mac, PortRef
from dfvisor.p4rt.entries import Item, TableEntry

from .networks import MemoryNumbers, demo

RED = demo().vns["red"]
GOLD = RED.slices["gold"]
NEW = Slice(name="new", key=4711, profile="gold")
WITH_SLICE = dataclasses.replace(
    RED,
    slices={**RED.slices, "new": NEW},
    flowspaces={
        **RED.flowspaces,
        "to-new": Flowspace(name="to-new", priority=99, match=Match(ip_proto=47), slice="new"),
    },
)


class Desk:
    """A planner of a switch, and what the switch holds when all is written."""

    def __init__(self, switch: str = "s1") -> None:
        self.book = Book()
        self.planner = Planner(switch, MemoryNumbers(), self.book)
        assert self.planner.set_fabric(1, demo().fabric) is None
        self.planner.stage_fabric()
        self.held: set[Item] = set()

    def stage(self, name: str = "red") -> Staged:
        (staged,) = self.planner.stage({name})
        changes = self.book.pending()
        for item in (*changes.inserts, *changes.modifies):
            self.book.written(item)
        for item in changes.deletes:
            self.book.written(item, deleted=True)
        self.held = set(self.book.desired)
        return staged

    def live(self, revision: int, vn: VirtualNetwork) -> Staged:
        self.planner.set_active(vn.name, revision)
        self.planner.set_vn(vn.name, revision, vn)
        return self.stage(vn.name)

    def tables(self) -> dict[str, set[Item]]:
        found: dict[str, set[Item]] = {}
        for item in self.held:
            if isinstance(item, TableEntry):
                found.setdefault(item.table, set()).add(item)
        return found


def test_revision_that_is_not_active_is_prepared_without_touching_a_packet() -> None:
    desk = Desk()
    desk.live(1, RED)
    before = desk.tables()
    desk.planner.set_vn("red", 2, WITH_SLICE)
    staged = desk.stage()
    assert (staged.revision, staged.prepared, staged.error) == (1, 2, None)
    assert staged.plan is not None and "new" in staged.plan.slices
    prepared = desk.tables()
    for table in ("classifier", "bridge", "access_port", "flood", "arp_responder"):
        assert prepared[table] == before[table]
    for table in ("slice", "slice_policy"):
        assert prepared[table] > before[table]
    assert desk.planner.set_active("red", 2)
    staged = desk.stage()
    assert (staged.revision, staged.prepared) == (2, 2)
    assert desk.tables()["classifier"] > before["classifier"]


def test_leader_activates_before_the_database_says_so_and_is_not_taken_back() -> None:
    desk = Desk()
    desk.live(1, RED)
    desk.planner.set_vn("red", 2, WITH_SLICE)
    assert desk.stage().revision == 1
    assert desk.planner.tell_active("red", 2)
    assert desk.stage().revision == 2
    assert not desk.planner.set_active("red", 1)  # read before
    assert desk.stage().prepared == 2
    desk.planner.remove_vn("red")  # and another of its name
    desk.planner.set_vn("red", 1, RED)
    desk.planner.set_active("red", 0)
    assert desk.stage().revision == 0


def test_slice_that_has_gone_is_kept_for_packets_under_way_until_the_controller_has_finished() -> (
    None
):
    desk = Desk()
    desk.live(1, WITH_SLICE)
    before = desk.tables()
    staged = desk.live(2, RED)
    assert staged.keeps and staged.plan is not None and "new" in staged.plan.slices
    assert desk.tables()["slice"] == before["slice"]
    assert desk.tables()["classifier"] < before["classifier"]
    assert desk.planner.finish("red")
    staged = desk.stage()
    assert not staged.keeps and staged.plan is not None and "new" not in staged.plan.slices
    assert desk.tables()["slice"] < before["slice"]
    assert not desk.planner.finish("red")


def test_next_hop_of_a_moved_endpoint_is_there_before_and_after() -> None:
    desk = Desk()
    name, endpoint = next(
        (name, one)
        for name, one in RED.endpoints.items()
        if one.port is not None and one.port.switch == "s1"
    )
    moved = dataclasses.replace(endpoint, port=PortRef("s1", 77))
    vn = dataclasses.replace(RED, endpoints={**RED.endpoints, name: moved})
    desk.live(1, RED)
    old = desk.tables()["next_hop"]
    desk.planner.set_vn("red", 2, vn)
    staged = desk.stage()
    assert staged.plan is not None and 77 in staged.plan.ports
    assert desk.tables()["next_hop"] > old
    desk.planner.set_active("red", 2)
    staged = desk.stage()
    assert endpoint.port is not None and staged.plan is not None
    assert endpoint.port.port in staged.plan.ports
    assert desk.tables()["next_hop"] > old
    desk.planner.finish("red")
    desk.stage()
    assert len(desk.tables()["next_hop"]) == len(old)


def test_new_vn_takes_effect_when_it_is_active() -> None:
    desk = Desk()
    desk.planner.set_active("red", 0)
    desk.planner.set_vn("red", 1, RED)
    staged = desk.stage()
    assert (staged.revision, staged.prepared, staged.live) == (0, 1, None)
    assert "classifier" not in desk.tables() and "slice" in desk.tables()
    desk.planner.set_active("red", 1)
    assert desk.stage().revision == 1
    assert "classifier" in desk.tables()


def test_without_a_controller_best_effort_takes_effect_after_a_while() -> None:
    desk = Desk()
    desk.live(1, RED)
    before = desk.tables()
    new = Endpoint(name="new", mac=Mac(0x02_00_00_00_00_99), ips=(), port=PortRef("s1", 78))
    vn = dataclasses.replace(WITH_SLICE, endpoints={**RED.endpoints, "new": new})
    desk.planner.set_vn("red", 2, vn)
    desk.stage()
    assert not desk.planner.set_overdue("red", 1)
    assert desk.planner.set_overdue("red", 2)
    staged = desk.stage()
    assert staged.revision == 1 and "best effort only" in str(staged.error)
    after = desk.tables()
    assert len(after["access_port"]) == len(before["access_port"]) + 1
    assert len(after["classifier"]) == len(before["classifier"]) + 1  # the port's catch-all
    controlled = tuple(name for name, one in vn.slices.items() if not one.best_effort)
    grant = Grant(vn="red", tenant=vn.tenant, controllers=controlled)
    desk.planner.set_vn("red", 2, vn, grant)  # nobody else writes these
    staged = desk.stage()
    assert staged.revision == 2 and not staged.error
    desk.planner.set_active("red", 2)
    assert desk.stage().error is None


def test_switch_that_only_carried_a_vn_keeps_its_slices_for_packets_under_way() -> None:
    desk = Desk("s2")
    elsewhere = {
        name: one for name, one in RED.endpoints.items() if one.port and one.port.switch != "s2"
    }
    flowspaces = {
        name: one
        for name, one in RED.flowspaces.items()
        if one.match.endpoint is None or one.match.endpoint in elsewhere
    }
    vn = dataclasses.replace(RED, endpoints=elsewhere, flowspaces=flowspaces)
    desk.held = set(desk.book.desired)
    nothing = desk.tables().get("slice", set())
    staged = desk.live(1, vn)
    carried = desk.tables()["slice"]
    assert staged.plan is not None and not staged.plan.access and carried > nothing
    desk.planner.remove_vn("red")
    staged = desk.stage()
    assert staged.gone and staged.keeps
    assert desk.tables()["slice"] == carried
    desk.planner.finish("red")
    assert not desk.stage().keeps
    assert desk.tables().get("slice", set()) == nothing


def led_around(vn: VirtualNetwork) -> tuple[VirtualNetwork, Fabric]:
    """The VN without a host at s2, and the demo's fabric with its paths not over s2."""
    elsewhere = {
        name: one for name, one in vn.endpoints.items() if one.port and one.port.switch != "s2"
    }
    flowspaces = {
        name: one
        for name, one in vn.flowspaces.items()
        if one.match.endpoint is None or one.match.endpoint in elsewhere
    }
    fabric = demo().fabric
    s2 = dataclasses.replace(fabric.switches["s2"], drained=True)
    drained = dataclasses.replace(fabric, switches={**fabric.switches, "s2": s2})
    slices = {name: dataclasses.replace(one, avoid=()) for name, one in vn.slices.items()}
    found = dataclasses.replace(vn, endpoints=elsewhere, flowspaces=flowspaces, slices=slices)
    return found, drained


def test_switch_on_the_way_before_follows_revisions_until_the_controller_has_finished() -> None:
    desk = Desk("s2")
    vn, drained = led_around(RED)
    desk.stage()
    nothing = desk.tables()["slice"]
    assert desk.live(1, vn).live is not None
    carried = desk.tables()["slice"]
    assert carried > nothing
    assert desk.planner.set_fabric(2, drained) is None
    desk.planner.stage_fabric()
    staged = desk.stage()
    assert staged.live is None and staged.plan is not None and desk.planner.awaits("red")
    desk.planner.set_vn("red", 2, dataclasses.replace(vn, flowspaces={}))
    staged = desk.stage()
    assert (staged.revision, staged.prepared) == (1, 2)
    assert desk.planner.set_active("red", 2)
    staged = desk.stage()
    assert (staged.revision, staged.prepared) == (2, 2)
    assert staged.plan is not None and "gold" in staged.plan.slices
    assert desk.tables()["slice"] == carried
    assert desk.planner.awaits("red")
    desk.planner.finish("red")
    assert desk.stage().plan is None and not desk.planner.awaits("red")
    assert desk.tables()["slice"] == nothing


def test_nobody_awaits_the_controller_of_slices_that_end_or_have_another() -> None:
    vn, drained = led_around(WITH_SLICE)
    ended = dataclasses.replace(
        vn,
        slices={"default": vn.slices["default"]},
        flowspaces={name: one for name, one in vn.flowspaces.items() if one.slice == "default"},
    )
    for following, grant in (
        (ended, None),
        (vn, Grant(vn="red", tenant=vn.tenant, controllers=("gold", "silver", "new"))),
    ):
        desk = Desk("s2")
        desk.live(1, vn)
        assert desk.planner.set_fabric(2, drained) is None
        desk.planner.stage_fabric()
        desk.stage()
        assert desk.planner.awaits("red")
        desk.planner.set_active("red", 2)
        desk.planner.set_vn("red", 2, following, grant)
        assert desk.stage().keeps and not desk.planner.awaits("red")


def test_what_the_slices_may_be_meanwhile_is_of_both_revisions() -> None:
    desk = Desk()
    desk.live(1, WITH_SLICE)
    desk.planner.set_vn("red", 2, RED)
    staged = desk.stage()
    assert staged.space is not None and "new" in staged.space.slices
    spaces = Spaces()
    for step in (WITH_SLICE, staged.space, RED):
        spaces.update(step)
    assert not spaces.of("new").has({"ip_proto": 47})
