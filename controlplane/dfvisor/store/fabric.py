"""The provider's part of the global database, under one revision."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.plain import link_name
from dfvisor.model.records import Fabric, Tenant
from dfvisor.store import layout
from dfvisor.store.codec import (
    FabricRevision,
    decode,
    decode_link,
    decode_peer,
    decode_switch,
    decode_tenant,
    encode,
    encode_link,
    encode_peer,
    encode_switch,
    encode_tenant,
)
from dfvisor.store.contest import Contest
from dfvisor.store.watch import until_connected
from dfvisor.store.zk import (
    BadVersion,
    Create,
    Delete,
    NodeExists,
    NoNode,
    Operation,
    Set,
    ZooKeeper,
)

REMEMBERED_CHANGES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricSnapshot:
    """The provider's part at one `revision` (0: nothing written yet; +1 with every change)."""

    revision: int
    fabric: Fabric
    tenants: dict[str, Tenant]
    version: int = 0  # of the revision node
    changes: tuple[str, ...] = ()


class FabricStore:
    """Reads and changes the provider's part."""

    def __init__(self, zk: ZooKeeper, *, timeout_s: float = 10.0) -> None:
        self._zk = zk
        self._timeout_s = timeout_s
        self._last: tuple[int, FabricSnapshot] | None = None  # czxid of the revision node

    async def read(self) -> FabricSnapshot:
        """All of one revision: read again when it changed meanwhile, and not at all if it is that
        which was read last.
        """
        contest = Contest(self._timeout_s)
        while await contest.again():
            data, stat = await self._zk.get(layout.FABRIC_REVISION)
            if self._last is not None:
                czxid, snapshot = self._last
                if (czxid, snapshot.version) == (stat.czxid, stat.version):
                    return snapshot
            revision = decode(data, FabricRevision, layout.FABRIC_REVISION)
            try:
                switches, links, peers, tenants = await asyncio.gather(
                    self._read_all(layout.SWITCHES),
                    self._read_all(layout.LINKS),
                    self._read_all(layout.PEERS),
                    self._read_all(layout.TENANTS),
                )
            except NoNode:
                continue
            after = await self._zk.exists(layout.FABRIC_REVISION)
            if after is None or after.version != stat.version:
                continue
            snapshot = FabricSnapshot(
                revision=revision.revision,
                fabric=Fabric(
                    switches={
                        name: decode_switch(found, name, f"{layout.SWITCHES}/{name}")
                        for name, found in switches.items()
                    },
                    links=tuple(
                        decode_link(found, f"{layout.LINKS}/{name}")
                        for name, found in links.items()
                    ),
                    peers={
                        name: decode_peer(found, name, f"{layout.PEERS}/{name}")
                        for name, found in peers.items()
                    },
                ),
                tenants={
                    name: decode_tenant(found, name, f"{layout.TENANTS}/{name}")
                    for name, found in tenants.items()
                },
                version=stat.version,
                changes=revision.changes,
            )
            self._last = (stat.czxid, snapshot)
            return snapshot
        raise StoreError("the fabric keeps changing; it could not be read in one piece")

    async def _read_all(self, parent: str) -> dict[str, bytes]:
        names = await self._zk.children(parent)
        found = await asyncio.gather(*(self._zk.get(f"{parent}/{name}") for name in names))
        return {name: data for name, (data, _) in zip(names, found, strict=True)}

    async def apply(
        self, base: FabricSnapshot, fabric: Fabric, tenants: Mapping[str, Tenant]
    ) -> FabricSnapshot:
        """Replace the provider's part; Conflict when it is no longer at `base`."""
        operations = _difference(base, fabric, tenants)
        if not operations:
            return base
        change = str(uuid.uuid4())
        revision = FabricRevision(
            revision=base.revision + 1, changes=(change, *base.changes)[:REMEMBERED_CHANGES]
        )
        setting = Set(layout.FABRIC_REVISION, encode(revision), base.version)
        try:
            await self._zk.multi([setting, *operations])
        except (BadVersion, NodeExists, NoNode) as error:
            raise Conflict("the fabric or the tenants were changed by somebody else") from error
        except StoreUnavailable as error:
            await until_connected(self._zk, self._timeout_s)
            found = await self.read()
            if change not in found.changes:
                raise StoreUnavailable(f"the fabric was not changed: {error}") from error
            return found
        return await self.read()


def _difference(
    base: FabricSnapshot, fabric: Fabric, tenants: Mapping[str, Tenant]
) -> list[Operation]:
    """The writes that turn the base's nodes into those wanted."""
    operations: list[Operation] = []
    for parent, old, new in (
        (
            layout.SWITCHES,
            {name: encode_switch(switch) for name, switch in base.fabric.switches.items()},
            {name: encode_switch(switch) for name, switch in fabric.switches.items()},
        ),
        (
            layout.LINKS,
            {link_name(link): encode_link(link) for link in base.fabric.links},
            {link_name(link): encode_link(link) for link in fabric.links},
        ),
        (
            layout.PEERS,
            {name: encode_peer(peer) for name, peer in base.fabric.peers.items()},
            {name: encode_peer(peer) for name, peer in fabric.peers.items()},
        ),
        (
            layout.TENANTS,
            {name: encode_tenant(tenant) for name, tenant in base.tenants.items()},
            {name: encode_tenant(tenant) for name, tenant in tenants.items()},
        ),
    ):
        operations += [Create(f"{parent}/{n}", data) for n, data in new.items() if n not in old]
        operations += [
            Set(f"{parent}/{n}", data) for n, data in new.items() if n in old and old[n] != data
        ]
        operations += [Delete(f"{parent}/{n}") for n in old if n not in new]
    return operations
