"""What agents report: liveness, applied revisions, counters. Each node is written by its owner
alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import msgspec

from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.store import layout
from dfvisor.store.codec import decode, encode
from dfvisor.store.schema import newest
from dfvisor.store.stats import AgentInfo, Applied, Seen, SwitchStats
from dfvisor.store.watch import Callback, Tasks, Watch, Watches
from dfvisor.store.zk import (
    Create,
    Delete,
    NodeExists,
    NoNode,
    Operation,
    Session,
    Set,
    ZooKeeper,
)

RECORDS_PER_PAGE = 1000  # of about 100 bytes each
_ATTEMPTS = 10


class StatsPage(msgspec.Struct, frozen=True, kw_only=True):
    """`/stats/<switch>/<page>`: a part of one reading; pages with equal `at` belong together."""

    at: float
    pages: int
    stats: SwitchStats
    schema: int = newest("StatsPage")


class Reports:
    """Writes this process's reports and reads everyone's."""

    def __init__(self, zk: ZooKeeper, tasks: Tasks) -> None:
        self._zk = zk
        self._tasks = tasks
        self._announced: dict[str, AgentInfo] = {}
        self._stats_pages: dict[str, int] = {}
        zk.listen(self._on_state)

    # -- live agents

    def _on_state(self, state: Session) -> None:
        if state is Session.CONNECTED:
            for switch in self._announced:
                self._tasks.spawn(self._announce_again(switch), f"announce {switch}")

    async def register(self, switch: str, info: AgentInfo) -> None:
        self._announced[switch] = info
        await self._announce(switch, info)

    async def _announce_again(self, switch: str) -> None:
        try:
            await self._announce(switch, self._announced[switch])
        except StoreUnavailable:
            return  # the next reconnect announces

    async def _announce(self, switch: str, info: AgentInfo) -> None:
        """Make the node this session's own; one left by an earlier session is replaced."""
        path = layout.agent(switch)
        await self._zk.ensure(layout.agents_of(switch))
        for _ in range(_ATTEMPTS):
            stat = await self._zk.exists(path)
            try:
                if stat is None:
                    await self._zk.create(path, encode(info), ephemeral=True)
                elif stat.owner == self._zk.session_id:
                    await self._zk.set(path, encode(info))
                else:
                    await self._zk.delete(path)
                    continue
                return
            except (NodeExists, NoNode):
                continue
        raise StoreError(f"{path}: another agent announces the same switch")

    async def agents(self) -> dict[str, AgentInfo]:
        found = await self._read_children(layout.AGENTS, layout.agent)
        return {name: decode(data, AgentInfo, layout.agent(name)) for name, data in found.items()}

    async def watch_agents(self, watches: Watches, callback: Callback) -> Watch:
        """One comes or goes."""

        async def look() -> None:
            for switch in await self._zk.children(layout.AGENTS):
                if switch not in outer.inner:
                    outer.inner[switch] = await watches.children(layout.agents_of(switch), callback)

        async def look_and_tell() -> None:
            try:
                await look()
            except StoreUnavailable:
                return  # the reconnect looks again
            callback()

        def changed() -> None:
            self._tasks.spawn(look_and_tell(), "watch of the agents")

        outer = await watches.children(layout.AGENTS, changed)
        await look()
        return outer

    # -- applied revisions

    async def publish_applied(self, switch: str, record: Applied) -> None:
        await self._publish(f"{layout.APPLIED}/{switch}", encode(record))

    async def _publish(self, path: str, data: bytes) -> None:
        for _ in range(_ATTEMPTS):
            try:
                await self._zk.set(path, data)
                return
            except NoNode:
                pass
            try:
                await self._zk.create(path, data)
                return
            except NodeExists:
                continue
        raise StoreError(f"{path}: comes and goes")

    async def applied(self, switches: Collection[str] | None = None) -> dict[str, Applied]:
        found = await self._read_children(layout.APPLIED, layout.applied, switches)
        return {
            name: decode(data, Applied, f"{layout.APPLIED}/{name}") for name, data in found.items()
        }

    # -- what is at the other ends of cables

    async def publish_seen(self, switch: str, record: Seen) -> None:
        await self._publish(layout.seen(switch), encode(record))

    async def seen(self) -> dict[str, Seen]:
        found = await self._read_children(layout.SEEN, layout.seen)
        return {name: decode(data, Seen, layout.seen(name)) for name, data in found.items()}

    async def _read_children(
        self, parent: str, path: Callable[[str], str], only: Collection[str] | None = None
    ) -> dict[str, bytes]:
        async def read(name: str) -> tuple[str, bytes] | None:
            try:
                data, _ = await self._zk.get(path(name))
            except NoNode:
                return None
            return name, data

        names = only if only is not None else await self._zk.children(parent)
        return dict(filter(None, await asyncio.gather(*(read(name) for name in names))))

    # -- statistics

    async def publish_stats(self, stats: SwitchStats) -> None:
        parts = split_stats(stats)
        pages = [encode(StatsPage(at=stats.at, pages=len(parts), stats=part)) for part in parts]
        parent = f"{layout.STATS}/{stats.switch}"
        for _ in range(_ATTEMPTS):
            if stats.switch not in self._stats_pages:
                await self._zk.ensure(parent)
                self._stats_pages[stats.switch] = len(await self._zk.children(parent))
            held = self._stats_pages[stats.switch]
            operations: list[Operation] = [
                Set(f"{parent}/{number}", data)
                if number < held
                else Create(f"{parent}/{number}", data)
                for number, data in enumerate(pages)
            ]
            operations += [Delete(f"{parent}/{number}") for number in range(len(pages), held)]
            try:
                await self._write(operations)
            except (NoNode, NodeExists):
                del self._stats_pages[stats.switch]
                continue
            self._stats_pages[stats.switch] = len(pages)
            return
        raise StoreError(f"{parent}: somebody else writes this switch's statistics")

    async def _write(self, operations: Sequence[Operation]) -> None:
        """A few pages at a time: a reader sees from `at` what belongs together."""
        for start in range(0, len(operations), 4):
            await self._zk.multi(operations[start : start + 4])

    async def heard(self, switches: Collection[str]) -> dict[str, float]:
        """When each agent last wrote that it has applied something, or what it counts; in seconds
        since the epoch, by the server's clock. Those that never did are left out.
        """

        async def look(switch: str) -> float:
            paths = (layout.applied(switch), f"{layout.STATS}/{switch}/0")
            stats = await asyncio.gather(*map(self._zk.exists, paths))
            return max((stat.mtime for stat in stats if stat is not None), default=0.0)

        names = list(switches)
        times = await asyncio.gather(*map(look, names))
        return {name: at for name, at in zip(names, times, strict=True) if at}

    async def stats(self, switch: str) -> SwitchStats | None:
        parent = f"{layout.STATS}/{switch}"
        for _ in range(_ATTEMPTS):
            try:
                names = await self._zk.children(parent)
            except NoNode:
                return None
            try:
                found = await asyncio.gather(*(self._zk.get(f"{parent}/{n}") for n in names))
            except NoNode:
                continue
            pages = [
                decode(data, StatsPage, f"{parent}/{name}")
                for name, (data, _) in zip(names, found, strict=True)
            ]
            if not pages:
                return None
            if {(page.at, page.pages) for page in pages} == {(pages[0].at, len(pages))}:
                return join_stats([page.stats for page in pages])
        raise StoreError(f"{parent}: changes faster than it can be read")


def split_stats(stats: SwitchStats, size: int = RECORDS_PER_PAGE) -> list[SwitchStats]:
    """At least one part; no part has more than `size` records of a kind."""
    kinds = (stats.counters, stats.drops, stats.ports, stats.latency, stats.roles)
    longest = max(1, *map(len, kinds))
    return [
        SwitchStats(
            switch=stats.switch,
            at=stats.at,
            counters=stats.counters[start : start + size],
            drops=stats.drops[start : start + size],
            ports=stats.ports[start : start + size],
            latency=stats.latency[start : start + size],
            roles=stats.roles[start : start + size],
        )
        for start in range(0, longest, size)
    ]


def join_stats(parts: Sequence[SwitchStats]) -> SwitchStats:
    """The reading that was split into these parts; order of records may differ."""
    return SwitchStats(
        switch=parts[0].switch,
        at=parts[0].at,
        counters=tuple(counter for part in parts for counter in part.counters),
        drops=tuple(drop for part in parts for drop in part.drops),
        ports=tuple(port for part in parts for port in part.ports),
        latency=tuple(one for part in parts for one in part.latency),
        roles=tuple(one for part in parts for one in part.roles),
    )
