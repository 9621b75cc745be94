"""A small revision that takes effect together with its flow entries, in one message to the switch.

The controller of a VN that is on one switch alone lets a revision take effect with the Write that
brings the last of its flow entries. What the agent then has to change in the classifier goes along,
if the switch carries out a message between two packets, all of it or nothing: so there is no moment
at which the one is there without the other, and one round trip less.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from dfvisor.agent.book import Book
from dfvisor.agent.link import Link
from dfvisor.agent.planner import Planner, Staged
from dfvisor.p4rt.entries import Changes, Formed
from dfvisor.p4rt.pb import p4r

MOST_UPDATES = 32
"""Packets wait meanwhile."""
ALONE = "classifier"
"""The one table whose entries go along: nothing refers to them."""


async def write_together(
    link: Link,
    planner: Planner,
    book: Book,
    updates: Sequence[p4r.Update],
    name: str,
    revision: int,
) -> tuple[Staged, float] | None:
    """Write the updates and what lets this revision of the VN take effect; the VN as it is staged
    then, and since when that is in the switch (seconds since the epoch). None, and nothing was
    done, where that is not to be, or was refused. Errors are those of `Link.write_at_once`; planner
    and book are then as they were.
    """
    if not link.at_once or len(updates) > MOST_UPDATES:
        return None
    before = planner.remember(name)
    if not planner.tell_active(name, revision):
        return None
    done: tuple[Staged, float] | None = None
    try:
        (staged,) = planner.stage({name})
        changes = book.pending()
        if _goes_along(staged, changes, len(updates)) and await link.write_at_once(
            updates, changes
        ):
            done = staged, time.time()
    finally:
        if done is None:
            planner.restore(name, before)
            planner.stage({name})
    if done is not None:
        for item in (*changes.inserts, *changes.modifies):
            book.written(item)
        for item in changes.deletes:
            book.written(item, deleted=True)
    book.settle()
    return done


def _goes_along(staged: Staged, changes: Changes, updates: int) -> bool:
    if staged.error is not None or staged.kept or staged.gone:
        return False
    return len(changes) + updates <= MOST_UPDATES and all(
        isinstance(item, Formed) and item.table == ALONE
        for item in (*changes.inserts, *changes.modifies, *changes.deletes)
    )
