"""What is written to a switch in each stage of a change, and in which order: pure.

The leader has all switches reach a stage before any begins the next. So packets that a switch lets
in find the whole of the path that they are stamped for, and what they are on is there until none
of them is under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Protocol

import msgspec

from dfvisor.p4rt.entries import EntryKey, TableEntry
from dfvisor.vnc.batches import Batch
from dfvisor.vnc.flows import CARRIED_PRIORITY


class Stage(IntEnum):
    """How far a change is to be carried out."""

    FORWARD = 1  # new forwarding, and passage for packets that are stamped for it; none is yet
    FLOW = 2  # what packets of the slices get; new ones take the new forwarding
    FINISH = 3  # what only the state before needed goes, once the agent has activated the revision


class Wanted(Protocol):
    """What the switch is to hold; it may change while a session follows it."""

    def wanted(self, keys: Iterable[EntryKey]) -> Iterator[tuple[EntryKey, TableEntry | None]]:
        """The entries of these keys, but of those that are to be left as they are, be they there or
        not.
        """
        ...

    def holds(self, batch: Batch) -> bool:
        """Whether the switch is surely to hold the entries of a batch as they are there."""
        ...

    def entries(self) -> Iterable[TableEntry]: ...

    def gre_keys(self) -> frozenset[int]:
        """Of the slices that the switch carries."""
        ...


class Step(msgspec.Struct, frozen=True, gc=False):
    """An entry that is to be `new` instead of `old`; None: not to be there."""

    key: EntryKey
    old: TableEntry | None
    new: TableEntry | None


def steps(
    held: dict[EntryKey, TableEntry],
    wanted: Wanted,
    stage: Stage,
    pending: dict[EntryKey, None],
) -> list[Step]:
    """The writes of a stage, in their order. Keys that the stage does not deal with stay on
    `pending`, all others are taken off.
    """
    here = wanted.gre_keys()
    forwards: list[Step] = []
    flows: list[Step] = []
    paths: list[Step] = []
    deletes: list[Step] = []
    left: dict[EntryKey, None] = {}
    for key, entry in wanted.wanted(pending):
        there = held.get(key)
        if entry is there or entry == there:
            if entry is not there and entry is not None:
                held[key] = entry  # one object for all switches
        elif entry is not None:
            if key.table == "slice_forward" or key.number == CARRIED_PRIORITY:
                forwards.append(Step(key, there, entry))
            elif stage >= Stage.FLOW:
                (paths if key.table == "slice_path" else flows).append(Step(key, there, entry))
            else:
                left[key] = None
        elif stage is not Stage.FINISH:
            left[key] = None
        elif there is not None and key.fields[0][1].value in here:
            deletes.append(Step(key, there, None))
        else:  # a slice that has no entries here any more: its agent drops it
            held.pop(key, None)
    pending.clear()
    pending.update(left)
    deletes.sort(key=lambda step: step.key.table != "flow")
    return forwards + paths + flows + deletes


def as_they_are(
    held: Mapping[EntryKey, TableEntry],
    wanted: Wanted,
    stage: Stage,
    pending: dict[EntryKey, None],
    batches: Iterable[Batch],
) -> list[Batch]:
    """Of these batches those that are inserted as they are in this stage, after the `steps`; the
    keys of the others go on `pending`, to be looked at.
    """
    found: list[Batch] = []
    for batch in batches:
        new = batch.apart(held.keys()) and batch.apart(pending.keys())
        if stage is Stage.FLOW and new and wanted.holds(batch):
            found.append(batch)
        else:
            pending.update(dict.fromkeys(batch))
    return found
