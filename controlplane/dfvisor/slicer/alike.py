"""Updates that differ in their values alone are looked at together: pure.

Most updates of a batch have the same fields, masks, action and lengths. Of the first one a pattern
over its serialized form is made that leaves open the values and the priority. Updates that the
pattern fits have passed all that `layout` would ask of them; any other is for `layout`. However
many they are, what is asked of them here is asked in a few calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from struct import Struct
from typing import NamedTuple

from dfvisor.model.space import Space
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


class Alike:
    """A pattern for updates of one table and kind. `action` is that of their entries, None for
    deletions; `growth` what one makes of the number of entries.

    Made of an update which `layout.key` has read as `key`, and whose action is `action`; `wire` is
    where its bytes have the key's.
    """

    __slots__ = (
        "_many",
        "_pattern",
        "_places",
        "_priority",
        "_sample",
        "_slice",
        "_splices",
        "_structs",
        "_wire",
        "_wire_size",
        "action",
        "growth",
        "layout",
        "masks",
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
        self.masks = key.masks  # what they match, for `model.space`
        self._sample = update.SerializeToString()
        self._splices: dict[int, Splice | None] = {}
        self._structs: dict[tuple[int, ...], Struct] = {}
        self._wire, self._wire_size = wire, len(key.wire)
        spans, values = list(_spans(update)), list(_values(layout, action, update))
        places = spans[: len(update.entity.table_entry.match)]
        self._slice = places.pop(0) if layout.slice_field else None
        self._places = places
        self._priority = spans[-1] if layout.needs_priority else None
        parts = [re.escape(self._sample[at : at + 1]) for at in range(len(self._sample))]
        for (start, end), value in zip(spans, values, strict=True):
            parts[start:end] = [value] + [b""] * (end - start - 1)
        pattern = b"".join(parts)
        self._pattern = re.compile(pattern, re.DOTALL)
        self._many = re.compile(b"(?:%b)*+" % pattern, re.DOTALL)

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
        data = b"".join(updates)
        fitting = self._many.match(data)
        assert fitting is not None, "none fit at least"
        end = fitting.end() // size
        gre_key = 0
        if self._slice is not None and end:
            start, stop = self._slice
            first = data[start:stop]
            if not self._same(data, self._slice):
                end = next((at for at in range(end) if updates[at][start:stop] != first), end)
            gre_key = int.from_bytes(first, "big")
        if not end:
            return None
        if end < len(updates):
            updates, data = updates[:end], data[: end * size]
        wire = self._wire
        return Run(self, gre_key, data, [update[wire:] for update in updates])

    def _same(self, data: bytes, span: tuple[int, int]) -> bool:
        """Whether all of these updates have the same bytes there."""
        size = len(self._sample)
        count = len(data) // size
        return all(data[at::size] == data[at : at + 1] * count for at in range(*span))

    def keys(self, run: Run) -> list[bytes]:
        """The keys of the entries: table, priority, fields."""
        head, size, tails = self.layout.head, self._wire_size, run.tails
        if self._priority is None:
            head += bytes(HEAD)
            return [head + tail[:size] for tail in tails]
        start, end = self._priority
        if self._same(run.data, self._priority):
            head += _varint(run.data[start:end]).to_bytes(HEAD, "big")
            return [head + tail[:size] for tail in tails]
        start, end = start - self._wire, end - self._wire
        kinds = {
            one: head + _varint(one).to_bytes(HEAD, "big")
            for one in {tail[start:end] for tail in tails}
        }
        return [kinds[tail[start:end]] + tail[:size] for tail in tails]

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

    def within(self, run: Run, space: Space) -> int:
        """How many of the first match nothing that is not within the space."""
        places = tuple(one for one in space.places(self.masks) if one < len(self._places))
        spans = [self._places[place] for place in places]
        if all(self._same(run.data, span) for span in spans):
            covered = self._covers(space, places, [run.data[slice(*span)] for span in spans])
            return len(run.tails) if covered else 0
        struct = self._structs.get(places)
        if struct is None:
            if len(self._structs) >= REMEMBERED:
                self._structs.clear()
            struct = self._structs[places] = _struct(spans, len(self._sample))
        found = set(struct.iter_unpack(run.data))
        outside = {one for one in found if not self._covers(space, places, one)}
        if not outside:
            return len(run.tails)
        every = enumerate(struct.iter_unpack(run.data))
        return next(at for at, one in every if one in outside)

    def _covers(self, space: Space, places: Sequence[int], data: Sequence[bytes]) -> bool:
        """Whether a space covers entries with these values; the others make no difference."""
        numbers = [0] * len(self.masks)
        for place, one in zip(places, data, strict=True):
            numbers[place] = int.from_bytes(one, "big")
        return space.covers(self.masks, tuple(numbers))

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
        if self._slice is not None:
            del tail.match[0]
            message.match[0].CopyFrom(match)
        else:
            message.match.insert(0, match)
        sent, entry, same = framed(update), message.SerializeToString(), tail.SerializeToString()
        if not (sent.endswith(same) and entry.endswith(same)):
            return None
        return Splice(sent[: -len(same)], entry[: -len(same)])


class Run(NamedTuple):
    """Updates that are alike, next to each other: all their bytes, and of each those from the key
    on.
    """

    alike: Alike
    gre_key: int
    data: bytes
    tails: Sequence[bytes]


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


def _struct(spans: Iterable[tuple[int, int]], size: int) -> Struct:
    """Takes out of so many bytes what is there."""
    format_, at = "=", 0
    for start, end in spans:
        format_ += f"{start - at}x{end - start}s"
        at = end
    return Struct(f"{format_}{size - at}x")


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
