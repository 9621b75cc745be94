"""Updates that may go to the switch together, and what they make of the mirror: pure."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc

from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.p4rt.updates import Updates
from dfvisor.slicer.mirror import Mirror

ABORTED = grpc.StatusCode.ABORTED.value[0]

Table: TypeAlias = tuple[int, bytes]
"""The entries of one slice (by its id) in one table (by the head of its keys)."""


@dataclass(slots=True)
class Planned:
    """Updates next to each other in a Write, from `index` on, all of one kind and table: each as a
    field of a WriteRequest, the key of its entry, and the entry (None: there is none afterwards).
    """

    index: int
    sent: Sequence[bytes]
    table: Table
    keys: Sequence[bytes]
    afters: Sequence[bytes] | None
    growth: int  # of the table, for each

    @property
    def slice_id(self) -> int:
        return self.table[0]

    def change(self, mirror: Mirror) -> None:
        """The switch has taken them."""
        if self.afters is None:
            mirror.remove_all(self.table, self.keys)
        else:
            mirror.put_all(self.table, self.keys, self.afters)

    def singly(self) -> list[Planned]:
        """The same, one by one."""
        return [
            Planned(
                self.index + place,
                self.sent[place : place + 1],
                self.table,
                self.keys[place : place + 1],
                None if self.afters is None else self.afters[place : place + 1],
                self.growth,
            )
            for place in range(len(self.keys))
        ]

    def __str__(self) -> str:
        """Which entries, for a log."""
        return f"slice {self.slice_id}, {', '.join(f'entry {key.hex()}' for key in self.keys)}"


@dataclass(slots=True)
class Chunk:
    """What goes to the switch in one message. Its entries are under way until it has landed."""

    planned: list[Planned] = field(default_factory=list)
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    afters: dict[int, dict[bytes, bytes | None]] = field(default_factory=dict)
    """By slice id and key, what there is after it."""
    growth: Counter[Table] = field(default_factory=Counter)

    def add(self, one: Planned) -> None:
        """One more, after the others."""
        self.planned.append(one)
        afters = self.afters.setdefault(one.slice_id, {})
        if one.afters is None:
            afters.update(dict.fromkeys(one.keys))
        else:
            afters.update(zip(one.keys, one.afters, strict=True))
        if one.growth:
            self.growth[one.table] += one.growth * len(one.keys)

    def __len__(self) -> int:
        return sum([len(one.keys) for one in self.planned])

    @property
    def updates(self) -> Updates:
        """For the switch."""
        if len(self.planned) == 1:
            return Updates(self.planned[0].sent)
        return Updates([frame for one in self.planned for frame in one.sent])


def aborted(statuses: Sequence[UpdateStatus], what: str) -> list[UpdateStatus]:
    """The statuses of a batch of which nothing is to be left."""
    other = UpdateStatus(ABORTED, f"another update of the batch failed, and {what}")
    return [status if status.code else other for status in statuses]
