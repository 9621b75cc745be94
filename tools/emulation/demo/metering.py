"""A slice's rate: offered more than its peak, how much arrives, in which colour, who drops."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from dfvisor.model.records import Profile, Rate

from emulation.demo.board import Board
from emulation.demo.flows import Flow
from emulation.demo.probes import Load
from emulation.demo.run import Run
from emulation.errors import EmulationError
from emulation.nodes import decode

SECONDS = 2.0
PAYLOAD_BYTES = 1000
FRAME_BYTES = 14 + 20 + 8 + PAYLOAD_BYTES  # what the meter counts
OFFERED = 2  # times the peak
MOST_OFFERED_PPS = 3000  # what a slow switch carries beside everything else
TOLERANCE = 0.15
DROP_DEADLINE_S = 8.0
SOURCE_OFFSET = 150  # in the flow's own range of source ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a meter with full buckets lets pass in a time, in frames."""

    passed: float
    green: float

    @classmethod
    def of(cls, rate: Rate, seconds: float) -> Expected:
        peak = rate.peak_bytes_per_s * seconds + rate.peak_burst_bytes
        committed = rate.committed_bytes_per_s * seconds + rate.committed_burst_bytes
        return cls(passed=peak / FRAME_BYTES, green=min(peak, committed) / FRAME_BYTES)


def near(value: float, expected: float) -> bool:
    return abs(value - expected) <= TOLERANCE * expected


def choose(run: Run) -> tuple[Flow, Profile, Rate] | None:
    """The flow whose slice has the lowest peak rate, if we can offer more than that."""
    found = []
    for flow in run.flows:
        profile = _profile(run, flow)
        if profile and profile.rate and flow.udp and len(flow.path) > 1:
            found.append((profile.rate.peak_bps, flow.name, flow, profile, profile.rate))
    found = [f for f in sorted(found) if OFFERED * f[0] / 8 / FRAME_BYTES <= MOST_OFFERED_PPS]
    return found[0][2:] if found else None


def measure(run: Run, board: Board) -> None:
    """Offer OFFERED times the peak for SECONDS, captured on the first link of the path."""
    chosen = choose(run)
    if chosen is None:
        return
    flow, profile, rate = chosen
    start = flow.path[0]
    pps = OFFERED * rate.peak_bytes_per_s / FRAME_BYTES
    source = flow.source + SOURCE_OFFSET
    load = Load(ip=flow.ip, port=flow.port, source=source, size_bytes=PAYLOAD_BYTES, pps=pps)
    file = run.net.instance.directory / "metering.pcap"
    before = _drops(run, flow, start)
    run.probes.swallowed(flow.destination_host)
    with run.net.switch(start).capture(_port(run, flow), file, only="ip proto 47"):
        (sent,) = run.probes.load(flow.source_host, [load], SECONDS)
    only = f"udp.srcport == {source} && udp.dstport == {flow.port}"
    marks = decode(file, ["ip.dsfield.dscp"], only=only)
    file.unlink()
    colours = Counter(int(values.split(",")[0]) for (values,) in marks)
    arrived = run.probes.swallowed(flow.destination_host).get(flow.port, 0)
    dropped = _await_drops(run, flow, start, before + sent - arrived) - before
    _judge(board, flow, profile, rate, sent, arrived, dropped, colours)


def _judge(
    board: Board,
    flow: Flow,
    profile: Profile,
    rate: Rate,
    sent: int,
    arrived: int,
    dropped: int,
    colours: Counter[int],
) -> None:
    green, yellow = profile.dscp, profile.dscp_yellow
    expected = Expected.of(rate, SECONDS)
    rows = [
        ["offered", str(sent), _mbit(sent), ""],
        [
            "delivered",
            str(arrived),
            _mbit(arrived),
            f"peak {rate.peak_bps / 1e6:g}, and one burst: {expected.passed:.0f} packets",
        ],
        ["dropped (slice_meter)", str(dropped), _mbit(dropped), "counters in ZooKeeper"],
    ]
    rows += [
        [
            f"on the wire with DSCP {dscp}",
            str(count),
            _mbit(count),
            f"{'green' if dscp == green else 'yellow' if dscp == yellow else 'unknown'} (tshark)",
        ]
        for dscp, count in sorted(colours.items())
    ]
    board.table(
        f"Metering of {flow.name}: committed {rate.committed_bps / 1e6:g}, peak "
        f"{rate.peak_bps / 1e6:g} Mbit/s, {SECONDS:g} s at {OFFERED} times the peak",
        ["packets", "number", "Mbit/s", ""],
        rows,
    )
    board.check(
        f"slice {flow.name} gets its peak rate and no more; what exceeds it is counted",
        near(arrived, expected.passed) and dropped == sent - arrived > 0,
        f"offered {_mbit(sent)}, delivered {_mbit(arrived)} Mbit/s of {rate.peak_bps / 1e6:g}; "
        f"{sent - arrived} packets lost, {dropped} counted as slice_meter",
    )
    share = colours[yellow] / max(1, colours.total())
    marked = near(colours[green], expected.green) and colours.total() == arrived
    told = yellow != green and set(colours) == {green, yellow}
    board.check(
        "what exceeds the committed rate is marked with a higher drop precedence",
        marked and told,
        f"{share:.0%} of the delivered with DSCP {yellow} (yellow), the rest with {green}; "
        f"expected {1 - expected.green / expected.passed:.0%}",
    )


def _profile(run: Run, flow: Flow) -> Profile | None:
    vn = run.network.vns[flow.vn]
    name = vn.slices[flow.slice].profile
    return vn.profiles[name] if name else None


def _port(run: Run, flow: Flow) -> int:
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


def _mbit(frames: int) -> str:
    return f"{frames * FRAME_BYTES * 8 / SECONDS / 1e6:.2f}"
