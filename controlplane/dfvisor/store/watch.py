"""Standing watches over ZooKeeper's one-shot ones.

A watch means "look again". Arming it anew is asked for before its callback runs, and a session's
requests are carried out in their order: so what the callback reads misses nothing. After a
reconnect every watch is armed and called once, spread over a short time, because watches end with
the connection. If that is lost once more before the time has come, only the last reconnect counts.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.store.zk import NoNode, Session, ZooKeeper

RECONNECT_JITTER_S = 0.2
ARM_AGAIN_S = 1.0

Callback = Callable[[], None]
Arm = Callable[[Callback], Awaitable[object]]

_log = logging.getLogger("dfvisor.store")


def reconnect_delay_s() -> float:
    """How long to wait with what many sessions do at once when a server is back."""
    return random.uniform(0.0, RECONNECT_JITTER_S)


class Tasks:
    """Owns the background tasks of a database session."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", task.get_name(), exc_info=error)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Watch:
    """A standing watch; `cancel` ends it."""

    def __init__(self, owner: Watches, arm: Arm, callback: Callback, name: str) -> None:
        self._owner = owner
        self._arm = arm
        self._callback = callback
        self._name = name
        self._cancelled = False
        self._generation = 0
        self._reconnects = 0
        self.inner: dict[str, Watch] = {}  # what it led to, and ends with it

    def cancel(self) -> None:
        self._cancelled = True
        self._owner.forget(self)
        for watch in self.inner.values():
            watch.cancel()

    async def arm(self) -> None:
        """Set the one-shot watch; without a connection the next reconnect does it.

        A request can also fail while the connection stays: nobody would tell of changes then, so it
        is tried again until it is set.
        """
        self._generation += 1
        generation = self._generation

        def fired() -> None:
            if not self._cancelled and generation == self._generation:
                self._owner.tasks.spawn(self._again(0.0), f"watch {self._name}")

        try:
            await self._arm(fired)
        except StoreUnavailable:
            if self._owner.connected:
                self._owner.tasks.spawn(self._again(ARM_AGAIN_S), f"watch {self._name} again")
        except NoNode:
            _log.warning("watch %s: the node does not exist", self._name)

    def reconnected(self) -> None:
        """Arm it and call back in a while, once, however often the connection was lost."""
        self._reconnects += 1
        work = self._come_back(self._reconnects, reconnect_delay_s())
        self._owner.tasks.spawn(work, f"watch {self._name} after reconnect")

    async def _come_back(self, reconnect: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if reconnect == self._reconnects and self._owner.connected:
            await self._again(0.0)

    async def _again(self, delay_s: float) -> None:
        if delay_s:
            await asyncio.sleep(delay_s)
        if self._cancelled:
            return
        arming = asyncio.ensure_future(self.arm())
        await asyncio.sleep(0)  # it is asked for; the answer need not be waited for
        if not self._cancelled:
            self._callback()
        await arming


class Watches:
    """All standing watches of a session, and their rearming after a reconnect."""

    def __init__(self, zk: ZooKeeper, tasks: Tasks) -> None:
        self._zk = zk
        self.tasks = tasks
        self._watches: set[Watch] = set()
        zk.listen(self._on_state)

    @property
    def connected(self) -> bool:
        return self._zk.state is Session.CONNECTED

    def _on_state(self, state: Session) -> None:
        if state is Session.CONNECTED:
            for watch in list(self._watches):
                watch.reconnected()

    def forget(self, watch: Watch) -> None:
        self._watches.discard(watch)

    async def node(self, path: str, callback: Callback) -> Watch:
        """The node comes, changes or goes."""
        return await self._stand(lambda fired: self._zk.exists(path, fired), callback, path)

    async def children(self, path: str, callback: Callback) -> Watch:
        """A child of an existing node comes or goes."""
        return await self._stand(lambda fired: self._zk.children(path, fired), callback, path)

    async def _stand(self, arm: Arm, callback: Callback, name: str) -> Watch:
        watch = Watch(self, arm, callback, name)
        self._watches.add(watch)
        await watch.arm()
        return watch


async def until_connected(zk: ZooKeeper, timeout_s: float) -> None:
    """Wait for the session to come back; StoreUnavailable when it does not in time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while zk.state is not Session.CONNECTED:
        if asyncio.get_running_loop().time() > deadline:
            raise StoreUnavailable(f"the session with ZooKeeper is {zk.state}")
        await asyncio.sleep(0.05)
    try:
        await zk.sync()
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise StoreUnavailable(str(error)) from error
