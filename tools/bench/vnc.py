"""Figures of the VN controller: computing everything, and following one change.

    python -m bench.vnc

Pure computation, in one process; what switches and networks add is in `bench.change`.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from dfvisor.errors import Problem
from dfvisor.model.changes import changes
from dfvisor.model.checker import Checker
from dfvisor.model.records import (
    Endpoint,
    Fabric,
    Flowspace,
    Link,
    Match,
    Network,
    Profile,
    Slice,
    Switch,
    Tenant,
    VirtualNetwork,
)
from dfvisor.model.types import Mac, PortRange, PortRef
from dfvisor.model.validate import validate
from dfvisor.p4rt.entries import EntryKey, entry_key
from dfvisor.vnc.compile import Compiler
from dfvisor.vnc.routing import Trees
from rich.console import Console
from rich.table import Table

SWITCHES = 100
ENDPOINTS = 2_000
FLOWSPACES = 10_000
FULL_TIMES = 3
CHANGE_TIMES = 5
FULL_S = 3.0
CHANGE_MS = 5.0


def make_fabric(count: int = SWITCHES, cost: int = 1) -> Fabric:
    """A ring with chords; the first link has this cost."""
    switches = {
        f"s{n:03}": Switch(name=f"s{n:03}", device_id=n + 1, vtep=IPv4Address(0xC0A80000 + n))
        for n in range(count)
    }
    names = sorted(switches)
    links = [
        Link(
            a=PortRef(names[n], 300 + reach),
            b=PortRef(names[(n + reach) % count], 400 + reach),
            cost=cost if n == 0 and reach == 1 else 1,
        )
        for reach in (1, 10)
        for n in range(count)
    ]
    return Fabric(switches=switches, links=tuple(links))


def make_vn(
    fabric: Fabric, endpoints: int = ENDPOINTS, flowspaces: int = FLOWSPACES
) -> VirtualNetwork:
    """A VN with two QoS slices, its endpoints spread evenly, a flowspace per TCP or UDP service."""
    names = sorted(fabric.switches)
    hosts = {
        f"h{n:05}": Endpoint(
            name=f"h{n:05}",
            mac=Mac(0x02_00_00_00_00_00 + n),
            ips=(IPv4Address(0x0A000000 + n),),
            port=PortRef(names[n % len(names)], 1 + n // len(names)),
        )
        for n in range(endpoints)
    }
    return VirtualNetwork(
        name="big",
        tenant="t",
        profiles={"gold": Profile(name="gold", queue=6, dscp=46)},
        slices={
            "default": Slice(name="default", key=1),
            "gold": Slice(name="gold", key=2, profile="gold"),
            "silver": Slice(name="silver", key=3, profile="gold"),
        },
        endpoints=hosts,
        flowspaces={f"f{n:06}": make_flowspace(f"f{n:06}", n) for n in range(flowspaces)},
    )


def make_flowspace(name: str, number: int) -> Flowspace:
    """One that overlaps no other of its priority."""
    return Flowspace(
        name=name,
        priority=100 + number % 5,
        match=Match(
            ipv4_dst=IPv4Network((0x0A000000 + number // 10, 32)),
            ip_proto=6 if number % 2 else 17,
            l4_dst=PortRange(1000 + number % 10, 1000 + number % 10),
        ),
        slice="gold" if number % 3 else "silver",
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds of this process, so that others on the machine count little; the collector is kept
    out of it.
    """
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        work()
        return time.process_time() - start
    finally:
        gc.enable()


def full(times: int) -> tuple[list[float], int]:
    """Seconds of computing everything, to the last entry of the last switch; and the entries."""
    samples: list[float] = []
    count = 0
    for _ in range(times):
        fabric = make_fabric()
        vn = make_vn(fabric)

        def work(fabric: Fabric = fabric, vn: VirtualNetwork = vn) -> None:
            nonlocal count
            compiler = Compiler()
            compiler.update(Trees(fabric), vn)
            count = sum(len(compiler.entries(switch)) for switch in compiler.switches)

        samples.append(timed(work))
    return samples, count


class Follower:
    """A compiler in its steady state, with what the sessions hold. `follow` a change."""

    def __init__(self) -> None:
        self.fabric = make_fabric()
        self.trees = Trees(self.fabric)
        self.vn = make_vn(self.fabric)
        self._compiler = Compiler()
        self._compiler.update(self.trees, self.vn)
        self._checker = Checker()
        self._checker.problems(self.vn, None, self.fabric, self.fabric, self._whole)
        self.held = {
            switch: {entry_key(entry): entry for entry in self._compiler.entries(switch)}
            for switch in self._compiler.switches
        }

    def _whole(self, vn: VirtualNetwork) -> list[Problem]:
        tenants = {vn.tenant: Tenant(name=vn.tenant)}
        return validate(Network(fabric=self.fabric, tenants=tenants, vns={vn.name: vn}))

    def follow(self, vn: VirtualNetwork) -> tuple[float, int]:
        """Check, compile and compare, as leader and sessions do: seconds, entries to be written."""
        written: list[tuple[str, EntryKey]] = []

        def work() -> None:
            changed = changes(self.vn, vn)
            if self._checker.problems(vn, changed, self.fabric, self.fabric, self._whole):
                raise ValueError("the change is not a good one")
            update = self._compiler.update(self.trees, vn, changed)
            for switch, groups in update.changed.items():
                held = self.held[switch]
                for group in groups:
                    for key in group:
                        entry = self._compiler.entry(switch, key)
                        if entry != held.get(key):
                            written.append((switch, key))
                            if entry is None:
                                del held[key]
                            else:
                                held[key] = entry

        seconds = timed(work)
        self.vn = vn
        return seconds, len(written)

    def differing(self) -> int:
        """Entries in which what is held differs from a full computation."""
        compiler = Compiler(self._compiler.classes)
        compiler.update(Trees(self.fabric), self.vn)
        count = 0
        for switch in compiler.switches | self.held.keys():
            held = self.held.get(switch, {})
            entries = compiler.entries(switch)
            right = sum(held.get(entry_key(entry)) == entry for entry in entries)
            count += len(held) + len(entries) - 2 * right
        return count


def with_flowspace(vn: VirtualNetwork, number: int) -> VirtualNetwork:
    """One flowspace of the VN is another one now."""
    name = "f000100"
    return replace(vn, flowspaces={**vn.flowspaces, name: make_flowspace(name, 20_000 + number)})


def with_endpoint(vn: VirtualNetwork, number: int) -> VirtualNetwork:
    """The VN has one endpoint more."""
    new = Endpoint(
        name=f"new{number}",
        mac=Mac(0x04_00_00_00_00_00 + number),
        ips=(),
        port=PortRef("s050", 200 + number),
    )
    return replace(vn, endpoints={**vn.endpoints, new.name: new})


def main() -> int:
    console = Console()
    table = Table(title=f"{SWITCHES} switches, {ENDPOINTS} endpoints, {FLOWSPACES} flowspaces")
    for column in ("measure", "median", "worst", "to reach", "entries written"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    samples, count = full(FULL_TIMES)
    missed = max(samples) > FULL_S
    median, worst = statistics.median(samples), max(samples)
    table.add_row(
        "full computation", f"{median:.2f} s", f"{worst:.2f} s", f"{FULL_S:g} s", f"{count}"
    )
    follower = Follower()
    for name, change in (("a flowspace", with_flowspace), ("a new endpoint", with_endpoint)):
        found = [follower.follow(change(follower.vn, number)) for number in range(CHANGE_TIMES)]
        milliseconds = [seconds * 1e3 for seconds, _ in found]
        median, worst = statistics.median(milliseconds), max(milliseconds)
        missed |= median > CHANGE_MS
        table.add_row(
            f"one change: {name}",
            f"{median:.1f} ms",
            f"{worst:.1f} ms",
            f"{CHANGE_MS:g} ms",
            f"{found[-1][1]}",
        )
    differing = follower.differing()
    missed |= differing > 0
    console.print(table)
    console.print("Time of the process; checking the records and comparing entries are part of it.")
    console.print(f"Entries that then differ from a full computation: {differing}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
