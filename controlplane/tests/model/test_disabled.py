"""A disabled slice has its record and nothing else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest
from dfvisor.cli.change import Refused
from dfvisor.cli.disable import disabled
from dfvisor.model.consequences import needs_flows
from dfvisor.model.description import load_network, plan, read, render
from dfvisor.model.disabled import without_disabled
from dfvisor.model.records import Treatment
from dfvisor.model.validate import validate
from dfvisor.vnc.compile import compile_vn

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
OFF = disabled(DEMO, "red", "gold", True)


def test_disabled_slice_is_written_read_and_enabled_again() -> None:
    assert not validate(OFF)
    assert plan(type(DEMO)(), read(json.dumps(render(OFF)), as_json=True)) == OFF
    assert disabled(OFF, "red", "gold", False) == DEMO


def test_packets_of_a_disabled_slice_are_best_effort_and_denied_ones_stay_denied() -> None:
    vn = OFF.vns["red"]
    denied = msgspec.structs.replace(vn.flowspaces["gold-tcp"], treatment=Treatment.DENY)
    vn = dataclasses.replace(vn, flowspaces=vn.flowspaces | {"gold-tcp": denied})
    left = without_disabled(vn)
    assert set(left.slices) == {"default", "silver"}
    assert {name: (one.slice, one.treatment) for name, one in left.flowspaces.items()} == {
        "gold-tcp": ("default", Treatment.DENY),
        "gold-udp": ("default", Treatment.PERMIT),
        "silver-tcp": ("silver", Treatment.PERMIT),
        "silver-udp": ("silver", Treatment.PERMIT),
        "no-telnet": ("default", Treatment.DENY),
    }
    assert without_disabled(DEMO.vns["red"]) is DEMO.vns["red"]


def test_disabled_slice_has_no_flow_entries_and_the_others_have_theirs() -> None:
    before = compile_vn(DEMO.fabric, DEMO.vns["red"])
    after = compile_vn(OFF.fabric, OFF.vns["red"])
    gold = DEMO.vns["red"].slices["gold"].key
    for switch, entries in before.items():
        others = {one for one in entries if one.key[0][1].value != gold}
        assert after.get(switch, frozenset()) == others


def test_disabling_the_last_slice_above_best_effort_waits_for_nobody() -> None:
    blue = disabled(DEMO, "blue", "gold", True).vns["blue"]
    assert not needs_flows(DEMO.vns["blue"], blue)
    assert needs_flows(blue, DEMO.vns["blue"])
    assert needs_flows(DEMO.vns["red"], OFF.vns["red"]), "silver's may move"


def test_best_effort_slice_and_one_that_is_not_there_are_refused() -> None:
    (problem,) = validate(disabled(DEMO, "red", "default", True))
    assert "needs its best-effort slice" in str(problem)
    with pytest.raises(Refused, match=r"no slice red/platin; there are: red/default, red/gold"):
        disabled(DEMO, "red", "platin", True)
