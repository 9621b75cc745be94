"""Counters that reached ZooKeeper, against what the kernel counted at the hosts' interfaces.

A flowspace's classifier entry serves all access ports of its VN on a switch, so these are one
account (in the demo network each is a single port).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dfvisor.store.stats import SwitchStats

from emulation.demo.board import Board
from emulation.demo.run import Run

SETTLE_S = 8.0
POLL_S = 0.1
BEFORE_CLASSIFIER = ("unknown_port",)  # all other drops come after the classifier has counted


Edge = tuple[str, str]  # switch, and VN that has access ports there


@dataclass(frozen=True, slots=True)
class Account:
    """Packets per edge: sent by its hosts (kernel), counted by the switch (ZooKeeper).

    `dropped` is per switch: what was dropped before any classifier could count it.
    """

    sent: Counter[Edge]
    classified: Counter[Edge]
    dropped: Counter[str]
    flow: int  # hits of all `flow` entries of all switches


def total(stats: Mapping[str, SwitchStats], table: str) -> int:
    """Packets that hit any entry of a table, on all switches."""
    return sum(c.packets for s in stats.values() for c in s.counters if c.table == table)


def read(run: Run) -> Account:
    """The account of this moment; counters may be behind."""
    sent: Counter[Edge] = Counter()
    classified: Counter[Edge] = Counter()
    dropped: Counter[str] = Counter()
    stats = run.readings.stats()
    for switch, reading in stats.items():
        for counter in reading.counters:
            if counter.table == "classifier":
                classified[switch, counter.vn] += counter.packets
        for drop in reading.drops:
            if drop.reason in BEFORE_CLASSIFIER:
                dropped[switch] += drop.packets
    for host in run.net.hosts.values():
        sent[host.plan.port.switch, host.plan.vn] += host.counters().tx_packets
    return Account(sent, classified, dropped, total(stats, "flow"))


def settle(run: Run, before: Account) -> tuple[Account, list[str]]:
    """Poll until the counters account for all that was sent since `before`, or until the deadline:
    the account then, and what still differs.
    """
    end = time.monotonic() + SETTLE_S
    while True:
        now = read(run)
        _, wrong = _compare(run, before, now)
        if not wrong or time.monotonic() > end:
            return now, wrong
        time.sleep(POLL_S)


def judge_best_effort(run: Run, board: Board, before: Account) -> None:
    """Since `before` there was best-effort traffic only: no flow entry may have been hit."""
    after, wrong = settle(run, before)
    packets = sum(after.classified.values()) - sum(before.classified.values())
    hits = after.flow - before.flow
    board.check(
        "best-effort traffic hits no flow entry",
        hits == 0 and packets > 0 and not wrong,
        "; ".join(wrong)
        or f"{packets} best-effort packets entered, flow entries of all switches counted {hits}",
    )


def judge_ports(run: Run, board: Board, before: Account) -> None:
    """Compare port by port since `before`, when the counters have settled."""
    now, wrong = settle(run, before)
    rows, _ = _compare(run, before, now)
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
    for switch, vn in sorted(now.sent):
        hosts = [
            h for h in run.net.hosts.values() if (h.plan.port.switch, h.plan.vn) == (switch, vn)
        ]
        sent = now.sent[switch, vn] - before.sent[switch, vn]
        classified = now.classified[switch, vn] - before.classified[switch, vn]
        dropped = now.dropped[switch] - before.dropped[switch]
        difference = sent - classified - dropped
        ports = " ".join(str(host.plan.port) for host in hosts)
        names = " ".join(host.name for host in hosts)
        rows.append([ports, names, *map(str, (sent, classified, dropped, difference))])
        if difference:
            wrong.append(f"{ports} ({names}): sent {sent}, counted {classified} + {dropped}")
    return rows, wrong
