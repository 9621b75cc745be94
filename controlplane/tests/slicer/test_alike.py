"""Patterns accept nothing that a look at every field would refuse, and read the same key."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from dfvisor.p4rt.entries import Exact, TableEntry, Ternary
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.slicer.alike import KNOWN, KNOWN_OF_A_LENGTH, PATIENCE, Known
from dfvisor.slicer.layout import Key
from dfvisor.slicer.mirror import HEAD
from dfvisor.slicer.translate import View
from dfvisor.slicer.view import role_view
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tests.slicer.fakes import P4INFO, flow, forward

PROGRAM = Schema.load(P4INFO.read_text())
VIEWS = {whole: View(Schema(role_view(PROGRAM.proto, whole))) for whole in (False, True)}
INSERT, DELETE = p4r.Update.INSERT, p4r.Update.DELETE


def wide(slice_id: int | None) -> TableEntry:
    """Fields of odd widths, one under a mask, a port that is 0."""
    key = (
        ("path_class", Ternary(5, 0xFFF)),
        ("ip_proto", Ternary(6, 0xFF)),
        ("ip_dscp", Ternary(0x20, 0x30)),
        ("l4_src", Ternary(0, 0xFFFF)),
        ("l4_dst", Ternary(0x1F90, 0xFFF0)),
    )
    exact = (("slice_id", Exact(slice_id)),) if slice_id is not None else ()
    return TableEntry("flow", (*exact, *key), 300, "permit", (("cookie", 0x25),))


def sample(name: str, whole: bool) -> TableEntry:
    slice_id = 0x25_0011 if whole else None
    return (
        {"flow": flow, "wide": wide}[name](slice_id) if name != "forward" else forward(slice_id, 1)
    )


Read = tuple[Key, int, str]
"""Key, priority, action."""


def looked_at(view: View, update: p4r.Update) -> Read | None:
    """What `layout` says; None if it refuses."""
    message = update.entity.table_entry
    layout = view.layouts[message.table_id]
    key = layout.key(message)
    action = layout.action(message) if message.HasField("action") else None
    if key is None or (action is None and update.type != DELETE):
        return None
    return key, message.priority, action.name if action else ""


def learned(view: View, update: p4r.Update) -> Known:
    known = Known()
    layout = view.layouts[update.entity.table_entry.table_id]
    key = layout.key(update.entity.table_entry)
    assert key is not None
    action = None if update.type == DELETE else layout.action(update.entity.table_entry)
    known.learn(layout, action, update, key)
    return known


def found(known: Known, *updates: p4r.Update) -> list[Read]:
    """Of as many of the first as are like the first."""
    sent = [update.SerializeToString() for update in updates]
    alike = known.find(sent[0])
    run = alike.run(sent) if alike else None
    if alike is None or run is None:
        return []
    places = range(len(alike.masks))
    every = zip(alike.keys(run), run.wires, alike.fields(run, places), strict=True)
    name = alike.action.name if alike.action else ""
    read: list[Read] = []
    for full, wire, fields in every:
        head, priority = full[:HEAD], int.from_bytes(full[HEAD : 2 * HEAD], "big")
        assert full[2 * HEAD :] == wire
        assert head == alike.layout.head
        key = Key(run.gre_key, wire, alike.masks, alike.values(places, fields))
        read.append((key, priority, name))
    return read


def update_of(view: View, entry: TableEntry, kind: p4r.Update.Type.ValueType) -> p4r.Update:
    return view.schema.insert(entry) if kind == INSERT else view.schema.delete(entry)


SAMPLES = [
    pytest.param(name, whole, kind, id=f"{name} {'vn' if whole else 'slice'} {kind}")
    for name in ("flow", "wide", "forward")
    for whole in (False, True)
    for kind in (INSERT, DELETE)
]


@pytest.mark.parametrize(("name", "whole", "kind"), SAMPLES)
def test_update_itself_is_recognized(
    name: str, whole: bool, kind: p4r.Update.Type.ValueType
) -> None:
    update = update_of(VIEWS[whole], sample(name, whole), kind)
    assert found(learned(VIEWS[whole], update), update) == [looked_at(VIEWS[whole], update)]


@pytest.mark.parametrize(("name", "whole", "kind"), SAMPLES)
def test_bytes_that_are_spliced_are_the_switchs_update(
    name: str, whole: bool, kind: p4r.Update.Type.ValueType
) -> None:
    """For another update of the same lengths, and ids of one and two bytes."""
    view = VIEWS[whole]
    update = update_of(view, sample(name, whole), kind)
    known = learned(view, update)
    message = update.entity.table_entry
    if name != "forward":
        message.priority ^= 1
        last = message.match[-1].ternary
        last.value = last.value[:-1] + bytes([last.value[-1] ^ 0x10])
    data = update.SerializeToString()
    alike = known.find(data)
    run = alike.run([data]) if alike else None
    assert alike is not None and run is not None
    for slice_id in (7, 0x1234):
        match = p4r.FieldMatch(field_id=1)
        match.exact.value = slice_id.to_bytes(2, "big").lstrip(b"\0")
        splice = alike.splice(slice_id, match)
        if name == "forward" and kind == INSERT:
            assert splice is None, "its next hop is another at the switch"
            continue
        assert splice is not None
        wanted = p4r.Update()
        wanted.CopyFrom(update)
        if whole:
            del wanted.entity.table_entry.match[0]
        wanted.entity.table_entry.match.insert(0, match)
        (tail,) = run.tails
        assert list(p4r.WriteRequest.FromString(splice.sent + tail).updates) == [wanted]
        assert p4r.TableEntry.FromString(splice.entry + tail) == wanted.entity.table_entry


@pytest.mark.parametrize(("name", "whole", "kind"), SAMPLES)
@given(data=st.data())
def test_what_is_recognized_is_what_the_layout_reads(
    name: str, whole: bool, kind: p4r.Update.Type.ValueType, data: st.DataObject
) -> None:
    view = VIEWS[whole]
    update = update_of(view, sample(name, whole), kind)
    known = learned(view, update)
    message = update.entity.table_entry
    for match in message.match:
        one = match.exact if match.HasField("exact") else match.ternary
        one.value = data.draw(st.binary(min_size=len(one.value), max_size=len(one.value)))
    for param in message.action.action.params:
        size = len(param.value)
        param.value = data.draw(st.binary(min_size=size, max_size=size))
    message.priority = data.draw(st.integers(min_value=0, max_value=0x7FFFFFFF))
    change = data.draw(st.sampled_from(("none", "mask", "field", "param", "extra", "length")))
    if change == "mask" and message.match[-1].HasField("ternary"):
        message.match[-1].ternary.mask = data.draw(st.binary(max_size=3))
    elif change == "field":
        message.match[0].field_id = data.draw(st.integers(0, 40))
    elif change == "param" and message.action.action.params:
        message.action.action.params[0].param_id = data.draw(st.integers(0, 4))
    elif change == "extra":
        message.match.add(field_id=data.draw(st.integers(0, 40)))
    elif change == "length":
        match = message.match[0]
        (match.exact if match.HasField("exact") else match.ternary).value = data.draw(st.binary())
    read = found(known, update)
    assert not read or read == [looked_at(view, update)]


@given(port=st.integers(256, 0xFFFF), priority=st.integers(1, 127), cookie=st.integers(0, 255))
def test_good_update_of_the_same_lengths_is_recognized(
    port: int, priority: int, cookie: int
) -> None:
    view = VIEWS[False]
    known = learned(view, view.schema.insert(flow(None, 8080)))
    update = view.schema.insert(flow(None, port, priority, cookie))
    assert found(known, update) == [looked_at(view, update)]


def test_patterns_are_bounded_and_give_way_to_others() -> None:
    view = VIEWS[False]
    known = Known()
    layout = view.layouts[PROGRAM.table("flow").id]

    def learn(mask: int, timeout_ns: int) -> p4r.Update:
        entry = TableEntry(
            "flow", (("l4_dst", Ternary(mask & 0x100, mask)),), 1, "permit", (("cookie", 1),)
        )
        update = view.schema.insert(entry)
        update.entity.table_entry.idle_timeout_ns = timeout_ns
        key = layout.key(update.entity.table_entry)
        assert key is not None
        known.learn(layout, layout.action(update.entity.table_entry), update, key)
        return update

    for number in range(PATIENCE):
        learn(0x100 | number % 256, 1 << number % 62)
    held = sum(map(len, known._by_length.values()))
    assert held <= KNOWN
    assert max(map(len, known._by_length.values())) == KNOWN_OF_A_LENGTH
    assert any(found(known, learn(0x100 | n % 256, 1)) for n in range(PATIENCE, 2 * PATIENCE))


# -- many


def ports(view: View, whole: bool, numbers: Iterable[int]) -> list[p4r.Update]:
    slice_id = 0x25_0011 if whole else None
    return [view.schema.insert(flow(slice_id, number)) for number in numbers]


@pytest.mark.parametrize("whole", [False, True])
@given(numbers=st.lists(st.integers(256, 0xFFFF), min_size=1, max_size=20))
def test_many_are_read_as_each(whole: bool, numbers: list[int]) -> None:
    view = VIEWS[whole]
    updates = ports(view, whole, numbers)
    read = found(learned(view, updates[0]), *updates)
    assert read == [looked_at(view, update) for update in updates]


def broken(update: p4r.Update, how: str) -> bytes:
    """Of the same length, but `longer`."""
    data = update.SerializeToString()
    message = update.entity.table_entry
    if how == "another mask":
        message.match[-1].ternary.mask = b"\xff\xf0"
    elif how == "another slice":
        message.match[0].exact.value = b"\x25\x00\x12"
    elif how == "not canonical":
        message.match[-1].ternary.value = b"\0\x50"
    elif how == "another kind":
        update.type = p4r.Update.MODIFY
    elif how == "longer":
        message.idle_timeout_ns = 1
    elif how == "no update":
        return data[:-4] + b"\xff" * 4
    elif how == "shifted":  # all of it is there, one byte later
        return data[1:] + data[:1]
    return update.SerializeToString()


BROKEN = (
    "another mask",
    "another slice",
    "not canonical",
    "another kind",
    "longer",
    "no update",
    "shifted",
)


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("place", [1, 5, 9])
def test_many_end_where_one_is_not_alike(how: str, place: int) -> None:
    view = VIEWS[True]
    updates = ports(view, True, range(300, 310))
    alike = learned(view, updates[0]).find(updates[0].SerializeToString())
    sent = [update.SerializeToString() for update in updates]
    whole = alike.run(sent) if alike else None
    assert alike is not None and whole is not None and len(whole.tails) == 10
    sent[place] = broken(updates[place], how)
    run = alike.run(sent)
    assert run is not None
    assert len(run.tails) == len(run.wires) == len(run.priorities) == place


def test_priorities_are_told_apart() -> None:
    view = VIEWS[False]
    updates = [view.schema.insert(flow(None, 300, priority)) for priority in (300, 500, 16383)]
    read = found(learned(view, updates[0]), *updates)
    assert read == [looked_at(view, update) for update in updates]
    assert [priority for _, priority, _ in read] == [300, 500, 16383]


def test_priority_beyond_its_31_bits_is_not_recognized() -> None:
    view = VIEWS[False]
    update = view.schema.insert(flow(None, 300, 0x7FFFFFFF))
    known = learned(view, update)
    data = update.SerializeToString()
    most = b"\xff\xff\xff\xff\x07"
    assert known.find(data) is not None
    assert known.find(data.replace(most, b"\xff\xff\xff\xff\x0f")) is None


def test_key_with_something_unknown_in_it_is_not_learned() -> None:
    """It would be another key than the same without."""
    view = VIEWS[False]
    update = view.schema.insert(flow(None, 300))
    match = update.entity.table_entry.match[0]
    match.MergeFromString(match.SerializeToString() + b"\xf8\x07\x01")  # field 127
    known = learned(view, update)
    assert known.find(update.SerializeToString()) is None
