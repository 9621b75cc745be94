"""The probes in all hosts, from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from emulation.demo import probe
from emulation.errors import EmulationError
from emulation.nodes import Host
from emulation.plan import HOST_INTERFACE

ENOUGH = 0.9
BURST = 20  # however late we are: switches' queues are short


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How a stream of questions fared: `lost` had no answer, `gap_ms` is the longest silence."""

    sent: int
    lost: int
    gap_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """UDP packets that nobody answers: `size_bytes` of payload, `pps` of them a second."""

    ip: str
    port: int
    source: int
    size_bytes: int
    pps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How many packets of each load were sent, and in what time."""

    packets: list[int]
    seconds: float

    def offered(self, loads: Sequence[Load]) -> bool:
        """Whether this machine had the time to send what was asked for."""
        pairs = zip(self.packets, loads, strict=True)
        return all(sent >= ENOUGH * load.pps * self.seconds for sent, load in pairs)


class Probes:
    """One probe process per host. Use with `with`."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._hosts = list(hosts)
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._locks: dict[str, threading.Lock] = {}

    def __enter__(self) -> Self:
        argv = [sys.executable, "-I", "-S", str(Path(probe.__file__))]
        for host in self._hosts:
            self._running[host.name] = host.start([*argv, host.name, HOST_INTERFACE])
            self._locks[host.name] = threading.Lock()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.kill()
            process.communicate()
        self._running.clear()

    def listen(self, host: str, ports: Iterable[int]) -> None:
        """Answer questions to these UDP ports, and to no others."""
        self._command(host, op="listen", ports=sorted(set(ports)))

    def ask_all(
        self, questions: Mapping[str, list[tuple[str, int]]], wait_s: float
    ) -> dict[str, dict[str, str]]:
        """Each host asks its (address, port) pairs, all at once: asker -> address -> who
        answered.
        """

        def ask(host: str) -> dict[str, str]:
            answer = self._command(host, op="ask", to=questions[host], wait_s=wait_s)
            return {str(ip): str(who) for ip, who in answer["answers"].items()}

        with ThreadPoolExecutor(max(1, len(questions))) as pool:
            return dict(zip(questions, pool.map(ask, questions), strict=True))

    def heard(self, host: str) -> set[tuple[str, str]]:
        """(asker, address asked) of every question that reached the host."""
        return {
            (asker, ip)
            for asker, ip in (text.split() for text in self._command(host, op="heard")["heard"])
        }

    def flow(self, host: str, ip: str, port: int, source: int, count: int) -> list[float | None]:
        """A new flow from port `source`: the round-trip times in ms, None for a lost packet."""
        answer = self._command(host, op="flow", ip=ip, port=port, source=source, count=count)
        return list(answer["rtt_ms"])

    def start_stream(self, host: str, ip: str, port: int, source: int, interval_s: float) -> None:
        """Keep asking until `stop_stream`; one stream per host."""
        self._command(host, op="stream", ip=ip, port=port, source=source, interval_s=interval_s)

    def stop_stream(self, host: str) -> Stream:
        answer = self._command(host, op="stop")
        return Stream(sent=answer["sent"], lost=answer["lost"], gap_ms=answer["gap_ms"])

    def load(self, host: str, loads: Sequence[Load], seconds: float, burst: int = BURST) -> Sent:
        """Send all of them at once for so long; of each at most `burst` packets in a row."""
        words = [(load.ip, load.port, load.source, load.size_bytes, load.pps) for load in loads]
        answer = self._command(host, op="load", loads=words, seconds=seconds, burst=burst)
        return Sent(packets=list(answer["sent"]), seconds=answer["seconds"])

    def burst(self, host: str, ip: str, port: int, source: int, size: int, count: int) -> float:
        """Send packets back to back that nobody answers; the seconds it took."""
        answer = self._command(
            host, op="burst", ip=ip, port=port, source=source, size=size, count=count
        )
        return float(answer["seconds"])

    def swallowed(self, host: str) -> dict[int, int]:
        """Packets of loads that reached the host, by port, since this was last asked."""
        answer = self._command(host, op="swallowed")["swallowed"]
        return {int(port): count for port, count in answer.items()}

    def _command(self, host: str, **command: object) -> dict[str, Any]:
        process = self._running[host]
        assert process.stdin and process.stdout
        with self._locks[host]:
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            raise EmulationError(f"the probe in {host} failed: {process.communicate()[1].strip()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
