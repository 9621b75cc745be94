"""What the slicer may know of this switch: the agent's `SliceDirectory`, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dfvisor.agent.desired import VnPlan
from dfvisor.agent.site import Site
from dfvisor.model.grants import Grant
from dfvisor.model.records import VirtualNetwork
from dfvisor.model.space import Space, Spaces, flowspace_keys
from dfvisor.p4rt.ports import NEIGHBOUR, AccessVlans, Fence, SliceInfo


class Directory:
    """Plans whose entries are on the switch, by VN, each with the revision that it came from.

    A plan first shrinks to what stays, then its entries are written, then the new one is published:
    so nothing is offered that is not there. `on_flows` is told what `flows_completed` is told, the
    other `on_...` likewise.
    """

    def __init__(
        self, on_flows: Callable[[str, int, bool, int | None], None], switch: str = ""
    ) -> None:
        self._on_flows = on_flows
        self.on_offered: Callable[[str, int], None] = lambda vn, revision: None
        self.on_written: Callable[[str, int], None] = lambda vn, revision: None
        self.on_activated: Callable[[str, int], None] = lambda vn, revision: None
        self._switch = switch
        self._spaces: dict[str, Spaces] = {}
        self._slices: dict[int, tuple[str, str]] = {}
        self._vn_ids: dict[int, str] = {}
        self._links: dict[int, int] = {}
        self._fences: dict[str, Fence] = {}
        self._grants: dict[str, Grant] = {}
        self._on_change: list[Callable[[str], None]] = []
        self._plans: dict[str, VnPlan] = {}
        self._revisions: dict[str, int] = {}
        self._active: dict[str, int] = {}
        self._neighbours: dict[int, int] = {}
        self._changed = asyncio.Event()

    # -- the agent's side

    @property
    def plans(self) -> Mapping[str, VnPlan]:
        """Plans by VN."""
        return self._plans

    def shrink(self, vn: str, plan: VnPlan | None) -> set[int]:
        """Offer only what is also in the coming plan; returns the slice ids that go."""
        held = self._plans.get(vn)
        if held is None:
            return set()
        slices = plan.slices if plan else {}
        ports = plan.ports if plan else {}
        stay = {
            name: info
            for name, info in held.slices.items()
            if name in slices and slices[name].slice_id == info.slice_id
        }
        self._plans[vn] = replace(
            held,
            slices=stay,
            ports={port: id_ for port, id_ in held.ports.items() if port in ports},
        )
        gone = [(name, info) for name, info in held.slices.items() if name not in stay]
        for _, info in gone:
            self._slices.pop(info.slice_id, None)
        return {info.slice_id for _, info in gone if not info.best_effort}

    def publish(
        self,
        vn: str,
        revision: int,
        plan: VnPlan | None,
        *,
        active: int | None = None,
        space: VirtualNetwork | None = None,
    ) -> None:
        """The plan's entries are on the switch; None: the VN is not present here any more.

        `active` is the revision that has taken effect, if another one. `space`: what the slices'
        entries may match, if not what the plan's VN says.
        """
        if plan is None:
            held = self._plans.pop(vn, None)
            if held is not None and self._vn_ids.get(held.vn_id) == vn:
                del self._vn_ids[held.vn_id]
            self._revisions.pop(vn, None)
            self._active.pop(vn, None)
            self._spaces.pop(vn, None)
        else:
            self._plans[vn] = plan
            self._vn_ids[plan.vn_id] = vn
            self._revisions[vn] = revision
            self._active[vn] = revision if active is None else active
            self._spaces.setdefault(vn, Spaces()).update(space or plan.vn)
            for name, info in plan.slices.items():
                self._slices[info.slice_id] = (vn, name)
        self._changed.set()
        self._changed = asyncio.Event()
        for changed in self._on_change:
            changed(vn)

    def set_neighbours(self, neighbours: Mapping[int, int]) -> None:
        """Virtual next hop -> next-hop id of the neighbour switches."""
        self._neighbours = dict(neighbours)

    def set_fence(self, vn: str, fence: Fence | None) -> None:
        """The election id of the VN's leader, as the database says; None: there is none."""
        if self._fences.get(vn) == fence:
            return
        if fence is None:
            self._fences.pop(vn, None)
        else:
            self._fences[vn] = fence
        for changed in self._on_change:
            changed(vn)

    def set_grant(self, vn: str, grant: Grant | None) -> None:
        """What the VN is granted, as far as known here; None: nothing is known."""
        if self._grants.get(vn) == grant:
            return
        if grant is None:
            self._grants.pop(vn, None)
        else:
            self._grants[vn] = grant
        for changed in self._on_change:
            changed(vn)

    def set_links(self, links: Mapping[int, int]) -> None:
        """Fabric port -> virtual next hop of the neighbour switch behind it."""
        self._links = dict(links)

    # -- the slicer's side: SliceDirectory

    def on_change(self, changed: Callable[[str], None]) -> None:
        self._on_change.append(changed)

    def slice_by_id(self, slice_id: int) -> tuple[str, str] | None:
        return self._slices.get(slice_id)

    def vn_by_id(self, vn_id: int) -> str | None:
        return self._vn_ids.get(vn_id)

    def writer(self, vn: str, slice_name: str) -> str | None:
        grant = self._grants.get(vn)
        if grant is None or grant.bare:
            return None
        return f"slice/{vn}/{slice_name}" if slice_name in grant.controllers else f"vn/{vn}"

    def entry_quota(self, vn: str, slice_name: str) -> int | None:
        grant = self._grants.get(vn)
        return grant.max_flow_entries if grant is not None else None

    def space(self, vn: str, slice_name: str) -> Space:
        spaces = self._spaces.get(vn)
        return Space() if spaces is None else spaces.of(slice_name)

    def readable(self, vn: str, slice_name: str) -> Sequence[tuple[str, Space]]:
        plan = self._plans.get(vn)
        if plan is None:
            return ()
        return [
            (flowspace.slice, Space(flowspace_keys(plan.vn, flowspace)))
            for flowspace in plan.vn.flowspaces.values()
            if slice_name in flowspace.readers
        ]

    def tenant(self, vn: str) -> str | None:
        plan = self._plans.get(vn)
        return plan.vn.tenant if plan else None

    def fence(self, vn: str) -> Fence | None:
        return self._fences.get(vn)

    def next_hops(self, vn: str) -> Sequence[int]:
        plan = self._plans.get(vn)
        return sorted((*plan.ports, *self._neighbours)) if plan else ()

    def access_vlans(self, vn: str, port: int) -> AccessVlans | None:
        plan = self._plans.get(vn)
        if plan is None or port not in plan.ports:
            return None
        own = _vlans(plan, self._switch, port)
        others: set[int | None] = set()
        for name, other in self._plans.items():
            if name != vn and port in other.ports:
                others |= _vlans(other, self._switch, port)
        return AccessVlans(frozenset(own), frozenset(others))

    def virtual_port(self, vn: str, port: int) -> int:
        plan = self._plans.get(vn)
        return port if plan and port in plan.ports else self._links.get(port, 0)

    def vns(self) -> Sequence[str]:
        return sorted(self._plans)

    def revision(self, vn: str) -> int | None:
        return self._revisions.get(vn)

    def slices_of(self, vn: str) -> Mapping[str, SliceInfo]:
        plan = self._plans.get(vn)
        return plan.slices if plan else {}

    def slice_id(self, vn: str, slice_name: str) -> int | None:
        info = self.slices_of(vn).get(slice_name)
        return info.slice_id if info else None

    def next_hop_id(self, vn: str, virtual: int) -> int | None:
        plan = self._plans.get(vn)
        if plan is None:
            return None
        return plan.ports.get(virtual, self._neighbours.get(virtual))

    def virtual_next_hop(self, vn: str, next_hop: int) -> int | None:
        plan = self._plans.get(vn)
        if plan is None:
            return None
        for virtual, id_ in (*plan.ports.items(), *self._neighbours.items()):
            if id_ == next_hop:
                return virtual
        return None

    async def wait_for_revision(self, vn: str, revision: int, timeout_s: float) -> bool:
        self.on_offered(vn, revision)
        return await self._wait_for(self._revisions, vn, revision, timeout_s)

    async def wait_for_active(self, vn: str, revision: int, timeout_s: float) -> bool:
        return await self._wait_for(self._active, vn, revision, timeout_s)

    async def _wait_for(
        self, revisions: Mapping[str, int], vn: str, revision: int, timeout_s: float
    ) -> bool:
        if revisions.get(vn, -1) >= revision:
            return True  # most often
        try:
            async with asyncio.timeout(timeout_s):
                while revisions.get(vn, -1) < revision:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def activate(self, vn: str, revision: int) -> None:
        self.on_activated(vn, revision)

    def flows_written(self, vn: str, revision: int) -> None:
        self.on_written(vn, revision)

    def flows_completed(
        self, vn: str, revision: int, *, hold: bool = False, fabric: int | None = None
    ) -> None:
        self._on_flows(vn, revision, hold, fabric)


def _vlans(plan: VnPlan, switch: str, port: int) -> set[int | None]:
    """The VLAN ids by which the VN's endpoints on a port are told apart."""
    return {
        end.vlan
        for end in plan.vn.endpoints.values()
        if end.port is not None and (end.port.switch, end.port.port) == (switch, port)
    }


def links(site: Site) -> dict[int, int]:
    """Fabric port -> virtual next hop of the neighbour switch behind it."""
    return {cable.port: NEIGHBOUR + cable.device_id for cable in site.cables}
