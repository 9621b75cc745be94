"""Stages of a change, by slice; and how they are shown."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from dfvisor.agent.tracing import Tracer
from dfvisor.cli.latency import latency_table, quantile
from dfvisor.errors import DFVisorError
from dfvisor.metrics import Reading, serve
from dfvisor.model.description import load_network
from dfvisor.store.codec import Key
from dfvisor.store.stats import LATENCY_BOUNDS_MS, SwitchStats
from rich.console import Console

RED = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml").vns["red"]


def read(tracer: Tracer, revision: int, touched: set[Key] | None, now: float = 10.002) -> None:
    tracer.read(RED, revision, revision, 10.0, touched, now)


def found(tracer: Tracer) -> dict[tuple[str, str], tuple[int, float]]:
    """(slice, stage) -> changes, ms of all."""
    return {
        (one.slice, one.stage): (sum(one.cells), round(one.sum_ms, 3))
        for one in tracer.histograms()
    }


def test_change_of_a_qos_flowspace_is_active_with_its_last_stage() -> None:
    tracer = Tracer()
    read(tracer, 2, {("flowspaces", "gold-tcp")})
    tracer.edge("red", 2, 10.004)
    tracer.slicer("red", 2, 10.005)
    tracer.slicer("red", 2, 10.006)  # another message of the same revision
    assert ("gold", "active") not in found(tracer)
    tracer.switch("red", 2, 10.007)
    assert found(tracer) == {
        ("gold", "read"): (1, 2.0),
        ("gold", "edge"): (1, 4.0),
        ("gold", "slicer"): (1, 5.0),
        ("gold", "switch"): (1, 7.0),
        ("gold", "active"): (1, 7.0),
    }
    tracer.edge("red", 2, 99.0)
    assert found(tracer)["gold", "active"] == (1, 7.0), "once"


def test_change_is_active_with_the_edge_where_its_flow_entries_were_there_before() -> None:
    tracer = Tracer()
    read(tracer, 2, {("flowspaces", "gold-tcp")})
    tracer.slicer("red", 2, 10.003)
    tracer.written("red", 2, 10.004)
    tracer.written("red", 2, 10.005)  # the last of them
    tracer.edge("red", 2, 10.008)
    tracer.switch("red", 2, 10.02)  # and nothing is left of the state before
    assert found(tracer)["gold", "switch"] == (1, 5.0)
    assert found(tracer)["gold", "active"] == (1, 8.0)


def test_change_of_best_effort_waits_for_no_flow_entries() -> None:
    tracer = Tracer()
    best = RED.best_effort_slice.name
    read(tracer, 2, {("slices", best)})
    tracer.edge("red", 2, 10.01)
    assert found(tracer)[best, "active"] == (1, 10.0)


def test_later_revision_completes_those_before() -> None:
    tracer = Tracer()
    for revision in (2, 3, 4):
        read(tracer, revision, {("flowspaces", "gold-tcp")})
    tracer.edge("red", 3, 10.01)
    tracer.switch("red", 4, 10.02)
    assert found(tracer)["gold", "active"][0] == 2
    tracer.edge("red", 4, 10.03)
    assert found(tracer)["gold", "active"][0] == 3


@pytest.mark.parametrize("touched", [set(), {("endpoints", "r1")}, {("flowspaces", "gone")}])
def test_change_of_the_whole_vn_concerns_all_slices(touched: set[Key]) -> None:
    tracer = Tracer()
    read(tracer, 2, touched)
    assert {slice_ for slice_, _ in found(tracer)} == set(RED.slices)


def test_who_was_away_measures_nothing() -> None:
    tracer = Tracer()
    read(tracer, 2, None, 99.0)
    tracer.edge("red", 2, 99.0)
    assert tracer.histograms() == ()


def stats_of(tracer: Tracer, switch: str) -> SwitchStats:
    return SwitchStats(switch=switch, at=1.0, latency=tracer.histograms())


def test_latency_is_shown_for_all_switches_or_each() -> None:
    tracers = [Tracer(), Tracer()]
    for place, tracer in enumerate(tracers):
        for revision in range(2, 52):
            read(tracer, revision, {("flowspaces", "gold-tcp")})
            tracer.edge("red", revision, 10.0025 + place * 0.1)
            tracer.switch("red", revision, 10.0035)
    reading = {f"s{n}": stats_of(tracer, f"s{n}") for n, tracer in enumerate(tracers, 1)}

    def rows(vn: str | None, per_switch: bool) -> list[list[str]]:
        console = Console(width=200)
        with console.capture() as captured:
            console.print(latency_table(reading, vn, per_switch))
        return [line.replace("<= ", "").split() for line in captured.get().splitlines()]

    assert ["red", "gold", "edge", "all", "100", "52.5", "3", "200"] in rows(None, False)
    assert ["red", "gold", "edge", "s1", "50", "2.5", "3", "3"] in rows("red", True)
    assert ["red", "gold", "active", "s2", "50", "3.5", "4", "4"] in rows("red", True)
    assert not [row for row in rows("blue", False) if row[:1] == ["red"]]


def test_quantile_beyond_all_cells() -> None:
    cells = [0] * len(LATENCY_BOUNDS_MS) + [3]
    assert quantile(cells, 0.5) == "> 30000"


def test_metrics_are_served_as_prometheus_reads_them() -> None:
    tracer = Tracer()
    read(tracer, 2, {("flowspaces", "gold-tcp")})
    tracer.edge("red", 2, 10.004)

    def now() -> Reading:
        return Reading(
            labels={"switch": "s1"},
            database_age_s=12.5,
            local_database_ok=False,
            revisions={"red": 2},
            latency=tracer.histograms(),
        )

    port = serve("127.0.0.1:0", now)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    labels = 'slice="gold",stage="edge",switch="s1",vn="red"'
    for line in (
        'dfvisor_database_age_seconds{switch="s1"} 12.5',
        'dfvisor_local_database_ok{switch="s1"} 0.0',
        'dfvisor_vn_revision{switch="s1",vn="red"} 2.0',
        f'dfvisor_propagation_seconds_bucket{{le="0.003",{labels}}} 0.0',
        f'dfvisor_propagation_seconds_bucket{{le="0.004",{labels}}} 1.0',
        f'dfvisor_propagation_seconds_bucket{{le="+Inf",{labels}}} 1.0',
        f"dfvisor_propagation_seconds_count{{{labels}}} 1.0",
    ):
        assert line in lines, line
    with pytest.raises(DFVisorError, match="expected HOST:PORT"):
        serve("nonsense", now)
    with pytest.raises(DFVisorError, match="in use"):
        serve(f"127.0.0.1:{port}", now)
