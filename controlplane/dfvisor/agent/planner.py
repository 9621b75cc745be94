"""From records to plans for one switch, remembering what was last good: pure but for its numbers.

A VN whose newest record cannot be used keeps its last good state, and has an error to show.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dfvisor.agent.book import Book, Clash
from dfvisor.agent.desired import LEARN, VnPlan, fabric_items, neighbours, vn_plan
from dfvisor.agent.edge import Address
from dfvisor.agent.former import Former
from dfvisor.agent.hosts import HostBook, Outcome
from dfvisor.agent.inbox import LearnReport
from dfvisor.agent.numbers import Numbers, NumbersExhausted
from dfvisor.agent.probing import probe_items
from dfvisor.agent.site import Site, look
from dfvisor.agent.steps import both, held_by, kept, offered, prepared, unled_part
from dfvisor.model.disabled import without_disabled
from dfvisor.model.grants import Grant
from dfvisor.model.learned import PREFIX, settle_addresses, with_hosts
from dfvisor.model.records import Fabric, Network, VirtualNetwork
from dfvisor.model.remade import Remade
from dfvisor.model.stale import expired, without_database
from dfvisor.model.types import Mac
from dfvisor.model.validate import validate
from dfvisor.model.verdicts import Verdicts
from dfvisor.p4rt.entries import EntryKey, Item

FABRIC = ""
"""The owner of the provider's part in the book; VN names are never empty."""
PROBES = "/probes"
"""The owner of what probes of links need."""
LEARNING = "/learning"
"""The owner of what all learning VNs share; VN names have no slash."""
SHOWN_PROBLEMS = 3

Held = tuple[int, VirtualNetwork]
Remembered: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A VN whose part of the book has been set: `plan` None means not present here.

    `revision` and `vn` are the live ones, which are not the newest when `error` says why, or when
    the newest, of revision `prepared`, is not active yet. `plan` is what the slicer may build on:
    of the `live` one, of the one that is prepared and of what stays of one before (`keeps`).
    `space` is what the VN's slices may be meanwhile. `kept`: no record could be used, and whatever
    part the VN has stays. `gone`: there is no such VN any more.
    """

    name: str
    revision: int
    vn: VirtualNetwork | None
    plan: VnPlan | None
    live: VnPlan | None = None
    prepared: int = 0
    space: VirtualNetwork | None = None
    keeps: bool = False
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
        self._active: dict[str, int] = {}  # revisions that may take effect
        self._told: dict[str, int] = {}  # the same by the leader, who is faster than the database
        self._overdue: dict[str, int] = {}  # that have waited long enough
        self._plans: dict[str, VnPlan] = {}  # the live ones
        self._coming: dict[str, VnPlan] = {}  # those that wait to be
        self._verdicts: dict[str, Verdicts] = {}
        self._remade: dict[str, Remade] = {}
        self._kept: dict[str, dict[EntryKey, Item]] = {}  # what stays of those before
        self._past: dict[str, VnPlan] = {}  # what the slicer may still build on of those
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

    @property
    def fabric(self) -> tuple[int, Fabric] | None:
        """The fabric in use, and its revision."""
        return None if self._fabric is None else (self.fabric_revision, self._fabric)

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

    def resume(self, name: str, former: Former) -> None:
        """The switch has held this since an earlier life of the agent; what is not wanted any more
        is kept, whatever has changed since.
        """
        self._kept[name], self._past[name] = dict(former.items), former.plan

    def former(self, name: str) -> Former | None:
        """What the switch holds of the VN for packets under way; None: nothing."""
        live, past = self._plans.get(name), self._past.get(name)
        plan = offered(past, live, None)
        items = held_by(live, self._kept.get(name, {}))
        return Former(items, plan) if plan is not None and items else None

    def set_unreadable(self, name: str, reason: str) -> None:
        """The newest record cannot be read; the last one stays."""
        self._unreadable[name] = reason

    def remove_vn(self, name: str) -> None:
        """There is no such VN."""
        for held in (self._newest, self._good):
            held.pop(name, None)
        self._unreadable.pop(name, None)
        self._grants.pop(name, None)
        for record in (self._active, self._told, self._overdue):
            record.pop(name, None)

    def set_active(self, name: str, revision: int | None) -> bool:
        """The revision of a VN that may take effect; None: not known, so any. Whether one that
        has waited may now.
        """
        newest = self._newest.get(name)
        waited = newest is not None and not self._may(name, newest[0])
        if revision is None:
            self._active.pop(name, None)
        else:
            self._active[name] = revision
        return waited and newest is not None and self._may(name, newest[0])

    def tell_active(self, name: str, revision: int) -> bool:
        """As `set_active`, before the database says so: that may not take it back."""
        newest = self._newest.get(name)
        waited = newest is not None and not self._may(name, newest[0])
        self._told[name] = max(revision, self._told.get(name, 0))
        return waited and newest is not None and self._may(name, newest[0])

    def remember(self, name: str) -> Remembered:
        """What `tell_active` and `stage` then change of a VN."""
        return tuple(record.get(name) for record in self._changing())

    def restore(self, name: str, held: Remembered) -> None:
        """As it was; what is in the book is staged anew."""
        for record, one in zip(self._changing(), held, strict=True):
            if one is None:
                record.pop(name, None)
            else:
                record[name] = one

    def _changing(self) -> tuple[dict[str, Any], ...]:
        return self._told, self._good, self._plans, self._coming, self._kept, self._past

    def set_overdue(self, name: str, revision: int) -> bool:
        """A revision has waited long enough for a controller; whether it still does."""
        newest = self._newest.get(name)
        if newest is None or newest[0] != revision or self._may(name, revision):
            return False
        self._overdue[name] = revision
        return True

    def finish(self, name: str) -> bool:
        """Nothing needs what was kept of the VN any more; whether anything was."""
        self._past.pop(name, None)
        return self._kept.pop(name, None) is not None

    def newest(self, name: str) -> int:
        """The newest revision of the VN that is known; 0: none."""
        held = self._newest.get(name)
        return held[0] if held is not None else 0

    def awaits(self, name: str) -> bool:
        """Whether it is for the VN's controller to say how long what is kept is needed: that of
        slices that go on, and have only left this switch. Packets come here until it has led them
        elsewhere.
        """
        past, live, grant = self._past.get(name), self._plans.get(name), self._grants.get(name)
        if past is None:
            return False
        others = {*(live.slices if live else ()), *(grant.controllers if grant else ())}
        keys = {
            slice_name: info.key
            for slice_name, info in past.slices.items()
            if not info.best_effort and slice_name not in others
        }
        return any(
            slice_.key == keys.get(slice_.name)
            for held in (self._newest.get(name), self._good.get(name))
            if held is not None
            for slice_ in held[1].slices.values()
        )

    def learn(self, report: LearnReport) -> tuple[str, Outcome] | None:
        """A sender that is not known: its VN, and what became of it; None if no VN wants it."""
        for name, plan in self._plans.items():
            if plan.vn_id == report.vn_id and plan.learns and report.port in plan.ports:
                for one in plan.vn.endpoints.values():
                    if one.mac.value == report.mac and not one.name.startswith(PREFIX):
                        owner = f"endpoint {one.name}"
                        return name, self.hosts.hosts(name).refuse(one.mac, report.port, owner)
                return name, self.hosts.add(name, report.mac, report.port, report.ip)
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
        for name in names & self._remade.keys():
            self._remade[name].trim()
        learns = any(plan.learns for plan in self._plans.values())
        self._book.set_part(LEARNING, [LEARN] if learns else ())
        return [staged[name] for name in sorted(staged)]

    def _stage(self, name: str) -> Staged:
        newest, good = self._newest.get(name), self._good.get(name)
        error = self._unreadable.get(name)
        if newest is None and good is None and error is None:
            return self._leave(name)
        waiting = newest is not None and newest is not good and not self._may(name, newest[0])
        grant = self._grants.get(name)  # what was good once stays, also when less is granted since
        choices = [good] if waiting else [newest, good]
        if waiting and newest is not None and self._overdue.get(name) == newest[0]:
            part = unled_part(
                good[1] if good else None, newest[1], grant.controllers if grant else ()
            )
            if part is newest[1]:  # there is nothing to wait for
                choices.insert(0, newest)
                waiting = False
            else:
                error = error or f"revision {newest[0]} waits for a controller: best effort only"
                choices.insert(0, (good[0] if good else 0, part))
        coming, ready = None, None  # `ready` even if there is nothing to prepare for it here
        if waiting and newest is not None:
            try:
                coming = self._plan(newest[1], grant)
                ready = newest
            except (_Impossible, NumbersExhausted) as reason:
                error = str(reason)
            if coming is not None:
                self._coming[name] = coming
        for held in choices:
            if held is None:
                continue
            try:
                live = self._plan(held[1], grant if held is newest else None)
                self._set(name, live, coming)
            except (_Impossible, Clash, NumbersExhausted) as reason:
                error = error or str(reason)
                continue
            self._settle(name, live)
            if not waiting:
                self._coming.pop(name, None)
            if held in (newest, good):
                self._good[name] = held
            return self._staged(name, held, live, coming, ready, error)
        if good is None and coming is not None:
            try:
                self._set(name, None, coming)
            except Clash as reason:
                error = str(reason)
            else:
                return self._staged(name, (0, None), None, coming, ready, error)
        return Staged(name=name, revision=0, vn=None, plan=None, error=error, kept=True)

    def _may(self, name: str, revision: int) -> bool:
        """Whether a revision may take effect."""
        active = self._active.get(name)
        return active is None or max(active, self._told.get(name, 0)) >= revision

    def _staged(
        self,
        name: str,
        held: tuple[int, VirtualNetwork | None],
        live: VnPlan | None,
        coming: VnPlan | None,
        ready: Held | None,
        error: str | None,
    ) -> Staged:
        space = held[1]
        if coming is not None:
            space = coming.vn if space is None else both(space, coming.vn)
        return Staged(
            name=name,
            revision=held[0],
            vn=held[1],
            plan=offered(self._past.get(name), live, coming),
            live=live,
            prepared=held[0] if ready is None else ready[0],
            space=space,
            keeps=bool(self._kept.get(name)),
            error=error,
        )

    def _leave(self, name: str) -> Staged:
        """The VN is not here any more; what packets on their way through need stays for a while."""
        past = self._past.get(name) or self._plans.get(name)
        if past is not None and not past.access:
            self._set(name, None, None)
            self._settle(name, None)
            if self._kept.get(name):
                return Staged(name=name, revision=0, vn=None, plan=past, gone=True, keeps=True)
        for record in (self._kept, self._past, self._plans, self._coming):
            record.pop(name, None)
        self._verdicts.pop(name, None)
        self._remade.pop(name, None)
        self.hosts.forget(name)
        self._book.set_part(name, ())
        return Staged(name=name, revision=0, vn=None, plan=None, gone=True)

    def _set(self, name: str, live: VnPlan | None, coming: VnPlan | None) -> None:
        """Set the VN's part of the book; Clash, and nothing changed."""
        stay = kept(self._plans.get(name), live, self._kept.get(name, {}))
        items: list[Item] = list(stay.values())
        if live is not None:
            items += live.base
        if coming is not None:
            items += prepared(live, coming, stay)
        self._book.set_part(name, items, live.classified if live is not None else {})

    def _settle(self, name: str, live: VnPlan | None) -> None:
        """The plan is live from now on."""
        before = self._plans.get(name)
        self._kept[name] = kept(before, live, self._kept.get(name, {}))
        if self._kept[name]:
            past = offered(self._past.get(name), before, None)
            if past is not None:
                self._past[name] = past
        else:
            del self._kept[name]
            self._past.pop(name, None)
        if live is not None:
            self._plans[name] = live
        else:
            self._plans.pop(name, None)
        if live is None or not live.learns:
            self.hosts.forget(name)

    def _plan(self, vn: VirtualNetwork, grant: Grant | None) -> VnPlan | None:
        if self._fabric is None or self.site is None:
            return None
        verdicts = self._verdicts.setdefault(vn.name, Verdicts())
        problems = verdicts.problems(vn, self._fabric, grant)
        if problems:
            raise _Impossible(_summary([str(problem) for problem in problems]))
        before = self._coming.get(vn.name)
        if before is None or before.vn is not vn:
            before = self._plans.get(vn.name)
        hosts = self.hosts.everywhere(vn.name)
        owners = settle_addresses(vn, hosts) if vn.learning and hosts else {}
        remade = self._remade.setdefault(vn.name, Remade())
        shown = without_database(without_disabled(vn, remade), self.away_s, remade)
        addresses = self.hosts.addresses(vn.name)
        return vn_plan(
            self.site,
            with_hosts(shown, self.hosts.elsewhere(vn.name), owners),
            self._numbers,
            before,
            self.hosts.of(vn.name),
            self.hosts.doubted(vn.name),
            [
                Address(mac, ip, answered=owners.get(ip) == Mac(mac))
                for mac, ips in addresses.items()
                for ip in ips
            ],
        )


class _Impossible(Exception):
    """The record is refused."""


def _summary(problems: list[str]) -> str:
    more = len(problems) - SHOWN_PROBLEMS
    shown = "; ".join(problems[:SHOWN_PROBLEMS])
    return f"{shown}; and {more} more" if more > 0 else shown
