"""A host or switch of a running emulation: run tools in it, read its kernel's counters, capture."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emulation.errors import EmulationError
from emulation.instance import ENVIRONMENT_MARK, Instance
from emulation.namespaces import InterfaceCounters, interface_counters
from emulation.plan import HOST_INTERFACE, HostPlan, SwitchPlan, switch_interface

CAPTURE_BYTES = 192  # of each frame: all headers, outer and inner
WHOLE_BYTES = 2048
TOOL_TIMEOUT_S = 20.0
_REPLY = re.compile(r"icmp_seq=(\d+) .*time=([0-9.]+) ms")


@dataclass(frozen=True, slots=True)
class Ping:
    """What ping said: packets sent, and the round-trip time of each one answered, by sequence."""

    sent: int
    rtt_ms: Mapping[int, float]

    @property
    def received(self) -> int:
        return len(self.rtt_ms)


class Node:
    """Something with a network namespace of its own."""

    def __init__(self, instance: Instance, name: str) -> None:
        self.name = name
        self.namespace = instance.namespace(name)
        self._instance = instance

    def start(self, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start a program here, with pipes for its input and outputs. The caller waits for it."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, ENVIRONMENT_MARK: self._instance.name},
            start_new_session=True,
        )

    def run(
        self, argv: Sequence[str], *, timeout_s: float = TOOL_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end. EmulationError when it takes too long; its exit status is
        the caller's business."""
        process = self.start(argv)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise EmulationError(
                f"on {self.name}: {' '.join(argv)} took over {timeout_s:g} s"
            ) from error
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)


class Host(Node):
    """A tenant's host."""

    def __init__(self, instance: Instance, plan: HostPlan) -> None:
        super().__init__(instance, plan.name)
        self.plan = plan

    def ping(
        self, ip: object, count: int = 1, *, interval_s: float = 0.05, wait_s: float = 1.0
    ) -> Ping:
        """Send `count` echo requests through the host's interface."""
        argv = ["ping", "-n", "-I", HOST_INTERFACE, "-c", str(count), "-i", f"{interval_s:g}"]
        timeout_s = TOOL_TIMEOUT_S + count * interval_s
        done = self.run([*argv, "-W", f"{wait_s:g}", str(ip)], timeout_s=timeout_s)
        if done.returncode not in (0, 1):  # 1: no answer
            raise EmulationError(f"ping on {self.name} failed: {done.stderr.strip()}")
        return Ping(count, {int(n): float(ms) for n, ms in _REPLY.findall(done.stdout)})

    def counters(self) -> InterfaceCounters:
        """The kernel's counters of the host's interface."""
        return interface_counters(self.namespace, HOST_INTERFACE)


class SwitchNode(Node):
    """A switch."""

    def __init__(self, instance: Instance, plan: SwitchPlan) -> None:
        super().__init__(instance, plan.name)
        self.plan = plan

    def counters(self, port: int) -> InterfaceCounters:
        """The kernel's counters of the switch's own end of the cable at a port."""
        return interface_counters(self.namespace, switch_interface(port))

    def capture(self, port: int, file: Path, *, only: str = "", whole: bool = False) -> Capture:
        """Start capturing what passes a port, both directions; `only` is a pcap filter. Frames are
        cut behind their headers unless wanted `whole`."""
        size = WHOLE_BYTES if whole else CAPTURE_BYTES
        return Capture(self, switch_interface(port), file, only, size)


class Capture:
    """A running tcpdump. Leaves the file when stopped."""

    def __init__(
        self,
        node: Node,
        interface: str,
        file: Path,
        only: str = "",
        size_bytes: int = CAPTURE_BYTES,
    ) -> None:
        self.file = file
        argv = ["tcpdump", "-Z", "root", "-n", "-U", "-s", str(size_bytes), "-i", interface]
        self._process = node.start([*argv, "--immediate-mode", "-w", str(file), *only.split()])
        assert self._process.stderr
        said = []
        while line := self._process.stderr.readline():  # its end comes with the process's
            said.append(line)
            if "listening on" in line:
                return
        self._process.wait()
        raise EmulationError(f"tcpdump on {node.name} failed: {''.join(said).strip()}")

    def stop(self) -> Path:
        """End the capture and return its file."""
        if self._process.poll() is None:
            time.sleep(0.05)  # a frame may be between the ring and the file
            self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=TOOL_TIMEOUT_S)
        return self.file

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def decode(file: Path, fields: Sequence[str], *, only: str = "") -> list[tuple[str, ...]]:
    """The fields of each captured packet as tshark prints them; `only` is a tshark filter.

    A field that occurs more than once (outer and inner header) has its values joined by commas.
    """
    argv = ["tshark", "-n", "-r", str(file), "-T", "fields"]
    for name in fields:
        argv += ["-e", name]
    if only:
        argv += ["-Y", only]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise EmulationError(f"tshark cannot read {file}: {done.stderr.strip()}")
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]
