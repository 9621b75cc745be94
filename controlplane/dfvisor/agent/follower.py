"""Follows the global database: reads what a watch points at, and hands it to a sink.

A thin shell. It starts and goes on without the database, and reads everything again when it is
back. Its watches: one on the fabric, one on the links that are down, one on the list of VNs that
are present at the switch, and two on each of these (its newest revision, and what is active), each
set by the read itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from dfvisor.agent.backoff import Backoff
from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.model.types import PortRef
from dfvisor.store.credentials import ANONYMOUS, Credentials
from dfvisor.store.database import FabricSnapshot, GlobalDatabase, VnSnapshot
from dfvisor.store.stats import Active
from dfvisor.store.watch import reconnect_delay_s

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 10.0
RETRY_S = 0.5
READS_AT_ONCE = 32

_FABRIC = ("fabric", "")
_DOWN = ("down", "")
_GRANTS = ("grants", "")
_PRESENT = ("present", "")
_STANDING = frozenset((_FABRIC, _DOWN, _GRANTS))  # of which watches tell after a reconnect, too
_ALONE = ("down", "fabric", "grants", "present")  # looked at one after the other, before VNs
_Look = tuple[str, str]


class Sink(Protocol):
    """Who is told what the database says. Called on the event loop; must not block."""

    def fabric_read(self, snapshot: FabricSnapshot) -> None: ...

    def down_read(self, ports: Collection[PortRef]) -> None:
        """The fabric ports whose links are reported down."""
        ...

    def vn_read(self, name: str, snapshot: VnSnapshot | None) -> None:
        """The newest revision of a VN, None when it is not present here (any more)."""
        ...

    def active_read(self, name: str, active: Active | None) -> None:
        """Who leads a VN that is present here, and which of its revisions may take effect."""
        ...

    def vn_unreadable(self, name: str, reason: str) -> None: ...

    def caught_up(self) -> None:
        """Everything has been read at least once since the last (re)connection."""
        ...


class Follower:
    """One session with the global database. `known` names VNs that may have gone meanwhile.

    `on_session` is called after every (re)connection. Many agents come back at once: each waits a
    random while with that, and with reading what is to be read again, each thing once.
    """

    def __init__(
        self,
        address: str,
        switch: str,
        sink: Sink,
        known: Iterable[str] = (),
        on_session: Callable[[], None] = lambda: None,
        credentials: Credentials = ANONYMOUS,
    ) -> None:
        self._credentials = credentials
        self._address = address
        self._switch = switch
        self._sink = sink
        self._known = set(known)
        self._looking: dict[_Look, Callable[[], None]] = {}
        self._on_session = on_session
        self._looks: set[_Look] = set()
        self._wake = asyncio.Event()
        self._behind = True
        self._unheard: set[_Look] = set()  # watches that will tell yet
        self._coming_back: asyncio.TimerHandle | None = None
        self.database: GlobalDatabase | None = None

    @property
    def in_sync(self) -> bool:
        """Whether everything that the database says has been told."""
        connected = self.database is not None and self.database.connected
        return connected and not self._behind and not self._looks

    async def run(self) -> None:
        """Until cancelled."""
        database = await self._connect()
        try:
            self.database = database
            database.on_session(self._session)
            await self._watch(database)
            self._unheard = set()
            self._look_at(_STANDING)
            self._look_at_vns()
            self._on_session()
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._catch_up(database)
        finally:
            self.database = None
            if self._coming_back is not None:
                self._coming_back.cancel()
            await database.close()

    async def _connect(self) -> GlobalDatabase:
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S * 2):  # it takes several steps
                    return await GlobalDatabase.connect(
                        self._address, timeout_s=CONNECT_TIMEOUT_S, credentials=self._credentials
                    )
            except (StoreError, TimeoutError) as error:
                log.warning("global database: %s", str(error) or "no answer in time")
                await backoff.sleep()

    async def _watch(self, database: GlobalDatabase) -> None:
        backoff = Backoff(0.1, 2.0)
        while True:
            try:
                await database.watch_fabric(lambda: self._look(_FABRIC))
                await database.watch_down(lambda: self._look(_DOWN))
                await database.watch_grants(lambda: self._look(_GRANTS))
                return
            except StoreUnavailable as error:
                log.warning("global database: %s", error)
                await backoff.sleep()

    def _session(self, connected: bool) -> None:
        log.info("global database: %s", "connected" if connected else "away; going on without it")
        if self._coming_back is not None:
            self._coming_back.cancel()
            self._coming_back = None
        self._behind = True
        if not connected:
            self._looks.clear()  # what is to be read then is said then
        else:
            self._unheard = set(_STANDING)
            self._coming_back = asyncio.get_running_loop().call_later(
                reconnect_delay_s(), self._come_back
            )

    def _come_back(self) -> None:
        self._coming_back = None
        self._look_at_vns()
        self._on_session()

    def _look(self, look: _Look) -> None:
        self._unheard.discard(look)
        self._look_at((look,))

    def _look_at(self, looks: Iterable[_Look]) -> None:
        self._looks.update(looks)
        self._wake.set()

    def _look_at_vns(self) -> None:
        self._look_at((_PRESENT,))
        self._look_at((what, name) for what in ("vn", "active") for name in self._known)

    async def _catch_up(self, database: GlobalDatabase) -> None:
        """Read all that is to be looked at: the fabric, then the list of VNs, then VNs."""
        while self._looks:
            looks = sorted(self._looks, key=_urgency)
            batch = looks[:1] if looks[0][0] in _ALONE else looks[:READS_AT_ONCE]
            self._looks -= set(batch)
            if len(batch) == 1:  # most often: no other task, whose turn would come later
                done = [await self._try(database, batch[0])]
            else:
                done = await asyncio.gather(*(self._try(database, look) for look in batch))
            if not all(done) and database.connected:  # else all is read again once it is
                self._looks |= {look for look, read in zip(batch, done, strict=True) if not read}
                await asyncio.sleep(RETRY_S)
        waits = self._unheard or self._coming_back is not None or not database.connected
        if self._behind and not waits:
            self._behind = False
            self._sink.caught_up()

    async def _try(self, database: GlobalDatabase, look: _Look) -> bool:
        """Whether it could be read."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                await self._read(database, look)
        except (StoreUnavailable, TimeoutError) as error:
            log.debug("global database: %s", error)
            return False
        except StoreError as error:
            log.error("%s: unreadable, the last good state stays: %s", " ".join(look), error)
        return True

    async def _read(self, database: GlobalDatabase, look: _Look) -> None:
        what, name = look
        if what == "fabric":
            self._sink.fabric_read(await database.read_fabric())
        elif what == "down":
            self._sink.down_read(await database.read_down())
        elif what == "grants":
            self._looks |= {("vn", vn) for vn in await database.changed_grants()}
        elif what == "present":
            names = set(await database.read_present(self._switch, self._again(look)))
            for gone in self._known - names:
                self._forget(gone)
            self._looks |= {
                (what, name) for name in names - self._known for what in ("vn", "active")
            }
            self._known = names
        elif name not in self._known:
            return  # a watch of before it went
        elif what == "active":
            await self._read_active(database, name)
        else:
            await self._read_vn(database, name)

    def _again(self, look: _Look) -> Callable[[], None]:
        """The watch of a place: the same each time, so that none is set twice."""
        return self._looking.setdefault(look, partial(self._look, look))

    def _gone(self, name: str) -> None:
        """It was deleted after the list was read. There may be another one of its name already, so
        the list is read again.
        """
        self._known.discard(name)
        self._forget(name)
        self._look(_PRESENT)

    def _forget(self, name: str) -> None:
        for what in ("vn", "active"):
            self._looks.discard((what, name))
            self._looking.pop((what, name), None)
        self._sink.active_read(name, None)
        self._sink.vn_read(name, None)

    async def _read_vn(self, database: GlobalDatabase, name: str) -> None:
        try:
            snapshot = await database.read_vn(name, self._again(("vn", name)))
        except StoreUnavailable:
            raise
        except StoreError as error:
            if name in self._known:
                self._sink.vn_unreadable(name, str(error))
            return
        if name not in self._known:
            return  # it has gone meanwhile
        if snapshot is None:
            self._gone(name)
        else:
            self._sink.vn_read(name, snapshot)

    async def _read_active(self, database: GlobalDatabase, name: str) -> None:
        active = await database.read_active(name, self._again(("active", name)))
        if name not in self._known:
            return
        if active is None:
            self._gone(name)
        else:
            self._sink.active_read(name, active)


def _urgency(look: _Look) -> tuple[int, str]:
    return ((*_ALONE, "active", "vn").index(look[0]), look[1])
