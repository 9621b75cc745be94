"""Access control in the tree: laid out by the provider, kept by everybody who makes a node.

`/fabric/access` says who is who. Where it does not exist, anybody may do anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterable

from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.model.plain import Problems
from dfvisor.model.records import VirtualNetwork
from dfvisor.store import layout
from dfvisor.store.acl import Access, Entry, acl_of, parse_access, render_access
from dfvisor.store.codec import decode_plain, encode, encode_plain
from dfvisor.store.credentials import Role
from dfvisor.store.grants import GrantStore
from dfvisor.store.stats import Applied, Seen
from dfvisor.store.zk import Forbidden, NodeExists, NoNode, ZooKeeper

_AT_ONCE = 64
_PROVIDED = (Role.PROVIDER, Role.CONTROLLER)


class Guard:
    """Gives the nodes that are made in this session their access control lists."""

    def __init__(self, zk: ZooKeeper) -> None:
        self._zk = zk
        self._access: Access | None = None
        self.tenants: dict[str, str] = {}  # of VNs
        self._switches: set[str] = set()

    @property
    def closed(self) -> bool:
        """Whether the tree has access control lists."""
        return self._zk.lists is not None

    @property
    def intent_only(self) -> bool:
        """Whether this session writes what a VN wants to be, and leaves to the provider's daemons
        what follows from it: that is all that a tenant may do.
        """
        return self._zk.credentials.role is Role.TENANT

    async def load(self) -> None:
        """See whether the tree is closed, and who is who as far as that is ours to know."""
        if await self._zk.exists(layout.ACCESS) is None:
            return
        access = Access()
        if self._zk.credentials.role in _PROVIDED:
            with contextlib.suppress(Forbidden):  # then the server refuses all writes anyway
                access = await self.read() or access
        self._set(access)

    async def read(self) -> Access | None:
        """Who is who; None where the tree is open."""
        try:
            data, _ = await self._zk.get(layout.ACCESS)
        except NoNode:
            return None
        problems = Problems()
        access = parse_access(decode_plain(data, "access", layout.ACCESS), problems)
        if problems.found:
            raise StoreError(f"{layout.ACCESS}: bad record: {problems.found[0]}")
        return access

    def _set(self, access: Access) -> None:
        self._access = access
        self._zk.lists = self._list

    def _list(self, path: str) -> tuple[Entry, ...]:
        return acl_of(path, self._access or Access(), self.tenants, self._switches)

    async def close(self, access: Access, switches: Iterable[str], grants: GrantStore) -> int:
        """Lay out the lists in the whole tree, for the first time or anew; returns the number of
        nodes. StoreError when we would shut ourselves out.
        """
        await self._probe(access)
        self._set(access)
        record = encode_plain(render_access(access), "access")
        try:
            await self._zk.create(layout.ACCESS, record)
        except NodeExists:
            await self._zk.set(layout.ACCESS, record)
        for name in await self._zk.children(layout.VNS):
            await self.know(name, grants)
            await self.place_vn(name)
        await self.place_switches(switches)
        return await self._walk(["/"])

    async def know(self, vn: str, grants: GrantStore) -> None:
        """Learn whose the VN is."""
        try:
            held = await grants.read(vn)
        except StoreUnavailable:
            raise
        except StoreError:
            held = None  # unreadable: no tenant may write
        self.tenants[vn] = held.grant.tenant if held else ""

    async def _probe(self, access: Access) -> None:
        path = f"{layout.FABRIC}/probe-{uuid.uuid4().hex}"
        before, self._zk.lists = (
            self._zk.lists,
            lambda _: acl_of(layout.ACCESS, Access(provider=access.provider), {}),
        )
        try:
            await self._zk.create(path)
            await self._zk.get(path)
        except Forbidden as error:
            raise StoreError(
                "these credentials are none of those that the list names as the provider's: "
                "nobody could change anything any more"
            ) from error
        finally:
            self._zk.lists = before
            with contextlib.suppress(NoNode, Forbidden):
                await self._zk.delete(path)

    async def place_switches(self, switches: Iterable[str]) -> None:
        """Make the places that the agents of these switches write to. All switches, or what was
        said of the others is lost.
        """
        self._switches = set(switches)
        await self._zk.set_acl(layout.DOWN, self._list(layout.DOWN))
        for switch in sorted(self._switches):
            for path in (
                layout.agents_of(switch),
                layout.stats(switch),
                layout.present(switch),
            ):
                await self._zk.ensure(path)
            for path, record in (
                (layout.applied(switch), encode(Applied())),
                (layout.seen(switch), encode(Seen())),
            ):
                with contextlib.suppress(NodeExists):
                    await self._zk.create(path, record)

    async def settle(self, before: VirtualNetwork | None, vn: VirtualNetwork) -> None:
        """After a change of a VN: make its places, or give it to its new tenant."""
        if self.closed and before is None:
            await self.place_vn(vn.name)
        elif self.closed and before is not None and before.tenant != vn.tenant:
            await self.own(vn.name, vn.tenant)

    async def place_vn(self, name: str) -> None:
        """Make the places where controllers stand for the VN, and its history."""
        await self._zk.ensure(layout.owners(name))
        await self._zk.ensure(layout.history(name))

    async def own(self, name: str, tenant: str) -> None:
        """The VN has another tenant now."""
        self.tenants[name] = tenant
        await self._walk([layout.vn(name), layout.history(name)])

    async def _walk(self, paths: list[str]) -> int:
        """Set the lists of these nodes and all below them."""
        count = 0
        while paths:
            batch, paths = paths[:_AT_ONCE], paths[_AT_ONCE:]
            found = await asyncio.gather(*map(self._secure, batch))
            count += len(batch)
            paths += [path for below in found for path in below]
        return count

    async def _secure(self, path: str) -> list[str]:
        """Set the node's list; the nodes below it. One that somebody else has made, such as a
        tenant's page, has the list that he gave it, and only he may change that.
        """
        try:
            with contextlib.suppress(Forbidden):
                await self._zk.set_acl(path, self._list(path))
            names = await self._zk.children(path)
        except (NoNode, Forbidden):
            return []
        prefix = "" if path == "/" else path
        return [f"{prefix}/{name}" for name in names if f"{prefix}/{name}" != "/zookeeper"]
