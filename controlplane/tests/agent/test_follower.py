"""What following the database costs, by the server's own account."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from dfvisor.agent import follower as follower_module
from dfvisor.agent.follower import Follower
from dfvisor.model.records import Flowspace, Match, VirtualNetwork
from dfvisor.model.types import PortRange, PortRef
from dfvisor.store import layout
from dfvisor.store import watch as watch_module
from dfvisor.store.database import FabricSnapshot, GlobalDatabase, VnSnapshot
from dfvisor.store.stats import Active
from dfvisor.store.watch import RECONNECT_JITTER_S
from dfvisor.store.zk import Session, ZooKeeper
from emulation.zookeeper import ZooKeeperServer
from kazoo.protocol import serialization as jute

from controlplane.tests.store.harness import (
    AtOnce,
    Proxy,
    expire,
    requests,
    until,
    watch_count,
    watched,
)

from .networks import demo

pytestmark = pytest.mark.zk

DEMO = demo()
RED, GREEN = DEMO.vns["red"], DEMO.vns["green"]


class Heard:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.vns: dict[str, VnSnapshot] = {}
        self.active: dict[str, Active] = {}
        self.bad: dict[str, str] = {}
        self.fabric = 0
        self.caught = 0
        self.reads = 0

    def fabric_read(self, snapshot: FabricSnapshot) -> None:
        self.fabric = snapshot.revision

    def down_read(self, ports: Collection[PortRef]) -> None:
        pass

    def vn_read(self, name: str, snapshot: VnSnapshot | None) -> None:
        self.reads += 1
        self.bad.pop(name, None)
        if snapshot is None:
            self.vns.pop(name, None)
        else:
            self.vns[name] = snapshot

    def active_read(self, name: str, active: Active | None) -> None:
        if active is None:
            self.active.pop(name, None)
        else:
            self.active[name] = active

    def vn_unreadable(self, name: str, reason: str) -> None:
        self.bad[name] = reason

    def caught_up(self) -> None:
        self.caught += 1

    def revision(self, vn: str) -> int:
        """Known and active."""
        known, active = self.vns.get(vn), self.active.get(vn)
        return min(known.revision, active.revision) if known and active else 0


@asynccontextmanager
async def following(
    address: str, switch: str, known: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Heard, Follower]]:
    heard = Heard()
    follower = Follower(address, switch, heard, known)
    task = asyncio.create_task(follower.run())
    try:
        await until(lambda: heard.caught == 1, "caught up")
        yield heard, follower
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def db(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await AtOnce.connect(zookeeper) as found:
        await found.apply_fabric(await found.read_fabric(), DEMO.fabric, DEMO.tenants)
        yield found


def flowspace(name: str, port: int = 1) -> Flowspace:
    match = Match(ip_proto=6, l4_dst=PortRange(port, port))
    return Flowspace(name=name, priority=1, match=match, slice="gold")


def with_flowspaces(vn: VirtualNetwork, *added: Flowspace) -> VirtualNetwork:
    return replace(vn, flowspaces=vn.flowspaces | {f.name: f for f in added})


async def test_agent_has_two_watches_per_present_vn_and_four_more(
    db: GlobalDatabase, zookeeper: str
) -> None:
    red = await db.apply(None, RED)
    await db.apply(None, GREEN)
    assert "s1" not in {end.port.switch for end in GREEN.endpoints.values() if end.port}
    others = watch_count(zookeeper)
    async with following(zookeeper, "s1") as (heard, follower):
        assert follower.database is not None
        database = follower.database

        def watches() -> tuple[list[str], int]:
            """The nodes watched, and how many watches there are with those on children."""
            return watched(zookeeper, database.session_id), watch_count(zookeeper) - others

        nodes = [layout.FABRIC_REVISION, layout.GRANT_LOG]  # and children: index, links down
        wanted = (sorted([*nodes, "/vns/red/active", "/vns/red/revision"]), 2 + 4)
        assert (watches(), heard.vns.keys()) == (wanted, {"red"})
        for port in range(5):
            red = await db.apply(red, with_flowspaces(RED, flowspace("x", port)))
            await until(lambda red=red: heard.revision("red") == red.revision, "the change")
        assert watches() == wanted
        await db.apply(None, DEMO.vns["blue"])
        await until(lambda: heard.revision("blue") == 1, "the new VN")
        assert watches()[1] == 2 * 2 + 4
        session = database.session_id
        await asyncio.to_thread(expire, zookeeper, database)
        await until(lambda: database.session_id not in (session, 0), "a new session")
        await until(lambda: watches()[1] == 2 * 2 + 4, "all watches again, and no others")
        await db.delete_vn(red)
        await until(lambda: "red" not in heard.vns and "red" not in heard.active, "the deletion")
        assert watches() == (sorted([*nodes, "/vns/blue/active", "/vns/blue/revision"]), 2 + 4)


async def test_change_of_one_flowspace_costs_an_agent_two_reads_and_others_none(
    db: GlobalDatabase, zookeeper: str
) -> None:
    many = with_flowspaces(RED, *(flowspace(f"f{n}", n) for n in range(2000)))
    red = await db.apply(None, many)
    green = await db.apply(None, GREEN)
    red = await db.apply(red, with_flowspaces(red.vn, flowspace("f7", 9)))  # history is known now
    before = requests(zookeeper)
    red = await db.apply(red, with_flowspaces(red.vn, flowspace("f7", 10)))
    alone = requests(zookeeper)[0] - before[0]
    async with following(zookeeper, "s1") as (heard, _):
        before = requests(zookeeper)
        red = await db.apply(red, with_flowspaces(red.vn, flowspace("f7", 11)))
        await until(lambda: heard.revision("red") == red.revision, "the change")
        assert heard.vns["red"].vn == red.vn
        assert requests(zookeeper)[0] - before[0] - alone == 2
        before = requests(zookeeper)
        await db.apply(green, replace(GREEN, learning=True))
        after = requests(zookeeper)
        red = await db.apply(red, with_flowspaces(red.vn, flowspace("f7", 12)))
        await until(lambda: heard.revision("red") == red.revision, "the change")
        assert requests(zookeeper)[0] - after[0] - alone == 2, "nothing was read for green"


async def test_nothing_is_read_or_written_while_nothing_changes(
    db: GlobalDatabase, zookeeper: str
) -> None:
    await db.apply(None, RED)
    async with following(zookeeper, "s1"):
        before = requests(zookeeper)
        await asyncio.sleep(2.0)  # several heartbeats
        assert requests(zookeeper) == before


async def test_known_vns_that_have_gone_are_told_of(db: GlobalDatabase, zookeeper: str) -> None:
    await db.apply(None, RED)
    told: list[str] = []
    heard = Heard()
    read = heard.vn_read

    def vn_read(name: str, snapshot: VnSnapshot | None) -> None:
        told.append(f"{name} {'gone' if snapshot is None else snapshot.revision}")
        read(name, snapshot)

    heard.vn_read = vn_read  # type: ignore[method-assign]
    task = asyncio.create_task(Follower(zookeeper, "s1", heard, ("old", "red")).run())
    try:
        await until(lambda: heard.caught == 1, "caught up")
        assert sorted(told) == ["old gone", "red 1"]
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_vn_that_is_deleted_and_made_again_at_once_is_followed(
    db: GlobalDatabase, zookeeper: str
) -> None:
    red = await db.apply(None, RED)
    async with following(zookeeper, "s1") as (heard, _):
        for number in range(20):
            await db.delete_vn(red)
            red = await db.apply(None, RED)
            if number % 2:  # otherwise deleted while it is still being read
                await until(lambda red=red: heard.revision("red") == red.revision, "made again")
        red = await db.apply(red, with_flowspaces(RED, flowspace("x")))
        await until(lambda: heard.revision("red") == red.revision, "changed")


async def test_switch_that_is_not_in_the_fabric_yet_is_followed_when_it_comes(
    zookeeper: str,
) -> None:
    async with (
        await AtOnce.connect(zookeeper) as db,
        following(zookeeper, "s1") as (heard, _),
    ):
        await db.apply_fabric(await db.read_fabric(), DEMO.fabric, DEMO.tenants)
        await db.apply(None, RED)
        await until(lambda: heard.revision("red") == 1, "the VN")
        assert heard.fabric == 1


async def test_reconnect_reads_only_what_has_changed(own_zookeeper: ZooKeeperServer) -> None:
    address = f"{own_zookeeper.address}/own"
    async with await AtOnce.connect(address, timeout_s=30.0) as db:
        await db.apply_fabric(await db.read_fabric(), DEMO.fabric, DEMO.tenants)
        many = with_flowspaces(RED, *(flowspace(f"f{n}", n) for n in range(2000)))
        await db.apply(None, many)
        async with following(address, "s1") as (heard, follower):
            assert follower.database is not None
            pages = follower.database._vns.pages_read
            assert pages > 10
            own_zookeeper.stop()
            await until(lambda: not db.connected, "the loss is seen")
            own_zookeeper.start()
            await until(lambda: heard.caught == 2, "caught up again")
            assert follower.database._vns.pages_read == pages
            assert heard.vns["red"].vn == many
            await until(lambda: db.connected, "the writer is back, too")
            red = await db.read_vn("red")
            red = await db.apply(red, with_flowspaces(RED, flowspace("x")))
            await until(lambda: heard.revision("red") == 2, "watches are armed again")


class Account:
    """What sessions ask their server for, and how long each waits after it is (re)connected. Every
    first reconnect is lost again at once, before anything is read.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.delays: dict[Follower, float] = {}  # after the last reconnect
        self.reads: dict[ZooKeeper, list[tuple[float, str]]] = {}  # when, and path
        self.connected: dict[ZooKeeper, list[float]] = {}
        ask, set_state, rng = ZooKeeper._ask, ZooKeeper._set_state, random.Random(1)

        async def asked(zk: ZooKeeper, label: str, request: Any, watch: Any = None) -> Any:
            arming = request.type == jute.GetChildren.type and label == layout.DOWN and watch
            if isinstance(request, jute.GetData | jute.GetChildren) and not arming:
                self.reads.setdefault(zk, []).append((time.monotonic(), label))
            return await ask(zk, label, request, watch)

        def changed(zk: ZooKeeper, state: Session) -> None:
            if state is Session.CONNECTED:
                times = self.connected.setdefault(zk, [])
                times.append(time.monotonic())
                if len(times) == 2:
                    asyncio.get_running_loop().call_soon(zk._client._lose, "cut by the test")
            set_state(zk, state)

        def delay_s() -> float:
            delay_s = rng.uniform(0.0, RECONNECT_JITTER_S)
            waiting = sys._getframe(1).f_locals["self"]
            if isinstance(waiting, Follower):
                self.delays[waiting] = delay_s
            return delay_s

        monkeypatch.setattr(ZooKeeper, "_ask", asked)
        monkeypatch.setattr(ZooKeeper, "_set_state", changed)
        for module in (follower_module, watch_module):
            monkeypatch.setattr(module, "reconnect_delay_s", delay_s)


async def test_agents_that_are_back_at_once_read_each_thing_once_and_each_in_its_own_time(
    db: GlobalDatabase, zookeeper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the connection is lost once more before anything was read."""
    await db.apply(None, RED)
    server, chroot = zookeeper.split("/", 1)
    account = Account(monkeypatch)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(int(server.rpartition(":")[2])))
        address = f"127.0.0.1:{proxy.port}/{chroot}"
        agents = [await stack.enter_async_context(following(address, "s1")) for _ in range(12)]
        sessions = {one: one.database._zk for _, one in agents if one.database is not None}
        account.reads.clear()
        before = requests(zookeeper)[0]
        proxy.cut()
        await until(lambda: all(heard.caught == 2 for heard, _ in agents), "caught up again")
        assert requests(zookeeper)[0] - before <= 12 * 9, "as the server counts them"
    wanted = [layout.FABRIC_REVISION, layout.DOWN, layout.GRANT_LOG, layout.present("s1")]
    wanted += ["/vns/red/active", "/vns/red/revision"]
    for follower, zk in sessions.items():
        paths = [path for _, path in account.reads[zk]]
        assert sorted(paths) == sorted(wanted), "each once, and no more of what is as it was"
        assert len(account.connected[zk]) == 3
        began = next(at for at, path in account.reads[zk] if path.startswith("/vns/"))
        assert began - account.connected[zk][-1] >= account.delays[follower] - 0.005
    delays = sorted(account.delays[one] for one in sessions)
    assert delays[-1] - delays[0] > RECONNECT_JITTER_S / 2
    assert len(set(delays)) == len(delays) == 12


async def test_unreadable_vn_is_told_of_and_the_others_go_on(
    db: GlobalDatabase, zookeeper: str
) -> None:
    red = await db.apply(None, RED)
    blue = await db.apply(None, DEMO.vns["blue"])
    async with following(zookeeper, "s1") as (heard, _):
        await db._zk.set("/vns/red/revision", b"nonsense")
        await until(lambda: "red" in heard.bad, "the bad record")
        assert "/vns/red/revision: bad record" in heard.bad["red"]
        await db.apply(blue, replace(blue.vn, learning=True))
        await until(lambda: heard.revision("blue") == 2, "the other VN")
        await db.delete_unreadable_vn("red")
        await until(lambda: "red" not in heard.vns, "gone")
        again = await db.apply(None, RED)
        await until(lambda: heard.revision("red") == again.revision, "made again")
        assert again.revision > red.revision
