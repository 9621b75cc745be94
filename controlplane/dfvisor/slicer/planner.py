"""What of a role's updates may go to the switch, and as what: no I/O.

Updates that are alike are planned together, as far as there is nothing to say to them but yes.
Everything else is planned one by one, with the reason where it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import grpc

from dfvisor.p4rt.pb import DecodeError, p4r
from dfvisor.p4rt.updates import framed
from dfvisor.slicer.alike import Run
from dfvisor.slicer.held import key_only
from dfvisor.slicer.mirror import HEAD, Mirror
from dfvisor.slicer.planned import Chunk, Planned, Table
from dfvisor.slicer.refusal import Refused, invalid, missing
from dfvisor.slicer.translate import FLOW, Rights, Translator

PATIENCE = 8
"""Of updates that are alike, how many are looked at together after one of them was not to go along:
twice as many each time that all of them were."""

Other = Callable[[p4r.Update], None]
"""Carries out what is about no table entry, or refuses it."""


class Planner:
    """Plans against a mirror and the chunks that are under way."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._air: list[Chunk] = []

    # -- chunks

    def begin(self) -> Chunk:
        """A chunk, whose entries are under way from when they are planned until it is settled."""
        chunk = Chunk()
        self._air.append(chunk)
        return chunk

    def settle(self, chunk: Chunk) -> None:
        """Its entries are not under way any more."""
        self._air.remove(chunk)
        chunk.landed.set()

    def _flying(self, slice_id: int) -> list[Mapping[bytes, bytes | None]]:
        """The entries of a slice that are under way."""
        found = [chunk.afters.get(slice_id) for chunk in self._air]
        return [one for one in found if one]

    def blocker(self, translator: Translator, updates: Sequence[bytes]) -> asyncio.Event | None:
        """What to wait for until none of these entries is under way."""
        if not self._air:
            return None
        for data in updates:
            try:
                update = opened(data)
                if not update.entity.HasField("table_entry"):
                    continue
                identity = translator.identify(update.entity.table_entry)
            except Refused:
                continue  # planning will say so
            landed = self._landing(identity.rights.info.slice_id, identity.key)
            if landed is not None:
                return landed
        return None

    def _landing(
        self, slice_id: int, key: bytes, besides: Chunk | None = None
    ) -> asyncio.Event | None:
        for chunk in self._air:
            if chunk is not besides and key in chunk.afters.get(slice_id, ()):
                return chunk.landed
        return None

    def _count(self, table: Table) -> int:
        """How many entries there will be, as far as is known."""
        return self._mirror.count(*table) + sum([one.growth.get(table, 0) for one in self._air])

    # -- many

    def together(
        self,
        chunk: Chunk,
        translator: Translator,
        updates: Sequence[bytes],
        index: int,
        stop: int,
    ) -> int:
        """Plan updates that are alike from `index` on; returns where that ends. It asks what
        `single` asks, which sees to everything else.
        """
        alike = translator.view.known.find(updates[index])
        if alike is None:
            return index
        run = alike.run(updates[index : min(stop, index + translator.patience)])
        found = run and translator.splice(alike, run.gre_key)
        if not run or not found:
            return index
        rights, splice = found
        afters = alike.afters(run, splice)
        end = self._good(rights, run, afters)
        translator.patience = PATIENCE if end < len(run.tails) else 2 * translator.patience
        if not end:
            return index
        tails = run.tails
        if end < len(tails):
            tails, afters = tails[:end], dict(islice(afters.items(), end))
        data = splice.sent + splice.sent.join(tails)
        table = (rights.info.slice_id, alike.layout.head)
        chunk.add(Planned(index, data, table, afters, alike.growth))
        return index + end

    def _good(self, rights: Rights, run: Run, afters: Mapping[bytes, bytes | None]) -> int:
        """Of how many of the first there is nothing more to ask. `afters`: of all up to one whose
        entry is that of another.
        """
        slice_id, growth = rights.info.slice_id, run.alike.growth
        held, flying = self._mirror.of(slice_id), self._flying(slice_id)
        keys = afters.keys()
        if (held.keys().isdisjoint(keys) if growth > 0 else keys <= held.keys()) and all(
            one.keys().isdisjoint(keys) for one in flying
        ):
            end = len(keys)
        else:
            end = _clear(keys, held, growth > 0, flying)
        if growth > 0 and rights.quota is not None:
            room = rights.quota - self._count((slice_id, run.alike.layout.head))
            end = max(0, min(end, room))
        if growth >= 0 and run.alike.layout.name == FLOW:
            end = min(end, _covered(rights, run))
        return end

    # -- one by one

    def single(
        self, chunk: Chunk, translator: Translator, index: int, data: bytes, other: Other
    ) -> asyncio.Event | None:
        """Plan one update; what to wait for instead if its entry is under way in another chunk.
        Refused if it may not be.
        """
        update = opened(data)
        if not update.entity.HasField("table_entry"):
            other(update)
            return None
        message = update.entity.table_entry
        identity = translator.identify(message)
        slice_id, key = identity.rights.info.slice_id, identity.key
        landed = self._landing(slice_id, key, besides=chunk)
        if landed is not None:
            return landed
        translator.check_write(identity)
        planned = chunk.afters.get(slice_id, {})
        before = planned[key] if key in planned else self._mirror.get(slice_id, key)
        kind = update.type
        table = (slice_id, key[:HEAD])
        if kind == p4r.Update.DELETE:
            if before is None:
                raise missing(f"no such entry in table {identity.layout.name}: {_text(message)}")
            key_only(message)
            translator.learn(identity, update, data)
            translator.key_to_switch(identity, message)
            chunk.add(Planned(index, framed(update), table, {key: None}, -1))
            return None
        if kind not in (p4r.Update.INSERT, p4r.Update.MODIFY):
            raise invalid(f"update type {kind}, expected INSERT, MODIFY or DELETE")
        translator.check_entry(identity, message)
        if kind == p4r.Update.INSERT:
            if before is not None:
                raise Refused(
                    grpc.StatusCode.ALREADY_EXISTS,
                    f"entry exists in table {identity.layout.name}; use MODIFY",
                )
            translator.check_quota(identity, self._count(table))
        elif before is None:
            raise missing(f"no such entry in table {identity.layout.name}: {_text(message)}")
        translator.learn(identity, update, data)
        translator.to_switch(identity, message)
        after = message.SerializeToString()
        growth = int(kind == p4r.Update.INSERT)
        chunk.add(Planned(index, framed(update), table, {key: after}, growth))
        return None


def opened(data: bytes) -> p4r.Update:
    """An update; Refused if it is none."""
    try:
        return p4r.Update.FromString(data)
    except DecodeError as error:
        raise invalid(f"not an update of P4Runtime: {error}") from error


def _clear(
    keys: Iterable[bytes],
    held: Mapping[bytes, bytes],
    new: bool,
    flying: Sequence[Mapping[bytes, bytes | None]],
) -> int:
    """How many of the first keys are `new` or held, and not under way."""
    end = 0
    for key in keys:
        if (key in held) is new or any(key in one for one in flying):
            break
        end += 1
    return end


def _covered(rights: Rights, run: Run) -> int:
    """How many of the first are within the flowspaces."""
    alike, space = run.alike, rights.space
    places = space.places(alike.masks)
    outside = {
        one
        for one in set(alike.fields(run, places))
        if not space.covers(alike.masks, alike.values(places, one))
    }
    if not outside:
        return len(run.wires)
    return next(at for at, one in enumerate(alike.fields(run, places)) if one in outside)


def _text(message: p4r.TableEntry) -> str:
    fields = ", ".join(str(match.field_id) for match in message.match)
    return f"priority {message.priority}, fields {fields or 'none'}"
