"""New flow entries in bulk: written as they are where that is right, and nowhere else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from dfvisor.model.records import Fabric, Flowspace, Match, Treatment, VirtualNetwork
from dfvisor.model.types import PortRange
from dfvisor.p4rt.entries import EntryKey, TableEntry
from dfvisor.p4rt.framing import Framer
from dfvisor.p4rt.p4info import Schema
from dfvisor.slicer.view import role_view
from dfvisor.vnc import batches
from dfvisor.vnc import compile as compiling
from dfvisor.vnc.batches import MOST_UPDATES, Batch
from dfvisor.vnc.compile import Compiler, SwitchEntries, Update, compile_vn
from dfvisor.vnc.routing import Trees
from dfvisor.vnc.stages import Stage, as_they_are, steps
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tests.agent.networks import demo

from .test_compile import cases
from .test_incremental import changed_vns

P4INFO = Path(__file__).parents[3] / "bmv2_configs" / "dfvisor.p4info.txtpb"
FRAMER = Framer(Schema(role_view(Schema.load(P4INFO.read_text()).proto, True)))


@dataclass
class Switch:
    """What a session keeps of a switch, and does."""

    held: dict[EntryKey, TableEntry] = field(default_factory=dict)
    pending: dict[EntryKey, None] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    whole: int = 0  # entries written as they are

    def aim(self, update: Update, switch: str) -> None:
        for group in update.changed.get(switch, ()):
            if isinstance(group, Batch):
                self.batches.append(group)
            else:
                self.pending.update(dict.fromkeys(group))

    def carry_out(self, compiler: Compiler, name: str, stage: Stage) -> None:
        wanted = SwitchEntries(compiler, name)
        waiting, self.batches = self.batches, []
        whole = as_they_are(self.held, wanted, stage, self.pending, waiting)
        for step in steps(self.held, wanted, stage, self.pending):
            assert self.held.get(step.key) == step.old
            if step.new is None:
                del self.held[step.key]
            else:
                self.held[step.key] = step.new
        for batch in whole:
            for portion in batch.portions(FRAMER):
                assert portion.entries
                assert portion.entries.keys().isdisjoint(self.held)  # all are INSERTs
                self.held.update(portion.entries)
                self.whole += len(portion)


def aim(compiler: Compiler, switches: dict[str, Switch], update: Update) -> None:
    """Tell all that have something to do with it."""
    for name in switches.keys() - compiler.switches:
        del switches[name]
    for name in compiler.switches:
        switches.setdefault(name, Switch()).aim(update, name)


def carry_out(compiler: Compiler, switches: dict[str, Switch], update: Update) -> None:
    """All of it, as if nothing were under way on former paths."""
    aim(compiler, switches, update)
    turning = compiler.turning
    retired = None
    for stage in (Stage.FLOW, Stage.FINISH):
        for name in compiler.switches:
            switches[name].carry_out(compiler, name, stage)
        if stage is Stage.FLOW:
            done = [compiler.stamp(turning), retired := compiler.retire(turning)]
            assert retired is not None
            for name in compiler.switches:
                for one in done:
                    assert one is not None
                    switches[name].aim(one, name)
    for name in switches.keys() - compiler.switches:
        del switches[name]  # which former ways led over


@given(cases(), st.data())
def test_whatever_changes_in_bulk_switches_hold_what_a_full_computation_gives(
    case: tuple[Fabric, VirtualNetwork], data: st.DataObject
) -> None:
    fabric, vn = case
    trees = Trees(fabric)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "BULK", 1)
        compiler = Compiler()
        switches: dict[str, Switch] = {}
        update = compiler.update(trees, dataclasses.replace(vn, flowspaces={}))
        carry_out(compiler, switches, update)
        for one in (vn, None, None, None):
            vn = data.draw(changed_vns(fabric, vn)) if one is None else one
            update = compiler.update(trees, vn)
            if data.draw(st.booleans()):
                carry_out(compiler, switches, update)
            else:  # another change before any switch gets to this one
                aim(compiler, switches, update)
        carry_out(compiler, switches, Update())
    wanted = compile_vn(fabric, vn, compiler.classes)
    assert {name: frozenset(one.held.values()) for name, one in switches.items()} == wanted


def flowspace(number: int, **changes: object) -> Flowspace:
    match = Match(ip_proto=17, l4_dst=PortRange(number, number))
    one = Flowspace(name=f"f{number:05}", priority=100, slice="gold", match=match)
    return msgspec.structs.replace(one, **changes)


class Load:
    """The demo's VN with many flowspaces more, which its switches have not got yet."""

    def __init__(self, *more: Flowspace, count: int = 600) -> None:
        network = demo()
        self.trees = Trees(network.fabric)
        self.vn = network.vns["red"]
        self.compiler = Compiler()
        self.switches: dict[str, Switch] = {}
        update = self.compiler.update(self.trees, self.vn)
        carry_out(self.compiler, self.switches, update)
        self.add(*map(flowspace, range(1, count + 1)), *more)

    def add(self, *flowspaces: Flowspace) -> None:
        new = {one.name: one for one in flowspaces}
        self.vn = dataclasses.replace(self.vn, flowspaces={**self.vn.flowspaces, **new})
        update = self.compiler.update(self.trees, self.vn)
        for name, switch in self.switches.items():
            switch.aim(update, name)

    def whole(self) -> set[int]:
        """Carry out what is left; how many entries each switch of the slice got as they are."""
        carry_out(self.compiler, self.switches, Update())
        wanted = compile_vn(self.trees.fabric, self.vn, self.compiler.classes)
        found = {name: frozenset(one.held.values()) for name, one in self.switches.items()}
        assert found == wanted
        carried = self.compiler.slice("gold").switches
        return {switch.whole for name, switch in self.switches.items() if name in carried}


def test_bulk_of_new_entries_is_written_as_it_is_and_encoded_once() -> None:
    load = Load(count=1500)
    (batch,) = {id(one): one for s in load.switches.values() for one in s.batches}.values()
    portions = batch.portions(FRAMER)
    assert [len(portion) for portion in portions] == [MOST_UPDATES, 1500 - MOST_UPDATES]
    assert batch.portions(FRAMER) is portions
    for portion in portions:
        assert len(portion.updates) == len(portion)
        assert portion.updates.data == b"".join(map(FRAMER.insert, portion.entries.values()))
    assert load.whole() == {1500}


def test_portion_is_no_longer_than_a_slicer_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 20_000)
    load = Load()
    (batch,) = {id(one): one for s in load.switches.values() for one in s.batches}.values()
    portions = batch.portions(FRAMER)
    assert len(portions) > 2
    assert all(len(portion.updates.data) <= 20_000 for portion in portions)
    assert sum(map(len, portions)) == 600
    assert load.whole() == {600}


def test_entries_of_several_forms_are_written_as_they_are() -> None:
    others = [
        flowspace(1001, treatment=Treatment.DEMOTE),
        flowspace(1002, match=Match(ip_proto=6, dscp=1)),
        flowspace(1003, match=Match(ip_proto=6, l4_src=PortRange(5, 9)), bidirectional=True),
    ]
    load = Load(*others)
    entries = 600 + 1 + 1 + 2 * 3  # 5 to 9 are 5, 6 to 7, and 8 to 9
    (batch,) = {id(one): one for s in load.switches.values() for one in s.batches}.values()
    assert len(batch) == len(set(batch)) == entries
    for portion in batch.portions(FRAMER):
        framed = b"".join(map(FRAMER.insert, portion.entries.values()))
        assert portion.updates.data == framed
    assert load.whole() == {entries}


def test_entry_that_changes_before_it_is_written_is_looked_at_with_all_of_its_batch() -> None:
    load = Load()
    load.add(flowspace(7, treatment=Treatment.DEMOTE))
    assert load.whole() == {0}


def test_other_entries_may_change_before_a_batch_is_written() -> None:
    load = Load()
    load.add(flowspace(2000))
    assert load.whole() == {600}


def test_batch_of_which_a_switch_has_an_entry_is_looked_at_there() -> None:
    load = Load()
    name, switch = next((n, one) for n, one in load.switches.items() if one.batches)
    key = next(iter(switch.batches[0]))
    entry = load.compiler.entry(name, key)
    assert entry is not None
    switch.held[key] = entry
    assert load.whole() == {0, 600}


def test_two_flowspaces_of_one_match_are_no_batch() -> None:
    load = Load(flowspace(9, name="another"))
    assert not any(switch.batches for switch in load.switches.values())
    assert load.whole() == {0}


def test_slice_that_goes_and_comes_again_gets_its_new_entries() -> None:
    load = Load()
    vn = load.vn
    for slices in ({n: one for n, one in vn.slices.items() if n != "gold"}, vn.slices):
        kept = {n: one for n, one in vn.flowspaces.items() if one.slice in slices}
        changed = {n: msgspec.structs.replace(one, priority=7) for n, one in kept.items()}
        load.vn = dataclasses.replace(vn, slices=slices, flowspaces=changed)
        update = load.compiler.update(load.trees, load.vn)
        for name, switch in load.switches.items():
            switch.aim(update, name)
    load.whole()
