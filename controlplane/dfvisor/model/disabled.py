"""A VN of which slices are disabled: what is left of it at a switch. Pure."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from dfvisor.model.records import Flowspace, Treatment, VirtualNetwork


def without_disabled(vn: VirtualNetwork) -> VirtualNetwork:
    """The VN without its disabled slices: what they would get is best effort, or denied still."""
    slices = {name: one for name, one in vn.slices.items() if not one.disabled}
    if len(slices) == len(vn.slices):
        return vn
    best = vn.best_effort_slice.name

    def changed(flowspace: Flowspace) -> Flowspace:
        if flowspace.slice in slices:
            return flowspace
        if flowspace.treatment is Treatment.DENY:
            return msgspec.structs.replace(flowspace, slice=best)
        return msgspec.structs.replace(flowspace, slice=best, treatment=Treatment.PERMIT)

    flowspaces = {name: changed(one) for name, one in vn.flowspaces.items()}
    return replace(vn, slices=slices, flowspaces=flowspaces)
