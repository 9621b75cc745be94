"""The order of a selector group's members, as BMv2 has it: which one a hash picks depends on it.

BMv2 gives each member of an action profile the lowest number that is free, and keeps a group
sorted by these numbers. PI's P4Runtime server makes a member of weight n from n numbered copies,
which all groups of the profile share: the k-th use of a member in a group is its k-th copy.
(BMv2: `handle_mgr.h`, `action_profile.cpp`, `ras.h`; PI: `action_prof_mgr.cpp`.)
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping


class Slots:
    """The numbers of one action profile's members and their copies."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 0

    def take(self) -> int:
        """The lowest number that is free."""
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1

    def give_back(self, slot: int) -> None:
        """Free a number."""
        heapq.heappush(self._free, slot)

    def snapshot(self) -> tuple[tuple[int, ...], int]:
        """Which numbers are free, for `restore`."""
        return tuple(self._free), self._next

    def restore(self, snapshot: tuple[tuple[int, ...], int]) -> None:
        """The same numbers are free again."""
        free, self._next = snapshot
        self._free = list(free)


class Copies:
    """One member's numbers: as many as its largest weight in any group, but at least one."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._weights: Counter[int] = Counter()
        self.numbers = [slots.take()]

    @property
    def grouped(self) -> bool:
        """Whether the member is in a group."""
        return bool(self._weights)

    def grow(self, weight: int) -> None:
        """Have enough numbers for a weight."""
        while len(self.numbers) < weight:
            self.numbers.append(self._slots.take())

    def use(self, old: int, new: int) -> None:
        """A group's weight of this member changes; 0 means that it is not in the group."""
        if old:
            self._weights[old] -= 1
            if not self._weights[old]:
                del self._weights[old]
        if new:
            self._weights[new] += 1

    def shrink(self) -> None:
        """Give back the numbers that no group uses, the last one first."""
        needed = max(self._weights, default=1)
        while len(self.numbers) > needed:
            self._slots.give_back(self.numbers.pop())

    def close(self) -> None:
        """Give back all numbers."""
        while self.numbers:
            self._slots.give_back(self.numbers.pop())


def regroup(members: Mapping[int, Copies], old: Mapping[int, int], new: Mapping[int, int]) -> None:
    """Change a group's weights by member id from `old` to `new`, in PI's order of steps."""
    touched = sorted(old.keys() | new.keys())
    for member in touched:
        members[member].grow(new.get(member, 0))
        members[member].use(old.get(member, 0), new.get(member, 0))
    for member in touched:
        members[member].shrink()
