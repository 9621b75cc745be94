"""Which changes a revision node carries."""

from __future__ import annotations

import pytest
from dfvisor.store.codec import Delta
from dfvisor.store.deltas import recent, size

DELTAS = [Delta(revision=number, put={}, drop={"flowspaces": ("f",)}) for number in range(11, 21)]
ONE = size(DELTAS[:1])


@pytest.mark.parametrize(
    ("needed", "most", "spare", "first"),
    [
        (10, 10, 0, 11),
        (15, 10, 0, 16),
        (15, 10, 2, 14),
        (15, 6, 2, 15),
        (20, 10, 0, 20),
        (20, 10, 3, 17),
    ],
    ids=["all needed", "none spare", "two spare", "no room", "newest always", "and some before"],
)
def test_changes_carried_are_those_needed_and_some_before(
    needed: int, most: int, spare: int, first: int
) -> None:
    found = recent(DELTAS, needed, most * ONE, spare * ONE)
    assert found is not None
    assert [delta.revision for delta in found] == list(range(first, 21))


@pytest.mark.parametrize("spare", [0, 100])
def test_changes_that_do_not_fit_are_none(spare: int) -> None:
    assert recent(DELTAS, 10, 9 * ONE, spare * ONE) is None
    assert recent(DELTAS, 20, ONE - 1, spare * ONE) == ()
