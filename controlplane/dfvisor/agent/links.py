"""The links of this switch: what its prober finds, what others report, and the site that follows.

A thin shell. Its own findings take effect at once and are then reported to the database; whether
the database is there does not matter for the first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from dfvisor.agent.backoff import Backoff
from dfvisor.agent.prober import Prober
from dfvisor.agent.repair import Repair
from dfvisor.agent.site import Site
from dfvisor.errors import StoreError
from dfvisor.model.records import Fabric
from dfvisor.model.types import PortRef
from dfvisor.p4rt.streamed import PacketOut
from dfvisor.store.database import GlobalDatabase

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 5.0
NEWS_PAUSE_S = 1.0  # what people are told of ports is written this often at most


class Links:
    """`on_site` is called when `site` is another one."""

    def __init__(
        self,
        switch: str,
        send: Callable[[PacketOut], None],
        database: Callable[[], GlobalDatabase | None],
        on_site: Callable[[], None],
    ) -> None:
        self._switch = switch
        self._database = database
        self._on_site = on_site
        self._repair = Repair(switch)
        self._timer: asyncio.TimerHandle | None = None
        self._report = asyncio.Event()
        self._news = asyncio.Event()
        self._heard = False  # what was reported before this agent started
        self.prober = Prober(send, self._down, self._news.set)

    def site(self, shunned: Collection[str] = ()) -> Site | None:
        """The switch's place in the fabric as it is now."""
        return self._repair.site(shunned)

    @property
    def turned_at(self) -> float:
        """When ways became others the last time, or were to become so; monotonic."""
        return self._repair.turned_at

    def set_fabric(self, fabric: Fabric) -> None:
        """The fabric as described. The caller looks at `site` afterwards."""
        self._repair.set_fabric(fabric, time.monotonic())
        self.prober.set_site(self._repair.site())
        self._arm()
        self._news.set()

    def set_reported(self, ports: Collection[PortRef]) -> None:
        """The ports that are reported down, of all switches."""
        if not self._heard:
            self._heard = True
            self.prober.assume_down({one.port for one in ports if one.switch == self._switch})
        if self._repair.set_reported(ports, time.monotonic()):
            log.info("links down: %s", ", ".join(map(str, sorted(self._repair.down))) or "none")
            self._changed()
        self._report.set()

    def new_session(self) -> None:
        """The database is there, perhaps again."""
        self._report.set()
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.prober.run(), name="prober")
            tasks.create_task(self._keep_reported(), name="links reported")
            tasks.create_task(self._keep_seen(), name="links seen")

    def _down(self) -> None:
        if self._repair.set_own(self.prober.down, time.monotonic()):
            self._changed()
        self._report.set()
        self._news.set()

    def _changed(self) -> None:
        self._on_site()
        self._arm()

    def _arm(self) -> None:
        """Have the next stage begin in time."""
        if self._timer is not None:
            self._timer.cancel()
        at = self._repair.next_at()
        if at is not None:
            pause = max(0.0, at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(pause, self._advance)

    def _advance(self) -> None:
        self._timer = None
        if self._repair.advance(time.monotonic()):
            self._on_site()
        self._arm()

    # -- reports

    async def _keep_reported(self) -> None:
        backoff = Backoff(0.05, 1.0)
        while True:
            await self._report.wait()
            self._report.clear()
            database = self._database()
            if database is None or not self._heard:
                continue  # we are woken when that has changed
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await database.report_down(self._switch, self.prober.down)
                backoff.reset()
            except (StoreError, TimeoutError) as error:
                log.debug("links that are down are not reported yet: %s", error)
                await backoff.sleep()
                self._report.set()

    async def _keep_seen(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            database = self._database()
            if database is not None and database.connected:
                try:
                    async with asyncio.timeout(WRITE_TIMEOUT_S):
                        await database.publish_seen(self._switch, self.prober.seen())
                except (StoreError, TimeoutError) as error:
                    log.debug("what is seen at ports is not published: %s", error)
                    self._news.set()
            await asyncio.sleep(NEWS_PAUSE_S)
