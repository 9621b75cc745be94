"""The difference between two states: few writes, in an order that keeps references whole."""

from __future__ import annotations

from dfvisor.p4rt.entries import (
    TABLE_ORDER,
    Changes,
    CloneSession,
    DigestSubscription,
    Exact,
    Item,
    Meter,
    MeterConfig,
    MulticastGroup,
    TableEntry,
    Ternary,
    by_key,
    diff,
    is_reset,
    rank,
)
from hypothesis import given
from hypothesis import strategies as st

tables = [
    table
    for table in TABLE_ORDER
    if table not in ("multicast", "clone", "meter", "digest", "switch_config")
]
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
    lambda arg: TableEntry("switch_config", (), 0, "set", (("vtep", arg),), True),
    st.integers(0, 2),
)
sessions = st.builds(
    CloneSession,
    st.integers(1, 2),
    st.frozensets(st.tuples(st.integers(1, 3), st.just(0)), max_size=2),
)
meters = st.builds(
    lambda name, index, rate: Meter(name, index, MeterConfig(rate, 1, rate, 1)),
    st.sampled_from(["flow_meters", "slice_meters"]),
    st.integers(0, 2),
    st.integers(1, 2),
)
digests = st.builds(
    DigestSubscription, st.just("learn_t"), st.integers(0, 1), st.just(1), st.just(1)
)
states = st.lists(entries | groups | defaults | sessions | meters | digests, max_size=12).map(
    lambda items: list(by_key(items).values())
)


def carried_out(actual: list[Item], changes: Changes) -> dict[object, Item]:
    """What a switch holds after the changes; it refuses what P4Runtime refuses."""
    held = by_key(actual)
    for item in changes.inserts:
        assert not isinstance(item, Meter)  # P4Runtime 9.4: meters are only modified
        (key,) = by_key([item])
        assert key not in held
        assert not (isinstance(item, TableEntry) and item.is_default)
        held[key] = item
    for item in changes.modifies:
        (key,) = by_key([item])
        always = isinstance(item, Meter) or (isinstance(item, TableEntry) and item.is_default)
        assert key in held or always
        if is_reset(item):
            del held[key]
        else:
            held[key] = item
    for item in changes.deletes:
        assert not isinstance(item, Meter)
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
        ("access_port", "source_guard"),
        ("access_port", "arp_responder"),
        ("slice", "l3_endpoint"),
        ("classifier", "meter"),
        ("access_port", "meter"),
        ("digest", "known_host"),
        ("digest", "known_address"),
        ("flow", "slice_path"),
        ("slice_path", "slice_forward"),
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


def test_diff_of_a_meter_no_longer_wanted_resets_it() -> None:
    held = Meter("slice_meters", 3, MeterConfig(1, 1, 2, 2))
    reset = Meter("slice_meters", 3, None)
    assert diff([held], []) == Changes(modifies=(reset,))
    assert diff([], [reset]) == Changes()


def test_diff_of_cells_of_two_meters_does_not_mix_them() -> None:
    one = Meter("slice_meters", 3, MeterConfig(1, 1, 2, 2))
    other = Meter("flow_meters", 3, MeterConfig(1, 1, 2, 2))
    assert diff([one], [one, other]) == Changes(modifies=(other,))
