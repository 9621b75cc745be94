"""The switches beside a bare forwarder: `make bench-switch`, as root, from the source tree's top.

Each round measures every candidate once, so that whatever else the machine does strikes all alike;
figures are medians over the rounds, ratios are medians of the rounds' ratios. CPU time per packet
is taken at a paced load in bursts of 32 (measure.py). BMv2 cannot take that: where it is on PATH,
it is measured at about half of what it can, and is compared with the softswitch at that rate too
(where it takes more: fewer packets share a warm cache, and what a process does anyhow weighs more).

Best effort is shown at both ends, where a frame becomes longer (a tenant's is encapsulated) or
shorter (one from the fabric is delivered); in the QoS path and in transit it keeps its length. The
forwarder's frames keep theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfvisor.p4rt.entries import Item
from dfvisor.p4rt.p4info import Schema

from bench import exact, inserts, memory, traffic
from bench.measure import Load, Paced, Wire, compiled, cpu_s, idle_share, resident_bytes
from bench.report import Report, Target
from ptf_tests import lab
from ptf_tests.p4rt import SwitchClient
from ptf_tests.sandbox import run_in_sandbox

PROGRAM = lab.CONFIGS / "dfvisor.json"
IDLE_S = 2.0
PORTS = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much to measure."""

    rounds: int
    packets: int
    pps: int
    seconds: float
    inserts: int
    bmv2_inserts: int
    only: str


@dataclass(frozen=True, slots=True)
class Case:
    """One state of the tables and its load. `bmv2_pps` is about half of what BMv2 can take."""

    name: str
    entries: list[Item]
    frames: list[bytes]
    bmv2_pps: int


@dataclass(slots=True)
class Switch:
    """A running switch and a client that is its primary."""

    target: str
    wire: Wire
    address: str
    client: SwitchClient
    idle: float = 0.0

    def program(self, case: Case) -> None:
        """Give it the case's entries and nothing else."""
        self.client.clear()
        self.client.insert(*case.entries)


@dataclass(slots=True)
class Samples:
    """What a case gave, in order of rounds: ours, the forwarder's, ours with 10 entries, and at
    BMv2's rate ours and BMv2's."""

    ours: list[Paced] = field(default_factory=list)
    bare: list[Paced] = field(default_factory=list)
    base: list[Paced] = field(default_factory=list)
    ours_slow: list[Paced] = field(default_factory=list)
    bmv2: list[Paced] = field(default_factory=list)


@dataclass(slots=True)
class Bench:
    """Everything that runs."""

    options: Options
    directory: Path
    bare: Wire
    ours: Switch
    base: Switch
    bmv2: Switch | None
    schema: Schema
    workload: traffic.Workload
    load_program: str
    report: Report

    def load(self, case: Case) -> Load:
        """The case's load."""
        frames = self.directory / f"frames-{case.name}"
        frames.write_bytes(b"".join(case.frames))
        return Load(self.load_program, frames)

    def median(self, sample: Callable[[], float]) -> float:
        """Of as many samples as there are rounds."""
        return statistics.median(sample() for _ in range(self.options.rounds))


def say(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


TO_FABRIC, FROM_FABRIC, TRANSIT = (
    "best effort to the fabric",
    "best effort from the fabric",
    "transit",
)
BYPASS = (TO_FABRIC, FROM_FABRIC, TRANSIT)


def cases(workload: traffic.Workload) -> dict[str, Case]:
    """By name: the flow entries of the QoS path, or what else it is."""
    fabric, ours = workload.base(), traffic.fabric_frames(traffic.OUR_VTEP)
    found = [
        Case(str(count), fabric + workload.flows(count), ours, pps)
        for count, pps in ((10, 10_000), (1000, 4_000), (10_000, 800))
    ]
    delivered = traffic.fabric_frames(traffic.OUR_VTEP, traffic.BEST_EFFORT)
    found.append(Case(TO_FABRIC, workload.base(access=1), traffic.tenant_frames(), 10_000))
    found.append(Case(FROM_FABRIC, workload.base(access=2), delivered, 10_000))
    found.append(Case(TRANSIT, fabric, traffic.fabric_frames(traffic.B_VTEP), 10_000))
    return {case.name: case for case in found}


# --- CPU time per packet --------------------------------------------------------------------------


def measure(bench: Bench, case: Case, base: Case) -> Samples:
    """All candidates, round by round; `base` is the QoS path with 10 entries."""
    options, samples = bench.options, Samples()
    load, base_load = bench.load(case), bench.load(base)
    switches = [bench.ours, *([bench.bmv2] if bench.bmv2 else [])]
    for switch in switches:
        switch.program(case)
    bench.base.program(base)
    for round_ in range(options.rounds):
        say(f"{case.name}: round {round_ + 1}/{options.rounds}")
        full = {"count": options.packets, "pps": options.pps}
        samples.bare.append(load.paced(bench.bare, idle=0.0, **full))
        samples.ours.append(load.paced(bench.ours.wire, idle=bench.ours.idle, **full))
        if case.name != base.name:
            samples.base.append(base_load.paced(bench.base.wire, idle=bench.base.idle, **full))
        if bench.bmv2 is not None:
            slow = {"count": case.bmv2_pps * 2, "pps": case.bmv2_pps}
            samples.ours_slow.append(load.paced(bench.ours.wire, idle=bench.ours.idle, **slow))
            samples.bmv2.append(load.paced(bench.bmv2.wire, idle=bench.bmv2.idle, **slow))
    return samples


def cpu(samples: Sequence[Paced]) -> float:
    """Median of the CPU time per packet."""
    return statistics.median(sample.cpu_us for sample in samples)


def ratio(ours: Sequence[Paced], theirs: Sequence[Paced]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a.cpu_us / b.cpu_us for a, b in zip(ours, theirs, strict=True))


def show_case(bench: Bench, label: str, samples: Samples, targets: list[Target]) -> None:
    """A row, and what was lost if anything was."""
    lost = sum(sample.lost for sample in samples.ours)
    note = f", {lost:,} lost" if lost else ""
    if samples.ours_slow:
        note += f" ({cpu(samples.ours_slow):.2f} at BMv2's rate)"
    bench.report.add(
        f"{label}, us CPU/packet",
        f"{cpu(samples.ours):.2f}{note}",
        targets,
        bare=f"{cpu(samples.bare):.2f}",
        bmv2=f"{cpu(samples.bmv2):.1f}" if samples.bmv2 else "",
    )


def against_bmv2(samples: Samples, times: int) -> list[Target]:
    """So many times less than BMv2, where it was measured: each at a rate that suits it, and both
    at BMv2's."""
    if not samples.bmv2:
        return []
    text = f"<= 1/{times} of BMv2"
    own, same = cpu(samples.bmv2) / cpu(samples.ours), ratio(samples.bmv2, samples.ours_slow)
    return [
        Target(f"{text}: 1/x", own, times, at_least=True),
        Target(f"{text}, both at its rate: 1/x", same, times, at_least=True),
    ]


def qos_row(bench: Bench, known: dict[str, Case]) -> None:
    """CPU time per packet with few entries."""
    samples = measure(bench, known["10"], known["10"])
    targets = [Target("<= 1.5x forwarder", ratio(samples.ours, samples.bare), 1.5)]
    show_case(bench, "QoS path, 10 flow entries", samples, targets + against_bmv2(samples, 12))


def ternary_row(bench: Bench, known: dict[str, Case], count: int, share: int) -> None:
    """The same with many."""
    samples = measure(bench, known[str(count)], known["10"])
    targets = [Target("<= 1.3x own at 10", ratio(samples.ours, samples.base), 1.3)]
    label = f"QoS path, {count:,} ternary entries"
    show_case(bench, label, samples, targets + against_bmv2(samples, share))


def bypass_rows(bench: Bench, known: dict[str, Case]) -> None:
    """The same without flow matching."""
    for name in BYPASS:
        samples = measure(bench, known[name], known["10"])
        targets = [
            Target("<= 1.35x forwarder", ratio(samples.ours, samples.bare), 1.35),
            Target("below the QoS path (< 1)", ratio(samples.ours, samples.base), 0.999),
        ]
        show_case(bench, name, samples, targets)


# --- the other figures ----------------------------------------------------------------------------


def saturation_row(bench: Bench, case: Case) -> None:
    """Packets per second at most."""
    load, seconds = bench.load(case), bench.options.seconds
    bench.ours.program(case)
    if bench.bmv2:
        bench.bmv2.program(case)
    ours, bare, bmv2 = [], [], []
    for round_ in range(bench.options.rounds):
        say(f"saturation: round {round_ + 1}/{bench.options.rounds}")
        bare.append(load.saturated_pps(bench.bare, seconds))
        ours.append(load.saturated_pps(bench.ours.wire, seconds))
        if bench.bmv2:
            bmv2.append(load.saturated_pps(bench.bmv2.wire, seconds))
    share = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    targets = [Target(">= 70 % of the forwarder", share * 100, 70, at_least=True)]
    if bmv2:
        times = statistics.median(a / b for a, b in zip(ours, bmv2, strict=True))
        targets.append(Target(">= 8x BMv2", times, 8, at_least=True))
    bench.report.add(
        "QoS path at saturation, packets/s",
        f"{statistics.median(ours):,.0f}",
        targets,
        bare=f"{statistics.median(bare):,.0f}",
        bmv2=f"{statistics.median(bmv2):,.0f}" if bmv2 else "",
    )


def memory_row(bench: Bench, case: Case) -> None:
    """The pipeline alone."""
    say("pipeline in memory")
    engine = memory.built(PROGRAM, bench.directory / "cache")
    try:
        memory.load(engine, case.entries)
        pps = bench.median(lambda: memory.pps(engine, case.frames))
    finally:
        engine.close()
    target = Target(">= 3 million/s", pps / 1e6, 3, at_least=True)
    bench.report.add("QoS path in memory, packets/s and core", f"{pps:,.0f}", [target])


@contextlib.contextmanager
def exact_table(bench: Bench, index: int, keys: int) -> Iterator[Wire]:
    """A process that looks packets up among so many keys."""
    names = lab.connect(index, PORTS)
    cache = str(bench.directory / "cache")
    near = [f"sw{index}p{port}" for port in PORTS]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.exact", str(keys), *near, cache],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the exact table's process did not start")
        yield Wire(process.pid, names[1], names[2], *near)
    finally:
        process.stdin.close()
        process.wait()


def exact_row(bench: Bench) -> None:
    """1,000 and 1,000,000 keys."""
    few, many = 1000, exact.MOST_KEYS
    options = bench.options
    count, pps = options.packets, options.pps
    say(f"exact table: {many:,} keys")
    with exact_table(bench, 7, few) as small, exact_table(bench, 8, many) as large:
        loads = []
        for keys in (few, many):
            recorded = bench.directory / f"exact{keys}"
            recorded.write_bytes(b"".join(exact.frames(keys)))
            loads.append(Load(bench.load_program, recorded))
        pairs = [
            tuple(
                load.paced(wire, count=count, pps=pps, idle=0.0)
                for load, wire in zip(loads, (small, large), strict=True)
            )
            for _ in range(options.rounds)
        ]
    at_few, at_many = ([pair[i] for pair in pairs] for i in (0, 1))
    bench.report.add(
        f"exact table, {many:,} keys, us CPU/packet",
        f"{cpu(at_many):.2f} (at {few:,}: {cpu(at_few):.2f})",
        [Target("<= 1.5x that at 1,000 keys", ratio(at_many, at_few), 1.5)],
    )


def insert_rows(bench: Bench, case: Case) -> None:
    """Batches of 1,000 into a ternary table, and packets meanwhile."""
    count = bench.options.inserts
    batches = inserts.requests(bench.schema, bench.workload, count)
    clearing = inserts.deletions(batches)
    bench.ours.client.clear()
    results = []
    for round_ in range(bench.options.rounds):
        say(f"inserts: round {round_ + 1}/{bench.options.rounds}")
        results.append(inserts.write(bench.ours.address, batches))
        inserts.write(bench.ours.address, clearing)
    per_s = statistics.median(result.per_s for result in results)
    last = statistics.median(result.last_per_s for result in results)
    reference = ""
    if bench.bmv2:
        bench.bmv2.client.clear()
        some = inserts.requests(bench.schema, bench.workload, bench.options.bmv2_inserts)
        found = inserts.write(bench.bmv2.address, some)
        reference = f"{found.per_s:,.0f} ({bench.options.bmv2_inserts:,} entries)"
    bench.report.add(
        f"{count:,} ternary inserts, entries/s",
        f"{per_s:,.0f}",
        [
            Target(">= 50,000/s", per_s, 50_000, at_least=True),
            Target(">= 50,000/s, the last tenth", last, 50_000, at_least=True),
        ],
        bmv2=reference,
    )
    loss_rows(bench, case, count)


def loss_rows(bench: Bench, case: Case, count: int) -> None:
    """Packets at half of what it can take, while entries come and go as fast as they can."""
    bench.ours.program(case)
    coming = inserts.requests(bench.schema, bench.workload, count)
    for request in coming:  # each one higher than those that are there
        for update in request.updates:
            update.entity.table_entry.priority += 100_000
    going, load = inserts.deletions(coming), bench.load(case)
    half = int(load.saturated_pps(bench.ours.wire, bench.options.seconds) / 2)
    results: dict[str, list[inserts.Loss]] = {"inserts": [], "deletions": []}
    for round_ in range(bench.options.rounds):
        say(f"inserts under load: round {round_ + 1}/{bench.options.rounds}")
        for what, batches in (("inserts", coming), ("deletions", going)):
            found = inserts.lost_meanwhile(bench.ours.address, batches, load, bench.ours.wire, half)
            results[what].append(found)
    for what, losses in results.items():
        lost, sent = sum(loss.lost for loss in losses), sum(loss.sent for loss in losses)
        ring = sum(loss.in_ring for loss in losses)
        where = f" ({ring:,} in its receive ring)" if lost else ""
        per_s = statistics.median(loss.entries_per_s for loss in losses)
        bench.report.add(
            f"packets lost during {what}, {half:,} packets/s",
            f"{lost:,} of {sent:,}{where}; {per_s:,.0f} entries/s",
            [Target("none", lost, 0)],
        )


def process_rows(bench: Bench) -> None:
    """The process itself: idle, and starting."""
    idle = bench.ours.idle * 100
    size = resident_bytes(bench.base.wire.pid) / 1e6
    bench.report.add("idle switch, % CPU", f"{idle:.2f}", [Target("< 1 %", idle, 1)])
    bench.report.add("idle switch, MB resident", f"{size:.0f}", [Target("< 100 MB", size, 100)])
    binary, cache = lab.binary("softswitch"), bench.directory / "cache"
    say("start with cached code")
    start = bench.median(lambda: _start_s(binary, cache))
    bench.report.add("start with cached code, s", f"{start:.2f}", [Target("< 1.0 s", start, 1.0)])
    say("first compile")
    first = bench.median(lambda: _compile_s(binary))
    bench.report.add("first compile, s", f"{first:.2f}", [Target("< 10 s", first, 10)])


def _start_s(binary: str, cache: Path) -> float:
    """From exec to the line that says it answers, forwarding by the program."""
    command = [binary, "--cache-dir", str(cache), "--grpc-server-addr", "127.0.0.1:0", str(PROGRAM)]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.monotonic() - begin
        if "listening" not in line:
            raise RuntimeError(f"the switch did not start: {line!r}")
        return seconds
    finally:
        process.terminate()
        process.wait()


def _compile_s(binary: str) -> float:
    with tempfile.TemporaryDirectory() as cache:
        begin = time.monotonic()
        command = [binary, "--compile-only", "--cache-dir", cache, str(PROGRAM)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begin


# --- setting up -----------------------------------------------------------------------------------


@contextlib.contextmanager
def bare_forwarder(directory: Path) -> Iterator[Wire]:
    """The yardstick on a pair of cables of its own."""
    names = lab.connect(9, PORTS)
    near = [f"sw9p{port}" for port in PORTS]
    process = subprocess.Popen([compiled(directory, "forwarder"), *near])
    try:
        yield Wire(process.pid, names[1], names[2], *near)
    finally:
        process.kill()
        process.wait()


def running(stack: contextlib.ExitStack, target: str, index: int, schema: Schema) -> Switch:
    """A switch with the pipeline."""
    found = stack.enter_context(lab.running_switch(target, index, ports=PORTS))
    client = SwitchClient(found.address, lab.DEVICE_ID, schema, 1)
    stack.callback(client.close)
    lab.push_pipeline(client)
    near = [f"sw{index}p{port}" for port in PORTS]
    wire = Wire(found.pid, found.interfaces[1], found.interfaces[2], *near)
    switch = Switch(target, wire, found.address, client)
    cpu_s(wire.pid)
    switch.idle = idle_share(wire.pid, IDLE_S)
    return switch


PARTS = ("qos", "ternary", "bypass", "saturation", "memory", "exact", "process", "inserts")


def parts_of(bench: Bench, known: dict[str, Case]) -> dict[str, Callable[[], None]]:
    """What `--only` chooses from."""

    def ternary() -> None:
        ternary_row(bench, known, 1000, 30)
        ternary_row(bench, known, 10_000, 150)

    work = (
        lambda: qos_row(bench, known),
        ternary,
        lambda: bypass_rows(bench, known),
        lambda: saturation_row(bench, known["10"]),
        lambda: memory_row(bench, known["10"]),
        lambda: exact_row(bench),
        lambda: process_rows(bench),
        lambda: insert_rows(bench, known["10"]),
    )
    return dict(zip(PARTS, work, strict=True))


def body(options: Options) -> int:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory, schema = Path(name), lab.load_schema()
        workload = traffic.Workload(schema)
        title = (
            f"{traffic.FRAME_BYTES}-byte frames, {traffic.FLOWS:,} flows, "
            f"medians of {options.rounds}; CPU time at {options.pps:,} packets/s"
        )
        bare = stack.enter_context(bare_forwarder(directory))
        with_bmv2 = shutil.which("simple_switch_grpc") is not None
        bench = Bench(
            options, directory, bare,
            running(stack, "softswitch", 0, schema), running(stack, "softswitch", 1, schema),
            running(stack, "bmv2", 2, schema) if with_bmv2 else None,
            schema, workload, compiled(directory, "load"), Report(title),
        )  # fmt: skip
        parts = parts_of(bench, cases(workload))
        for name in options.only.split(",") if options.only else parts:
            parts[name]()
        bench.report.show()
        if bench.report.missed:
            print(f"{bench.report.missed} targets were missed")
        if not with_bmv2:
            print("BMv2 (simple_switch_grpc) is not on PATH: its column is empty")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="medians are shown")
    add("--packets", type=int, default=100_000, help="of each measurement of CPU time")
    add("--pps", type=int, default=50_000, help="rate of these packets")
    add("--seconds", type=float, default=1.0, help="of each measurement of saturation")
    add("--inserts", type=int, default=100_000, help="ternary entries")
    add("--bmv2-inserts", type=int, default=20_000, help="the same for BMv2, which scans")
    add("--only", default="", help=f"parts, separated by commas, of {','.join(PARTS)}")
    options = Options(**vars(parser.parse_args()))
    if unknown := set(filter(None, options.only.split(","))) - set(PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))} is not among {', '.join(PARTS)}")
    return run_in_sandbox(lambda: body(options))


if __name__ == "__main__":
    sys.exit(main())
