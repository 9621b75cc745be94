"""What of a VN is outside its grant, for a VN that is looked at again and again: pure.

After a change of flowspaces alone only these are looked at; everything else as a whole.
"""

from __future__ import annotations

from collections import Counter

from dfvisor.errors import Problem
from dfvisor.model.changes import changes
from dfvisor.model.grants import Grant
from dfvisor.model.named import differing
from dfvisor.model.records import Flowspace, VirtualNetwork
from dfvisor.model.ternary import expand
from dfvisor.model.validate import outside_grant


class Within:
    """Remembers the last VN within its grant; one for each VN."""

    def __init__(self) -> None:
        self._good: tuple[VirtualNetwork, Grant] | None = None
        self._entries: Counter[str] | None = None  # by slice, where they are limited

    def problems(self, vn: VirtualNetwork, grant: Grant) -> list[Problem]:
        """As `outside_grant` finds them."""
        good, self._good = self._good, None
        if good is not None and good[1] == grant and self._follow(good[0], vn, grant):
            self._good = (vn, grant)
            return []
        found = outside_grant(vn, grant)
        if not found:
            self._good = (vn, grant)
            self._entries = None
            if grant.max_flow_entries is not None:
                self._entries = Counter()
                for flowspace in vn.flowspaces.values():
                    self._entries[flowspace.slice] += _needed(flowspace)
        return found

    def _follow(self, good: VirtualNetwork, vn: VirtualNetwork, grant: Grant) -> bool:
        """Whether the VN is within the grant, too; False also where that is not clear."""
        if good is vn:
            return True
        changed = changes(good, vn)
        if changed.structure or changed.endpoints:
            return False
        if grant.max_flowspaces is not None and len(vn.flowspaces) > grant.max_flowspaces:
            return False
        if self._entries is None or grant.max_flow_entries is None:
            return grant.max_flow_entries is None
        for name, flowspace in differing(good.flowspaces, vn.flowspaces).items():
            before = good.flowspaces.get(name)
            if before is not None:
                self._entries[before.slice] -= _needed(before)
            if flowspace is not None:
                self._entries[flowspace.slice] += _needed(flowspace)
                limited = not vn.slices[flowspace.slice].best_effort
                if limited and self._entries[flowspace.slice] > grant.max_flow_entries:
                    return False
        return True


def _needed(flowspace: Flowspace) -> int:
    return len(expand(flowspace.match, bidirectional=flowspace.bidirectional))
