"""A VN at a switch whose agent has been without the global database for a while: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from dfvisor.model.records import Flowspace, Stale, Treatment, VirtualNetwork
from dfvisor.model.remade import Remade


@dataclass(frozen=True, slots=True)
class Expired:
    """Flowspaces of slices that are to be `denied`, or `sent` to the best-effort slice."""

    denied: frozenset[str]
    sent: frozenset[str]
    best_effort: str

    def __call__(self, flowspace: Flowspace, /) -> Flowspace:
        if flowspace.treatment is Treatment.DENY:
            return flowspace
        if flowspace.slice in self.denied:
            return msgspec.structs.replace(flowspace, treatment=Treatment.DENY, rate=None)
        if flowspace.slice in self.sent:
            return msgspec.structs.replace(
                flowspace, slice=self.best_effort, treatment=Treatment.PERMIT
            )
        return flowspace


def expired(vn: VirtualNetwork, away_s: float) -> frozenset[str]:
    """The slices whose traffic is not to go on as it did."""
    return frozenset(
        name
        for name, one in vn.slices.items()
        if one.stale is not Stale.HOLD and away_s >= one.stale_after_s
    )


def stale_rule(vn: VirtualNetwork, away_s: float) -> Expired | None:
    """What becomes of the VN's flowspaces; None: nothing."""
    slices = expired(vn, away_s)
    if not slices:
        return None
    denied = frozenset(name for name in slices if vn.slices[name].stale is Stale.DENY)
    return Expired(denied, slices - denied, vn.best_effort_slice.name)


def without_database(
    vn: VirtualNetwork, away_s: float, remade: Remade | None = None
) -> VirtualNetwork:
    """The VN with the flowspaces of expired slices denied, or sent to best effort.

    `remade` is what was used for the same VN before; it only saves work.
    """
    rule = stale_rule(vn, away_s)
    if rule is None:
        return vn
    return replace(vn, flowspaces=(remade or Remade()).of(rule, vn.flowspaces))
