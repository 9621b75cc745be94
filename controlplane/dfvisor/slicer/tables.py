"""Writing `flow` and `slice_forward` through to the switch, and keeping the mirror.

Updates go to the switch in chunks, several of which may be under way as long as they are about
different entries, so that one role's long batch does not keep the others waiting. What a role may
name is looked up in the same turn as it is written, so a slice that is dropped meanwhile is dropped
after it. What is under way is finished and taken note of also if its client has gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence

import grpc

from dfvisor.p4rt.errors import RpcFailed
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SwitchPort, UpdateStatus
from dfvisor.slicer.held import Held, Place, deletion, update_of
from dfvisor.slicer.mirror import HEAD, Mirror
from dfvisor.slicer.planned import Chunk, Planned, aborted
from dfvisor.slicer.planner import Other, Planner
from dfvisor.slicer.refusal import Refused, denied, exhausted, unimplemented
from dfvisor.slicer.roles import Role
from dfvisor.slicer.translate import Translator
from dfvisor.slicer.turns import Turns
from dfvisor.slicer.upkeep import Upkeep
from dfvisor.slicer.view import SLICE_ID, TABLES

log = logging.getLogger(__name__)

CHUNK = 1000
"""Updates of one turn at most."""
SHARED_CHUNK = 64
"""The same while others want turns."""
LONE_TURN_S = 0.004
SHARED_TURN_S = 0.001
"""How long a turn should take the switch: while nobody else wants one, and while others do. What
the switch is at, nobody can overtake."""
CALL_S = 0.0004
"""Of it, what a call takes however little it carries."""
LEAST = 8
PASS_S = 0.0005
"""How long planning may take (about) until others get the event loop: a call takes some ten passes.
Updates are planned together or one by one, which costs:"""
TOGETHER_S, SINGLE_S = 1e-6, 30e-6
REST_S = 0.0015
"""How long the others get it, and the switch and all processors, before each turn of a long batch
while other roles want something. A role's turns come one by one then, however many batches it has,
so it writes some 30,000 updates/s, and others hardly notice."""
UNDER_WAY = 2
"""Chunks of one Write that may be at the switch."""
ATOMIC_UPDATES = 256
OK = UpdateStatus()
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS.value[0]
MESSAGE_CHARS = 200


class FlowTables:
    """The two tables of one switch. `schema` is that of the whole program."""

    def __init__(self, switch: SwitchPort, schema: Schema) -> None:
        self._switch = switch
        held = Held(schema)
        self.covered, self.place_of = held.covered, held.place_of
        fields = schema.table(TABLES[0]).fields
        self.slice_field = next(field.id for field in fields if field.name == SLICE_ID)
        self.turns = Turns(time.monotonic)
        self._flights: set[asyncio.Task[None]] = set()
        self._update_s = 0.0001  # what an update takes the switch, as measured lately
        self._last_landed = 0.0
        self.mirror = Mirror()
        self._planner = Planner(self.mirror)
        self.written_by: dict[int, Role] = {}  # who wrote a slice last
        self.upkeep = Upkeep(switch, held, self.mirror, self.turns, self.written_by)

    # -- a role's updates

    async def apply(
        self,
        translator: Translator,
        updates: Sequence[bytes],
        check: Callable[[], None],
        other: Other,
        activating: tuple[str, int] | None = None,
    ) -> list[UpdateStatus]:
        """Carry out a role's updates (each serialized) in order, continuing after refusals; one
        status for each.

        `other` carries out what is about no table entry, or refuses it. `check` raises Refused if
        the role may not write now; it is asked before every chunk, so that one who has lost the
        right does not finish a long batch. Raises SwitchUnavailable when the switch is away: of the
        chunks under way nothing is in the mirror then. `activating` is as of `SwitchPort.write`,
        once all are there.
        """
        statuses = [OK] * len(updates)
        flights: deque[asyncio.Future[None]] = deque()
        start = 0
        try:
            while start < len(updates):
                if len(flights) >= UNDER_WAY:
                    await flights.popleft()
                role = translator.role
                await self.turns.enter(role)
                chunk = self._planner.begin()
                try:
                    if len(updates) > LEAST and self.turns.contended(role):
                        await asyncio.sleep(REST_S)
                    check()
                    start, blocker = await self._plan_chunk(
                        translator.renewed(), updates, start, chunk, statuses, other
                    )
                except BaseException as error:
                    self._leave(role, chunk)
                    if not isinstance(error, Refused):
                        raise
                    statuses[start:] = [error.status] * (len(updates) - start)
                    break
                if chunk.planned:
                    whole = len(chunk) == len(updates)
                    flight = self._fly(role, chunk, statuses, activating if whole else None)
                    flights.append(self._take_off(flight, f"writing for {role}"))
                else:
                    self._leave(role, chunk)
                    if blocker is not None:
                        await blocker.wait()
        finally:
            while flights:
                await flights.popleft()
        return statuses

    def _leave(self, role: Role, chunk: Chunk) -> None:
        """A turn is over."""
        self._planner.settle(chunk)
        self.turns.leave(role)

    def _share(self, role: Role) -> int:
        """How many updates the role's next turn may have."""
        shared = self.turns.contended(role)
        most, turn_s = (SHARED_CHUNK, SHARED_TURN_S) if shared else (CHUNK, LONE_TURN_S)
        return max(LEAST, min(most, int(turn_s / self._update_s)))

    async def _plan_chunk(
        self,
        translator: Translator,
        updates: Sequence[bytes],
        start: int,
        chunk: Chunk,
        statuses: list[UpdateStatus],
        other: Other,
    ) -> tuple[int, asyncio.Event | None]:
        """Where the next chunk starts and, if this one ends early, what is to be waited for."""
        role = translator.role
        end = min(len(updates), start + self._share(role))
        spent_s = 0.0
        index = start
        while index < end:
            if spent_s >= PASS_S:
                spent_s = 0.0
                await asyncio.sleep(REST_S if self.turns.contended(role) else 0)
            most = index + 1 + int((PASS_S - spent_s) / TOGETHER_S)
            done = self._planner.together(chunk, translator, updates, index, min(end, most))
            spent_s += (done - index) * TOGETHER_S
            if done > index:
                index = done
                continue
            spent_s += SINGLE_S
            try:
                blocker = self._planner.single(chunk, translator, index, updates[index], other)
            except Refused as refused:
                statuses[index] = refused.status
            else:
                if blocker is not None:
                    return index, blocker
            index += 1
        return end, None

    def _take_off(self, flight: Coroutine[None, None, None], name: str) -> asyncio.Future[None]:
        """Begin a flight, which ends also if nobody waits for it any more; done when it has
        landed.
        """
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(_land(flight, landed), name=name)
        self._flights.add(task)
        task.add_done_callback(self._flights.discard)
        return landed

    async def _fly(
        self,
        role: Role,
        chunk: Chunk,
        statuses: list[UpdateStatus],
        activating: tuple[str, int] | None,
    ) -> None:
        began = time.perf_counter()
        try:
            answers = await self._switch.write(chunk.updates, activating=activating)
            for one in self._taken(chunk, answers, statuses):
                one.change(self.mirror)
        finally:
            for one in chunk.planned:
                self.written_by[one.slice_id] = role
            self._leave(role, chunk)
        self._measure(began, len(chunk))

    def _taken(
        self, chunk: Chunk, answers: Sequence[UpdateStatus], statuses: list[UpdateStatus]
    ) -> Sequence[Planned]:
        """What the switch has taken; the statuses of what it has not."""
        if answers.count(OK) == len(answers) or not any(one.code for one in answers):
            return chunk.planned
        taken = []
        singles = [one for planned in chunk.planned for one in planned.singly()]
        for one, answer in zip(singles, answers, strict=True):
            if not answer.code:
                taken.append(one)
                continue
            if answer.code in (NOT_FOUND, ALREADY_EXISTS):
                log.error("the switch and the mirror disagree about %s: %s", one, answer)
            statuses[one.index] = UpdateStatus(answer.code, answer.message[:MESSAGE_CHARS])
        return taken

    def _measure(self, began: float, updates: int) -> None:
        """Learn how long the switch takes for an update; several chunks may have been under way."""
        now = time.perf_counter()
        if updates >= LEAST:
            spent = max(0.0, now - max(began, self._last_landed) - CALL_S) / updates
            self._update_s += 0.2 * (min(spent, LONE_TURN_S / LEAST) - self._update_s)
            self._update_s = max(self._update_s, LONE_TURN_S / CHUNK)
        self._last_landed = now

    # -- all or nothing

    async def apply_all(
        self,
        translator: Translator,
        updates: Sequence[bytes],
        check: Callable[[], None],
        *,
        at_once: bool = False,
    ) -> list[UpdateStatus]:
        """Carry out all of a role's updates, or leave everything as it was (ROLLBACK_ON_ERROR).

        Packets may meet the entries in between, unless `at_once` (DATAPLANE_ATOMIC), which is for
        the switch to do: Refused if it can't. The status of an update that is not to blame is then
        ABORTED. An entry that is brought back starts counting anew.
        """
        if len(updates) > ATOMIC_UPDATES:
            raise exhausted(
                f"{len(updates)} updates; a batch that is to be rolled back as a whole has at most "
                f"{ATOMIC_UPDATES}"
            )
        role = translator.role
        while True:
            await self.turns.enter(role)
            chunk = self._planner.begin()
            launched = False
            try:
                check()
                now = translator.renewed()
                blocker = self._planner.blocker(now, updates)
                if blocker is None:
                    statuses = self._plan_all(now, updates, chunk)
                    if chunk.planned and not any(status.code for status in statuses):
                        fly = self._fly_at_once if at_once else self._fly_all
                        landed = self._take_off(fly(role, chunk, statuses), f"all for {role}")
                        launched = True
            finally:
                if not launched:
                    self._leave(role, chunk)
            if blocker is None:
                break
            await blocker.wait()
        if launched:
            await landed
        return statuses

    def _plan_all(
        self, translator: Translator, updates: Sequence[bytes], chunk: Chunk
    ) -> list[UpdateStatus]:
        """The statuses, if nothing is sent because one is refused."""

        def other(update: p4r.Update) -> None:
            what = update.entity.WhichOneof("entity") or "nothing"
            raise denied(f"only table entries are written all or none, not {what}")

        statuses = [OK] * len(updates)
        for index, data in enumerate(updates):
            try:
                blocker = self._planner.single(chunk, translator, index, data, other)
                assert blocker is None, "nothing of the batch is under way"
            except Refused as refused:
                statuses[index] = refused.status
        if any(status.code for status in statuses):
            return aborted(statuses, "nothing was written")
        return statuses

    async def _fly_all(self, role: Role, chunk: Chunk, statuses: list[UpdateStatus]) -> None:
        try:
            answers = await self._switch.write(chunk.updates)
            taken = self._taken(chunk, answers, statuses)
            if taken is chunk.planned:
                for one in taken:
                    one.change(self.mirror)
            else:
                await self._roll_back(taken)
                statuses[:] = aborted(statuses, "it was rolled back")
        finally:
            self._leave(role, chunk)

    async def _fly_at_once(self, role: Role, chunk: Chunk, statuses: list[UpdateStatus]) -> None:
        try:
            answers = await self._switch.write(chunk.updates, at_once=True)
            if self._taken(chunk, answers, statuses) is chunk.planned:
                for one in chunk.planned:
                    one.change(self.mirror)
        except RpcFailed as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            raise unimplemented(
                "this switch has no DATAPLANE_ATOMIC for more than one update; use "
                "ROLLBACK_ON_ERROR or CONTINUE_ON_ERROR"
            ) from error
        finally:
            self._leave(role, chunk)

    async def _roll_back(self, taken: Sequence[Planned]) -> None:
        """Make of what the switch has taken what the mirror still holds."""
        left: dict[Place, bytes | None] = {}
        for one in taken:
            for key, after in one.afters.items():
                left.pop((one.slice_id, key), None)
                left[one.slice_id, key] = after  # in the order of what was last
        back: list[Planned] = []
        work: list[p4r.Update] = []
        for (slice_id, key), after in reversed(left.items()):
            before = self.mirror.get(slice_id, key)
            if before is not None:
                kind = p4r.Update.INSERT if after is None else p4r.Update.MODIFY
                work.append(update_of(kind, before))
            elif after is not None:
                work.append(deletion(after))
            else:
                continue
            growth = (after is not None) - (before is not None)
            back.append(Planned(0, b"", (slice_id, key[:HEAD]), {key: after}, growth))
        answers = await self._switch.write(work)
        for one, answer in zip(back, answers, strict=True):
            if answer.code:
                log.error("could not roll back %s: %s", one, answer)
                one.change(self.mirror)


async def _land(flight: Coroutine[None, None, None], landed: asyncio.Future[None]) -> None:
    """Fly; then tell whoever waits, who may have gone, and who gets what went wrong."""
    try:
        await flight
    except Exception as error:  # noqa: BLE001
        if not landed.done():
            landed.set_exception(error)
            landed.exception()  # has been looked at also if nobody waits
    except BaseException:
        landed.cancel()
        raise
    else:
        if not landed.done():
            landed.set_result(None)
