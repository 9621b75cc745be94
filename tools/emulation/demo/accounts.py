"""Counters that reached ZooKeeper, against what the kernel counted at the hosts' interfaces."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dfvisor.model.types import PortRef
from dfvisor.store.stats import SwitchStats

from emulation.demo.board import Board
from emulation.demo.run import Run

SETTLE_S = 8.0
BEFORE_CLASSIFIER = ("unknown_port",)  # all other drops come after the classifier has counted


@dataclass(frozen=True, slots=True)
class Account:
    """Packets per access port: sent by its host (kernel), counted by the switch (ZooKeeper).

    `dropped` is per switch: what was dropped before a port's classifier could count it.
    """

    sent: dict[PortRef, int]
    classified: dict[PortRef, int]
    dropped: dict[str, int]
    flow: int  # hits of all `flow` entries of all switches


def total(stats: Mapping[str, SwitchStats], table: str) -> int:
    """Packets that hit any entry of a table, on all switches."""
    return sum(c.packets for s in stats.values() for c in s.counters if c.table == table)


def read(run: Run, after: float) -> Account:
    """The account from counters that every switch read after the moment `after`."""
    stats = run.readings.stats_after(after)
    classified: Counter[PortRef] = Counter()
    dropped: Counter[str] = Counter()
    for switch, reading in stats.items():
        for counter in reading.counters:
            if counter.table == "classifier":
                classified[PortRef(switch, counter.port)] += counter.packets
        for drop in reading.drops:
            if drop.reason in BEFORE_CLASSIFIER:
                dropped[switch] += drop.packets
    sent = {host.plan.port: host.counters().tx_packets for host in run.net.hosts.values()}
    return Account(sent, {p: classified[p] for p in sent}, dict(dropped), total(stats, "flow"))


def judge_best_effort(board: Board, before: Account, after: Account) -> None:
    """Between the accounts there was best-effort traffic only: no flow entry may have been hit."""
    packets = sum(after.classified.values()) - sum(before.classified.values())
    hits = after.flow - before.flow
    board.check(
        "best-effort traffic hits no flow entry",
        hits == 0 and packets > 0,
        f"{packets} best-effort packets entered, flow entries of all switches counted {hits}",
    )


def judge_ports(run: Run, board: Board, before: Account) -> None:
    """Wait until the counters have settled, then compare port by port since `before`."""
    end = time.monotonic() + SETTLE_S
    while True:
        now = read(run, time.time())
        rows, wrong = _compare(run, before, now)
        if not wrong or time.monotonic() > end:
            break
    board.table(
        "Access ports since the start: the kernel's count at the host, the counters in ZooKeeper",
        ["port", "host", "host sent (kernel)", "classifier", "ingress drops", "difference"],
        rows,
    )
    packets = sum(now.sent.values()) - sum(before.sent.values())
    board.check(
        "classifier counters + ingress drops = packets that the hosts sent",
        not wrong and packets > 0,
        "; ".join(wrong) or f"{packets} packets on {len(rows)} ports, difference 0 on each",
    )
    hits = now.flow - before.flow
    board.check("QoS traffic hits flow entries", hits > 0, f"{hits} hits on all switches")


def _compare(run: Run, before: Account, now: Account) -> tuple[list[list[str]], list[str]]:
    rows = []
    wrong = []
    for host in run.net.hosts.values():
        port = host.plan.port
        sent = now.sent[port] - before.sent[port]
        classified = now.classified[port] - before.classified[port]
        dropped = now.dropped.get(port.switch, 0) - before.dropped.get(port.switch, 0)
        difference = sent - classified - dropped
        rows.append([str(port), host.name, *map(str, (sent, classified, dropped, difference))])
        if difference:
            wrong.append(f"{port} ({host.name}): sent {sent}, counted {classified} + {dropped}")
    return rows, wrong
