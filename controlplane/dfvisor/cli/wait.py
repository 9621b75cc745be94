"""`--wait`: until the live switches have applied what was written, or which have not and why."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dfvisor.cli.change import Written
from dfvisor.model.presence import slices_at
from dfvisor.model.records import Network
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import Applied

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Expectation:
    """What switch `switch` shall report of `vn`; None: the fabric's revision.

    `revision` 0: nothing of the VN may be left. `flows`: its flow entries must be complete, too.
    `leaving`: the VN may also be gone from the switch. `ways`: its packets must go along the ways
    of this revision of the fabric.
    """

    switch: str
    vn: str | None
    revision: int
    flows: bool = False
    leaving: bool = False
    ways: int = 0

    def missing(self, applied: Applied | None) -> str | None:
        """Why it is not fulfilled yet, for people; None when it is."""
        what = f"{self.switch}: {self.vn or 'fabric'}"
        if applied is None:
            return f"{what}: nothing reported yet"
        if self.vn is None:
            if applied.fabric >= self.revision:
                return None
            return f"{what}: revision {applied.fabric} applied, {self.revision} wanted"
        found = applied.vns.get(self.vn)
        if found is None:
            return None if self.leaving or not self.revision else f"{what}: nothing reported yet"
        if not self.revision:
            return f"{what}: still there" + (f" ({found.error})" if found.error else "")
        if found.revision < self.revision:
            why = f": {found.error}" if found.error else ""
            return f"{what}: revision {found.revision} applied, {self.revision} wanted{why}"
        if self.flows and found.flows < self.revision:
            return (
                f"{what}: flow entries of revision {found.flows} complete, {self.revision} wanted "
                f"(by the VN controller)"
            )
        if found.ways < self.ways:
            return (
                f"{what}: packets go along the ways of fabric revision {found.ways}, "
                f"{self.ways} wanted (by the VN controller)"
            )
        return None


def expectations(network: Network, written: Written) -> list[Expectation]:
    """What each switch shall report after the change; `network` is the one wanted."""
    found: list[Expectation] = []
    for name, revision in written.vns.items():
        vn = network.vns[name]
        present = slices_at(network.fabric, vn)
        before = written.before.get(name)
        for switch, slices in present.items():
            qos = any(not vn.slices[label].best_effort for label in slices)
            found.append(Expectation(switch, name, revision, flows=qos))
        for switch in slices_at(network.fabric, before) if before else ():
            if switch not in present:
                found.append(Expectation(switch, name, revision, leaving=True))
    for switch in network.fabric.switches:
        found += [Expectation(switch, name, 0) for name in sorted(written.deleted)]
        if written.fabric is not None:
            found.append(Expectation(switch, None, written.fabric))
    if written.fabric is not None:
        for name, vn in network.vns.items():
            if name not in written.deleted and any(not s.best_effort for s in vn.slices.values()):
                ends = vn.endpoints.values()
                homes = sorted({home for one in ends if (home := network.fabric.home(one))})
                found += [Expectation(home, name, 1, ways=written.fabric) for home in homes]
    return found


def unfulfilled(
    expected: Collection[Expectation], live: Collection[str], applied: Mapping[str, Applied]
) -> list[str]:
    """Why the wait is not over, for people. Switches without a live agent do not count, but one
    must be live.
    """
    if expected and not live:
        return ["no switch has a live agent"]
    found = [
        expectation.missing(applied.get(expectation.switch))
        for expectation in expected
        if expectation.switch in live
    ]
    return [reason for reason in found if reason]


async def wait_applied(
    db: GlobalDatabase, expected: Collection[Expectation], timeout_s: float
) -> tuple[list[str], list[str]]:
    """Poll until nothing is missing or the time is over.

    Returns what is missing (empty: done), and the concerned switches without a live agent.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    concerned = {expectation.switch for expectation in expected}
    while True:
        live, applied = await asyncio.gather(db.read_agents(), db.read_applied(concerned))
        missing = unfulfilled(expected, live, applied)
        if not missing or asyncio.get_running_loop().time() > deadline:
            return missing, sorted({e.switch for e in expected} - live.keys())
        await asyncio.sleep(POLL_S)
