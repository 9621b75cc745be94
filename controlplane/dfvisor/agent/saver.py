"""Keeps the last good records in the local database, off the path of changes to the switch.

A record may be large, and writing it takes longer than a change: so it is done a little later, in a
thread of its own with a connection of its own, the newest of each VN alone.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dfvisor.errors import StoreError
from dfvisor.model.records import VirtualNetwork
from dfvisor.store.local import LocalDatabase

log = logging.getLogger(__name__)

DELAY_S = 0.5  # changes that follow one another are saved once

Held = tuple[int, VirtualNetwork]


class Saver:
    """Saves VNs to the database at `path`. `run` it, and `flush` at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._local: LocalDatabase | None = None
        self._waiting: dict[str, Held | None] = {}
        self._wake = asyncio.Event()

    def save(self, name: str, revision: int, vn: VirtualNetwork) -> None:
        """This is the VN's last good record."""
        self._waiting[name] = (revision, vn)
        self._wake.set()

    def forget(self, name: str) -> None:
        """There is no such VN any more."""
        self._waiting[name] = None
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(DELAY_S)
            self._wake.clear()
            batch, self._waiting = self._waiting, {}
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)

    def flush(self) -> None:
        """Save what is waiting, and end. Blocks for as long as that takes."""
        batch, self._waiting = self._waiting, {}
        self._thread.submit(self._write, batch)
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _write(self, batch: dict[str, Held | None]) -> None:
        try:
            if self._local is None:
                self._local = LocalDatabase(self._path)
            for name, held in batch.items():
                if held is None:
                    self._local.forget_vn(name)
                else:
                    self._local.save_vn(*held)
        except StoreError as error:
            log.error("local database: %s", error)

    def _close(self) -> None:
        if self._local is not None:
            self._local.close()
