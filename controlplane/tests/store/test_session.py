"""The session with the server: kept up whatever the event loop does, lost only when it is."""

from __future__ import annotations

import asyncio
import time

import pytest
from dfvisor.errors import StoreUnavailable
from dfvisor.store.zk import Create, NoNode, Session, Set, ZooKeeper

from .harness import Proxy, until

pytestmark = pytest.mark.zk


async def test_session_outlives_an_event_loop_that_is_busy(zookeeper: str) -> None:
    zk = await ZooKeeper(zookeeper, session_timeout_s=1.5).start()
    try:
        before = zk.session_id
        await zk.create("/mine", ephemeral=True)
        time.sleep(4.0)  # noqa: ASYNC251 - nothing else runs meanwhile
        stat = await zk.exists("/mine")
        assert stat is not None and stat.owner == before == zk.session_id
    finally:
        await zk.close()


async def test_ephemeral_nodes_go_at_once_with_the_session(zookeeper: str) -> None:
    watcher = await ZooKeeper(zookeeper).start()
    zk = await ZooKeeper(zookeeper, session_timeout_s=20.0).start()
    try:
        await zk.create("/mine", ephemeral=True)
        gone = asyncio.Event()
        await watcher.exists("/mine", gone.set)
        await zk.close()
        async with asyncio.timeout(5):
            await gone.wait()
        assert await watcher.exists("/mine") is None
    finally:
        await watcher.close()


async def test_server_that_is_silent_is_left(zookeeper: str) -> None:
    place, _, chroot = zookeeper.partition("/")
    async with Proxy(int(place.rpartition(":")[2])) as proxy:
        address = f"127.0.0.1:{proxy.port}/{chroot}"
        zk = await ZooKeeper(address, session_timeout_s=1.0).start()
        try:
            proxy.swallowing = True
            await until(lambda: zk.state is not Session.CONNECTED, "left")
            proxy.swallowing = False
            await until(lambda: zk.state is Session.CONNECTED, "connected again")
            assert await zk.exists("/") is not None
        finally:
            await zk.close()


async def test_watch_is_called_once_whoever_sets_it_twice(zookeeper: str) -> None:
    zk = await ZooKeeper(zookeeper).start()
    try:
        await zk.create("/watched", b"a")
        called: list[int] = []

        def looked() -> None:
            called.append(1)

        await zk.get("/watched", looked)
        await zk.get("/watched", looked)
        await zk.multi([Set("/watched", b"b"), Create("/watched/child")])
        await until(lambda: bool(called), "called")
        await zk.children("/watched", looked)
        await zk.delete("/watched/child")
        await until(lambda: len(called) > 1, "called for the child")
        await zk.sync()
        assert called == [1, 1]
    finally:
        await zk.close()


async def test_many_bytes_arrive_whole(zookeeper: str) -> None:
    zk = await ZooKeeper(zookeeper).start()
    try:
        await zk.create("/big")
        sizes = [900_000, 1, 0, 300_000]
        for size in sizes:
            await zk.set("/big", bytes([size % 251]) * size)
            data, _ = await zk.get("/big")
            assert data == bytes([size % 251]) * size
        answers = await asyncio.gather(*(zk.get("/big") for _ in range(200)))
        assert {len(data) for data, _ in answers} == {300_000}
        with pytest.raises(NoNode):
            await zk.get("/nothing")
    finally:
        await zk.close()


async def test_start_without_a_server_says_why() -> None:
    with pytest.raises(StoreUnavailable, match=r"no ZooKeeper server answers at 127\.0\.0\.1:1"):
        await ZooKeeper("127.0.0.1:1/x").start(0.5)
