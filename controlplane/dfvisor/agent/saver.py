"""Keeps the last good state in the local database, off the path of changes to the switch.

A record may be large, and writing it takes longer than a change: so it is done a little later, in a
thread of its own with a connection of its own, the newest of each thing alone. The thread is handed
only what has changed. What cannot be written (a full disk) waits and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from dfvisor.agent.backoff import Backoff
from dfvisor.agent.flows import flow_changes
from dfvisor.errors import StoreError
from dfvisor.model.records import Fabric, VirtualNetwork
from dfvisor.p4rt.pb import p4r
from dfvisor.store.codec import Key, Record, records_of, settings_of
from dfvisor.store.deltas import difference
from dfvisor.store.local import Held, LocalDatabase

log = logging.getLogger(__name__)

LULL_S, MOST_S = 5.0, 20.0  # what comes in bulk is saved once it comes no more, or after so long
BULK = 5000  # flow entries and flowspaces
DELAY_S = 0.5  # changes that follow one another are saved once
SYNCED_S = 10.0  # how often it is noted that all is up to date
RETRY_S = 1.0  # first pause before what could not be written is tried again
SYNCED = "synced"  # key in the local database: when it was last known to be equal to the global one
_ACTIVE = "active/"


@dataclass(frozen=True, slots=True)
class _Save:
    """What makes a VN's records those of a revision, out of those of `since` (None: of none)."""

    revision: int
    settings: VirtualNetwork
    change: Mapping[Key, Record | None]
    since: int | None


Work: TypeAlias = dict[str, _Save | None]
"""By VN; None: forget it."""


@dataclass(slots=True)
class _Batch:
    vns: dict[str, Held | None] = field(default_factory=dict)
    items: dict[str, bytes | None] = field(default_factory=dict)
    flows: dict[bytes, bytes | None] = field(default_factory=dict)
    taken: list[Sequence[p4r.Update]] = field(default_factory=list)  # and are to go into `flows`
    fabric: tuple[int, Fabric] | None = None

    def before(self, later: _Batch) -> _Batch:
        """Both, where a later one replaces an earlier one."""
        return _Batch(
            self.vns | later.vns,
            self.items | later.items,
            self.flows | later.flows,
            self.taken + later.taken,
            later.fabric or self.fabric,
        )


class Saver:
    """Saves to the database at `path`. `run` it, and `flush` at the end.

    `in_sync` tells whether what is held is what the global database says, `loading` whether what
    comes in bulk is still being worked at.
    """

    def __init__(
        self,
        path: Path,
        in_sync: Callable[[], bool] = lambda: False,
        loading: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path = path
        self._in_sync = in_sync
        self._loading = loading
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._local: LocalDatabase | None = None
        self._saved: dict[str, Held] = {}  # what the file holds, once the thread is idle
        self._sizes: dict[str, int] = {}  # flowspaces of the VNs that were saved last
        self._waiting = _Batch()
        self._wake = asyncio.Event()
        self.error = ""

    def save(self, name: str, revision: int, vn: VirtualNetwork) -> None:
        """This is the VN's last good record."""
        self._waiting.vns[name] = (revision, vn)
        self._wake.set()

    def forget(self, name: str) -> None:
        """There is no such VN any more."""
        self._waiting.vns[name] = None
        self._wake.set()

    def fabric(self, revision: int, fabric: Fabric) -> None:
        """This is the last good fabric."""
        self._waiting.fabric = (revision, fabric)
        self._wake.set()

    def put(self, key: str, value: bytes | None) -> None:
        """Set or replace; None: forget."""
        self._waiting.items[key] = value
        self._wake.set()

    def active(self, vn: str, record: bytes | None) -> None:
        """What is active of the VN."""
        self.put(_ACTIVE + vn, record)

    def flows(self, updates: Sequence[p4r.Update]) -> None:
        """Updates of flow entries that the switch has taken. Not to be changed from now on."""
        self._waiting.taken.append(updates)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        retry = Backoff(RETRY_S, SYNCED_S)
        while True:
            try:
                async with asyncio.timeout(retry.next() if self.error else SYNCED_S):
                    await self._wake.wait()
                    await asyncio.sleep(DELAY_S)
            except TimeoutError:
                pass  # time to note that all is up to date
            await self._lull()
            self._wake.clear()
            batch, work = self._next()
            loop = asyncio.get_running_loop()
            error = await loop.run_in_executor(self._thread, self._write, batch, work)
            if error:
                self._saved.clear()
                self._waiting = batch.before(self._waiting)  # again in a while
            if error and error != self.error:
                log.error("local database: %s", error)
            elif self.error and not error:
                log.info("local database: written again")
                retry.reset()
            self.error = error

    def _load(self) -> int:
        """How many flow entries and flowspaces are to be saved, about."""
        sizes = [
            abs(len(held[1].flowspaces) - self._sizes.get(name, 0))
            for name, held in self._waiting.vns.items()
            if held is not None
        ]
        return sum(map(len, self._waiting.taken)) + sum(sizes)

    async def _lull(self) -> None:
        """Leave the processor to a load of them until it is over."""
        latest = time.monotonic() + MOST_S
        seen = 0
        while time.monotonic() < latest:
            waiting = self._load()
            if waiting < BULK or (waiting == seen and not self._loading()):
                return
            seen = waiting
            await asyncio.sleep(LULL_S)

    def flush(self) -> None:
        """Save what is waiting, and end. Blocks for as long as that takes."""
        written = self._thread.submit(self._write, *self._next())
        self._thread.submit(self._close)
        self._thread.shutdown()
        if error := written.result():
            log.error("local database: %s", error)

    def _next(self) -> tuple[_Batch, Work]:
        """What is waiting, as it is from now on under way."""
        batch, self._waiting = self._waiting, _Batch()
        if self._in_sync():
            batch.items[SYNCED] = repr(time.time()).encode()
        work: Work = {}
        for name, held in batch.vns.items():
            before = self._saved.pop(name, None)
            if held is None:
                work[name] = None
                self._sizes.pop(name, None)
                continue
            revision, vn = held
            settings = settings_of(vn)
            if before is None:
                work[name] = _Save(revision, settings, dict(records_of(vn)), None)
            else:
                work[name] = _Save(revision, settings, difference(before[1], vn), before[0])
            self._saved[name] = held
            self._sizes[name] = len(vn.flowspaces)
        return batch, work

    def _write(self, batch: _Batch, work: Work) -> str:
        """Why it could not be written. In the thread."""
        try:
            for updates in batch.taken:
                batch.flows.update(flow_changes(updates))
            batch.taken.clear()
            if self._local is None:
                self._local = LocalDatabase(self._path)
            with self._local.transaction():
                self._write_to(self._local, batch, work)
        except StoreError as error:
            self._close()
            return str(error)
        return ""

    def _write_to(self, local: LocalDatabase, batch: _Batch, work: Work) -> None:
        if batch.fabric is not None:
            local.save_fabric(*batch.fabric)
        for name, one in work.items():
            if one is None:
                local.forget_vn(name)
            elif not local.save_change(one.revision, one.settings, one.change, since=one.since):
                raise StoreError(f"{self._path}: {name}: not revision {one.since} any more")
        if batch.flows:
            local.save_flows(batch.flows)
        for key, value in batch.items.items():
            if value is None:
                local.drop(key)
            else:
                local.put(key, value)

    def _close(self) -> None:
        if self._local is not None:
            self._local.close()
            self._local = None
