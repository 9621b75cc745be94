"""A batch of updates of which each stands for itself (CONTINUE_ON_ERROR)."""

from __future__ import annotations

from collections.abc import Iterator

from softswitch.server.errors import RequestError
from softswitch.server.pipeline import Pipeline
from softswitch.server.rpc import WriteCall

PER_TURN = 512
"""Plain updates applied before other RPCs get a turn on the event loop."""
COST = 4
"""How many plain ones take as long as one that is not."""


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
