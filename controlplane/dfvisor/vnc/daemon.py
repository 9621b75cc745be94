"""The VN controller daemon: stands for every VN of the database, and leads those it gets.

Any number of daemons share the VNs. So that they really do, each waits a moment before it stands
for a VN, and which of them waits least is different for every VN (rendezvous hashing). Daemons that
come later are handed over their share (sharing.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from pathlib import Path

import msgspec

from dfvisor.agent.backoff import Backoff
from dfvisor.agent.saver import Saver
from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.metrics import Reading
from dfvisor.model.links import usable
from dfvisor.p4rt.tls import Credentials
from dfvisor.store.credentials import ANONYMOUS
from dfvisor.store.credentials import Credentials as Login
from dfvisor.store.database import GlobalDatabase, VnSnapshot, Watch
from dfvisor.vnc.leader import Candidate, Surroundings
from dfvisor.vnc.routing import Trees
from dfvisor.vnc.sharing import rank, shares

log = logging.getLogger(__name__)

SPREAD_S = 0.5
SWITCHES_AT_A_TIME = 32
STATUS_FILE = "status.json"
LOCAL_DATABASE = "vnc.sqlite"
STATUS_PAUSE_S = 0.2


def standing_delay(vn: str, daemon: str) -> float:
    """How long a daemon waits before it stands for a VN, in seconds; the same every time."""
    return (1 - (rank(vn, daemon) + 1) / (1 << 32)) * SPREAD_S


class Daemon:
    """Run it with `run`. `directory` holds a status file for people; nothing depends on it."""

    def __init__(
        self,
        zookeeper: str,
        directory: Path,
        name: str,
        tls: Credentials | None = None,
        login: Login = ANONYMOUS,
    ) -> None:
        self._login = login
        self._tls = tls
        self._zookeeper = zookeeper
        self._directory = directory
        self._name = name
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._grants_stale = True
        self._candidates: dict[str, tuple[Candidate, asyncio.Task[None]]] = {}
        self._owners_stale = True
        self._shared: tuple[str, ...] = ()  # the VNs that were shared out
        self._database: GlobalDatabase | None = None
        self._synced = time.time()
        self._saver = Saver(directory / LOCAL_DATABASE, lambda: self.in_sync, self._loading)

    @property
    def in_sync(self) -> bool:
        """Whether the global database can be heard; what is held is then what it says."""
        return self._database is not None and self._database.connected

    def _loading(self) -> bool:
        """Whether a VN is on its way to its switches."""
        return any(candidate.advancing for candidate, _ in self._candidates.values())

    def reading(self) -> Reading:
        """For the metrics; may be called from another thread."""
        if self.in_sync:
            self._synced = time.time()
        return Reading(
            labels={"controller": self._name},
            database_age_s=0.0 if self.in_sync else time.time() - self._synced,
            local_database_ok=not self._saver.error,
            revisions={
                name: min((one.revision for one in candidate.progress.values()), default=0)
                for name, (candidate, _) in list(self._candidates.items())
                if candidate.leading
            },
        )

    def _read(self, snapshot: VnSnapshot) -> None:
        self._saver.save(snapshot.vn.name, snapshot.revision, snapshot.vn)

    async def run(self) -> None:
        """Until cancelled; then all VNs are given up at once."""
        log.info("VN controller %s", self._name)
        saving = asyncio.create_task(self._saver.run(), name="saver")
        try:
            await self._with_database(await self._connect())
        finally:
            saving.cancel()
            await asyncio.wait((saving,))
            self._saver.flush()

    async def _with_database(self, database: GlobalDatabase) -> None:
        self._database = database
        try:
            around = Surroundings(
                name=self._name,
                database=database,
                turns=asyncio.Semaphore(SWITCHES_AT_A_TIME),
                on_progress=self._progress.set,
                on_read=self._read,
                on_owners=self._owners_changed,
                tls=self._tls,
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._report(), name="status")
                await self._follow(database, around, tasks)
        finally:
            self._database = None
            await database.close()  # the owner nodes go with the session

    async def _connect(self) -> GlobalDatabase:
        backoff = Backoff(0.2, 3.0)
        said = False
        while True:
            try:
                return await GlobalDatabase.connect(self._zookeeper, credentials=self._login)
            except StoreUnavailable as error:
                log.log(logging.DEBUG if said else logging.WARNING, "waiting: %s", error)
                said = True
            await backoff.sleep()

    async def _follow(
        self, database: GlobalDatabase, around: Surroundings, tasks: asyncio.TaskGroup
    ) -> None:
        """Keep what all VNs share up to date, and a candidate for each VN."""
        database.on_session(self._session)
        watches: list[Watch] = []
        backoff = Backoff(0.1, 3.0)
        try:
            while True:
                self._wake.clear()
                pause: float | None = None
                try:
                    if not watches:
                        watches = [
                            await database.watch_fabric(self._wake.set),
                            await database.watch_vns(self._wake.set),
                            await database.watch_agents(self._wake.set),
                            await database.watch_down(self._wake.set),
                            await database.watch_grants(self._grants_changed),
                        ]
                    await self._look(database, around, tasks)
                    backoff.reset()
                except StoreError as error:
                    log.warning("looking again: %s", error)
                    pause = backoff.next()
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass  # time for the next attempt
        finally:
            for watch in watches:
                watch.cancel()

    def _grants_changed(self) -> None:
        self._grants_stale = True
        self._wake.set()

    def _session(self, connected: bool) -> None:
        self._synced = time.time()
        log.info("the database is %s", "back" if connected else "away: nothing is written")
        for candidate, _ in self._candidates.values():
            candidate.look() if connected else candidate.wake()
        if connected:
            self._wake.set()
        self._progress.set()

    async def _look(
        self, database: GlobalDatabase, around: Surroundings, tasks: asyncio.TaskGroup
    ) -> None:
        described = await database.read_fabric()
        down = await database.read_down()
        fabric = replace(described, fabric=usable(described.fabric, down))
        agents = await database.read_agents()
        names = await database.vn_names()
        if self._grants_stale:
            self._grants_stale = False
            for name in await self._changed_grants(database):
                if name in self._candidates:
                    self._candidates[name][0].look()
        around.described = described.fabric
        known = around.fabric
        if (
            known is None
            or known.revision != fabric.revision
            or known.fabric.links != fabric.fabric.links
        ):
            around.fabric, around.trees = fabric, Trees(fabric.fabric)
            self._saver.fabric(described.revision, described.fabric)
        around.agents = agents
        for name in [name for name in self._candidates if name not in names]:
            await self._withdraw(name)
        new = [name for name in names if name not in self._candidates]
        shared = len(new) > 1
        if new and not shared:
            shared = await self._has_rivals(database, next(iter(self._candidates), new[0]))
        for name in new:
            delay = standing_delay(name, self._name) if shared else 0.0
            candidate = Candidate(name, around, delay)
            task = tasks.create_task(candidate.run(), name=f"candidate {name}")
            self._candidates[name] = (candidate, task)
        await self._share(database)
        for candidate, _ in self._candidates.values():
            candidate.wake()
        self._progress.set()

    def _owners_changed(self) -> None:
        self._owners_stale = True
        self._wake.set()

    async def _share(self, database: GlobalDatabase) -> None:
        """Tell each candidate whose share its VN is. Who stands for one VN stands for all."""
        names = tuple(sorted(self._candidates))
        if not names or (names == self._shared and not self._owners_stale):
            return
        self._owners_stale = False
        try:
            daemons = frozenset(await database.read_owners(names[0])) | {self._name}
        except StoreError:
            self._owners_stale = True
            raise
        self._shared = names
        for name, daemon in shares(names, daemons).items():
            self._candidates[name][0].preferred = daemon

    async def _changed_grants(self, database: GlobalDatabase) -> frozenset[str]:
        try:
            return await database.changed_grants()
        except StoreError:
            self._grants_stale = True
            raise

    async def _has_rivals(self, database: GlobalDatabase, vn: str) -> bool:
        """Whether another daemon stands for this VN (it then stands for all)."""
        return any(owner != self._name for owner in await database.read_owners(vn))

    async def _withdraw(self, name: str) -> None:
        """The VN has gone: its agents delete what is left of it."""
        candidate, task = self._candidates.pop(name)
        task.cancel()
        await asyncio.wait((task,))
        await candidate.release()
        self._saver.forget(name)
        log.info("VN %s: gone", name)

    # -- for people

    async def _report(self) -> None:
        """Write the status file after changes, a few times a second at most."""
        path = self._directory / STATUS_FILE
        while True:
            await self._progress.wait()
            self._progress.clear()
            text = msgspec.json.format(msgspec.json.encode(self.status()), indent=2)
            try:
                fresh = path.with_suffix(".new")
                fresh.write_bytes(text)
                fresh.replace(path)
            except OSError as error:
                log.warning("%s: %s", path, error.strerror)
            await asyncio.sleep(STATUS_PAUSE_S)

    def status(self) -> dict[str, object]:
        """Who this is, which VNs it leads, and how far it has got on which switch."""
        return {
            "name": self._name,
            "at": time.time(),
            "vns": {
                name: {
                    "leading": candidate.leading,
                    "error": candidate.error,
                    "switches": {
                        switch: {
                            "revision": progress.revision,
                            "entries": progress.entries,
                            "error": progress.error,
                        }
                        for switch, progress in sorted(candidate.progress.items())
                    },
                }
                for name, (candidate, _) in sorted(self._candidates.items())
            },
        }
