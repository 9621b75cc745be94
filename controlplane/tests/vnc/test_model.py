"""Random changes under random failures, held against a model: nothing lost, nothing in part.

Four writers change what each of them alone may change, so the model knows the outcome of every
change, also of those whose answer was lost. Meanwhile connections are cut, sessions expired,
servers of an ensemble killed, agents killed. At the end the global database, every local
one and the switches' tables are equal. Seeded by DFVISOR_SEED; `make soak` makes DFVISOR_CHANGES =
10,000. DFVISOR_SERVERS vote and DFVISOR_OBSERVERS do not; one of them is down at a time.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from dfvisor.agent.desired import fabric_items, vn_plan
from dfvisor.agent.link import Link
from dfvisor.agent.main import LOCAL_DATABASE
from dfvisor.agent.numbers import LocalNumbers
from dfvisor.agent.probing import probe_items
from dfvisor.agent.site import look
from dfvisor.errors import StoreUnavailable
from dfvisor.model.description import load_network
from dfvisor.model.records import Flowspace, Match, Network, VirtualNetwork
from dfvisor.model.types import PortRange
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.store.database import GlobalDatabase, VnSnapshot
from dfvisor.store.local import LocalDatabase
from dfvisor.vnc.compile import compile_vn
from emulation.zookeeper import Ensemble

from controlplane.tests.store.harness import Proxy, expire
from controlplane.tests.vnc.rig import SCHEMA, Rig, eventually, shape

pytestmark = [pytest.mark.zk, pytest.mark.switch]

NETWORK = load_network(Path(__file__).parents[3] / "examples" / "two-switches.yaml")
VN, SLICE = "office", "voice"
WRITERS = 4
SEED = int(os.environ.get("DFVISOR_SEED", "1"))
CHANGES = int(os.environ.get("DFVISOR_CHANGES", "120"))
SERVERS = int(os.environ.get("DFVISOR_SERVERS", "3"))
OBSERVERS = int(os.environ.get("DFVISOR_OBSERVERS", "0"))
EVENT_EVERY_S = 0.4


@pytest.fixture
def ensemble(tmp_path: Path) -> Iterator[Ensemble]:
    with Ensemble(tmp_path / "ensemble", SERVERS, OBSERVERS) as servers:
        yield servers


def pair(writer: int, number: int, priority: int) -> dict[str, Flowspace]:
    """Two flowspaces that are always changed together: whoever sees one alone sees a part."""
    found: dict[str, Flowspace] = {}
    for half, shift in (("a", 0), ("b", 100)):
        name = f"w{writer}-{number}-{half}"
        match = Match(
            ip_proto=17,
            ipv4_src=IPv4Network((0x0A000000 + (writer << 16) + ((number + shift) << 8), 24)),
            l4_dst=PortRange(5000 + writer, 5000 + writer),
        )
        found[name] = Flowspace(name=name, priority=priority, slice=SLICE, match=match)
    return found


def check_whole(vn: VirtualNetwork) -> None:
    """No change is seen in part."""
    for name, one in vn.flowspaces.items():
        if name.startswith("w"):
            other = vn.flowspaces.get(name[:-1] + ("b" if name.endswith("a") else "a"))
            assert other is not None, f"{name} alone"
            assert other.priority == one.priority, f"{name}: half of a change"


class Writer:
    """Changes its own pairs, and knows what they must be."""

    def __init__(self, number: int, database: GlobalDatabase, rng: random.Random) -> None:
        self.number = number
        self.database = database
        self._rng = rng
        self.own: dict[str, Flowspace] = {}
        self.made = 0
        self.looked_up = 0

    async def change(self) -> None:
        """One change, whatever it takes; none if chance asks for what is so."""
        wanted = dict(self.own)
        kind = self._rng.random()
        numbers = [self._rng.randrange(40)] if kind < 0.93 else range(40)  # too large to be inline
        priority = self._rng.randrange(10, 60_000)
        for number in numbers:
            both = pair(self.number, number, priority)
            if kind < 0.2:
                wanted = {name: one for name, one in wanted.items() if name not in both}
            else:
                wanted |= both
        if wanted == self.own:
            return
        while True:
            try:
                snapshot = await self._read()
                assert self._mine(snapshot.vn) == self.own, "changed by nobody else"
                others = {
                    name: one
                    for name, one in snapshot.vn.flowspaces.items()
                    if name not in self.own
                }
                await self.database.apply(
                    snapshot, replace(snapshot.vn, flowspaces=others | wanted), why=str(self.made)
                )
                break
            except StoreUnavailable:
                self.looked_up += 1
                if self._mine((await self._read()).vn) == wanted:
                    break
        self.own = wanted
        self.made += 1

    def _mine(self, vn: VirtualNetwork) -> dict[str, Flowspace]:
        prefix = f"w{self.number}-"
        return {name: one for name, one in vn.flowspaces.items() if name.startswith(prefix)}

    async def _read(self) -> VnSnapshot:
        """The newest revision, when there is a session again."""
        async with asyncio.timeout(60):
            while True:
                with suppress(StoreUnavailable):
                    await self.database.sync()
                    snapshot = await self.database.read_vn(VN)
                    assert snapshot is not None
                    check_whole(snapshot.vn)
                    return snapshot
                await asyncio.sleep(0.05)


async def disturb(
    rng: random.Random,
    ensemble: Ensemble,
    proxies: list[Proxy],
    sessions: list[GlobalDatabase],
    rig: Rig,
    done: asyncio.Event,
) -> dict[str, int]:
    """Until done; at the end all servers and agents run. Returns what happened."""
    happened = dict.fromkeys(("cut", "expire", "server", "agent"), 0)
    down: int | None = None
    while not done.is_set():
        kind = rng.choices(list(happened), weights=(5, 2, 2, 2))[0]
        if kind == "cut":
            rng.choice(proxies).cut()
        elif kind == "expire":
            victim = rng.choice(sessions)
            if not victim.connected:
                continue
            await asyncio.to_thread(expire, ensemble.address, victim)
        elif kind == "server":
            if down is not None:
                await asyncio.to_thread(ensemble.restart, down)
                await asyncio.to_thread(ensemble.wait_serving, down)
                down = None
            else:
                down = rng.randrange(len(ensemble.members))
                await asyncio.to_thread(ensemble.kill, down)
        else:
            switch = rng.choice(list(NETWORK.fabric.switches))
            rig.stop(f"agent-{switch}", signal.SIGKILL)
            rig.start_agent(switch)
        happened[kind] += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(EVENT_EVERY_S * rng.uniform(0.5, 2.0)):
                await done.wait()
    if down is not None:
        await asyncio.to_thread(ensemble.restart, down)
        await asyncio.to_thread(ensemble.wait_serving, down)
    return happened


async def test_random_changes_under_random_failures_leave_all_equal(
    tmp_path: Path, ensemble: Ensemble
) -> None:
    rng = random.Random(SEED)
    rig = Rig(tmp_path, f"{ensemble.address}/model", NETWORK)
    proxies: list[Proxy] = []
    writers: list[Writer] = []
    try:
        await rig.open()
        rig.start_vnc("vnc1")
        for number in range(WRITERS):
            hosts = []
            for member in ensemble.members:
                proxy = await Proxy(member.port).__aenter__()
                proxies.append(proxy)
                hosts.append(f"127.0.0.1:{proxy.port}")
            database = await GlobalDatabase.connect(
                f"{','.join(hosts)}/model", timeout_s=30.0, page_grace_s=20.0, user=f"w{number}"
            )
            writers.append(Writer(number, database, random.Random(f"{SEED} {number}")))
        done = asyncio.Event()
        sessions = [writer.database for writer in writers]
        disturbing = asyncio.create_task(disturb(rng, ensemble, proxies, sessions, rig, done))

        async def write(writer: Writer) -> None:
            while writer.made < CHANGES // WRITERS:
                await writer.change()

        try:
            async with asyncio.TaskGroup() as tasks:
                for writer in writers:
                    tasks.create_task(write(writer))
        finally:
            done.set()
            happened = await disturbing
        print(
            f"seed {SEED}: {happened}, {[w.made for w in writers]} changes made, "
            f"{[w.looked_up for w in writers]} looked up by the test"
        )
        await check_equal(rig, writers)
    finally:
        for writer in writers:
            await writer.database.close()
        for proxy in proxies:
            await proxy.__aexit__()
        await rig.close()


async def check_equal(rig: Rig, writers: list[Writer]) -> None:
    """Model = global = local = switches, and the history is complete."""

    async def connected() -> bool:
        return rig.database.connected

    await eventually(connected, "the test's own session is back")
    await rig.database.sync()
    snapshot = await rig.database.read_vn(VN)
    assert snapshot is not None
    model = {name: one for writer in writers for name, one in writer.own.items()}
    first = NETWORK.vns[VN]
    assert snapshot.vn == replace(first, flowspaces=first.flowspaces | model)
    made = sum(writer.made for writer in writers)
    assert snapshot.revision == 1 + made, "each change is one revision"
    entries = await rig.database.read_history(VN)
    numbers = [entry.revision for entry in entries]
    assert numbers == list(range(numbers[0], snapshot.revision + 1))
    assert len(numbers) >= min(64, snapshot.revision)
    for entry in entries[-40:]:
        check_whole(await rig.database.read_revision(VN, entry.revision))
    assert await rig.database.read_revision(VN, snapshot.revision) == snapshot.vn
    await rig.until_completed(VN, snapshot.revision)
    network = replace(NETWORK, vns={VN: snapshot.vn})
    for switch in NETWORK.fabric.switches:
        await eventually(lambda switch=switch: equal(rig, switch, network), f"{switch} is equal")
        rig.stop(f"agent-{switch}")
        local = LocalDatabase(rig.directory / f"agent-{switch}" / LOCAL_DATABASE)
        assert local.load_vns() == {VN: (snapshot.revision, snapshot.vn)}
        assert local.load_fabric() == (1, NETWORK.fabric)
        local.close()


async def equal(rig: Rig, switch: str, network: Network) -> bool:
    """Whether the switch's tables are what the database says."""
    site = look(network.fabric, switch)
    assert site is not None
    local = LocalDatabase(rig.directory / f"agent-{switch}" / LOCAL_DATABASE)
    try:
        numbers = LocalNumbers(local)
        plan = vn_plan(site, network.vns[VN], numbers)
        assert plan is not None
        expected = {*fabric_items(site, numbers), *probe_items(site, numbers), *plan.items}
    finally:
        local.close()
    client = P4RuntimeClient(rig._addresses[switch], site.device_id, schema=SCHEMA)
    try:
        await client.connect()
        held = set(await Link(client, SCHEMA, fresh=False).read_items())
    finally:
        await client.close()
    flows = shape(await rig.flows(switch))
    wanted = shape(compile_vn(network.fabric, network.vns[VN])[switch])
    return held == expected and flows == wanted
