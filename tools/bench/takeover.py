"""What it costs that the VN controller in charge is killed, with many entries in place.

`python -m bench.takeover [--flowspaces N] [--kills N]`, as root, from the top of the source tree.
Runs `examples/redundant.yaml` with N flowspaces of the QoS slice. The one that leads is killed
(SIGKILL) again and again: the time is until the other leads, and until it has read all switches and
found them complete. What is written meanwhile is what the slicers have counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace

from dfvisor.model.description import load_network, render
from dfvisor.model.records import Flowspace, Match, Network
from dfvisor.model.types import PortRange
from emulation.demo.readings import Readings
from emulation.emulation import Emulation
from rich.console import Console
from rich.table import Table

NETWORK = "examples/redundant.yaml"
VN, SLICE = "red", "gold"
ROLE = f"vn/{VN}"
CONTROLLERS = ("vnc-1", "vnc-2")
DEADLINE_S = 120.0
LEADS_S = 4.0


def network_of(flowspaces: int) -> Network:
    """The example with so many flowspaces more, each of one TCP port and address."""
    network = load_network(NETWORK)
    vn = network.vns[VN]
    more = {
        f"f{number}": Flowspace(
            name=f"f{number}",
            priority=10 + number // 50_000,
            match=Match(ip_proto=6, l4_dst=PortRange(number % 50_000, number % 50_000)),
            slice=SLICE,
        )
        for number in range(flowspaces)
    }
    grown = replace(vn, flowspaces={**vn.flowspaces, **more})
    return replace(network, vns={**network.vns, VN: grown})


class Controllers:
    """The two controllers of an emulation, by what their status files say."""

    def __init__(self, net: Emulation) -> None:
        self._net = net

    def _state(self, name: str) -> dict[str, object]:
        file = self._net.instance.directory / name / "status.json"
        if not file.exists():
            return {}
        found: dict[str, dict[str, object]] = json.loads(file.read_text())["vns"]
        return found.get(VN, {})

    def leads(self, name: str) -> bool:
        return bool(self._state(name).get("leading"))

    def entries(self, name: str) -> int:
        """Entries in place on the switches that it has found complete."""
        switches = self._state(name).get("switches")
        assert switches is None or isinstance(switches, dict)
        return sum(one["entries"] for one in (switches or {}).values())


def updates(readings: Readings) -> int:
    """What slicers have carried out for the VN's controllers."""
    return sum(
        one.number
        for found in readings.stats().values()
        for one in found.roles
        if (one.role, one.kind) == (ROLE, "updates")
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flowspaces", type=int, default=2500)
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args()
    leads: list[float] = []
    complete: list[float] = []
    network = network_of(options.flowspaces)
    with (
        Emulation(network, instance=f"bench{os.getpid()}") as net,
        Readings(net.zookeeper, sorted(net.switches)) as readings,
    ):
        file = net.instance.directory / "network.json"
        file.write_text(json.dumps(render(network)))
        controllers = Controllers(net)
        net.dfvctl("apply", str(file))
        net.wait_until(
            lambda: len(readings.agents()) == len(net.switches), "the agents", DEADLINE_S
        )
        net.dfvctl("apply", "--wait", "--timeout", f"{DEADLINE_S:g}", str(file))
        first = next(name for name in CONTROLLERS if controllers.leads(name))
        entries = controllers.entries(first)
        readings.stats_of(net.switches, after=time.time())
        before = updates(readings)
        for _ in range(options.kills):
            first, second = sorted(CONTROLLERS, key=controllers.leads, reverse=True)
            net.kill(first)
            began = time.monotonic()
            net.wait_until(lambda name=second: controllers.leads(name), "a leader", DEADLINE_S)  # type: ignore[misc]
            leads.append(time.monotonic() - began)
            net.wait_until(
                lambda name=second: controllers.entries(name) == entries,  # type: ignore[misc]
                "all entries to be found",
                DEADLINE_S,
            )
            complete.append(time.monotonic() - began)
            net.restart(first)
            net.wait_until(
                lambda name=first: not controllers.leads(name),  # type: ignore[misc]
                "it to start anew",
                DEADLINE_S,
            )
        readings.stats_of(net.switches, after=time.time())
        written = updates(readings) - before
    table = Table(title=f"the leader is killed, {entries} entries in place on the switches")
    for column in ("time until", "p50 s", "worst s", "to reach"):
        table.add_column(column, justify="left" if column == "time until" else "right")
    for name, found, bound in (
        ("another leads", leads, f"{LEADS_S:g} s"),
        ("it has found all complete", complete, ""),
    ):
        table.add_row(name, f"{statistics.median(found):.2f}", f"{max(found):.2f}", bound)
    Console(width=100).print(table)
    print(f"Updates carried out meanwhile: {written} (to reach: 0)")
    return int(max(leads) > LEADS_S or written > 0)


if __name__ == "__main__":
    sys.exit(main())
