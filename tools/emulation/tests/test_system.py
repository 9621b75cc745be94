"""The whole system on real packets: what must hold when slices, VNs and processes come and go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulation.demo import wire
from emulation.demo.flows import SOURCES_PER_FLOW, Flow
from emulation.demo.run import Run
from emulation.demo.slices import ask_afresh
from emulation.emulation import ZOOKEEPER
from emulation.errors import EmulationError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FLOWS = 2
DEADLINE_S = 20.0
OVERLAP = "vns: {red: {flowspaces: {f: {priority: 100, match: {ip_proto: tcp}, slice: silver}}}}"
SOURCES = iter(range(50000, 65000, SOURCES_PER_FLOW))

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def alive(running: Run) -> Iterator[None]:
    """No process may have ended that the test did not end."""
    yield
    running.net.check()


def flow_of(run: Run, name: str) -> Flow:
    found = next(f for f in [*run.flows, *([run.added] if run.added else [])] if f.name == name)
    return dataclasses.replace(found, source=next(SOURCES))


def keys_of(run: Run, flow: Flow) -> tuple[set[int], int]:
    """The GRE keys under which new packets of the flow travel, and how many were lost."""
    with wire.Tap(run.net, "test") as tap:
        lost = ask_afresh(run, flow, FLOWS).lost
    return set(wire.keys(wire.forward(tap.packets, flow))), lost


@pytest.mark.parametrize(
    "name", ["red/default", "red/gold", "red/silver", "blue/default", "blue/gold", "green/default"]
)
def test_slice_traffic_travels_under_its_own_key_only(running: Run, name: str) -> None:
    flow = flow_of(running, name)
    assert keys_of(running, flow) == ({flow.key}, 0)


def test_slice_added_and_deleted_live_moves_its_traffic(running: Run) -> None:
    bronze = flow_of(running, "red/bronze")
    default = flow_of(running, "red/default").key
    assert keys_of(running, bronze) == ({default}, 0)
    running.net.dfvctl("apply", "--wait", str(EXAMPLES / "add-slice.yaml"))
    assert keys_of(running, flow_of(running, "red/bronze")) == ({bronze.key}, 0)
    running.net.dfvctl("delete", "slice", "red", "bronze", "--cascade", "--wait")
    assert keys_of(running, flow_of(running, "red/bronze")) == ({default}, 0)


def test_vn_deleted_stops_its_traffic_and_no_other(running: Run) -> None:
    green, red = flow_of(running, "green/default"), flow_of(running, "red/gold")
    host = running.net.host(green.source_host)
    assert host.ping(green.ip, 3).received == 3
    running.net.dfvctl("delete", "vn", "green", "--wait")
    assert host.ping(green.ip, 2, wait_s=0.5).received == 0
    assert keys_of(running, red) == ({red.key}, 0)
    running.net.dfvctl("apply", "--wait", str(EXAMPLES / "demo.yaml"))
    assert host.ping(green.ip, 3).received == 3


def test_denied_flowspace_passes_nothing(running: Run) -> None:
    r1 = running.net.host("r1")
    refused = r1.run(["timeout", "1", "bash", "-c", "echo >/dev/tcp/10.0.0.2/24"])
    denied = r1.run(["timeout", "1", "bash", "-c", "echo >/dev/tcp/10.0.0.2/23"])
    assert "refused" in refused.stderr  # r2 answered: nobody listens there
    assert denied.returncode == 124  # nothing came back at all


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vns: {red: {slices: {x: {key: 70001, profile: gold}}}}", "70001"),
        ("vns: {red: {flowspaces: {f: {priority: 7, match: {}, slice: nope}}}}", "nope"),
        ("vns: {red: {slices: {x: {key: 4294967296, profile: gold}}}}", "key"),
        ("vns: {red: [", "bad.yaml:3: .*not YAML"),
        ('vns: {red: {endpoints: {x: {mac: "02:00:00:00:00:09", port: "s9:1"}}}}', "s9"),
        (OVERLAP, "priority 100"),
    ],
    ids=["duplicate key", "unknown slice", "key range", "broken YAML", "no such port", "overlap"],
)
def test_bad_description_is_refused_and_changes_nothing(
    running: Run, tmp_path: Path, text: str, expected: str
) -> None:
    before = running.net.dfvctl("get", "-o", "json").stdout
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"schema: 1\n{text}\n")
    with pytest.raises(EmulationError, match=expected):
        running.net.dfvctl("apply", str(bad))
    assert running.net.dfvctl("get", "-o", "json").stdout == before


def test_agent_killed_and_restarted_costs_no_packet(running: Run) -> None:
    flow = flow_of(running, "red/gold")
    running.probes.start_stream(flow.source_host, flow.ip, flow.port, flow.source, 0.01)
    running.net.kill("agent-s1")
    old = running.readings.agents().get("s1")
    running.net.restart("agent-s1")
    running.net.wait_until(
        lambda: running.readings.agents().get("s1") not in (None, old), "the agent", DEADLINE_S
    )
    running.net.dfvctl("apply", "--wait", str(EXAMPLES / "demo.yaml"))
    stream = running.probes.stop_stream(flow.source_host)
    assert stream.sent > 10
    assert stream.lost == 0


def test_switch_restarted_empty_gets_everything_back(running: Run) -> None:
    flow = flow_of(running, "red/gold")
    running.net.restart("switch-s2")  # in the middle of gold's path

    def back() -> bool:
        probe = dataclasses.replace(flow, source=next(SOURCES))
        return not running.probes.flow(
            probe.source_host, probe.ip, probe.port, probe.source, 1
        ).count(None)

    running.net.wait_until(back, "gold to pass the restarted switch", DEADLINE_S)
    flow = flow_of(running, "red/gold")
    assert keys_of(running, flow) == ({flow.key}, 0)
    green = flow_of(running, "green/default")
    assert keys_of(running, green) == ({green.key}, 0)


def test_vncs_and_zookeeper_stopped_keep_forwarding_and_catch_up(running: Run) -> None:
    vncs = [name for name in running.net.processes() if name.startswith("vnc-")]
    flow = flow_of(running, "red/silver")
    running.probes.start_stream(flow.source_host, flow.ip, flow.port, flow.source, 0.01)
    for name in vncs:
        running.net.kill(name)
    for name in ("red/gold", "blue/gold", "green/default"):
        probe = flow_of(running, name)
        assert keys_of(running, probe) == ({probe.key}, 0)
    running.net.kill(ZOOKEEPER)
    for name in ("red/gold", "blue/gold", "green/default"):
        probe = flow_of(running, name)
        assert keys_of(running, probe) == ({probe.key}, 0)
    running.net.restart(ZOOKEEPER)
    for name in vncs:
        running.net.restart(name)
    running.net.dfvctl("apply", "--wait", str(EXAMPLES / "add-slice.yaml"), timeout_s=60)
    bronze = flow_of(running, "red/bronze")
    assert keys_of(running, bronze) == ({bronze.key}, 0)
    running.net.dfvctl("delete", "slice", "red", "bronze", "--cascade", "--wait")
    stream = running.probes.stop_stream(flow.source_host)
    assert stream.sent > 100
    assert stream.lost == 0, _story(running, *vncs, *(f"agent-{name}" for name in flow.path))


def _story(running: Run, *processes: str) -> str:
    """What may tell why packets were lost: counters of drops, the state of all, ends of logs."""
    told = [running.net.dfvctl(command).stdout for command in ("stats", "status")]
    return "\n".join([*told, *(running.net.tail(process) for process in processes)])
