"""What the switch benchmark measures with: a load, CPU time, counters of the kernel.

CPU time is the process's own, in nanoseconds from its scheduler clock, over a fixed number of
packets, less what the idle process takes in that time; so it does not depend on when anything
happens, and a busy machine disturbs it little.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.traffic import FRAME_BYTES

BURST = 32
DRAIN_TIMEOUT_S = 5.0
POLL_S = 0.01
WARM_UP = 2048


@dataclass(frozen=True, slots=True)
class Paced:
    """A load below saturation: CPU microseconds per packet, and packets that did not arrive."""

    cpu_us: float
    lost: int


@dataclass(frozen=True, slots=True)
class Wire:
    """A candidate: its process, where its load goes in and where it comes out, and its own ends of
    these two cables."""

    pid: int
    source: str
    sink: str
    near_source: str
    near_sink: str


def compiled(directory: Path, name: str) -> str:
    """One of the C programs beside this file, compiled into `directory`."""
    program = directory / name
    source = Path(__file__).with_name(f"{name}.c")
    command = ["cc", "-O2", "-march=native", "-Wall", "-Wextra", "-o", str(program), str(source)]
    subprocess.run(command, check=True)
    return str(program)


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process so far, those that ended included."""
    return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of the process, linux/posix-timers.h


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no resident memory")


def received(interface: str) -> int:
    """Packets that the kernel has received at an interface."""
    return int(Path(f"/sys/class/net/{interface}/statistics/rx_packets").read_text())


def idle_share(pid: int, seconds: float) -> float:
    """CPU time per second of a process to which nobody talks."""
    cpu, start = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_s(pid) - cpu) / (time.monotonic() - start)


class Load:
    """Sends the frames of one file."""

    def __init__(self, program: str, frames: Path) -> None:
        self._program = program
        self._frames = str(frames)

    def command(self, interface: str, *, count: int, pps: int, burst: int = BURST) -> list[str]:
        """The sender's command line; `count` 0: until it is ended; `pps` 0: flat out."""
        numbers = (str(n) for n in (FRAME_BYTES, count, pps, burst))
        return [self._program, interface, self._frames, *numbers]

    def paced(self, wire: Wire, *, count: int, pps: int, idle: float) -> Paced:
        """Send `count` packets at `pps` in small bursts, after a few that are not counted."""
        self._run(wire, WARM_UP, pps)
        before, cpu, start = received(wire.sink), cpu_s(wire.pid), time.monotonic()
        self._run(wire, count, pps)
        arrived = received(wire.sink) - before
        used = cpu_s(wire.pid) - cpu - idle * (time.monotonic() - start)
        if not arrived:
            raise RuntimeError(f"nothing arrived at {wire.sink}")
        return Paced(used / arrived * 1e6, count - arrived)

    def _run(self, wire: Wire, count: int, pps: int) -> None:
        expected = received(wire.sink) + count
        subprocess.run(
            self.command(wire.source, count=count, pps=pps), check=True, stdout=subprocess.DEVNULL
        )
        deadline, last = time.monotonic() + DRAIN_TIMEOUT_S, -1
        while (now := received(wire.sink)) < expected and time.monotonic() < deadline:
            if now == last:
                break  # what has not come for a while is lost
            last = now
            time.sleep(POLL_S * 10)

    def saturated_pps(self, wire: Wire, seconds: float) -> float:
        """Packets per second that arrive when they are sent flat out."""
        command = self.command(wire.source, count=0, pps=0, burst=64)
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            first = received(wire.sink)
            deadline = time.monotonic() + DRAIN_TIMEOUT_S
            while received(wire.sink) == first and time.monotonic() < deadline:
                time.sleep(POLL_S)
            packets, start = received(wire.sink), time.monotonic()
            time.sleep(seconds)
            return (received(wire.sink) - packets) / (time.monotonic() - start)
        finally:
            sender.kill()
            sender.wait()


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)
