"""Virtual networks in the global database, changed by one transaction.

A change stages new pages, then one transaction checks the revision's version and sets the revision
and `active`. Nobody sees a half-written revision; who loses the race merges and tries again.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.consequences import needs_flows
from dfvisor.model.grants import Grant
from dfvisor.model.records import VirtualNetwork
from dfvisor.store import layout
from dfvisor.store.access import Guard
from dfvisor.store.codec import (
    Delta,
    Revision,
    decode,
    encode,
    encode_grant,
    settings_of,
)
from dfvisor.store.contest import Contest
from dfvisor.store.deletion import Deletion, read_retired, retire
from dfvisor.store.deltas import (
    Change,
    difference,
    recent,
    since,
    size,
    to_delta,
)
from dfvisor.store.grants import GrantStore, keys_of, take_keys
from dfvisor.store.history import HistoryStore
from dfvisor.store.presence import Presence
from dfvisor.store.reading import VnReader
from dfvisor.store.revisions import (
    REMEMBERED_CHANGES,
    Next,
    VnSnapshot,
    amended,
    entry_of,
    first,
    moves,
    nodes_of,
    paged,
    reconcile,
    snapshot_of,
    still_there,
)
from dfvisor.store.staging import commit
from dfvisor.store.stats import Active
from dfvisor.store.watch import until_connected
from dfvisor.store.zk import (
    BadVersion,
    Check,
    Create,
    NodeExists,
    NoNode,
    Operation,
    Session,
    Set,
    Stat,
    ZooKeeper,
)

MAX_INLINE_BYTES = 8 * 1024  # of deltas in the revision node
MOST_INLINE = MAX_INLINE_BYTES // 4  # records; none takes less, so more of them never fit
FOLD_BYTES = 3 * 1024  # with so many, they are put into the pages after the change
SPARE_BYTES = 1024  # of older ones, for who has missed a change; all others read them in vain
TIDY_AFTER_S = 0.02  # who waits for the change is to have it first
PAGE_GRACE_S = 60.0  # an unused page younger than this may belong to a change under way
COLLECT_EVERY = 16  # revisions, where no page was replaced
_MOST_LOST = 5  # times that the connection may be lost during one change

log = logging.getLogger(__name__)

Verify = Callable[[VirtualNetwork], None]


class VnStore(VnReader):
    """Reads and changes VNs."""

    def __init__(
        self,
        zk: ZooKeeper,
        presence: Presence,
        guard: Guard,
        *,
        timeout_s: float = 10.0,
        page_grace_s: float = PAGE_GRACE_S,
        user: str = "",
    ) -> None:
        super().__init__(
            zk, GrantStore(zk, timeout_s=timeout_s), HistoryStore(zk, grace_s=page_grace_s)
        )
        self._presence = presence
        self._guard = guard
        self._timeout_s = timeout_s
        self._page_grace_s = page_grace_s
        self._user = user
        self._deletion = Deletion(
            zk, presence, self.grants, self.history, timeout_s=timeout_s, user=user
        )

    # -- changing

    async def apply(
        self,
        base: VnSnapshot | None,
        vn: VirtualNetwork,
        verify: Verify | None = None,
        activate: bool = False,
        why: str = "",
        at_least: int = 0,
    ) -> VnSnapshot:
        """Make `vn` the next revision of the VN; see GlobalDatabase.apply."""
        original = base
        current = base
        wanted = vn
        change = str(uuid.uuid4())
        lost: list[int] = []  # revisions that may have been made: the answer did not come
        trying = 0
        contest = Contest(self._timeout_s)
        while await contest.again():
            try:
                if contest.attempts > 1 or base is None:
                    if lost:
                        await until_connected(self._zk, self._timeout_s)
                    current = await self.read(vn.name)
                    if await self._made(vn.name, current, change, lost):
                        if current is None:
                            raise Conflict(
                                f"virtual network {vn.name} was deleted by somebody else"
                            )
                        await self._guard.settle(original.vn if original else None, current.vn)
                        return current
                    wanted = reconcile(original, vn, current)
                    if verify is not None and wanted is not vn:
                        verify(wanted)
                known = current is not None and current.revision >= at_least
                if current is not None and known and current.vn == wanted:
                    return current
                trying = max(current.revision + 1, at_least) if current is not None else 0
                return await self._try(current, wanted, change, activate, why, at_least)
            except (BadVersion, NodeExists, NoNode):
                pass  # somebody was faster
            except StoreUnavailable as error:
                lost.append(trying)
                away = self._zk.state is not Session.CONNECTED and len(lost) > 1
                if away or len(lost) > _MOST_LOST:
                    raise StoreUnavailable(
                        f"change {change} of virtual network {vn.name}: "
                        f"the outcome is not known: {error}"
                    ) from error
        raise Conflict(
            f"virtual network {vn.name} keeps changing; {contest.attempts} attempts failed"
        )

    async def _made(
        self, name: str, current: VnSnapshot | None, change: str, lost: Sequence[int]
    ) -> bool:
        """Whether the change was made by an attempt at one of the `lost` revisions; Conflict where
        nothing tells any more.
        """
        if current is not None and change in current.manifest.changes:
            return True
        if not lost:
            return False
        found = await self.history.has(name, change, lost)
        if found is None:
            raise Conflict(
                f"virtual network {name}: too many changes have followed to tell whether "
                f"{change} is among them"
            )
        return found

    async def _try(
        self,
        current: VnSnapshot | None,
        vn: VirtualNetwork,
        uuid_: str,
        at_once: bool,
        why: str,
        at_least: int,
    ) -> VnSnapshot:
        change = difference(current.vn if current else settings_of(vn), vn)
        if current is None:
            retired, retired_stat = await read_retired(self._zk, vn.name)
            active, active_stat = Active(), None
            number = max(retired.revision + 1, at_least)
            following = first(vn, number, uuid_)
        else:
            active, active_stat = await self._active(vn.name)
            number = max(current.revision + 1, at_least)
            if number == current.revision + 1:
                following = await self._following(current, vn, uuid_, change)
            else:  # changes inline follow one another without a gap
                following = first(vn, number, uuid_, current.manifest)
        entry = entry_of(following.record, change, self._user, why)
        before = current.vn if current else None
        record = encode(following.record)
        given = before is None or before.tenant != vn.tenant
        held = await self.grants.read(vn.name, fresh=given or keys_of(before) != keys_of(vn))
        grant = Grant(vn=vn.name, tenant=vn.tenant)  # bare, unless the provider has written one
        if held is not None and not held.grant.bare:
            grant = held.grant
        activates = not self._guard.intent_only and (
            at_once
            or (
                active.revision == (current.revision if current else 0)
                and not needs_flows(before, vn, grant.controllers)
            )
        )
        new_active = msgspec.structs.replace(active, revision=number) if activates else active
        self._guard.tenants[vn.name] = vn.tenant
        await self.history.prepare(vn.name)
        append = Create(layout.history_of(vn.name, number), encode(entry))
        operations: list[Operation]
        if current is None:
            operations = [
                Create(layout.revision(vn.name), record),
                Create(layout.active(vn.name), encode(new_active)),
                *([] if held else [Create(layout.grant(vn.name), encode_grant(grant))]),
                append,
                *retire(vn.name, retired_stat, retired.revision),
            ]
        else:
            operations = [
                Set(layout.revision(vn.name), record, current.version),
                *still_there(vn.name, current.manifest),
                # also where it stays as it is: that it does was decided from this version
                Set(layout.active(vn.name), encode(new_active), _version(active_stat))
                if activates
                else Check(layout.active(vn.name), _version(active_stat)),
                append,
            ]
            if given and held is not None and held.grant.bare:
                operations.append(Set(layout.grant(vn.name), encode_grant(grant), held.version))
        operations += await take_keys(self._zk, before, vn, held)
        if self._guard.intent_only:
            pass  # the VN's leader activates, and corrects the index
        elif current is None or moves(current.vn, vn):
            operations += await self._presence.change(vn, number, activated=activates)
        elif activates:
            operations += await self._presence.activated(vn.name, number)
        stat = await commit(self._zk, vn.name, current is None, following.staged, operations)
        if following.pages is not None:
            self._pages[vn.name] = following.pages
        found = replace(
            snapshot_of(following.record, vn, stat, grant),
            since=current.revision if current else 0,
            touched=frozenset(change),
        )
        self._held[vn.name] = found
        if given:
            self.grants.forget(vn.name)
        await self._guard.settle(before, vn)
        collects = current is not None and (following.staged or number % COLLECT_EVERY == 0)
        return await self._tidy_up(found, collects=bool(collects))

    async def _tidy_up(self, found: VnSnapshot, *, collects: bool) -> VnSnapshot:
        """After a change, which is made whatever becomes of this: the next one does it, too."""
        folds = _unfolded(found.manifest) >= FOLD_BYTES
        if not folds and not collects:
            return found
        await asyncio.sleep(TIDY_AFTER_S)
        try:
            if folds:
                found = await self._fold(found)
            if collects:
                await self._collect(found.vn.name, found)
        except StoreUnavailable as error:
            log.debug("VN %s: not tidied up: %s", found.vn.name, error)
        except StoreError as error:
            log.warning("VN %s: not tidied up: %s", found.vn.name, error)
        return found

    async def _following(
        self, current: VnSnapshot, vn: VirtualNetwork, uuid_: str, change: Change
    ) -> Next:
        """The next revision: the change inline if it fits, otherwise in pages."""
        old = current.manifest
        number = current.revision + 1
        written = old.deltas
        deltas: tuple[Delta, ...] | None = None
        if len(change) <= MOST_INLINE:
            written = (*written, to_delta(number, change))
            deltas = recent(written, old.paged, MAX_INLINE_BYTES, SPARE_BYTES)
        record = msgspec.structs.replace(
            old,
            revision=number,
            changes=(uuid_, *old.changes)[:REMEMBERED_CHANGES],
            tenant=vn.tenant,
            unknown_unicast=vn.unknown_unicast.value,
            source_guard=vn.source_guard,
            learning=vn.learning,
            flood_pps=vn.flood_pps,
            base=old.paged,
        )
        if deltas is not None:
            return Next(
                record=msgspec.structs.replace(record, deltas=deltas), staged={}, pages=None
            )
        path = layout.revision(vn.name)
        pending = since(old, old.paged, path)
        if pending is None:
            raise StoreError(f"{path}: bad record: changes since revision {old.paged} are missing")
        pages = await self._read_pages(vn.name, old)
        newest: tuple[Delta, ...] = ()
        if len(change) <= MOST_INLINE:
            newest = recent(written, number, MAX_INLINE_BYTES, SPARE_BYTES) or ()
        return paged(
            msgspec.structs.replace(record, base=number, deltas=newest),
            *amended(pages, pending | change, number),
        )

    async def _fold(self, snapshot: VnSnapshot) -> VnSnapshot:
        """Put the changes of the revision node into pages, before it is full: nobody waits."""
        name, old = snapshot.vn.name, snapshot.manifest
        change = since(old, old.paged, layout.revision(name))
        assert change is not None, "just written"
        try:
            pages = await self._read_pages(name, old)
            following = paged(
                msgspec.structs.replace(old, base=old.revision),
                *amended(pages, change, old.revision),
            )
            operations: list[Operation] = [
                Set(layout.revision(name), encode(following.record), snapshot.version),
                *still_there(name, old),
            ]
            stat = await commit(self._zk, name, False, following.staged, operations)
        except (BadVersion, NodeExists, NoNode):
            return snapshot  # it has gone on: whoever did that will see to it
        assert following.pages is not None
        self._pages[name] = following.pages
        self._held[name] = replace(snapshot, manifest=following.record, version=stat.version)
        await self._collect(name, self._held[name])
        return self._held[name]

    async def _active(self, name: str) -> tuple[Active, Stat]:
        data, stat = await self._zk.get(layout.active(name))
        return decode(data, Active, layout.active(name)), stat

    async def _collect(self, name: str, snapshot: VnSnapshot) -> None:
        """Delete what is too old of the history, then the pages that no revision kept needs and
        that are older than the grace time.

        Oldest generation first, up to the first that is too young: a change asks about few pages,
        however many wait.
        """
        try:
            used = nodes_of(snapshot.manifest)
            deletes = not self._guard.intent_only
            kept = await self.history.trim(name, snapshot.time, delete=deletes)
            manifests = {snapshot.manifest.manifest: snapshot.manifest}
            for record in kept:
                used |= nodes_of(record)
                manifests[record.manifest] = record  # few: small changes leave it as it is
            for record in manifests.values():
                used |= {node for node, _ in (await self._references(name, record)).values()}
            unused = set(await self._zk.children(layout.pages(name))) - used
            for node in sorted(unused, key=_generation):
                path = layout.page(name, node)
                stat = await self._zk.exists(path)
                if stat is None:
                    continue
                if snapshot.time - stat.mtime < self._page_grace_s:
                    break
                await self._zk.delete(path)
        except NoNode:
            return  # the VN is going, or somebody else collects: the next change will see

    async def delete(self, base: VnSnapshot, why: str = "") -> None:
        """Delete the VN at `base`; Conflict when it has changed since."""
        await self._deletion.delete(base, why)
        self.forget(base.vn.name)

    async def delete_unreadable(self, name: str, why: str = "") -> None:
        """Delete a VN that `read` cannot read, whatever it holds; Conflict when there is none."""
        await self._deletion.delete_unreadable(name, why)
        self.forget(name)


def _unfolded(record: Revision) -> int:
    """Bytes of the changes that are not in the pages yet."""
    return size(delta for delta in record.deltas if delta.revision > record.paged)


def _version(stat: Stat | None) -> int:
    return -1 if stat is None else stat.version


def _generation(node: str) -> tuple[int, str]:
    """The revision that a page was staged for, then its name; 0 for a name of another form."""
    number = node.partition(".")[0]
    return (int(number) if number.isdecimal() else 0, node)
