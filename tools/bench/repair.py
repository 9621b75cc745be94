"""What a failed link costs: from the failure until traffic flows again, at 10,000 packets/s.

`python -m bench.repair [--target T] [--cuts N]`, as root, from the top of the source tree. Runs
`examples/redundant.yaml`, and cuts a cable again and again so that nobody is told (carrier stays):
the time is that of finding out, and of repair. One QoS flow and several of best effort run all the
while; those whose way led over the cable are counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time

from dfvisor.model.description import load_network
from dfvisor.model.types import PortRef
from emulation import cuts
from emulation.demo.readings import Readings
from emulation.emulation import Emulation
from emulation.outage import measure
from emulation.targets import Target
from rich.console import Console
from rich.table import Table

NETWORK = "examples/redundant.yaml"
QOS, BEST_EFFORT = 5201, 5300
FLOWS = [(QOS, 40000), *((BEST_EFFORT, 41000 + number) for number in range(6))]
CABLES = ((PortRef("s1", 1), PortRef("s2", 1)), (PortRef("s2", 2), PortRef("s4", 1)))
PPS = {Target.SOFTSWITCH: 10_000, Target.BMV2: 600}  # what two cores carry over three switches
REST_S = 11.0  # so long without a failure, and the next one counts as the first
DEADLINE_S = 60.0


def until_whole(net: Emulation, readings: Readings) -> None:
    """Wait until all links are in use."""

    def links_up() -> bool:
        ports = readings.seen_ports().values()
        return not readings.down() and bool(ports) and all(port.up for port in ports)

    net.wait_until(links_up, "all links to be up", DEADLINE_S)


def sample(net: Emulation, readings: Readings, count: int, pps: int) -> dict[str, list[float]]:
    """Milliseconds until each flow concerned was back, and packets lost."""
    found: dict[str, list[float]] = {"QoS": [], "best effort": [], "packets lost, QoS": []}
    for number in range(count):
        until_whole(net, readings)
        time.sleep(REST_S)
        cable = CABLES[number % len(CABLES)]
        fared = measure(net, "a", "c", FLOWS, lambda cable=cable: cuts.cut(net, *cable), pps=pps)  # type: ignore[misc]
        cuts.mend(net, *cable)
        for (port, _), one in fared.items():
            if one.twice:
                raise SystemExit(f"{one.twice} packets came twice")
            if one.lost > one.before:
                found["QoS" if port == QOS else "best effort"].append(one.back_s * 1000)
            if port == QOS:
                found["packets lost, QoS"].append(one.lost - one.before)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", type=Target, default=Target.SOFTSWITCH)
    parser.add_argument("--cuts", type=int, default=10)
    options = parser.parse_args()
    name = f"bench{os.getpid()}"
    with (
        Emulation(load_network(NETWORK), instance=name, target=options.target) as net,
        Readings(net.zookeeper, sorted(net.switches)) as readings,
    ):
        net.dfvctl("apply", NETWORK)
        net.wait_until(
            lambda: len(readings.agents()) == len(net.switches), "the agents", DEADLINE_S
        )
        net.dfvctl("apply", "--wait", NETWORK)
        results = sample(net, readings, options.cuts, PPS[options.target])
    table = Table(title=f"cable cut in silence, {PPS[options.target]} packets/s, {options.target}")
    for column in ("traffic back after", "samples", "p50 ms", "slowest ms"):
        table.add_column(column, justify="right" if column != "traffic back after" else "left")
    for label in ("QoS", "best effort"):
        values = results[label]
        if values:
            middle = f"{statistics.median(values):.0f}"
            table.add_row(label, str(len(values)), middle, f"{max(values):.0f}")
    Console(width=100).print(table)
    lost = results["packets lost, QoS"]
    print(f"QoS packets lost in a cut: median {statistics.median(lost):.0f}, most {max(lost):.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
