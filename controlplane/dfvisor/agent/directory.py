"""What the slicer may know of this switch: the agent's `SliceDirectory`, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dfvisor.agent.desired import VnPlan
from dfvisor.p4rt.ports import SliceInfo


class Directory:
    """Plans whose entries are on the switch, by VN, each with the revision that it came from.

    A plan first shrinks to what stays, then its entries are written, then the new one is published:
    so nothing is offered that is not there. `on_flows` is told what `flows_completed` is told.
    """

    def __init__(self, on_flows: Callable[[str, int], None]) -> None:
        self._on_flows = on_flows
        self._plans: dict[str, VnPlan] = {}
        self._revisions: dict[str, int] = {}
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
        return {
            info.slice_id
            for name, info in held.slices.items()
            if name not in stay and not info.best_effort
        }

    def publish(self, vn: str, revision: int, plan: VnPlan | None) -> None:
        """The plan's entries are on the switch; None: the VN is not present here any more."""
        if plan is None:
            self._plans.pop(vn, None)
            self._revisions.pop(vn, None)
        else:
            self._plans[vn] = plan
            self._revisions[vn] = revision
        self._changed.set()
        self._changed = asyncio.Event()

    def set_neighbours(self, neighbours: Mapping[int, int]) -> None:
        """Virtual next hop -> next-hop id of the neighbour switches."""
        self._neighbours = dict(neighbours)

    # -- the slicer's side: SliceDirectory

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
        try:
            async with asyncio.timeout(timeout_s):
                while self._revisions.get(vn, -1) < revision:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def wait_for_active(self, vn: str, revision: int, timeout_s: float) -> bool:
        return await self.wait_for_revision(vn, revision, timeout_s)

    def flows_completed(self, vn: str, revision: int) -> None:
        self._on_flows(vn, revision)
