"""A VN at a switch whose agent has been without the global database for a while: pure."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from dfvisor.model.records import Flowspace, Stale, Treatment, VirtualNetwork


def expired(vn: VirtualNetwork, away_s: float) -> frozenset[str]:
    """The slices whose traffic is not to go on as it did."""
    return frozenset(
        name
        for name, one in vn.slices.items()
        if one.stale is not Stale.HOLD and away_s >= one.stale_after_s
    )


def without_database(vn: VirtualNetwork, away_s: float) -> VirtualNetwork:
    """The VN with the flowspaces of expired slices denied, or sent to best effort."""
    slices = expired(vn, away_s)
    if not slices:
        return vn
    best = vn.best_effort_slice.name

    def changed(flowspace: Flowspace) -> Flowspace:
        if flowspace.slice not in slices or flowspace.treatment is Treatment.DENY:
            return flowspace
        if vn.slices[flowspace.slice].stale is Stale.DENY:
            return msgspec.structs.replace(flowspace, treatment=Treatment.DENY, rate=None)
        return msgspec.structs.replace(flowspace, slice=best, treatment=Treatment.PERMIT)

    flowspaces = {name: changed(one) for name, one in vn.flowspaces.items()}
    return replace(vn, flowspaces=flowspaces)
