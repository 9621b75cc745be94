"""The one session with the global database that a command has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from dfvisor.cli.history import who
from dfvisor.store.credentials import ANONYMOUS, Credentials, load
from dfvisor.store.database import GlobalDatabase

DEFAULT_ZOOKEEPER = "127.0.0.1:2181/dfvisor"
CONNECT_TIMEOUT_S = 5.0

T = TypeVar("T")

_address = DEFAULT_ZOOKEEPER
_credentials: Credentials = ANONYMOUS


def configure(zookeeper: str | None, credentials: Path | None) -> None:
    """Where the database is, and as whom to come: before `run`."""
    global _address, _credentials
    _credentials = load(credentials) if credentials is not None else ANONYMOUS
    _address = zookeeper or _credentials.zookeeper or DEFAULT_ZOOKEEPER


def run(work: Callable[[GlobalDatabase], Awaitable[T]]) -> T:
    """Do the work with a session of the global database."""

    async def session() -> T:
        db = await GlobalDatabase.connect(
            _address, timeout_s=CONNECT_TIMEOUT_S, user=who(), credentials=_credentials
        )
        async with db:
            await db.sync()
            return await work(db)

    return asyncio.run(session())
