"""Entries between a role and the switch: what is the role's passes, nothing else does."""

from __future__ import annotations

import pytest
from dfvisor.p4rt.entries import Exact, TableEntry
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.ports import NEIGHBOUR
from dfvisor.slicer.refusal import Refused
from dfvisor.slicer.roles import Role
from dfvisor.slicer.translate import Translator, slice_of
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
VN_VIEW = Schema(role_view(Schema.load(P4INFO.read_text()).proto, whole_vn=True))


@pytest.fixture
def make(schema: Schema, directory: FakeDirectory):
    def build(role: Role) -> Translator:
        return Translator(directory, role, Schema(role_view(schema.proto, role.whole_vn)))

    return build


def test_controller_entry_gets_the_slice_id_of_its_key(make) -> None:
    translator = make(CONTROLLER)
    assert translator.to_switch(flow(RED_GOLD.key)) == flow(RED_GOLD.slice_id)
    assert translator.to_switch(flow(RED_SILVER.key)) == flow(RED_SILVER.slice_id)


def test_slice_entry_gets_the_slice_id_of_the_role(make) -> None:
    assert make(GOLD).to_switch(flow(None)) == flow(RED_GOLD.slice_id)


@pytest.mark.parametrize("virtual", [1, 2, NEIGHBOUR + 2, NEIGHBOUR + 3])
def test_next_hop_of_the_vn_is_translated_and_back(
    make, directory: FakeDirectory, virtual: int
) -> None:
    translator = make(CONTROLLER)
    inside = translator.to_switch(forward(RED_GOLD.key, virtual))
    assert inside.arg("next_hop") == directory.next_hops["red", virtual]
    assert translator.to_view(inside, RED_GOLD.key) == forward(RED_GOLD.key, virtual)


@pytest.mark.parametrize(
    "next_hop",
    [0, 3, 101, 510, NEIGHBOUR, NEIGHBOUR + 9],
    ids=["none", "port of another VN", "local id", "no port", "no switch", "no neighbour"],
)
def test_next_hop_of_nobody_or_another_is_refused(make, next_hop: int) -> None:
    with pytest.raises(Refused, match=r"PERMISSION_DENIED.*next hop"):
        make(CONTROLLER).to_switch(forward(RED_GOLD.key, next_hop))


@pytest.mark.parametrize(
    "key",
    [BLUE_GOLD.key, RED_BEST_EFFORT.key, RED_GOLD.slice_id, 0, 0xFFFFFFFF],
    ids=["another VN's", "best effort", "a slice id", "zero", "unknown"],
)
def test_slice_of_nobody_or_another_is_refused(make, key: int) -> None:
    for entry in (flow(key), forward(key, 1)):
        with pytest.raises(Refused, match="PERMISSION_DENIED"):
            make(CONTROLLER).to_switch(entry)


@pytest.mark.parametrize(
    "role", [Role("red", "rest"), Role("red", "bronze"), Role("green", "gold")]
)
def test_role_of_no_qos_slice_is_refused(make, role: Role) -> None:
    with pytest.raises(Refused, match="PERMISSION_DENIED"):
        make(role).to_switch(flow(None))


def test_next_hop_that_has_gone_is_shown_as_none(make) -> None:
    gone = forward(RED_GOLD.slice_id, 999)
    assert make(GOLD).to_view(gone, RED_GOLD.key).arg("next_hop") == 0


_IDS = st.integers(0, 0xFFFFFFFF)


@given(
    key=_IDS | st.sampled_from([RED_GOLD.key, RED_SILVER.key, BLUE_GOLD.key, RED_BEST_EFFORT.key]),
    next_hop=st.integers(0, 0x1FFFF) | st.sampled_from([1, 2, 3, NEIGHBOUR + 2]),
    vn=st.sampled_from(["red", "blue", "green"]),
)
def test_translation_never_leaves_the_vn(key: int, next_hop: int, vn: str) -> None:
    """Whatever a role writes: if it passes, it is about the role's slices and next hops."""
    directory = FakeDirectory()
    role = Role(vn)
    translator = Translator(directory, role, VN_VIEW)
    entry = forward(key, next_hop)
    try:
        inside = translator.to_switch(entry)
    except Refused:
        return
    own = {i.slice_id for i in directory.slices_of(vn).values() if not i.best_effort}
    assert slice_of(inside.key) in own
    assert ("next_hop", inside.arg("next_hop")) in {
        ("next_hop", id_) for (name, _), id_ in directory.next_hops.items() if name == vn
    }
    assert translator.to_view(inside, key) == entry
    assert isinstance(inside, TableEntry) and isinstance(inside.key[0][1], Exact)
