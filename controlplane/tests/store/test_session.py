"""The session with the server: kept up whatever the event loop does, lost only when it is."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from dfvisor.errors import StoreUnavailable
from dfvisor.store import wire
from dfvisor.store.zk import Create, NoNode, Session, Set, ZooKeeper

from .harness import DEADLINE_S, Proxy, until

pytestmark = pytest.mark.zk


async def test_session_outlives_an_event_loop_that_is_busy(zookeeper: str) -> None:
    zk = await ZooKeeper(zookeeper, session_timeout_s=1.5).start()
    try:
        before = zk.session_id
        await zk.create("/mine", ephemeral=True)
        time.sleep(2.6)  # noqa: ASYNC251 - nothing else runs meanwhile
        stat = await zk.exists("/mine")
        assert stat is not None and stat.owner == before == zk.session_id
    finally:
        await zk.close()


async def test_session_of_an_event_loop_that_hangs_ends(
    zookeeper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HUNG_S", 1.0)
    watcher = await ZooKeeper(zookeeper).start()
    let_go = threading.Event()
    found: list[tuple[int, int, Session]] = []

    async def hang() -> None:
        zk = await ZooKeeper(zookeeper, session_timeout_s=1.5).start()
        try:
            before = zk.session_id
            await zk.create("/mine", ephemeral=True)
            let_go.wait(DEADLINE_S)  # as a deadlock would, but that ends
            await until(lambda: zk.session_id not in (0, before), "a session of its own again")
            found.append((before, zk.session_id, zk.state))
        finally:
            await zk.close()

    thread = threading.Thread(target=lambda: asyncio.run(hang()))
    thread.start()
    try:

        async def there() -> bool:
            return await watcher.exists("/mine") is not None

        async def gone() -> bool:
            return not await there()

        await until(there, "announced")
        await until(gone, "given up by the server")
    finally:
        let_go.set()
        await asyncio.to_thread(thread.join)
        await watcher.close()
    ((_, _, state),) = found
    assert state is Session.CONNECTED


async def test_loop_that_was_too_busy_to_ask_does_not_call_the_server_silent(
    zookeeper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire.Connection, "beat", lambda _: 0.05)  # as if it could not run either
    zk = await ZooKeeper(zookeeper, session_timeout_s=2.0).start()
    try:
        await zk.create("/mine")
        states: list[Session] = []
        zk.listen(states.append)
        time.sleep(1.5)  # noqa: ASYNC251 - more than two thirds of the session's time
        for _ in range(3):
            await asyncio.sleep(0)
        assert await zk.exists("/mine") is not None
        assert states == []
    finally:
        await zk.close()


async def test_answer_that_is_there_counts_although_the_deadline_has_passed(zookeeper: str) -> None:
    zk = await ZooKeeper(zookeeper, session_timeout_s=10.0, request_timeout_s=0.2).start()
    try:
        asking = asyncio.ensure_future(zk.create("/mine"))
        await asyncio.sleep(0)  # it is sent
        time.sleep(0.5)  # noqa: ASYNC251 - the answer comes, and nobody looks
        assert await asking == "/mine"
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
