"""The two-level database: how fast, how small, how quiet. Prints one table.

`python -m bench.db [--only PART...] [--changes N]`, from the top of the source tree. Everything is
on loopback with one ZooKeeper server: switches are softswitch processes without ports, agents and
VN controllers are the real programs, simulated agents the real store client without a switch.
Times at the switch are taken by its agent after the switch has acknowledged.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from dfvisor import daemon
from dfvisor.errors import DFVisorError
from dfvisor.store.database import GlobalDatabase
from rich.console import Console
from rich.table import Table

from bench.db_agents import part_agents, part_vns
from bench.db_rig import VN, Row, Sent, System, network, put, quantiles, touched


async def latency(flowspaces: int, changes: int) -> dict[str, list[float]]:
    """Seconds from sending, and from the reply, to each stage: one switch, agent and controller.
    `reads`: the znodes that the agent read for each change.
    """
    with ExitStack() as stack:
        system = System(stack)
        async with await GlobalDatabase.connect(
            system.address, session_timeout_s=20.0, timeout_s=60.0
        ) as database:
            snapshot = await put(database, network(1, flowspaces))
            assert snapshot is not None
            system.start(1)
            await system.whole(database, ["s1"], snapshot.revision)
            await system.at_rest()
            sent = Sent(database)
            found: dict[str, list[float]] = {}
            read = 0.0
            for number in range(changes + 5):
                sent.armed = True
                snapshot = await database.apply(snapshot, touched(snapshot.vn, number))
                times = await system.reached("s1", snapshot.revision)
                system.trace("s1").write_text("")
                reads, read = times["reads"] - read, times.pop("reads")
                if number < 5:
                    continue  # warming up
                for stage, at in times.items():
                    found.setdefault(stage, []).append(at - sent.at)
                found.setdefault("reads", []).append(reads)
                found.setdefault("reply", []).append(sent.answered - sent.at)
                found.setdefault("active from reply", []).append(times["active"] - sent.answered)
            return found


async def part_latency(changes: int) -> list[Row]:
    """One flowspace, and the same among many."""
    found = await latency(10, changes)
    p50, p99 = quantiles(found["active"])
    rows = [
        Row(
            "one flowspace, multi sent -> active in the switch, p50 / p99",
            f"{p50:.1f} / {p99:.1f} ms",
            "<= 4 / 15 ms",
            p50 <= 4 and p99 <= 15,
        )
    ]
    labels = {
        "active from reply": "  the same from the commit's reply",
        "reply": "  of it: commit answered to the writer",
        "read": "  of it: read by the agent",
        "edge": "  of it: the agent's own entries in the switch",
        "slicer": "  of it: flow entries at the slicer",
        "switch": "  of it: flow entries in the switch",
    }
    for stage, label in labels.items():
        rows.append(Row(label, "{:.1f} / {:.1f} ms".format(*quantiles(found[stage]))))
    rows.append(_reads(found))
    for count in (10_000, 100_000):
        few, _ = quantiles(found["active"])
        among = await latency(count, max(20, changes // 5))
        many, many99 = quantiles(among["active"])
        rows.append(
            Row(
                f"the same among {count:,}, p50 / p99",
                f"{many:.1f} / {many99:.1f} ms ({many / few:.2f}x)",
                "<= 1.5x",
                many / few <= 1.5,
            )
        )
        rows.append(_reads(among))
    return rows


def _reads(found: dict[str, list[float]]) -> Row:
    typical, worst = statistics.median(found["reads"]), max(found["reads"])
    return Row(
        "  znodes that the agent reads for it, p50 / worst",
        f"{typical:.0f} / {worst:.0f}",
        "<= 3",
        typical <= 3,
    )


async def part_bulk(_: int) -> list[Row]:
    """100,000 flowspaces in one VN: written, read, decoded, compared."""
    count = 100_000
    vn = network(1, count).vns[VN]
    with ExitStack() as stack:
        system = System(stack)
        async with (
            await GlobalDatabase.connect(
                system.address, session_timeout_s=20.0, timeout_s=60.0
            ) as writer,
            await GlobalDatabase.connect(
                system.address, session_timeout_s=20.0, timeout_s=60.0
            ) as reader,
        ):
            began, cpu = time.perf_counter(), time.process_time()
            await writer.apply(None, vn)
            written = time.perf_counter()
            found = await reader.read_vn(VN)
            assert found is not None and found.vn == vn
            done, spent = time.perf_counter(), time.process_time() - cpu
    rate = count / (done - began)
    return [
        Row(
            "100,000 flowspaces cold, database part",
            f"{rate:,.0f}/s (written {written - began:.2f} s, read and compared "
            f"{done - written:.2f} s; {spent:.2f} s of CPU)",
            ">= 50,000/s",
            rate >= 50_000,
        )
    ]


async def part_switches(_: int) -> list[Row]:
    """100,000 flowspaces until all entries are in four softswitches."""
    count = 100_000
    wanted = network(4, 10)
    with ExitStack() as stack:
        system = System(stack)
        async with await GlobalDatabase.connect(
            system.address, session_timeout_s=20.0, timeout_s=60.0
        ) as database:
            snapshot = await put(database, wanted)
            assert snapshot is not None
            system.start(4)
            switches = list(wanted.fabric.switches)
            await system.whole(database, switches, snapshot.revision)
            vn = network(4, count).vns[VN]
            began = time.perf_counter()
            snapshot = await database.apply(snapshot, vn)
            await system.whole(database, switches, snapshot.revision)
            spent_s = time.perf_counter() - began
    rate = count / spent_s
    return [
        Row(
            "100,000 flowspaces until all entries are in 4 softswitches",
            f"{rate:,.0f}/s ({spent_s:.1f} s)",
            ">= 8,000/s",
            rate >= 8_000,
        )
    ]


PARTS: dict[str, Callable[[int], Coroutine[Any, Any, list[Row]]]] = {
    "latency": part_latency,
    "bulk": part_bulk,
    "switches": part_switches,
    "agents": part_agents,
    "vns": part_vns,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--changes", type=int, default=200)
    options = parser.parse_args()
    table = Table(title=f"two-level database; load {os.getloadavg()[0]:.1f} at the start")
    for column in ("measure", "found", "to reach", ""):
        table.add_column(column)
    failed = 0
    for name in options.only:
        try:
            rows = daemon.run(PARTS[name](options.changes))
        except (TimeoutError, DFVisorError) as error:  # the others are measured all the same
            rows = [Row(f"part {name}", f"failed: {error}", "", False)]
            failed = 1
        for row in rows:
            mark = {None: "", True: "yes", False: "NO"}[row.reached]
            table.add_row(row.measure, row.found, row.target, mark)
            print(f"{row.measure}: {row.found}  {mark}", file=sys.stderr, flush=True)
    Console(width=150).print(table)
    return failed


if __name__ == "__main__":
    sys.exit(main())
