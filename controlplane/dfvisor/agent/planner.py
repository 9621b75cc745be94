"""From records to plans for one switch, remembering what was last good: pure but for its numbers.

A VN whose newest record cannot be used keeps its last good state, and has an error to show.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from dfvisor.agent.book import Book, Clash
from dfvisor.agent.desired import LEARN, VnPlan, fabric_items, neighbours, vn_plan
from dfvisor.agent.hosts import HostBook, Outcome
from dfvisor.agent.inbox import LearnReport
from dfvisor.agent.numbers import Numbers, NumbersExhausted
from dfvisor.agent.probing import probe_items
from dfvisor.agent.site import Site, look
from dfvisor.model.grants import Grant
from dfvisor.model.learned import PREFIX, with_hosts
from dfvisor.model.records import Fabric, Network, VirtualNetwork
from dfvisor.model.stale import expired, without_database
from dfvisor.model.validate import validate, validate_vn

FABRIC = ""
"""The owner of the provider's part in the book; VN names are never empty."""
PROBES = "/probes"
"""The owner of what probes of links need."""
LEARNING = "/learning"
"""The owner of what all learning VNs share; VN names have no slash."""
SHOWN_PROBLEMS = 3

Held = tuple[int, VirtualNetwork]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A VN whose part of the book has been set: `plan` None means not present here.

    `revision` is where the plan comes from, which is not the newest when `error` says why. `kept`:
    no record could be used, and whatever part the VN has stays. `gone`: there is no such VN any
    more.
    """

    name: str
    revision: int
    vn: VirtualNetwork | None
    plan: VnPlan | None
    error: str | None = None
    kept: bool = False
    gone: bool = False


class Planner:
    """Newest and last good records, and the book of entries made from them."""

    def __init__(self, switch: str, numbers: Numbers, book: Book) -> None:
        self._switch = switch
        self._numbers = numbers
        self._book = book
        self._fabric: Fabric | None = None
        self._newest: dict[str, Held] = {}
        self._good: dict[str, Held] = {}
        self._grants: dict[str, Grant | None] = {}
        self._unreadable: dict[str, str] = {}
        self._plans: dict[str, VnPlan] = {}  # the last ones made, to start from
        self.hosts = HostBook(switch, time.time)
        self.site: Site | None = None
        self.away_s = 0.0  # how long the global database has been away
        self.fabric_revision = 0

    # -- what is wanted

    def set_fabric(self, revision: int, fabric: Fabric) -> str | None:
        """Use this fabric from now on, unless it is impossible: then the reason is returned."""
        problems = validate(Network(fabric=fabric))
        if problems:
            return _summary([str(problem) for problem in problems])
        self._fabric = fabric
        self.fabric_revision = revision
        self.site = look(fabric, self._switch)
        return None

    def shunned(self) -> frozenset[str]:
        """Switches that a QoS slice carried here does not want to pass."""
        return frozenset(
            switch
            for plan in self._plans.values()
            for name in plan.slices
            if name in plan.vn.slices
            for switch in plan.vn.slices[name].avoid
        )

    def has_fabric(self, revision: int, fabric: Fabric) -> bool:
        """Whether this is the fabric in use."""
        return self.fabric_revision == revision and self._fabric == fabric

    def set_vn(
        self, name: str, revision: int, vn: VirtualNetwork, grant: Grant | None = None
    ) -> None:
        """The newest record of a VN, and what it is granted (None: no limits)."""
        self._newest[name] = (revision, vn)
        self._grants[name] = grant
        self._unreadable.pop(name, None)

    def set_good(self, name: str, revision: int, vn: VirtualNetwork) -> None:
        """A record that was in use once, for when the newest one can't be."""
        self._good[name] = (revision, vn)

    def set_unreadable(self, name: str, reason: str) -> None:
        """The newest record cannot be read; the last one stays."""
        self._unreadable[name] = reason

    def remove_vn(self, name: str) -> None:
        """There is no such VN."""
        for held in (self._newest, self._good):
            held.pop(name, None)
        self._unreadable.pop(name, None)
        self._grants.pop(name, None)
        self._plans.pop(name, None)
        self.hosts.forget(name)

    def learn(self, report: LearnReport) -> tuple[str, Outcome] | None:
        """A sender that is not known: its VN, and what became of it; None if no VN wants it."""
        for name, plan in self._plans.items():
            if plan.vn_id == report.vn_id and plan.learns and report.port in plan.ports:
                for one in plan.vn.endpoints.values():
                    if one.mac.value == report.mac and not one.name.startswith(PREFIX):
                        owner = f"endpoint {one.name}"
                        return name, self.hosts.hosts(name).refuse(one.mac, report.port, owner)
                return name, self.hosts.add(name, report.mac, report.port)
        return None  # of a VN that is gone or learns no more: the report was under way

    def learned(self, name: str) -> Mapping[int, int]:
        """The hosts of a VN that were seen here: MAC -> port."""
        return self.hosts.of(name)

    def set_away(self, away_s: float) -> set[str]:
        """The global database has been away for so long (0: it is there). Returns the VNs that this
        makes a difference to.
        """
        vns = [vn for _, vn in (self._good | self._newest).values()]
        changed = {vn.name for vn in vns if expired(vn, away_s) != expired(vn, self.away_s)}
        self.away_s = away_s
        return changed

    def names(self) -> set[str]:
        """All VNs known of."""
        return self._newest.keys() | self._good.keys() | self._unreadable.keys()

    # -- what follows

    def stage_fabric(self, *, probes: bool = True) -> dict[int, int]:
        """Set the fabric's part; returns the virtual next hops of the neighbours. `probes`: those
        of the neighbours are sent back.
        """
        if self.site is None:
            self._book.set_part(FABRIC, ())
            self._book.set_part(PROBES, ())
            return {}
        found = list(probe_items(self.site, self._numbers))  # numbers are given in the same order
        self._book.set_part(PROBES, found if probes else ())
        self._book.set_part(FABRIC, fabric_items(self.site, self._numbers))
        return neighbours(self.site, self._numbers)

    def stage(self, names: set[str]) -> list[Staged]:
        """Set the parts of these VNs. One that wants another's entries waits for the others."""
        staged: dict[str, Staged] = {}
        waiting = sorted(names)
        while waiting:
            again: list[str] = []
            for name in waiting:
                staged[name] = self._stage(name)
                if staged[name].error is not None:
                    again.append(name)
            if len(again) == len(waiting):
                break
            waiting = again
        learns = any(plan.learns for plan in self._plans.values())
        self._book.set_part(LEARNING, [LEARN] if learns else ())
        return [staged[name] for name in sorted(staged)]

    def _stage(self, name: str) -> Staged:
        newest = self._newest.get(name)
        if newest is None and name not in self._good and name not in self._unreadable:
            self._book.set_part(name, ())
            return Staged(name=name, revision=0, vn=None, plan=None, gone=True)
        error = self._unreadable.get(name)
        grant = self._grants.get(name)
        # what was good once stays, also when less is granted since
        for held, granted in ((newest, grant), (self._good.get(name), None)):
            if held is None:
                continue
            try:
                plan = self._plan(held[1], granted)
                self._book.set_part(name, plan.items if plan else ())
            except (_Impossible, Clash, NumbersExhausted) as reason:
                error = error or str(reason)
                continue
            self._good[name] = held
            return Staged(name=name, revision=held[0], vn=held[1], plan=plan, error=error)
        return Staged(name=name, revision=0, vn=None, plan=None, error=error, kept=True)

    def _plan(self, vn: VirtualNetwork, grant: Grant | None) -> VnPlan | None:
        if self._fabric is None or self.site is None:
            return None
        problems = validate_vn(self._fabric, vn, grant)
        if problems:
            raise _Impossible(_summary([str(problem) for problem in problems]))
        plan = vn_plan(
            self.site,
            with_hosts(without_database(vn, self.away_s), self.hosts.elsewhere(vn.name)),
            self._numbers,
            self._plans.get(vn.name),
            self.hosts.of(vn.name),
            self.hosts.doubted(vn.name),
        )
        if plan is not None:
            self._plans[vn.name] = plan
        else:
            self._plans.pop(vn.name, None)
        if plan is None or not plan.learns:
            self.hosts.forget(vn.name)
        return plan


class _Impossible(Exception):
    """The record is refused."""


def _summary(problems: list[str]) -> str:
    more = len(problems) - SHOWN_PROBLEMS
    shown = "; ".join(problems[:SHOWN_PROBLEMS])
    return f"{shown}; and {more} more" if more > 0 else shown
