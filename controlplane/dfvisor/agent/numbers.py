"""The switch-local numbers of VNs, slices, next hops, ...: stable across restarts of the agent.

A number must not be given to another name before everything that holds it is gone from the switch:
a stale entry would then act on somebody else's packets. So only the agent releases, after its
writes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from dfvisor.errors import DFVisorError
from dfvisor.store.local import LocalDatabase


class Kind(StrEnum):
    """The name spaces of numbers, with the names used in each."""

    VN = "vn"  # <vn>
    SLICE = "slice"  # <vn>/<slice>
    NEXT_HOP = "next_hop"  # local/<vn>/<port>, neighbour/<switch>, vtep/<switch or peer>, probe/..
    GROUP = "group"  # access/<vn>, fabric/<vn>
    REPLICA = "replica"  # <switch or peer>, local/<vn>/<vlan>
    METER = "meter"  # <vn>/<flowspace>


HIGHEST: dict[Kind, int] = {
    Kind.VN: 4095,  # `flood_meters` has cells for 4,096 VN ids
    Kind.SLICE: 4094,  # the `drops` counter has cells for 4,096 slice ids; the last is the probes'
    Kind.NEXT_HOP: 0xFFFF,
    Kind.GROUP: 32767,  # BMv2's limit
    Kind.REPLICA: 0xFFFF,
    Kind.METER: 16383,  # `flow_meters` has 16,384 cells, and 0 is no meter
}

PROBE_SLICE = 4095
PROBE_VN = 0xFFFF
"""What probes of links use (`agent.probing`); never given to a slice or VN."""


class NumbersExhausted(DFVisorError):
    """All numbers of a kind are in use on this switch."""


class Numbers(Protocol):
    """What the pure part needs: the number of a name, the same every time."""

    def number(self, kind: Kind, name: str) -> int: ...


class LocalNumbers:
    """Numbers kept in the local database."""

    def __init__(self, local: LocalDatabase) -> None:
        self._local = local
        self._known = {kind: dict(local.allocated(kind)) for kind in Kind}

    def number(self, kind: Kind, name: str) -> int:
        """The number of `name`, a new one if it has none; NumbersExhausted if all are in use."""
        known = self._known[kind]
        found = known.get(name)
        if found is None:
            found = self._local.allocate(kind, name)
            if found > HIGHEST[kind]:
                self._local.release(kind, name)
                raise NumbersExhausted(f"{kind} {name}: all {HIGHEST[kind]} numbers are in use")
            known[name] = found
        return found

    def held(self, kind: Kind) -> dict[str, int]:
        """All names that have a number."""
        return dict(self._known[kind])

    def holds(self, kind: Kind, name: str) -> bool:
        """Whether a name has a number."""
        return name in self._known[kind]

    def give_up(self, kind: Kind, name: str) -> None:
        """Free the number of a name, if it has one."""
        if name in self._known[kind]:
            self._local.release(kind, name)
            del self._known[kind][name]

    def release(self, kind: Kind, unused: Callable[[str], bool]) -> None:
        """Free the numbers of the names for which `unused` is true."""
        for name in [name for name in self._known[kind] if unused(name)]:
            self._local.release(kind, name)
            del self._known[kind][name]
