"""What must not cost a packet, and what every frame on the fabric must look like to tshark."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from emulation.demo.flows import SOURCES_PER_FLOW
from emulation.demo.probes import Load, Sent
from emulation.demo.run import Run
from emulation.dissect import complaints, plain_gre
from emulation.targets import Target

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
CHUNK_S = 0.5
PACKET_BYTES = 100
# packets per second, and how many in a row; BMv2 as far as three of them go here
LOAD = {Target.SOFTSWITCH: (10_000, 200), Target.BMV2: (200, 5)}
BURST = 1_000
DEADLINE_S = 10.0
SOURCE = 50_000 - SOURCES_PER_FLOW  # no other test's
CHANGED = "vns: {red: {profiles: {silver: {queue: 2, dscp: 28}}}}"

pytestmark = pytest.mark.e2e


def test_slice_added_changed_and_deleted_costs_no_packet_of_another(
    running: Run, target: Target, tmp_path: Path
) -> None:
    """blue's gold slice under load while red's slices come, change and go on the same switches."""
    flow = next(flow for flow in running.flows if flow.name == "blue/gold")
    pps, burst = LOAD[target]
    changed = tmp_path / "changed.yaml"
    changed.write_text(f"schema: 1\n{CHANGED}\n")
    steps = [
        ("apply", "--wait", str(EXAMPLES / "add-slice.yaml")),
        ("apply", "--wait", str(changed)),
        ("delete", "slice", "red", "bronze", "--cascade", "--wait"),
    ]
    load = Load(ip=flow.ip, port=flow.port, source=SOURCE, size_bytes=PACKET_BYTES, pps=pps)
    ends = running.net.host(flow.source_host), running.net.host(flow.destination_host)
    assert ends[0].ping(flow.ip, 2).received == 2  # its neighbour is known
    before = ends[0].counters().tx_packets, ends[1].counters().rx_packets

    def send() -> list[Sent]:
        sent: list[Sent] = []
        while not changing.done() or not sent:
            sent.append(running.probes.load(flow.source_host, [load], CHUNK_S, burst))
        return sent

    with ThreadPoolExecutor(2) as pool:
        changing = pool.submit(lambda: [running.net.dfvctl(*step) for step in steps])
        sent = pool.submit(send).result()
        changing.result()
    try:
        packets = sum(chunk.packets[0] for chunk in sent)
        _settled(lambda: ends[1].counters().rx_packets)
        assert ends[0].counters().tx_packets - before[0] == packets
        assert ends[1].counters().rx_packets - before[1] == packets
        offered = packets / sum(chunk.seconds for chunk in sent)
        assert offered >= 0.9 * pps, f"this machine sends no more than {offered:.0f} packets/s"
    finally:
        running.net.dfvctl("apply", "--wait", str(EXAMPLES / "demo.yaml"))


def test_burst_to_an_idle_switch_is_forwarded_whole(running: Run, target: Target) -> None:
    """1,000 packets back to back; BMv2's queues hold 64, so it gets no more."""
    flow = next(flow for flow in running.flows if flow.name == "red/default")
    source, destination = running.net.host("r1"), running.net.host("r2")
    count = BURST if target is Target.SOFTSWITCH else 32
    assert source.ping(flow.ip, 2).received == 2  # its neighbour is known
    _settled(lambda: destination.counters().rx_packets)
    before = source.counters().tx_packets, destination.counters().rx_packets
    seconds = running.probes.burst("r1", flow.ip, flow.port, SOURCE, PACKET_BYTES, count)
    got = _settled(lambda: destination.counters().rx_packets)
    assert source.counters().tx_packets - before[0] == count
    assert got - before[1] == count
    assert seconds < 0.5, "that was no burst"


def test_every_frame_on_the_fabric_is_plain_to_tshark(running: Run, tmp_path: Path) -> None:
    """All of the demo's flows, floods and pings, and the agents' probes, captured whole on all
    links. What is no GRE is the agents' LLDP.
    """
    links = running.net.plan.links
    captures = [
        running.net.switch(near.switch).capture(
            near.port, tmp_path / f"{near.switch}-{near.port}.pcap", whole=True
        )
        for near, _ in links
    ]
    for number, flow in enumerate(flow for flow in running.flows if flow.udp):
        source = SOURCE + 20 + number
        assert None not in running.probes.flow(flow.source_host, flow.ip, flow.port, source, 3)
        assert running.net.host(flow.source_host).ping(flow.ip, 2).received == 2
        running.net.host(flow.source_host).run(["ping", "-b", "-c1", "-W1", "10.0.0.255"])
    files = [capture.stop() for capture in captures]
    frames = plain = 0
    for file in files:
        frames += _frames(file)
        plain += plain_gre(file)
        assert complaints(file) == []
    assert plain == frames > 0


def _frames(file: Path) -> int:
    listed = subprocess.run(
        ["tshark", "-n", "-r", str(file), "-Y", "not lldp"],
        capture_output=True,
        text=True,
        check=True,
    )
    return len(listed.stdout.splitlines())


def _settled(read: Callable[[], int]) -> int:
    """A counter when it has stopped moving."""
    last, since = read(), time.monotonic()
    while time.monotonic() - since < 0.3:
        time.sleep(0.02)
        if (now := read()) != last:
            last, since = now, time.monotonic()
    return last
