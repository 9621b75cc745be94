"""What the database benchmark measures with: networks, processes, and when a change got where."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

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
from dfvisor.store.database import GlobalDatabase, VnSnapshot
from emulation.zookeeper import ZooKeeperServer

from bench.measure import cpu_s

VN, TENANT = "bench", "bench"
DEADLINE_S = 200.0
POLL_S = 0.02
REST_S = 1.0
RESTING_SHARE = 0.25  # of a core, for all of them


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    measure: str
    found: str
    target: str = ""
    reached: bool | None = None


# -- networks


def flowspace(number: int, priority: int = 100) -> Flowspace:
    """One of up to 16 million that do not overlap: a /24 of sources and a destination port."""
    match = Match(
        ip_proto=17,
        ipv4_src=IPv4Network((0x0A000000 + (number // 256 << 8), 24)),
        l4_dst=PortRange(1024 + number % 256, 1024 + number % 256),
    )
    return Flowspace(name=f"f{number:07}", priority=priority, slice="gold", match=match)


def network(switches: int, flowspaces: int) -> Network:
    """A line of switches, one VN with an endpoint on the first and the last."""
    fabric = Fabric(
        switches={
            f"s{n}": Switch(name=f"s{n}", device_id=n, vtep=IPv4Address(0xC0000200 + n))
            for n in range(1, switches + 1)
        },
        links=tuple(
            Link(a=PortRef(f"s{n}", 1), b=PortRef(f"s{n + 1}", 2)) for n in range(1, switches)
        ),
    )
    vn = virtual_network(VN, 1, [f"s{n}" for n in range(1, switches + 1)], flowspaces)
    return Network(fabric=fabric, tenants={TENANT: Tenant(name=TENANT)}, vns={VN: vn})


def virtual_network(
    name: str, number: int, switches: Sequence[str], flowspaces: int
) -> VirtualNetwork:
    """With a best-effort slice and a gold one, and an endpoint on each of these switches."""
    ends = {
        f"h{place}": Endpoint(
            name=f"h{place}",
            mac=Mac(0x0200_0000_0000 + number * 256 + place),
            ips=(IPv4Address(0x0A000001 + place),),
            port=PortRef(switch, 10 + number % 400),
            vlan=number // 400 + 1,
        )
        for place, switch in enumerate(switches, 1)
    }
    if len(ends) == 1:
        ends["h0"] = replace(
            ends["h1"],
            name="h0",
            mac=Mac(0x0200_0000_0000 + number * 256),
            ips=(),
            port=PortRef(switches[0], 9),
        )
    return VirtualNetwork(
        name=name,
        tenant=TENANT,
        profiles={"gold": Profile(name="gold", queue=5, dscp=26)},
        slices={
            "default": Slice(name="default", key=2 * number),
            "gold": Slice(name="gold", key=2 * number + 1, profile="gold"),
        },
        endpoints=ends,
        flowspaces={one.name: one for one in map(flowspace, range(flowspaces))},
    )


def touched(vn: VirtualNetwork, number: int) -> VirtualNetwork:
    """The VN with another priority of its first flowspace."""
    one = flowspace(0, 1000 + number % 50_000)
    return replace(vn, flowspaces=vn.flowspaces | {one.name: one})


# -- processes


@contextmanager
def process(command: Sequence[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A child that is gone afterwards."""
    with log.open("ab") as errors:
        child = subprocess.Popen(command, stderr=errors, text=True, **options)
        try:
            yield child
        finally:
            child.kill()
            child.wait()


class System:
    """A server, and switches with agents and one VN controller, in a directory of their own."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.directory = Path(tempfile.mkdtemp(prefix="bench-db-"))
        stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.server = stack.enter_context(ZooKeeperServer(self.directory / "zookeeper"))
        self.address = f"{self.server.address}/bench"
        self._pids: list[int] = []

    def start(self, switches: int) -> None:
        """Switch, traced agent, for each; and one controller."""
        for number in range(1, switches + 1):
            name = f"s{number}"
            place = f"unix:{self.directory}/{name}.sock"
            self._run(
                f"switch-{name}",
                "softswitch.main",
                *("--no-p4", "--device-id", str(number), "--log-level", "off"),
                *("--", "--grpc-server-addr", place, "--cpu-port", "510"),
            )
            self._run(
                f"agent-{name}",
                "bench.traced",
                *(str(self.trace(name)), "--switch", name, "--p4runtime", place),
                *("--zookeeper", self.address, "--data-dir", str(self.directory / name)),
                *("--listen", f"unix:{self.directory}/{name}.slicer"),
            )
        self._run(
            "vnc",
            "dfvisor.vnc.main",
            *("--zookeeper", self.address, "--data-dir", str(self.directory / "vnc")),
            *("--name", "vnc"),
        )

    def trace(self, switch: str) -> Path:
        """What the switch's agent writes down."""
        return self.directory / f"{switch}.trace"

    def _run(self, name: str, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        child = self._stack.enter_context(
            process(command, self.directory / f"{name}.log", stdout=subprocess.DEVNULL)
        )
        self._pids.append(child.pid)

    async def at_rest(self) -> None:
        """Wait until switches and daemons have nothing left to do: after a start they still write
        down what they hold.
        """
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            before = sum(map(cpu_s, self._pids))
            await asyncio.sleep(REST_S)
            if sum(map(cpu_s, self._pids)) - before < REST_S * RESTING_SHARE:
                return
        raise TimeoutError(f"switches and daemons are not at rest after {DEADLINE_S:g} s")

    async def whole(self, database: GlobalDatabase, switches: Sequence[str], revision: int) -> None:
        """Wait until the switches hold all entries of the revision."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            applied = await database.read_applied(switches)
            states = [one.vns[VN] for one in applied.values() if VN in one.vns]
            done = [min(one.revision, one.flows) >= revision for one in states]
            if len(done) == len(switches) and all(done):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"revision {revision} after {DEADLINE_S:g} s: {states}")
            await asyncio.sleep(POLL_S)

    async def reached(self, switch: str, revision: int) -> dict[str, float]:
        """When a change of somebody who had the one before reached each stage, once it is active
        there; and as `reads` the znodes that the agent had read by then.
        """
        deadline = time.monotonic() + DEADLINE_S
        while True:
            await asyncio.sleep(POLL_S)  # a look at once would take a core from what is measured
            times: dict[str, float] = {}
            path = self.trace(switch)
            for line in path.read_text().splitlines() if path.exists() else ():
                vn, number, stage, at, reads = line.split()
                if vn == VN and int(number) >= revision:
                    times.setdefault(stage, float(at))
                    times["reads"] = float(reads)
            if "active" in times:
                return times
            if time.monotonic() > deadline:
                raise TimeoutError(f"{switch}: revision {revision} after {DEADLINE_S:g} s")


class Sent:
    """When a session last sent a transaction, and when it was answered."""

    def __init__(self, database: GlobalDatabase) -> None:
        self.at = self.answered = 0.0
        self.armed = True  # for the next change
        multi = database._zk.multi

        async def timed(operations: Any) -> Any:
            at = time.time()
            found = await multi(operations)
            if any(operation.path.endswith("/revision") for operation in operations):
                if self.armed:
                    self.at, self.answered = at, time.time()
                self.armed = False
            return found

        database._zk.multi = timed  # type: ignore[method-assign]


async def put(
    database: GlobalDatabase, wanted: Network, *, activate: bool = False
) -> VnSnapshot | None:
    """Write a network into the empty database; the last VN. `activate`: nobody leads there."""
    base = await database.read_fabric()
    await database.apply_fabric(base, wanted.fabric, wanted.tenants)
    snapshot: VnSnapshot | None = None
    for vn in wanted.vns.values():
        snapshot = await database.apply(None, vn, activate=activate)
    return snapshot


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in ms of seconds."""
    cuts = statistics.quantiles(values, n=100) if len(values) > 1 else [values[0]] * 99
    return cuts[49] * 1000, cuts[98] * 1000
