"""The agent of one switch: keeps its tables equal to the database, and the slicer supplied.

One worker owns all writes of infrastructure entries: connect, read everything, write the
difference, then follow changes; after a failure, from the start again. Everything else only marks
what is to be looked at. Ending the agent leaves the switch forwarding as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import msgspec

from dfvisor.agent.applied import FORMER, AppliedVns
from dfvisor.agent.backoff import Backoff
from dfvisor.agent.book import Book
from dfvisor.agent.directory import links
from dfvisor.agent.follower import Follower
from dfvisor.agent.hostkeeper import HostKeeper
from dfvisor.agent.hosts import Outcome
from dfvisor.agent.inbox import PacketLog, learn_reports, reason_of
from dfvisor.agent.link import Link, Outranked, Written, open_link
from dfvisor.agent.links import Links
from dfvisor.agent.numbers import LocalNumbers
from dfvisor.agent.pipeline import Pipeline
from dfvisor.agent.planner import FABRIC, Planner
from dfvisor.agent.publisher import Reports, Statistics
from dfvisor.agent.removals import Removals
from dfvisor.agent.saver import SYNCED, Saver
from dfvisor.agent.strangers import forget_strangers, restore_flows
from dfvisor.agent.together import write_together
from dfvisor.agent.tracing import Tracer
from dfvisor.errors import StoreError, SwitchError
from dfvisor.metrics import Reading
from dfvisor.model.grants import Grant
from dfvisor.model.records import Fabric
from dfvisor.model.types import Mac, PortRef
from dfvisor.p4rt.client import ElectionId
from dfvisor.p4rt.errors import NotPrimary, SwitchUnavailable
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import Fence, SliceDirectory, Slicer, SwitchPort, UpdateStatus
from dfvisor.p4rt.streamed import DigestList, IdleEntries, PacketIn, PacketOut, StreamEvent
from dfvisor.store.codec import decode_grant, encode_grant
from dfvisor.store.credentials import ANONYMOUS, Credentials
from dfvisor.store.database import FabricSnapshot, VnSnapshot
from dfvisor.store.local import LocalDatabase
from dfvisor.store.stats import Active, AgentInfo, Applied, RoleCount

log = logging.getLogger(__name__)

DATABASE_GRACE_S = 3.0  # how long a start waits for the database before it uses what it held
FRESH_GRACE_S = 0.2  # the same where the switch is empty and forwards nothing
MEND_INTERVAL_S = 2.0
AGE_INTERVAL_S = 0.5
SAID_REFUSALS = 10  # in the log, of those of one round
RETRY_REFUSED_S = 2.0  # first pause before entries that the switch refused are tried again
ACTIVATE_AFTER_S = 10.0  # how long best-effort parts of a revision wait for the VN's controller
_GRANT = "grant/"  # keys in the local database: what a VN is granted
_FLOOR = "election_floor"  # key in the local database; added to the boot counter

SlicerFactory: TypeAlias = Callable[[SliceDirectory, SwitchPort, Schema, int], Slicer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`switch`: its name in the database; addresses as given on the command line.

    `listen` is where the slicer serves, `advertise` the host to tell others (None: as bound).
    """

    switch: str
    p4runtime: str
    zookeeper: str
    listen: str = "127.0.0.1:0"
    advertise: str | None = None
    target: str = "unknown"
    credentials: Credentials = ANONYMOUS  # for the global database


class Agent:
    """One switch's agent. It is the slicer's `SwitchPort`, and the follower's sink.

    `data` is the local database's file. To be run once.
    """

    def __init__(
        self,
        settings: Settings,
        data: Path,
        pipeline: Pipeline,
        make_slicer: SlicerFactory,
    ) -> None:
        self._settings = settings
        self._local = local = LocalDatabase.open(data)
        self._saver = Saver(data, lambda: self._follower.in_sync)
        self._pipeline = pipeline
        numbers = LocalNumbers(local)
        self._removals = Removals(numbers)
        self._book = Book()
        self._planner = Planner(settings.switch, numbers, self._book)
        self._make_slicer = make_slicer
        self._slicer: Slicer | None = None  # serving
        self._links = Links(
            settings.switch, self.send_packet, lambda: self._follower.database, self._resite
        )
        self._hosts = HostKeeper(
            settings.switch,
            self._planner.hosts,
            lambda: self._follower.database,
            self._mark_all,
        )
        self._whole = False  # the switch has all that it had, so neighbours' probes are answered
        self._boot = local.next_boot_id()
        self.tracer = Tracer()
        self._applied = AppliedVns(
            settings.switch,
            self._planner,
            self._saver,
            self.tracer,
            self._mark,
            lambda: self._reports.changed(),
            lambda: self._links.turned_at,
        )
        self._directory = self._applied.directory
        self._directory.on_offered = lambda vn, revision: self.tracer.slicer(
            vn, revision, time.time()
        )
        self._directory.on_written = self._flows_written
        self._directory.on_activated = self._told_active
        self._link: Link | None = None
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()  # held by who writes the agent's own entries
        self._ready = asyncio.Event()  # there is something to start from
        self._fabric_dirty = False
        self._dirty: set[str] = set()
        self._heard: dict[str, tuple[int, float]] = {}  # when a revision was last written to
        self._refusals: dict[str, str] = {}  # by owner, what the switch did not take
        self._fabric_applied = 0
        self._fabric_saved: Fabric | None = None
        self.active: dict[str, Active] = {}  # of the VNs that are present, as far as known
        self.inbox = PacketLog()
        self._unacknowledged: list[DigestList] = []  # of the present link
        self._looked = False
        self._granted: dict[str, Grant] = {}
        held = self._load()
        self._follower = Follower(
            settings.zookeeper,
            settings.switch,
            self,
            held,
            self._new_session,
            settings.credentials,
        )
        database = lambda: self._follower.database  # noqa: E731
        self._reports = Reports(settings.switch, database, self.applied)
        self._statistics = Statistics(
            settings.switch,
            database,
            lambda: self._link,
            lambda: dict(self._directory.plans),
            self.tracer.histograms,
            self.role_counts,
        )
        self._synced = float(local.get(SYNCED) or time.time())

    async def run(self) -> None:
        """Until cancelled."""
        log.info("agent of switch %s, boot %d", self._settings.switch, self._boot)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follower.run(), name="follower")
                tasks.create_task(self._keep(), name="keeper")
                tasks.create_task(self._links.run(), name="links")
                tasks.create_task(self._hosts.run(), name="hosts")
                tasks.create_task(self._saver.run(), name="saver")
                tasks.create_task(self._mend(), name="local database")
                tasks.create_task(self._age(), name="age")
                tasks.create_task(self._reports.run(), name="reports")
                tasks.create_task(self._statistics.run(), name="statistics")
        finally:
            if self._slicer is not None:
                await self._slicer.stop()
            self._saver.flush()
            self._local.close()

    def applied(self) -> Applied | None:
        """What the switch holds, by VN; None as long as it has not been looked at."""
        if not self._looked:
            return None
        return Applied(
            vns=self._applied.vns,
            fabric=self._fabric_applied,
            at=time.time(),
            error=self._local.error or self._saver.error,
        )

    @property
    def away_s(self) -> float:
        """For how long the global database has not been heard; 0 while it is."""
        if self._follower.in_sync:
            self._synced = time.time()
            return 0.0
        return max(0.0, time.time() - self._synced)

    def reading(self) -> Reading:
        """For the metrics; may be called from another thread."""
        return Reading(
            labels={"switch": self._settings.switch},
            database_age_s=self.away_s,
            local_database_ok=not (self._local.error or self._saver.error),
            revisions={name: held.revision for name, held in self._applied.vns.items()},
            latency=self.tracer.histograms(),
            roles=self.role_counts(),
        )

    def role_counts(self) -> tuple[RoleCount, ...]:
        """What became of slice controllers' requests, since the slicer started."""
        found = self._slicer.stats() if self._slicer is not None else {}
        return tuple(
            RoleCount(role=role, kind=kind, number=number)
            for role, counts in sorted(found.items())
            for kind, number in sorted(counts.items())
        )

    async def _age(self) -> None:
        """See to slices that are not to go on for ever without the database; until cancelled."""
        while True:
            for name in self._planner.set_away(self.away_s):
                log.warning("VN %s: without the database for %.0f s", name, self.away_s)
                self._mark(name)
            await asyncio.sleep(AGE_INTERVAL_S)

    async def _mend(self) -> None:
        """See to a local database that cannot be written; until cancelled."""
        said = ""
        while True:
            await asyncio.sleep(MEND_INTERVAL_S)
            self._local.heal()
            error = self._local.error or self._saver.error
            if error != said:
                said = error
                self._reports.changed()

    # -- what is wanted: the follower's sink

    def _load(self) -> list[str]:
        """Start from what the local database holds; returns the VNs."""
        try:
            fabric = self._local.load_fabric()
            vns = self._local.load_vns()
            self.active = {
                name: msgspec.json.decode(record, type=Active)
                for name, record in self._local.items("active/").items()
            }
            self._applied.load({n: int(r) for n, r in self._local.items("flows/").items()})
            self._granted = {
                name: decode_grant(record, name, f"{_GRANT}{name}")
                for name, record in self._local.items(_GRANT).items()
            }
        except StoreError as error:
            log.error("local database: unreadable, waiting for the global one: %s", error)
            return []
        if fabric is not None:
            self._planner.set_fabric(*fabric)
            self._fabric_saved = fabric[1]
            self._links.set_fabric(fabric[1])
            self._fabric_dirty = True
        for name, (revision, vn) in vns.items():
            self._planner.set_good(name, revision, vn)
        former = self._local.items(FORMER)
        self._applied.resume({name: vn for name, (_, vn) in vns.items()}, former)
        for name, grant in self._granted.items():
            self._directory.set_grant(name, grant)
        self._dirty |= vns.keys() | former.keys()
        return list(vns)

    def fabric_read(self, snapshot: FabricSnapshot) -> None:
        if snapshot.revision == 0 or self._planner.has_fabric(snapshot.revision, snapshot.fabric):
            return
        refused = self._planner.set_fabric(snapshot.revision, snapshot.fabric)
        if refused is not None:
            log.error("fabric revision %d refused: %s", snapshot.revision, refused)
            return
        self._links.set_fabric(snapshot.fabric)
        self._resite()
        self._dirty |= self._planner.names()

    def down_read(self, ports: Collection[PortRef]) -> None:
        self._links.set_reported(ports)

    def _resite(self) -> None:
        """The switch's place in the fabric is another, because of the description or of links."""
        before = self._planner.site
        self._planner.site = site = self._links.site(self._planner.shunned())
        self._fabric_dirty = True
        if before is None or site is None or not site.same_for_vns(before):
            self._dirty |= self._planner.names()
        self._wake.set()

    def vn_read(self, name: str, snapshot: VnSnapshot | None) -> None:
        if snapshot is None:
            self._planner.remove_vn(name)
            self._heard.pop(name, None)
            self.tracer.forget(name)
        else:
            self.tracer.read(
                snapshot.vn,
                snapshot.revision,
                snapshot.zxid,
                snapshot.time,
                None if snapshot.since == snapshot.revision else snapshot.touched,
                time.time(),
            )
            self._planner.set_vn(name, snapshot.revision, snapshot.vn, snapshot.grant)
            asyncio.get_running_loop().call_later(
                ACTIVATE_AFTER_S, self._overdue, name, snapshot.revision
            )
        self._set_grant(name, snapshot.grant if snapshot is not None else None)
        self._mark(name)

    def _set_grant(self, name: str, grant: Grant | None) -> None:
        if self._granted.get(name) == grant:
            return
        self._directory.set_grant(name, grant)
        if grant is None:
            self._granted.pop(name, None)
            self._saver.put(f"{_GRANT}{name}", None)
        else:
            self._granted[name] = grant
            self._saver.put(f"{_GRANT}{name}", encode_grant(grant))

    def _flows_written(self, name: str, revision: int) -> None:
        """By the VN's controller, for which the rest of the revision waits."""
        self._heard[name] = (revision, asyncio.get_running_loop().time())
        self.tracer.written(name, revision, time.time())

    def _overdue(self, name: str, revision: int) -> None:
        """Look whether a revision has waited long enough: since it was prepared here, and since its
        controller was heard.
        """
        loop = asyncio.get_running_loop()
        heard, at = self._heard.get(name, (0, 0.0))
        if heard == revision and at + ACTIVATE_AFTER_S > loop.time():
            loop.call_at(at + ACTIVATE_AFTER_S, self._overdue, name, revision)
        elif self._planner.set_overdue(name, revision):
            self._mark(name)

    def active_read(self, name: str, active: Active | None) -> None:
        if active is None:
            self.active.pop(name, None)
            self._saver.active(name, None)
        elif self.active.get(name) != active:
            self.active[name] = active
            self._saver.active(name, msgspec.json.encode(active))
        if self._planner.set_active(name, None if active is None else active.revision):
            self._mark(name)
        led = active is not None and active.election_id != 0
        self._directory.set_fence(
            name, Fence(active.epoch, active.election_id) if active and led else None
        )

    def _told_active(self, name: str, revision: int) -> None:
        """By the VN's leader; the database follows."""
        if self._planner.tell_active(name, revision):
            self._mark(name)

    def vn_unreadable(self, name: str, reason: str) -> None:
        log.error("VN %s: unreadable: %s", name, reason)
        self._planner.set_unreadable(name, reason)
        self._mark(name)

    def _mark(self, name: str) -> None:
        self._dirty.add(name)
        self._wake.set()

    def _mark_all(self, names: Collection[str]) -> None:
        for name in names:
            self._mark(name)

    def caught_up(self) -> None:
        self._ready.set()

    def _new_session(self) -> None:
        self._reports.changed()
        self._links.new_session()
        self._hosts.new_session()

    # -- what the switch sends unasked

    def _event(self, event: StreamEvent) -> None:
        if isinstance(event, PacketIn) and self._links.prober.take(event):
            return
        if self._slicer is not None:
            self._slicer.event(event)
        match event:
            case PacketIn():
                if self.inbox.take(event):
                    log.info("first packet-in of kind %s: %s", reason_of(event), event.metadata)
            case DigestList():
                self._learn(event)
            case IdleEntries():
                log.debug("idle: %s", event.entries)

    def _learn(self, received: DigestList) -> None:
        refused = False
        for report in learn_reports(received):
            found = self._planner.learn(report)
            if found is None:
                continue
            name, outcome = found
            if outcome.writes:
                log.debug("VN %s: %s at port %d: %s", name, Mac(report.mac), report.port, outcome)
                self._dirty.add(name)
            refused |= outcome in (Outcome.DUPLICATE, Outcome.FULL)
        self._hosts.learned()
        if not refused:  # else the switch would only report the same senders again at once
            self._unacknowledged.append(received)
        self._wake.set()

    def _acknowledge(self, link: Link) -> None:
        """After the entries are written: the same senders need no report then."""
        received, self._unacknowledged = self._unacknowledged, []
        for one in received:
            link.client.acknowledge(one)

    # -- the worker

    async def _keep(self) -> None:
        # half of what there is would clear the other half from a running switch
        alone = self._planner.site is not None
        backoff = Backoff(0.1, 2.0)
        said = ""
        while True:
            try:
                link = await self._open()
                said = ""
                try:
                    grace_s = FRESH_GRACE_S if link.fresh else DATABASE_GRACE_S
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(grace_s if alone else None):
                            await self._ready.wait()
                    alone = True
                    await self._serve(link, backoff)
                finally:
                    self._link = None
                    await link.close()
            except SwitchError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("switch: %s", error)
            await backoff.sleep()

    async def _open(self) -> Link:
        while self._planner.site is None:
            log.info("waiting: switch %s is not in the fabric", self._settings.switch)
            self._wake.clear()
            await self._wake.wait()
        floor = int(self._local.get(_FLOOR) or b"0")
        election_id: ElectionId = (0, self._boot + floor)
        try:
            return await open_link(
                self._settings.p4runtime,
                self._planner.site.device_id,
                election_id,
                self._pipeline,
                lambda _: self._wake.set(),
                self._event,
            )
        except Outranked as error:
            # our counter was lost with the local database, and nobody else is there
            if error.highest[0] == 0:
                self._local.put(_FLOOR, str(error.highest[1]).encode())
            raise

    async def _serve(self, link: Link, backoff: Backoff) -> None:
        """Read all, write the difference, then follow changes until the switch is lost."""
        self._book.read_back(await link.read_items())
        self._fabric_dirty = True
        self._dirty |= self._planner.names()
        if link.fresh and self._slicer is None:
            self._applied.forget_flows(self._planner.names())
        self._whole = not link.fresh
        await self._apply(link)
        if self._slicer is None:
            if link.fresh:
                await restore_flows(link, self._directory.plans, self._local)
            if not self._refusals:  # else what is known is not complete
                await forget_strangers(link, self._directory.plans, self._saver)
        self._link = link
        if self._slicer is None:
            self._slicer = await self._start_slicer(link.client.device_id)
        else:
            await self._slicer.replay()
        if not self._whole:
            self._whole = self._fabric_dirty = True
            await self._apply(link)
        await self._give_way(link)
        backoff.reset()
        lost = asyncio.create_task(link.client.wait_lost(), name="lost")
        lost.add_done_callback(lambda _: self._wake.set())
        retry = Backoff(RETRY_REFUSED_S, 30.0)
        try:
            while True:
                timeout = retry.next() if self._refusals else None
                if await self._wait(lost, timeout):
                    retry = Backoff(RETRY_REFUSED_S, 30.0)
                else:  # refused entries: see what the switch really holds, then try again
                    self._book.read_back(await link.read_items())
                    self._dirty |= self._planner.names()
                if lost.done():
                    raise SwitchUnavailable(f"{self._settings.p4runtime}: the stream has ended")
                if not link.client.is_primary:
                    raise NotPrimary(f"{self._settings.p4runtime}: another client is primary")
                await self._apply(link)
                self._acknowledge(link)
                await self._give_way(link)
        finally:
            lost.cancel()
            self._unacknowledged.clear()

    async def _wait(self, lost: asyncio.Task[None], timeout_s: float | None) -> bool:
        """Wait for a change or the end of the stream; False after the timeout."""
        if lost.done():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _start_slicer(self, device_id: int) -> Slicer:
        slicer = self._make_slicer(self._directory, self, self._pipeline.schema, device_id)
        bound = await slicer.start(self._settings.listen)
        if self._settings.advertise is not None:
            bound = f"{self._settings.advertise}:{bound.rpartition(':')[2]}"
        self._reports.announce(
            AgentInfo(
                slicer=bound,
                target=self._settings.target,
                pid=os.getpid(),
                switch_address=self._settings.p4runtime,
                device_id=device_id,
            )
        )
        return slicer

    # -- writing

    async def _apply(self, link: Link) -> None:
        """Stage what has changed and write the difference; publish what is then true."""
        async with self._writing:
            await self._write_out(link)

    async def _write_out(self, link: Link) -> None:
        self._wake.clear()
        names, fabric = self._dirty, self._fabric_dirty
        self._dirty, self._fabric_dirty = set(), False
        wanted = self._planner.fabric if fabric else None
        try:
            if fabric:
                self._directory.set_neighbours(self._planner.stage_fabric(probes=self._whole))
                if self._planner.site is not None:
                    self._directory.set_links(links(self._planner.site))
                if self._looked:  # repairs do not wait for VNs; deletions do
                    urgent = replace(self._book.pending(), deletes=())
                    for early in await link.carry_out(urgent):
                        if early.status.code == 0:
                            self._book.written(early.item)
            names |= set(self._applied.failing)
            staged = self._planner.stage(names)
            for one in staged:
                if not one.kept:
                    self._removals.drop(self._directory.shrink(one.name, one.plan))
            changes = self._book.pending()
            written = await link.carry_out(changes)
            at = time.time()
        except BaseException:
            self._dirty |= names
            self._fabric_dirty |= fabric
            raise
        self._refusals = self._record(written)
        self._book.settle()
        if len(changes):
            log.info(
                "wrote %d inserts, %d modifies, %d deletes%s",
                len(changes.inserts),
                len(changes.modifies),
                len(changes.deletes),
                f", {len(self._refusals)} owners with refusals" if self._refusals else "",
            )
        if wanted is not None and FABRIC not in self._refusals:
            self._fabric_applied = wanted[0]
        for one in staged:
            self._applied.publish(one, self._refusals.get(one.name), at)
            if one.prepared > max(one.revision, self._heard.get(one.name, (0, 0.0))[0]):
                self._heard[one.name] = (one.prepared, asyncio.get_running_loop().time())
        if wanted is not None and wanted[1] is not self._fabric_saved:
            # with what has followed from it: an agent that starts from it keeps what was kept
            self._fabric_saved = wanted[1]
            self._saver.fabric(*wanted)
        self._hosts.set_vns([vn for vn, plan in self._directory.plans.items() if plan.learns])
        self._looked = True
        self._reports.changed()

    def _record(self, written: Sequence[Written]) -> dict[str, str]:
        """Enter what was written into the book; returns the refusals by owner."""
        refusals: dict[str, str] = {}
        refused = 0
        for one in written:
            if one.status.code == 0:
                self._book.written(one.item, deleted=one.deleted)
                continue
            owner = self._book.owner_of(one.item) or FABRIC
            verb = "delete" if one.deleted else "write"
            reason = f"cannot {verb} {one.item}: {one.status.message or one.status.code}"
            if refused < SAID_REFUSALS:
                log.error("%s: %s", f"VN {owner}" if owner else "switch", reason)
            refused += 1
            refusals.setdefault(owner, reason)
        if refused > SAID_REFUSALS:
            log.error("and %d more entries were refused", refused - SAID_REFUSALS)
        return refusals

    # -- removals

    async def _give_way(self, link: Link) -> None:
        """Give up what nothing on the switch holds any more."""
        self._removals.look(self._directory.plans)
        await self._removals.finish(link, self._slicer, refused=bool(self._refusals))

    # -- the slicer's SwitchPort

    async def write(
        self,
        updates: Sequence[p4r.Update],
        *,
        at_once: bool = False,
        activating: tuple[str, int] | None = None,
    ) -> list[UpdateStatus]:
        if not updates:
            return []
        if activating is not None and await self._write_together(updates, *activating):
            statuses = [UpdateStatus()] * len(updates)
        else:
            statuses = await self._connected().client.write_statuses(updates, at_once=at_once)
        if any(status.code for status in statuses):
            pairs = zip(updates, statuses, strict=True)
            updates = [update for update, status in pairs if not status.code]
        self._saver.flows(updates)
        return statuses

    async def _write_together(
        self, updates: Sequence[p4r.Update], name: str, revision: int
    ) -> bool:
        """Write these and let the revision take effect, if both can be done at once."""
        link = self._connected()
        busy = self._writing.locked() or self._dirty or self._fabric_dirty or self._refusals
        if busy:
            return False
        async with self._writing:
            done = await write_together(link, self._planner, self._book, updates, name, revision)
        if done is None:
            return False
        staged, at = done
        self.tracer.written(name, revision, at)
        self._applied.publish(staged, None, at)
        self._reports.changed()
        return True

    async def read(self, request: p4r.ReadRequest) -> list[p4r.Entity]:
        return await self._connected().client.read(request.entities)

    def send_packet(self, packet: PacketOut) -> None:
        """Give the switch a packet; SwitchUnavailable while it is away."""
        self._connected().client.send_packet(packet)

    def _connected(self) -> Link:
        if self._link is None:
            raise SwitchUnavailable(f"switch {self._settings.switch} is away")
        return self._link
