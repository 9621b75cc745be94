"""Each slice's flow: its path and key on the wire, its first packet, its throughput."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from emulation.demo import wire
from emulation.demo.board import Board
from emulation.demo.flows import Flow
from emulation.demo.run import Run
from emulation.errors import EmulationError

FRESH_FLOWS = 12
PACKETS_PER_FLOW = 12
FIRST_WITHIN = 2.0  # of the steady median, plus FIRST_SLACK_MS
FIRST_SLACK_MS = 1.0
IPERF_S = 1
UDP_RATE = "2M"  # in 1,000-byte packets: far from a switch's limits, so nothing may be lost
UDP_BYTES = 1000
IPERF_DEADLINE_S = 15.0
VLAN_IDS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Round-trip times in ms: each fresh flow's first packet, and all later packets."""

    first: list[float]
    later: list[float]
    lost: int


def ask_afresh(run: Run, flow: Flow, flows: int = FRESH_FLOWS) -> Delays:
    """Send new flows, one after the other, each from a source port never used before."""
    first: list[float] = []
    later: list[float] = []
    lost = 0
    for number in range(flows):
        rtts = run.probes.flow(
            flow.source_host, flow.ip, flow.port, flow.source + number, PACKETS_PER_FLOW
        )
        lost += rtts.count(None)
        first += [rtt for rtt in rtts[:1] if rtt is not None]
        later += [rtt for rtt in rtts[1:] if rtt is not None]
    return Delays(first=first, later=later, lost=lost)


def measure_paths(run: Run, board: Board) -> None:
    """Keys, paths and first packets of every slice, from one capture on all fabric links."""
    flows = [flow for flow in run.flows if flow.udp]
    delays: dict[str, Delays] = {}
    with wire.Tap(run.net, "paths") as tap:
        for flow in flows:
            delays[flow.name] = ask_afresh(run, flow)
    rows = []
    for flow in flows:
        seen = wire.forward(tap.packets, flow)
        keys = wire.keys(seen)
        ways = wire.ways(seen, run.net.host(flow.source_host).plan.port.switch)
        delay = delays[flow.name]
        rows.append(
            [
                flow.name,
                f"{flow.source_host} -> {flow.destination_host} udp {flow.port}",
                ", ".join(str(key) for key in sorted(keys)) or "none",
                ", ".join(f"{' - '.join(way)}: {count}" for way, count in sorted(ways.items())),
                f"{median(delay.first):.2f}" if delay.first else "lost",
                f"{median(delay.later):.2f}" if delay.later else "lost",
                str(delay.lost),
            ]
        )
    board.table(
        f"Slices on the wire: {FRESH_FLOWS} new flows each, captured on all fabric links",
        ["slice", "flow", "GRE key", "paths: flows", "first ms", "steady ms", "lost"],
        rows,
    )
    own = _judge_paths(run, board, flows, tap)
    _judge_delays(board, flows, delays, own)


def _judge_paths(run: Run, board: Board, flows: list[Flow], tap: wire.Tap) -> bool:
    wrong = []
    for flow in flows:
        seen = wire.forward(tap.packets, flow)
        start = run.net.host(flow.source_host).plan.port.switch
        ways = set(wire.ways(seen, start))
        if set(wire.keys(seen)) != {flow.key} or not ways or not ways <= flow.ways:
            wrong.append(f"{flow.name}: keys {set(wire.keys(seen))}, paths {ways}")
    fine = board.check(
        "each slice has its own GRE key on the wire, and its own path",
        not wrong and bool(flows),
        "; ".join(wrong)
        or f"{len(tap.packets)} packets on {len(run.net.plan.links)} links (tshark)",
    )
    highest = max(wire.keys(tap.packets), default=0)
    by_source: dict[str, set[int]] = {}
    for packet in tap.packets:
        by_source.setdefault(packet.inner, set()).add(packet.key)
    shared = {
        ip: sorted({flow.vn for flow in flows if flow.key in seen_keys})
        for ip, seen_keys in by_source.items()
    }
    shared = {ip: vns for ip, vns in shared.items() if len(vns) > 1}
    if highest >= VLAN_IDS and fine:
        board.show(1, f"GRE keys up to {highest} on the wire (tshark)")
        for ip, vns in sorted(shared.items())[:1]:
            board.show(1, f"{ip} at once in VNs {' and '.join(vns)}, each under keys of its own")
    return fine


def _judge_delays(board: Board, flows: list[Flow], delays: dict[str, Delays], own: bool) -> None:
    slow = []
    qos = [flow for flow in flows if not flow.best_effort]
    for flow in flows:
        delay = delays[flow.name]
        if delay.lost or not delay.later:
            slow.append(f"{flow.name}: {delay.lost} packets lost")
        elif median(delay.first) > FIRST_WITHIN * median(delay.later) + FIRST_SLACK_MS:
            slow.append(
                f"{flow.name}: first {median(delay.first):.2f}, steady {median(delay.later):.2f} ms"
            )
    first = [rtt for flow in qos for rtt in delays[flow.name].first]
    later = [rtt for flow in qos for rtt in delays[flow.name].later]
    seen = ""
    if first and later:
        seen = (
            f"first packet of {len(first)} new QoS flows {median(first):.2f} ms (slowest "
            f"{max(first):.2f}), steady {median(later):.2f} ms, none lost"
        )
    fine = board.check(
        "the first packet of a new flow does not wait",
        not slow and bool(seen),
        "; ".join(slow) or seen,
    )
    if fine and own:  # in their own slices, not as best effort
        board.show(2, seen)


def measure_throughput(run: Run, board: Board) -> None:
    """iperf3 in every slice: TCP one after the other, then paced UDP in all at once."""
    run.listen(probes=False)  # the servers take their ports
    servers = start_servers(run, run.flows)
    try:
        tcp = {f.name: _iperf(run, f) for f in run.flows if f.tcp}
        with ThreadPoolExecutor(max(1, len(run.flows))) as pool:
            paced = [f for f in run.flows if f.udp]
            extra = ("-u", "-b", UDP_RATE, "-l", str(UDP_BYTES))
            udp = dict(
                zip(
                    (f.name for f in paced),
                    pool.map(lambda f: _iperf(run, f, *extra), paced),
                    strict=True,
                )
            )
    finally:
        for server in servers:
            server.kill()
            server.communicate()
        run.listen()
    rows = []
    for flow in run.flows:
        sent = tcp.get(flow.name)
        paced_end = udp.get(flow.name)
        rows.append(
            [
                flow.name,
                f"{flow.source_host} -> {flow.destination_host} port {flow.port}",
                f"{sent['bits_per_second'] / 1e6:.1f}" if sent else "-",
                f"{paced_end['bits_per_second'] / 1e6:.2f}" if paced_end else "-",
                f"{paced_end['lost_packets']:.0f} of {paced_end['packets']:.0f}"
                if paced_end
                else "-",
            ]
        )
    board.table(
        f"Throughput per slice (iperf3 {IPERF_S} s: TCP alone, UDP {UDP_RATE}bit/s all at once)",
        ["slice", "flow", "TCP Mbit/s", "UDP Mbit/s", "UDP lost"],
        rows,
    )
    idle = [name for name, end in tcp.items() if end["bits_per_second"] < 1e6]
    lossy = [name for name, end in udp.items() if end["lost_packets"] or not end["packets"]]
    board.check(
        "iperf3 passes in every slice, TCP and UDP",
        not idle and not lossy and bool(tcp) and bool(udp),
        "; ".join([f"{n}: TCP under 1 Mbit/s" for n in idle] + [f"{n}: UDP lost" for n in lossy])
        or f"{len(tcp)} TCP and {len(udp)} UDP runs, no paced datagram lost",
    )


def start_servers(run: Run, flows: Sequence[Flow]) -> list[subprocess.Popen[str]]:
    """An iperf3 server for every (host, port) that is a flow's destination; ready on return."""
    servers = []
    for name, port in sorted({(f.destination_host, f.port) for f in flows}):
        host = run.net.host(name)
        server = host.start(["iperf3", "-s", "-p", str(port), "--forceflush"])
        servers.append(server)
        assert server.stdout
        while line := server.stdout.readline():
            if "listening" in line:
                break
        else:
            raise EmulationError(f"iperf3 -s on {name} ended: {server.communicate()[1].strip()}")
    return servers


def _iperf(run: Run, flow: Flow, *extra: str) -> dict[str, float]:
    """One iperf3 run as a client; the figures at the receiving end."""
    argv = ["iperf3", "-J", "-c", flow.ip, "-p", str(flow.port), "-t", str(IPERF_S)]
    argv += ["--connect-timeout", "3000", *extra]
    done = run.net.host(flow.source_host).run(argv, timeout_s=IPERF_DEADLINE_S)
    report = json.loads(done.stdout)
    if "error" in report:
        raise EmulationError(f"iperf3 in {flow.name}: {report['error']}")
    received = report["end"]["sum_received" if "-u" not in extra else "sum"]
    return {k: float(v) for k, v in received.items() if isinstance(v, int | float)}
