"""The two-level database: how fast, how small, how quiet. Prints one table.

`python -m bench.db [--only PART...] [--changes N]`, from the top of the source tree. Everything is
on loopback with one ZooKeeper server: switches are softswitch processes without ports, agents and
VN controllers are the real programs, simulated agents the real store client without a switch.
Times at the switch are taken by its agent after the switch has acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from dfvisor import daemon
from dfvisor.errors import DFVisorError
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
from dfvisor.store.zk import ZooKeeper
from emulation.zookeeper import ZooKeeperServer
from rich.console import Console
from rich.table import Table

VN, TENANT = "bench", "bench"
DEADLINE_S = 200.0
POLL_S = 0.02
PROCESSES = 4
AGENTS = 500


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
        self._stack.enter_context(
            process(command, self.directory / f"{name}.log", stdout=subprocess.DEVNULL)
        )

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
            await asyncio.sleep(POLL_S)


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


# -- the parts


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


class Followers:
    """Simulated agents in a few processes."""

    def __init__(self, stack: ExitStack, system: System, count: int, switches: int) -> None:
        share = count // PROCESSES
        self._children: list[subprocess.Popen[str]] = []
        for place in range(PROCESSES):
            command = [sys.executable, "-m", "bench.followers", system.address]
            command += [str(place * share), str(share), str(switches)]
            log = system.directory / f"followers-{place}.log"
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._children.append(stack.enter_context(process(command, log, **pipes)))

    async def ask(self, command: str) -> list[float]:
        """The answers of all processes."""
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{command}\n")
            child.stdin.flush()
        answers = []
        for child in self._children:
            assert child.stdout is not None
            async with asyncio.timeout(DEADLINE_S):
                answers.append(float(await asyncio.to_thread(child.stdout.readline)))
        return answers


def server_counts(server: ZooKeeperServer) -> dict[str, float]:
    """The server's own counters."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"mntr")
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    lines = (line.split("\t") for line in b"".join(parts).decode().splitlines())
    return {
        line[0]: float(line[1])
        for line in lines
        if len(line) == 2 and line[1].replace(".", "").isdigit()
    }


async def part_agents(changes: int) -> list[Row]:
    """500 simulated agents: a change, rest, and a reconnect of all at once."""
    wanted = network(2, 1000)
    with ExitStack() as stack:
        system = System(stack)
        async with await GlobalDatabase.connect(
            system.address, session_timeout_s=20.0, timeout_s=60.0
        ) as database:
            snapshot = await put(database, wanted, activate=True)
            assert snapshot is not None
            followers = Followers(stack, system, AGENTS, 2)
            await followers.ask("caught")
            counts = server_counts(system.server)
            sent = Sent(database)
            times = []
            for number in range(max(10, changes // 10)):
                sent.armed = True
                snapshot = await database.apply(
                    snapshot, touched(snapshot.vn, number), activate=True
                )
                had = max(await followers.ask(f"at {VN} {snapshot.revision}"))
                times.append(had - sent.at)
            rows = [
                Row(
                    f"{AGENTS} agents in {PROCESSES} processes have a change, p50 / worst",
                    f"{statistics.median(times) * 1000:.0f} / {max(times) * 1000:.0f} ms",
                    "<= 1 s",
                    max(times) <= 1,
                ),
                Row(
                    "  watches on the server",
                    f"{counts['zk_watch_count']:.0f}",
                    f"{AGENTS * 6} (4 + 2 per VN)",
                    counts["zk_watch_count"] == AGENTS * 6,
                ),
            ]
            rows += await _rest(system.server)
            rows += await _reconnect(system, followers, database, snapshot)
            return rows


async def _rest(server: ZooKeeperServer) -> list[Row]:
    names = ("zk_cnt_bench_read_per_namespace", "zk_cnt_bench_write_per_namespace")
    before = server_counts(server)
    await asyncio.sleep(10.0)
    after = server_counts(server)
    reads, writes = (after[name] - before[name] for name in names)
    return [
        Row(
            "  at rest, in 10 s",
            f"{reads:.0f} reads, {writes:.0f} writes",
            "0 reads, 0 writes",
            reads == writes == 0,
        )
    ]


async def _reconnect(
    system: System, followers: Followers, database: GlobalDatabase, snapshot: VnSnapshot
) -> list[Row]:
    """The server goes and comes back; a probe of its own measures it from the first moment."""
    probe = ZooKeeper(system.server.address)
    await probe.start(60.0)
    await probe.create("/probe", b"x")
    system.server.stop()
    await asyncio.sleep(1.0)
    system.server.start()
    began = time.time()
    samples: list[float] = []
    busy = True

    async def sample() -> None:
        while busy:
            if probe.state.value == "connected":
                at = time.perf_counter()
                await probe.get("/probe")
                samples.append(time.perf_counter() - at)
            await asyncio.sleep(0.005)

    sampling = asyncio.create_task(sample())
    connected = asyncio.Event()
    database.on_session(lambda up: connected.set() if up else None)
    if not database.connected:
        await connected.wait()
    snapshot = await database.apply(snapshot, touched(snapshot.vn, 77), activate=True)
    equal = max(await followers.ask(f"at {VN} {snapshot.revision}")) - began
    busy = False
    await sampling
    await probe.close()
    p99 = quantiles(samples)[1]
    return [
        Row(
            f"reconnect of {AGENTS} at once: all equal, and the server's p99 meanwhile",
            f"{equal:.1f} s, {p99:.0f} ms",
            "<= 15 s, < 100 ms",
            equal <= 15 and p99 < 100,
        )
    ]


async def part_vns(changes: int) -> list[Row]:
    """5,000 VNs, 50 of them on the switch that is looked at; and the same with these 50 alone."""
    rows = []
    memory: dict[int, float] = {}
    for count in (50, 5000):
        wanted = network(100, 0)
        vns = {
            f"v{n}": virtual_network(f"v{n}", n + 10, [f"s{n % 100 + 1}"], 3)
            if count == 5000
            else virtual_network(f"v{n}", n + 10, ["s1"], 3)
            for n in range(count)
        }
        with ExitStack() as stack:
            system = System(stack)
            async with await GlobalDatabase.connect(
                system.address, session_timeout_s=20.0, timeout_s=120.0
            ) as database:
                await put(database, replace(wanted, vns={}, fabric=wanted.fabric))
                names = list(vns)
                for start in range(0, count, 50):
                    batch = names[start : start + 50]
                    await asyncio.gather(
                        *(database.apply(None, vns[name], activate=True) for name in batch)
                    )
                began = time.time()
                followers = Followers(stack, system, PROCESSES, 1)
                await followers.ask("caught")
                started = time.time() - began
                (held,) = set(await followers.ask("held"))
                memory[count] = statistics.mean(await followers.ask("memory")) / 2**20
                sent = Sent(database)
                times = []
                base = await database.read_vn("v0")
                assert base is not None
                for number in range(max(10, changes // 5)):
                    sent.armed = True
                    base = await database.apply(base, touched(base.vn, number), activate=True)
                    times.append(max(await followers.ask(f"at v0 {base.revision}")) - sent.at)
                rows.append(
                    Row(
                        f"{count:,} VNs, {held:.0f} present: start, change p50, memory",
                        f"{started:.1f} s, {statistics.median(times) * 1000:.1f} ms, "
                        f"{memory[count]:.0f} MB an agent",
                        "nothing grows" if count == 5000 else "",
                        memory[5000] <= memory[50] * 1.1 and held == 50 if count == 5000 else None,
                    )
                )
    return rows


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
