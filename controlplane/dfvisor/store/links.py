"""Ports that are down, and what agents see at the far ends of their cables.

`/down` has an empty node for each fabric port whose link its agent finds down, named as the port
(`s1:2`): one watch of the children and one read tell a reader everything, however many links there
are. A node is written by the agent of its port alone, and is no ephemeral one: that an agent or its
session goes says nothing of the cable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from dfvisor.model.types import PortRef
from dfvisor.store import layout
from dfvisor.store.zk import Create, Delete, NodeExists, NoNode, Operation, ZooKeeper


class LinkStates:
    """Reads everybody's reports and writes those of one switch."""

    def __init__(self, zk: ZooKeeper) -> None:
        self._zk = zk

    async def down(self) -> frozenset[PortRef]:
        """The ports reported down. Names that are no port are left out."""
        found = set()
        for name in await self._zk.children(layout.DOWN):
            with contextlib.suppress(ValueError):
                found.add(PortRef.parse(name))
        return frozenset(found)

    async def report(self, switch: str, down: Collection[int]) -> None:
        """Make exactly these ports of the switch be reported down; costs a read and what differs.

        For the agent of the switch alone.
        """
        held = {port.port for port in await self.down() if port.switch == switch}
        operations: list[Operation] = [
            Create(f"{layout.DOWN}/{switch}:{port}") for port in sorted(set(down) - held)
        ]
        operations += [
            Delete(f"{layout.DOWN}/{switch}:{port}") for port in sorted(held - set(down))
        ]
        if not operations:
            return
        try:
            await self._zk.multi(operations)
        except (NodeExists, NoNode):  # an agent of the same switch before us: one at a time
            for operation in operations:
                with contextlib.suppress(NodeExists, NoNode):
                    await self._zk.multi([operation])
