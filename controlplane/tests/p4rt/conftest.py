"""The compiled program's P4Info, and a real switch process to talk to (`DFVISOR_TARGET`)."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dfvisor.agent.pipeline import JSON_NAME, P4INFO_NAME, Pipeline, default_directory
from dfvisor.p4rt.p4info import Schema

START_TIMEOUT_S = 10.0
TARGET = os.environ.get("DFVISOR_TARGET", "softswitch")
CPU_PORT = 510


@dataclass
class SwitchProcess:
    """A switch without ports."""

    address: str
    device_id: int
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    directory = default_directory()
    return Pipeline.load(directory / JSON_NAME, directory / P4INFO_NAME)


@pytest.fixture(scope="session")
def schema(pipeline: Pipeline) -> Schema:
    return pipeline.schema


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(address: str) -> bool:
    """Whether a server listens there."""
    if address.startswith("unix:"):
        return Path(address.removeprefix("unix:")).exists()
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[SwitchProcess]:
    flags = "--no-p4 --device-id 7"
    if TARGET == "bmv2":
        address = f"127.0.0.1:{free_port()}"
        command = [shutil.which("simple_switch_grpc") or os.environ["BMV2"]]
        flags += f" --thrift-port {free_port()} -L off"
    else:
        address = f"unix:{tmp_path / 'switch.sock'}"
        command = [sys.executable, "-m", "softswitch.main"]
    flags += f" -- --grpc-server-addr {address} --cpu-port {CPU_PORT}"
    process = subprocess.Popen([*command, *shlex.split(flags)])
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not accepts(address):
            assert process.poll() is None and time.monotonic() < deadline, "did not start"
            time.sleep(0.02)
        yield SwitchProcess(address, 7, process)
    finally:
        process.kill()
        process.wait()
