"""One VN that this daemon stands for: while it leads, the VN's entries are kept on all switches.

Leading means to have the lowest owner node and the session that holds it. Without a connection
nothing is written; when the session is lost, leadership is, and connections to slicers end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from dfvisor.agent.backoff import Backoff
from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.grants import Grant
from dfvisor.model.presence import slices_at
from dfvisor.model.records import Fabric
from dfvisor.model.validate import validate_vn
from dfvisor.p4rt.tls import Credentials
from dfvisor.store.database import FabricSnapshot, GlobalDatabase, Ownership, VnSnapshot, Watch
from dfvisor.store.stats import AgentInfo
from dfvisor.vnc.compile import CompileError, Entries, Memo, compile_vn
from dfvisor.vnc.learned import LearnedHosts
from dfvisor.vnc.session import Progress, Session, Target

log = logging.getLogger(__name__)

SHOWN_PROBLEMS = 3


@dataclass(slots=True)
class Surroundings:
    """What all VNs of a daemon share: the database, and what was last read from it."""

    name: str  # of this daemon
    database: GlobalDatabase
    turns: asyncio.Semaphore
    fabric: FabricSnapshot | None = None  # links that are down cost more than any way around
    described: Fabric | None = None
    agents: dict[str, AgentInfo] = field(default_factory=dict)
    on_progress: Callable[[], None] = lambda: None
    on_read: Callable[[VnSnapshot], None] = lambda _: None
    tls: Credentials | None = None  # towards slicers


class Candidate:
    """Stands for one VN. `run` it as a task, `wake` it when something may have changed."""

    def __init__(self, vn: str, around: Surroundings, delay_s: float = 0.0) -> None:
        self.vn = vn
        self._around = around
        self._delay_s = delay_s
        self._wake = asyncio.Event()
        self._stale = True  # the VN must be read again
        self._snapshot: VnSnapshot | None = None
        self._compiled: tuple[str, FabricSnapshot, Grant] | None = None  # change of the VN, fabric
        self._entries: Entries = {}  # the last good ones, and the VN's revision that they are of
        self._revision = 0
        self._memo = Memo()
        self._indexed: tuple[str, frozenset[str]] | None = None  # change, switches in the index
        self._refused = ""  # why they are not of the newest revision
        self._ownership: Ownership | None = None
        self._claimed = False
        self._watch: Watch | None = None
        self._learned = LearnedHosts(self.look)
        self._sessions: dict[str, tuple[Session, asyncio.Task[None]]] = {}
        self.error = ""

    # -- what others see

    @property
    def leading(self) -> bool:
        """Whether entries may be written now."""
        return self._claimed and self._ownership is not None and self._ownership.is_leader

    @property
    def progress(self) -> dict[str, Progress]:
        """By switch, while leading."""
        return {name: session.progress for name, (session, _) in self._sessions.items()}

    def wake(self) -> None:
        """Fabric, agents, ownership or the database session may have changed."""
        self._wake.set()

    def look(self) -> None:
        """The VN may have changed."""
        self._stale = True
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
        if self._watch is None:
            self._watch = await database.watch_vn(self.vn, self.look)
        if self._ownership is None:
            self._ownership = await database.contend(self.vn, self._around.name, self.wake)
        if not self._ownership.is_leader:
            self._resign()
            self._fail("")
            return
        if not self._claimed:
            await self._claim(self._ownership)
        fresh = await self._read()
        self._compile()
        self._fail(self._refused)
        await self._index(database)
        self._direct(tasks, self._ownership.czxid)
        self._pass_on()
        if fresh:  # the VN may be another one of the same name
            await database.claim(self._ownership)

    async def _index(self, database: GlobalDatabase) -> None:
        """See that the agents of all switches concerned know of the VN: links that are down lead it
        over others, and a tenant who changes it may not write that himself.
        """
        snapshot, fabric = self._snapshot, self._around.fabric
        described = self._around.described
        if snapshot is None or fabric is None or described is None or self._refused:
            return
        present = slices_at(fabric.fabric, snapshot.vn).keys()
        wanted = (snapshot.change, frozenset(present | slices_at(described, snapshot.vn).keys()))
        if wanted != self._indexed:
            try:
                await database.set_presence(self.vn, wanted[1])
                self._indexed = wanted
            except Conflict as error:
                log.debug("VN %s: %s", self.vn, error)  # the next change looks again

    async def _claim(self, ownership: Ownership) -> None:
        await self._around.database.claim(ownership)
        log.info("VN %s: leading, election id %d", self.vn, ownership.czxid)
        self._claimed = True
        self._stale = True
        self._around.on_progress()

    def _resign(self) -> None:
        """Somebody else leads, or will: no connection to a slicer is kept."""
        if self._claimed:
            log.info("VN %s: no longer leading", self.vn)
        self._claimed = False
        self._compiled, self._entries, self._revision = None, {}, 0
        self._memo = Memo()
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
            read = await database.read_vn(self.vn)
            self._snapshot = await self._learned.added_to(read, database)
        except BaseException:
            self._stale = True
            raise
        if self._snapshot is not None:
            self._around.on_read(self._snapshot)
        return self._snapshot is not None

    def _compile(self) -> None:
        """Compute the entries if VN or fabric changed; bad records leave the last good ones."""
        snapshot, fabric = self._snapshot, self._around.fabric
        if snapshot is None or fabric is None:
            self._entries, self._compiled, self._refused = {}, None, ""
            return
        compiled = (snapshot.change, fabric, snapshot.grant)
        held = self._compiled
        if held is not None and held[1] is fabric and (held[0], held[2]) == compiled[::2]:
            return
        self._compiled = compiled
        try:
            self._entries = _compiled(snapshot, fabric, self._memo)
        except CompileError as error:
            self._refused = f"stays at revision {self._revision}: {error}"
        else:
            self._refused = ""
            self._revision = snapshot.revision

    def _direct(self, tasks: asyncio.TaskGroup, election_id: int) -> None:
        """Start, aim and end the sessions."""
        switches = self._around.fabric.fabric.switches if self._around.fabric else {}
        for switch, (session, task) in list(self._sessions.items()):
            known = switches.get(switch)
            if switch not in self._entries or known is None or known.device_id != session.device_id:
                task.cancel()  # a switch that is left: its agent drops the VN there
                del self._sessions[switch]
        for switch, entries in self._entries.items():
            if switch not in self._sessions and switch in switches:
                session = self._session(switch, switches[switch].device_id, election_id)
                task = tasks.create_task(session.run(), name=f"session {self.vn}@{switch}")
                self._sessions[switch] = (session, task)
            if switch in self._sessions:
                self._sessions[switch][0].aim(Target(self._revision, entries))

    def _session(self, switch: str, device_id: int, election_id: int) -> Session:
        def address() -> str | None:
            info = self._around.agents.get(switch)
            return None if info is None else info.slicer

        return Session(
            vn=self.vn,
            switch=switch,
            device_id=device_id,
            election_id=election_id,
            address=address,
            may_write=lambda: self.leading,
            turns=self._around.turns,
            on_progress=self._around.on_progress,
            tls=self._around.tls,
        )

    def _pass_on(self) -> None:
        for session, _ in self._sessions.values():
            session.wake()


def _compiled(snapshot: VnSnapshot, fabric: FabricSnapshot, memo: Memo) -> Entries:
    """The VN's entries; CompileError for records that validation refuses."""
    problems = validate_vn(fabric.fabric, snapshot.vn, snapshot.grant, fabric.tenants)
    if problems:
        shown = "; ".join(map(str, problems[:SHOWN_PROBLEMS]))
        raise CompileError(f"{len(problems)} problems in its records: {shown}")
    return _ours(compile_vn(fabric.fabric, snapshot.vn, memo), snapshot)


def _ours(entries: Entries, snapshot: VnSnapshot) -> Entries:
    """Without those of the slices that a controller of the tenant's own writes."""
    slices = snapshot.vn.slices
    theirs = {slices[name].key for name in snapshot.grant.controllers if name in slices}
    if not theirs:
        return entries
    return {
        switch: frozenset(one for one in found if one.key[0][1].value not in theirs)
        for switch, found in entries.items()
    }
