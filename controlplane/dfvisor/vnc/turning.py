"""When slices whose paths have changed may take their new path classes, and give up the former.

Pure but for its own memory; times are passed in. A new class is stamped once every switch on its
ways has its forwarding: until then the slice stays on the former one, whose forwarding is kept. The
former is given up once every switch has been told to stamp the new one, and what was under way is
not any more. A switch that is cut off carries nothing, and nobody waits for it.

If the former ways do not lead to all hosts any more (`health.broken`; agents lead around single
links that are down), the slice waits for a switch no longer than `PATIENCE_S`: then what that one
drops is less than what is lost anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dfvisor.model.records import Fabric
from dfvisor.vnc.compile import Compiler
from dfvisor.vnc.health import broken

PATIENCE_S = 15.0
DRAIN_S = 0.25
"""Longer than any packet is under way."""

Ready = Callable[[str], bool]
"""Whether a switch has all entries that it was told of, or is cut off."""


class Turning:
    """Of one VN, as long as one daemon leads it. `unknown` are slices of which not even the path
    class is known that packets bear. `waiting_for` says for people what is not done yet.
    """

    def __init__(self) -> None:
        self.unknown: frozenset[str] = frozenset()
        self.waiting_for = ""
        self._since: dict[str, float] = {}  # when a slice's former ways became former
        self._drained_at = 0.0

    def begin(self, names: Iterable[str], now: float) -> None:
        """The ways of these slices have changed."""
        for name in names:
            self._since.setdefault(name, now)

    def to_stamp(
        self, compiler: Compiler, fabric: Fabric, ready: Ready, now: float
    ) -> frozenset[str]:
        """The slices that may take their newest path class now."""
        found: set[str] = set()
        for name in compiler.turning:
            one = compiler.slice(name)
            if one.stamped == one.path_class:
                continue
            late = now - self._since.get(name, now) >= PATIENCE_S
            known = all(ready(switch) for switch in one.routing.switches)
            if known or (late and self._lost(compiler, fabric, name)):
                found.add(name)
        return frozenset(found)

    def _lost(self, compiler: Compiler, fabric: Fabric, name: str) -> bool:
        one = compiler.slice(name)
        way = one.stamped_way
        if way is None or one.ways_lost:
            return True
        homes = {port.switch for port in way.ports.values()}
        return broken(fabric, way.routing, homes, compiler.avoided(name))

    def stamped(self, names: Iterable[str], now: float) -> None:
        """Switches are told to have packets take these slices' newest path classes."""
        for name in names:
            self._since.pop(name, None)
        self._drained_at = now + DRAIN_S

    def drained_in(self, now: float) -> float:
        """How long packets may be under way that entered before."""
        return self._drained_at - now

    def to_retire(self, compiler: Compiler, ready: Ready) -> frozenset[str]:
        """The slices whose former path classes no switch where packets enter has them take."""
        return frozenset(
            name
            for name in compiler.turning
            if (one := compiler.slice(name)).stamped == one.path_class
            and all(ready(switch) for switch in one.switches & compiler.homes)
        )
