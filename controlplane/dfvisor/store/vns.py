"""Virtual networks in the global database: reading by pages, and changing by one transaction.

A change stages new pages, then one transaction checks the revision's version and sets the revision
and `active`. Nobody sees a half-written revision; who loses the race merges and tries again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.consequences import needs_flows
from dfvisor.model.grants import Grant
from dfvisor.model.records import VirtualNetwork
from dfvisor.store import layout
from dfvisor.store.codec import (
    Key,
    Record,
    Retired,
    Revision,
    assemble,
    decode,
    decode_page,
    encode,
    encode_grant,
    records_of,
    settings_in,
)
from dfvisor.store.grants import GrantStore, Held, give_keys, keys_of, take_keys
from dfvisor.store.merge import merge_vn
from dfvisor.store.pages import Layout, digest, lay_out, split
from dfvisor.store.presence import Presence
from dfvisor.store.stats import Active
from dfvisor.store.watch import until_connected
from dfvisor.store.zk import (
    BadVersion,
    Callback,
    Check,
    Create,
    Delete,
    NodeExists,
    NoNode,
    NotEmpty,
    Operation,
    Set,
    Stat,
    ZooKeeper,
)

MAX_MULTI_BYTES = 900_000  # a server closes the connection on a request over about 1 MB
PAGE_GRACE_S = 60.0  # an unused page younger than this may belong to a change under way
REMEMBERED_CHANGES = 16
ACTIVATE_AT_ONCE = True  # False: what needs flow entries waits for the VN's leader
_ATTEMPTS = 20
_READS_AT_ONCE = 64

Verify = Callable[[VirtualNetwork], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VnSnapshot:
    """A VN at one revision. `zxid` orders the revisions of all VNs; `time` is in seconds since the
    epoch, by the server's clock.
    """

    revision: int
    vn: VirtualNetwork
    zxid: int
    time: float
    version: int  # of the revision node: what a change checks
    change: str  # uuid of the change that made this revision
    manifest: Revision
    grant: Grant


class VnStore:
    """Reads and changes VNs; holds the decoded pages of those it has read."""

    def __init__(
        self,
        zk: ZooKeeper,
        presence: Presence,
        *,
        timeout_s: float = 10.0,
        page_grace_s: float = PAGE_GRACE_S,
    ) -> None:
        self._zk = zk
        self._presence = presence
        self._timeout_s = timeout_s
        self._page_grace_s = page_grace_s
        self.grants = GrantStore(zk, timeout_s=timeout_s)
        self._held: dict[str, dict[tuple[str, str], dict[Key, Record]]] = {}
        self.pages_read = 0

    # -- reading

    async def names(self) -> tuple[str, ...]:
        return tuple(await self._zk.children(layout.VNS))

    async def read(self, name: str, watch: Callback | None = None) -> VnSnapshot | None:
        """The newest revision; reads only the pages that are not held yet."""
        path = layout.revision(name)
        for _ in range(_ATTEMPTS):
            try:
                data, stat = await self._zk.get(path, watch)
            except NoNode:
                if watch is not None and await self._zk.exists(path, watch) is not None:
                    continue
                self._held.pop(name, None)
                self.grants.forget(name)
                return None
            manifest = decode(data, Revision, path)
            try:
                granted = await self._grant(name, manifest)
                return await self._read_pages(name, manifest, stat, granted.grant)
            except NoNode as error:
                missing = error  # the page of an older revision, collected meanwhile
        what = "the revision names a page that does not exist"
        if str(missing).startswith(f"{layout.grant(name)}:"):
            what = "the provider has not granted this network"
        raise StoreError(f"{missing}: bad record: {what}")

    async def _grant(self, name: str, manifest: Revision) -> Held:
        """The VN's grant; NoNode when it has none. One that is held may be of the time before the
        VN was given to another tenant, or made anew.
        """
        held = await self.grants.read(name)
        if held is None or held.grant.tenant != manifest.tenant:
            held = await self.grants.read(name, fresh=True)
        if held is None:
            raise NoNode(f"{layout.grant(name)}: NoNode")
        return held

    async def _read_pages(
        self, name: str, manifest: Revision, stat: Stat, grant: Grant
    ) -> VnSnapshot:
        held = self._held.get(name, {})
        wanted = [reference for reference in manifest.pages.values() if reference not in held]
        read: dict[tuple[str, str], dict[Key, Record]] = {}
        for start in range(0, len(wanted), _READS_AT_ONCE):
            batch = wanted[start : start + _READS_AT_ONCE]
            pages = await asyncio.gather(*(self._read_page(name, *ref) for ref in batch))
            read.update(zip(batch, pages, strict=True))
        self._held[name] = {ref: held.get(ref) or read[ref] for ref in manifest.pages.values()}
        records: dict[Key, Record] = {}
        for page in self._held[name].values():
            records |= page
        settings = settings_in(name, manifest, layout.revision(name))
        return VnSnapshot(
            revision=manifest.revision,
            vn=assemble(settings, records),
            zxid=stat.mzxid,
            time=stat.mtime,
            version=stat.version,
            change=manifest.changes[0] if manifest.changes else "",
            manifest=manifest,
            grant=grant,
        )

    async def _read_page(self, name: str, node: str, content: str) -> dict[Key, Record]:
        path = layout.page(name, node)
        data, _ = await self._zk.get(path)
        self.pages_read += 1
        if digest(data) != content:
            raise StoreError(f"{path}: bad record: its content is not what the revision says")
        return decode_page(data, path)

    async def active(self, name: str, watch: Callback | None = None) -> Active | None:
        path = layout.active(name)
        while True:
            try:
                data, _ = await self._zk.get(path, watch)
            except NoNode:
                if watch is None or await self._zk.exists(path, watch) is None:
                    return None
                continue
            return decode(data, Active, path)

    # -- changing

    async def apply(
        self,
        base: VnSnapshot | None,
        vn: VirtualNetwork,
        verify: Verify | None = None,
        activate: bool | None = None,
    ) -> VnSnapshot:
        """Make `vn` the next revision of the VN; see GlobalDatabase.apply."""
        original = base
        current = base
        wanted = vn
        change = str(uuid.uuid4())
        at_once = ACTIVATE_AT_ONCE if activate is None else activate
        lost: StoreUnavailable | None = None
        for attempt in range(_ATTEMPTS):
            try:
                if attempt or base is None:
                    if lost:
                        await until_connected(self._zk, self._timeout_s)
                    current = await self.read(vn.name)
                    if current is not None and change in current.manifest.changes:
                        return current
                    wanted = _reconcile(original, vn, current)
                    if verify is not None and wanted is not vn:
                        verify(wanted)
                if current is not None and current.vn == wanted:
                    return current
                return await self._try(current, wanted, change, at_once)
            except (BadVersion, NodeExists, NoNode):
                lost = None  # somebody was faster
            except StoreUnavailable as error:
                if lost:
                    raise StoreUnavailable(
                        f"change {change} of virtual network {vn.name}: "
                        f"the outcome is not known: {error}"
                    ) from error
                lost = error
        raise Conflict(f"virtual network {vn.name} keeps changing; {_ATTEMPTS} attempts failed")

    async def _try(
        self, current: VnSnapshot | None, vn: VirtualNetwork, change: str, at_once: bool
    ) -> VnSnapshot:
        retired, retired_stat = Retired(revision=0), None
        active, active_stat = Active(), None
        if current is None:
            retired, retired_stat = await self._retired(vn.name)
            number = retired.revision + 1
        else:
            number = current.revision + 1
            data, active_stat = await self._zk.get(layout.active(vn.name))
            active = decode(data, Active, layout.active(vn.name))
        generation = f"{number}.{uuid.uuid4().hex[:8]}"
        pages = lay_out(split(records_of(vn)), current.manifest if current else None, generation)
        manifest = Revision(
            revision=number,
            origin=current.manifest.origin if current else change,
            changes=(change, *(current.manifest.changes if current else ()))[:REMEMBERED_CHANGES],
            tenant=vn.tenant,
            unknown_unicast=vn.unknown_unicast.value,
            source_guard=vn.source_guard,
            learning=vn.learning,
            flood_pps=vn.flood_pps,
            pages=pages.manifest,
        )
        before = current.vn if current else None
        activates = at_once or (
            active.revision == (current.revision if current else 0) and not needs_flows(before, vn)
        )
        new_active = msgspec.structs.replace(active, revision=number) if activates else active
        delicate = before is None or before.tenant != vn.tenant or keys_of(before) != keys_of(vn)
        held = await self.grants.read(vn.name, fresh=delicate)
        bare = encode_grant(Grant(vn=vn.name, tenant=vn.tenant))
        operations: list[Operation]
        if current is None:
            operations = [
                Create(layout.revision(vn.name), encode(manifest)),
                Create(layout.active(vn.name), encode(new_active)),
                *([] if held else [Create(layout.grant(vn.name), bare)]),
                *_retire(vn.name, retired_stat, retired.revision),
            ]
        else:
            operations = [
                Set(layout.revision(vn.name), encode(manifest), current.version),
                *_still_there(vn.name, current.manifest),
                # also where it stays as it is: that it does was decided from this version
                Set(layout.active(vn.name), encode(new_active), _version(active_stat))
                if activates
                else Check(layout.active(vn.name), _version(active_stat)),
            ]
            if vn.tenant != current.vn.tenant and held is not None and held.grant.bare:
                operations.append(Set(layout.grant(vn.name), bare))
        operations += await take_keys(self._zk, before, vn, held)
        if current is None or _moves(current.vn, vn):
            operations += await self._presence.change(vn, number, activated=activates)
        elif activates:
            operations += await self._presence.activated(vn.name, number)
        await self._commit(vn.name, current is None, pages, operations)
        found = await self.read(vn.name)
        if found is None:
            raise Conflict(f"virtual network {vn.name} was deleted by somebody else")
        if current is not None:
            await self._collect(vn.name, found)
        return found

    async def _commit(
        self, name: str, new: bool, pages: Layout, operations: Sequence[Operation]
    ) -> None:
        """Everything in one transaction if it fits, else the pages first."""
        creates = [Create(layout.page(name, node), data) for node, data in pages.staged.items()]
        parents = [Create(layout.vn(name)), Create(layout.pages(name))]
        if new and await self._zk.exists(layout.vn(name)) is not None:
            parents = []  # left over from a creation that did not finish
        before = parents if new else []
        if _size([*before, *creates, *operations]) <= MAX_MULTI_BYTES:
            await self._zk.multi([*before, *creates, *operations])
            return
        if before:
            await self._zk.multi(before)
        for batch in _batches(creates):
            await self._zk.multi(batch)
        checks = [Check(create.path, 0) for create in creates]  # not collected meanwhile
        await self._zk.multi([*checks, *operations])

    async def _retired(self, name: str) -> tuple[Retired, Stat | None]:
        try:
            data, stat = await self._zk.get(layout.retired(name))
        except NoNode:
            return Retired(revision=0), None
        return decode(data, Retired, layout.retired(name)), stat

    async def _collect(self, name: str, snapshot: VnSnapshot) -> None:
        """Delete pages that no revision needs and that are older than the grace time.

        Oldest generation first, up to the first that is too young: a change asks about few pages,
        however many wait.
        """
        used = {node for node, _ in snapshot.manifest.pages.values()}
        try:
            unused = set(await self._zk.children(layout.pages(name))) - used
            for node in sorted(unused, key=_generation):
                path = layout.page(name, node)
                stat = await self._zk.exists(path)
                if stat is None:
                    continue
                if snapshot.time - stat.mtime < self._page_grace_s:
                    break
                await self._zk.delete(path)
        except (NoNode, StoreUnavailable):
            return  # the VN is going, or the next change will collect

    async def delete(self, base: VnSnapshot) -> None:
        """Delete the VN at `base`; Conflict when it has changed since."""
        checks = _still_there(base.vn.name, base.manifest)
        checks += await give_keys(self._zk, base.vn.name, keys_of(base.vn))
        await self._delete_at(base.vn.name, base.version, base.revision, checks)

    async def delete_unreadable(self, name: str) -> None:
        """Delete a VN that `read` cannot read, whatever it holds; Conflict when there is none."""
        try:
            data, stat = await self._zk.get(layout.revision(name))
        except NoNode as error:
            raise Conflict(f"there is no virtual network {name}") from error
        try:
            number = decode(data, Revision, layout.revision(name)).revision
        except StoreError:
            number = stat.mzxid  # no revision number can be higher: each took a transaction
        await self._delete_at(name, stat.version, number, [])

    async def _delete_at(
        self, name: str, version: int, number: int, checks: Sequence[Operation]
    ) -> None:
        lost: StoreUnavailable | None = None
        for _ in range(_ATTEMPTS):
            try:
                if lost:
                    await until_connected(self._zk, self._timeout_s)
                await self._delete(name, version, number, checks)
                break
            except (BadVersion, NodeExists) as error:
                raise Conflict(f"virtual network {name} was changed by somebody else") from error
            except NoNode as error:
                if lost:
                    break  # our own attempt had succeeded
                raise Conflict(f"virtual network {name} was deleted by somebody else") from error
            except NotEmpty:
                continue  # a page was staged meanwhile
            except StoreUnavailable as error:
                if lost:
                    raise
                lost = error
        else:
            raise Conflict(f"virtual network {name} keeps changing; {_ATTEMPTS} attempts failed")
        self._held.pop(name, None)
        self.grants.forget(name)

    async def _delete(
        self, name: str, version: int, number: int, checks: Sequence[Operation]
    ) -> None:
        _, retired_stat = await self._retired(name)
        nodes = await self._zk.children(layout.pages(name))
        grant = await self._bare_grant(name)
        await self._zk.multi(
            [
                Delete(layout.revision(name), version),
                *checks,
                *(Delete(layout.page(name, node)) for node in nodes),
                Delete(layout.pages(name)),
                Delete(layout.active(name)),
                *await self._presence.deleted(name),
                Delete(layout.vn(name)),
                *grant,
                *_retire(name, retired_stat, number),
            ]
        )

    async def _bare_grant(self, name: str) -> list[Operation]:
        """What deletes a grant that nobody has written; the provider's own stay."""
        try:
            held = await self.grants.read(name, fresh=True)
        except StoreUnavailable:
            raise
        except StoreError:
            return [Delete(layout.grant(name))]  # unreadable: nothing to stay
        return [Delete(layout.grant(name), held.version)] if held and held.grant.bare else []


def _reconcile(
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


def _moves(old: VirtualNetwork, new: VirtualNetwork) -> bool:
    """Whether the VN may have come to other switches."""

    def places(vn: VirtualNetwork) -> object:
        ends = {(one.port.switch if one.port else None, one.peer) for one in vn.endpoints.values()}
        return ends, {slice_.avoid for slice_ in vn.slices.values() if not slice_.best_effort}

    return places(old) != places(new)


def _still_there(name: str, manifest: Revision) -> list[Operation]:
    """Check that it is the same VN: one deleted and made again starts with version 0 again, too,
    but names of pages are never used twice.
    """
    return [Check(layout.page(name, node), 0) for node, _ in list(manifest.pages.values())[:1]]


def _retire(name: str, stat: Stat | None, revision: int) -> list[Operation]:
    """Write the last revision number; two creations or deletions at once cannot both pass."""
    data = encode(Retired(revision=revision))
    if stat is None:
        return [Create(layout.retired(name), data)]
    return [Set(layout.retired(name), data, stat.version)]


def _version(stat: Stat | None) -> int:
    return -1 if stat is None else stat.version


def _size(operations: Iterable[Operation]) -> int:
    return sum(
        len(operation.path) + 64 + len(getattr(operation, "data", b"")) for operation in operations
    )


def _batches(creates: Sequence[Create]) -> Iterable[list[Operation]]:
    batch: list[Operation] = []
    for create in creates:
        if batch and _size([*batch, create]) > MAX_MULTI_BYTES:
            yield batch
            batch = []
        batch.append(create)
    if batch:
        yield batch


def _generation(node: str) -> tuple[int, str]:
    """The revision that a page was staged for, then its name; 0 for a name of another form."""
    number = node.partition(".")[0]
    return (int(number) if number.isdecimal() else 0, node)
