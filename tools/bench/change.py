"""Latency of one change: from the call that commits a flowspace to its entries in every switch.

`python -m bench.change [--target T] [--changes N]`, as root, from the top of the source tree. Runs
the demo network with one VN controller; yardsticks from the same run: a ZooKeeper write, and an
empty P4Runtime call at a slicer. The end is read from `/applied`, so that report is part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from dataclasses import replace

import grpc.aio
from dfvisor.model.description import load_network
from dfvisor.model.records import Flowspace, Match, VirtualNetwork
from dfvisor.model.types import PortRange
from dfvisor.p4rt.pb import p4r, p4r_grpc
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.zk import ZooKeeper
from emulation.emulation import Emulation
from emulation.targets import Target
from rich.console import Console
from rich.table import Table

NETWORK = "examples/demo.yaml"
VN, SLICE = "red", "gold"
POLL_S = 0.001
DEADLINE_S = 10.0


def with_flowspace(vn: VirtualNetwork, number: int) -> VirtualNetwork:
    """The VN with one flowspace more than it was described with, another one for each number."""
    port = PortRange(30000 + number, 30000 + number)
    extra = Flowspace(name="bench", priority=50, slice=SLICE, match=Match(ip_proto=17, l4_dst=port))
    return replace(vn, flowspaces=vn.flowspaces | {extra.name: extra})


async def until_applied(database: GlobalDatabase, revision: int) -> None:
    """Return when each switch that has the VN reports the revision, flow entries included."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        states = [applied.vns.get(VN) for applied in (await database.read_applied()).values()]
        if all(state and min(state.revision, state.flows) >= revision for state in states):
            return
        await asyncio.sleep(POLL_S)
    raise TimeoutError(f"revision {revision} is not everywhere after {DEADLINE_S} s")


async def measure(address: str, changes: int) -> dict[str, list[float]]:
    """Milliseconds of each sample."""
    samples: dict[str, list[float]] = {"ZooKeeper write": [], "empty call at a slicer": []}
    end_to_end = samples.setdefault("change in all 4 switches", [])
    committed = samples.setdefault("of it: commit", [])
    zk = ZooKeeper(address)
    await zk.start(DEADLINE_S)
    await zk.create("/bench", b"")
    async with await GlobalDatabase.connect(address, timeout_s=DEADLINE_S) as database:
        slicer = next(iter((await database.read_agents()).values())).slicer
        async with grpc.aio.insecure_channel(slicer) as channel:
            stub = p4r_grpc.P4RuntimeStub(channel)
            for number in range(changes):
                began = time.perf_counter()
                await zk.set("/bench", str(number).encode())
                samples["ZooKeeper write"].append(time.perf_counter() - began)
                began = time.perf_counter()
                await stub.Capabilities(p4r.CapabilitiesRequest())
                samples["empty call at a slicer"].append(time.perf_counter() - began)

                base = await database.read_vn(VN)
                assert base is not None
                began = time.perf_counter()
                after = await database.apply(base, with_flowspace(base.vn, number))
                committed.append(time.perf_counter() - began)
                await until_applied(database, after.revision)
                end_to_end.append(time.perf_counter() - began)
    await zk.close()
    return {name: [value * 1000 for value in values] for name, values in samples.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", type=Target, default=Target.SOFTSWITCH)
    parser.add_argument("--changes", type=int, default=200)
    options = parser.parse_args()
    network = load_network(NETWORK)
    name = f"bench{os.getpid()}"
    with Emulation(network, instance=name, target=options.target, vncs=1) as emulation:
        emulation.dfvctl("apply", NETWORK)
        emulation.dfvctl("apply", "--wait", NETWORK)
        results = asyncio.run(measure(emulation.zookeeper, options.changes))
    table = Table(title=f"{options.changes} changes, {options.target}")
    for column in ("", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right" if column else "left")
    for label, values in results.items():
        cuts = statistics.quantiles(values, n=100)
        table.add_row(label, f"{statistics.median(values):.2f}", f"{cuts[98]:.2f}")
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
