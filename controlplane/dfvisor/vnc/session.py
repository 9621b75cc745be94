"""One VN on one switch: a connection to the switch's slicer, kept up, and the entries kept equal.

On every new connection it reads what the role has there and writes only the difference, so a
controller that takes over changes nothing that is right already. After that it looks only at the
entries that it is told of.

A change is carried out in stages, and the leader has all switches reach one before it aims at the
next: so new paths are complete before packets take them, and old ones go when none does any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import grpc

from dfvisor.agent.backoff import Backoff
from dfvisor.errors import SwitchError
from dfvisor.p4rt.client import ElectionId, P4RuntimeClient
from dfvisor.p4rt.entries import EntryKey, TableEntry, entry_key
from dfvisor.p4rt.errors import NotPrimary, RpcFailed, SwitchUnavailable
from dfvisor.p4rt.framing import Framer
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.tls import Credentials
from dfvisor.p4rt.updates import Updates
from dfvisor.slicer.roles import Role
from dfvisor.slicer.service import ACTIVATE, ACTIVE, AT_ONCE, COMPLETE, FABRIC, HOLD, REVISION
from dfvisor.slicer.view import TABLES
from dfvisor.vnc.batches import Batch, Portion
from dfvisor.vnc.stages import Stage, Step, Wanted, as_they_are, steps

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
UPDATES_PER_WRITE = 250  # of at most about 500 bytes each; the slicer takes 256 KiB
RECENT_UPDATES = 131_072  # kept, because other switches get them too before long
RECENT_S = 10.0  # without any, after which none is kept
RECENT_SCHEMAS = 8
KEYS_AT_A_TIME = 2000  # looked at before others get a turn
SHOWN_FAILURES = 5
AT_ONCE_MS = 20  # agents read a revision when controllers do: hardly ever is there more to wait for


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A stage of a revision of the VN, in a revision of the fabric (0: in whatever there is). Every
    target is another one.
    """

    revision: int
    stage: Stage
    wanted: Wanted
    hold: bool = False  # agents are to keep what the state before needed
    fabric: int = 0
    alone: bool = False  # no other switch is concerned: it may activate what it has prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a session has got: the revision completed on the switch (0: none yet), entries held
    there, and what is wrong now.
    """

    revision: int = 0
    entries: int = 0
    error: str = ""


class Session:
    """Keeps one VN's entries on one switch. `run` it as a task; `aim` it at what is wanted.

    `address` gives the slicer's address, None while the agent is away. `may_write` tells whether
    this daemon leads the VN right now. `turns` bounds how many switches are read, or written much
    to, at a time. `on_progress` is called when it has got further, `on_held`
    on a new connection with what is there, before anything is written.
    """

    def __init__(
        self,
        *,
        vn: str,
        switch: str,
        device_id: int,
        election_id: ElectionId,
        address: Callable[[], str | None],
        may_write: Callable[[], bool],
        turns: asyncio.Semaphore,
        on_progress: Callable[[], None] = lambda: None,
        on_held: Callable[[Mapping[EntryKey, TableEntry]], None] = lambda _: None,
        tls: Credentials | None = None,
    ) -> None:
        self._tls = tls
        self.vn = vn
        self.switch = switch
        self.device_id = device_id
        self.progress = Progress()
        self.held: Mapping[EntryKey, TableEntry] | None = None  # None: not read
        self.refusing = False  # the switch has not taken all entries
        self._role = Role(vn)
        self._election_id = election_id
        self._address = address
        self._may_write = may_write
        self._turns = turns
        self._on_progress = on_progress
        self._on_held = on_held
        self._target: Target | None = None
        self._done: Target | None = None
        self._pending: dict[EntryKey, None] | None = None  # to be looked at; None: all
        self._batches: list[Batch] = []  # to be written, or looked at as well
        self._client: P4RuntimeClient | None = None  # while connected
        self._telling: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._backoff = Backoff(0.1, 5.0)

    def aim(self, target: Target, keys: Iterable[Iterable[EntryKey]] | None = None) -> None:
        """What is to be reached from now on. `keys` are those whose entries may be others than with
        the target before; without them all are looked at.
        """
        self._target = target
        if keys is None:
            self._pending = None
        elif self._pending is not None:
            for group in keys:
                if isinstance(group, Batch):
                    self._batches.append(group)
                else:
                    self._pending.update(dict.fromkeys(group))
        self._changed.set()

    def reached(self, target: Target) -> bool:
        """Whether this target is reached on the present connection."""
        return self._done is target

    @property
    def away(self) -> bool:
        """Whether the switch cannot be reached."""
        return self.held is None and not self.refusing

    def wake(self) -> None:
        """The address or the right to write may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            address = self._address()
            if address is None:
                self._report(error="its agent is away")
                await self._changed.wait()
                self._changed.clear()
                continue
            try:
                await self._serve(address)
            except SwitchError as error:
                self._report(error=str(error))
            await self._pause(address)

    async def _pause(self, address: str) -> None:
        """Wait before the next attempt; shorter if the slicer turns up at another address."""
        try:
            async with asyncio.timeout(self._backoff.next()):
                while self._address() in (address, None):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # time for the next attempt

    async def _serve(self, address: str) -> None:
        """One connection: until it is lost, which is a SwitchError."""
        client = P4RuntimeClient(
            address,
            self.device_id,
            election_id=self._election_id,
            role=str(self._role),
            on_standing=lambda _: self._changed.set(),
            tls=self._tls,
        )
        self._pending = None
        try:
            async with self._turns:
                schema, held = await self._open(client)
            self.held = held
            self._client = client
            self._on_held(held)
            self._on_progress()
            lost = asyncio.create_task(client.wait_lost(), name=f"lost {self.vn}@{self.switch}")
            lost.add_done_callback(lambda _: self._changed.set())
            try:
                while True:
                    self._changed.clear()
                    if lost.done():
                        raise SwitchUnavailable(f"{address}: the slicer has ended the stream")
                    if not client.is_primary:  # what is there may be another's before long
                        raise NotPrimary(f"{address}: another controller is primary")
                    target = self._target
                    if target is not None and target is not self._done and self._may_write():
                        await self._sync(client, schema, held, target)
                    if target is self._target and not lost.done():
                        await self._changed.wait()
            finally:
                lost.cancel()
        finally:
            self.held = self._done = self._client = None
            for task in self._telling:
                task.cancel()
            await client.close()

    async def _open(self, client: P4RuntimeClient) -> tuple[Schema, dict[EntryKey, TableEntry]]:
        """Become primary of the role and read what it has on the switch."""
        await client.connect(CONNECT_TIMEOUT_S)
        await client.become_primary(CONNECT_TIMEOUT_S)
        schema = await client.get_schema()
        if schema is None:
            raise SwitchUnavailable(f"{client.address}: the slicer has no P4Info")
        client.schema = schema = _shared(schema.proto.SerializeToString(deterministic=True))
        found = [entry for table in TABLES for entry in await client.read_entries(table)]
        return schema, {entry_key(entry): entry for entry in found}

    async def _sync(
        self,
        client: P4RuntimeClient,
        schema: Schema,
        held: dict[EntryKey, TableEntry],
        target: Target,
    ) -> None:
        """Carry out the stage, keeping `held` true.

        Left unfinished when there is another target. SwitchError lists what was refused; the rest
        was carried out all the same.
        """
        if self._pending is None:
            every = await _all_keys(held, target.wanted)
            if target is not self._target:
                return
            self._pending = every
            self._batches.clear()
        pending, whole = self._pending, list[Batch]()
        if self._batches and target.stage > Stage.FORWARD:
            batches, self._batches = self._batches, []
            whole = as_they_are(held, target.wanted, target.stage, pending, batches)
        work = steps(held, target.wanted, target.stage, pending)
        count = len(work) + sum(map(len, whole))
        async with self._turns if count > UPDATES_PER_WRITE else nullcontext():
            refused = await self._carry_out(client, schema, held, target, work, whole)
        if refused is None:
            if self._pending is pending:  # to be looked at with the next target
                pending.update((step.key, None) for step in work)
                self._batches = whole + self._batches
            return
        self.refusing = bool(refused)
        if refused:
            shown = "; ".join(refused[:SHOWN_FAILURES])
            raise SwitchError(f"{len(refused)} of {count} updates refused: {shown}")
        if count:
            kinds = [_kind(step) for step in work]
            log.info(
                "VN %s, switch %s: %d inserts, %d modifies, %d deletes",
                self.vn,
                self.switch,
                kinds.count(p4r.Update.INSERT) + sum(map(len, whole)),
                kinds.count(p4r.Update.MODIFY),
                kinds.count(p4r.Update.DELETE),
            )
        if self._pending is not pending or target is not self._target:
            return
        self._done = target
        self._backoff.reset()
        if target.stage is Stage.FINISH:
            self._report(revision=target.revision, entries=len(held))
        self._on_progress()

    async def _carry_out(
        self,
        client: P4RuntimeClient,
        schema: Schema,
        held: dict[EntryKey, TableEntry],
        target: Target,
        work: Sequence[Step],
        batches: Iterable[Batch],
    ) -> list[str] | None:
        """Write, once the agent has got as far; the refusals as text. None, and nothing was done,
        if there is another target before.
        """
        number = str(target.revision)
        confirmed = self._done is not None and self._done.revision == target.revision
        conditions, last = {REVISION: number}, {}
        if target.stage is Stage.FINISH:
            conditions[ACTIVE] = last[COMPLETE] = number
            if target.hold:
                last[HOLD] = "1"
            if target.fabric:
                last[FABRIC] = str(target.fabric)
        elif target.stage is Stage.FLOW and target.alone:
            last[ACTIVATE] = number
        sure = confirmed and target.stage is not Stage.FINISH
        chunks: list[Sequence[Step] | Portion] = [
            work[start : start + UPDATES_PER_WRITE]
            for start in range(0, len(work), UPDATES_PER_WRITE)
        ]
        for batch in batches:
            chunks += batch.portions(_framer(schema).framer)
        if not chunks and (last or not sure):
            chunks.append([])
        refused: list[str] = []
        for place, chunk in enumerate(chunks):
            self._check_leading()
            metadata = conditions | (last if place == len(chunks) - 1 and not refused else {})
            if not sure:
                sure = True
                done = await self._write_at_once(client, schema, chunk, held, metadata)
                if done is not None:
                    refused += done
                    continue
                for what in conditions:
                    if not await self._until_held(client, target, what):
                        return None
            refused += await self._write(client, schema, chunk, held, metadata)
        return refused

    async def _write_at_once(
        self,
        client: P4RuntimeClient,
        schema: Schema,
        work: Sequence[Step] | Portion,
        held: dict[EntryKey, TableEntry],
        metadata: Mapping[str, str],
    ) -> list[str] | None:
        """Write a chunk if the agent has prepared the revision already, or is about to; the
        refusals as text. None, and nothing was done, if not.
        """
        try:
            at_once = {**metadata, AT_ONCE: str(AT_ONCE_MS)}
            return await self._write(client, schema, work, held, at_once, prompt=True)
        except RpcFailed as error:
            if error.code is not grpc.StatusCode.ABORTED:
                raise
            return None

    def activate(self, revision: int) -> None:
        """Tell the agent that the revision may take effect. It hears so from the database, too, so
        nothing depends on this but time.
        """
        if self._client is not None and self._may_write():
            task = asyncio.get_running_loop().create_task(
                self._tell(self._client, {ACTIVATE: str(revision)}),
                name=f"activate {self.vn}@{self.switch}",
            )
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, client: P4RuntimeClient, metadata: Mapping[str, str]) -> None:
        try:
            await client.write([], metadata)
        except SwitchError as error:
            log.debug("VN %s, switch %s: %s", self.vn, self.switch, error)

    async def _until_held(self, client: P4RuntimeClient, target: Target, what: str) -> bool:
        """Wait until the agent has prepared, or activated, the revision; False if there is another
        target meanwhile.
        """
        self._check_leading()
        write = client.write([], {what: str(target.revision)})
        asked = asyncio.create_task(write, name=f"{what} {self.vn}@{self.switch}")
        try:
            while not asked.done():
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait(), name="changed")
                try:
                    await asyncio.wait((asked, changed), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                if self._target is not target:
                    self._changed.set()
                    return False
            asked.result()
            return True
        finally:
            asked.cancel()

    def _check_leading(self) -> None:
        if not self._may_write():
            raise SwitchUnavailable(f"virtual network {self.vn}: not leading at the moment")

    async def _write(
        self,
        client: P4RuntimeClient,
        schema: Schema,
        work: Sequence[Step] | Portion,
        held: dict[EntryKey, TableEntry],
        metadata: Mapping[str, str],
        *,
        prompt: bool = False,
    ) -> list[str]:
        """Write a chunk; the refusals as text."""
        refused: list[str] = []
        updates = _framer(schema).updates(work)
        statuses = await client.write_statuses(updates, metadata, prompt=prompt)
        if isinstance(work, Portion):
            if not any(status.code for status in statuses):
                held.update(work.entries)
                return []
            work = [Step(key, None, entry) for key, entry in work.entries.items()]
        for step, status in zip(work, statuses, strict=True):
            if status.code:
                refused.append(f"{step.new or step.old}: {status.message or status.code}")
            elif step.new is not None:
                held[step.key] = step.new
            else:
                held.pop(step.key, None)
        return refused

    def _report(
        self, *, revision: int | None = None, entries: int | None = None, error: str = ""
    ) -> None:
        before = self.progress
        self.progress = Progress(
            revision=before.revision if revision is None else revision,
            entries=before.entries if entries is None else entries,
            error=error,
        )
        if error and error != before.error:
            log.warning("VN %s, switch %s: %s", self.vn, self.switch, error)
        elif before.error and not error:
            log.info("VN %s, switch %s: well again", self.vn, self.switch)
        if self.progress != before:
            self._on_progress()


def _kind(step: Step) -> p4r.Update.Type.ValueType:
    if step.new is None:
        return p4r.Update.DELETE
    return p4r.Update.INSERT if step.old is None else p4r.Update.MODIFY


class _Frames:
    """Steps as fields of a WriteRequest; all switches of a VN get the same entries."""

    def __init__(self, schema: Schema) -> None:
        self.framer = Framer(schema)
        self._inserts: dict[int, tuple[TableEntry, bytes]] = {}  # by id(), which they keep alive
        self._latest = 0.0

    def updates(self, work: Sequence[Step] | Portion) -> Updates:
        """In their order."""
        if isinstance(work, Portion):
            return work.updates
        return Updates(b"".join(self._frames(work)), len(work))

    def _frames(self, work: Iterable[Step]) -> list[bytes]:
        inserts, framer = self._inserts, self.framer
        now = time.monotonic()
        if now > self._latest + RECENT_S:
            inserts.clear()
        self._latest = now
        found: list[bytes] = []
        for step in work:
            new = step.new
            if new is None:
                assert step.old is not None
                found.append(framer.delete(step.old))
            elif step.old is not None:
                found.append(framer.modify(new))
            else:
                known = inserts.get(id(new))
                if known is None:
                    if len(inserts) >= RECENT_UPDATES:
                        inserts.clear()
                    known = inserts[id(new)] = (new, framer.insert(new))
                found.append(known[1])
        return found


@lru_cache(RECENT_SCHEMAS)
def _framer(schema: Schema) -> _Frames:
    return _Frames(schema)


@lru_cache(RECENT_SCHEMAS)
def _shared(p4info: bytes) -> Schema:
    """One for all sessions that see the same tables."""
    return Schema.load(p4info)


async def _all_keys(held: Mapping[EntryKey, TableEntry], wanted: Wanted) -> dict[EntryKey, None]:
    """Keys of what is there and of what should be."""
    found = dict.fromkeys(held)
    for place, entry in enumerate(wanted.entries()):
        found[entry_key(entry)] = None
        if place % KEYS_AT_A_TIME == 0:
            await asyncio.sleep(0)
    return found
