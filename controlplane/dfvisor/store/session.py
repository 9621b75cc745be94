"""A session with ZooKeeper on the event loop: kept up over connections, made anew when it expires.

Requests and answers need no other thread, so a request costs one round trip and no more. Watches
end with the connection that they were set on. When a connection is lost, what is under way fails
with ConnectionLoss: whether it was carried out is not known.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Any

from kazoo.exceptions import EXCEPTIONS, ConnectionLoss, NoNodeError
from kazoo.protocol import serialization as jute

from dfvisor.errors import StoreError
from dfvisor.store.credentials import Credentials
from dfvisor.store.wire import (
    PING_XID,
    WATCH_XID,
    Connection,
    Expired,
    Identity,
    frame,
    open_connection,
)

log = logging.getLogger(__name__)

FIRST_DELAY_S, MAX_DELAY_S = 0.05, 0.5
CLOSING_S = 1.0
LAST_XID = 0x7FFFFFFF
_CREATED, _DELETED, _CHANGED, _CHILD = 1, 2, 3, 4  # types of events

Callback = Callable[[], None]
_OPENING = ThreadPoolExecutor(max_workers=32, thread_name_prefix="zookeeper")


class State(StrEnum):
    """What the connection is like; SUSPENDED may come back, LOST took the ephemeral nodes along."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    LOST = "lost"


class Client:
    """`hosts`: `host:port[,host:port...]`. `on_state` is told of every change of state. Paths are
    those of the server, chroot and all. Use from one event loop.
    """

    def __init__(
        self,
        hosts: str,
        session_timeout_s: float,
        credentials: Credentials,
        on_state: Callable[[State], None],
    ) -> None:
        self._hosts = [_address(one) for one in hosts.split(",")]
        self._session_timeout_s = session_timeout_s
        self._credentials = credentials
        self._on_state = on_state
        self._identity = Identity()
        self._last_zxid = 0
        self._xid = 0
        self._connection: Connection | None = None
        self._lost: asyncio.Future[str] | None = None  # resolved when the connection is
        self._pending: deque[tuple[int, Any, asyncio.Future[Any], Callback | None]] = deque()
        self._data_watches: dict[str, dict[Callback, None]] = {}
        self._child_watches: dict[str, dict[Callback, None]] = {}
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.trouble = ""  # why there is no connection

    @property
    def client_id(self) -> tuple[int, bytes] | None:
        """Id and password of the session; None where there is none."""
        identity = self._identity
        return (identity.session_id, identity.password) if identity.session_id else None

    def start(self) -> None:
        """Connect, and stay so, until `stop`."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="zookeeper")

    async def connected(self) -> None:
        """Wait for a connection."""
        await self._connected.wait()

    async def stop(self) -> None:
        """End the session: its ephemeral nodes go at once, if the server can be reached."""
        task, self._task = self._task, None
        try:
            if self._connection is not None:
                async with asyncio.timeout(CLOSING_S):
                    await self.ask(jute.CloseInstance)
        except (TimeoutError, ConnectionLoss):
            pass  # then it expires
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
            self._identity = Identity()

    def ask(self, request: Any, watch: Callback | None = None) -> asyncio.Future[Any]:
        """Send a request. Its future fails with kazoo's exceptions, ConnectionLoss without a
        connection. `watch` is set with the answer.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        connection = self._connection
        if connection is None:
            answer.set_exception(ConnectionLoss())
            return answer
        self._xid = self._xid % LAST_XID + 1
        data = frame(request, self._xid)
        self._pending.append((self._xid, request, answer, watch))
        try:
            if not connection.send(data):
                loop = asyncio.get_running_loop()
                loop.add_writer(connection.fileno(), self._writable, connection)
        except OSError as error:
            self._lose(str(error))
        return answer

    def look(self) -> None:
        """Take what has come: the loop may have been too busy to do so in time."""
        if self._connection is not None and self._lost is not None and not self._lost.done():
            self._readable(self._connection)

    # -- one connection after another

    async def _run(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            for host, port in random.sample(self._hosts, len(self._hosts)):
                connection = await self._open(host, port)
                if connection is not None:
                    delay_s = FIRST_DELAY_S
                    await self._serve(connection)
                    break
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(delay_s * 2, MAX_DELAY_S)

    async def _open(self, host: str, port: int) -> Connection | None:
        opening: Future[Connection] = _OPENING.submit(
            open_connection,
            host,
            port,
            self._identity,
            session_timeout_s=self._session_timeout_s,
            last_zxid=self._last_zxid,
            credentials=self._credentials,
        )
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_discard)
            raise
        except Expired as error:
            log.debug("%s:%d: %s", host, port, error)
            self._identity = Identity()
            self._on_state(State.LOST)
        except (OSError, StoreError) as error:
            where = f"{host}:{port}: " if len(self._hosts) > 1 else ""
            self.trouble = f"{where}{getattr(error, 'strerror', None) or error}"
            log.debug("%s", self.trouble)
        return None

    async def _serve(self, connection: Connection) -> None:
        """Until the connection is lost."""
        loop = asyncio.get_running_loop()
        self._identity = connection.identity
        self._connection = connection
        lost = self._lost = loop.create_future()
        loop.add_reader(connection.fileno(), self._readable, connection)
        try:
            self.trouble = ""
            self._connected.set()
            self._on_state(State.CONNECTED)
            while not lost.done():
                connection.moved()
                await asyncio.wait((lost,), timeout=connection.interval_s)
                self.look()
                if not lost.done() and connection.silent:
                    self._lose("the server does not answer")
            self.trouble = lost.result()
            log.debug("connection lost: %s", self.trouble)
        finally:
            loop.remove_reader(connection.fileno())
            loop.remove_writer(connection.fileno())
            connection.close()
            self._connection = self._lost = None
            self._connected.clear()
            self._data_watches.clear()
            self._child_watches.clear()
            pending, self._pending = self._pending, deque()
            self._on_state(State.SUSPENDED)
            for _, _, answer, _ in pending:
                if not answer.done():
                    answer.set_exception(ConnectionLoss())

    def _lose(self, why: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    # -- what comes in

    def _writable(self, connection: Connection) -> None:
        try:
            if connection.flush():
                asyncio.get_running_loop().remove_writer(connection.fileno())
        except OSError as error:
            self._lose(str(error))

    def _readable(self, connection: Connection) -> None:
        try:
            messages = connection.receive()
        except OSError as error:
            asyncio.get_running_loop().remove_reader(connection.fileno())
            self._lose(str(error))
            return
        for message in messages:
            header, offset = jute.ReplyHeader.deserialize(message, 0)
            if header.xid == WATCH_XID:
                self._event(message, offset)
            elif header.xid != PING_XID:
                self._answer(header, message, offset)

    def _event(self, message: bytes, offset: int) -> None:
        event, _ = jute.Watch.deserialize(message, offset)
        found: dict[Callback, None] = {}
        if event.type in (_CREATED, _CHANGED, _DELETED):
            found |= self._data_watches.pop(event.path, {})
        if event.type in (_CHILD, _DELETED):
            found |= self._child_watches.pop(event.path, {})
        loop = asyncio.get_running_loop()
        for callback in found:
            loop.call_soon(callback)

    def _answer(self, header: Any, message: bytes, offset: int) -> None:
        if not self._pending or self._pending[0][0] != header.xid:
            self._lose(f"an answer to request {header.xid}, which is not the next")
            return
        _, request, answer, watch = self._pending.popleft()
        self._last_zxid = max(self._last_zxid, header.zxid)
        if request.type == jute.Close.type:
            found: Any = None
        elif header.err and not (header.err == NoNodeError.code and request.type == 3):
            if not answer.done():
                answer.set_exception(EXCEPTIONS[header.err]())
            return
        else:
            found = None if header.err else request.deserialize(message, offset)
        if watch is not None:
            children = request.type == jute.GetChildren.type
            watches = self._child_watches if children else self._data_watches
            watches.setdefault(request.path, {})[watch] = None
        if not answer.done():
            answer.set_result(found)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.strip().rpartition(":")
    return (host.strip("[]"), int(port)) if colon else (port, 2181)


def _discard(opened: Future[Connection]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result().close()
