"""What was written into one table, beside the engine's entries.

An entry is kept as the serialized canonical `TableEntry`, by the engine's handle, so a read is a
copy, not a computation. Which entry a key belongs to is asked of the engine, which knows it anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from softswitch.server.dataplane import DataPlane
from softswitch.server.json_view import Call
from softswitch.server.match import EngineKey, Key, parse_action, parse_key
from softswitch.server.pb import p4r
from softswitch.server.profiles import Bound, Target
from softswitch.server.schema import Table

EntryId = tuple[Key, int]
"""Key and priority: what identifies an entry within its table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `handle` is the engine's; `bound` is what an entry of an indirect table has in
    use."""

    handle: int
    encoded: bytes
    action: Call | Target
    idle_timeout_ns: int
    bound: Bound | None


class Mirror:
    """The entries of one table, in the order in which they were made."""

    def __init__(self, table: Table, engine: DataPlane) -> None:
        self._table = table
        self._engine = engine
        self._encoded: dict[int, bytes] = {}
        self.keep = self._encoded.__setitem__  # as `put`, for an entry of a direct table
        self._targets: dict[int, tuple[Target, Bound | None]] = {}  # of an indirect table
        self._const: dict[EntryId, int] = {}  # the program's own, to which the engine gives ranks

    def __len__(self) -> int:
        return len(self._encoded)

    def __contains__(self, handle: int) -> bool:
        return handle in self._encoded

    # -- writing ------------------------------------------------------------------------------

    def put(
        self,
        handle: int,
        encoded: bytes,
        action: Call | Target | None = None,
        bound: Bound | None = None,
    ) -> None:
        """Keep an entry, new or changed. An indirect table's need their action."""
        self._encoded[handle] = encoded
        if isinstance(action, Target):
            self._targets[handle] = action, bound

    def put_const(self, at: EntryId, handle: int, encoded: bytes) -> None:
        """Keep one of the program's own entries."""
        self._const[at] = handle
        self._encoded[handle] = encoded

    def remove(self, handle: int) -> None:
        """Forget an entry."""
        del self._encoded[handle]
        self._targets.pop(handle, None)

    # -- asking -------------------------------------------------------------------------------

    def handle(self, at: EntryId) -> int | None:
        """The handle of the entry with this key and priority."""
        if self._table.is_const:
            return self._const.get(at)
        found = self._engine.find(self._table.name, EngineKey(self._table, at[0]), at[1])
        return found[0] if found else None

    def get(self, at: EntryId) -> Entry | None:
        """The entry with this key and priority."""
        handle = self.handle(at)
        return None if handle is None else self.entry(handle)

    def entry(self, handle: int) -> Entry:
        """The entry with this handle, which must be there."""
        encoded = self._encoded[handle]
        message = p4r.TableEntry.FromString(encoded)
        target = self._targets.get(handle)
        if target is not None:
            return Entry(handle, encoded, target[0], message.idle_timeout_ns, target[1])
        call = Call(*parse_action(self._table, message.action, default=False))
        return Entry(handle, encoded, call, message.idle_timeout_ns, None)

    def encoded(self, handle: int) -> bytes | None:
        """An entry's TableEntry; None if there is none."""
        return self._encoded.get(handle)

    def ids(self) -> Iterator[tuple[EntryId, int]]:
        """Key, priority and handle of each entry."""
        for handle, encoded in self._encoded.items():
            message = p4r.TableEntry.FromString(encoded)
            yield (parse_key(self._table, message.match), message.priority), handle

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Handle and TableEntry of all."""
        yield from self._encoded.items()

    def selected(
        self, query: p4r.TableEntry, among: Collection[int] | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Handle and TableEntry of those that a read of this entry asks for: with its key and its
        priority, action and metadata, as far as they are set; `among` these handles (None: all).
        Raises INVALID_ARGUMENT."""
        found = self._with_key(query) if query.match else self.items()
        if among is not None:
            held = self._encoded
            found = (
                ((handle, encoded) for handle, encoded in found if handle in among)
                if query.match
                else ((handle, held[handle]) for handle in among if handle in held)
            )
        action = query.action.action.action_id if query.HasField("action") else None
        if action is None and not (query.priority or query.metadata or query.controller_metadata):
            return found
        return _filtered(found, query, action)

    def _with_key(self, query: p4r.TableEntry) -> Iterator[tuple[int, bytes]]:
        key = parse_key(self._table, query.match)
        if self._table.is_const:
            handles = [h for (held, _priority), h in self._const.items() if held == key]
        else:
            name = self._table.name
            handles = list(
                self._engine.find(name, EngineKey(self._table, key), query.priority)
                if query.priority == 0 or self._table.needs_priority
                else ()
            )
        return ((handle, self._encoded[handle]) for handle in handles)


def _filtered(
    found: Iterator[tuple[int, bytes]], query: p4r.TableEntry, action: int | None
) -> Iterator[tuple[int, bytes]]:
    for handle, encoded in found:
        entry = p4r.TableEntry.FromString(encoded)
        if (
            query.priority in (0, entry.priority)
            and query.metadata in (b"", entry.metadata)
            and query.controller_metadata in (0, entry.controller_metadata)
            # a member, a group or a set reads as action 0, which is none
            and (action is None or (action and entry.action.action.action_id == action))
        ):
            yield handle, encoded
