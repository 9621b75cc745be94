"""The difference between two states: few writes, in an order that keeps references whole."""

from __future__ import annotations

from dfvisor.p4rt.entries import (
    TABLE_ORDER,
    Changes,
    Exact,
    Item,
    MulticastGroup,
    TableEntry,
    Ternary,
    by_key,
    diff,
    rank,
)
from hypothesis import given
from hypothesis import strategies as st

tables = [table for table in TABLE_ORDER if table not in ("multicast", "tunnel_source")]
entries = st.builds(
    lambda table, value, action, arg: TableEntry(
        table, (("field", Exact(value)),), 0, action, (("arg", arg),)
    ),
    st.sampled_from(tables),
    st.integers(0, 3),
    st.sampled_from(["a", "b"]),
    st.integers(0, 1),
)
groups = st.builds(
    MulticastGroup,
    st.integers(1, 3),
    st.frozensets(st.tuples(st.integers(1, 3), st.integers(0, 2)), max_size=3),
)
defaults = st.builds(
    lambda arg: TableEntry("tunnel_source", (), 0, "set", (("vtep", arg),), True),
    st.integers(0, 2),
)
states = st.lists(entries | groups | defaults, max_size=12).map(
    lambda items: list(by_key(items).values())
)


def carried_out(actual: list[Item], changes: Changes) -> dict[object, Item]:
    """What a switch holds after the changes; it refuses what P4Runtime refuses."""
    held = by_key(actual)
    for item in changes.inserts:
        (key,) = by_key([item])
        assert key not in held
        assert not (isinstance(item, TableEntry) and item.is_default)
        held[key] = item
    for item in changes.modifies:
        (key,) = by_key([item])
        default = isinstance(item, TableEntry) and item.is_default
        assert key in held or default
        if default and not item.action:
            del held[key]
        else:
            held[key] = item
    for item in changes.deletes:
        (key,) = by_key([item])
        del held[key]
    return dict(held)


@given(states, states)
def test_diff_carried_out_gives_the_desired_state(actual: list[Item], desired: list[Item]) -> None:
    assert carried_out(actual, diff(actual, desired)) == by_key(desired)


@given(states)
def test_diff_of_equal_states_is_empty(state: list[Item]) -> None:
    assert len(diff(state, list(reversed(state)))) == 0


@given(states, states)
def test_diff_is_ordered_by_reference(actual: list[Item], desired: list[Item]) -> None:
    changes = diff(actual, desired)
    inserts = [rank(item) for item in changes.inserts]
    modifies = [rank(item) for item in changes.modifies]
    deletes = [rank(item) for item in changes.deletes]
    assert inserts == sorted(inserts)
    assert modifies == sorted(modifies)
    assert deletes == sorted(deletes, reverse=True)


def test_order_puts_referenced_tables_first() -> None:
    references = [
        ("access_port", "slice_policy"),
        ("access_port", "bridge"),
        ("access_port", "flood"),
        ("classifier", "slice_policy"),
        ("slice", "slice_policy"),
        ("slice_forward", "next_hop"),
        ("bridge", "next_hop"),
        ("flood", "multicast"),
        ("multicast", "replica"),
        ("next_hop", "underlay"),
    ]
    for referrer, referred in references:
        assert TABLE_ORDER.index(referred) < TABLE_ORDER.index(referrer), (referrer, referred)


def test_diff_of_another_action_is_a_modify_alone() -> None:
    key = (("vn", Exact(1)), ("port", Ternary(3, 511)))
    old = TableEntry("classifier", key, 5, "classify", (("slice_id", 1),))
    new = TableEntry("classifier", key, 5, "classify", (("slice_id", 2),))
    assert diff([old], [new]) == Changes(modifies=(new,))


def test_diff_of_another_priority_is_another_entry() -> None:
    key = (("vn", Exact(1)),)
    old = TableEntry("classifier", key, 5, "classify")
    new = TableEntry("classifier", key, 6, "classify")
    assert diff([old], [new]) == Changes(inserts=(new,), deletes=(old,))
