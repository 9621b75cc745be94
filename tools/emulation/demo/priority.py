"""Strict priority: a congested link, a QoS slice's packets and best effort's on it at once."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass

from emulation.demo.board import Board
from emulation.demo.flows import Flow, ways
from emulation.demo.metering import first_port, near, profile_of
from emulation.demo.probes import Load, Sent
from emulation.demo.run import Run
from emulation.emulation import BMV2_CLI
from emulation.plan import HostPlan
from emulation.targets import Target

SECONDS = 1.5
ATTEMPTS = 3
LINK_PPS = 1000
QOS_PPS, BEST_EFFORT_PPS = 400, 2000  # the second alone is more than the link takes
QUEUE_PACKETS = 64  # of each priority, on both targets
PAYLOAD_BYTES = 200
DRAIN_S = 0.3  # a full queue takes 64 ms
SOURCE_OFFSET = 160  # in the flow's own range of source ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A QoS flow, and a host of the same VN behind the first link of its path, to which best effort
    has no other way."""

    flow: Flow
    queue: int
    neighbour: HostPlan

    @property
    def link(self) -> str:
        return f"{self.flow.path[0]} - {self.flow.path[1]}"


def choose(run: Run) -> Contest | None:
    """The flow of the highest queue for which there is such a host."""
    found: list[tuple[int, str, Contest]] = []
    for flow in run.flows:
        profile = profile_of(run, flow)
        if not profile or not profile.queue or not flow.udp or len(flow.path) < 2:
            continue
        for host in run.net.plan.hosts.values():
            near_end, far_end = flow.path[:2]
            if (host.vn, host.port.switch) == (flow.vn, far_end) and host.ipv4:
                if ways(run.network.fabric, near_end, far_end) == {(near_end, far_end)}:
                    contest = Contest(flow=flow, queue=profile.queue, neighbour=host)
                    found.append((-profile.queue, flow.name, contest))
                break
    return min(found, key=lambda one: one[:2])[2] if found else None


def measure(run: Run, board: Board) -> None:
    """Limit the link's near end to LINK_PPS, send more than that, count what arrives."""
    contest = choose(run)
    if contest is None:
        return
    if run.net.target is Target.BMV2 and not shutil.which(BMV2_CLI):
        board.console.print(f"Strict priority: not shown, {BMV2_CLI} is not on PATH")
        return
    flow = contest.flow
    port = first_port(run, flow)
    run.net.limit_port(flow.path[0], port, LINK_PPS)
    try:
        for _ in range(ATTEMPTS):  # what a busy machine did not send congests nothing
            offered, sent, arrived = _send(run, contest)
            if offered:
                break
    finally:
        run.net.limit_port(flow.path[0], port, None)
    _judge(run, board, contest, sent, arrived)


def _send(run: Run, contest: Contest) -> tuple[bool, Sent, list[int]]:
    """Whether all could be sent; packets sent and arrived: the QoS flow's, best effort's."""
    flow = contest.flow
    ends = [(flow.destination_host, flow.port), (contest.neighbour.name, run.best_effort_port)]
    loads = [
        Load(
            ip=str(run.net.host(host).plan.ipv4),
            port=port,
            source=flow.source + SOURCE_OFFSET + number,
            size_bytes=PAYLOAD_BYTES,
            pps=pps,
        )
        for number, ((host, port), pps) in enumerate(
            zip(ends, (QOS_PPS, BEST_EFFORT_PPS), strict=True)
        )
    ]
    hosts = {host for host, _ in ends}
    for host in hosts:
        run.probes.swallowed(host)
    sent = run.probes.load(flow.source_host, loads, SECONDS)
    time.sleep(DRAIN_S)
    counts = {host: run.probes.swallowed(host) for host in hosts}
    return sent.offered(loads), sent, [counts[host].get(port, 0) for host, port in ends]


def _judge(run: Run, board: Board, contest: Contest, load: Sent, arrived: list[int]) -> None:
    name, sent = contest.flow.name, load.packets
    rows = [
        [what, queue, str(out), str(back), f"{1 - back / out:.0%}"]
        for what, queue, out, back in zip(
            (name, "best effort"), (str(contest.queue), "0"), sent, arrived, strict=True
        )
    ]
    bmv2 = run.net.target is Target.BMV2
    what = f"{LINK_PPS} packets/s" + (" for each of its 8 queues" if bmv2 else "")
    board.table(
        f"Congested link {contest.link}: {what}, {SECONDS:g} s",
        ["slice", "queue", "sent", "delivered", "lost"],
        rows,
    )
    left = LINK_PPS * load.seconds + QUEUE_PACKETS - (0 if bmv2 else arrived[0])
    fair = near(arrived[1], left)
    seen = (
        f"{name}: {arrived[0]} of {sent[0]} delivered, best effort: {arrived[1]} of {sent[1]}, "
        f"which is what was left of the link"
    )
    if bmv2:
        seen = (
            f"{name}: {arrived[0]} of {sent[0]} delivered, best effort: {arrived[1]} of {sent[1]}. "
            "BMv2 limits each priority queue by itself, not the port: this shows that a full "
            "queue costs no other queue a packet, not which is served first"
        )
    claim = (
        f"{name} has a queue that best effort cannot fill"
        if bmv2
        else f"strict priority: {name} passes a congested link before best effort"
    )
    board.check(claim, arrived[0] == sent[0] and arrived[1] < sent[1] and fair, seen)
