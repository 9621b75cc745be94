"""Which links can be used: pure.

A link is down when one of its two ports is reported down. Everything that asks for paths
(`model.paths`, `model.presence`, the compiler, agents) avoids these links by asking of
`usable(fabric, down)` instead of the fabric as described.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from dfvisor.model.records import Fabric, Link
from dfvisor.model.types import PortRef

DOWN_COST = 1 << 32
"""Added to the cost of a link that is down: more than any path of links that are up costs."""


def links_down(fabric: Fabric, down: Collection[PortRef]) -> tuple[Link, ...]:
    """The links of the fabric of which an end is among the ports `down`, in the fabric's order.

    Ports that end no link do not matter: a report may outlive the cable that it was about.
    """
    return tuple(link for link in fabric.links if link.a in down or link.b in down)


def usable(fabric: Fabric, down: Collection[PortRef]) -> Fabric:
    """The fabric in which links that are down cost so much that only what has no other way takes
    them; the same object if there is none.

    They are not taken out: who is wrong about a link loses nothing by trying it, and it is still
    the same tree everywhere.
    """
    if not links_down(fabric, down):
        return fabric
    return replace(
        fabric,
        links=tuple(
            replace(link, cost=link.cost + DOWN_COST) if link.a in down or link.b in down else link
            for link in fabric.links
        ),
    )


def end_of(link: Link, switch: str) -> tuple[PortRef, PortRef] | None:
    """The link's port at a switch, and the other one; None for a link between others."""
    if link.a.switch == switch:
        return link.a, link.b
    if link.b.switch == switch:
        return link.b, link.a
    return None
