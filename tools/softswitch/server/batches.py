"""Batches of updates: of which each stands for itself (CONTINUE_ON_ERROR), and all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from softswitch.server.errors import RequestError
from softswitch.server.pb import p4r
from softswitch.server.pipeline import Pipeline
from softswitch.server.rollback import Batch, failed_batch

PER_TURN = 512
"""Plain updates applied before other RPCs get a turn on the event loop."""
COST = 4
"""How many plain ones take as long as one that is not."""


@dataclass(slots=True)
class WriteCall:
    """A WriteRequest, and the bytes in which it came."""

    request: p4r.WriteRequest
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> WriteCall:
        """Raises DecodeError."""
        return cls(p4r.WriteRequest.FromString(raw), raw)


def write_each(
    pipeline: Pipeline, write: WriteCall, errors: list[RequestError | None]
) -> Iterator[None]:
    """Apply all updates in order, whatever becomes of the others: runs of plain ones at once, each
    other one by itself. Appends what becomes of each, and yields when it is others' turn."""
    updates = write.request.updates
    at = skip = spent = 0
    while len(errors) < len(updates):
        done, at = pipeline.take(write.raw, at, skip, PER_TURN - spent)
        errors += [None] * done
        spent, skip = spent + done, 0
        if len(errors) < len(updates) and spent < PER_TURN:  # the next one is not plain
            try:
                pipeline.write(updates[len(errors)])
            except RequestError as error:
                errors.append(error)
            else:
                errors.append(None)
            spent, skip = spent + COST, 1
        if spent >= PER_TURN:
            spent = 0
            yield


def write_at_once(pipeline: Pipeline, write: WriteCall) -> list[RequestError | None]:
    """Apply all updates, or none when one fails, without a turn for others.

    Plain ones are taken as they come where that is easily undone: entries that are inserted first,
    and whatever is last.
    """
    updates = write.request.updates
    last = len(updates) - 1
    batch = Batch(pipeline)
    done, at = 0, 0
    first = sum(1 for _ in takewhile(lambda one: one.type == p4r.Update.INSERT, updates))
    if first:
        done, at = pipeline.take(write.raw, at, 0, min(first, PER_TURN))
        for update in updates[:done]:
            batch.inserted(update.entity.table_entry)
    for place in range(done, len(updates)):
        if place == last and pipeline.take(write.raw, at, last - done, 1)[0]:
            break
        try:
            batch.apply(updates[place])
        except RequestError as error:
            batch.roll_back()
            return failed_batch(place, error, len(updates))
    return []
