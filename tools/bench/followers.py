"""Many simulated agents in one process: the real store client and follower, no switch.

`python -m bench.followers ADDRESS FIRST COUNT SWITCHES`: agents FIRST..FIRST+COUNT-1, each of the
switch `s<number modulo SWITCHES + 1>`. Commands come as lines on standard input, answers go to
standard output: `caught` waits until all have caught up, `at VN REVISION` until all that have the
VN have that revision and it is active; both answer with the time (seconds since the epoch) at which
the last one had it. `memory` answers with the resident bytes, `held` with the VNs held by the
first.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from dfvisor.agent.follower import Follower
from dfvisor.model.types import PortRef
from dfvisor.store.database import FabricSnapshot, VnSnapshot
from dfvisor.store.stats import Active

from bench.measure import resident_bytes

START_TOGETHER = 20


class Silent:
    """A sink that only takes note of revisions, and of the times."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.revisions: dict[str, int] = {}
        self.active: dict[str, int] = {}
        self.caught = 0
        self.time = 0.0

    def _note(self) -> None:
        self.time = time.time()
        self._changed()

    def fabric_read(self, snapshot: FabricSnapshot) -> None:
        pass

    def down_read(self, ports: Collection[PortRef]) -> None:
        pass

    def vn_read(self, name: str, snapshot: VnSnapshot | None) -> None:
        self.revisions[name] = snapshot.revision if snapshot else 0
        self._note()

    def active_read(self, name: str, active: Active | None) -> None:
        self.active[name] = active.revision if active else 0
        self._note()

    def vn_unreadable(self, name: str, reason: str) -> None:
        print(f"unreadable {name}: {reason}", file=sys.stderr)

    def caught_up(self) -> None:
        self.caught += 1
        self._note()

    def has(self, vn: str, revision: int) -> bool:
        """Or it does not have the VN at all."""
        if vn not in self.revisions:
            return True
        return min(self.revisions[vn], self.active.get(vn, 0)) >= revision


async def run(address: str, first: int, count: int, switches: int) -> None:
    """Until standard input ends."""
    changed = asyncio.Event()
    sinks = [Silent(changed.set) for _ in range(count)]
    tasks: list[asyncio.Task[None]] = []

    async def until(condition: Callable[[Silent], bool]) -> float:
        while not all(condition(sink) for sink in sinks[: len(tasks)]):
            changed.clear()
            await changed.wait()
        return max(sink.time for sink in sinks[: len(tasks)])

    for number, sink in enumerate(sinks, first):
        follower = Follower(address, f"s{number % switches + 1}", sink)
        tasks.append(asyncio.create_task(follower.run()))
        if len(tasks) % START_TOGETHER == 0:
            await until(lambda sink: sink.caught > 0)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["caught"]:
                print(await until(lambda sink: sink.caught > 0), flush=True)
            case ["at", vn, revision]:
                print(await until(partial(Silent.has, vn=vn, revision=int(revision))), flush=True)
            case ["memory"]:
                print(resident_bytes(os.getpid()), flush=True)
            case ["held"]:
                print(len(sinks[0].revisions), flush=True)
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], *map(int, sys.argv[2:5])))
