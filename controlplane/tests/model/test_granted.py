"""What a grant allows, and what it does not."""

from __future__ import annotations

import pytest
from dfvisor.model.description import check, merge, read, render
from dfvisor.model.granted import owner_of, parse_grant, render_grant
from dfvisor.model.grants import Grant, Span
from dfvisor.model.plain import Problems
from dfvisor.model.records import Network
from hypothesis import given
from hypothesis import strategies as st

from .strategies import grants
from .test_validate import BASE

GRANTED = """
grants:
  v:
    tenant: t
    keys: [1-2]
    ports: {s1: [11-12], s3: [11, 20-29]}
    peers: []
    max_slices: 2
    max_flowspaces: 1
    max_endpoints: 2
    max_flow_entries: 1
    max_queue: 1
"""
RATED = GRANTED.replace("max_queue: 1", "max_rate: 10mbit")
METERED = BASE.replace("{queue: 1, dscp: 1}", "{queue: 1, dscp: 1, rate: 10mbit}")

OUTSIDE = [
    pytest.param(
        "    tenant: t\n    profiles", "    tenant: x\n    profiles", "tenant", id="tenant"
    ),
    pytest.param("q: {key: 2", "q: {key: 9", "slices.q.key", id="key"),
    pytest.param('port: "s3:11"', 'port: "s3:12"', "endpoints.e3.port", id="port"),
    pytest.param('port: "s3:11"', 'port: "s2:11"', "endpoints.e3.port", id="switch"),
    pytest.param('port: "s3:11"', "peer: o", "endpoints.e3.peer", id="peer"),
    pytest.param(
        "q: {key: 2, profile: p}",
        "q: {key: 2, profile: p}\n      r: {key: 1, profile: p}",
        "slices",
        id="slices",
    ),
    pytest.param(
        "    flowspaces:\n",
        "    flowspaces:\n      g: {priority: 4, slice: b}\n",
        "flowspaces",
        id="flowspaces",
    ),
    pytest.param(
        "    flowspaces:\n      f",
        '      e2: {mac: "02:00:00:00:00:02", port: "s1:12"}\n    flowspaces:\n      f',
        "endpoints",
        id="endpoints",
    ),
    pytest.param("l4_dst: 80}", "l4_dst: 80-90}", "slices.q", id="entries"),
    pytest.param("p: {queue: 1", "p: {queue: 2", "profiles.p.queue", id="queue"),
]


def problems(text: str) -> list[tuple[str, str]]:
    _, found = check(Network(tenants={}), read(text))
    return [(problem.path, problem.message) for problem in found]


def test_network_within_its_grant_has_no_problem() -> None:
    assert problems(BASE + GRANTED) == []
    assert problems(METERED + RATED) == []


@pytest.mark.parametrize(("old", "new", "path"), OUTSIDE)
def test_record_outside_its_grant_is_a_problem_with_its_path(old: str, new: str, path: str) -> None:
    assert old in BASE
    text = BASE.replace(old, new, 1).replace("tenants: {t: {}}", "tenants: {t: {}, x: {}}")
    assert not [p for p, _ in problems(text) if p == f"vns.v.{path}" and "grant" in _]
    found = dict(problems(text + GRANTED))
    assert "grant" in found[f"vns.v.{path}"], found


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (BASE, "vns.v.slices.q.profile", "has no rate"),
        (METERED.replace("10mbit", "11mbit"), "vns.v.slices", "add up to 11mbit, 10mbit granted"),
        (
            METERED.replace(
                "q: {key: 2, profile: p}", "q: {key: 2, profile: p}\n      r: {key: 1, profile: p}"
            ),
            "vns.v.slices",
            "add up to 20mbit",
        ),
    ],
    ids=["no rate", "one slice", "sum"],
)
def test_rates_beyond_the_grant_are_a_problem(text: str, path: str, message: str) -> None:
    assert any(p == path and message in said for p, said in problems(text + RATED))


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("keys: [1-2]", "keys: [0-2]", "grants.v.keys", "'0-2' is not a number or a range"),
        ("keys: [1-2]", "keys: [2-1]", "grants.v.keys", "'2-1' is not a number or a range"),
        ("keys: [1-2]", "keys: [4294967296]", "grants.v.keys", "within 1..4294967295"),
        ("{s1: [11-12]", "{s1: [510]", "grants.v.ports", "'510' is not"),
        ("{s1: [11-12], s3: [11, 20-29]}", "[11]", "grants.v.ports", "a mapping of switches"),
        ("s1: [11-12]", "s9: [11-12]", "grants.v.ports", "there is no switch 's9'"),
        ("peers: []", "peers: [x]", "grants.v.peers", "there is no peer 'x'"),
        ("max_slices: 2", "max_slices: 0", "grants.v.max_slices", "out of range"),
        ("max_queue: 1", "max_queue: 8", "grants.v.max_queue", "out of range 0..7"),
        ("max_queue: 1", "max_queues: 1", "grants.v.max_queues", "did you mean 'max_queue'"),
        ("tenant: t", "tenant: u", "grants.v.tenant", "there is no tenant 'u'"),
        ("    tenant: t\n", "", "grants.v", "tenant is missing"),
        ("max_queue: 1", "max_rate: fast", "grants.v.max_rate", "is not a rate"),
    ],
)
def test_mistake_in_a_grant_is_reported_with_its_path(
    old: str, new: str, path: str, message: str
) -> None:
    assert old in GRANTED
    found = problems(BASE + GRANTED.replace(old, new, 1))
    assert any(p == path and message in said for p, said in found), found


@pytest.mark.parametrize(
    ("more", "path", "message"),
    [
        ("  w: {tenant: t, keys: [3, 2-9]}", "grants.w.keys", "2-9 overlaps 1-2, granted to v"),
        ("  w: {tenant: t, keys: [3-9]}\n  x: {tenant: t, keys: [5]}", "grants.x.keys", "3-9"),
    ],
)
def test_key_granted_twice_is_a_problem(more: str, path: str, message: str) -> None:
    found = problems(BASE + GRANTED + more)
    assert any(p == path and message in said for p, said in found), found


def test_key_granted_to_another_network_is_a_problem() -> None:
    text = BASE.replace("b: {key: 3}", "b: {key: 2}").replace("q: {key: 2", "q: {key: 1")
    found = problems(text + GRANTED)
    assert ("vns.w.slices.b.key", "2 is granted to v") in found


@given(grants("v"))
def test_grant_rendered_is_read_back(grant: Grant) -> None:
    found = Problems()
    assert parse_grant("v", render_grant(grant), (), found) == grant
    assert not found.found


@given(grants("v"))
def test_grants_of_a_network_are_rendered_and_merged(grant: Grant) -> None:
    network = Network(grants={"v": grant})
    assert merge(Network(), read(str(render(network)).replace("'", '"'))).grants == network.grants


@given(st.sets(st.integers(1, 60), max_size=8), st.integers(0, 64))
def test_owner_of_a_key_is_found_among_ranges(ends: set[int], key: int) -> None:
    bounds = sorted(ends)
    spans = [
        (Span(low, high), f"v{low}") for low, high in zip(bounds[::2], bounds[1::2], strict=False)
    ]
    expected = next((name for span, name in spans if key in span), None)
    assert owner_of(spans, key) == expected
