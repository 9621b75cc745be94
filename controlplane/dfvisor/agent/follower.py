"""Follows the global database: reads what a watch points at, and hands it to a sink.

A thin shell. It starts and goes on without the database, and reads everything again when it is
back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from dfvisor.agent.backoff import Backoff
from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.store.database import FabricSnapshot, GlobalDatabase, VnSnapshot, Watch

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 10.0
RETRY_S = 0.5
RECONNECT_JITTER_S = 0.1  # many agents come back at once

_FABRIC = ("fabric", "")
_VNS = ("vns", "")
_GRANTS = ("grants", "")
_Look = tuple[str, str]


class Sink(Protocol):
    """Who is told what the database says. Called on the event loop; must not block."""

    def fabric_read(self, snapshot: FabricSnapshot) -> None: ...

    def vn_read(self, name: str, snapshot: VnSnapshot | None) -> None:
        """The newest revision of a VN, None when there is no such VN."""
        ...

    def vn_unreadable(self, name: str, reason: str) -> None: ...

    def caught_up(self) -> None:
        """Everything has been read at least once since the last (re)connection."""
        ...


class Follower:
    """One session with the global database. `known` names VNs that may have gone meanwhile.

    `on_session` is called with the database after every (re)connection.
    """

    def __init__(
        self,
        address: str,
        sink: Sink,
        known: Iterable[str] = (),
        on_session: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._sink = sink
        self._known = set(known)
        self._on_session = on_session
        self._looks: set[_Look] = set()
        self._wake = asyncio.Event()
        self._watches: dict[str, Watch] = {}
        self._behind = True
        self.database: GlobalDatabase | None = None

    async def run(self) -> None:
        """Until cancelled."""
        database = await self._connect()
        try:
            self.database = database
            database.on_session(self._session)
            await self._watch(database)
            self._look_everywhere()
            self._on_session()
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._catch_up(database)
        finally:
            self.database = None
            await database.close()

    async def _connect(self) -> GlobalDatabase:
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S * 2):  # it takes several steps
                    return await GlobalDatabase.connect(self._address, timeout_s=CONNECT_TIMEOUT_S)
            except (StoreError, TimeoutError) as error:
                log.warning("global database: %s", str(error) or "no answer in time")
                await backoff.sleep()

    async def _watch(self, database: GlobalDatabase) -> None:
        backoff = Backoff(0.1, 2.0)
        while True:
            try:
                await database.watch_fabric(lambda: self._look(_FABRIC))
                await database.watch_vns(lambda: self._look(_VNS))
                await database.watch_grants(lambda: self._look(_GRANTS))
                return
            except StoreUnavailable as error:
                log.warning("global database: %s", error)
                await backoff.sleep()

    def _session(self, connected: bool) -> None:
        log.info("global database: %s", "connected" if connected else "away; going on without it")
        if connected:
            self._behind = True
            loop = asyncio.get_running_loop()
            loop.call_later(random.uniform(0, RECONNECT_JITTER_S), self._look_everywhere)
            self._on_session()

    def _look(self, look: _Look) -> None:
        self._looks.add(look)
        self._wake.set()

    def _look_everywhere(self) -> None:
        self._looks |= {_FABRIC, _VNS, _GRANTS} | {("vn", name) for name in self._known}
        self._wake.set()

    async def _catch_up(self, database: GlobalDatabase) -> None:
        """Read all that is to be looked at, the fabric and the list of VNs first."""
        while self._looks:
            looks, self._looks = sorted(self._looks, key=_urgency), set()
            for place, look in enumerate(looks):
                try:
                    async with asyncio.timeout(READ_TIMEOUT_S):
                        await self._read(database, look)
                except (StoreUnavailable, TimeoutError) as error:
                    log.debug("global database: %s", error)
                    self._looks |= set(looks[place:])
                    await asyncio.sleep(RETRY_S)
                    break
        if self._behind:
            self._behind = False
            self._sink.caught_up()

    async def _read(self, database: GlobalDatabase, look: _Look) -> None:
        what, name = look
        if what == "fabric":
            try:
                self._sink.fabric_read(await database.read_fabric())
            except StoreUnavailable:
                raise
            except StoreError as error:
                log.error("fabric: unreadable, the last good one stays: %s", error)
        elif what == "vns":
            names = set(await database.vn_names())
            for new in names - self._watches.keys():
                self._watches[new] = await database.watch_vn(new, partial(self._look, ("vn", new)))
                self._looks.add(("vn", new))
            self._known |= names
        elif what == "grants":
            self._looks |= {("vn", vn) for vn in await database.changed_grants()}
        else:
            await self._read_vn(database, name)

    async def _read_vn(self, database: GlobalDatabase, name: str) -> None:
        try:
            snapshot = await database.read_vn(name)
        except StoreUnavailable:
            raise
        except StoreError as error:
            self._sink.vn_unreadable(name, str(error))
            return
        if snapshot is None and name not in await database.vn_names():
            self._known.discard(name)
            watch = self._watches.pop(name, None)
            if watch is not None:
                watch.cancel()
        self._sink.vn_read(name, snapshot)


def _urgency(look: _Look) -> tuple[int, str]:
    return (("fabric", "vns", "grants", "vn").index(look[0]), look[1])
