"""What the slicer is told."""

from __future__ import annotations

import asyncio
import dataclasses

from dfvisor.agent.desired import VnPlan, vn_plan
from dfvisor.agent.directory import Directory
from dfvisor.agent.site import look
from dfvisor.model.grants import Grant
from dfvisor.p4rt.ports import NEIGHBOUR, AccessVlans, Fence

from .networks import MemoryNumbers, demo


def red_plan(numbers: MemoryNumbers, *, without: str | None = None) -> VnPlan:
    network = demo()
    red = network.vns["red"]
    if without:
        slices = {name: one for name, one in red.slices.items() if name != without}
        flowspaces = {n: one for n, one in red.flowspaces.items() if one.slice != without}
        red = dataclasses.replace(red, slices=slices, flowspaces=flowspaces)
    site = look(network.fabric, "s1")
    assert site is not None
    plan = vn_plan(site, red, numbers)
    assert plan is not None
    return plan


def directory() -> Directory:
    return Directory(lambda *told: None)


def test_grant_says_who_writes_a_slice_and_how_much() -> None:
    known = directory()
    told: list[str] = []
    known.on_change(told.append)
    assert (known.writer("red", "gold"), known.entry_quota("red", "gold")) == (None, None)
    known.set_grant("red", Grant(vn="red", tenant="red"))
    assert (known.writer("red", "gold"), known.entry_quota("red", "gold")) == (None, None)
    known.set_grant("red", Grant(vn="red", tenant="red", controllers=("gold",), max_flow_entries=9))
    assert known.writer("red", "gold") == "slice/red/gold"
    assert known.writer("red", "silver") == "vn/red"
    assert known.writer("blue", "gold") is None
    assert known.entry_quota("red", "silver") == 9
    known.set_grant("red", None)
    assert (known.writer("red", "gold"), known.entry_quota("red", "gold")) == (None, None)
    assert told == ["red"] * 3


async def test_published_plan_is_offered() -> None:
    known = directory()
    plan = red_plan(MemoryNumbers())
    known.set_neighbours({NEIGHBOUR + 2: 40})
    known.publish("red", 3, plan)
    (port,) = plan.ports
    assert known.vns() == ["red"]
    assert known.revision("red") == 3
    assert known.slices_of("red") == plan.slices
    assert known.slice_id("red", "gold") == plan.slices["gold"].slice_id
    assert known.next_hop_id("red", port) == plan.ports[port]
    assert known.next_hop_id("red", NEIGHBOUR + 2) == 40
    assert known.virtual_next_hop("red", plan.ports[port]) == port
    assert known.virtual_next_hop("red", 40) == NEIGHBOUR + 2


async def test_what_is_not_there_is_none() -> None:
    known = directory()
    known.publish("red", 3, red_plan(MemoryNumbers()))
    assert known.revision("blue") is None
    assert known.slices_of("blue") == {}
    assert known.slice_id("red", "nope") is None
    assert known.next_hop_id("blue", 11) is None
    assert known.next_hop_id("red", 400) is None
    assert known.next_hop_id("red", NEIGHBOUR + 9) is None
    assert known.virtual_next_hop("red", 9999) is None


async def test_slice_that_goes_is_no_longer_offered_before_the_writes() -> None:
    known = directory()
    numbers = MemoryNumbers()
    known.publish("red", 3, red_plan(numbers))
    gone = known.slice_id("red", "gold")
    assert known.shrink("red", red_plan(numbers, without="gold")) == {gone}
    assert known.slice_id("red", "gold") is None
    assert known.revision("red") == 3


async def test_waiting_for_a_revision_ends_when_it_is_published() -> None:
    known = directory()
    waiting = asyncio.create_task(known.wait_for_revision("red", 4, 5.0))
    await asyncio.sleep(0)
    known.publish("red", 3, red_plan(MemoryNumbers()))
    await asyncio.sleep(0)
    assert not waiting.done()
    known.publish("red", 4, red_plan(MemoryNumbers()))
    assert await waiting


async def test_waiting_for_a_revision_ends_at_the_timeout() -> None:
    assert not await directory().wait_for_revision("red", 1, 0.01)


async def test_fence_is_what_the_database_says_of_the_leader() -> None:
    known = directory()
    changed: list[str] = []
    known.on_change(changed.append)
    assert known.fence("red") is None
    known.set_fence("red", Fence(2, 77))
    assert known.fence("red") == Fence(2, 77)
    known.set_fence("red", Fence(2, 77))
    assert changed == ["red"]


async def test_space_follows_the_plan_and_vlans_are_told_apart() -> None:
    known = Directory(lambda *told: None, "s1")
    plan = red_plan(MemoryNumbers())
    known.publish("red", 3, plan)
    (port,) = plan.ports
    assert not str(known.space("red", "gold")).startswith("nothing")
    assert str(known.space("blue", "gold")).startswith("nothing")
    vlans = known.access_vlans("red", port)
    assert vlans == AccessVlans(frozenset({None}), frozenset())
    assert known.access_vlans("red", port + 1) is None
    assert known.virtual_port("red", port) == port
    assert known.slice_by_id(plan.slices["gold"].slice_id) == ("red", "gold")
