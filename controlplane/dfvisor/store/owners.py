"""Who leads a VN: ephemeral sequential nodes, of which the lowest leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.store import layout
from dfvisor.store.codec import decode, encode
from dfvisor.store.contest import Contest
from dfvisor.store.presence import Presence
from dfvisor.store.schema import newest
from dfvisor.store.stats import Active
from dfvisor.store.watch import Watch, Watches
from dfvisor.store.zk import (
    BadVersion,
    Check,
    NodeExists,
    NoNode,
    NotEmpty,
    Operation,
    Session,
    Set,
    ZooKeeper,
)


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Data of an owner node."""

    name: str
    schema: int = newest("Owner")


class Ownership:
    """A candidacy for leading one VN: an ephemeral sequential node under `/owners/<vn>`.

    `czxid` of that node is the election id to present. The node is lost with the session: then
    `lost` is True, and the VN must be contended for anew.
    """

    def __init__(self, owners: Owners, vn: str, name: str, node: str, czxid: int) -> None:
        self.vn = vn
        self.name = name
        self.czxid = czxid
        self.lost = False
        self.node = node
        self._owners = owners
        self._lowest = False
        self.watch: Watch | None = None
        self.active: tuple[Active, int] | None = None  # as written last, with its version

    @property
    def path(self) -> str:
        return f"{layout.owners(self.vn)}/{self.node}"

    @property
    def is_leader(self) -> bool:
        """Whether this is the lowest node, as far as last seen; False while disconnected."""
        return self._lowest and not self.lost and self._owners.connected

    def see(self, nodes: list[str]) -> bool:
        """Take note of the nodes that exist. Whether anything changed."""
        before = (self._lowest, self.lost)
        if self.node not in nodes:
            self.lost = True
        self._lowest = bool(nodes) and _by_sequence(nodes)[0] == self.node
        return before != (self._lowest, self.lost)

    async def release(self) -> None:
        """Give up: delete the node. Without a connection the session's end does it."""
        await self._owners.release(self)


class Owners:
    """Contends for VNs in one session."""

    def __init__(self, zk: ZooKeeper, watches: Watches, presence: Presence) -> None:
        self._zk = zk
        self._watches = watches
        self._presence = presence
        self._held: dict[str, Ownership] = {}
        self._callbacks: dict[str, Callable[[], None]] = {}
        zk.listen(self._on_state)

    @property
    def connected(self) -> bool:
        return self._zk.state is Session.CONNECTED

    def _on_state(self, state: Session) -> None:
        for vn, ownership in list(self._held.items()):
            if state is Session.LOST:
                self._drop(ownership)
                ownership.lost = True
            self._callbacks[vn]()
            if state is Session.LOST:
                self._callbacks.pop(vn, None)

    async def contend(self, vn: str, name: str, callback: Callable[[], None]) -> Ownership:
        if vn in self._held:
            raise StoreError(f"already standing for virtual network {vn}")
        parent = layout.owners(vn)
        node = await self._stand(parent, name)
        stat = await self._zk.exists(f"{parent}/{node}")
        if stat is None:
            raise StoreUnavailable(f"{parent}/{node}: lost with its session")
        ownership = Ownership(self, vn, name, node, stat.czxid)
        self._held[vn] = ownership
        self._callbacks[vn] = callback

        def look() -> None:
            self._watches.tasks.spawn(self._look(ownership), f"owners of {vn}")

        try:
            ownership.watch = await self._watches.children(parent, look)
            ownership.see(await self._zk.children(parent))
        except BaseException:  # nobody would hold what is registered; the node is found again
            self._drop(ownership)
            self._callbacks.pop(vn, None)
            raise
        return ownership

    async def _stand(self, parent: str, name: str) -> str:
        """Our node's name; made unless there is one already."""
        contest = Contest()
        while await contest.again():
            await self._zk.ensure(parent)
            try:
                node = await self._left_over(parent)
                if node is None:
                    path = await self._zk.create(
                        f"{parent}/n-", encode(Owner(name=name)), ephemeral=True, sequential=True
                    )
                    node = path.rsplit("/", 1)[1]
                return node
            except NoNode:
                continue  # somebody tidied up the empty parent
        raise StoreError(f"{parent}: comes and goes")

    async def _left_over(self, parent: str) -> str | None:
        """Our own node from an attempt that lost its connection before the answer came."""
        for node in await self._zk.children(parent):
            stat = await self._zk.exists(f"{parent}/{node}")
            if stat is not None and stat.owner == self._zk.session_id:
                return node
        return None

    async def _look(self, ownership: Ownership) -> None:
        try:
            nodes = await self._zk.children(layout.owners(ownership.vn))
        except NoNode:
            nodes = []
        except StoreUnavailable:
            return  # the reconnect looks again
        if self._held.get(ownership.vn) is not ownership:
            return
        callback = self._callbacks[ownership.vn]
        ownership.see(nodes)
        if ownership.lost:
            self._drop(ownership)
            self._callbacks.pop(ownership.vn, None)
        callback()

    def _drop(self, ownership: Ownership) -> None:
        if ownership.watch is not None:
            ownership.watch.cancel()
        if self._held.get(ownership.vn) is ownership:
            del self._held[ownership.vn]

    async def release(self, ownership: Ownership) -> None:
        self._drop(ownership)
        self._callbacks.pop(ownership.vn, None)
        ownership.lost = True
        try:
            await self._zk.delete(ownership.path)
            if await self._zk.exists(layout.vn(ownership.vn)) is None:
                await self._zk.delete(layout.owners(ownership.vn))
        except (NoNode, NotEmpty, StoreUnavailable):
            return  # gone already, or others stand, or the session's end deletes it

    async def claim(self, ownership: Ownership) -> Active:
        """Write name and election id to `active`, if (and only if) still the lowest."""
        nodes = await self._zk.children(layout.owners(ownership.vn))
        ownership.see(nodes)
        return await self._set_active(ownership, 0)

    async def activate(self, ownership: Ownership, revision: int, moved: bool) -> Active:
        """Write to `active` that the revision is prepared, if (and only if) still the lowest."""
        known = ownership.active
        if known is not None and not moved and ownership.is_leader:
            done = await self._activate_at_once(ownership, revision, *known)
            if done is not None:
                return done
        return await self._set_active(ownership, revision)

    async def _activate_at_once(
        self, ownership: Ownership, revision: int, active: Active, version: int
    ) -> Active | None:
        """Replace what was written last without reading it; None where that is not it any more."""
        claimed = msgspec.structs.replace(active, revision=max(active.revision, revision))
        operations: list[Operation] = [
            Check(ownership.path, 0),
            Set(layout.active(ownership.vn), encode(claimed), version),
        ]
        try:
            stats, epoch = await asyncio.gather(self._zk.multi(operations), read_epoch(self._zk))
        except (BadVersion, NoNode):
            return None
        written = stats[1]
        assert written is not None, "of the node that was set"
        ownership.active = (claimed, written.version)
        return claimed if epoch == claimed.epoch else None

    async def _set_active(self, ownership: Ownership, revision: int) -> Active:
        """Name the leader, and activate `revision` unless a later one is active already.

        The transaction checks the owner node, and who owns the lowest stays the lowest.
        """
        path = layout.active(ownership.vn)
        contest = Contest()
        while await contest.again():
            if not ownership.is_leader:
                raise Conflict(f"{ownership.name} does not lead virtual network {ownership.vn}")
            try:
                (data, stat), epoch, leaving = await asyncio.gather(
                    self._zk.get(path),
                    read_epoch(self._zk),
                    self._presence.activated(ownership.vn, revision),
                )
                active = decode(data, Active, path)
                claimed = Active(
                    revision=max(active.revision, revision),
                    leader=ownership.name,
                    election_id=ownership.czxid,
                    epoch=epoch,
                )
                version = stat.version
                if claimed != active:
                    stats = await self._zk.multi(
                        [
                            Check(ownership.path, 0),
                            Set(path, encode(claimed), stat.version),
                            *leaving,
                        ]
                    )
                    written = stats[1]
                    assert written is not None, "of the node that was set"
                    version = written.version
                ownership.active = (claimed, version)
                return claimed
            except BadVersion:
                continue  # a change of the VN set it meanwhile
            except NoNode as error:
                raise Conflict(f"virtual network {ownership.vn} or its owner is gone") from error
        raise Conflict(f"{path} keeps changing; {contest.attempts} attempts failed")

    async def names(self, vn: str) -> tuple[str, ...]:
        """Display names of the contenders, the leader first."""
        try:
            nodes = _by_sequence(await self._zk.children(layout.owners(vn)))
        except NoNode:
            return ()
        found: list[str] = []
        for node in nodes:
            path = f"{layout.owners(vn)}/{node}"
            try:
                data, _ = await self._zk.get(path)
            except NoNode:
                continue
            found.append(decode(data, Owner, path).name)
        return tuple(found)


async def read_epoch(zk: ZooKeeper) -> int:
    """The database's epoch: raised whenever it is restored from a copy; 0 before that."""
    try:
        data, _ = await zk.get(layout.EPOCH)
    except NoNode:
        return 0
    return decode(data, int, layout.EPOCH)


async def raise_epoch(zk: ZooKeeper, at_least: int) -> int:
    """Begin another epoch, of this number or a higher one; returns it."""
    contest = Contest()
    while await contest.again():
        try:
            data, stat = await zk.get(layout.EPOCH)
        except NoNode:
            data, stat = encode(0), None
        epoch = max(decode(data, int, layout.EPOCH) + 1, at_least)
        try:
            if stat is None:
                await zk.create(layout.EPOCH, encode(epoch))
            else:
                await zk.set(layout.EPOCH, encode(epoch), stat.version)
        except (BadVersion, NodeExists):
            continue
        return epoch
    raise Conflict(f"{layout.EPOCH} keeps changing; {contest.attempts} attempts failed")


def _by_sequence(nodes: list[str]) -> list[str]:
    return sorted(nodes, key=lambda node: node.rsplit("-", 1)[-1])
