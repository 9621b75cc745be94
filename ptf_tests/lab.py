"""A switch process between pairs of virtual interfaces, for tests. Works inside a sandbox only.

Port n of switch i is the interface `sw<i>p<n>`; a test sends and receives at its other end,
`pt<i>p<n>`.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfvisor.p4rt.p4info import Schema

from ptf_tests.p4rt import CPU_PORT, SwitchClient, await_server

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "bmv2_configs"
TARGETS = ("softswitch", "bmv2")
PORTS = (1, 2, 3, 4, 5, 6, 7, 8)
WATCHED_PORT = 9  # its far end is no port of ptf's, and may go down
WATCHED_PEER = f"pt0p{WATCHED_PORT}"
DEVICE_ID = 1
START_TIMEOUT_S = 60.0  # the softswitch may have to compile the pipeline first
STOP_TIMEOUT_S = 5.0
LOG_TAIL = 20


@dataclass(frozen=True, slots=True)
class Lab:
    """A running switch: where its P4Runtime server listens, and the tester's ends of its ports."""

    target: str
    address: str
    interfaces: dict[int, str]
    pid: int


def binary(target: str) -> str:
    """The switch's program; FileNotFoundError says how to get it."""
    if target == "bmv2":
        found = shutil.which("simple_switch_grpc")
        if not found:
            raise FileNotFoundError(
                "simple_switch_grpc is not on PATH: install p4lang's BMv2 (README), "
                "or use TARGET=softswitch"
            )
        return found
    beside = Path(sys.executable).with_name("softswitch")
    if not beside.exists():
        raise FileNotFoundError(f"{beside} does not exist: run make deps")
    return str(beside)


@contextlib.contextmanager
def running_switch(target: str, index: int = 0, ports: Sequence[int] = PORTS) -> Iterator[Lab]:
    """A switch with the ports and no pipeline, until the block ends; shows its log on failure."""
    interfaces = connect(index, ports)
    address = f"127.0.0.1:{9559 + index}"
    command = [binary(target), "--no-p4", "--device-id", str(DEVICE_ID)]
    for port in ports:
        command += ["-i", f"{port}@sw{index}p{port}"]
    command += ["-L", "off", "--thrift-port", str(9090 + index)]
    command += ["--", "--priority-queues", "8", "--cpu-port", str(CPU_PORT)]
    command += ["--grpc-server-addr", address]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            await_server(address, START_TIMEOUT_S, alive=lambda: process.poll() is None)
            yield Lab(target, address, interfaces, process.pid)
            if process.poll() is not None:
                raise RuntimeError(f"{target} ended by itself, status {process.returncode}")
        except BaseException:
            log.seek(0)
            tail = log.read().decode(errors="replace").splitlines()[-LOG_TAIL:]
            print(f"{target}'s last words:", *tail, sep="\n  ", file=sys.stderr)
            raise
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for name in interfaces.values():
                subprocess.run(["ip", "link", "delete", name], check=True)


def load_schema() -> Schema:
    """The committed P4Info."""
    return Schema.load((CONFIGS / "dfvisor.p4info.txtpb").read_text())


def push_pipeline(client: SwitchClient) -> None:
    """Load the committed pipeline into a switch whose primary `client` is."""
    client.push_pipeline((CONFIGS / "dfvisor.json").read_bytes())


def connect(index: int, ports: Iterable[int]) -> dict[int, str]:
    """Virtual cables, up, without offloads that change frames; the tester's ends by port."""
    interfaces = {port: f"pt{index}p{port}" for port in ports}
    pairs = {f"sw{index}p{port}": name for port, name in interfaces.items()}
    script = []
    for near, far in pairs.items():
        script.append(f"link add {near} mtu 9000 type veth peer name {far} mtu 9000")
    for name in (*pairs, *pairs.values()):
        script.append(f"link set {name} up")
    subprocess.run(["ip", "-batch", "-"], input="\n".join(script), text=True, check=True)
    for name in (*pairs, *pairs.values()):
        features = ["tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"]
        subprocess.run(["ethtool", "-K", name, *features], check=True, stdout=subprocess.DEVNULL)
    return interfaces
