"""What ends, and what keeps forwarding: VN controllers, then ZooKeeper."""

from __future__ import annotations

import contextlib
import time

from dfvisor.errors import StoreUnavailable

from emulation.demo.board import Board
from emulation.demo.flows import SOURCES_PER_FLOW, Flow
from emulation.demo.probes import Stream
from emulation.demo.run import Run
from emulation.demo.slices import ask_afresh
from emulation.emulation import ZOOKEEPER
from emulation.errors import EmulationError

INTERVAL_S = 0.01
TAKEOVER_DEADLINE_S = 12.0
OUTAGE_S = 1.0  # how long packets are watched with everything stopped
RECOVERY_DEADLINE_S = 20.0
FLOWS = 3
POLL_S = 0.05


def measure(run: Run, board: Board) -> None:
    """Kill the leading VN controller; then all of them; then ZooKeeper; then start all again.

    All the while one QoS flow is asked and answered.
    """
    flow = next((f for f in run.flows if f.udp and not f.best_effort), None)
    if flow is None:
        return
    source = flow.source + SOURCES_PER_FLOW // 2
    vncs = [name for name in run.net.processes() if name.startswith("vnc-")]
    run.probes.start_stream(flow.source_host, flow.ip, flow.port, source, INTERVAL_S)
    leader, successor, takeover_s = _kill_leader(run, flow.vn)
    for name in vncs:
        if name != leader:
            run.net.kill(name)
    run.readings.stats_of(flow.path, after=time.time())
    last = run.readings.active(flow.vn)
    run.net.kill(ZOOKEEPER)
    fresh = [ask_afresh(run, f, FLOWS) for f in run.flows if f.udp]
    time.sleep(OUTAGE_S)
    begin = time.time()
    run.net.restart(ZOOKEEPER)
    for name in vncs:
        run.net.restart(name)
    recovered_s = _recover(run, flow, last.election_id if last else 0, begin)
    stream = run.probes.stop_stream(flow.source_host)
    lost = sum(delays.lost for delays in fresh)
    _judge(board, flow, leader, successor, takeover_s, stream, lost, recovered_s)
    board.show(
        3,
        f"with every VN controller dead, so no control channel, new counters of "
        f"{len(flow.path)} switches arrived over ZooKeeper",
    )


def _kill_leader(run: Run, vn: str) -> tuple[str, str, float]:
    """Kill -9 the daemon that leads the VN: its name, its successor's, and the seconds between."""
    active = run.readings.active(vn)
    leader = active.leader if active else ""
    if leader not in run.net.processes():
        raise EmulationError(f"VN {vn} is led by {leader!r}, which is not one of our processes")
    begin = time.monotonic()
    run.net.kill(leader)
    end = begin + TAKEOVER_DEADLINE_S
    while time.monotonic() < end:
        active = run.readings.active(vn)
        if active and active.leader and active.leader != leader:
            return leader, active.leader, time.monotonic() - begin
        time.sleep(0.02)
    return leader, "", time.monotonic() - begin


def _recover(run: Run, flow: Flow, old_id: int, begin: float) -> float | None:
    """Seconds since `begin` until counters flow again and the VN has a leader; None if not."""
    end = begin + RECOVERY_DEADLINE_S
    while time.time() < end:
        run.net.check()
        with contextlib.suppress(StoreUnavailable):  # our own session comes back, too
            active = run.readings.active(flow.vn)
            led = active and active.election_id != old_id
            if led and len(run.readings.agents()) == len(run.net.switches):
                run.readings.stats_of(flow.path, after=begin)
                return time.time() - begin
        time.sleep(POLL_S)
    return None


def _judge(
    board: Board,
    flow: Flow,
    leader: str,
    successor: str,
    takeover_s: float,
    stream: Stream,
    lost_fresh: int,
    recovered_s: float | None,
) -> None:
    took = board.check(
        "another VN controller takes over when the leader is killed",
        bool(successor),
        f"{leader} killed (-9), {successor or 'nobody'} leads {flow.vn} after {takeover_s:.1f} s",
    )
    kept = board.check(
        "with all VN controllers and then ZooKeeper stopped, packets keep flowing",
        stream.lost == 0 and lost_fresh == 0 and stream.sent > 0,
        f"{flow.name}: {stream.lost} of {stream.sent} packets lost, longest silence "
        f"{stream.gap_ms:.0f} ms; new flows in all slices: {lost_fresh} lost",
    )
    board.check(
        "afterwards all catch up by themselves",
        recovered_s is not None,
        f"{recovered_s:.1f} s from starting ZooKeeper to a leader and fresh counters"
        if recovered_s is not None
        else "no leader, or no counters",
    )
    if took:
        board.show(6, f"leading VN controller killed, taken over after {takeover_s:.1f} s")
    if kept:
        board.show(
            6, f"{stream.sent} packets sent meanwhile and without ZooKeeper, {stream.lost} lost"
        )
