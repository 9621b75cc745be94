"""READ, WRITE and DELEGATE on flowspaces: what makes sense, and what a slice's space is then."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest
from dfvisor.cli.change import Refused
from dfvisor.cli.remove import without_flowspace
from dfvisor.model import plain
from dfvisor.model.description import load_network
from dfvisor.model.permissions import permission_problems
from dfvisor.model.plain import Problems
from dfvisor.model.records import Flowspace, Match, Network, Treatment, VirtualNetwork
from dfvisor.model.render import render_flowspace
from dfvisor.model.space import Spaces
from dfvisor.model.types import PortRange
from dfvisor.model.validate import validate

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
RED = DEMO.vns["red"]
WEB = Flowspace(
    name="web",
    priority=1000,
    slice="silver",
    match=Match(ip_proto=17, l4_dst=PortRange(40000, 40999)),
    readers=("gold",),
)
VIDEO = Flowspace(
    name="video",
    priority=1001,
    slice="gold",
    match=Match(ip_proto=17, l4_dst=PortRange(40100, 40199)),
    under="web",
)


def vn(*flowspaces: Flowspace) -> VirtualNetwork:
    return dataclasses.replace(
        RED, flowspaces=RED.flowspaces | {one.name: one for one in flowspaces}
    )


def problems(*flowspaces: Flowspace) -> list[str]:
    made = vn(*flowspaces)
    return [text for one in flowspaces for text in permission_problems(made, one)]


def change(flowspace: Flowspace, **what: object) -> Flowspace:
    return msgspec.structs.replace(flowspace, **what)  # type: ignore[arg-type]


def test_part_within_a_flowspace_is_valid_and_moves_the_space() -> None:
    made = vn(WEB, VIDEO)
    network = dataclasses.replace(DEMO, vns={**DEMO.vns, "red": made})
    assert not validate(network)
    spaces = Spaces()
    spaces.update(made)
    asked = ((("ip_proto", 255), ("is_fragment", 1), ("l4_dst", 0xFFFF)), (17, 0, 40150))
    assert spaces.of("gold").covers(*asked)
    assert spaces.update(vn(WEB)) == {"gold"}, "taken back"
    assert not spaces.of("gold").covers(*asked)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (change(VIDEO, under="nothing"), "no flowspace 'nothing'"),
        (change(VIDEO, under="video"), "has flowspace video itself"),
        (change(VIDEO, slice="silver"), "has flowspace web itself"),
        (change(VIDEO, priority=1000), "expected above 1000"),
        (change(VIDEO, match=Match(ip_proto=17, l4_dst=PortRange(40990, 41000))), "not within"),
        (change(VIDEO, match=Match(ip_proto=6, l4_dst=PortRange(40100, 40199))), "not within"),
        (change(VIDEO, match=Match()), "not within"),
        (change(VIDEO, bidirectional=True), "not within"),
    ],
    ids=["no source", "itself", "own", "priority", "more ports", "protocol", "all", "reverse"],
)
def test_part_that_is_more_than_its_slice_has_is_refused(part: Flowspace, why: str) -> None:
    assert any(why in text for text in problems(WEB, part)), problems(WEB, part)


def test_part_of_what_is_denied_is_refused() -> None:
    assert any(
        "nothing to delegate" in one
        for one in problems(change(WEB, treatment=Treatment.DENY), VIDEO)
    )


def test_part_that_takes_from_a_third_slice_is_refused() -> None:
    third = Flowspace(
        name="third",
        priority=1005,
        slice=RED.best_effort_slice.name,
        match=Match(ip_proto=17, l4_dst=PortRange(40150, 40150)),
    )
    above = change(VIDEO, priority=1010)
    assert any(
        "slice default, which are not slice silver's" in t for t in problems(WEB, third, above)
    )
    assert not problems(WEB, third, VIDEO), "the third comes first then"


@pytest.mark.parametrize(
    ("reader", "why"),
    [("none", "no slice 'none'"), ("silver", "itself"), ("default", "best effort")],
)
def test_reader_that_makes_no_sense_is_refused(reader: str, why: str) -> None:
    assert any(why in text for text in problems(change(WEB, readers=(reader,))))


def test_permissions_are_written_and_read_again() -> None:
    for one in (WEB, VIDEO):
        found = Problems()
        rendered = render_flowspace(one)
        assert plain.parse_flowspace(one.name, rendered, ("x",), found) == one


def test_flowspace_of_which_parts_are_delegated_is_not_deleted() -> None:
    network = Network(fabric=DEMO.fabric, tenants=DEMO.tenants, vns={"red": vn(WEB, VIDEO)})
    with pytest.raises(Refused, match="parts of flowspace red/web are delegated: video"):
        without_flowspace(network, "red", "web")
    assert "video" not in without_flowspace(network, "red", "video").vns["red"].flowspaces
