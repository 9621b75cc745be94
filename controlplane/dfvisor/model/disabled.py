"""A VN of which slices are disabled: what is left of it at a switch. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from dfvisor.model.records import Flowspace, Treatment, VirtualNetwork
from dfvisor.model.remade import Remade


@dataclass(frozen=True, slots=True)
class Without:
    """Flowspaces of slices that are `gone` lead to the best-effort slice, or deny as they did."""

    gone: frozenset[str]
    best_effort: str

    def __call__(self, flowspace: Flowspace, /) -> Flowspace:
        if flowspace.slice not in self.gone:
            return flowspace
        if flowspace.treatment is Treatment.DENY:
            return msgspec.structs.replace(flowspace, slice=self.best_effort)
        return msgspec.structs.replace(
            flowspace, slice=self.best_effort, treatment=Treatment.PERMIT
        )


def disabled_rule(vn: VirtualNetwork) -> Without | None:
    """What becomes of the VN's flowspaces; None: nothing, no slice is disabled."""
    gone = frozenset(name for name, one in vn.slices.items() if one.disabled)
    return Without(gone, vn.best_effort_slice.name) if gone else None


def without_disabled(vn: VirtualNetwork, remade: Remade | None = None) -> VirtualNetwork:
    """The VN without its disabled slices: what they would get is best effort, or denied still.

    `remade` is what was used for the same VN before; it only saves work.
    """
    rule = disabled_rule(vn)
    if rule is None:
        return vn
    slices = {name: one for name, one in vn.slices.items() if name not in rule.gone}
    flowspaces = (remade or Remade()).of(rule, vn.flowspaces)
    return replace(vn, slices=slices, flowspaces=flowspaces)
