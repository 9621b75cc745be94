"""Which changes need flow entries before they take effect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.model.consequences import needs_flows
from dfvisor.model.description import load_network
from dfvisor.model.records import Flowspace, Match, UnknownUnicast, VirtualNetwork
from dfvisor.model.types import PortRange

RED = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml").vns["red"]


def flowspace(slice_: str) -> Flowspace:
    return Flowspace(
        name="x",
        priority=7,
        slice=slice_,
        match=Match(ip_proto=6, l4_dst=PortRange(9, 9)),
    )


def with_flowspace(slice_: str) -> VirtualNetwork:
    return replace(RED, flowspaces=RED.flowspaces | {"x": flowspace(slice_)})


BEST_EFFORT = RED.best_effort_slice.name
PLAIN = replace(RED, slices={BEST_EFFORT: RED.best_effort_slice}, flowspaces={}, profiles={})


@pytest.mark.parametrize(
    ("old", "new", "needed"),
    [
        (None, RED, True),
        (None, PLAIN, False),
        (RED, RED, False),
        (RED, with_flowspace("gold"), True),
        (with_flowspace("gold"), RED, True),
        (RED, with_flowspace(BEST_EFFORT), False),
        (RED, replace(RED, unknown_unicast=UnknownUnicast.FLOOD, flood_pps=1), False),
        (RED, replace(RED, endpoints=dict(list(RED.endpoints.items())[1:])), True),
        (RED, PLAIN, False),
        (PLAIN, RED, True),
        (PLAIN, replace(PLAIN, endpoints={}), False),
    ],
    ids=[
        "new",
        "new-best-effort",
        "same",
        "flowspace",
        "flowspace-gone",
        "best-effort-flowspace",
        "settings",
        "endpoint",
        "slices-gone",
        "slices-come",
        "best-effort-endpoints",
    ],
)
def test_needs_flows(old: VirtualNetwork | None, new: VirtualNetwork, needed: bool) -> None:
    assert needs_flows(old, new) is needed


def test_slices_of_the_tenants_own_controllers_need_no_flows() -> None:
    others = [name for name, one in RED.slices.items() if not one.best_effort]
    assert not needs_flows(None, RED, others)
    assert not needs_flows(RED, with_flowspace("gold"), ["gold"])
    assert needs_flows(RED, with_flowspace("gold"), [name for name in others if name != "gold"])
