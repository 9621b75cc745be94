"""Gives up what nothing on the switch holds any more: slices in the slicer, and numbers.

To be asked after the writes. What a change of flowspaces leaves behind costs what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dfvisor.agent.desired import VnPlan
from dfvisor.agent.link import Link
from dfvisor.agent.numbers import Kind, LocalNumbers
from dfvisor.model.named import differing
from dfvisor.p4rt.ports import Slicer


class Removals:
    """Of one switch."""

    def __init__(self, numbers: LocalNumbers) -> None:
        self._numbers = numbers
        self._slices: set[int] = set()  # that the slicer has yet to drop
        self._plans: dict[str, VnPlan] = {}  # those looked at
        self._meters: set[str] = set()  # names of meters that perhaps nothing holds any more
        self._whole = True  # and of everything else

    def drop(self, slice_ids: Iterable[int]) -> None:
        """These slices are not offered any more."""
        self._slices |= set(slice_ids)

    def look(self, plans: Mapping[str, VnPlan]) -> None:
        """What is offered now."""
        for name in {**self._plans, **plans}:
            old, new = self._plans.get(name), plans.get(name)
            if old is new:
                continue
            if (
                old is None
                or new is None
                or old.base is not new.base
                or (old.slices, old.ports) != (new.slices, new.ports)
            ):
                self._whole = True
                continue
            for flowspace in differing(old.vn.flowspaces, new.vn.flowspaces):
                meter = f"{name}/{flowspace}"
                if self._numbers.holds(Kind.METER, meter):
                    self._meters.add(meter)
        self._plans = dict(plans)

    async def finish(self, link: Link, slicer: Slicer | None, *, refused: bool) -> None:
        """Have the slicer drop slices that are gone, then give up numbers that nothing holds.

        `refused`: something could not be written. What it is may still hold a number.
        """
        for slice_id in sorted(self._slices):
            if slicer is not None:
                await slicer.drop_slice(slice_id)
            self._slices.discard(slice_id)
        if refused:
            return
        for name in [name for name in self._meters if not self._metered(name)]:
            self._numbers.give_up(Kind.METER, name)
        self._meters.clear()
        if self._whole:
            await self._finish_all(link)
            self._whole = False

    async def _finish_all(self, link: Link) -> None:
        plans = self._plans
        slices = {f"{vn}/{name}" for vn, plan in plans.items() for name in plan.slices}
        gone = {
            number for name, number in self._numbers.held(Kind.SLICE).items() if name not in slices
        }
        await link.reset_drops(gone)
        self._numbers.release(Kind.SLICE, lambda name: name not in slices)
        self._numbers.release(Kind.VN, lambda name: name not in plans)
        self._numbers.release(Kind.GROUP, lambda name: name.partition("/")[2] not in plans)
        for kind in (Kind.NEXT_HOP, Kind.REPLICA):
            self._numbers.release(
                kind,
                lambda name: name.startswith("local/") and name.split("/")[1] not in plans,
            )
        self._numbers.release(Kind.METER, lambda name: not self._metered(name))

    def _metered(self, name: str) -> bool:
        vn, _, flowspace = name.partition("/")
        plan = self._plans.get(vn)
        found = plan.vn.flowspaces.get(flowspace) if plan is not None else None
        return found is not None and found.rate is not None
