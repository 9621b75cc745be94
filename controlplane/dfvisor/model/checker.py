"""The checks of validate.py for a VN that is read again and again: pure.

After a change of flowspaces alone only these are looked at, and what is near them. Everything else
is checked as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from dfvisor.errors import Problem
from dfvisor.model.changes import Changed
from dfvisor.model.overlap import Overlaps
from dfvisor.model.records import Treatment, VirtualNetwork
from dfvisor.model.validate import match_problems

Whole = Callable[[VirtualNetwork], list[Problem]]
"""The checks of a whole VN."""


class Checker:
    """Remembers the last VN without a problem; one for each VN."""

    def __init__(self) -> None:
        self._good: VirtualNetwork | None = None
        self._context: object = None
        self._overlaps: Overlaps | None = None

    def problems(
        self, vn: VirtualNetwork, changed: Changed | None, context: object, whole: Whole
    ) -> list[Problem]:
        """Every problem of the VN, as `whole` finds them. `changed` is what differs, at most, from
        the VN of the last call (None: not known); `context` is the same object as then if nothing
        else that `whole` looks at differs.
        """
        good, self._good = self._good, None
        same = good is not None and changed is not None and context is self._context
        if not same or changed is None or changed.structure or changed.endpoints or good is None:
            self._overlaps = None
        elif self._follow(good, vn, changed.flowspaces):
            self._good = vn
            return []
        else:
            self._overlaps = None
        found = whole(vn)
        if not found:
            self._good, self._context = vn, context
        return found

    def _follow(self, good: VirtualNetwork, vn: VirtualNetwork, names: Collection[str]) -> bool:
        """Whether the VN is still without problem, these flowspaces being others."""
        if self._overlaps is None:
            self._overlaps = Overlaps(good.flowspaces.values())
        overlaps = self._overlaps
        for name in names:
            if name in good.flowspaces:
                overlaps.discard(good.flowspaces[name])
        for name in names:
            flowspace = vn.flowspaces.get(name)
            if flowspace is None:
                continue
            slice_ = vn.slices.get(flowspace.slice)
            if slice_ is None or match_problems(flowspace):
                return False
            if flowspace.treatment is Treatment.TO_CONTROLLER and slice_.best_effort:
                return False
            if flowspace.match.endpoint is not None:
                endpoint = vn.endpoints.get(flowspace.match.endpoint)
                if endpoint is None or endpoint.port is None or flowspace.bidirectional:
                    return False
            if overlaps.conflict(flowspace):
                return False
            overlaps.add(flowspace)
        return True
