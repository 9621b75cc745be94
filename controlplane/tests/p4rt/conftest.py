"""The compiled program's P4Info, and a real switch process to talk to."""

from __future__ import annotations

import shlex
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


@dataclass
class SwitchProcess:
    """A softswitch without ports at a Unix socket."""

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


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[SwitchProcess]:
    socket = tmp_path / "switch.sock"
    address = f"unix:{socket}"
    flags = shlex.split(f"--no-p4 --device-id 7 -- --grpc-server-addr {address}")
    process = subprocess.Popen([sys.executable, "-m", "softswitch.main", *flags])
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not socket.exists():
            assert process.poll() is None and time.monotonic() < deadline, "did not start"
            time.sleep(0.02)
        yield SwitchProcess(address, 7, process)
    finally:
        process.kill()
        process.wait()
