"""Entries between a role and the switch: what is the role's passes, nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dfvisor.model.space import Space
from dfvisor.p4rt.entries import Exact, TableEntry
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import NEIGHBOUR
from dfvisor.slicer.refusal import Refused
from dfvisor.slicer.roles import Role
from dfvisor.slicer.translate import Translator, View
from dfvisor.slicer.view import role_view
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tests.slicer.fakes import (
    BLUE_GOLD,
    P4INFO,
    RED_BEST_EFFORT,
    RED_GOLD,
    RED_SILVER,
    FakeDirectory,
    flow,
    forward,
)

CONTROLLER = Role("red")
GOLD = Role("red", "gold")
PROGRAM = Schema.load(P4INFO.read_text())
VIEWS = {whole: View(Schema(role_view(PROGRAM.proto, whole))) for whole in (True, False)}


class Rig:
    """A translator, on entries instead of messages."""

    def __init__(self, directory: FakeDirectory, role: Role) -> None:
        self.view = VIEWS[role.whole_vn]
        self.translator = Translator(directory, role, self.view, 1, directory.writer)

    def message(self, entry: TableEntry) -> p4r.TableEntry:
        return self.view.schema.encode_entry(entry)

    def to_switch(self, entry: TableEntry | p4r.TableEntry) -> TableEntry:
        message = self.message(entry) if isinstance(entry, TableEntry) else entry
        identity = self.translator.identify(message)
        self.translator.check_write(identity)
        self.translator.check_entry(identity, message)
        self.translator.to_switch(identity, message)
        return PROGRAM.decode_entry(message)

    def to_view(self, entry: TableEntry, key: int) -> TableEntry:
        message = PROGRAM.encode_entry(entry)
        self.translator.to_view(message, key)
        return self.view.schema.decode_entry(message)


Make = Callable[[Role], Rig]


@pytest.fixture
def make(directory: FakeDirectory) -> Make:
    return lambda role: Rig(directory, role)


def test_controller_entry_gets_the_slice_id_of_its_key(make: Make) -> None:
    rig = make(CONTROLLER)
    assert rig.to_switch(flow(RED_GOLD.key)) == flow(RED_GOLD.slice_id)
    assert rig.to_switch(flow(RED_SILVER.key)) == flow(RED_SILVER.slice_id)


def test_slice_entry_gets_the_slice_id_of_the_role(make: Make) -> None:
    assert make(GOLD).to_switch(flow(None)) == flow(RED_GOLD.slice_id)


@pytest.mark.parametrize("virtual", [1, 2, NEIGHBOUR + 2, NEIGHBOUR + 3])
def test_next_hop_of_the_vn_is_translated_and_back(
    make: Make, directory: FakeDirectory, virtual: int
) -> None:
    rig = make(CONTROLLER)
    there = rig.to_switch(forward(RED_GOLD.key, virtual))
    assert there.arg("next_hop") == directory.next_hops_by_vn["red", virtual]
    assert rig.to_view(there, RED_GOLD.key) == forward(RED_GOLD.key, virtual)


@pytest.mark.parametrize(
    "next_hop",
    [0, 3, 101, 510, NEIGHBOUR, NEIGHBOUR + 9],
    ids=["none", "port of another VN", "local id", "no port", "no switch", "no neighbour"],
)
def test_next_hop_of_nobody_or_another_is_refused(make: Make, next_hop: int) -> None:
    with pytest.raises(Refused, match=r"PERMISSION_DENIED.*next hop.*allowed are 0x1, 0x2"):
        make(CONTROLLER).to_switch(forward(RED_GOLD.key, next_hop))


@pytest.mark.parametrize(
    "key",
    [BLUE_GOLD.key, RED_BEST_EFFORT.key, RED_GOLD.slice_id, 0, 0xFFFFFFFF],
    ids=["another VN's", "best effort", "a slice id", "zero", "unknown"],
)
def test_slice_of_nobody_or_another_is_refused(make: Make, key: int) -> None:
    for entry in (flow(key), forward(key, 1)):
        with pytest.raises(Refused, match="PERMISSION_DENIED"):
            make(CONTROLLER).to_switch(entry)


@pytest.mark.parametrize(
    "role", [Role("red", "rest"), Role("red", "bronze"), Role("green", "gold")]
)
def test_role_of_no_qos_slice_is_refused(make: Make, role: Role) -> None:
    with pytest.raises(Refused, match="PERMISSION_DENIED"):
        make(role).to_switch(flow(None))


def test_slice_that_another_role_writes_is_refused(make: Make, directory: FakeDirectory) -> None:
    directory.writers["red", "gold"] = "vn/red"
    with pytest.raises(Refused, match="is written by role vn/red"):
        make(GOLD).to_switch(flow(None))
    assert make(CONTROLLER).to_switch(flow(RED_GOLD.key)) == flow(RED_GOLD.slice_id)


def test_next_hop_that_has_gone_is_shown_as_none(make: Make) -> None:
    gone = forward(RED_GOLD.slice_id, 999)
    assert make(GOLD).to_view(gone, RED_GOLD.key).arg("next_hop") == 0


WEB = {"ip_proto": (6, 0xFF), "l4_dst": (80, 0xFFFF)}


def test_match_within_a_flowspace_passes_and_outside_is_refused(
    make: Make, directory: FakeDirectory
) -> None:
    directory.spaces["red", "gold"] = Space([WEB])
    assert make(GOLD).to_switch(flow(None, 80)) == flow(RED_GOLD.slice_id, 80)
    with pytest.raises(Refused, match=r"not within one flowspace.*ip_proto=0x6 l4_dst=0x50"):
        make(GOLD).to_switch(flow(None, 81))


def test_message_that_is_not_canonical_is_made_so(make: Make) -> None:
    rig = make(GOLD)
    message = rig.message(flow(None))
    for match in message.match:
        match.ternary.value = b"\0\0" + match.ternary.value
    message.action.action.params[0].value = b"\0" + message.action.action.params[0].value
    first, second = (p4r.FieldMatch.FromString(m.SerializeToString()) for m in message.match)
    del message.match[:]
    message.match.extend([second, first])
    before = rig.translator.identify(rig.message(flow(None))).key
    assert rig.translator.identify(message).key == before
    assert rig.to_switch(message) == flow(RED_GOLD.slice_id)
    assert all(match.ternary.value[:1] != b"\0" for match in message.match if match.field_id > 1)


_IDS = st.integers(0, 0xFFFFFFFF)


@given(
    key=_IDS | st.sampled_from([RED_GOLD.key, RED_SILVER.key, BLUE_GOLD.key, RED_BEST_EFFORT.key]),
    next_hop=st.integers(0, 0x1FFFF) | st.sampled_from([1, 2, 3, NEIGHBOUR + 2]),
    vn=st.sampled_from(["red", "blue", "green"]),
)
def test_translation_never_leaves_the_vn(key: int, next_hop: int, vn: str) -> None:
    """Whatever a role writes: if it passes, it is about the role's slices and next hops."""
    directory = FakeDirectory()
    rig = Rig(directory, Role(vn))
    entry = forward(key, next_hop)
    try:
        there = rig.to_switch(entry)
    except Refused:
        return
    own = {i.slice_id for i in directory.slices_of(vn).values() if not i.best_effort}
    match = there.key[0][1]
    assert isinstance(match, Exact) and match.value in own
    assert there.arg("next_hop") in {
        id_ for (name, _), id_ in directory.next_hops_by_vn.items() if name == vn
    }
    assert rig.to_view(there, key) == entry
