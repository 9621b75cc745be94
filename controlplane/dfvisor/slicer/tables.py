"""Writing `flow` and `slice_forward` through to the switch, and keeping the mirror.

One change of the switch at a time, in chunks, so that one role's long batch does not keep the
others waiting. What a role may name is looked up in the same turn as it is written, so a slice that
is dropped meanwhile is dropped after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import grpc

from dfvisor.errors import SwitchError
from dfvisor.p4rt.entries import EntryKey, Item, TableEntry, by_key, diff_maps, entry_key
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SwitchPort, UpdateStatus
from dfvisor.slicer.mirror import Mirror
from dfvisor.slicer.refusal import Refused, denied, invalid
from dfvisor.slicer.roles import Role
from dfvisor.slicer.translate import Translator, slice_of
from dfvisor.slicer.view import TABLES

log = logging.getLogger(__name__)

CHUNK = 128
"""Updates of one turn."""
BREATH = 16
"""Updates (about 1 ms) after which others get the event loop: a call takes some ten passes."""
OK = 0
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS.value[0]
MESSAGE_CHARS = 200
SHOWN_REFUSALS = 5


@dataclass(frozen=True, slots=True)
class _Planned:
    """An update that may go to the switch: its place in the chunk, and what it makes of the
    mirror.
    """

    index: int
    message: p4r.Update
    entry: TableEntry

    @property
    def deletes(self) -> bool:
        return self.message.type == p4r.Update.DELETE


class FlowTables:
    """The two tables of one switch. `schema` is that of the whole program."""

    def __init__(self, switch: SwitchPort, schema: Schema) -> None:
        self._switch = switch
        self._schema = schema
        self._turn = asyncio.Lock()
        self._queues: WeakValueDictionary[Role, asyncio.Lock] = WeakValueDictionary()
        self.mirror = Mirror()

    async def fill(self) -> None:
        """Take what the switch holds as the mirror."""
        async with self._turn:
            self.mirror = Mirror(await self._read())

    async def apply(
        self, translator: Translator, updates: Sequence[p4r.Update], check: Callable[[], None]
    ) -> list[UpdateStatus]:
        """Carry out a role's updates in order, continuing after refusals; one status for each.

        `check` raises Refused if the role may not write now; it is asked before every chunk, so
        that one who has lost the right does not finish a long batch. Raises SwitchUnavailable when
        the switch is away: nothing of the current chunk is in the mirror then.
        """
        queue = self._queues.setdefault(translator.role, asyncio.Lock())
        statuses: list[UpdateStatus] = []
        async with queue:  # so that a role has one place in the queue for turns, not several
            for start in range(0, len(updates), CHUNK):
                chunk = updates[start : start + CHUNK]
                async with self._turn:
                    try:
                        check()
                    except Refused as refused:
                        return statuses + [refused.status] * (len(updates) - start)
                    statuses += await self._apply_chunk(translator, chunk)
        return statuses

    async def _apply_chunk(
        self, translator: Translator, updates: Sequence[p4r.Update]
    ) -> list[UpdateStatus]:
        statuses = [UpdateStatus()] * len(updates)
        planned: list[_Planned] = []
        pending: dict[EntryKey, TableEntry | None] = {}
        for index, update in enumerate(updates):
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            try:
                one = self._plan(translator, index, update, pending)
            except Refused as refused:
                statuses[index] = refused.status
            else:
                planned.append(one)
                pending[entry_key(one.entry)] = None if one.deletes else one.entry
        if not planned:
            return statuses
        answers = await self._switch.write([one.message for one in planned])
        for one, answer in zip(planned, answers, strict=True):
            if answer.code == OK:
                if one.deletes:
                    self.mirror.remove(one.entry)
                else:
                    self.mirror.put(one.entry)
                continue
            if answer.code in (NOT_FOUND, ALREADY_EXISTS):
                log.error("the switch and the mirror disagree about %s: %s", one.entry, answer)
            statuses[one.index] = UpdateStatus(answer.code, answer.message[:MESSAGE_CHARS])
        return statuses

    def _plan(
        self,
        translator: Translator,
        index: int,
        update: p4r.Update,
        pending: dict[EntryKey, TableEntry | None],
    ) -> _Planned:
        """What to send for an update; Refused if nothing. `pending`: the chunk's updates before."""
        if update.entity.WhichOneof("entity") != "table_entry":
            raise denied(f"role {translator.role} may write table entries only")
        message = update.entity.table_entry
        if update.type == p4r.Update.DELETE:
            entry = translator.decode_loosely(message)
            held = self._held(translator.key_to_switch(entry), pending)
            if held is None:
                raise Refused(grpc.StatusCode.NOT_FOUND, f"no such entry: {entry}")
            return _Planned(index, self._schema.delete(held), held)
        entry = translator.decode(message)
        wanted = translator.to_switch(entry)
        held = self._held(entry_key(wanted), pending)
        try:
            if update.type == p4r.Update.INSERT:
                if held is not None:
                    raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"entry exists: {entry}")
                return _Planned(index, self._schema.insert(wanted), wanted)
            if update.type == p4r.Update.MODIFY:
                if held is None:
                    raise Refused(grpc.StatusCode.NOT_FOUND, f"no such entry: {entry}")
                return _Planned(index, self._schema.modify(wanted), wanted)
        except SchemaError as error:
            raise invalid(str(error)) from error
        raise invalid(f"update type {update.type}, expected INSERT, MODIFY or DELETE")

    def _held(self, key: EntryKey, pending: dict[EntryKey, TableEntry | None]) -> TableEntry | None:
        if key in pending:
            return pending[key]
        return self.mirror.get(slice_of(key[1]), key)

    # -- for the agent

    async def replay(self, changed: Callable[[Iterable[int]], None]) -> None:
        """Make the switch equal to the mirror.

        What the switch refuses is taken as it is there, and `changed` is called with the ids of the
        slices concerned: whoever writes them has to see.
        """
        async with self._turn:
            changes = diff_maps(by_key(await self._read()), self.mirror.by_key())
            if not changes:
                return
            log.info("replaying %d changes of flow entries to the switch", len(changes))
            updates = [self._schema.delete(item) for item in changes.deletes]
            updates += [self._schema.modify(item) for item in changes.modifies]
            updates += [self._schema.insert(item) for item in changes.inserts]
            items = [*changes.deletes, *changes.modifies, *changes.inserts]
            refused = await self._write_all(updates, items)
            if refused:
                log.error("the switch refused %d changes: %s", len(refused), _shown(refused))
                self.mirror = Mirror(await self._read())
                changed({slice_of(item.key) for item, _ in refused if isinstance(item, TableEntry)})

    async def drop_slice(self, slice_id: int, forgotten: Callable[[], None]) -> None:
        """Forget a slice's entries and delete them from the switch.

        They are forgotten first (`forgotten` is called, if there were any): what can't be deleted
        now is deleted by the next `replay`. Raises SwitchError if something was left.
        """
        async with self._turn:
            dropped = self.mirror.drop(slice_id)
            if dropped:
                forgotten()
                log.info("dropping %d flow entries of slice %d", len(dropped), slice_id)
                refused = await self._write_all(
                    [self._schema.delete(one) for one in dropped], dropped
                )
                refused = [one for one in refused if one[1].code != NOT_FOUND]
                if refused:
                    raise SwitchError(f"entries of slice {slice_id} are left: {_shown(refused)}")

    async def _write_all(
        self, updates: Sequence[p4r.Update], items: Sequence[Item]
    ) -> list[tuple[Item, UpdateStatus]]:
        """Write; the items that were refused."""
        refused: list[tuple[Item, UpdateStatus]] = []
        for start in range(0, len(updates), CHUNK):
            answers = await self._switch.write(updates[start : start + CHUNK])
            refused += [
                (item, answer)
                for item, answer in zip(items[start : start + CHUNK], answers, strict=True)
                if answer.code != OK
            ]
        return refused

    async def _read(self) -> list[TableEntry]:
        request = p4r.ReadRequest()
        for table in TABLES:
            request.entities.add().table_entry.table_id = self._schema.table(table).id
        entities = await self._switch.read(request)
        return [self._schema.decode_entry(entity.table_entry) for entity in entities]


def _shown(refused: Sequence[tuple[Item, UpdateStatus]]) -> str:
    return "; ".join(
        f"{item}: {answer.message or answer.code}" for item, answer in refused[:SHOWN_REFUSALS]
    )
