"""What the global database says, read while the demonstration runs. It never asks a switch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Self, TypeVar

from dfvisor.model.types import PortRef
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import Active, AgentInfo, PortSeen, SwitchStats

from emulation.errors import EmulationError

T = TypeVar("T")

TIMEOUT_S = 15.0
POLL_S = 0.05


class Readings:
    """A session with the global database, usable from ordinary code. Use with `with`."""

    def __init__(self, address: str, switches: list[str]) -> None:
        self._address = address
        self._switches = switches
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="readings", daemon=True)
        self._database: GlobalDatabase | None = None
        self.seen = 0  # readings of a switch that were new to us
        self.ages_s: list[float] = []  # how old the counters were at every reading
        self._last: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        self._database = self._await(GlobalDatabase.connect(self._address))
        return self

    def __exit__(self, *_: object) -> None:
        if self._database:
            self._await(self._database.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stats(self) -> dict[str, SwitchStats]:
        """The newest counters of each switch that has pushed any."""
        found: dict[str, SwitchStats] = {}
        for switch in self._switches:
            stats = self._await(self._connected.read_stats(switch))
            if stats is None:
                continue
            found[switch] = stats
            self.ages_s.append(max(0.0, time.time() - stats.at))
            if stats.at != self._last.get(switch):
                self._last[switch] = stats.at
                self.seen += 1
        return found

    def stats_of(
        self, switches: Iterable[str], *, after: float, deadline_s: float = 10.0
    ) -> dict[str, SwitchStats]:
        """Wait until these switches have counters read after a moment (seconds since the epoch).

        A switch whose counters do not move repeats them less often than every second.
        """
        end = time.monotonic() + deadline_s
        while True:
            found = self.stats()
            late = [n for n in switches if n not in found or found[n].at <= after]
            if not late:
                return found
            if time.monotonic() > end:
                raise EmulationError(
                    f"no new counters of {', '.join(late)} in ZooKeeper within {deadline_s:g} s"
                )
            time.sleep(POLL_S)

    def agents(self) -> dict[str, AgentInfo]:
        return self._await(self._connected.read_agents())

    def down(self) -> frozenset[PortRef]:
        """Fabric ports whose links are down."""
        return self._await(self._connected.read_down())

    def seen_ports(self) -> dict[PortRef, PortSeen]:
        """Fabric ports as their agents find them."""
        found = self._await(self._connected.read_seen())
        return {
            PortRef(switch, port): state
            for switch, record in found.items()
            for port, state in record.ports.items()
        }

    def active(self, vn: str) -> Active | None:
        return self._await(self._connected.read_active(vn))

    @property
    def _connected(self) -> GlobalDatabase:
        if self._database is None:
            raise EmulationError("the global database is not open")
        return self._database

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)
