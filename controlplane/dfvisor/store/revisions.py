"""Revisions of a VN: what the next one is written as, out of the one before and a change. Pure but
for the names of pages, which are never used twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from dfvisor.errors import Conflict
from dfvisor.model.grants import Grant
from dfvisor.model.records import VirtualNetwork
from dfvisor.store import layout
from dfvisor.store.codec import (
    Delta,
    History,
    Key,
    Manifest,
    Record,
    Reference,
    Revision,
    encode,
    records_of,
)
from dfvisor.store.deltas import Change
from dfvisor.store.merge import merge_vn
from dfvisor.store.pages import Page, amend, digest, lay_out, records_by_page, split
from dfvisor.store.zk import Check, Operation, Stat

FEW_PAGES = 16  # stand in the revision node itself
REMEMBERED_CHANGES = 16

Pages = dict[str, tuple[Reference, dict[Key, Record]]]
"""Decoded pages by prefix, with the node that each is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VnSnapshot:
    """A VN at one revision. `zxid` orders the revisions of all VNs; `time` is in seconds since the
    epoch, by the server's clock; both are those of the commit.

    `touched` names the records that differ from those of the revision `since`, which this session
    had read before; None where that is not known.
    """

    revision: int
    vn: VirtualNetwork
    zxid: int
    time: float
    version: int  # of the revision node: what a change checks
    change: str  # uuid of the change that made this revision
    manifest: Revision
    grant: Grant
    since: int = field(default=0, compare=False)
    touched: frozenset[Key] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """A revision to be written: the record, what to write before it, and the pages it then has."""

    record: Revision
    staged: dict[str, bytes]
    pages: Pages | None  # None: as they were


def reconcile(
    base: VnSnapshot | None, mine: VirtualNetwork, theirs: VnSnapshot | None
) -> VirtualNetwork:
    """What to write now that the VN is at `theirs`."""
    if base is None:
        if theirs is not None:
            raise Conflict(f"virtual network {mine.name} exists already")
        return mine
    if theirs is None or theirs.manifest.origin != base.manifest.origin:
        raise Conflict(f"virtual network {mine.name} was deleted by somebody else")
    if theirs.revision == base.revision:
        return mine
    return merge_vn(base.vn, mine, theirs.vn)


def descends(record: Revision, held: VnSnapshot) -> bool:
    """Whether the revision is the one held, or came from it by the changes that are remembered."""
    gap = record.revision - held.revision
    return (
        record.origin == held.manifest.origin
        and 0 <= gap < len(record.changes)
        and record.changes[gap] == held.change
    )


def with_records(settings: VirtualNetwork, held: VirtualNetwork) -> VirtualNetwork:
    return replace(
        settings,
        profiles=held.profiles,
        slices=held.slices,
        endpoints=held.endpoints,
        flowspaces=held.flowspaces,
    )


def snapshot_of(record: Revision, vn: VirtualNetwork, stat: Stat, grant: Grant) -> VnSnapshot:
    return VnSnapshot(
        revision=record.revision,
        vn=vn,
        zxid=stat.mzxid,
        time=stat.mtime,
        version=stat.version,
        change=record.changes[0] if record.changes else "",
        manifest=record,
        grant=grant,
    )


def first(vn: VirtualNetwork, number: int, uuid_: str, old: Revision | None = None) -> Next:
    """The first revision of a VN, or one that does not depend on that before: all in pages."""
    records = records_of(vn)
    pages = split(records)
    laid = lay_out(pages, {}, new_generation(number))
    filled = records_by_page(pages, records)
    return paged(
        Revision(
            revision=number,
            origin=old.origin if old else uuid_,
            changes=(uuid_, *(old.changes if old else ()))[:REMEMBERED_CHANGES],
            tenant=vn.tenant,
            unknown_unicast=vn.unknown_unicast.value,
            source_guard=vn.source_guard,
            learning=vn.learning,
            flood_pps=vn.flood_pps,
            base=number,
        ),
        laid.staged,
        {prefix: (ref, filled[prefix]) for prefix, ref in laid.manifest.items()},
    )


def amended(pages: Pages, change: Change, number: int) -> tuple[dict[str, bytes], Pages]:
    """The pages after the change, and those of them to be written."""
    held = {prefix: records for prefix, (_, records) in pages.items()}
    gone, coming = amend(held, change)
    old = {prefix: reference for prefix, (reference, _) in pages.items()}
    laid = lay_out(coming, old, new_generation(number))
    filled = _filled(held, gone, coming, change)
    found = {prefix: page for prefix, page in pages.items() if prefix not in gone}
    found |= {prefix: (ref, filled[prefix]) for prefix, ref in laid.manifest.items()}
    return laid.staged, found


def _filled(
    held: Mapping[str, Mapping[Key, Record]],
    gone: Iterable[str],
    coming: list[Page],
    change: Change,
) -> dict[str, dict[Key, Record]]:
    records = {key: record for prefix in gone for key, record in held[prefix].items()}
    for key, record in change.items():
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record
    return records_by_page(coming, records)


def paged(record: Revision, staged: dict[str, bytes], pages: Pages) -> Next:
    """The revision with these pages: named in its node if they are few, else in one beside it."""
    references = {prefix: reference for prefix, (reference, _) in sorted(pages.items())}
    if len(references) <= FEW_PAGES:
        record = msgspec.structs.replace(record, pages=references, manifest=None)
        return Next(record=record, staged=staged, pages=pages)
    data = encode(Manifest(pages=references))
    node = f"{new_generation(record.paged)}-m"
    record = msgspec.structs.replace(record, pages={}, manifest=(node, digest(data)))
    return Next(record=record, staged={**staged, node: data}, pages=pages)


def entry_of(record: Revision, change: Change, user: str, why: str) -> History:
    delta: Delta | None = None
    if record.paged != record.revision:
        delta = record.deltas[-1]
    dropped = sum(1 for one in change.values() if one is None)
    return History(
        record=msgspec.structs.replace(record, changes=record.changes[:1], deltas=()),
        delta=delta,
        user=user,
        why=why,
        put=len(change) - dropped,
        dropped=dropped,
    )


def nodes_of(record: Revision) -> set[str]:
    """The nodes below `pages` that the record itself names."""
    named = [*record.pages.values(), *([record.manifest] if record.manifest else [])]
    return {node for node, _ in named}


def still_there(name: str, manifest: Revision) -> list[Operation]:
    """Check that it is the same VN: one deleted and made again starts with version 0 again, too,
    but names of pages are never used twice.
    """
    return [Check(layout.page(name, node), 0) for node in sorted(nodes_of(manifest))[:1]]


def new_generation(number: int) -> str:
    return f"{number}.{uuid.uuid4().hex[:8]}"


def moves(old: VirtualNetwork, new: VirtualNetwork) -> bool:
    """Whether the VN may have come to other switches."""

    if old.endpoints == new.endpoints and old.slices == new.slices:
        return False

    def places(vn: VirtualNetwork) -> object:
        ends = {(one.port.switch if one.port else None, one.peer) for one in vn.endpoints.values()}
        return ends, {slice_.avoid for slice_ in vn.slices.values() if not slice_.best_effort}

    return places(old) != places(new)
