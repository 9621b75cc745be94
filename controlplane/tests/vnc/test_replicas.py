"""Several daemons share the VNs evenly, also those that come later."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from dfvisor.model.records import Slice
from dfvisor.store.database import GlobalDatabase
from dfvisor.vnc.daemon import Daemon

from controlplane.tests.vnc.rig import eventually

pytestmark = pytest.mark.zk

NETWORK = load_network(Path(__file__).parents[3] / "examples" / "two-switches.yaml")
COUNT = 100


class Replicas:
    """Daemons in this process, each with a session of its own; no switch has an agent."""

    def __init__(self, zookeeper: str, directory: Path, database: GlobalDatabase) -> None:
        self.database = database
        self._zookeeper = zookeeper
        self._directory = directory
        self._running: dict[str, tuple[Daemon, asyncio.Task[None]]] = {}

    async def fill(self) -> None:
        """VNs of a best-effort slice each."""
        base = await self.database.read_fabric()
        await self.database.apply_fabric(base, NETWORK.fabric, NETWORK.tenants)
        office = NETWORK.vns["office"]
        for number in range(COUNT):
            slices = {"default": Slice(name="default", key=1000 + number)}
            vn = dataclasses.replace(
                office, name=f"vn{number}", slices=slices, endpoints={}, flowspaces={}, profiles={}
            )
            await self.database.apply(None, vn)

    def start(self, name: str) -> None:
        directory = self._directory / name
        directory.mkdir()
        daemon = Daemon(self._zookeeper, directory, name)
        self._running[name] = (daemon, asyncio.create_task(daemon.run(), name=name))

    async def stop(self, name: str) -> None:
        _, task = self._running.pop(name)
        task.cancel()
        await asyncio.wait((task,))

    def load(self) -> Counter[str]:
        """VNs that each daemon leads."""
        found: Counter[str] = Counter()
        for name, (daemon, _) in self._running.items():
            vns = daemon.status()["vns"]
            assert isinstance(vns, dict)
            found[name] = sum(bool(vn["leading"]) for vn in vns.values())
        return found

    async def until_even(self) -> None:
        share = COUNT / len(self._running)

        async def even() -> bool:
            load = self.load()
            return sum(load.values()) == COUNT and all(
                0.8 * share <= load[name] <= 1.2 * share for name in self._running
            )

        await eventually(even, f"{COUNT} VNs among {sorted(self._running)}")

    async def close(self) -> None:
        for name in list(self._running):
            await self.stop(name)


@pytest.fixture
async def replicas(zookeeper: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with await GlobalDatabase.connect(zookeeper) as database:
        made = Replicas(zookeeper, tmp_path, database)
        await made.fill()
        yield made
        await made.close()


async def test_vns_are_spread_evenly_whoever_comes_and_goes(replicas: Replicas) -> None:
    replicas.start("vnc1")
    await replicas.until_even()
    replicas.start("vnc2")
    replicas.start("vnc3")
    await replicas.until_even()
    await replicas.stop("vnc2")
    await replicas.until_even()
