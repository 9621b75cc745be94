"""All or nothing: a batch of updates that is undone when one of them fails.

Before each update it is noted how to put back what it changes; after a failure that is done in
reverse order. Values that packets change all the time are put back only where an update touched
them. Rolled back, an entry that had been deleted is a new one to the engine: among entries of equal
priority it is now the youngest, and its idle time and its meter's buckets begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from softswitch.errors import EngineError
from softswitch.server import counters, registers
from softswitch.server.errors import RequestError, aborted
from softswitch.server.pb import p4r
from softswitch.server.pipeline import Pipeline, from_engine
from softswitch.server.profiles import Numbering

Undo = Callable[[], None]


class Batch:
    """Updates applied so far, and how to undo them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._undos: list[Undo] = []
        self._numberings: dict[int, Numbering] = {}

    def apply(self, update: p4r.Update) -> None:
        """Apply one more. Raises RequestError, and then it has changed nothing."""
        self._keep_numbering(update.entity)
        try:
            undo = self._undo_of(update.entity)
        except EngineError as error:
            raise from_engine(error) from error
        self._pipeline.write(update)
        self._undos.append(undo)

    def inserted(self, entry: p4r.TableEntry) -> None:
        """This entry has come already, and would go again."""
        table = self._pipeline.table(entry.table_id)
        self._undos.append(lambda: table.delete(entry))

    def roll_back(self) -> None:
        """Undo them all."""
        while self._undos:
            self._undos.pop()()
        for profile_id, numbering in self._numberings.items():
            self._pipeline.profiles[profile_id].restore_numbering(numbering)

    def _undo_of(self, entity: p4r.Entity) -> Undo:
        name = entity.WhichOneof("entity")
        found = None if name is None else _UNDO.get(name)
        return _nothing if found is None else found(self._pipeline, entity)

    def _keep_numbering(self, entity: p4r.Entity) -> None:
        """A hash picks members by their numbers: a profile must have the same ones afterwards."""
        name = entity.WhichOneof("entity")
        if name == "action_profile_member":
            profile_id = entity.action_profile_member.action_profile_id
        elif name == "action_profile_group":
            profile_id = entity.action_profile_group.action_profile_id
        elif name == "table_entry":
            profile_id = self._pipeline.profile_of(entity.table_entry.table_id)
        else:
            return
        if profile_id in self._pipeline.profiles and profile_id not in self._numberings:
            self._numberings[profile_id] = self._pipeline.profiles[profile_id].numbering()


def failed_batch(place: int, error: RequestError, size: int) -> list[RequestError | None]:
    """The errors of a batch of which update `place` failed: no other one is in force either."""
    undone = aborted(f"rolled back: update {place} of the batch failed")
    missed = aborted(f"not attempted: update {place} of the batch failed")
    return [error if at == place else undone if at < place else missed for at in range(size)]


def _nothing() -> None:
    """What undoes an update that will be refused anyway."""


def _table(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    return pipeline.table(entity.table_entry.table_id).undo(entity.table_entry)


def _direct_counter(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    entry = entity.direct_counter_entry.table_entry
    return pipeline.table(entry.table_id).undo_direct(entry, "counter")


def _direct_meter(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    entry = entity.direct_meter_entry.table_entry
    return pipeline.table(entry.table_id).undo_direct(entry, "meter")


def _counter(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    counter = pipeline.counter(entity.counter_entry.counter_id)
    return counters.undo(pipeline.engine, counter, entity.counter_entry)


def _register(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    register = pipeline.register(entity.register_entry.register_id)
    return registers.undo(pipeline.engine, register, entity.register_entry)


def _meter(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    return pipeline.meter(entity.meter_entry.meter_id).undo(entity.meter_entry)


def _replication(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    entry = entity.packet_replication_engine_entry
    if entry.HasField("clone_session_entry"):
        return pipeline.clones.undo(entry.clone_session_entry.session_id)
    return pipeline.multicast.undo(entry.multicast_group_entry.multicast_group_id)


def _member(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    member = entity.action_profile_member
    return pipeline.profile(member.action_profile_id).undo_member(member.member_id)


def _group(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    group = entity.action_profile_group
    return pipeline.profile(group.action_profile_id).undo_group(group.group_id)


def _digest(pipeline: Pipeline, entity: p4r.Entity) -> Undo:
    return pipeline.digest(entity.digest_entry.digest_id).undo()


_UNDO: Mapping[str, Callable[[Pipeline, p4r.Entity], Undo]] = {
    "table_entry": _table,
    "direct_counter_entry": _direct_counter,
    "direct_meter_entry": _direct_meter,
    "counter_entry": _counter,
    "register_entry": _register,
    "meter_entry": _meter,
    "packet_replication_engine_entry": _replication,
    "action_profile_member": _member,
    "action_profile_group": _group,
    "digest_entry": _digest,
}
