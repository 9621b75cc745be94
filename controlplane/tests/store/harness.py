"""Means to be unkind to a session: a proxy that cuts connections and swallows answers; expiry."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Self

from dfvisor.store.database import GlobalDatabase
from kazoo.client import KazooClient

DEADLINE_S = 10.0


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Poll until the condition holds; fail after the deadline."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while True:
        found = condition()
        if isinstance(found, bool):
            holds = found
        else:
            holds = await found
        if holds:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.02)


def expire(address: str, db: GlobalDatabase) -> None:
    """End the session of `db` at the server: take it over and close it. Blocking."""
    client_id = db._zk._client.client_id
    thief = KazooClient(hosts=address.partition("/")[0], client_id=client_id, timeout=2.0)
    thief.start(timeout=10)
    thief.stop()
    thief.close()


class Proxy:
    """Between a client and the server at `port`."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.refusing = False
        self.swallowing = False  # answers are dropped; requests still reach the server
        self.swallowed = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Drop all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers |= {writer, up_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(
                self._copy(reader, up_writer, answers=False),
                self._copy(up_reader, writer, answers=True),
            )
        writer.transport.abort()
        up_writer.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await reader.read(65536):
            if answers and self.swallowing:
                self.swallowed += len(data)
                continue
            writer.write(data)
            await writer.drain()
        writer.close()
