"""What a failure costs running traffic: numbered packets through the network while it happens."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulation import stream
from emulation.emulation import Emulation
from emulation.errors import EmulationError
from emulation.plan import HOST_INTERFACE

SETTLE_S = 0.3  # of traffic before anything is done to the network
AFTERWARDS_S = 0.5  # for packets on their way
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fared:
    """How one flow fared. `back_s` is the time from the failure to the first packet that was sent
    after the last one lost: 0 for a flow that lost nothing. `before` counts packets lost before the
    failure, `sent` and `received` all.
    """

    sent: int
    received: int
    twice: int
    back_s: float
    gap_s: float
    before: int

    @property
    def lost(self) -> int:
        return self.sent - self.received


def measure(
    net: Emulation,
    source: str,
    destination: str,
    flows: Sequence[tuple[int, int]],
    fail: Callable[[], object],
    *,
    pps: float = 10_000,
    seconds: float = 2.5,
) -> dict[tuple[int, int], Fared]:
    """Send the flows (UDP port, source port) at `pps` in all, do `fail` when they run, and see."""
    sender, receiver = net.host(source), net.host(destination)
    ip = receiver.plan.ipv4
    if ip is None:
        raise EmulationError(f"host {destination} has no IPv4 address")
    argv = [sys.executable, "-I", "-S", str(Path(stream.__file__))]
    ports = sorted({port for port, _ in flows})
    listening = receiver.start(
        [*argv, "receive", HOST_INTERFACE, str(seconds + 1 + AFTERWARDS_S), *map(str, ports)]
    )
    assert listening.stdout is not None
    if listening.stdout.readline().strip() != "ready":
        raise EmulationError(f"the receiver on {destination}: {listening.communicate()[1]}")
    words = [f"{port}:{source_port}" for port, source_port in flows]
    sending = sender.start([*argv, "send", HOST_INTERFACE, str(ip), str(seconds), str(pps), *words])
    time.sleep(SETTLE_S + 0.2)
    failed_ns = time.monotonic_ns()
    fail()
    sent = _answer(sending, source)
    received = _answer(listening, destination)
    return {
        flow: _fared(sent[word], received.get(word), failed_ns)
        for flow, word in zip(flows, words, strict=True)
    }


def _answer(process: subprocess.Popen[str], host: str) -> dict[str, Any]:
    out, err = process.communicate(timeout=TIMEOUT_S)
    if process.returncode != 0:
        raise EmulationError(f"the stream on {host} failed: {err.strip()}")
    answer: dict[str, Any] = json.loads(out)
    return answer


def _fared(sent: int, got: dict[str, Any] | None, failed_ns: int) -> Fared:
    if got is None:
        return Fared(sent=sent, received=0, twice=0, back_s=math.inf, gap_s=math.inf, before=0)
    later = [gap for gap in got["gaps"] if gap[1] >= failed_ns]
    between = sum(lost for _, _, lost in got["gaps"])
    back = max((after - failed_ns for _, after, _ in later), default=0) / 1e9
    if got["packets"] + between < sent:  # its first or last packets are missing
        back = math.inf
    return Fared(
        sent=sent,
        received=got["packets"],
        twice=got["twice"],
        back_s=back,
        gap_s=max((after - before for before, after, _ in later), default=0) / 1e9,
        before=sum(lost for _, after, lost in got["gaps"] if after < failed_ns),
    )
