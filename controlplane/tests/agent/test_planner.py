"""Bad records do not disturb what was good."""

from __future__ import annotations

import dataclasses

import msgspec
from dfvisor.agent.book import Book
from dfvisor.agent.desired import LEARN, VnPlan
from dfvisor.agent.hosts import Outcome
from dfvisor.agent.inbox import LearnReport
from dfvisor.agent.planner import LEARNING, Planner, Staged
from dfvisor.model.records import VirtualNetwork
from dfvisor.p4rt.entries import Exact, TableEntry

from .networks import MemoryNumbers, demo


def planner(switch: str = "s1") -> tuple[Planner, Book]:
    book = Book()
    made = Planner(switch, MemoryNumbers(), book)
    assert made.set_fabric(1, demo().fabric) is None
    made.stage_fabric()
    return made, book


def one(staged: list[Staged]) -> Staged:
    (found,) = staged
    return found


def broken(vn: VirtualNetwork) -> VirtualNetwork:
    flowspace = msgspec.structs.replace(vn.flowspaces["gold-tcp"], slice="nope")
    return dataclasses.replace(vn, flowspaces={"gold-tcp": flowspace})


def test_good_record_is_planned() -> None:
    made, book = planner()
    made.set_vn("red", 4, demo().vns["red"])
    staged = one(made.stage({"red"}))
    assert (staged.revision, staged.error) == (4, None)
    assert staged.plan is not None and staged.plan.access
    assert len(book.pending()) > len(staged.plan.items)


def test_bad_record_keeps_the_last_good_state() -> None:
    made, book = planner()
    red = demo().vns["red"]
    made.set_vn("red", 4, red)
    made.stage({"red"})
    before = book.pending()
    made.set_vn("red", 5, broken(red))
    staged = one(made.stage({"red"}))
    assert staged.revision == 4
    assert staged.error is not None and "nope" in staged.error
    assert book.pending() == before


def test_bad_record_does_not_disturb_others() -> None:
    made, _ = planner()
    made.set_vn("red", 1, broken(demo().vns["red"]))
    made.set_vn("blue", 1, demo().vns["blue"])
    blue, red = made.stage({"red", "blue"})
    assert blue.error is None and blue.plan is not None
    assert red.kept and red.error is not None


def test_bad_record_at_the_start_falls_back_on_the_local_one() -> None:
    made, _ = planner()
    red = demo().vns["red"]
    made.set_good("red", 3, red)
    made.set_vn("red", 4, broken(red))
    staged = one(made.stage({"red"}))
    assert (staged.revision, staged.plan is None) == (3, False)
    assert staged.error is not None


def test_unreadable_record_keeps_the_last_good_state_and_says_so() -> None:
    made, _ = planner()
    made.set_vn("red", 4, demo().vns["red"])
    made.set_unreadable("red", "page missing")
    staged = one(made.stage({"red"}))
    assert (staged.revision, staged.error) == (4, "page missing")
    made.set_vn("red", 5, demo().vns["red"])
    assert one(made.stage({"red"})).error is None


def test_vn_with_anothers_key_is_refused_until_the_key_is_free() -> None:
    made, _ = planner()
    red, blue = demo().vns["red"], demo().vns["blue"]
    stolen = dataclasses.replace(blue.slices["default"], key=red.slices["default"].key)
    thief = dataclasses.replace(blue, slices={**blue.slices, "default": stolen})
    made.set_vn("red", 1, red)
    made.stage({"red"})
    made.set_vn("a-thief", 1, dataclasses.replace(thief, name="a-thief"))
    staged = {found.name: found for found in made.stage({"red", "a-thief"})}
    assert staged["red"].error is None
    assert staged["a-thief"].kept and "belongs to red already" in str(staged["a-thief"].error)
    made.remove_vn("red")
    staged = {found.name: found for found in made.stage({"red", "a-thief"})}
    assert staged["red"].gone
    assert staged["a-thief"].error is None  # although it was staged before red went


def test_vn_removed_leaves_nothing() -> None:
    made, book = planner()
    nothing = book.pending()
    made.set_vn("red", 4, demo().vns["red"])
    made.stage({"red"})
    made.remove_vn("red")
    assert one(made.stage({"red"})).gone
    assert set(book.pending().inserts) == set(nothing.inserts)


def test_impossible_fabric_is_refused_and_the_old_one_stays() -> None:
    made, _ = planner()
    fabric = demo().fabric
    twin = dataclasses.replace(fabric.switches["s2"], device_id=1)
    refused = made.set_fabric(
        2, dataclasses.replace(fabric, switches={**fabric.switches, "s2": twin})
    )
    assert refused is not None and "device_id" in refused
    assert made.fabric_revision == 1
    assert made.has_fabric(1, fabric)


def test_vn_not_present_is_staged_without_plan() -> None:
    made, _ = planner("s1")
    made.set_vn("green", 1, demo().vns["green"])
    staged = one(made.stage({"green"}))
    assert staged.plan is None and staged.error is None and not staged.gone


def test_learned_host_of_a_learning_vn_is_planned_until_the_vn_learns_no_more() -> None:
    made, book = planner()
    learning = dataclasses.replace(demo().vns["red"], learning=True)
    made.set_vn("red", 1, learning)
    made.set_vn("blue", 1, demo().vns["blue"])
    blue, red = made.stage({"red", "blue"})
    assert red.plan is not None and blue.plan is not None
    assert book.owner_of(LEARN) == LEARNING
    (port,) = red.plan.ports
    (other,) = blue.plan.ports
    assert made.learn(LearnReport(blue.plan.vn_id, other, 0x0200000000AA)) is None
    assert made.learn(LearnReport(red.plan.vn_id, 300, 0x0200000000AA)) is None
    assert made.learn(LearnReport(red.plan.vn_id, port, 0x0200000000AA)) == ("red", Outcome.NEW)
    known = made.learn(LearnReport(red.plan.vn_id, port, 0x0200000000AA))
    assert known == ("red", Outcome.KNOWN)
    learned = one(made.stage({"red"})).plan
    assert learned is not None and len(learned.items) == len(red.plan.items) + 2
    assert made.learned("red") == {0x0200000000AA: port}
    made.set_vn("red", 2, demo().vns["red"])
    made.stage({"red"})
    assert made.learned("red") == {}
    assert book.owner_of(LEARN) is None


def of_slice(plan: VnPlan, slice_id: int) -> list[TableEntry]:
    """The entries that name a slice in their key or action."""
    return [
        item
        for item in plan.items
        if isinstance(item, TableEntry)
        and (item.field("slice_id") == Exact(slice_id) or ("slice_id", slice_id) in item.args)
    ]


def test_disabled_slice_leaves_the_plan_and_comes_back_as_it_was() -> None:
    made, book = planner()
    red = demo().vns["red"]
    made.set_vn("red", 1, red)
    before = one(made.stage({"red"})).plan
    items = set(book.pending().inserts)
    gold = dataclasses.replace(red.slices["gold"], disabled=True)
    made.set_vn("red", 2, dataclasses.replace(red, slices={**red.slices, "gold": gold}))
    plan = one(made.stage({"red"})).live
    assert plan is not None and before is not None
    assert set(plan.slices) == set(before.slices) - {"gold"}
    gold_id = before.slices["gold"].slice_id
    assert of_slice(before, gold_id) and not of_slice(plan, gold_id)
    made.set_vn("red", 3, red)
    made.stage({"red"})
    assert set(book.pending().inserts) == items
