"""One VN that this daemon stands for: while it leads, the VN's entries are kept on all switches.

Leading means to have the lowest owner node and the session that holds it. Without a connection
nothing is written; when the session is lost, leadership is, and connections to slicers end.

A change goes through all switches in stages (session.py): new forwarding, then flow entries, then
the revision is activated, so that agents let traffic take effect of it, and at last what only the
state before needed is deleted. A new leader first reads what all switches hold, and goes on from
there.

Nobody has packets take a path class that a switch on the way may not know (turning.py): while one
does not answer, its slices stay on their former classes, all else goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dfvisor.agent.backoff import Backoff
from dfvisor.errors import Conflict, Problem, StoreError, StoreUnavailable
from dfvisor.model.changes import changes
from dfvisor.model.checker import Checker
from dfvisor.model.grants import Grant
from dfvisor.model.presence import slices_at
from dfvisor.model.records import Fabric, Network, VirtualNetwork
from dfvisor.model.validate import validate
from dfvisor.model.within import Within
from dfvisor.p4rt.client import ElectionId
from dfvisor.p4rt.entries import EntryKey, TableEntry
from dfvisor.p4rt.tls import Credentials
from dfvisor.store.database import FabricSnapshot, GlobalDatabase, Ownership, VnSnapshot, Watch
from dfvisor.store.stats import AgentInfo
from dfvisor.vnc.adopt import adopt
from dfvisor.vnc.compile import CompileError, Compiler, SwitchEntries, Update
from dfvisor.vnc.health import apart
from dfvisor.vnc.learned import LearnedHosts
from dfvisor.vnc.routing import Trees
from dfvisor.vnc.session import Progress, Session, Target
from dfvisor.vnc.stages import Stage
from dfvisor.vnc.turning import Turning

log = logging.getLogger(__name__)

SHOWN_PROBLEMS = 3
PATIENCE_S = 3.0
"""How long the others wait for a switch that does not answer."""
GATHER_S = 5.0
"""The same for a new leader, who wants to know which path class each switch has packets bear:
agents may be about to come back, together with the database.
"""
HOLD_S = 3.0
"""How often agents are told that what former path classes need has to stay."""


@dataclass(slots=True)
class Surroundings:
    """What all VNs of a daemon share: the database, and what was last read from it."""

    name: str  # of this daemon
    database: GlobalDatabase
    turns: asyncio.Semaphore
    fabric: FabricSnapshot | None = None  # links that are down cost more than any way around
    described: Fabric | None = None
    trees: Trees | None = None  # of this fabric
    agents: dict[str, AgentInfo] = field(default_factory=dict)
    on_progress: Callable[[], None] = lambda: None
    on_owners: Callable[[], None] = lambda: None
    on_read: Callable[[VnSnapshot], None] = lambda _: None
    tls: Credentials | None = None  # towards slicers


class Candidate:
    """Stands for one VN. `run` it as a task, `wake` it when something may have changed."""

    def __init__(self, vn: str, around: Surroundings, delay_s: float = 0.0) -> None:
        self.vn = vn
        self.preferred = ""  # the daemon whose share the VN is
        self._around = around
        self._delay_s = delay_s
        self._wake = asyncio.Event()
        self._stale = True  # the VN must be read again
        self._news = True  # sessions are to look again
        self._snapshot: VnSnapshot | None = None
        self._compiled: tuple[str, FabricSnapshot, Grant] | None = None  # from these
        self._indexed: tuple[frozenset[str], bool, int, int] | None = None  # as `_index` has it
        self._compiler: Compiler | None = None  # of the last good records
        self._checker = Checker()
        self._within = Within()
        self._checked: VirtualNetwork | None = None  # the last one, good or bad
        self._good: VirtualNetwork | None = None  # the last good one
        self._controlled: tuple[str, ...] = ()  # slices with controllers of the tenant's own
        self._revision = 0  # that they are of
        self._fabric_revision = 0
        self._refused = ""  # why they are not of the newest revision
        self._ownership: Ownership | None = None
        self._claimed = False
        self._claimed_of = ""  # the origin of the VN that was claimed
        self._election_id: ElectionId = (0, 0)
        self._watch: Watch | None = None  # while there is no VN; else reading sets one
        self._learned = LearnedHosts(self.look)
        self._active = 0  # the revision that is, at least
        self._moved = True  # the VN may be at other switches than when it was activated last
        self._moves = 0  # how often that has been so
        self._gathering: float | None = None  # until when to wait for what switches hold
        self._stage: Stage | None = None  # that sessions are aimed at; None: all is done
        self._since = 0.0
        self._targets: dict[str, Target] = {}
        self._turning = Turning()
        self._cut_off: frozenset[str] = frozenset()  # switches
        self._held_at = 0.0  # when agents were told last
        self._hold_timer: asyncio.TimerHandle | None = None
        self._sessions: dict[str, tuple[Session, asyncio.Task[None]]] = {}
        self.error = ""

    @property
    def _origin(self) -> str:
        return "" if self._snapshot is None else self._snapshot.manifest.origin

    # -- what others see

    @property
    def leading(self) -> bool:
        """Whether entries may be written now."""
        return self._claimed and self._ownership is not None and self._ownership.is_leader

    @property
    def advancing(self) -> bool:
        """Whether switches have yet to get what is wanted. Stages do not wait for those that are
        cut off, which may be written to all the same.
        """
        return self._stage is not None or any(
            session.held is not None and not self._reached(switch, session)
            for switch, (session, _) in self._sessions.items()
            if switch in self._targets
        )

    @property
    def progress(self) -> dict[str, Progress]:
        """By switch, while leading."""
        return {name: session.progress for name, (session, _) in self._sessions.items()}

    def wake(self) -> None:
        """Fabric, agents, ownership or the database session may have changed."""
        self._news = True
        self._wake.set()

    def look(self) -> None:
        """The VN may have changed."""
        self._stale = self._news = True
        self._wake.set()

    # -- running

    async def run(self) -> None:
        """Until cancelled. Owner node and session of the database are left to the caller."""
        await asyncio.sleep(self._delay_s)
        backoff = Backoff(0.1, 3.0)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._wake.clear()
                    try:
                        await self._step(tasks)
                        backoff.reset()
                        await self._wake.wait()
                    except StoreError as error:
                        self._fail(str(error))
                        self._stale = True
                        self._pass_on()
                        await self._retry(backoff.next())
        finally:
            self._learned.cancel()
            if self._watch is not None:
                self._watch.cancel()

    async def _retry(self, pause_s: float) -> None:
        """Wait for news, or for the pause to end."""
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            pass  # time for the next attempt

    async def release(self) -> None:
        """Give up the VN at once; after `run` has ended."""
        if self._ownership is not None and not self._ownership.lost:
            await self._ownership.release()

    def _fail(self, error: str) -> None:
        if error and error != self.error and self._around.database.connected:
            log.warning("VN %s: %s", self.vn, error)
        if error != self.error:
            self.error = error
            self._around.on_progress()

    async def _step(self, tasks: asyncio.TaskGroup) -> None:
        """Do what there is to do now."""
        database = self._around.database
        if self._ownership is not None and self._ownership.lost:
            log.info("VN %s: candidacy lost with its session", self.vn)
            self._resign()
            self._ownership = None
        if not database.connected:
            raise StoreUnavailable("the database is away")
        if self._ownership is None:
            self._ownership = await database.contend(
                self.vn, self._around.name, self._owners_changed
            )
        if not self._ownership.is_leader:
            self._resign()
            self._fail("")
            return
        if await self._hand_over(self._ownership):
            return
        if not self._claimed:
            await self._claim(self._ownership)
        if await self._read() and self._origin != self._claimed_of:
            await self._claim(self._ownership)  # it is another VN of the same name
            self._claimed_of = self._origin
        self._compile()
        self._fail(self._refused or self._turning.waiting_for)
        await self._index(database)
        self._direct(tasks)
        if self._news:
            self._news = False
            self._pass_on()
        await self._advance(self._ownership)
        self._fail(self._refused or self._turning.waiting_for)

    def _owners_changed(self) -> None:
        self.wake()
        self._around.on_owners()

    async def _hand_over(self, ownership: Ownership) -> bool:
        """Leave the VN to the daemon whose share it is, if that one stands for it and nothing is
        half done; whether that was so.
        """
        if self.preferred in ("", self._around.name) or self._stage is not None:
            return False
        owners = await self._around.database.read_owners(self.vn)
        if self.preferred not in owners:
            return False
        log.info("VN %s: handed over to %s", self.vn, self.preferred)
        self._resign()
        await ownership.release()
        self._ownership = None
        self._wake.set()  # and stand again, behind the others
        return True

    async def _index(self, database: GlobalDatabase) -> None:
        """See that the agents of all switches concerned know of the VN: links that are down lead it
        over others, and a tenant who changes it may not write that himself. No switch is left as
        long as packets may come there on former ways.
        """
        fabric, described = self._around.fabric, self._around.described
        if self._compiler is None or self._good is None or fabric is None or described is None:
            return
        wanted = self._compiler.switches
        if self._controlled:  # slices of tenants' own, for which nothing is compiled
            wanted |= slices_at(fabric.fabric, self._good).keys()
        if fabric.fabric.links != described.links:  # and where it is when they are back
            wanted |= slices_at(described, self._good).keys()
        turning = bool(self._compiler.turning or self._turning.unknown)
        keep = turning or self._gathering is not None
        indexed = (wanted, keep, fabric.revision, self._moves)
        if indexed != self._indexed:
            try:
                await database.set_presence(self.vn, wanted, keep=keep)
                self._indexed = indexed
            except Conflict as error:
                log.debug("VN %s: %s", self.vn, error)  # the next change looks again

    async def _claim(self, ownership: Ownership) -> None:
        active = await self._around.database.claim(ownership)
        election_id = (active.epoch, ownership.czxid)
        self._active = active.revision
        if self._claimed and election_id == self._election_id:
            return
        log.info("VN %s: leading, election id %d:%d", self.vn, *election_id)
        self._resign()
        self._election_id = election_id
        self._claimed = True
        self._stale = True
        self._around.on_progress()

    def _resign(self) -> None:
        """Somebody else leads, or will: no connection to a slicer is kept."""
        if self._claimed:
            log.info("VN %s: connections to slicers end", self.vn)
        self._claimed = False
        self._compiled, self._compiler, self._revision = None, None, 0
        self._checker, self._checked, self._good = Checker(), None, None
        self._indexed = None
        self._stage, self._targets = None, {}
        self._turning = Turning()
        self._gathering = None
        for _, task in self._sessions.values():
            task.cancel()
        self._sessions.clear()
        self._around.on_progress()

    async def _read(self) -> bool:
        """Read the VN if it may have changed; whether that was so."""
        if not self._stale:
            return False
        self._stale = False
        try:
            database = self._around.database
            read = await database.read_vn(self.vn, self.look)
            if read is None:
                read = await self._expect(database)
            elif self._watch is not None:
                self._watch.cancel()
                self._watch = None
            self._snapshot = await self._learned.added_to(read, database)
        except BaseException:
            self._stale = True
            raise
        if self._snapshot is not None:
            self._around.on_read(self._snapshot)
        return self._snapshot is not None

    async def _expect(self, database: GlobalDatabase) -> VnSnapshot | None:
        """There is no such VN: hear when there is one, which may be now."""
        if self._watch is None:
            self._watch = await database.watch_vn(self.vn, self.look)
        return await database.read_vn(self.vn, self.look)

    # -- from records to entries

    def _compile(self) -> None:
        """Compute the entries if VN or fabric changed; bad records leave the last good ones."""
        snapshot, fabric, trees = self._snapshot, self._around.fabric, self._around.trees
        if snapshot is None or fabric is None or trees is None:
            self._compiled, self._compiler, self._refused = None, None, ""
            self._checked = self._good = None
            return
        compiled = (snapshot.change, fabric, snapshot.grant)
        before = self._compiled
        same = before is not None and before[1] is fabric and before[2] == snapshot.grant
        if same and before is not None and before[0] == snapshot.change:
            return
        self._compiled = compiled
        compiler = self._compiler or Compiler()
        checked, self._checked = self._checked, snapshot.vn
        changed = None if checked is None else changes(checked, snapshot.vn)
        problems = self._checker.problems(
            snapshot.vn, changed, fabric.fabric, fabric, lambda vn: _problems(vn, fabric)
        )
        if not problems:
            problems = self._within.problems(snapshot.vn, snapshot.grant)
        if problems:
            self._refuse(f"{len(problems)} problems in its records: {_shown(problems)}")
            return
        if changed is None or changed.structure or changed.endpoints or not same:
            self._moved = True
            self._moves += 1
        try:
            known = changed if self._good is checked else None
            left_out = snapshot.grant.controllers
            update = compiler.update(trees, snapshot.vn, known, left_out)
        except CompileError as error:
            self._refuse(str(error))
            return
        self._good = snapshot.vn
        self._controlled = left_out
        self._cut_off = apart(fabric.fabric, compiler.switches)
        self._refused = ""
        self._revision, self._fabric_revision = snapshot.revision, fabric.revision
        if self._compiler is None:  # nothing can be written before it is known what is there
            self._compiler = compiler
            self._gathering = asyncio.get_running_loop().time() + GATHER_S
            asyncio.get_running_loop().call_later(GATHER_S, self._wake.set)
        elif self._gathering is None:
            self._turning.begin(update.repathed, asyncio.get_running_loop().time())
            first = update.repathed or self._stage is Stage.FORWARD
            self._enter(Stage.FORWARD if first else Stage.FLOW, update)

    def _refuse(self, reason: str) -> None:
        self._refused = f"stays at revision {self._revision}: {reason}"

    def _adopt(self) -> None:
        """Go on with the path classes that packets bear already, if their forwarding can stay."""
        compiler = self._compiler
        assert compiler is not None
        held = {
            switch: session.held
            for switch, (session, _) in self._sessions.items()
            if session.held is not None
        }
        self._turning.begin(adopt(compiler, held), asyncio.get_running_loop().time())
        self._turning.unknown = frozenset(
            name for name in compiler.slices if not compiler.slice(name).switches & held.keys()
        )
        self._gathering = None
        self._enter(Stage.FORWARD, None)

    def _found(self, switch: str, held: Mapping[EntryKey, TableEntry]) -> None:
        """A session has read what a switch holds: of slices of which nothing was known before, that
        is what packets bear.
        """
        if self._gathering is None and self._compiler is not None and self._turning.unknown:
            names = {
                name
                for name in self._turning.unknown & self._compiler.slices.keys()
                if switch in self._compiler.slice(name).switches
            }
            self._turning.unknown -= names
            turned = adopt(self._compiler, {switch: held}, names)
            self._turning.begin(turned, asyncio.get_running_loop().time())

    # -- sessions

    def _direct(self, tasks: asyncio.TaskGroup) -> None:
        """Start and end sessions; new ones are aimed where the others are."""
        compiler = self._compiler
        wanted = frozenset[str]() if compiler is None else compiler.switches
        switches = self._around.fabric.fabric.switches if self._around.fabric else {}
        for switch, (session, task) in list(self._sessions.items()):
            known = switches.get(switch)
            same = known is not None and known.device_id == session.device_id
            if not same or (switch not in wanted and not self._ending(switch, session)):
                task.cancel()
                del self._sessions[switch]
        for switch in sorted(wanted & switches.keys() - self._sessions.keys()):
            session = self._session(switch, switches[switch].device_id)
            task = tasks.create_task(session.run(), name=f"session {self.vn}@{switch}")
            self._sessions[switch] = (session, task)
            if self._stage is not None:
                self._aim(switch, session, self._stage, None)

    def _ending(self, switch: str, session: Session) -> bool:
        """Whether a switch that is left is about to be told that nothing comes there any more."""
        if self._stage is not Stage.FINISH or session.away or self._reached(switch, session):
            return False
        return asyncio.get_running_loop().time() < self._since + PATIENCE_S

    def _session(self, switch: str, device_id: int) -> Session:
        return Session(
            vn=self.vn,
            switch=switch,
            device_id=device_id,
            election_id=self._election_id,
            address=lambda: self._address(switch),
            may_write=lambda: self.leading,
            turns=self._around.turns,
            on_progress=self._progressed,
            on_held=lambda held: self._found(switch, held),
            tls=self._around.tls,
        )

    def _address(self, switch: str) -> str | None:
        info = self._around.agents.get(switch)
        return None if info is None else info.slicer

    def _progressed(self) -> None:
        self._wake.set()
        self._around.on_progress()

    def _pass_on(self) -> None:
        for session, _ in self._sessions.values():
            session.wake()

    # -- stages

    def _enter(self, stage: Stage, update: Update | None) -> None:
        """Aim all sessions at a stage; None: whatever may differ has to be looked at."""
        self._stage = stage
        self._since = asyncio.get_running_loop().time()
        self._held_at = self._since
        for switch, (session, _) in self._sessions.items():
            keys = None if update is None else update.changed.get(switch, ())
            self._aim(switch, session, stage, keys)
        asyncio.get_running_loop().call_later(PATIENCE_S, self._wake.set)

    def _aim(
        self,
        switch: str,
        session: Session,
        stage: Stage,
        keys: Iterable[Iterable[EntryKey]] | None,
    ) -> None:
        assert self._compiler is not None
        wanted = SwitchEntries(self._compiler, switch)
        target = self._targets[switch] = Target(
            self._revision,
            stage,
            wanted,
            hold=bool(self._compiler.turning),
            fabric=self._fabric_revision,
            alone=len(self._sessions) == 1,
        )
        session.aim(target, keys)

    async def _advance(self, ownership: Ownership) -> None:
        """Go on to the next stage once all switches have reached this one."""
        if self._compiler is None:
            return
        if self._gathering is not None:
            if self._all(
                lambda _, session: session.held is not None, self._gathering, absent_too=True
            ):
                self._adopt()
            return
        while self._stage is not None:
            if not self._all(self._reached, self._since + PATIENCE_S, absent_too=False):
                return
            match self._stage:
                case Stage.FORWARD:
                    self._enter(Stage.FLOW, self._stamp() or Update())
                case Stage.FLOW:
                    if self._active < self._revision:
                        if len(self._sessions) > 1:  # one alone has done it with its last entries
                            for session, _ in self._sessions.values():
                                session.activate(self._revision)
                        active = await self._around.database.activate(
                            ownership, self._revision, moved=self._moved
                        )
                        self._active, self._moved = active.revision, False
                        if active.epoch != self._election_id[0]:  # restored from a copy
                            await self._claim(ownership)
                            self.wake()
                            return
                    if not self._drained():
                        return
                    self._enter(Stage.FINISH, self._retire())
                case Stage.FINISH:
                    self._stage = None
        self._go_on_turning()

    # -- path classes

    def _reached(self, switch: str, session: Session) -> bool:
        return session.reached(self._targets[switch])

    def _ready(self, switch: str) -> bool:
        """Whether a switch has all that it was told, or does not matter."""
        if switch in self._cut_off:
            return True
        held = self._sessions.get(switch)
        return held is not None and self._reached(switch, held[0])

    def _stamp(self) -> Update | None:
        """Have packets take the newest path classes that all switches know; None: of no slice."""
        compiler, fabric = self._compiler, self._around.fabric
        assert compiler is not None and fabric is not None
        now = asyncio.get_running_loop().time()
        names = self._turning.to_stamp(compiler, fabric.fabric, self._ready, now)
        if not names:
            return None
        self._turning.stamped(names, now)
        return compiler.stamp(names)

    def _drained(self) -> bool:
        """Whether no packets are under way that entered before."""
        left = self._turning.drained_in(asyncio.get_running_loop().time())
        if left > 0:
            asyncio.get_running_loop().call_later(left, self._wake.set)
        return left <= 0

    def _retire(self) -> Update | None:
        """Give up former path classes that nobody has packets take; None: look at everything."""
        assert self._compiler is not None
        names = self._turning.to_retire(self._compiler, self._ready)
        return self._compiler.retire(names) if names else Update()

    def _go_on_turning(self) -> None:
        """All else is done; see to the slices that wait for a switch."""
        compiler = self._compiler
        if compiler is None or not compiler.turning:
            self._turning.waiting_for = ""
            return
        update = self._stamp()
        if update is not None:
            self._enter(Stage.FLOW, update)
        elif self._turning.to_retire(compiler, self._ready):
            self._enter(Stage.FINISH, self._retire())
        else:
            self._hold(compiler)
            return
        self._wake.set()

    def _hold(self, compiler: Compiler) -> None:
        """Tell agents from time to time that former path classes are still in use."""
        away = {
            switch
            for name in compiler.turning
            for switch in compiler.slice(name).routing.switches | compiler.homes
            if not self._ready(switch)
        }
        self._turning.waiting_for = (
            f"slices {', '.join(sorted(compiler.turning))} stay on their former paths until "
            f"{', '.join(sorted(away))} can be reached"
        )
        loop = asyncio.get_running_loop()
        if loop.time() - self._held_at >= HOLD_S:
            self._held_at = loop.time()
            for switch, (session, _) in self._sessions.items():
                self._aim(switch, session, Stage.FINISH, ())
        if self._hold_timer is not None:
            self._hold_timer.cancel()
        self._hold_timer = loop.call_at(self._held_at + HOLD_S, self._wake.set)

    def _all(
        self, ready: Callable[[str, Session], bool], patience: float, *, absent_too: bool
    ) -> bool:
        """Whether all sessions are ready. Nobody waits for a switch on former ways only, which gets
        nothing new, nor for one that is cut off, nor beyond `patience` for one that cannot be
        reached, and for one whose agent is away only if `absent_too`.
        """
        late = asyncio.get_running_loop().time() >= patience
        newest = frozenset[str]() if self._compiler is None else self._compiler.newest
        return all(
            ready(switch, session)
            or switch not in newest
            or switch in self._cut_off
            or (session.away and (late or (not absent_too and self._address(switch) is None)))
            for switch, (session, _) in self._sessions.items()
        )


def _problems(vn: VirtualNetwork, fabric: FabricSnapshot) -> list[Problem]:
    return validate(Network(fabric=fabric.fabric, tenants=fabric.tenants, vns={vn.name: vn}))


def _shown(problems: Sequence[Problem]) -> str:
    return "; ".join(map(str, problems[:SHOWN_PROBLEMS]))
