"""One VN on one switch: a connection to the switch's slicer, kept up, and the entries kept equal.

On every new connection it reads what the role has there and writes only the difference, so a
controller that takes over changes nothing that is right already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from dfvisor.agent.backoff import Backoff
from dfvisor.errors import SwitchError
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import Item, TableEntry, by_key, diff, entry_key
from dfvisor.p4rt.errors import NotPrimary, SwitchUnavailable
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.tls import Credentials
from dfvisor.slicer.roles import Role
from dfvisor.slicer.service import COMPLETE, REVISION
from dfvisor.slicer.view import TABLES

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
UPDATES_PER_WRITE = 250  # of at most about 500 bytes each; the slicer takes 256 KiB
SHOWN_FAILURES = 5


Change: TypeAlias = tuple[p4r.Update, Item | None, Item | None]
"""An update, the entry that it replaces or deletes, and the one that is there afterwards."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a switch is to hold: the entries of one revision of the VN."""

    revision: int
    entries: frozenset[TableEntry]


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
    to, at a time.
    """

    def __init__(
        self,
        *,
        vn: str,
        switch: str,
        device_id: int,
        election_id: int,
        address: Callable[[], str | None],
        may_write: Callable[[], bool],
        turns: asyncio.Semaphore,
        on_progress: Callable[[], None] = lambda: None,
        tls: Credentials | None = None,
    ) -> None:
        self._tls = tls
        self.vn = vn
        self.switch = switch
        self.device_id = device_id
        self.progress = Progress()
        self._role = Role(vn)
        self._election_id = election_id
        self._address = address
        self._may_write = may_write
        self._turns = turns
        self._on_progress = on_progress
        self._target: Target | None = None
        self._changed = asyncio.Event()
        self._backoff = Backoff(0.1, 5.0)

    def aim(self, target: Target) -> None:
        """What the switch is to hold from now on."""
        if target != self._target:
            self._target = target
            self._changed.set()

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
            election_id=(0, self._election_id),
            role=str(self._role),
            on_standing=lambda _: self._changed.set(),
            tls=self._tls,
        )
        try:
            async with self._turns:
                schema, held = await self._open(client)
            lost = asyncio.create_task(client.wait_lost(), name=f"lost {self.vn}@{self.switch}")
            try:
                done: Target | None = None
                while True:
                    self._changed.clear()
                    if lost.done():
                        raise SwitchUnavailable(f"{address}: the slicer has ended the stream")
                    if not client.is_primary:  # what is there may be another's before long
                        raise NotPrimary(f"{address}: another controller is primary")
                    target = self._target
                    if target is not None and target is not done and self._may_write():
                        await self._sync(client, schema, held, target, done)
                        done = target
                        self._backoff.reset()
                    if target is self._target:
                        await self._until_changed(lost)
            finally:
                lost.cancel()
        finally:
            await client.close()

    async def _open(self, client: P4RuntimeClient) -> tuple[Schema, set[Item]]:
        """Become primary of the role and read what it has on the switch."""
        await client.connect(CONNECT_TIMEOUT_S)
        await client.become_primary(CONNECT_TIMEOUT_S)
        schema = await client.get_schema()
        if schema is None:
            raise SwitchUnavailable(f"{client.address}: the slicer has no P4Info")
        client.schema = schema
        held: set[Item] = set()
        for table in TABLES:
            held.update(await client.read_entries(table))
        return schema, held

    async def _until_changed(self, lost: asyncio.Task[None]) -> None:
        changed = asyncio.create_task(self._changed.wait(), name=f"changed {self.vn}@{self.switch}")
        try:
            await asyncio.wait((changed, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    async def _sync(
        self,
        client: P4RuntimeClient,
        schema: Schema,
        held: set[Item],
        target: Target,
        done: Target | None,
    ) -> None:
        """Write the difference, keeping `held` true, and say that the revision is complete.

        SwitchError lists what was refused; the rest was carried out all the same.
        """
        surplus = held - target.entries
        if surplus:  # a slice that has no entries here any more is not here: its agent drops it
            here = {entry.key[0] for entry in target.entries}
            gone = {
                one for one in surplus if isinstance(one, TableEntry) and one.key[0] not in here
            }
            held -= gone
            surplus -= gone
        changes = diff(surplus, target.entries - held)
        before = by_key(surplus)
        work: list[Change] = [
            *((schema.insert(item), None, item) for item in changes.inserts),
            *((schema.modify(item), before[entry_key(item)], item) for item in changes.modifies),
            *((schema.delete(item), item, None) for item in changes.deletes),
        ]
        metadata = {REVISION: str(target.revision)}
        refused: list[str] = []
        async with self._turns if len(work) > UPDATES_PER_WRITE else nullcontext():
            for start in range(0, len(work), UPDATES_PER_WRITE):
                self._check_leading()
                chunk = work[start : start + UPDATES_PER_WRITE]
                refused += await self._write(client, chunk, held, metadata)
        if refused:
            shown = "; ".join(refused[:SHOWN_FAILURES])
            raise SwitchError(f"{len(refused)} of {len(work)} updates refused: {shown}")
        if work:
            log.info(
                "VN %s, switch %s: %d inserts, %d modifies, %d deletes",
                self.vn,
                self.switch,
                len(changes.inserts),
                len(changes.modifies),
                len(changes.deletes),
            )
        if done is None or target.revision != done.revision:
            self._check_leading()
            await client.write([], {COMPLETE: str(target.revision)})
        self._report(revision=target.revision, entries=len(held))

    def _check_leading(self) -> None:
        if not self._may_write():
            raise SwitchUnavailable(f"virtual network {self.vn}: not leading at the moment")

    async def _write(
        self,
        client: P4RuntimeClient,
        work: Sequence[Change],
        held: set[Item],
        metadata: Mapping[str, str],
    ) -> list[str]:
        """Write a chunk; the refusals as text."""
        refused: list[str] = []
        statuses = await client.write_statuses([update for update, _, _ in work], metadata)
        for (_, old, new), status in zip(work, statuses, strict=True):
            if status.code:
                refused.append(f"{new or old}: {status.message or status.code}")
                continue
            if old is not None:
                held.discard(old)
            if new is not None:
                held.add(new)
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
