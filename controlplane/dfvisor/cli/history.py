"""`dfvctl history`, `diff`, `rollback`: earlier revisions of a VN."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rich.table import Table

from dfvisor.cli.change import Refused
from dfvisor.cli.difference import Outcome, vn_lines
from dfvisor.cli.output import table
from dfvisor.model.description import render_vn
from dfvisor.model.records import VirtualNetwork
from dfvisor.model.source import Plain
from dfvisor.store.database import GlobalDatabase, HistoryEntry, VnSnapshot

_SECTIONS = {
    "profile": "profiles",
    "slice": "slices",
    "endpoint": "endpoints",
    "flowspace": "flowspaces",
}


def who() -> str:
    """Who runs this, for the history: `user@host`."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return f"?@{socket.gethostname()}"


def history_table(entries: Sequence[HistoryEntry]) -> Table:
    """The oldest first."""
    return table(
        "",
        ("revision", "time (UTC)", "who", "records", "why"),
        [
            (
                "deleted" if entry.deleted else entry.revision,
                datetime.fromtimestamp(entry.time, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
                entry.user or "-",
                "" if entry.deleted else f"+{entry.put} -{entry.dropped}",
                entry.why,
            )
            for entry in entries
        ],
        right=("revision",),
    )


async def newest(db: GlobalDatabase, vn: str) -> VnSnapshot:
    """The VN as it is; Refused when there is none."""
    snapshot = await db.read_vn(vn)
    if snapshot is None:
        raise Refused(f"there is no virtual network {vn!r}")
    return snapshot


async def revision(db: GlobalDatabase, vn: str, number: int) -> VirtualNetwork:
    """The VN as it was at a revision, which may be the newest."""
    snapshot = await newest(db, vn)
    return snapshot.vn if number == snapshot.revision else await db.read_revision(vn, number)


def difference_lines(old: VirtualNetwork, new: VirtualNetwork) -> Iterator[str]:
    """What is other in `new`, record by record and key by key."""
    before, after = render_vn(old), render_vn(new)
    for line in vn_lines(old, new):
        if line.outcome is Outcome.UNCHANGED:
            continue
        yield f"{line.outcome.value:<9} {line.record}"
        kind, _, name = line.record.partition(" ")
        yield from _details(_record(before, kind, name), _record(after, kind, name))


def _record(vn: Mapping[str, Plain], kind: str, name: str) -> Mapping[str, Plain]:
    if kind == "vn":
        return {key: value for key, value in vn.items() if key not in _SECTIONS.values()}
    section = vn.get(_SECTIONS[kind])
    found = section.get(name.partition("/")[2]) if isinstance(section, dict) else None
    return found if isinstance(found, dict) else {}


def _details(old: Mapping[str, Plain], new: Mapping[str, Plain]) -> Iterator[str]:
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) == new.get(key):
            continue
        if key in old:
            yield f"  - {key}: {old[key]}"
        if key in new:
            yield f"  + {key}: {new[key]}"
