"""A slice's rate: offered more than its peak, how much arrives, in which colour, who drops."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from dfvisor.model.records import Profile, Rate

from emulation.demo.board import Board
from emulation.demo.flows import Flow
from emulation.demo.probes import Load
from emulation.demo.run import Run
from emulation.errors import EmulationError
from emulation.nodes import decode

SECONDS = 1.5
ATTEMPTS = 3
DRAIN_S = 0.1
PAYLOAD_BYTES = 1000
FRAME_BYTES = 14 + 20 + 8 + PAYLOAD_BYTES  # what the meter counts
OFFERED = 2  # times the peak
MOST_OFFERED_PPS = 3000  # what a slow switch carries beside everything else
TOLERANCE = 0.15
LOSS = 0.02  # of the packets, elsewhere: BMv2's queues of 64 overflow when the machine is busy
DROP_DEADLINE_S = 8.0
SOURCE_OFFSET = 150  # in the flow's own range of source ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a meter with full buckets lets pass in a time, in frames. (What is green takes from both
    buckets, so yellow is the difference.)"""

    passed: float
    green: float

    @classmethod
    def of(cls, rate: Rate, seconds: float) -> Expected:
        peak = rate.peak_bytes_per_s * seconds + rate.peak_burst_bytes
        committed = rate.committed_bytes_per_s * seconds + rate.committed_burst_bytes
        return cls(passed=peak / FRAME_BYTES, green=min(peak, committed) / FRAME_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Packets sent, arrived, dropped as `slice_meter`, and seen on the link by their DSCP."""

    sent: int
    arrived: int
    dropped: int
    colours: Counter[int]
    seconds: float

    @property
    def lost(self) -> int:
        return self.sent - self.arrived

    def mbit(self, frames: int) -> str:
        return f"{frames * FRAME_BYTES * 8 / self.seconds / 1e6:.2f}"


def near(value: float, expected: float) -> bool:
    return abs(value - expected) <= TOLERANCE * expected


def choose(run: Run) -> tuple[Flow, Profile, Rate] | None:
    """The flow whose slice has the lowest peak rate, if we can offer more than that."""
    found = []
    for flow in run.flows:
        profile = profile_of(run, flow)
        if profile and profile.rate and flow.udp and len(flow.path) > 1:
            found.append((profile.rate.peak_bps, flow.name, flow, profile, profile.rate))
    found = [f for f in sorted(found) if OFFERED * f[0] / 8 / FRAME_BYTES <= MOST_OFFERED_PPS]
    return found[0][2:] if found else None


def measure(run: Run, board: Board) -> None:
    """Offer more than the peak rate; again, where a busy machine could not."""
    chosen = choose(run)
    if chosen is None:
        return
    flow, profile, rate = chosen
    for _ in range(ATTEMPTS):
        offered, found = _offer(run, flow, rate)
        if offered and found.lost <= found.dropped + LOSS * found.sent:
            break
    _judge(board, flow, profile, rate, found)


def _offer(run: Run, flow: Flow, rate: Rate) -> tuple[bool, Found]:
    """Offer OFFERED times the peak for SECONDS, captured on the first link of the path: whether it
    could be sent, and what became of it.
    """
    start = flow.path[0]
    load = Load(
        ip=flow.ip,
        port=flow.port,
        source=flow.source + SOURCE_OFFSET,
        size_bytes=PAYLOAD_BYTES,
        pps=OFFERED * rate.peak_bytes_per_s / FRAME_BYTES,
    )
    file = run.net.instance.directory / "metering.pcap"
    before = _drops(run, flow, start)
    run.probes.swallowed(flow.destination_host)
    with run.net.switch(start).capture(first_port(run, flow), file, only="ip proto 47"):
        sent = run.probes.load(flow.source_host, [load], SECONDS)
        time.sleep(DRAIN_S)
    (packets,) = sent.packets
    only = f"udp.srcport == {load.source} && udp.dstport == {flow.port}"
    marks = decode(file, ["ip.dsfield.dscp"], only=only)
    file.unlink()
    arrived = run.probes.swallowed(flow.destination_host).get(flow.port, 0)
    return sent.offered([load]), Found(
        sent=packets,
        arrived=arrived,
        dropped=_await_drops(run, flow, start, before + packets - arrived) - before,
        colours=Counter(int(values.split(",")[0]) for (values,) in marks),
        seconds=sent.seconds,
    )


def _judge(board: Board, flow: Flow, profile: Profile, rate: Rate, found: Found) -> None:
    green, yellow = profile.dscp, profile.dscp_yellow
    expected = Expected.of(rate, found.seconds)
    notes = {
        "offered": (found.sent, ""),
        "delivered": (
            found.arrived,
            f"peak {rate.peak_bps / 1e6:g}, and one burst: {expected.passed:.0f} packets",
        ),
        "dropped (slice_meter)": (found.dropped, "counters in ZooKeeper"),
    }
    for dscp, count in sorted(found.colours.items()):
        colour = "green" if dscp == green else "yellow" if dscp == yellow else "unknown"
        notes[f"on the wire with DSCP {dscp}"] = (count, f"{colour} (tshark)")
    board.table(
        f"Metering of {flow.name}: committed {rate.committed_bps / 1e6:g}, peak "
        f"{rate.peak_bps / 1e6:g} Mbit/s, {found.seconds:.1f} s at {OFFERED} times the peak",
        ["packets", "number", "Mbit/s", ""],
        [[what, str(count), found.mbit(count), note] for what, (count, note) in notes.items()],
    )
    board.check(
        f"slice {flow.name} gets its peak rate and no more; what exceeds it is counted",
        near(found.arrived, expected.passed)
        and 0 < found.dropped <= found.lost <= found.dropped + LOSS * found.sent,
        f"offered {found.mbit(found.sent)}, delivered {found.mbit(found.arrived)} Mbit/s of "
        f"{rate.peak_bps / 1e6:g}; {found.lost} packets lost, "
        f"{found.dropped} counted as slice_meter",
    )
    share = found.colours[yellow] / max(1, found.colours.total())
    board.check(
        "what exceeds the committed rate is marked with a higher drop precedence",
        yellow != green
        and set(found.colours) == {green, yellow}
        and near(found.colours[green], expected.green)
        and near(found.colours[yellow], expected.passed - expected.green),
        f"{share:.0%} of the delivered with DSCP {yellow} (yellow), the rest with {green}; "
        f"expected {1 - expected.green / expected.passed:.0%}",
    )


def profile_of(run: Run, flow: Flow) -> Profile | None:
    vn = run.network.vns[flow.vn]
    name = vn.slices[flow.slice].profile
    return vn.profiles[name] if name else None


def first_port(run: Run, flow: Flow) -> int:
    """The fabric port of the first switch towards the second."""
    for a, b in run.net.plan.links:
        for near_end, far_end in ((a, b), (b, a)):
            if (near_end.switch, far_end.switch) == flow.path[:2]:
                return near_end.port
    raise EmulationError(f"there is no link {flow.path[0]} - {flow.path[1]}")


def _drops(run: Run, flow: Flow, switch: str) -> int:
    stats = run.readings.stats().get(switch)
    drops = stats.drops if stats else ()
    mine = [d for d in drops if (d.vn, d.slice) == (flow.vn, flow.slice)]
    return sum(d.packets for d in mine if d.reason == "slice_meter")


def _await_drops(run: Run, flow: Flow, switch: str, expected: int) -> int:
    """The counter when it has come to what is expected, or at the deadline."""
    try:
        run.net.wait_until(
            lambda: _drops(run, flow, switch) >= expected, "the counters", DROP_DEADLINE_S
        )
    except EmulationError:
        run.net.check()  # a switch that has ended is another matter
    return _drops(run, flow, switch)
