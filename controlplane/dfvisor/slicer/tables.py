"""Writing `flow` and `slice_forward` through to the switch, and keeping the mirror.

Updates go to the switch in chunks, several of which may be under way as long as they are about
different entries, so that one role's long batch does not keep the others waiting. What a role may
name is looked up in the same turn as it is written, so a slice that is dropped meanwhile is dropped
after it. What is under way is finished and taken note of also if its client has gone.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence

import grpc

from dfvisor.errors import SwitchError
from dfvisor.p4rt.errors import RpcFailed
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SwitchPort, UpdateStatus
from dfvisor.slicer.alike import framed
from dfvisor.slicer.held import Held, Place, content, deletion, key_only, update_of
from dfvisor.slicer.mirror import HEAD, Mirror
from dfvisor.slicer.planned import Overlay, Planned, aborted, inverse, messages_of, shown
from dfvisor.slicer.refusal import Refused, denied, exhausted, invalid, missing, unimplemented
from dfvisor.slicer.roles import Role
from dfvisor.slicer.translate import FLOW, Translator
from dfvisor.slicer.turns import Turns
from dfvisor.slicer.view import SLICE_ID, TABLES

log = logging.getLogger(__name__)

CHUNK = 250
"""Updates of one turn at most."""
LONE_TURN_S = 0.004
SHARED_TURN_S = 0.001
"""How long a turn should take the switch: while nobody else wants one, and while others do. What
the switch is at, nobody can overtake."""
CALL_S = 0.0004
"""Of it, what a call takes however little it carries."""
LEAST = 8
BREATH = 48
"""Updates (about 0.5 ms) after which others get the event loop: a call takes some ten passes."""
SHARED_BREATH = 16
REST_S = 0.001
"""The same while other roles want something, and how long it lasts then."""
UNDER_WAY = 2
"""Chunks of one Write that may be at the switch."""
ATOMIC_UPDATES = 256
OK = UpdateStatus()
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS.value[0]
MESSAGE_CHARS = 200
SHOWN_REFUSALS = 5


class FlowTables:
    """The two tables of one switch. `schema` is that of the whole program."""

    def __init__(self, switch: SwitchPort, schema: Schema) -> None:
        self._switch = switch
        self._held = Held(schema)
        self.covered, self.place_of = self._held.covered, self._held.place_of
        fields = schema.table(TABLES[0]).fields
        self.slice_field = next(field.id for field in fields if field.name == SLICE_ID)
        self.turns = Turns(time.monotonic)
        self._flying: dict[Place, asyncio.Event] = {}
        self._growing: Counter[tuple[int, bytes]] = Counter()  # entries under way, by table
        self._flights: set[asyncio.Task[None]] = set()
        self._update_s = 0.0001  # what an update takes the switch, as measured lately
        self._last_landed = 0.0
        self.mirror = Mirror()
        self.written_by: dict[int, Role] = {}  # who wrote a slice last

    async def fill(self) -> None:
        """Take what the switch holds as the mirror."""
        async with self.turns.exclusive():
            self.mirror = await self._read()

    # -- a role's updates

    async def apply(
        self,
        translator: Translator,
        updates: Sequence[p4r.Update],
        check: Callable[[], None],
        other: Callable[[p4r.Update], None],
        activating: tuple[str, int] | None = None,
    ) -> list[UpdateStatus]:
        """Carry out a role's updates in order, continuing after refusals; one status for each.

        The messages are edited. `other` carries out what is about no table entry, or refuses it.
        `check` raises Refused if the role may not write now; it is asked before every chunk, so
        that one who has lost the right does not finish a long batch. Raises SwitchUnavailable when
        the switch is away: of the chunks under way nothing is in the mirror then. `activating` is
        as of `SwitchPort.write`, once all are there.
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
                try:
                    check()
                    start, planned, blocker = await self._plan_chunk(
                        translator.renewed(), updates, start, self._share(role), statuses, other
                    )
                except BaseException as error:
                    self.turns.leave(role)
                    if not isinstance(error, Refused):
                        raise
                    statuses[start:] = [error.status] * (len(updates) - start)
                    break
                if planned:
                    whole = len(planned) == len(updates)
                    flight = self._fly(role, planned, statuses, activating if whole else None)
                    flights.append(self._take_off(flight, f"writing for {role}"))
                else:
                    self.turns.leave(role)
                    if blocker is not None:
                        await blocker.wait()
        finally:
            while flights:
                await flights.popleft()
        return statuses

    def _share(self, role: Role) -> int:
        """How many updates the role's next turn may have."""
        turn_s = SHARED_TURN_S if self.turns.contended(role) else LONE_TURN_S
        return max(LEAST, min(CHUNK, int(turn_s / self._update_s)))

    async def _plan_chunk(
        self,
        translator: Translator,
        updates: Sequence[p4r.Update],
        start: int,
        most: int,
        statuses: list[UpdateStatus],
        other: Callable[[p4r.Update], None],
    ) -> tuple[int, list[Planned], asyncio.Event | None]:
        """Where the next chunk starts, what is to be sent of this one, and, if it ends early, what
        is to be waited for.
        """
        planned: list[Planned] = []
        overlay: Overlay = {}
        landed = asyncio.Event()
        end = min(len(updates), start + most)
        breath = start + SHARED_BREATH
        index = start
        try:
            while index < end:
                if index == breath:
                    shared = self.turns.contended(translator.role)
                    await asyncio.sleep(REST_S if shared else 0)
                    breath += SHARED_BREATH if shared else BREATH
                stop = min(end, breath)
                done = self._plan_run(translator, updates, index, stop, overlay, landed, planned)
                if done > index:
                    index = done
                    continue
                try:
                    one = self._plan(translator, index, updates[index], overlay, landed)
                    if one is None:
                        other(updates[index])
                except Refused as refused:
                    statuses[index] = refused.status
                    one = None
                if isinstance(one, asyncio.Event):
                    return index, planned, one
                if one is not None:
                    planned.append(one)
                index += 1
        except BaseException:
            self._settle(planned)
            raise
        return end, planned, None

    def _plan_run(
        self,
        translator: Translator,
        updates: Sequence[p4r.Update],
        start: int,
        stop: int,
        overlay: Overlay,
        landed: asyncio.Event,
        planned: list[Planned],
    ) -> int:
        """Plan updates that are like the last one, as long as there is nothing to say to them but
        yes; returns where that ends. It asks what `_plan` asks, which sees to everything else.
        """
        alike = translator.alike
        if alike is None:
            return start
        flying, growing, mirror = self._flying, self._growing, self.mirror
        kind, head, is_flow = alike.kind, alike.layout.head, alike.layout.name == FLOW
        growth = {p4r.Update.INSERT: 1, p4r.Update.DELETE: -1}.get(kind, 0)
        gre_key = -1
        for index in range(start, stop):
            update = updates[index]
            data = update.SerializeToString()
            fields = alike.key(data)
            if fields is None:
                break
            if fields.slice_id != gre_key:
                found = translator.splice(alike, fields.slice_id)
                if found is None:
                    break
                gre_key = fields.slice_id
                rights, splice = found
                slice_id = rights.info.slice_id
                table = (slice_id, head)
                room = sys.maxsize
                if rights.quota is not None:
                    room = rights.quota - mirror.count(*table) - growing.get(table, 0)
            priority = update.entity.table_entry.priority
            key = head + priority.to_bytes(HEAD, "big") + fields.wire
            place = (slice_id, key)
            before = mirror.get(slice_id, key)
            if place in flying or (before is None) != (growth > 0):
                break
            tail = data[splice.start :]
            after = None
            if growth >= 0:
                if is_flow and not rights.space.covers(fields.masks, fields.values):
                    break
                if growth and room <= 0:
                    break
                room -= growth
                after = splice.entry + tail
            overlay[place] = after
            flying[place] = landed
            if growth:
                growing[table] += growth
            sent = splice.sent + tail
            planned.append(Planned(index, sent, place, before, after, growth, table))
        else:
            return stop
        translator.alike = None
        return index

    def _plan(
        self,
        translator: Translator,
        index: int,
        update: p4r.Update,
        overlay: Overlay,
        landed: asyncio.Event,
    ) -> Planned | asyncio.Event | None:
        """What to send for an update, whose entry is under way from now on; Refused if nothing; an
        event to wait for if the entry is under way in another chunk; None if it is about no entry.

        `overlay`: what the chunk's updates before it make of the mirror. `landed` is the chunk's.
        """
        message = update.entity.table_entry
        identity = translator.recognize(update)
        recognized = identity is not None
        if identity is None:
            if not update.entity.HasField("table_entry"):
                return None
            identity = translator.identify(message)
        place = (identity.rights.info.slice_id, identity.key)
        flying = self._flying.get(place)
        if flying is not None and flying is not landed:
            return flying
        translator.check_write(identity)
        before = overlay[place] if place in overlay else self.mirror.get(*place)
        kind = update.type
        table = (place[0], identity.key[:HEAD])
        after: bytes | None
        if kind == p4r.Update.DELETE:
            if before is None:
                raise missing(f"no such entry in table {identity.layout.name}: {_text(message)}")
            if not recognized:
                key_only(message)
                translator.learn(identity, update)
            translator.key_to_switch(identity, message)
            after = None
        elif kind in (p4r.Update.INSERT, p4r.Update.MODIFY):
            translator.check_entry(identity, message)
            if kind == p4r.Update.INSERT:
                if before is not None:
                    raise Refused(
                        grpc.StatusCode.ALREADY_EXISTS,
                        f"entry exists in table {identity.layout.name}; use MODIFY",
                    )
                held = self.mirror.count(*table) + self._growing.get(table, 0)
                translator.check_quota(identity, held)
            elif before is None:
                raise missing(f"no such entry in table {identity.layout.name}: {_text(message)}")
            if not recognized:
                translator.learn(identity, update)
            translator.to_switch(identity, message)
            after = message.SerializeToString()
        else:
            raise invalid(f"update type {kind}, expected INSERT, MODIFY or DELETE")
        overlay[place] = after
        growth = (after is not None) - (before is not None)
        self._flying[place] = landed
        if growth:
            self._growing[table] += growth
        return Planned(index, framed(update), place, before, after, growth, table)

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
        planned: list[Planned],
        statuses: list[UpdateStatus],
        activating: tuple[str, int] | None,
    ) -> None:
        began = time.perf_counter()
        try:
            answers = await self._switch.write(messages_of(planned), activating=activating)
            taken = planned
            if any(answer.code for answer in answers):
                taken = []
                for one, answer in zip(planned, answers, strict=True):
                    if answer.code:
                        statuses[one.index] = self._refused(one, answer)
                    else:
                        taken.append(one)
            self.mirror.change([(one.place, one.after) for one in taken])
        finally:
            for slice_id in {one.place[0] for one in planned}:
                self.written_by[slice_id] = role
            self._settle(planned)
            self.turns.leave(role)
        self._measure(began, len(planned))

    def _measure(self, began: float, updates: int) -> None:
        """Learn how long the switch takes for an update; several chunks may have been under way."""
        now = time.perf_counter()
        if updates >= LEAST:
            spent = max(0.0, now - max(began, self._last_landed) - CALL_S) / updates
            self._update_s += 0.2 * (min(spent, LONE_TURN_S / LEAST) - self._update_s)
            self._update_s = max(self._update_s, LONE_TURN_S / CHUNK)
        self._last_landed = now

    def _note(self, place: Place, entry: bytes | None) -> None:
        if entry is None:
            self.mirror.remove(*place)
        else:
            self.mirror.put(*place, entry)

    def _refused(self, one: Planned, answer: UpdateStatus) -> UpdateStatus:
        if answer.code in (NOT_FOUND, ALREADY_EXISTS):
            log.error("the switch and the mirror disagree about %s: %s", shown(one), answer)
        return UpdateStatus(answer.code, answer.message[:MESSAGE_CHARS])

    def _settle(self, planned: Sequence[Planned]) -> None:
        """These entries are not under way any more."""
        landed: asyncio.Event | None = None
        for one in planned:
            landed = self._flying.pop(one.place, landed)
            if one.growth:
                self._growing[one.table] -= one.growth
        for table in {one.table for one in planned}:
            if not self._growing[table]:
                del self._growing[table]
        if landed is not None:
            landed.set()

    # -- all or nothing

    async def apply_all(
        self,
        translator: Translator,
        updates: Sequence[p4r.Update],
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
            launched = False
            try:
                check()
                now = translator.renewed()
                blocker = self._blocker(now, updates)
                if blocker is None:
                    statuses, planned = self._plan_all(now, updates)
                    if planned:
                        fly = self._fly_at_once if at_once else self._fly_all
                        flight = fly(role, planned, statuses)
                        landed = self._take_off(flight, f"all for {role}")
                        launched = True
            finally:
                if not launched:
                    self.turns.leave(role)
            if blocker is None:
                break
            await blocker.wait()
        if launched:
            await landed
        return statuses

    def _blocker(
        self, translator: Translator, updates: Sequence[p4r.Update]
    ) -> asyncio.Event | None:
        if not self._flying:
            return None
        for update in updates:
            if update.entity.WhichOneof("entity") != "table_entry":
                continue
            try:
                identity = translator.identify(update.entity.table_entry)
            except Refused:
                continue  # planning will say so
            flying = self._flying.get((identity.rights.info.slice_id, identity.key))
            if flying is not None:
                return flying
        return None

    def _plan_all(
        self, translator: Translator, updates: Sequence[p4r.Update]
    ) -> tuple[list[UpdateStatus], list[Planned]]:
        """Statuses, and what to send: nothing if one is refused."""
        statuses = [OK] * len(updates)
        planned: list[Planned] = []
        overlay: Overlay = {}
        landed = asyncio.Event()
        for index, update in enumerate(updates):
            try:
                one = self._plan(translator, index, update, overlay, landed)
                if one is None:
                    what = update.entity.WhichOneof("entity") or "nothing"
                    raise denied(f"only table entries are written all or none, not {what}")
            except Refused as refused:
                statuses[index] = refused.status
            else:
                assert isinstance(one, Planned), "nothing of the batch is under way"
                planned.append(one)
        if len(planned) == len(updates):
            return statuses, planned
        self._settle(planned)
        return aborted(statuses, "nothing was written"), []

    async def _fly_all(
        self, role: Role, planned: list[Planned], statuses: list[UpdateStatus]
    ) -> None:
        try:
            answers = await self._switch.write(messages_of(planned))
            done = [one for one, answer in zip(planned, answers, strict=True) if not answer.code]
            for one, answer in zip(planned, answers, strict=True):
                if answer.code:
                    statuses[one.index] = self._refused(one, answer)
                else:
                    self._note(one.place, one.after)
            if len(done) < len(planned):
                await self._roll_back(done)
                statuses[:] = aborted(statuses, "it was rolled back")
        finally:
            self._settle(planned)
            self.turns.leave(role)

    async def _fly_at_once(
        self, role: Role, planned: list[Planned], statuses: list[UpdateStatus]
    ) -> None:
        try:
            answers = await self._switch.write(messages_of(planned), at_once=True)
            for one, answer in zip(planned, answers, strict=True):
                statuses[one.index] = self._refused(one, answer)
            if not any(answer.code for answer in answers):
                for one in planned:
                    self._note(one.place, one.after)
        except RpcFailed as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            raise unimplemented(
                "this switch has no DATAPLANE_ATOMIC for more than one update; use "
                "ROLLBACK_ON_ERROR or CONTINUE_ON_ERROR"
            ) from error
        finally:
            self._settle(planned)
            self.turns.leave(role)

    async def _roll_back(self, done: Sequence[Planned]) -> None:
        back = list(reversed(done))
        answers = await self._switch.write([inverse(one) for one in back])
        for one, answer in zip(back, answers, strict=True):
            if answer.code:
                log.error("could not roll back %s: %s", shown(one), answer)
            else:
                self._note(one.place, one.before)

    # -- for the agent

    async def replay(self, changed: Callable[[Iterable[int]], None]) -> None:
        """Make the switch equal to the mirror.

        What the switch refuses is taken as it is there, and `changed` is called with the ids of the
        slices concerned: whoever writes them has to see.
        """
        async with self.turns.exclusive():
            actual = {(slice_id, key): entry for slice_id, key, entry in await self._read()}
            wanted = {(slice_id, key): entry for slice_id, key, entry in self.mirror}
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
                self.mirror = await self._read()
                changed({slice_id for slice_id, _, _ in refused})

    async def drop_slice(self, slice_id: int, forgotten: Callable[[], None]) -> None:
        """Forget a slice's entries and delete them from the switch.

        They are forgotten first (`forgotten` is called, if there were any): what can't be deleted
        now is deleted by the next `replay`. Raises SwitchError if something was left.
        """
        async with self.turns.exclusive():
            self.written_by.pop(slice_id, None)
            dropped = self.mirror.drop(slice_id)
            if dropped:
                forgotten()
                log.info("dropping %d flow entries of slice %d", len(dropped), slice_id)
                await self._delete(slice_id, list(dropped.values()))

    async def drop_entries(self, slice_id: int, unwanted: Callable[[bytes], bool]) -> int:
        """Delete the entries of a slice that are unwanted; returns how many."""
        async with self.turns.exclusive():
            gone = [(k, e) for k, e in self.mirror.of(slice_id).items() if unwanted(e)]
            for key, _ in gone:
                self.mirror.remove(slice_id, key)
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
            if number % 200 == 199:
                await asyncio.sleep(0)
            message = entity.table_entry
            if message.is_default_action:
                continue
            place = self.place_of(message)
            held = p4r.TableEntry(
                table_id=message.table_id,
                match=message.match,
                action=message.action,
                priority=message.priority,
                idle_timeout_ns=message.idle_timeout_ns,
            )
            mirror.put(*place, held.SerializeToString())
        return mirror


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


def _text(message: p4r.TableEntry) -> str:
    fields = ", ".join(str(match.field_id) for match in message.match)
    return f"priority {message.priority}, fields {fields or 'none'}"


def _shown(refused: Sequence[tuple[int, p4r.Update, UpdateStatus]]) -> str:
    return "; ".join(
        f"{answer.message or answer.code}" for _, _, answer in refused[:SHOWN_REFUSALS]
    )
