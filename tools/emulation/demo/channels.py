"""Where things are and what is connected to what: the slicers, and the two channels."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from ipaddress import ip_address
from statistics import median

from emulation.demo.board import Board
from emulation.demo.run import Run

CONNECTS = 20


def measure(run: Run, board: Board) -> None:
    """Evidence on locality of the slicers, on the two channels, and on the age of counters."""
    agents = run.readings.agents()
    zookeeper = run.net.zookeeper.partition("/")[0]
    addresses = {name: info.slicer for name, info in agents.items()}
    beside = [
        name
        for name, info in agents.items()
        if info.pid == run.net.pid(f"agent-{name}")
        and ip_address(info.slicer.rpartition(":")[0]).is_loopback
    ]
    fine = board.check(
        "every switch has a slicer of its own, in its agent, on its machine",
        sorted(beside) == sorted(run.net.switches) and len(set(addresses.values())) == len(agents),
        ", ".join(f"{name} {addresses[name]}" for name in sorted(addresses)),
    )
    if fine:
        connects = [_connect_ms(address) for address in addresses.values() for _ in range(CONNECTS)]
        board.show(
            5,
            f"{len(beside)} slicers, one beside each switch, each a loopback connect away (no hop, "
            f"{median(connects):.2f} ms); tenants' packets pass none",
        )

    control = 0
    for name in run.net.processes():
        if name.startswith("vnc-"):
            ends = _connections(run.net.pid(name))
            control += sum(end in addresses.values() for end in ends)
    ours = _connections(os.getpid())
    apart = board.check(
        "configuration and statistics use ZooKeeper, flow entries use connections of their own",
        control > 0 and ours == {zookeeper},
        f"{control} connections from VN controllers to slicers; this reader has "
        f"{len(ours)}, to ZooKeeper at {zookeeper} only",
    )
    run.readings.stats()
    if apart:
        ages = run.readings.ages_s
        board.show(3, f"{control} control connections, none of them carries counters")
        board.show(
            4,
            f"counters were {median(ages):.1f} s old (at most {max(ages):.1f} s) in {len(ages)} "
            f"readings, and no switch was asked",
        )


def _connect_ms(address: str) -> float:
    host, _, port = address.rpartition(":")
    begin = time.perf_counter()
    with socket.create_connection((host, int(port)), timeout=2):
        return (time.perf_counter() - begin) * 1e3


def _connections(pid: int) -> set[str]:
    """Remote ends of a process's established TCP connections, as `ss` shows them."""
    done = subprocess.run(
        ["ss", "-tnpH", "state", "established"], capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in done.stdout.splitlines() if f"pid={pid}," in line]
    return {fields[3].replace("[::ffff:127.0.0.1]", "127.0.0.1") for fields in lines}
