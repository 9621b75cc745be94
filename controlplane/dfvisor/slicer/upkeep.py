"""Keeping switch and mirror equal, for the agent: after restarts, and when slices go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

import grpc

from dfvisor.errors import SwitchError
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SwitchPort, UpdateStatus
from dfvisor.slicer.held import Held, content, deletion, update_of
from dfvisor.slicer.mirror import Mirror
from dfvisor.slicer.roles import Role
from dfvisor.slicer.turns import Turns

log = logging.getLogger(__name__)

CHUNK = 250
"""Updates of one message."""
READ_TOGETHER = 200
"""Entries that are read until others get the event loop."""
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
SHOWN_REFUSALS = 5


class Upkeep:
    """Works on a mirror in turns that are its own."""

    def __init__(
        self,
        switch: SwitchPort,
        held: Held,
        mirror: Mirror,
        turns: Turns,
        written_by: dict[int, Role],
    ) -> None:
        self._switch = switch
        self._held = held
        self._mirror = mirror
        self._turns = turns
        self._written_by = written_by

    async def fill(self) -> None:
        """Take what the switch holds as the mirror."""
        async with self._turns.exclusive():
            self._mirror.become(await self._read())

    async def replay(self, changed: Callable[[Iterable[int]], None]) -> None:
        """Make the switch equal to the mirror.

        What the switch refuses is taken as it is there, and `changed` is called with the ids of the
        slices concerned: whoever writes them has to see.
        """
        async with self._turns.exclusive():
            actual = {(slice_id, key): entry for slice_id, key, entry in await self._read()}
            wanted = {(slice_id, key): entry for slice_id, key, entry in self._mirror}
            work: list[tuple[int, p4r.Update]] = []
            for place, entry in actual.items():
                if place not in wanted:
                    work.append((place[0], deletion(entry)))
            for place, entry in wanted.items():
                held = actual.get(place)
                if held is None:
                    work.append((place[0], update_of(p4r.Update.INSERT, entry)))
                elif content(held) != content(entry):
                    work.append((place[0], update_of(p4r.Update.MODIFY, entry)))
            if not work:
                return
            log.info("replaying %d changes of flow entries to the switch", len(work))
            refused = await self._write_all(work)
            if refused:
                log.error("the switch refused %d changes: %s", len(refused), _shown(refused))
                self._mirror.become(await self._read())
                changed({slice_id for slice_id, _, _ in refused})

    async def drop_slice(self, slice_id: int, forgotten: Callable[[], None]) -> None:
        """Forget a slice's entries and delete them from the switch.

        They are forgotten first (`forgotten` is called, if there were any): what can't be deleted
        now is deleted by the next `replay`. Raises SwitchError if something was left.
        """
        async with self._turns.exclusive():
            self._written_by.pop(slice_id, None)
            dropped = self._mirror.drop(slice_id)
            if dropped:
                forgotten()
                log.info("dropping %d flow entries of slice %d", len(dropped), slice_id)
                await self._delete(slice_id, list(dropped.values()))

    async def drop_entries(self, slice_id: int, unwanted: Callable[[bytes], bool]) -> int:
        """Delete the entries of a slice that are unwanted; returns how many."""
        async with self._turns.exclusive():
            gone = [(k, e) for k, e in self._mirror.of(slice_id).items() if unwanted(e)]
            for key, _ in gone:
                self._mirror.remove(slice_id, key)
            if gone:
                await self._delete(slice_id, [entry for _, entry in gone])
            return len(gone)

    async def _delete(self, slice_id: int, entries: Sequence[bytes]) -> None:
        refused = await self._write_all([(slice_id, deletion(entry)) for entry in entries])
        refused = [one for one in refused if one[2].code != NOT_FOUND]
        if refused:
            raise SwitchError(f"entries of slice {slice_id} are left: {_shown(refused)}")

    async def _write_all(
        self, work: Sequence[tuple[int, p4r.Update]]
    ) -> list[tuple[int, p4r.Update, UpdateStatus]]:
        """Write; what was refused."""
        refused: list[tuple[int, p4r.Update, UpdateStatus]] = []
        for start in range(0, len(work), CHUNK):
            part = work[start : start + CHUNK]
            answers = await self._switch.write([update for _, update in part])
            refused += [
                (slice_id, update, answer)
                for (slice_id, update), answer in zip(part, answers, strict=True)
                if answer.code
            ]
        return refused

    async def _read(self) -> Mirror:
        request = p4r.ReadRequest()
        for id_ in self._held.tables:
            request.entities.add().table_entry.table_id = id_
        mirror = Mirror()
        for number, entity in enumerate(await self._switch.read(request)):
            if number % READ_TOGETHER == READ_TOGETHER - 1:
                await asyncio.sleep(0)
            message = entity.table_entry
            if message.is_default_action:
                continue
            place = self._held.place_of(message)
            held = p4r.TableEntry(
                table_id=message.table_id,
                match=message.match,
                action=message.action,
                priority=message.priority,
                idle_timeout_ns=message.idle_timeout_ns,
            )
            mirror.put(*place, held.SerializeToString())
        return mirror


def _shown(refused: Sequence[tuple[int, p4r.Update, UpdateStatus]]) -> str:
    return "; ".join(
        f"{answer.message or answer.code}" for _, _, answer in refused[:SHOWN_REFUSALS]
    )
