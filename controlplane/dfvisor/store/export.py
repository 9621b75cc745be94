"""The whole database as one file, and back: fabric, tenants, grants, and VNs with their revisions.

Left out: histories, what daemons report, and access control lists. A restored database has another
epoch, so that what was promised under the old one (election ids) cannot be mistaken for new; and
revision numbers that the old one cannot have reached, so that no agent takes an old revision for a
new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from dfvisor.errors import Conflict, StoreError
from dfvisor.model.description import plan, read, render
from dfvisor.model.grants import Grant
from dfvisor.model.records import Network
from dfvisor.store.codec import encode
from dfvisor.store.database import GlobalDatabase, NetworkSnapshot

FORMAT = 1
REVISION_GAP = 1_000_000  # more changes than a VN sees between a copy and its restoration
_ATTEMPTS = 5


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dfvisor_export: int
    epoch: int
    revisions: dict[str, int]
    network: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What a file holds. `revisions` are those of the VNs when it was made."""

    epoch: int
    revisions: Mapping[str, int]
    network: Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restoration did: the new epoch, and the VNs written and deleted."""

    epoch: int
    written: Mapping[str, int]
    deleted: tuple[str, ...]


async def take(db: GlobalDatabase) -> tuple[bytes, Mapping[str, str]]:
    """The file, and why which VN is not in it. Each VN is at one revision; VNs are independent of
    each other, and none refers to a later fabric.
    """
    for _ in range(_ATTEMPTS):
        snapshot = await db.read_network()
        epoch = await db.read_epoch()
        if (await db.read_fabric()).revision == snapshot.fabric.revision:
            break
    else:
        raise StoreError("the fabric keeps changing: no copy could be made of it")
    file = _File(
        dfvisor_export=FORMAT,
        epoch=epoch,
        revisions={name: found.revision for name, found in snapshot.vns.items()},
        network=render(snapshot.network),
    )
    return msgspec.json.format(encode(file), indent=1), snapshot.bad


def parse(data: bytes, source: str) -> Copy:
    """Read a file; StoreError for one that is none, DescriptionError for an impossible network."""
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{source}: not an export of DFVisor: {error}") from error
    if file.dfvisor_export != FORMAT:
        raise StoreError(f"{source}: an export of format {file.dfvisor_export}, not {FORMAT}")
    description = read(encode(file.network).decode(), source=source, as_json=True, locate=False)
    return Copy(epoch=file.epoch, revisions=file.revisions, network=plan(Network(), description))


async def restore(db: GlobalDatabase, copy: Copy, *, replace: bool) -> Restored:
    """Make the database say what the copy says. StoreError if it says something already, unless
    `replace`: then what is not in the copy is deleted. Can be repeated after a failure.
    """
    before = await db.read_network()
    if not replace and not _empty(before):
        raise StoreError("the database is not empty: say that it shall be replaced")
    epoch = await db.raise_epoch(copy.epoch + 1)
    deleted = sorted({*before.vns, *before.bad} - copy.network.vns.keys())
    for name in deleted:
        await _delete(db, before, name)
    for name in sorted(before.bad.keys() & copy.network.vns.keys()):
        await db.delete_unreadable_vn(name)
    await _lift(db, copy)
    await db.apply_fabric(await db.read_fabric(), copy.network.fabric, copy.network.tenants)
    written = await _write(db, copy)
    after = await db.read_network()
    await db.apply_grants(after, {**copy.network.grants})
    return Restored(epoch=epoch, written=written, deleted=tuple(deleted))


def _empty(snapshot: NetworkSnapshot) -> bool:
    return not (snapshot.network.vns or snapshot.bad or snapshot.fabric.fabric.switches)


async def _delete(db: GlobalDatabase, before: NetworkSnapshot, name: str) -> None:
    if name in before.vns:
        await db.delete_vn(before.vns[name])
    else:
        await db.delete_unreadable_vn(name)


async def _lift(db: GlobalDatabase, copy: Copy) -> None:
    """Take away the grants that the copy does not have: their keys may be others' now."""
    snapshot = await db.read_network()
    gone: dict[str, Grant | None] = {
        name: None
        for name, grant in snapshot.grants.items()
        if copy.network.grants.get(name) != grant
    }
    await db.apply_grants(snapshot, gone)


async def _write(db: GlobalDatabase, copy: Copy) -> dict[str, int]:
    """Write the VNs. One that wants a key of another waits for it; two that want each other's are
    only solved by deleting one first.
    """
    written: dict[str, int] = {}
    waiting = sorted(copy.network.vns)
    while waiting:
        again: dict[str, Conflict] = {}
        for name in waiting:
            base = await db.read_vn(name)
            newest = max(copy.revisions.get(name, 0), base.revision if base else 0)
            try:
                found = await db.apply(
                    base,
                    copy.network.vns[name],
                    why="import",
                    at_least=newest + REVISION_GAP,
                )
            except Conflict as error:
                again[name] = error
                continue
            written[name] = found.revision
        if len(again) == len(waiting):
            await _break(db, again)
        waiting = sorted(again)
    return written


async def _break(db: GlobalDatabase, waiting: Mapping[str, Conflict]) -> None:
    """Delete a VN that is in the way of others that are in its way."""
    for name, error in sorted(waiting.items()):
        base = await db.read_vn(name)
        if base is not None:
            await db.delete_vn(base)
            return
        last = error
    raise last
