"""The slicer's cost: against writing to the switch directly, under floods, with many slices.

`python -m bench.slicer [--rounds N] [--only PART...]` from the top of the source tree. Every
comparison runs side by side, in rounds that alternate; the tables show medians. Measured at a
softswitch without ports, at BMv2 where it is on PATH, and at a switch that only acknowledges.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import grpc.aio
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import Exact, TableEntry, Ternary
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.tls import Credentials
from emulation.emulation import program_of
from emulation.targets import Target
from rich.console import Console
from rich.table import Table

from bench.slicer_rig import (
    DEVICE_ID,
    PIPELINE,
    VN,
    Process,
    push_pipeline,
    running,
    switch_command,
)

BMV2 = "simple_switch_grpc"
SINGLE = 300  # writes of a round
BATCH = 1000
BATCHES = 16
IN_FLIGHT = 4
FLOOD_S = 3.0
HELD = 5000
ENTRIES = 64
DIRECT_SLICE = 4000  # slice id that no slicer here uses
FULL32 = 0xFFFFFFFF

Held: TypeAlias = dict[str, bool]
"""What should hold, and whether it does."""


@dataclass(slots=True)
class Sample:
    """Latencies in milliseconds."""

    values: list[float]

    def p(self, percent: float) -> float:
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def entry(number: int, slice_id: int | None) -> TableEntry:
    """The number-th `flow` entry; without a slice id as a slice's role writes it."""
    key = (
        ("eth_type", Ternary(0x0800, 0xFFFF)),
        ("ipv4_dst", Ternary(0x0A000000 + number, FULL32)),
        ("ip_proto", Ternary(17, 0xFF)),
        ("l4_dst", Ternary(number % 60000 + 1, 0xFFFF)),
    )
    if slice_id is None:
        return TableEntry("flow", key, 10, "permit", (("cookie", number + 1),))
    return TableEntry(
        "flow", (("slice_id", Exact(slice_id)), *key), 10, "permit", (("cookie", number + 1),)
    )


class Writer:
    """A primary at a switch (slice None) or at a slicer."""

    def __init__(
        self,
        address: str,
        slice_name: str | None,
        election_id: int,
        tls: Credentials | None = None,
    ) -> None:
        role = None if slice_name is None else f"slice/{VN}/{slice_name}"
        self.client = P4RuntimeClient(
            address, DEVICE_ID, election_id=(0, election_id), role=role, tls=tls
        )
        self.slice_id = DIRECT_SLICE if slice_name is None else None
        self.election_id = election_id

    async def open(self) -> None:
        await self.client.connect()
        await self.client.become_primary()
        schema = PIPELINE.schema if self.slice_id else await self.client.get_schema()
        assert schema is not None
        self.client.schema = schema

    def update(self, kind: p4r.Update.Type.ValueType, number: int) -> p4r.Update:
        assert self.client.schema is not None
        made = self.client.schema.insert(entry(number, self.slice_id))
        made.type = kind
        if kind == p4r.Update.DELETE:
            made.entity.table_entry.ClearField("action")
        return made

    def request(self, updates: Sequence[p4r.Update]) -> p4r.WriteRequest:
        request = p4r.WriteRequest(
            device_id=DEVICE_ID, role=self.client.role or "", updates=updates
        )
        request.election_id.low = self.election_id
        return request

    async def write(self, request: p4r.WriteRequest) -> float:
        """Milliseconds."""
        began = time.perf_counter()
        await self.client._stub.Write(request)
        return (time.perf_counter() - began) * 1e3

    async def singles(self, count: int, first: int = 0) -> Sample:
        """One write after the other: entries are inserted and deleted again, in turn."""
        values = []
        for number in range(count):
            kind = p4r.Update.DELETE if number % 2 else p4r.Update.INSERT
            values.append(await self.write(self.request([self.update(kind, first + number // 2)])))
        return Sample(values)

    async def clear(self) -> None:
        """Delete all entries."""
        assert self.client.schema is not None
        held = await self.client.read_entries()
        await self.client.write([self.client.schema.delete(one) for one in held])

    async def fill(self) -> None:
        """Insert as much as a reader that never reads gets stuck with."""
        for first in range(0, HELD, BATCH):
            updates = [self.update(p4r.Update.INSERT, first + n) for n in range(BATCH)]
            await self.write(self.request(updates))

    async def batches(self, count: int, size: int, kind: p4r.Update.Type.ValueType) -> float:
        """Updates per second, IN_FLIGHT batches at a time."""
        requests = [
            self.request([self.update(kind, batch * size + number) for number in range(size)])
            for batch in range(count)
        ]
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def one(request: p4r.WriteRequest) -> None:
            async with slots:
                await self.write(request)

        began = time.perf_counter()
        await asyncio.gather(*map(one, requests))
        return count * size / (time.perf_counter() - began)


@contextlib.asynccontextmanager
async def writers(*wanted: tuple[str, str | None, int]) -> AsyncIterator[list[Writer]]:
    """Writers at (address, slice, election id), open."""
    made = [Writer(*one) for one in wanted]
    try:
        for one in made:
            await one.open()
        yield made
    finally:
        for one in made:
            await one.client.close()


# -- one after the other, and in batches


async def cost(direct: str, slicer: Process, rounds: int) -> tuple[Table, Held]:
    """Single writes and batches, direct and through the slicer; also the slicer's processor time,
    which other load does not change much.
    """
    # the switch has one primary, and that is the slicer: the direct client reaches above it while
    # it writes, so it is opened for its rounds only
    single: dict[str, list[float]] = {"direct": [], "slicer": []}
    kinds = {"insert": p4r.Update.INSERT, "delete": p4r.Update.DELETE}
    rate: dict[tuple[str, str], list[float]] = {}
    single_cpu: list[float] = []
    update_cpu: list[float] = []
    for round_ in range(rounds):
        for name, address, slice_name in (
            ("direct", direct, None),
            ("slicer", slicer.address, "s0"),
        ):
            async with writers((address, slice_name, 2 + round_)) as (writer,):
                await writer.singles(40)
                began = slicer.cpu_s()
                single[name] += (await writer.singles(SINGLE)).values
                between = slicer.cpu_s()
                for kind, number in kinds.items():
                    found = await writer.batches(BATCHES, BATCH, number)
                    rate.setdefault((name, kind), []).append(found)
                if slice_name is not None:
                    single_cpu.append((between - began) / SINGLE * 1e6)
                    update_cpu.append((slicer.cpu_s() - between) / (2 * BATCHES * BATCH) * 1e6)
    made = Table(title="one write, and batches of 1,000 with 4 in flight")
    for column in ("", "p50 ms", "p99 ms", "inserts/s", "deletes/s"):
        made.add_column(column, justify="left" if not column else "right")
    medians = {key: statistics.median(values) for key, values in rate.items()}
    for name in ("direct", "slicer"):
        sample = Sample(single[name])
        rates = [f"{medians[name, kind]:,.0f}" for kind in kinds]
        made.add_row(name, f"{sample.p(50):.2f}", f"{sample.p(99):.2f}", *rates)
    added = Sample(single["slicer"]).p(50) - Sample(single["direct"]).p(50)
    shares = [medians["slicer", kind] / medians["direct", kind] for kind in kinds]
    made.add_row("added, share", f"{added:.2f}", "", *(f"{share:.0%}" for share in shares))
    made.add_row(
        "its CPU, us",
        f"{statistics.median(single_cpu):.0f} a write",
        "",
        "",
        f"{statistics.median(update_cpu):.1f} an update",
    )
    slowest = min(medians["slicer", kind] for kind in kinds)
    return made, {
        "at most 0.7 ms added": added <= 0.7,
        "at least 50,000 updates/s": slowest >= 50_000,
        "at least 65 % of direct": min(shares) >= 0.65,
    }


# -- floods


async def flood(address: str, kind: str, seconds: float) -> None:
    """What an over-eager client does; a process of its own."""
    async with writers((address, "s1", 1)) as (writer,):
        await writer.clear()
        if kind == "reader":  # its entries are not the flood
            await writer.fill()
        print("flooding", flush=True)
        until = time.monotonic() + seconds

        async def singles(number: int) -> None:
            insert = [writer.request([writer.update(p4r.Update.INSERT, number)])]
            delete = [writer.request([writer.update(p4r.Update.DELETE, number)])]
            while time.monotonic() < until:
                for request in (*insert, *delete):
                    with contextlib.suppress(Exception):
                        await writer.write(request)

        async def big(number: int) -> None:
            first = number * BATCH
            pair = [
                writer.request([writer.update(kind, first + n) for n in range(BATCH)])
                for kind in (p4r.Update.INSERT, p4r.Update.DELETE)
            ]
            while time.monotonic() < until:
                for request in pair:
                    await writer.write(request)

        async def reader() -> None:
            request = p4r.ReadRequest(device_id=DEVICE_ID, role=writer.client.role or "")
            request.entities.add().table_entry.SetInParent()
            calls: list[grpc.aio.UnaryStreamCall[p4r.ReadRequest, p4r.ReadResponse]] = []
            while time.monotonic() < until:
                if len(calls) < 60:
                    calls.append(writer.client._stub.Read(request))  # and never reads it
                    await calls[-1].read()
                await asyncio.sleep(0.001)
            for call in calls:
                call.cancel()

        if kind == "reader":
            await reader()
        elif kind == "batches":
            await asyncio.gather(*(big(number) for number in range(IN_FLIGHT)))
        else:
            await asyncio.gather(*(singles(number) for number in range(int(kind))))


FLOODS = {
    "8": "8 single writes in flight",
    "64": "64 single writes in flight",
    "batches": "batches of 1,000, 4 in flight",
    "reader": "a reader that never reads",
}


async def floods(slicer: str, rounds: int) -> tuple[Table, Held]:
    """A well-behaved slice's writes while another floods."""
    quiet: list[float] = []
    found: dict[str, list[float]] = {kind: [] for kind in FLOODS}
    for round_ in range(rounds):
        async with writers((slicer, "s2", 100 + round_)) as (writer,):
            quiet += (await writer.singles(SINGLE)).values
            for kind in FLOODS:
                child = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "bench.slicer", "--flood", kind, "--at", slicer),
                    stdout=asyncio.subprocess.PIPE,
                )
                assert child.stdout is not None
                try:
                    await child.stdout.readline()
                    until = time.monotonic() + FLOOD_S - 0.5
                    while time.monotonic() < until:
                        found[kind] += (await writer.singles(20)).values
                finally:
                    if await child.wait():
                        raise RuntimeError(f"the flood of {kind} has failed")
    base = Sample(quiet)
    made = Table(title="a well-behaved slice's writes while another floods")
    for column in ("", "p50 ms", "p99 ms", "of quiet p99"):
        made.add_column(column, justify="left" if not column else "right")
    made.add_row("quiet", f"{base.p(50):.2f}", f"{base.p(99):.2f}", "")
    held = True
    for kind, name in FLOODS.items():
        sample = Sample(found[kind])
        factor = sample.p(99) / base.p(99)
        held = held and factor <= 2
        made.add_row(name, f"{sample.p(50):.2f}", f"{sample.p(99):.2f}", f"{factor:.1f}x")
    return made, {"others' p99 at most twice as long": held}


# -- many slices


async def many(switch: str, counts: Sequence[int]) -> tuple[Table, Held]:
    """Idle slices, each with a controller connected."""
    made = Table(title="idle slices, each with its controller connected")
    for column in ("slices", "memory MB", "kB a slice", "CPU %", "write p50 ms", "p99 ms"):
        made.add_column(column, justify="right")
    held = True
    base = 0
    for count in counts:
        with slicer_at(switch, count + 1) as one:
            address = one.address
            base = base or one.memory_bytes()
            async with writers(*((address, f"s{n}", 1) for n in range(count))) as made_writers:
                busy = one.cpu_s()
                await asyncio.sleep(3)
                cpu = (one.cpu_s() - busy) / 3 * 100
                sample = await made_writers[0].singles(SINGLE)
                memory = one.memory_bytes()
                each = (memory - base) / count / 1024 if count > 1 else 0
                if count == 100:
                    held = cpu < 1 and memory < 100e6
                made.add_row(
                    f"{count:,}",
                    f"{memory / 1e6:.0f}",
                    f"{each:.0f}",
                    f"{cpu:.1f}",
                    f"{sample.p(50):.2f}",
                    f"{sample.p(99):.2f}",
                )
    return made, {"100 slices: under 1 % CPU and 100 MB": held}


# -- the parts


async def at_switch(
    scratch: Path, rounds: int, target: Target = Target.SOFTSWITCH
) -> tuple[list[Table], Held]:
    """The cost in front of a switch."""
    with contextlib.ExitStack() as stack:
        # clients reach the direct one in the way in which they reach the slicer
        switch = stack.enter_context(switch_process(target, scratch, "switch")).address
        direct = stack.enter_context(
            switch_process(target, scratch, "direct", beside=False)
        ).address
        for address in (switch, direct):
            await push_pipeline(address)
        slicer = stack.enter_context(slicer_at(switch, 3))
        table, held = await cost(direct, slicer, rounds)
        return [table], held


def switch_process(
    target: Target, scratch: Path, name: str, *, beside: bool = True
) -> contextlib.AbstractContextManager[Process]:
    """A switch without ports. `beside`: for a slicer beside it alone, at a local socket."""
    if target is Target.SOFTSWITCH:
        address = "" if beside else f"127.0.0.1:{free_port()}"
        return running(*switch_command(scratch, name, address))
    return bmv2(scratch / f"{name}.notify")


@contextlib.contextmanager
def bmv2(notify: Path) -> Iterator[Process]:
    address = f"127.0.0.1:{free_port()}"
    command = [*program_of(Target.BMV2), "--no-p4", "--device-id", str(DEVICE_ID), "-L", "off"]
    command += ["--thrift-port", str(free_port()), "--notifications-addr", f"ipc://{notify}"]
    process = Process([*command, "--", "--grpc-server-addr", address, "--cpu-port", "510"], address)
    try:
        yield process
    finally:
        process.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def at_null(scratch: Path, rounds: int) -> tuple[list[Table], Held]:
    """The cost in front of a switch that only acknowledges."""
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(null_switch(scratch)).address
        table, held = await cost(null, stack.enter_context(slicer_at(null, 3)), rounds)
        del held["at least 65 % of direct"]  # nothing is done there
        return [table], held


async def flooded(scratch: Path, rounds: int) -> tuple[list[Table], Held]:
    """Floods, at a softswitch."""
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(running(*switch_command(scratch))).address
        await push_pipeline(switch)
        table, held = await floods(stack.enter_context(slicer_at(switch, 3)).address, rounds)
        return [table], held


async def idle(scratch: Path, rounds: int) -> tuple[list[Table], Held]:
    """Many idle slices."""
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(null_switch(scratch)).address
        table, held = await many(null, (1, 100, 1000))
        return [table], held


def slicer_at(switch: str, slices: int) -> contextlib.AbstractContextManager[Process]:
    return running("bench.slicer_rig", "slicer", switch, "127.0.0.1:0", str(slices))


def null_switch(scratch: Path) -> contextlib.AbstractContextManager[Process]:
    return running("bench.slicer_rig", "null", f"unix:{scratch}/null")


Part: TypeAlias = Callable[[Path, int], Awaitable[tuple[list[Table], Held]]]
PARTS: dict[str, tuple[Part, str]] = {
    "switch": (at_switch, "in front of the softswitch"),
    "bmv2": (partial(at_switch, target=Target.BMV2), "in front of BMv2"),
    "acknowledging": (at_null, "in front of a switch that only acknowledges"),
    "floods": (flooded, "in front of the softswitch"),
    "idle": (idle, "in front of a switch that only acknowledges"),
}


async def run(parts: Sequence[str], rounds: int) -> int:
    console = Console()
    for name in parts:
        part, where = PARTS[name]
        with tempfile.TemporaryDirectory() as scratch:
            tables, held = await part(Path(scratch), rounds)
        console.print(f"{where}:", *tables)
        for what, met in held.items():
            console.print(f"{'met    ' if met else 'not met'} {what}")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=[], help="parts (all)")
    parser.add_argument("--flood", help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if options.flood:
        asyncio.run(flood(options.at, options.flood, FLOOD_S))
        return
    parts = options.only or [name for name in PARTS if name != "bmv2" or shutil.which(BMV2)]
    sys.exit(asyncio.run(run(parts, options.rounds)))


if __name__ == "__main__":
    main()
