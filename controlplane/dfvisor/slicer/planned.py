"""Updates that may go to the switch together, and what they make of the mirror: pure."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import grpc

from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.p4rt.updates import Updates
from dfvisor.slicer.mirror import Mirror

ABORTED = grpc.StatusCode.ABORTED.value[0]

Table: TypeAlias = tuple[int, bytes]
"""The entries of one slice (by its id) in one table (by the head of its keys)."""


@dataclass(slots=True)
class Planned:
    """Updates next to each other in a Write, from `index` on, all of one kind and table, about as
    many entries: as fields of a WriteRequest, and by key what entry there is afterwards (None:
    none, of those that make the table smaller).
    """

    index: int
    sent: bytes
    table: Table
    afters: Mapping[bytes, bytes | None]
    growth: int  # of the table, for each

    @property
    def slice_id(self) -> int:
        return self.table[0]

    def change(self, mirror: Mirror) -> None:
        """The switch has taken them."""
        if self.growth < 0:
            mirror.remove_all(self.table, self.afters)
        else:
            mirror.put_all(self.table, cast("Mapping[bytes, bytes]", self.afters))

    def singly(self) -> list[Planned]:
        """What becomes of them, one by one."""
        return [
            Planned(self.index + place, b"", self.table, {key: after}, self.growth)
            for place, (key, after) in enumerate(self.afters.items())
        ]

    def __str__(self) -> str:
        """Which entries, for a log."""
        return f"slice {self.slice_id}, {', '.join(f'entry {key.hex()}' for key in self.afters)}"


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
        afters = self.afters.get(one.slice_id)
        if afters is None:
            self.afters[one.slice_id] = dict(one.afters)
        else:
            afters.update(one.afters)
        self.growth[one.table] += one.growth * len(one.afters)

    def __len__(self) -> int:
        return sum([len(one.afters) for one in self.planned])

    @property
    def updates(self) -> Updates:
        """For the switch."""
        return Updates(b"".join([one.sent for one in self.planned]), len(self))


def aborted(statuses: Sequence[UpdateStatus], what: str) -> list[UpdateStatus]:
    """The statuses of a batch of which nothing is to be left."""
    other = UpdateStatus(ABORTED, f"another update of the batch failed, and {what}")
    return [status if status.code else other for status in statuses]
