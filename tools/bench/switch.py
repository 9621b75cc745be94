"""Packets per second and CPU time per packet of the switches, beside a bare forwarder.

`python -m bench.switch [--seconds S] [--runs N]`, as root, from the top of the source tree. Each
round measures every candidate once; the table shows medians. Frames of 134 bytes, 2,048 different
flows, sent flat out into one port and counted by the kernel behind another.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dfvisor.p4rt.entries import Exact, Item, TableEntry, Ternary
from rich.console import Console
from rich.table import Table

from ptf_tests import lab
from ptf_tests.p4rt import SwitchClient
from ptf_tests.sandbox import run_in_sandbox

FLOWS = 2048
FRAME_BYTES = 134
HOST, PEER = 0x020000000001, 0x020000000002
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """Packets per second delivered, and CPU microseconds per packet delivered."""

    pps: float
    cpu_us: float


def frames() -> list[bytes]:
    """One UDP frame per flow, which differ in their source port."""
    payload = bytes(FRAME_BYTES - 14 - 20 - 8)
    address = bytes([10, 0, 0, 1]) + bytes([10, 0, 0, 2])
    result = []
    for port in range(10000, 10000 + FLOWS):
        udp = port.to_bytes(2, "big") + (5201).to_bytes(2, "big")
        udp += (8 + len(payload)).to_bytes(2, "big") + bytes(2) + payload
        ip = bytes([0x45, 0]) + (20 + len(udp)).to_bytes(2, "big") + bytes([0, 0, 0x40, 0, 64, 17])
        ethernet = PEER.to_bytes(6, "big") + HOST.to_bytes(6, "big") + b"\x08\x00"
        result.append(ethernet + ip + bytes(2) + address + udp)
    return result


def entries(qos: bool) -> list[Item]:
    """Port 1 is a tenant's, port 2 leads to the fabric; with QoS, one flow entry per flow."""

    def entry(table: str, key: dict[str, int], action: str, **args: int) -> TableEntry:
        return TableEntry(
            table,
            tuple((name, Exact(v)) for name, v in key.items()),
            0,
            action,
            tuple(args.items()),
        )

    state: list[Item] = [
        TableEntry(
            "access_port",
            (("port", Exact(1)),),
            1,
            "set_access",
            (("vn", 1), ("best_effort_slice", 1), ("vid", 0), ("guarded", 0), ("learning", 0)),
        ),
        entry(
            "next_hop", {"next_hop": 1}, "to_neighbour", vtep=0xC0000202, port=2, mac=PEER, mtu=9000
        ),
        TableEntry(
            "switch_config",
            (),
            0,
            "set_switch_config",
            (("vtep", 0xC0000201), ("mac", HOST), ("hash_seed", 1)),
            True,
        ),
        entry("bridge", {"vn": 1, "eth_dst": PEER}, "bridge_remote", next_hop=1),
    ]
    for slice_id, level in ((1, 0), (2, 1)):
        state.append(
            entry(
                "slice_policy", {"slice_id": slice_id}, "set_slice_policy", gre_key=slice_id,
                qos_level=level, miss_policy=0, queue=0, dscp=0, best_effort_slice=1,
                best_effort_key=1, dscp_yellow=0,
            )
        )  # fmt: skip
    if not qos:
        return state
    udp = ("ip_proto", Ternary(17, 0xFF))
    state.append(
        TableEntry(
            "classifier",
            (("vn", Exact(1)), udp),
            2,
            "classify",
            (("slice_id", 2), ("cookie", 1), ("meter_id", 0)),
        )
    )
    state.append(
        entry(
            "slice_forward", {"slice_id": 2, "path_class": 0, "eth_dst": PEER}, "forward",
            next_hop=1, cookie=1,
        )
    )  # fmt: skip
    for port in range(10000, 10000 + FLOWS):
        key = (("slice_id", Exact(2)), udp, ("l4_src", Ternary(port, 0xFFFF)))
        state.append(TableEntry("flow", key, 10, "permit", (("cookie", port),)))
    return state


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def received(interface: str) -> int:
    return int(Path(f"/sys/class/net/{interface}/statistics/rx_packets").read_text())


def measure(pid: int, load: list[str], sink: str, seconds: float) -> Sample:
    """Run `load` for `seconds`; what arrives at `sink`, and what the process `pid` spent."""
    sender = subprocess.Popen(load)
    try:
        time.sleep(0.2)  # the sender's own start; the measurement is a difference
        packets, cpu, start = received(sink), cpu_s(pid), time.monotonic()
        time.sleep(seconds)
        packets, cpu = received(sink) - packets, cpu_s(pid) - cpu
        elapsed = time.monotonic() - start
    finally:
        sender.kill()
        sender.wait()
    if packets == 0:
        raise RuntimeError(f"nothing arrived at {sink}")
    return Sample(packets / elapsed, cpu / packets * 1e6)


def compiled(directory: Path, name: str) -> str:
    """One of the C programs beside this file, compiled into `directory`."""
    program = directory / name
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return str(program)


@contextlib.contextmanager
def bare_forwarder(directory: Path) -> Iterator[tuple[int, dict[int, str]]]:
    """The yardstick on a pair of cables of its own."""
    names = lab.connect(9, (1, 2))
    process = subprocess.Popen([compiled(directory, "forwarder"), "sw9p1", "sw9p2"])
    try:
        yield process.pid, names
    finally:
        process.kill()
        process.wait()


def body(seconds: float, runs: int) -> int:
    targets = ["softswitch", *(["bmv2"] if shutil.which("simple_switch_grpc") else [])]
    samples: dict[str, list[Sample]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        recorded = directory / "frames"
        recorded.write_bytes(b"".join(frames()))
        sender = compiled(directory, "load")
        forwarder, cables = stack.enter_context(bare_forwarder(directory))
        candidates: list[tuple[str, Callable[[], None], int, dict[int, str]]] = [
            ("bare forwarder", lambda: None, forwarder, cables)
        ]
        for index, target in enumerate(targets):
            running = stack.enter_context(lab.running_switch(target, index, ports=(1, 2)))
            client = SwitchClient(running.address, lab.DEVICE_ID, lab.load_schema(), 1)
            stack.callback(client.close)
            lab.push_pipeline(client)
            for label, qos in (("best effort", False), (f"QoS, {FLOWS:,} flows", True)):

                def program(client: SwitchClient = client, qos: bool = qos) -> None:
                    client.clear()
                    client.insert(*entries(qos))

                pid = running.pid
                candidates.append((f"{target}: {label}", program, pid, running.interfaces))
        for round_ in range(runs):
            for label, prepare, pid, interfaces in candidates:
                print(f"round {round_ + 1}/{runs}: {label}", file=sys.stderr)
                prepare()
                load = [sender, interfaces[1], str(recorded), str(FRAME_BYTES)]
                sample = measure(pid, load, interfaces[2], seconds)
                samples.setdefault(label, []).append(sample)
    show(samples)
    return 0


def show(samples: dict[str, list[Sample]]) -> None:
    """Medians, and the ratio of CPU time to the bare forwarder's."""
    table = Table(title=f"{FRAME_BYTES}-byte frames, {FLOWS:,} flows, medians")
    for column in ("", "packets/s", "CPU us/packet", "x bare forwarder"):
        table.add_column(column, justify="right" if column else "left")
    bare = statistics.median(sample.cpu_us for sample in samples["bare forwarder"])
    for label, of_label in samples.items():
        pps = statistics.median(sample.pps for sample in of_label)
        cpu = statistics.median(sample.cpu_us for sample in of_label)
        table.add_row(label, f"{pps:,.0f}", f"{cpu:.2f}", f"{cpu / bare:.1f}")
    Console(width=100).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--runs", type=int, default=5, help="rounds; medians are shown")
    options = parser.parse_args()
    return run_in_sandbox(lambda: body(options.seconds, options.runs))


if __name__ == "__main__":
    sys.exit(main())
