"""The agent's reports to the global database: that it lives, what it has applied, what it counts.

A thin shell. Nothing here may hold up the switch: reports wait for the database, not the other way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from dfvisor.agent.backoff import Backoff
from dfvisor.agent.desired import VnPlan
from dfvisor.agent.link import Link
from dfvisor.agent.readings import (
    COUNTED_TABLES,
    SPARSE_TABLES,
    Legend,
    drop_cells,
    readings,
)
from dfvisor.errors import StoreError, SwitchError
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import AgentInfo, Applied, Latency, RoleCount, SwitchStats

log = logging.getLogger(__name__)

STATS_INTERVAL_S = 1.0
STATS_SHARE = 0.25  # of the time at most spent on reading counters
UNCHANGED_INTERVAL_S = 5.0  # readings that repeat the last one are published this often
WRITE_TIMEOUT_S = 5.0
REPORT_DELAY_S = 0.01  # a change passes several states in so short a time, of which the last counts

Database = Callable[[], GlobalDatabase | None]


class Reports:
    """Publishes the agent's presence and its Applied record, whenever they have changed."""

    def __init__(
        self, switch: str, database: Database, applied: Callable[[], Applied | None]
    ) -> None:
        self._switch = switch
        self._database = database
        self._applied = applied
        self._info: AgentInfo | None = None
        self._registered: tuple[GlobalDatabase, AgentInfo] | None = None
        self._wake = asyncio.Event()

    def announce(self, info: AgentInfo) -> None:
        """From now on the agent is live, with this slicer."""
        self._info = info
        self._wake.set()

    def changed(self) -> None:
        """Applied, or the session with the database, is another one."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(0.1, 2.0)
        while True:
            await self._wake.wait()
            await asyncio.sleep(REPORT_DELAY_S)
            self._wake.clear()
            database = self._database()
            if database is None:
                continue  # a session wakes us again
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    if self._info and self._registered != (database, self._info):
                        await database.register_agent(self._switch, self._info)
                        self._registered = (database, self._info)
                        log.info("registered: slicer at %s", self._info.slicer)
                    applied = self._applied()
                    if applied is not None:
                        await database.publish_applied(self._switch, applied)
                backoff.reset()
            except (StoreError, TimeoutError) as error:
                log.debug("reports wait for the global database: %s", error)
                await backoff.sleep()
                self._wake.set()


class Statistics:
    """Reads the counters every second and publishes them."""

    def __init__(
        self,
        switch: str,
        database: Database,
        link: Callable[[], Link | None],
        plans: Callable[[], dict[str, VnPlan]],
        latency: Callable[[], tuple[Latency, ...]] = lambda: (),
        roles: Callable[[], tuple[RoleCount, ...]] = lambda: (),
    ) -> None:
        self._roles = roles
        self._switch = switch
        self._legend = Legend(switch)
        self._database = database
        self._link = link
        self._plans = plans
        self._latency = latency
        self._last: SwitchStats | None = None
        self._failing = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began = time.monotonic()
            link, database = self._link(), self._database()
            if link is not None and database is not None and database.connected:
                await self._once(link, database)
            spent = time.monotonic() - began
            await asyncio.sleep(max(STATS_INTERVAL_S - spent, spent / STATS_SHARE, 0.05))

    async def _once(self, link: Link, database: GlobalDatabase) -> None:
        try:
            stats = await self.read(link)
            if not self._worth_publishing(stats):
                return
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await database.publish_stats(stats)
            self._last = stats
            self._failing = False
        except (StoreError, SwitchError, TimeoutError) as error:
            level = logging.DEBUG if self._failing else logging.WARNING
            log.log(level, "statistics not published: %s", error)
            self._failing = True

    async def read(self, link: Link) -> SwitchStats:
        """One reading of the switch."""
        plans = self._plans()
        at = time.time()
        entries, drops = await link.client.counters.statistics(
            COUNTED_TABLES, "drops", tuple(drop_cells(plans)), sparse=SPARSE_TABLES
        )
        self._legend.follow(plans)
        found = readings(self._switch, at, self._legend, entries, drops)
        return msgspec.structs.replace(found, latency=self._latency(), roles=self._roles())

    def _worth_publishing(self, stats: SwitchStats) -> bool:
        last = self._last
        if last is None or stats.at - last.at >= UNCHANGED_INTERVAL_S:
            return True
        return msgspec.structs.replace(stats, at=last.at) != last
