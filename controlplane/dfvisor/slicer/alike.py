"""Updates that differ in their values alone are looked at together: pure.

Most updates of a batch have the same fields, masks, action and lengths. Of the first one a pattern
over its serialized form is made that leaves open the values and the priority. Updates that the
pattern fits have passed all that `layout` would ask of them; any other is for `layout`. However
many they are, what is asked of them here is asked in a few calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from struct import Struct
from typing import NamedTuple

from dfvisor.model.space import Masks, Values
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.updates import framed
from dfvisor.slicer.layout import ActionLayout, Key, TableLayout
from dfvisor.slicer.mirror import HEAD

KNOWN = 256
KNOWN_OF_A_LENGTH = 8
PATIENCE = 2048
REPLACING = 64
"""Updates that nothing known fits, until all is given up to make room, or one of its length."""
REMEMBERED = 64  # of a pattern: slices, and ways to look at fields
ONES, TWOS = 1, 2  # what values are filled with, to see where they are

_Groups = list[tuple[bytes, ...]]


class Alike:
    """A pattern for updates of one table and kind. `action` is that of their entries, None for
    deletions; `growth` what one makes of the number of entries.

    Made of an update which `layout.key` has read as `key`, and whose action is `action`.
    """

    __slots__ = (
        "_masks",
        "_pattern",
        "_places",
        "_sample",
        "_splices",
        "_structs",
        "_wire_size",
        "action",
        "growth",
        "layout",
        "sliced",
    )

    def __init__(
        self,
        layout: TableLayout,
        action: ActionLayout | None,
        update: p4r.Update,
        key: Key,
        wire: int,
    ) -> None:
        self.layout = layout
        self.action = action
        self.growth = {p4r.Update.INSERT: 1, p4r.Update.DELETE: -1}.get(update.type, 0)
        self.sliced = bool(layout.slice_field)
        self._sample = update.SerializeToString()
        self._splices: dict[int, Splice | None] = {}
        self._structs: dict[tuple[int, ...], Struct] = {}
        self._masks = key.masks
        self._wire_size = len(key.wire)
        spans, values = list(_spans(update)), list(_values(layout, action, update))
        places = spans[self.sliced : len(update.entity.table_entry.match)]
        self._places = [(start - wire, end - wire) for start, end in places]
        parts = [re.escape(self._sample[at : at + 1]) for at in range(len(self._sample))]
        for place, ((start, end), value) in enumerate(zip(spans, values, strict=True)):
            group = (self.sliced and not place) or (
                layout.needs_priority and place == len(spans) - 1
            )
            parts[start] = b"(%b)" % value if group else value
            parts[start + 1 : end] = [b""] * (end - start - 1)
        parts[wire] = b"((" + parts[wire]
        parts[wire + self._wire_size - 1] += b")"
        self._pattern = re.compile(b"".join(parts) + b")", re.DOTALL)

    @classmethod
    def of(
        cls, layout: TableLayout, action: ActionLayout | None, update: p4r.Update, key: Key
    ) -> Alike | None:
        """None for an update that has its key elsewhere, or in another form, than its bytes show
        at once.
        """
        sample, tail = update.SerializeToString(), p4r.TableEntry()
        tail.CopyFrom(update.entity.table_entry)
        tail.ClearField("table_id")
        if layout.slice_field:
            del tail.match[0]
        size = tail.ByteSize()
        if not key.wire or not sample.endswith(tail.SerializeToString()):
            return None
        wire = len(sample) - size
        return cls(layout, action, update, key, wire) if sample.startswith(key.wire, wire) else None

    def fits(self, data: bytes) -> bool:
        """Whether a serialized update is one of these."""
        return self._pattern.fullmatch(data) is not None

    def run(self, updates: Sequence[bytes]) -> Run | None:
        """As many of the first of these serialized updates as are alike, and of one slice."""
        size = len(self._sample)
        lengths = list(map(len, updates))
        if lengths.count(size) < len(lengths):
            end = next(place for place, length in enumerate(lengths) if length != size)
            updates = updates[:end]
        # of as many bytes as are looked at: all of them match, or not each begins where one should
        found = self._pattern.findall(b"".join(updates))
        if len(found) < len(updates):
            end = next(place for place, one in enumerate(updates) if not self.fits(one))
            found = self._pattern.findall(b"".join(updates[:end]))
        if not found:
            return None
        columns = list(zip(*found, strict=True))
        gre_key = 0
        if self.sliced:
            slices, *columns = columns
            if slices.count(slices[0]) < len(slices):
                _, same = next(groupby(slices))
                end = sum(1 for _ in same)
                columns = [column[:end] for column in columns]
            gre_key = int.from_bytes(slices[0], "big")
        tails, wires, *priorities = columns
        return Run(self, gre_key, tails, wires, priorities[0] if priorities else ())

    def keys(self, run: Run) -> list[bytes]:
        """The keys of the entries: table, priority, fields."""
        head = self.layout.head
        kinds = {one: head + _varint(one).to_bytes(HEAD, "big") for one in set(run.priorities)}
        if len(kinds) > 1:
            return [kinds[one] + wire for one, wire in zip(run.priorities, run.wires, strict=True)]
        head = next(iter(kinds.values()), head + bytes(HEAD))
        return [head + wire for wire in run.wires]

    def afters(self, run: Run, splice: Splice) -> dict[bytes, bytes | None]:
        """By key, the switch's entry after it, None if there is none; up to the first update about
        an entry that one before is about.
        """
        keys = self.keys(run)
        afters = self._afters(keys, run, splice)
        if len(afters) < len(keys):
            keys = keys[: _different(keys)]
            afters = self._afters(keys, run, splice)
        return afters

    def _afters(self, keys: Sequence[bytes], run: Run, splice: Splice) -> dict[bytes, bytes | None]:
        if self.growth < 0:
            return dict.fromkeys(keys)
        entry = splice.entry
        return dict(zip(keys, [entry + tail for tail in run.tails], strict=False))

    def fields(self, run: Run, places: Sequence[int]) -> Iterator[tuple[bytes, ...]]:
        """Of each update, the values at these places of `masks`; in ascending order."""
        places = tuple(place for place in places if place < len(self._places))
        found = self._structs.get(places)
        if found is None:
            if len(self._structs) >= REMEMBERED:
                self._structs.clear()
            found = self._structs[places] = self._struct(places)
        return found.iter_unpack(b"".join(run.wires))

    def _struct(self, places: Sequence[int]) -> Struct:
        format_, at = "=", 0
        for start, end in map(self._places.__getitem__, places):
            format_ += f"{start - at}x{end - start}s"
            at = end
        return Struct(f"{format_}{self._wire_size - at}x")

    @property
    def masks(self) -> Masks:
        """What they match, for `model.space`."""
        return self._masks

    def values(self, places: Sequence[int], data: Sequence[bytes]) -> Values:
        """Values for `masks` of which some, as `fields` gives them, are known; others are 0."""
        numbers = [0] * len(self._masks)
        for place, one in zip(places, data, strict=False):  # beyond the fields is what is 0
            numbers[place] = int.from_bytes(one, "big")
        return tuple(numbers)

    def splice(self, slice_id: int, match: p4r.FieldMatch) -> Splice | None:
        """How the bytes of such an update become the switch's, `match` being that on the slice's
        own id there; None if more of it is another at the switch.
        """
        if slice_id not in self._splices:
            if len(self._splices) >= REMEMBERED:
                self._splices.clear()
            self._splices[slice_id] = self._made(match)
        return self._splices[slice_id]

    def _made(self, match: p4r.FieldMatch) -> Splice | None:
        if self.action is not None and self.action.next_hop:
            return None
        update = p4r.Update.FromString(self._sample)
        message = update.entity.table_entry
        tail = p4r.TableEntry()
        tail.CopyFrom(message)
        tail.ClearField("table_id")
        if self.sliced:
            del tail.match[0]
            message.match[0].CopyFrom(match)
        else:
            message.match.insert(0, match)
        sent, entry, same = framed(update), message.SerializeToString(), tail.SerializeToString()
        if not (sent.endswith(same) and entry.endswith(same)):
            return None
        return Splice(sent[: -len(same)], entry[: -len(same)])


class Run(NamedTuple):
    """Updates that are alike, next to each other. Of each its bytes from the key on, those of the
    key, and of the priority where there is one.
    """

    alike: Alike
    gre_key: int
    tails: Sequence[bytes]
    wires: Sequence[bytes]
    priorities: Sequence[bytes]


class Splice(NamedTuple):
    """What stands before a tail in the switch's update, as a field of a WriteRequest, and in its
    entry.
    """

    sent: bytes
    entry: bytes


class Known:
    """The patterns of one view."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[Alike]] = {}
        self._number = 0
        self._missed = 0

    def find(self, data: bytes) -> Alike | None:
        """The pattern that fits a serialized update."""
        for one in self._by_length.get(len(data), ()):
            if one.fits(data):
                return one
        return None

    def learn(
        self, layout: TableLayout, action: ActionLayout | None, update: p4r.Update, key: Key
    ) -> None:
        """Remember a checked update, of which there may be others alike."""
        self._missed += 1
        if self._number >= KNOWN:
            if self._missed < PATIENCE:
                return
            self._by_length.clear()
            self._number = self._missed = 0
        of_length = self._by_length.get(update.ByteSize(), [])
        full = len(of_length) >= KNOWN_OF_A_LENGTH
        if full and self._missed % REPLACING:
            return
        made = Alike.of(layout, action, update, key)
        if made is None:
            return
        if full:
            of_length.pop(0)
        else:
            self._number += 1
        self._by_length[update.ByteSize()] = [*of_length, made]


def _different(keys: Sequence[bytes]) -> int:
    """How many of the first are different ones."""
    seen = set[bytes]()
    for key in keys:
        if key in seen:
            break
        seen.add(key)
    return len(seen)


def _values(
    layout: TableLayout, action: ActionLayout | None, update: p4r.Update
) -> Iterator[bytes]:
    """What each value may be, and at last the priority."""
    message = update.entity.table_entry
    for match in message.match:
        field = layout.fields[match.field_id]
        if field.ternary:
            data, given = match.ternary.value, match.ternary.mask
            mask = field.masks.get(given) or field.mask(given)
            assert mask is not None, "the key has been read"
            outside = mask.outside
        else:
            data, outside = match.exact.value, -field.bound
        if field.unfragmented and data == b"\0":
            yield rb"\0"  # another has another key
        else:
            yield _value(len(data), outside, never_zero=field.unfragmented)
    for param in message.action.action.params if action is not None else ():
        assert action is not None
        yield _value(len(param.value), -action.bounds[param.param_id])
    if message.priority:
        size = _varint_size(message.priority)
        last = rb"[\x01-\x07]" if size == 5 else rb"[\x01-\x7f]"
        yield rb"[\x80-\xff]{%d}" % (size - 1) + last


def _value(size: int, outside: int, *, never_zero: bool = False) -> bytes:
    """A canonical byte string (P4Runtime 8.4) of that length with none of the bits outside."""
    found = []
    for place, bits in enumerate((outside & (1 << 8 * size) - 1).to_bytes(size, "big")):
        first = not place and (size > 1 or never_zero)
        allowed = [byte for byte in range(first, 256) if not byte & bits]
        if len(allowed) == 256:
            found.append(b".")
        elif len(allowed) == 255:
            found.append(rb"[^\0]")
        else:
            found.append(b"[%b]" % b"".join(rb"\x%02x" % byte for byte in allowed))
    return b"".join(b"%b{%d}" % (one, sum(1 for _ in same)) for one, same in groupby(found))


def _spans(update: p4r.Update) -> Iterator[tuple[int, int]]:
    """Where values and priority are: seen by filling them differently."""
    both = zip(_filled(update, ONES), _filled(update, TWOS), strict=True)
    same = [True, *(one == two for one, two in both), True]
    edges = [at for at, (before, after) in enumerate(pairwise(same)) if before != after]
    yield from zip(edges[::2], edges[1::2], strict=True)


def _filled(update: p4r.Update, number: int) -> bytes:
    filled = p4r.Update()
    filled.CopyFrom(update)
    message = filled.entity.table_entry
    for match in message.match:
        kind = match.exact if match.HasField("exact") else match.ternary
        kind.value = bytes([number]) * len(kind.value)
    for param in message.action.action.params:
        param.value = bytes([number]) * len(param.value)
    if message.priority:
        size = _varint_size(message.priority)
        message.priority = sum(number << 7 * place for place in range(size))
    return filled.SerializeToString()


def _varint_size(number: int) -> int:
    return (number.bit_length() + 6) // 7


def _varint(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data))
