"""Updates that may go to the switch, what they make of the mirror, and how to undo them: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.slicer.held import Place, deletion, update_of

ABORTED = grpc.StatusCode.ABORTED.value[0]

Overlay: TypeAlias = dict[Place, bytes | None]
"""What updates make of the mirror."""


@dataclass(slots=True)
class Planned:
    """An update that may go to the switch: its place in the Write, the update as a field of a
    WriteRequest, and what it makes of the mirror (None: no entry). `table`: of which slice.
    """

    index: int
    sent: bytes
    place: Place
    before: bytes | None
    after: bytes | None
    growth: int
    table: tuple[int, bytes]


def messages_of(planned: Sequence[Planned]) -> list[p4r.Update]:
    """The updates, for the switch."""
    return list(p4r.WriteRequest.FromString(b"".join([one.sent for one in planned])).updates)


def shown(one: Planned) -> str:
    """Which entry it is about, for a log."""
    return f"slice {one.place[0]}, entry {one.place[1].hex()}"


def inverse(one: Planned) -> p4r.Update:
    """What undoes it."""
    if one.before is None:
        assert one.after is not None
        return deletion(one.after)
    return update_of(p4r.Update.INSERT if one.after is None else p4r.Update.MODIFY, one.before)


def aborted(statuses: Sequence[UpdateStatus], what: str) -> list[UpdateStatus]:
    """The statuses of a batch of which nothing is to be left."""
    other = UpdateStatus(ABORTED, f"another update of the batch failed, and {what}")
    return [status if status.code else other for status in statuses]
