"""Flow entries as the local database keeps them: pure.

They are the controllers' and not the agent's; it keeps what the switch has taken, so that it can
give it back to a switch that starts empty while no controller can come.
"""

from __future__ import annotations

from collections.abc import Iterable

from dfvisor.p4rt.entries import Item, TableEntry
from dfvisor.p4rt.pb import p4r


def flow_changes(updates: Iterable[p4r.Update]) -> dict[bytes, bytes | None]:
    """What updates that the switch has taken do to the entries of tables, by key; None: gone."""
    changes: dict[bytes, bytes | None] = {}
    for update in updates:
        if update.entity.WhichOneof("entity") != "table_entry":
            continue
        entry = update.entity.table_entry
        fields = sorted(match.SerializeToString(deterministic=True) for match in entry.match)
        key = b"%d %d " % (entry.table_id, entry.priority) + b"".join(fields)
        deleted = update.type == p4r.Update.DELETE
        changes[key] = None if deleted else update.entity.SerializeToString()
    return changes


def slice_of(item: Item) -> int | None:
    """The slice id that an entry is of."""
    match = item.field("slice_id") if isinstance(item, TableEntry) else None
    return None if match is None else match.value
