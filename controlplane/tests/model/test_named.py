"""Records by name whose changed copies share: as dicts, whatever is looked at in between."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from dfvisor.model.named import Named, Records, differing, named
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.sampled_from("abcdef")
CHANGES = st.dictionaries(NAMES, st.none() | st.integers(0, 3), max_size=3)
STEPS = st.lists(st.tuples(st.integers(0, 100), CHANGES), max_size=12)


def after(records: Mapping[str, int], change: Mapping[str, int | None]) -> dict[str, int]:
    merged = {**records, **change}
    return {name: record for name, record in merged.items() if record is not None}


@given(steps=STEPS, looks=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8))
def test_named_of_any_version_is_as_a_dict_of_its_own(
    steps: list[tuple[int, dict[str, int | None]]], looks: list[tuple[int, int]]
) -> None:
    plain: list[dict[str, int]] = [{"a": 1, "b": 2}]
    shared: list[Named[int]] = [Named({"a": 1, "b": 2})]
    for place, change in steps:
        base = place % len(plain)
        plain.append(after(plain[base], change))
        shared.append(shared[base].changed(change))
    for one, two in looks:
        first, second = one % len(plain), two % len(plain)
        assert differing(shared[first], shared[second]) == differing(plain[first], plain[second])
        assert (shared[first] == shared[second]) is (plain[first] == plain[second])
        assert shared[first] == plain[first] and plain[first] == shared[first]
        assert len(shared[second]) == len(plain[second])
        assert dict(shared[second].items()) == plain[second]
    assert [one.plain() for one in shared] == plain


@given(
    old=st.dictionaries(NAMES, st.integers(0, 3), max_size=2),
    new=st.dictionaries(NAMES, st.integers(0, 3)),
    change=CHANGES,
)
def test_named_replaced_by_few_or_many_is_those_and_knows_what_differs(
    old: dict[str, int], new: dict[str, int], change: dict[str, int | None]
) -> None:
    before = Named(dict(old))
    now = before.replaced(dict(new))
    later = now.changed(change)
    for records, wanted in ((before, old), (now, new), (later, after(new, change))):
        for others, expected in ((before, old), (now, new), (later, after(new, change))):
            assert differing(others, records) == differing(expected, wanted)
        assert records == wanted


@given(old=st.dictionaries(NAMES, st.integers(0, 3)), change=CHANGES)
def test_what_differs_makes_the_new_of_the_old(
    old: dict[str, int], change: dict[str, int | None]
) -> None:
    new = after(old, change)
    assert after(old, differing(old, new)) == new
    assert differing(Named(dict(old)), Named(dict(new))) == differing(old, new)


def test_going_through_one_while_another_is_looked_at_sees_only_the_one() -> None:
    old = Named({"a": 1, "b": 2, "c": 3})
    new = old.changed({"a": None, "d": 4})
    found = []
    for name, record in old.items():
        assert "d" in new
        found.append((name, record))
    assert sorted(found) == [("a", 1), ("b", 2), ("c", 3)]


def test_a_change_without_difference_is_the_same_object() -> None:
    records = Named({"a": 1})
    assert records.changed({"a": 1, "z": None}) is records
    assert named(records) is records


@pytest.mark.parametrize("records", [{"a": 1}, Named({"a": 1})], ids=["dict", "named"])
def test_or_adds_and_replaces(records: Records[int]) -> None:
    found = records | {"a": 2, "b": 3}
    assert found == {"a": 2, "b": 3}
    assert records == {"a": 1}


def test_named_cannot_be_hashed() -> None:
    with pytest.raises(TypeError):
        hash(Named({"a": 1}))
