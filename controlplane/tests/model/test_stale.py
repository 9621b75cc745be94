"""What a slice gets when the database has been away for long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from dfvisor.model.records import Network, Stale, Treatment, VirtualNetwork
from dfvisor.model.stale import expired, without_database
from dfvisor.model.validate import validate

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
RED = DEMO.vns["red"]


def with_policy(stale: Stale, after_s: int = 10) -> VirtualNetwork:
    gold = replace(RED.slices["gold"], stale=stale, stale_after_s=after_s)
    return replace(RED, slices=RED.slices | {"gold": gold})


@pytest.mark.parametrize("away_s", [0.0, 9.9, 10.0, 1e9])
def test_hold_changes_nothing(away_s: float) -> None:
    vn = with_policy(Stale.HOLD)
    assert without_database(vn, away_s) is vn
    assert expired(vn, away_s) == frozenset()


@pytest.mark.parametrize("stale", [Stale.DENY, Stale.BEST_EFFORT])
def test_policy_takes_effect_after_its_time_and_on_its_slice_alone(stale: Stale) -> None:
    vn = with_policy(stale)
    assert without_database(vn, 9.9) is vn
    changed = without_database(vn, 10.0)
    assert expired(vn, 10.0) == {"gold"}
    gold = {name for name, one in vn.flowspaces.items() if one.slice == "gold"}
    assert len(gold) >= 2
    for name, before in vn.flowspaces.items():
        after = changed.flowspaces[name]
        if name not in gold or before.treatment is Treatment.DENY:
            assert after == before
        elif stale is Stale.DENY:
            assert (after.treatment, after.match) == (Treatment.DENY, before.match)
        else:
            best = vn.best_effort_slice.name
            assert (after.slice, after.treatment) == (best, Treatment.PERMIT)
    assert validate(replace(DEMO, vns={"red": changed})) == []


def test_best_effort_slice_has_no_policy() -> None:
    best = RED.best_effort_slice
    vn = replace(RED, slices=RED.slices | {best.name: replace(best, stale=Stale.DENY)})
    (problem,) = validate(Network(fabric=DEMO.fabric, tenants=DEMO.tenants, vns={"red": vn}))
    assert problem.path == f"vns.red.slices.{best.name}.stale"
