"""What an agent computes of a change is what it would compute of the whole."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import msgspec
import pytest
from dfvisor.agent.book import Book
from dfvisor.agent.desired import VnPlan, vn_plan
from dfvisor.agent.numbers import Kind
from dfvisor.agent.planner import Planner
from dfvisor.agent.readings import legend
from dfvisor.agent.site import look
from dfvisor.agent.steps import both
from dfvisor.model import disabled, stale
from dfvisor.model.named import named
from dfvisor.model.records import Flowspace, Match, Rate, Slice, Stale, Treatment, VirtualNetwork
from dfvisor.model.space import Spaces
from dfvisor.model.types import Mac, PortRange
from dfvisor.p4rt.entries import by_key, entry_key
from dfvisor.store.codec import KINDS
from dfvisor.store.deltas import changed, difference
from hypothesis import assume, given
from hypothesis import strategies as st

from .networks import MemoryNumbers, demo

NETWORK = demo()
RED = NETWORK.vns["red"]
RATE = Rate(committed_bps=1_000_000, peak_bps=2_000_000)
FLOWSPACES = st.builds(
    Flowspace,
    name=st.sampled_from(["a", "b", "c", *RED.flowspaces]),
    priority=st.integers(1, 2),
    match=st.builds(  # two of them often make the same entry
        Match,
        endpoint=st.sampled_from([None, None, *RED.endpoints]),
        ipv4_src=st.sampled_from([None, IPv4Network("10.0.0.0/8"), IPv4Network("10.1.0.0/16")]),
        ip_proto=st.sampled_from([6, 17]),
        l4_dst=st.sampled_from([None, PortRange(5, 5), PortRange(4, 7)]),
    ),
    slice=st.sampled_from(list(RED.slices)),
    treatment=st.sampled_from([Treatment.PERMIT, Treatment.DENY]),
    rate=st.none(),
)


def shared(vn: VirtualNetwork) -> VirtualNetwork:
    """The VN as it comes from the database."""
    return replace(vn, **{kind: named(getattr(vn, kind)) for kind in KINDS})


@st.composite
def following(draw: st.DrawFn, vn: VirtualNetwork) -> VirtualNetwork:
    """The VN with a few other records, perhaps bad ones, as a change of it."""
    wanted = vn
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["put", "put", "drop", "meter", "slice", "endpoint"]))
        if kind == "put":
            one = draw(FLOWSPACES)
            if one.match.endpoint is None or one.match.endpoint in wanted.endpoints:
                wanted = replace(wanted, flowspaces=wanted.flowspaces | {one.name: one})
        elif kind in ("drop", "meter") and wanted.flowspaces:
            name = draw(st.sampled_from(sorted(wanted.flowspaces)))
            held = wanted.flowspaces[name]
            if kind == "drop":
                flowspaces = {n: one for n, one in wanted.flowspaces.items() if n != name}
                wanted = replace(wanted, flowspaces=flowspaces)
            elif held.treatment is Treatment.PERMIT:
                metered = msgspec.structs.replace(held, rate=None if held.rate else RATE)
                wanted = replace(wanted, flowspaces=wanted.flowspaces | {name: metered})
        elif kind == "slice":
            extra = Slice(name="extra", key=999, profile=sorted(wanted.profiles)[0])
            slices = {n: one for n, one in wanted.slices.items() if n != "extra"}
            if "extra" not in wanted.slices:
                slices["extra"] = extra
            wanted = replace(wanted, slices=slices)
        elif kind == "endpoint":
            name = draw(st.sampled_from(sorted(wanted.endpoints)))
            moved = replace(wanted.endpoints[name], mac=Mac(draw(st.integers(2, 20)) * 2))
            wanted = replace(wanted, endpoints=wanted.endpoints | {name: moved})
    return changed(vn, difference(vn, wanted)) if draw(st.booleans()) else wanted


def whole(planner: Planner, numbers: MemoryNumbers, vn: VirtualNetwork) -> VnPlan | None:
    assert planner.site is not None
    return vn_plan(planner.site, replace(vn), numbers)


@given(switch=st.sampled_from(["s1", "s2", "s3"]), data=st.data())
def test_book_after_changes_is_as_after_the_whole(switch: str, data: st.DataObject) -> None:
    numbers = MemoryNumbers()
    book = Book()
    planner = Planner(switch, numbers, book)
    assert planner.set_fabric(1, NETWORK.fabric) is None
    vn = shared(RED)
    plans: list[VnPlan] = []
    for revision in range(1, data.draw(st.integers(2, 6))):
        planner.set_vn(RED.name, revision, vn, None)
        if data.draw(st.booleans()):
            planner.set_active(RED.name, revision)
        (staged,) = planner.stage({RED.name})
        planner.finish(RED.name)  # nothing is kept of the states before
        if planner.stage({RED.name})[0].revision == revision:
            plan = whole(planner, numbers, vn)
            assert plan is not None and staged.live is not None
            plans.append(staged.live)
            assert by_key(book.desired) == {entry_key(item): item for item in plan.items}
            assert set(staged.live.items) == set(plan.items)
        vn = data.draw(following(vn))
    for plan in plans:  # those before are what they were, too
        again = whole(planner, numbers, plan.vn)
        assert again is not None and set(again.items) == set(plan.items)


@given(data=st.data())
def test_refused_revisions_are_those_that_a_whole_check_refuses(data: st.DataObject) -> None:
    planner = Planner("s1", MemoryNumbers(), Book())
    planner.set_fabric(1, NETWORK.fabric)
    vn = shared(RED)
    for revision in range(1, data.draw(st.integers(2, 6))):
        planner.set_vn(RED.name, revision, vn, None)
        (staged,) = planner.stage({RED.name})
        fresh = Planner("s1", MemoryNumbers(), Book())
        fresh.set_fabric(1, NETWORK.fabric)
        fresh.set_vn(RED.name, revision, replace(vn), None)
        (wanted,) = fresh.stage({RED.name})
        assert (staged.error is None) is (wanted.error is None)
        vn = data.draw(following(vn))


@given(data=st.data())
def test_spaces_after_changes_hold_what_spaces_of_the_whole_hold(data: st.DataObject) -> None:
    vn = shared(RED)
    spaces = Spaces()
    for _ in range(data.draw(st.integers(1, 6))):
        before, vn = vn, data.draw(following(vn))
        shown = both(before, vn) if data.draw(st.booleans()) else vn
        spaces.update(shown)
        wanted = Spaces()
        wanted.update(shown)
        for name in shown.slices:
            assert spaces.of(name)._groups == wanted.of(name)._groups
            assert spaces.of(name).demotable == wanted.of(name).demotable


@given(data=st.data())
def test_legend_after_changes_is_that_of_the_whole(data: st.DataObject) -> None:
    numbers = MemoryNumbers()
    site = look(NETWORK.fabric, "s1")
    assert site is not None
    vns = {name: shared(vn) for name, vn in NETWORK.vns.items()}
    plans: dict[str, VnPlan] = {}
    kept = legend("s1", plans)
    for _ in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from(sorted(vns)))
        if name == "red":
            vns[name] = data.draw(following(vns[name]))
            macs = [one.mac for one in vns[name].endpoints.values()]
            assume(len(set(macs)) == len(macs))  # others are refused before they get here
        plan = vn_plan(site, vns[name], numbers, plans.get(name))
        if plan is None or data.draw(st.integers(0, 4)) == 0:
            plans.pop(name, None)
            numbers.known[Kind.SLICE].clear()  # the next gets another's numbers
            numbers.known[Kind.VN].clear()
            plans = {}
        else:
            plans[name] = plan
        kept.follow(plans)
        wanted = legend("s1", plans)
        for present in plans if data.draw(st.booleans()) or kept._flowspaces else ():
            assert kept.flowspace(present, 0) is wanted.flowspace(present, 0) is None
        kept._plans, wanted._plans = {}, {}
        assert kept == wanted
        kept._plans = dict(plans)


@pytest.mark.parametrize("count", [10, 2000])
def test_change_of_one_flowspace_looks_at_one_flowspace(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vn = shared(RED)
    many = {
        f"f{n}": Flowspace(
            name=f"f{n}",
            priority=5,
            slice="default",
            match=Match(ip_proto=17, l4_dst=PortRange(n + 1, n + 1)),
        )
        for n in range(count)
    }
    vn = replace(vn, flowspaces=named(vn.flowspaces).changed(many))
    planner = Planner("s1", MemoryNumbers(), Book())
    planner.set_fabric(1, NETWORK.fabric)
    planner.set_vn(RED.name, 1, vn, None)
    (before,) = planner.stage({RED.name})
    planner.site = look(NETWORK.fabric, "s1")  # found again, and as it was for VNs
    looked = []
    from dfvisor.agent import edge

    expand = edge.expand
    monkeypatch.setattr(edge, "expand", lambda *a, **k: looked.append(a) or expand(*a, **k))
    other = msgspec.structs.replace(vn.flowspaces["f3"], priority=6)
    planner.set_vn(RED.name, 2, changed(vn, {("flowspaces", "f3"): other}), None)
    (staged,) = planner.stage({RED.name})
    assert len(looked) == 1
    assert staged.live is not None and before.live is not None
    assert staged.live.base is before.live.base


@pytest.mark.parametrize("away_s", [0.0, 5.0], ids=["disabled", "stale"])
def test_change_under_a_disabled_or_stale_slice_makes_what_has_changed_anew(
    away_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a revision waits to be active, so that two are made of each."""
    made: list[str] = []
    rules = (disabled.Without, stale.Expired)
    for rule, apply in [(rule, rule.__call__) for rule in rules]:

        def counted(self: object, one: Flowspace, /, apply: Any = apply) -> Flowspace:
            made.append(one.name)
            changed: Flowspace = apply(self, one)
            return changed

        monkeypatch.setattr(rule, "__call__", counted)
    planner = Planner("s1", MemoryNumbers(), Book())
    planner.set_fabric(1, NETWORK.fabric)
    gold = replace(RED.slices["gold"], disabled=away_s == 0.0, stale=Stale.DENY, stale_after_s=1)
    one = RED.flowspaces["gold-tcp"]
    flowspaces = {f"f{n}": msgspec.structs.replace(one, name=f"f{n}") for n in range(500)}
    vn = shared(replace(RED, slices={**RED.slices, "gold": gold}, flowspaces=flowspaces))
    planner.set_away(away_s)
    planner.set_vn("red", 1, vn)
    planner.stage({"red"})
    assert len(made) == 500
    for revision in range(2, 5):
        made.clear()
        change = msgspec.structs.replace(one, name="f7", priority=revision)
        vn = replace(vn, flowspaces=vn.flowspaces | {"f7": change})
        planner.set_vn("red", revision, vn)
        planner.set_active("red", revision - 1)
        assert planner.stage({"red"})[0].prepared == revision
        planner.set_active("red", revision)
        (staged,) = planner.stage({"red"})
        assert staged.live is not None and staged.revision == revision
        assert staged.live.vn.flowspaces["f7"].priority == revision
        assert set(made) == {"f7"} and len(made) <= 6
