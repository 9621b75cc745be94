"""The two steps of a change in one switch: pure.

A revision is first *prepared*: what is new and touches no packet is there, so that the VN's
controller can build on it everywhere. Once it is *active*, everything is as it wants. What then
nobody asks for but packets under way may still need is *kept* until the controller has finished.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from dfvisor.agent.desired import VnPlan
from dfvisor.model.named import differing, named
from dfvisor.model.records import Slice, VirtualNetwork
from dfvisor.p4rt.entries import EntryKey, Item, TableEntry, entry_key
from dfvisor.p4rt.ports import SliceInfo

EARLY = frozenset(("next_hop", "replica", "slice_policy", "slice"))
"""Nothing reaches a new entry of these tables as long as none of the others leads there."""
KEPT = frozenset(("next_hop", "slice_policy", "slice"))
"""What a packet needs that entered the slice on the way before."""

Items = Mapping[EntryKey, Item]


def prepared(live: VnPlan | None, coming: VnPlan, kept: Items) -> list[Item]:
    """What is to be there of a plan that is not active yet, besides the live one and the kept."""
    known = _of(live, EARLY) | dict(kept)
    return [item for key, item in _of(coming, EARLY).items() if key not in known]


def kept(before: VnPlan | None, live: VnPlan | None, held: Items) -> dict[EntryKey, Item]:
    """What stays beside the live plan: of the one that was live before, and of what it kept."""
    wanted = _of(live, EARLY)
    return {key: item for key, item in held_by(before, held).items() if key not in wanted}


def held_by(live: VnPlan | None, kept: Items) -> dict[EntryKey, Item]:
    """What packets under way need of a plan that is live, and of what is kept beside it."""
    found = dict(kept)
    if live is not None and any(not one.best_effort for one in live.slices.values()):
        found |= _of(live, KEPT)
    return found


def offered(past: VnPlan | None, live: VnPlan | None, coming: VnPlan | None) -> VnPlan | None:
    """What the slicer may build on: the slices and ports of all three."""
    plans = [plan for plan in (past, live, coming) if plan is not None]
    if not plans:
        return None
    slices: dict[str, SliceInfo] = {}
    ports: dict[int, int] = {}
    for plan in plans:
        slices |= plan.slices
        ports |= plan.ports
    return replace(live or coming or plans[0], slices=slices, ports=ports)


def both(live: VirtualNetwork, coming: VirtualNetwork) -> VirtualNetwork:
    """The coming VN with the slices, flowspaces and endpoints of the live one besides: what its
    slices may be while it is being prepared. The names of flowspaces mean nothing here.
    """
    older = {
        f"/{name}": flowspace
        for name, flowspace in differing(coming.flowspaces, live.flowspaces).items()
        if flowspace is not None
    }
    return replace(
        coming,
        slices={**live.slices, **coming.slices},
        endpoints=named(coming.endpoints).changed(
            {
                name: endpoint
                for name, endpoint in differing(coming.endpoints, live.endpoints).items()
                if endpoint is not None and name not in coming.endpoints
            }
        ),
        flowspaces=named(coming.flowspaces).changed(older),
    )


def unled_part(
    live: VirtualNetwork | None, coming: VirtualNetwork, controlled: Collection[str] = ()
) -> VirtualNetwork:
    """The coming VN with the QoS slices of the live one: what needs no VN controller. `controlled`
    slices are written by the tenant's own.
    """

    def waits(one: Slice) -> bool:
        return not one.best_effort and one.name not in controlled

    if not any(map(waits, coming.slices.values())):
        return coming
    old = live.slices if live is not None else {}
    slices = {name: one for name, one in coming.slices.items() if not waits(one)}
    slices |= {name: one for name, one in old.items() if waits(one)}
    flowspaces = {
        name: one
        for name, one in coming.flowspaces.items()
        if one.slice in slices and not waits(slices[one.slice])
    }
    profiles = dict(coming.profiles)
    if live is not None:
        flowspaces |= {
            name: one
            for name, one in live.flowspaces.items()
            if one.slice in slices
            and waits(slices[one.slice])
            and (one.match.endpoint is None or one.match.endpoint in coming.endpoints)
        }
        profiles = {**coming.profiles, **live.profiles}
    return replace(coming, slices=slices, flowspaces=flowspaces, profiles=profiles)


def _of(plan: VnPlan | None, tables: frozenset[str]) -> dict[EntryKey, Item]:
    if plan is None:
        return {}
    return {
        entry_key(item): item
        for item in plan.base
        if isinstance(item, TableEntry) and item.table in tables
    }
