"""Whether a VN's records can be used, asked again and again of its revisions: pure."""

from __future__ import annotations

from dfvisor.errors import Problem
from dfvisor.model.changes import changes
from dfvisor.model.checker import Checker
from dfvisor.model.grants import Grant
from dfvisor.model.records import Fabric, VirtualNetwork
from dfvisor.model.validate import validate_vn
from dfvisor.model.within import Within

REMEMBERED = 2  # the one that is live, and the one that is to be


class Verdicts:
    """Of one VN: as `validate_vn` finds them, at the cost of what has changed."""

    def __init__(self) -> None:
        self._checker = Checker()
        self._within = Within()
        self._last: VirtualNetwork | None = None
        self._good: list[tuple[VirtualNetwork, Fabric]] = []

    def problems(self, vn: VirtualNetwork, fabric: Fabric, grant: Grant | None) -> list[Problem]:
        """Every problem of the VN. `grant` None: not to be looked at."""
        if not any(vn is known and fabric is where for known, where in self._good):
            changed = None if self._last is None else changes(self._last, vn)
            self._last = vn
            found = self._checker.problems(
                vn, changed, fabric, fabric, lambda one: validate_vn(fabric, one, None)
            )
            if found:
                return found if grant is None else found + self._within.problems(vn, grant)
            self._good = [(vn, fabric), *self._good][:REMEMBERED]
        return [] if grant is None else self._within.problems(vn, grant)
