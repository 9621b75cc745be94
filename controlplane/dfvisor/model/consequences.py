"""Which changes of a VN need flow entries before they may take effect: pure."""

from __future__ import annotations

from collections.abc import Collection

from dfvisor.model.named import differing
from dfvisor.model.records import Slice, VirtualNetwork


def needs_flows(
    old: VirtualNetwork | None, new: VirtualNetwork, controlled: Collection[str] = ()
) -> bool:
    """Whether the VN's controller has flow entries to prepare before the change is activated.

    Not if the VN has no slice above best effort (any more), nor if these slices, their flowspaces
    and the endpoints stay as they are. `old` None: the VN is new. `controlled` are the slices that
    controllers of the tenant's own write, in their own time.
    """
    slices = _qos(new, controlled)
    if not slices:
        return False
    if old is None or _qos(old, controlled) != slices or old.endpoints != new.endpoints:
        return True
    return any(
        one is not None and one.slice in slices
        for name, record in differing(old.flowspaces, new.flowspaces).items()
        for one in (record, old.flowspaces.get(name))
    )


def _qos(vn: VirtualNetwork, controlled: Collection[str]) -> dict[str, Slice]:
    return {
        name: one
        for name, one in vn.slices.items()
        if not one.best_effort and not one.disabled and name not in controlled
    }
