"""The book of desired and actual entries."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from dfvisor.agent.book import Book, Clash
from dfvisor.model.named import Named
from dfvisor.p4rt.entries import Changes, Exact, Item, TableEntry, by_key, entry_key
from hypothesis import given
from hypothesis import strategies as st


def entry(value: int, arg: int = 0) -> TableEntry:
    return TableEntry("vtep", (("outer_dst", Exact(value)),), 0, "terminate", (("x", arg),))


def carry_out(book: Book, switch: dict[object, Item], fail: frozenset[int] = frozenset()) -> int:
    """Do the pending writes on `switch`, all but those whose place is in `fail`."""
    changes: Changes = book.pending()
    writes = [(item, False) for item in (*changes.inserts, *changes.modifies)]
    writes += [(item, True) for item in changes.deletes]
    for place, (item, deleted) in enumerate(writes):
        if place in fail:
            continue
        if deleted:
            del switch[entry_key(item)]
        else:
            switch[entry_key(item)] = item
        book.written(item, deleted=deleted)
    book.settle()
    return len(writes)


steps = st.lists(
    st.tuples(
        st.integers(0, 2),  # owner; its entries are owner * 10 + value
        st.dictionaries(st.integers(0, 4), st.integers(0, 2)),
        st.frozensets(st.integers(0, 4)),
    )
)


@given(st.dictionaries(st.integers(0, 29), st.integers(0, 2)), steps)
def test_switch_follows_any_sequence_of_parts_and_failures(
    before: dict[int, int], sequence: list[tuple[int, dict[int, int], frozenset[int]]]
) -> None:
    book = Book()
    switch: dict[object, Item] = dict(by_key(entry(*one) for one in before.items()))
    book.read_back(switch.values())
    parts: dict[int, dict[int, int]] = {}
    for owner, part, fail in sequence:
        book.set_part(str(owner), [entry(owner * 10 + value, arg) for value, arg in part.items()])
        parts[owner] = part
        carry_out(book, switch, fail)
    carry_out(book, switch)
    wanted = [
        entry(owner * 10 + value, arg)
        for owner, part in parts.items()
        for value, arg in part.items()
    ]
    assert switch == by_key(wanted)
    assert carry_out(book, switch) == 0


@dataclass(frozen=True)
class Wants:
    """A source: these values, each with an argument."""

    values: frozenset[int]
    arg: int

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(entry(value, self.arg) for value in sorted(self.values))


sources = st.dictionaries(
    st.sampled_from("abcd"), st.builds(Wants, st.frozensets(st.integers(0, 3)), st.integers(0, 1))
)


@given(st.lists(st.tuples(sources, st.frozensets(st.integers(0, 4)))), st.booleans())
def test_of_sources_that_want_one_entry_the_lowest_name_has_it(
    sequence: list[tuple[dict[str, Wants], frozenset[int]]], lose: bool
) -> None:
    book, switch = Book(), {}
    held: Named[Wants] = Named()
    for wanted, fail in sequence:
        changes = {name: wanted.get(name) for name in "abcd"}
        held = held.changed({n: w for n, w in changes.items() if w is not None or n in held})
        book.set_part("vn", [entry(9)], held)
        carry_out(book, switch, fail)
        carry_out(book, switch)
        if lose:
            switch = {entry_key(entry(9)): entry(9), entry_key(entry(8)): entry(8)}
            book.read_back(switch.values())
            carry_out(book, switch)
        items = [item for name in sorted(wanted, reverse=True) for item in wanted[name].items]
        assert switch == by_key([entry(9), *items]) == by_key(book.desired)
        assert {book.owner_of(item) for item in items} <= {"vn"}
        assert len(book._places) == len(switch) and not book._touched
    book.set_part("vn", [])
    carry_out(book, switch)
    assert not switch and not book._places and not book._parts


def test_change_of_one_part_writes_only_its_difference() -> None:
    book, switch = Book(), {}
    book.set_part("a", [entry(1), entry(2)])
    book.set_part("b", [entry(3)])
    carry_out(book, switch)
    book.set_part("a", [entry(1), entry(4)])
    assert book.pending() == Changes(inserts=(entry(4),), deletes=(entry(2),))


def test_entry_of_another_owner_is_a_clash_and_changes_nothing() -> None:
    book = Book()
    book.set_part("a", [entry(1)])
    book.set_part("b", [entry(2)])
    with pytest.raises(Clash, match="belongs to a already"):
        book.set_part("b", [entry(3), entry(1, 5)])
    assert book.pending() == Changes(inserts=(entry(1), entry(2)))


def test_entry_passed_from_owner_to_owner_is_modified() -> None:
    book, switch = Book(), {}
    book.set_part("a", [entry(1)])
    carry_out(book, switch)
    book.set_part("a", [])
    book.set_part("b", [entry(1, 2)])
    assert book.pending() == Changes(modifies=(entry(1, 2),))
    assert book.owner_of(entry(1)) == "b"


def test_strange_entry_read_back_is_deleted_and_missing_one_inserted() -> None:
    book, switch = Book(), {}
    book.set_part("a", [entry(1), entry(2)])
    carry_out(book, switch)
    book.read_back([entry(2), entry(7)])
    assert book.pending() == Changes(inserts=(entry(1),), deletes=(entry(7),))
