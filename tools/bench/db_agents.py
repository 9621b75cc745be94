"""The parts of the database benchmark that have simulated agents: many of them, and many VNs."""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

from dfvisor.store.database import GlobalDatabase, VnSnapshot
from dfvisor.store.zk import ZooKeeper
from emulation.zookeeper import ZooKeeperServer

from bench.db_rig import (
    DEADLINE_S,
    VN,
    Row,
    Sent,
    System,
    network,
    process,
    put,
    quantiles,
    touched,
    virtual_network,
)

PROCESSES = 4
AGENTS = 500


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
