"""RECONCILE_AND_COMMIT: what one pipeline holds, written into the next one.

P4Runtime 1.4, section "SetForwardingPipelineConfig": the forwarding state is preserved, or the new
config is refused. State belongs to an object with the same id, name and shape in both programs. An
object that is gone, or has another shape, may be so only while it holds nothing. Counters are
statistics, not forwarding state: those of objects that are gone go with them, and cells beyond the
end of a smaller array.
"""

from __future__ import annotations

from collections.abc import Callable

from softswitch.server.errors import RequestError
from softswitch.server.pb import p4r
from softswitch.server.pipeline import Pipeline
from softswitch.server.schema import Action
from softswitch.server.tables import TableState

CELLS_AT_ONCE = 4096
PROBLEMS_NAMED = 8

_Write = Callable[[p4r.Entity], None]


def carry_over(old: Pipeline, new: Pipeline) -> list[str]:
    """Write everything that controllers wrote into `old` to `new`, which holds nothing yet; returns
    what cannot be kept, one sentence each. Neither may be written meanwhile; takes seconds for
    many entries."""
    problems: list[str] = []
    insert = _writer(new, p4r.Update.INSERT, problems)
    modify = _writer(new, p4r.Update.MODIFY, problems)
    _profiles(old, new, insert, problems)
    for table in old.tables.values():
        _table(table, old, new, insert, modify, problems)
    for group in old.multicast.read(0):
        entity = p4r.Entity()
        entity.packet_replication_engine_entry.multicast_group_entry.MergeFromString(group)
        insert(entity)
    for session in old.clones.read(0):
        entity = p4r.Entity()
        entity.packet_replication_engine_entry.clone_session_entry.MergeFromString(session)
        insert(entity)
    _meters(old, new, problems)
    _digests(old, new, insert, problems)
    _check_registers(old, new, problems)
    return problems


def carry_values_over(old: Pipeline, new: Pipeline) -> None:
    """Copy what packets change, when `old` has stopped: counters, registers, counts of colours."""
    for table in old.tables.values():
        found = new.tables.get(table.table.id)
        if found is not None and found.table.name == table.table.name:
            found.take_counts(table)
    for counter in old.schema.counters.values():
        other = new.schema.counters.get(counter.id)
        if other is None or other.name != counter.name:
            continue
        size = min(counter.size, other.size)
        for first in range(0, size, CELLS_AT_ONCE):
            count = min(CELLS_AT_ONCE, size - first)
            cells = old.engine.counter_read(counter.name, first, count)
            for cell, (packets, bytes_) in enumerate(cells, first):
                if packets or bytes_:
                    new.engine.counter_write(counter.name, cell, packets, bytes_)
    for register in old.schema.registers.values():
        if new.schema.registers.get(register.id) != register:
            continue
        for first in range(0, register.size, CELLS_AT_ONCE):
            count = min(CELLS_AT_ONCE, register.size - first)
            values = old.engine.register_read(register.name, first, count)
            new.engine.register_write(register.name, first, values)


def refusal(problems: list[str]) -> str:
    """The message for a config that is refused."""
    named = "; ".join(problems[:PROBLEMS_NAMED])
    more = len(problems) - PROBLEMS_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    return f"RECONCILE_AND_COMMIT: the forwarding state cannot be preserved: {named}{rest}"


def _writer(new: Pipeline, kind: p4r.Update.Type.ValueType, problems: list[str]) -> _Write:
    def write(entity: p4r.Entity) -> None:
        try:
            new.write(p4r.Update(type=kind, entity=entity))
        except RequestError as error:
            problems.append(error.message)

    return write


def _profiles(old: Pipeline, new: Pipeline, insert: _Write, problems: list[str]) -> None:
    for id_, profile in old.profiles.items():
        members, groups = profile.read_members(0), profile.read_groups(0)
        if not members and not groups:
            continue
        found = new.profiles.get(id_)
        name = profile.profile.name
        if found is None or found.profile.name != name:
            problems.append(f"action profile {name} holds members and is not in the new P4Info")
            continue
        before = len(problems)
        for member in members:
            action = profile.profile.actions[member.action.action_id]
            if found.profile.actions.get(action.id) != action:
                problems.append(f"action profile {name}: {_changed(action)}")
                continue
            insert(p4r.Entity(action_profile_member=member))
        for group in groups:
            insert(p4r.Entity(action_profile_group=group))
        if len(problems) == before:
            found.restore_numbering(profile.numbering())


def _table(
    table: TableState,
    old: Pipeline,
    new: Pipeline,
    insert: _Write,
    modify: _Write,
    problems: list[str],
) -> None:
    entries, default = table.written()
    if not entries and default is None:
        return
    name = table.table.name
    found = new.schema.tables.get(table.table.id)
    if found is None or found.name != name:
        problems.append(f"table {name} holds entries and is not in the new P4Info")
        return
    if entries and (found.fields, found.profile) != (table.table.fields, table.table.profile):
        problems.append(f"table {name} holds entries and its key or action profile has changed")
        return
    changed = {
        id_: _changed(action)
        for id_, (action, _scope) in table.table.actions.items()
        if id_ not in found.actions or found.actions[id_][0] != action
    }
    for entry in entries if default is None else [*entries, default]:
        stale = [changed[id_] for id_ in _actions(entry) if id_ in changed]
        if stale:
            problems.append(f"table {name}: {stale[0]}")
        else:
            (modify if entry.is_default_action else insert)(p4r.Entity(table_entry=entry))


def _actions(entry: p4r.TableEntry) -> list[int]:
    kind = entry.action.WhichOneof("type")
    if kind == "action":
        return [entry.action.action.action_id]
    if kind == "action_profile_action_set":
        actions = entry.action.action_profile_action_set.action_profile_actions
        return [item.action.action_id for item in actions]
    return []


def _changed(action: Action) -> str:
    return f"action {action.name} is in use and has changed or is gone"


def _meters(old: Pipeline, new: Pipeline, problems: list[str]) -> None:
    for id_, state in old.meters.items():
        if not state.configs:
            continue
        name, found = state.meter.name, new.meters.get(id_)
        if (
            found is None
            or (found.meter.name, found.meter.kind) != (name, state.meter.kind)
            or found.meter.size <= max(state.configs)
        ):
            problems.append(f"meter {name} is configured and has changed or is gone")
            continue
        for cell, config in state.configs.items():
            found.configure(cell, config)


def _digests(old: Pipeline, new: Pipeline, insert: _Write, problems: list[str]) -> None:
    for id_, state in old.digests.items():
        entry = state.read()
        if entry is None:
            continue
        found = new.digests.get(id_)
        if found is None or found.digest != state.digest:
            problems.append(f"digest {state.digest.name} is configured and has changed or is gone")
            continue
        insert(p4r.Entity(digest_entry=entry))


def _check_registers(old: Pipeline, new: Pipeline, problems: list[str]) -> None:
    for id_, register in old.schema.registers.items():
        if new.schema.registers.get(id_) == register:
            continue
        for first in range(0, register.size, CELLS_AT_ONCE):
            count = min(CELLS_AT_ONCE, register.size - first)
            if any(old.engine.register_read(register.name, first, count)):
                problems.append(f"register {register.name} is in use and has changed or is gone")
                break
