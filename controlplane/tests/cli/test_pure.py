"""The pure parts of the command line: what to wait for, what a change does, what may be deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.cli import remove
from dfvisor.cli.change import Refused, Written
from dfvisor.cli.difference import Line, Outcome, fabric_lines, vn_lines
from dfvisor.cli.output import age
from dfvisor.cli.wait import Expectation, expectations, unfulfilled
from dfvisor.model.description import load, load_network, plan
from dfvisor.model.records import Network
from dfvisor.store.stats import Applied, VnApplied

EXAMPLES = Path(__file__).parents[3] / "examples"
DEMO = load_network(EXAMPLES / "demo.yaml")
FOREIGN = load_network(EXAMPLES / "foreign-peer.yaml")
MORE = plan(DEMO, load(EXAMPLES / "add-slice.yaml"))


def applied(revision: int, flows: int = 0, error: str | None = None, ways: int = 0) -> Applied:
    red = VnApplied(revision=revision, flows=flows, ways=ways, error=error)
    return Applied(vns={"red": red}, fabric=4)


@pytest.mark.parametrize(
    ("expected", "found", "reason"),
    [
        (Expectation("s1", "red", 3), None, "s1: red: nothing reported yet"),
        (Expectation("s1", "red", 3), Applied(), "s1: red: nothing reported yet"),
        (Expectation("s1", "red", 3), applied(2), "s1: red: revision 2 applied, 3 wanted"),
        (Expectation("s1", "red", 3), applied(2, error="full"), "2 applied, 3 wanted: full"),
        (Expectation("s1", "red", 3), applied(3), None),
        (Expectation("s1", "red", 3), applied(4), None),
        (Expectation("s1", "red", 3, flows=True), applied(3, 2), "flow entries of revision 2"),
        (Expectation("s1", "red", 3, flows=True), applied(3, 3), None),
        (Expectation("s1", "red", 1, ways=4), applied(3, 3, ways=3), "of fabric revision 3, 4"),
        (Expectation("s1", "red", 1, ways=4), applied(3, 3, ways=4), None),
        (Expectation("s1", "red", 3, leaving=True), applied(2), "revision 2 applied"),
        (Expectation("s1", "red", 3, leaving=True), Applied(), None),
        (Expectation("s1", "red", 0), applied(2), "s1: red: still there"),
        (Expectation("s1", "red", 0), Applied(), None),
        (Expectation("s1", None, 5), applied(1), "s1: fabric: revision 4 applied, 5 wanted"),
        (Expectation("s1", None, 4), applied(1), None),
    ],
)
def test_expectation_says_what_is_missing(
    expected: Expectation, found: Applied | None, reason: str | None
) -> None:
    missing = expected.missing(found)
    assert (missing is None) == (reason is None)
    assert (reason or "") in (missing or "")


def test_expectations_are_of_the_switches_where_the_vn_is() -> None:
    found = expectations(DEMO, Written(fabric=2, vns={"red": 3, "green": 1}))
    assert set(found) == {
        *(Expectation(f"s{n}", None, 2) for n in (1, 2, 3, 4)),
        *(Expectation(f"s{n}", "red", 3, flows=True) for n in (1, 2, 3, 4)),
        *(Expectation(f"s{n}", "green", 1) for n in (2, 3)),
        *(Expectation(f"s{n}", "red", 1, ways=2) for n in (1, 2, 4)),  # packets enter there
        *(Expectation(f"s{n}", "blue", 1, ways=2) for n in (1, 3, 4)),
    }


def test_expectations_include_switches_that_the_vn_leaves() -> None:
    red = DEMO.vns["red"]
    silver = {name: s for name, s in red.slices.items() if name != "silver"}
    flowspaces = {name: f for name, f in red.flowspaces.items() if f.slice != "silver"}
    after = replace(DEMO, vns={"red": replace(red, slices=silver, flowspaces=flowspaces)})
    found = expectations(after, Written(vns={"red": 2}, before={"red": red}))
    assert Expectation("s3", "red", 2, leaving=True) in found
    assert len(found) == 4


def test_switches_without_a_live_agent_do_not_count_but_one_must_live() -> None:
    expected = [Expectation("s1", "red", 1), Expectation("s2", "red", 1)]
    assert unfulfilled(expected, [], {}) == ["no switch has a live agent"]
    assert unfulfilled(expected, ["s1"], {"s1": applied(1)}) == []
    assert unfulfilled(expected, ["s1", "s2"], {"s1": applied(1)}) == [
        "s2: red: nothing reported yet"
    ]
    assert unfulfilled([], [], {}) == []


def test_lines_tell_what_a_change_does() -> None:
    lines = vn_lines(DEMO.vns["red"], MORE.vns["red"])
    created = [line.record for line in lines if line.outcome is Outcome.CREATED]
    assert created == [
        "profile red/bronze",
        "slice red/bronze",
        "flowspace red/bronze-tcp",
        "flowspace red/bronze-udp",
    ]
    back = vn_lines(MORE.vns["red"], DEMO.vns["red"])
    assert [b.record for b in back if b.outcome is Outcome.DELETED] == created
    flooding = replace(DEMO.vns["red"], tenant="blue")
    assert vn_lines(DEMO.vns["red"], flooding)[0] == Line("vn red", Outcome.CHANGED)
    assert vn_lines(None, DEMO.vns["green"])[0] == Line("vn green", Outcome.CREATED)
    assert {line.outcome for line in fabric_lines(DEMO, DEMO)} == {Outcome.UNCHANGED}
    assert {line.outcome for line in fabric_lines(Network(), DEMO)} == {Outcome.CREATED}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda n: remove.without_vn(n, "rde"), "no virtual network named 'rde'; there are: blue"),
        (lambda n: remove.without_slice(n, "x", "y", cascade=False), "no virtual network 'x'"),
        (
            lambda n: remove.without_slice(n, "red", "gold", cascade=False),
            "used by flowspaces gold-tcp, gold-udp",
        ),
        (
            lambda n: remove.without_slice(n, "red", "default", cascade=True),
            "is the best-effort slice",
        ),
        (lambda n: remove.without_flowspace(n, "red", "x"), "no flowspace in red named 'x'"),
        (lambda n: remove.without_profile(n, "red", "gold"), "used by slices gold"),
        (lambda n: remove.without_tenant(n, "red"), "owns virtual networks red"),
        (lambda n: remove.without_link(n, "s1:9-s2:9"), "there is no link 's1:9-s2:9'"),
        (
            lambda n: remove.without_switch(n, "s3"),
            "used by link s1:2-s3:1, link s3:2-s4:2, slice red/gold, endpoint blue/b3, "
            "endpoint green/g2",
        ),
    ],
)
def test_deletion_of_what_is_used_or_unknown_is_refused(
    change: Callable[[Network], Network], reason: str
) -> None:
    with pytest.raises(Refused) as caught:
        change(DEMO)
    assert reason in str(caught.value)


def test_deletion_leaves_the_rest() -> None:
    network = remove.without_slice(MORE, "red", "bronze", cascade=True)
    assert network.vns["red"].slices == DEMO.vns["red"].slices
    assert network.vns["red"].flowspaces == DEMO.vns["red"].flowspaces
    network = remove.without_profile(network, "red", "bronze")
    assert network == DEMO
    assert set(remove.without_vn(DEMO, "red").vns) == {"blue", "green"}
    assert len(remove.without_link(DEMO, "s2:1-s1:1").fabric.links) == 3
    assert "r1" not in remove.without_endpoint(DEMO, "red", "r1").vns["red"].endpoints


def test_peer_goes_when_nothing_is_behind_it() -> None:
    with pytest.raises(Refused, match="peer ovs has endpoints lab/guest behind it"):
        remove.without_peer(FOREIGN, "ovs")
    with pytest.raises(Refused, match=r"switch s2 is used by link s1:1-s2:1, peer ovs$"):
        remove.without_switch(FOREIGN, "s2")
    network = remove.without_peer(remove.without_endpoint(FOREIGN, "lab", "guest"), "ovs")
    assert network.fabric.peers == {}
    assert Line("peer ovs", Outcome.DELETED) in fabric_lines(FOREIGN, network)
    free = replace(FOREIGN, vns={}, fabric=replace(FOREIGN.fabric, links=()))
    assert remove.without_switch(free, "s1").fabric.peers == FOREIGN.fabric.peers


@pytest.mark.parametrize("option", [{"source_guard": True}, {"learning": True}, {"flood_pps": 9}])
def test_option_of_a_vn_that_changes_is_a_change(option: dict[str, object]) -> None:
    red = DEMO.vns["red"]
    assert vn_lines(red, replace(red, **option))[0] == Line("vn red", Outcome.CHANGED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.26, "1.3s"), (300, "5m"), (7300, "2h"), (400000, "5d"), (-3, "0.0s")]
)
def test_age_is_readable(seconds: float, text: str) -> None:
    assert age(1e6 - seconds, 1e6) == text
    assert age(0) == "-"
