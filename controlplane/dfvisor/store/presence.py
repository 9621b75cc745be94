"""The index of VNs by switch: which agent has to look at which VN.

`/present/<switch>/<vn>` is an empty node; an agent watches the children of its own switch, and so
never hears of VNs that are elsewhere. `/vns/<vn>/present` says where in the index a VN is. Both are
written in one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.presence import slices_at
from dfvisor.model.records import VirtualNetwork
from dfvisor.store import layout
from dfvisor.store.codec import Present, decode, encode
from dfvisor.store.contest import Contest
from dfvisor.store.fabric import FabricStore
from dfvisor.store.zk import (
    BadVersion,
    Callback,
    Check,
    Create,
    Delete,
    NodeExists,
    NoNode,
    Operation,
    Set,
    ZooKeeper,
)


@dataclass(frozen=True, slots=True)
class Held:
    """A VN's record of its presence; `version` None: there is none yet."""

    present: Present
    version: int | None


class Presence:
    """Reads and changes the index."""

    def __init__(self, zk: ZooKeeper, fabric: FabricStore) -> None:
        self._zk = zk
        self._fabric = fabric

    async def at(self, switch: str, watch: Callback | None = None) -> tuple[str, ...]:
        """VNs present at a switch, sorted; none where the index does not know the switch.

        `watch` is called once when one comes or goes.
        """
        path = layout.present(switch)
        while True:
            try:
                return tuple(await self._zk.children(path, watch))
            except NoNode:
                if watch is None or await self._zk.exists(path, watch) is None:
                    return ()

    async def held(self, name: str) -> Held:
        """Where in the index the VN is."""
        path = layout.vn_present(name)
        try:
            data, stat = await self._zk.get(path)
        except NoNode:
            return Held(Present(), None)
        return Held(decode(data, Present, path), stat.version)

    async def change(
        self, vn: VirtualNetwork, revision: int, *, activated: bool
    ) -> list[Operation]:
        """What to write with this revision of the VN; `activated`: it takes effect at once.

        The transaction fails with BadVersion if the fabric has changed meanwhile.
        """
        fabric = await self._fabric.read()
        held = await self.held(vn.name)
        wanted = tuple(slices_at(fabric.fabric, vn))
        check = Check(layout.FABRIC_REVISION, fabric.version)
        return [
            check,
            *await self._difference(vn.name, held, wanted, revision, activated=activated),
        ]

    async def activated(self, name: str, revision: int) -> list[Operation]:
        """What to write together with the activation of a revision."""
        held = await self.held(name)
        if not held.present.leaving or revision < held.present.revision:
            return []
        return await self._difference(
            name, held, held.present.switches, held.present.revision, activated=True
        )

    async def deleted(self, name: str) -> list[Operation]:
        """What to write together with the deletion of the VN."""
        try:
            held = await self.held(name)
        except StoreUnavailable:
            raise
        except StoreError:  # unreadable, and so is what it stands for: look everywhere
            nodes = [
                one for one in await self._zk.children(layout.PRESENT) if name in await self.at(one)
            ]
            return [*self._gone(name, nodes), Delete(layout.vn_present(name))]
        if held.version is None:
            return []
        nodes = [*held.present.switches, *held.present.leaving]
        return [*self._gone(name, nodes), Delete(layout.vn_present(name), held.version)]

    @staticmethod
    def _gone(name: str, switches: Iterable[str]) -> list[Operation]:
        return [Delete(layout.presence(switch, name)) for switch in switches]

    async def set(self, name: str, switches: Collection[str], *, keep: bool = False) -> None:
        """Correct the index of an existing VN; switches that it leaves stay until activation, and
        beyond if `keep`, as do those that it was to leave then.
        """
        contest = Contest()
        while await contest.again():
            held = await self.held(name)
            stay = (*held.present.switches, *held.present.leaving) if keep else ()
            wanted = tuple(sorted({*switches, *stay}))
            if held.version is not None and held.present.switches == wanted:
                return
            operations = await self._difference(
                name, held, wanted, held.present.revision, activated=not held.present.leaving
            )
            try:
                await self._zk.multi(operations)
                return
            except (BadVersion, NodeExists):
                continue  # somebody else corrects it, too
            except NoNode as error:
                if await self._zk.exists(layout.revision(name)) is None:
                    raise Conflict(
                        f"virtual network {name} was deleted by somebody else"
                    ) from error
        raise Conflict(f"the presence of virtual network {name} keeps changing")

    async def _difference(
        self, name: str, held: Held, wanted: tuple[str, ...], revision: int, *, activated: bool
    ) -> list[Operation]:
        before = {*held.present.switches, *held.present.leaving}
        leaving = () if activated else tuple(sorted(before - set(wanted)))
        record = Present(switches=wanted, leaving=leaving, revision=revision)
        if record == held.present and held.version is not None:
            return []
        after = {*wanted, *leaving}
        added = sorted(after - before)
        await asyncio.gather(*(self._zk.ensure(layout.present(switch)) for switch in added))
        path, data = layout.vn_present(name), encode(record)
        return [
            Create(path, data) if held.version is None else Set(path, data, held.version),
            *(Create(layout.presence(switch, name)) for switch in added),
            *self._gone(name, sorted(before - after)),
        ]
