"""Established flows while parts of the control plane are away: no packet is lost.

DFVISOR_OUTAGE_S seconds at DFVISOR_PPS packets/s (`make soak`: 60 and 10,000). A packet can also be
lost, or not be sent in time, because the machine has other things to do: so an attempt that fell
short is made again.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from emulation.demo.flows import SOURCES_PER_FLOW
from emulation.demo.probes import Load, Sent
from emulation.demo.run import Run
from emulation.emulation import ZOOKEEPER, Emulation
from emulation.outage import measure
from emulation.targets import Target
from emulation.zookeeper import Ensemble

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
OUTAGE_S = float(os.environ.get("DFVISOR_OUTAGE_S", "3"))
PACKETS_PER_S = int(os.environ.get("DFVISOR_PPS", "2000"))
SIZE_BYTES = 100
BURST = 20
LEAD_S = 0.5  # of the load before and after the outage
ATTEMPTS = 3
DEADLINE_S = 30.0
SOURCES = iter(range(40000, 49000, SOURCES_PER_FLOW))

pytestmark = pytest.mark.e2e


def lost_during(run: Run, name: str, outage: Callable[[], None], seconds: float) -> tuple[int, int]:
    """Packets of a flow sent and lost while the outage goes on."""
    flow = next(one for one in run.flows if one.name == name)
    flow = dataclasses.replace(flow, source=next(SOURCES))
    load = Load(
        ip=flow.ip, port=flow.port, source=flow.source, size_bytes=SIZE_BYTES, pps=PACKETS_PER_S
    )
    # established: the first packets have found their way
    assert None not in run.probes.flow(flow.source_host, flow.ip, flow.port, flow.source, 3)
    run.probes.swallowed(flow.destination_host)
    sent: list[Sent] = []
    sender = threading.Thread(
        target=lambda: sent.append(
            run.probes.load(flow.source_host, [load], seconds + 2 * LEAD_S, BURST)
        )
    )
    sender.start()
    time.sleep(LEAD_S)
    outage()
    sender.join()
    time.sleep(LEAD_S)  # what is under way arrives
    arrived = run.probes.swallowed(flow.destination_host).get(flow.port, 0)
    return sent[0].packets[0], sent[0].packets[0] - arrived


def assert_nothing_lost(
    run: Run, name: str, outage: Callable[[], None], seconds: float, after: Callable[[], None]
) -> None:
    losses: list[str] = []
    for _ in range(ATTEMPTS):
        count, lost = lost_during(run, name, outage, seconds)
        after()
        if not lost and count > 0.8 * PACKETS_PER_S * seconds:
            return
        losses.append(f"{lost} of {count}")
    pytest.fail(f"{name}: lost packets, or sent too few of them, in every attempt: {losses}")


@pytest.mark.parametrize("name", ["red/gold", "red/default"])
def test_zookeeper_stopped_costs_no_packet(running: Run, name: str) -> None:
    def stop() -> None:
        running.net.kill(ZOOKEEPER)

    def start() -> None:
        running.net.restart(ZOOKEEPER)
        running.net.dfvctl("apply", "--wait", str(EXAMPLES / "demo.yaml"), timeout_s=60)

    assert_nothing_lost(running, name, stop, OUTAGE_S, start)


def test_leader_of_an_ensemble_killed_costs_no_packet(target: Target, tmp_path: Path) -> None:
    office, changed = EXAMPLES / "two-switches.yaml", tmp_path / "changed.yaml"
    flows = [(5001, 40000), (4000, 40001)]  # voice, and best effort
    lost: list[str] = []
    with (
        Ensemble(tmp_path) as servers,
        Emulation(
            load_network(office),
            instance=f"q{os.getpid()}",
            target=target,
            vncs=1,
            servers=servers.address,
        ) as net,
    ):
        net.dfvctl("apply", "--wait", str(office), timeout_s=DEADLINE_S)
        net.wait_until(lambda: net.host("h1").ping("10.0.0.2").received == 1, "a way", DEADLINE_S)
        for _ in range(ATTEMPTS):
            leader = servers.leader()
            fared = measure(
                net,
                "h1",
                "h2",
                flows,
                partial(servers.kill, leader),
                pps=PACKETS_PER_S,
                seconds=OUTAGE_S,
            )
            assert servers.leader() != leader, "others have elected one of them"
            ports = f"5000-{5990 + len(lost)}"
            changed.write_text(office.read_text().replace("5000-5999", ports))
            net.dfvctl("apply", "--wait", str(changed), timeout_s=DEADLINE_S)
            servers.restart(leader)
            servers.wait_serving(leader)
            enough = PACKETS_PER_S * OUTAGE_S * 0.8 / len(flows)
            if all(one.lost == one.twice == 0 and one.sent > enough for one in fared.values()):
                return
            lost.append(str(fared))
    pytest.fail(f"lost packets, or sent too few of them, in every attempt: {lost}")


def test_agent_killed_and_started_again_costs_no_packet(running: Run) -> None:
    def restart() -> None:
        old = running.readings.agents().get("s1")
        running.net.kill("agent-s1")
        running.net.restart("agent-s1")
        running.net.wait_until(
            lambda: running.readings.agents().get("s1") not in (None, old), "the agent", DEADLINE_S
        )

    assert_nothing_lost(running, "red/gold", restart, max(OUTAGE_S, 5.0), lambda: None)
