"""Means to be unkind to a session: a proxy that cuts connections and swallows answers; expiry."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Self

from dfvisor.model.records import VirtualNetwork
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.revisions import VnSnapshot
from dfvisor.store.vns import Verify
from kazoo.client import KazooClient

DEADLINE_S = 10.0


class AtOnce(GlobalDatabase):
    """A session whose changes take effect at once, where there is no VN controller."""

    async def apply(
        self,
        base: VnSnapshot | None,
        vn: VirtualNetwork,
        *,
        verify: Verify | None = None,
        activate: bool = True,
        why: str = "",
        at_least: int = 0,
    ) -> VnSnapshot:
        return await super().apply(
            base, vn, verify=verify, activate=activate, why=why, at_least=at_least
        )


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


def ask(port: int, word: str) -> str:
    """The answer of the server at `port` to a four-letter word."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(word.encode())
        parts: list[bytes] = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


def requests(address: str) -> tuple[int, int]:
    """Reads and writes that the server has carried out below a chroot of one level; heartbeats of
    sessions are neither.
    """
    place, _, chroot = address.partition("/")
    lines = (line.split() for line in ask(int(place.rpartition(":")[2]), "mntr").splitlines())
    found = {line[0]: int(line[1]) for line in lines if line[0].startswith("zk_cnt_")}
    return (
        found.get(f"zk_cnt_{chroot}_read_per_namespace", 0),
        found.get(f"zk_cnt_{chroot}_write_per_namespace", 0),
    )


def watch_count(address: str) -> int:
    """All watches that the server has, of all sessions."""
    lines = ask(int(address.partition("/")[0].rpartition(":")[2]), "mntr").splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith("zk_watch_count")]
    return int(found)


def watched(address: str, session: int) -> list[str]:
    """Nodes below the chroot that the session watches, sorted, as the server has it; it does not
    name those of which the children are watched.
    """
    place, _, chroot = address.partition("/")
    paths: dict[str, list[str]] = {}
    held: list[str] = []
    for line in ask(int(place.rpartition(":")[2]), "wchc").splitlines():
        if line.startswith("0x"):
            held = paths.setdefault(line, [])
        elif line.strip():
            held.append(line.strip().removeprefix(f"/{chroot}"))
    return sorted(paths.get(hex(session), []))


def watched_by_all(address: str) -> set[str]:
    """As `watched`, of all sessions."""
    place, _, chroot = address.partition("/")
    lines = ask(int(place.rpartition(":")[2]), "wchc").splitlines()
    paths = {line.strip() for line in lines if not line.startswith("0x")}
    return {path.removeprefix(f"/{chroot}") for path in paths if path.startswith(f"/{chroot}/")}


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
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:  # the server is down
            writer.transport.abort()
            return
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
