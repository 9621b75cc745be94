"""A switch process, a database and an agent in this process, for the integration tests."""

from __future__ import annotations

import asyncio
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from dfvisor.agent.agent import Agent, Settings
from dfvisor.agent.desired import CPU_PORT, LEARN, fabric_items, vn_plan
from dfvisor.agent.link import Link
from dfvisor.agent.main import LOCAL_DATABASE
from dfvisor.agent.numbers import LocalNumbers
from dfvisor.agent.pipeline import JSON_NAME, P4INFO_NAME, Pipeline, default_directory
from dfvisor.agent.probing import probe_items
from dfvisor.agent.site import look
from dfvisor.model.records import Network
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import Item
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.ports import SliceDirectory, SwitchPort
from dfvisor.p4rt.streamed import StreamEvent
from dfvisor.store.credentials import ANONYMOUS
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.local import LocalDatabase

from controlplane.tests.store.harness import AtOnce

WAIT_S = 15.0
SWITCH = "s1"
DEVICE_ID = 1
TARGET = os.environ.get("DFVISOR_TARGET", "softswitch")
PIPELINE = Pipeline.load(default_directory() / JSON_NAME, default_directory() / P4INFO_NAME)


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until the condition holds; fails after WAIT_S, naming it."""
    deadline = time.monotonic() + WAIT_S
    while not await condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        await asyncio.sleep(0.02)


class SwitchProcess:
    """The target as a process without ports; keeps its address through restarts."""

    def __init__(self, directory: Path) -> None:
        if TARGET == "bmv2":
            self.address = f"127.0.0.1:{_free_port()}"
            command = shutil.which("simple_switch_grpc") or os.environ["BMV2"]
            flags = f"--no-p4 --device-id {DEVICE_ID} --thrift-port {_free_port()} -L off"
            self._command = [command, *shlex.split(flags)]
        else:
            self.address = f"unix:{directory}/switch.sock"
            flags = f"-m softswitch.main --no-p4 --device-id {DEVICE_ID}"
            self._command = [sys.executable, *shlex.split(flags)]
        options = f"--grpc-server-addr {self.address} --cpu-port {CPU_PORT} --priority-queues 8"
        self._command += ["--", *shlex.split(options)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class FakeSlicer:
    """Serves nobody; remembers what the agent asks of it."""

    def __init__(
        self, directory: SliceDirectory, switch: SwitchPort, schema: Schema, device_id: int
    ) -> None:
        self.directory = directory
        self.switch = switch
        self.replays = 0
        self.dropped: list[int] = []
        self.events: list[StreamEvent] = []
        self.serving = False

    async def start(self, address: str) -> str:
        self.serving = True
        return address.replace(":0", ":4711")

    async def replay(self) -> None:
        self.replays += 1

    async def drop_slice(self, slice_id: int) -> None:
        self.dropped.append(slice_id)

    def event(self, event: StreamEvent) -> None:
        self.events.append(event)

    def stats(self) -> Mapping[str, Mapping[str, int]]:
        return {}

    async def stop(self) -> None:
        self.serving = False


class Rig:
    """What a test drives: `database`, `switch`, and agents started by `agent`."""

    def __init__(self, directory: Path, zookeeper: str) -> None:
        self.zookeeper = zookeeper
        self.data = directory / "agent"
        self.data.mkdir()
        self.switch = SwitchProcess(directory)
        self.slicer: FakeSlicer | None = None
        self.database: GlobalDatabase | None = None
        self.credentials = ANONYMOUS
        self.running: Agent | None = None

    async def connect(self) -> GlobalDatabase:
        self.database = await AtOnce.connect(self.zookeeper)
        return self.database

    async def put(self, network: Network) -> None:
        """Write a whole network into the empty database."""
        assert self.database is not None
        base = await self.database.read_fabric()
        await self.database.apply_fabric(base, network.fabric, network.tenants)
        for vn in network.vns.values():
            await self.database.apply(None, vn)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """An agent that runs meanwhile, and must not fail."""
        settings = Settings(
            switch=SWITCH,
            p4runtime=self.switch.address,
            zookeeper=self.zookeeper,
            target=TARGET,
            credentials=self.credentials,
        )

        def make(*parts: object) -> FakeSlicer:
            self.slicer = FakeSlicer(*parts)  # type: ignore[arg-type]
            return self.slicer

        self.running = Agent(settings, self.data / LOCAL_DATABASE, PIPELINE, make)
        running = asyncio.create_task(self.running.run())
        try:
            yield
            assert not running.done()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    def expected(
        self, network: Network, learned: Mapping[str, Mapping[int, int]] | None = None
    ) -> set[Item]:
        """What the switch should hold, by the numbers that the agent has given. `learned`: by VN,
        MAC -> port.
        """
        local = LocalDatabase(self.data / LOCAL_DATABASE)
        try:
            numbers = LocalNumbers(local)
            site = look(network.fabric, SWITCH)
            assert site is not None
            items = {*fabric_items(site, numbers), *probe_items(site, numbers)}
            for vn in network.vns.values():
                plan = vn_plan(site, vn, numbers, learned=(learned or {}).get(vn.name))
                if plan is not None:
                    items |= set(plan.items) | ({LEARN} if plan.learns else set())
            return items
        finally:
            local.close()

    @asynccontextmanager
    async def client(self, boot: int | None = None) -> AsyncIterator[P4RuntimeClient]:
        """A client beside the agent: reads, or writes in the name of the agent of that boot."""
        client = P4RuntimeClient(
            self.switch.address,
            DEVICE_ID,
            schema=PIPELINE.schema,
            election_id=None if boot is None else (0, boot),
        )
        try:
            yield client
        finally:
            await client.close()

    async def held(self) -> set[Item]:
        """What the switch holds; empty while it is away or has no pipeline."""
        async with self.client() as client:
            try:
                await client.connect(0.5)
                if await client.get_pipeline_cookie() != PIPELINE.cookie:
                    return set()
                return set(await Link(client, PIPELINE.schema, fresh=False).read_items())
            except Exception as error:
                if type(error).__name__ != "SwitchUnavailable":
                    raise
                return set()

    async def wait_until_equal(
        self, network: Network, learned: Mapping[str, Mapping[int, int]] | None = None
    ) -> None:
        """Until the switch holds what it should."""

        async def equal() -> bool:
            held = await self.held()
            return bool(held) and held == self.expected(network, learned)

        await eventually(equal, "the switch holds what it should")

    async def wait_until_applied(self, vn: str, revision: int) -> None:
        """Until the agent has reported that revision of the VN."""
        assert self.database is not None
        database = self.database

        async def applied() -> bool:
            record = (await database.read_applied()).get(SWITCH)
            return record is not None and vn in record.vns and record.vns[vn].revision >= revision

        await eventually(applied, f"{vn} revision {revision} applied")

    async def wait_until_fabric(self, revision: int) -> None:
        """Until the agent has reported that revision of the fabric."""
        assert self.database is not None
        database = self.database

        async def applied() -> bool:
            record = (await database.read_applied()).get(SWITCH)
            return record is not None and record.fabric == revision

        await eventually(applied, f"fabric revision {revision} applied")

    async def wait_until_gone(self, vn: str) -> None:
        """Until the agent no longer reports the VN."""
        assert self.database is not None
        database = self.database

        async def gone() -> bool:
            record = (await database.read_applied()).get(SWITCH)
            return record is not None and vn not in record.vns

        await eventually(gone, f"{vn} gone")


def _free_port() -> int:
    """One that no outgoing connection gets: it must still be free after a restart."""
    while True:
        port = random.randrange(10_000, 32_000)  # Linux gives out 32768 and more
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
