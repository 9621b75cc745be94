"""What rules make of flowspaces, and how often they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from dfvisor.model.description import load_network
from dfvisor.model.disabled import Without, without_disabled
from dfvisor.model.named import Named
from dfvisor.model.records import Flowspace, Stale, Treatment, VirtualNetwork
from dfvisor.model.remade import Remade
from dfvisor.model.stale import without_database
from hypothesis import given
from hypothesis import strategies as st

RED = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml").vns["red"]
FLOWSPACES = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.builds(
        Flowspace,
        name=st.just("x"),
        priority=st.integers(1, 3),
        slice=st.sampled_from(list(RED.slices)),
        treatment=st.sampled_from([Treatment.PERMIT, Treatment.DENY]),
    ),
)


def both(vn: VirtualNetwork, remade: Remade | None = None) -> VirtualNetwork:
    return without_database(without_disabled(vn, remade), 10.0, remade)


def ruled(vn: VirtualNetwork, *, disabled: bool, stale: Stale) -> VirtualNetwork:
    gold = replace(vn.slices["gold"], disabled=disabled)
    silver = replace(vn.slices["silver"], stale=stale, stale_after_s=10)
    return replace(vn, slices={**vn.slices, "gold": gold, "silver": silver})


@given(
    steps=st.lists(
        st.tuples(FLOWSPACES, st.booleans(), st.sampled_from(Stale), st.booleans()), max_size=8
    )
)
def test_flowspaces_after_changes_are_as_made_of_the_whole(
    steps: list[tuple[dict[str, Flowspace], bool, Stale, bool]],
) -> None:
    """Whatever changes: flowspaces, as a change or anew, and rules; also of earlier states."""
    remade = Remade()
    vn = replace(RED, flowspaces=Named({}))
    seen: list[VirtualNetwork] = []
    for flowspaces, disabled, stale, anew in steps:
        held = Named(dict(flowspaces))
        if not anew:
            change = {**dict.fromkeys(vn.flowspaces), **flowspaces}
            held = vn.flowspaces.changed(change)
        vn = ruled(replace(vn, flowspaces=held), disabled=disabled, stale=stale)
        seen.append(vn)
        for one in (vn, seen[0], vn):
            assert both(one, remade) == both(one)
        remade.trim()


@pytest.mark.parametrize("size", [10, 1_000])
def test_change_asks_of_what_has_changed_alone(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask: Callable[[Without, Flowspace], Flowspace] = Without.__call__

    def counted(rule: Without, flowspace: Flowspace) -> Flowspace:
        asked.append(flowspace.name)
        return ask(rule, flowspace)

    monkeypatch.setattr(Without, "__call__", counted)
    one = msgspec.structs.replace(RED.flowspaces["gold-tcp"], name="0")
    flowspaces = Named({str(n): msgspec.structs.replace(one, name=str(n)) for n in range(size)})
    vn = ruled(replace(RED, flowspaces=flowspaces), disabled=True, stale=Stale.HOLD)
    remade = Remade()
    both(vn, remade)
    assert len(asked) == size
    for n in range(3):
        asked.clear()
        remade.trim()
        changed = msgspec.structs.replace(one, name=f"{n}", priority=77 + n)
        vn = replace(vn, flowspaces=vn.flowspaces.changed({f"{n}": changed, f"{n + 5}": None}))
        made = both(vn, remade)
        assert asked == [f"{n}"]
        assert made.flowspaces[f"{n}"].slice == RED.best_effort_slice.name
        assert f"{n + 5}" not in made.flowspaces
