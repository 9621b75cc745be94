"""Tells the database which hosts were learned here, and follows what other switches have learned.

A thin shell around `hosts`. For each learning VN it holds one watch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from functools import partial

from dfvisor.agent.hosts import HostBook
from dfvisor.errors import StoreError
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.learned import LearnedRecord, claims

log = logging.getLogger(__name__)

PAUSE_S = 0.1  # changes that follow one another are written once
RETRY_S = 0.5
AGE_LOOK_S = 10.0
TIMEOUT_S = 5.0


class HostKeeper:
    """`on_change` is told of the VNs for which there is something to write to the switch."""

    def __init__(
        self,
        switch: str,
        hosts: HostBook,
        database: Callable[[], GlobalDatabase | None],
        on_change: Callable[[Collection[str]], None],
    ) -> None:
        self._switch = switch
        self._hosts = hosts
        self._database = database
        self._on_change = on_change
        self._vns: frozenset[str] = frozenset()
        self._published: dict[str, LearnedRecord] = {}
        self._looks: set[str] = set()
        self._wake = asyncio.Event()

    def set_vns(self, vns: Collection[str]) -> None:
        """The VNs that learn here."""
        fresh = frozenset(vns)
        if fresh != self._vns:
            self._looks |= fresh - self._vns
            for gone in self._vns - fresh:
                self._published.pop(gone, None)
            self._vns = fresh
            self._wake.set()

    def learned(self) -> None:
        """Hosts have come or moved here."""
        self._wake.set()

    def new_session(self) -> None:
        """The database is there, perhaps again: its watches are gone."""
        self._looks |= self._vns
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            aged = False
            try:
                async with asyncio.timeout(AGE_LOOK_S if self._vns else None):
                    await self._wake.wait()
            except TimeoutError:
                aged = True
            self._wake.clear()
            if aged:
                self._age()
            database = self._database()
            if database is None or not database.connected:
                continue  # a session wakes us
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._read(database)
                    await self._publish(database)
            except (StoreError, TimeoutError) as error:
                log.debug("learned hosts wait for the global database: %s", error)
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            await asyncio.sleep(PAUSE_S)

    def _age(self) -> None:
        now = time.time()
        old = [vn for vn in sorted(self._vns) if self._hosts.hosts(vn).age(now)]
        if old:
            self._on_change(old)

    async def _read(self, database: GlobalDatabase) -> None:
        while self._looks:
            vn = min(self._looks)
            found = await database.read_learned(vn, partial(self._look, vn))
            self._looks.discard(vn)
            hosts, by_switch = self._hosts.hosts(vn), {s: claims(r) for s, r in found.items()}
            changed = False
            if vn not in self._published:  # claims of an earlier life of this agent
                changed = hosts.adopt(by_switch.get(self._switch, {}), time.time())
                self._published[vn] = found.get(self._switch, LearnedRecord())
            if hosts.set_claims(by_switch) or changed:
                self._on_change([vn])

    def _look(self, vn: str) -> None:
        if vn in self._vns:
            self._looks.add(vn)
            self._wake.set()

    async def _publish(self, database: GlobalDatabase) -> None:
        for vn in sorted(self._vns & self._published.keys()):
            hosts = self._hosts.hosts(vn)
            record = LearnedRecord(
                hosts={
                    str(mac): (claim.port, claim.since)
                    for mac, claim in sorted(hosts.claims().items())
                },
                ips={
                    str(mac): {str(ip): since for ip, since in claim.ips.items()}
                    for mac, claim in sorted(hosts.claims().items())
                    if claim.ips
                },
                conflicts={str(mac): text for mac, text in sorted(hosts.conflicts.items())},
            )
            if record != self._published[vn]:
                await database.publish_learned(vn, self._switch, record)
                self._published[vn] = record
