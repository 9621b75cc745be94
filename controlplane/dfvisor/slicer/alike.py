"""Updates that differ in their values alone are looked at field by field once: pure.

Most updates of a batch have the same fields, masks, action and lengths. Of the first one a pattern
over its serialized form is made that leaves open the values and the priority. An update that the
pattern fits has passed all that `layout` would ask of it, but for what is asked again here. Any
other is for `layout`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from dfvisor.p4rt.pb import p4r
from dfvisor.slicer.layout import ActionLayout, Key, TableLayout

KNOWN = 256
KNOWN_OF_A_LENGTH = 8
PATIENCE = 2048
REPLACING = 64
"""Updates that nothing known fits, until all is given up to make room, or one of its length."""
ONES, TWOS = 1, 2  # what values are filled with, to see where they are


class Alike:
    """A pattern for updates of one table. `action` is that of their entries, None for deletions.

    Made of an update which `layout.key` has read as `key`, and whose action is `action`.
    """

    __slots__ = (
        "_bounded",
        "_extra",
        "_fields",
        "_masks",
        "_outside",
        "_pattern",
        "_sample",
        "_slice",
        "_splices",
        "_wire",
        "action",
        "kind",
        "layout",
    )

    def __init__(
        self, layout: TableLayout, action: ActionLayout | None, update: p4r.Update, key: Key
    ) -> None:
        self.layout = layout
        self.action = action
        self.kind = update.type
        self._sample = update.SerializeToString()
        self._splices: dict[int, Splice | None] = {}
        self._masks = key.masks
        self._slice: int | None = None
        self._outside: list[tuple[int, int]] = []  # bits that a value must not have
        self._bounded: list[tuple[int, int]] = []
        message = update.entity.table_entry
        open_: list[bytes] = []
        wire: list[bytes] = []
        for place, match in enumerate(message.match):
            field = layout.fields[match.field_id]
            if field.ternary:
                data, given = match.ternary.value, match.ternary.mask
                mask = field.masks.get(given) or field.mask(given)
                assert mask is not None, "the key has been read"
                outside, token = mask.outside, mask.token
            else:
                data, outside, token = match.exact.value, -field.bound, field.token
            outside &= (1 << 8 * len(data)) - 1
            if outside:
                self._outside.append((place, outside))
            zero = field.unfragmented and data == b"\0"
            open_.append(rb"(\0)" if zero else b"(%b)" % _value(len(data), field.unfragmented))
            if match.field_id == layout.slice_field:
                self._slice = place
            else:
                wire.append((token + bytes([len(data)])).replace(b"%", b"%%") + b"%b")
        self._wire = b"".join(wire)
        self._fields = len(message.match)
        self._extra = (0,) * (len(key.values) - len(wire))
        for param in message.action.action.params if action is not None else ():
            assert action is not None
            size, bound = len(param.value), action.bounds[param.param_id]
            if bound < 1 << 8 * size:
                self._bounded.append((self._fields + len(self._bounded), bound))
                open_.append(b"(%b)" % _value(size, False))
            else:
                open_.append(_value(size, False))
        if message.priority:
            open_.append(rb"[\x80-\xff]*[\x01-\x7f]")
        self._pattern = re.compile(b"".join(_around(update, open_)), re.DOTALL)

    def key(self, data: bytes) -> Key | None:
        """The key of a serialized update; None if it is none of these."""
        match = self._pattern.fullmatch(data)
        if match is None:
            return None
        groups = match.groups()
        numbers = list(map(int.from_bytes, groups))
        for place, outside in self._outside:
            if numbers[place] & outside:
                return None
        if self._bounded:
            for place, bound in self._bounded:
                if numbers[place] >= bound:
                    return None
            groups = groups[: self._fields]
            del numbers[self._fields :]
        slice_id = 0
        if self._slice is not None:
            slice_id = numbers.pop(self._slice)
            groups = groups[: self._slice] + groups[self._slice + 1 :]
        return Key(slice_id, self._wire % groups, self._masks, (*numbers, *self._extra))

    def splice(self, slice_id: int, match: p4r.FieldMatch) -> Splice | None:
        """How the bytes of such an update become the switch's, `match` being that on the slice's
        own id there; None if more of it is another at the switch.
        """
        if slice_id not in self._splices:
            if len(self._splices) >= KNOWN:
                self._splices.clear()
            self._splices[slice_id] = self._made(match)
        return self._splices[slice_id]

    def _made(self, match: p4r.FieldMatch) -> Splice | None:
        if self.action is not None and self.action.next_hop:
            return None
        update = p4r.Update.FromString(self._sample)
        message = update.entity.table_entry
        named = self._slice is not None  # by the role, in the first field
        tail = p4r.TableEntry()
        tail.CopyFrom(message)
        tail.ClearField("table_id")
        if named:
            del tail.match[0]
            message.match[0].CopyFrom(match)
        else:
            message.match.insert(0, match)
        sent, entry, same = framed(update), message.SerializeToString(), tail.SerializeToString()
        if not all(one.endswith(same) for one in (self._sample, sent, entry)):
            return None
        end = -len(same) if same else None
        return Splice(sent[:end], entry[:end], len(self._sample) - len(same))


class Splice(NamedTuple):
    """What stands before the bytes that stay, from `start` on, in the switch's update (as a field
    of a WriteRequest) and in its entry.
    """

    sent: bytes
    entry: bytes
    start: int


def framed(update: p4r.Update) -> bytes:
    """An update as a field of a WriteRequest."""
    return p4r.WriteRequest(updates=[update]).SerializeToString()


class Known:
    """The patterns of one view."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[Alike]] = {}
        self._number = 0
        self._missed = 0

    def find(self, data: bytes) -> tuple[Alike, Key] | None:
        """The pattern that fits a serialized update, and its key."""
        for one in self._by_length.get(len(data), ()):
            key = one.key(data)
            if key is not None:
                return one, key
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
        of_length = self._by_length.setdefault(update.ByteSize(), [])
        if len(of_length) < KNOWN_OF_A_LENGTH:
            self._number += 1
        elif self._missed % REPLACING:
            return
        else:
            of_length.pop(0)
        of_length.append(Alike(layout, action, update, key))


def _value(size: int, never_zero: bool) -> bytes:
    """A canonical byte string of that length (P4Runtime 8.4)."""
    if size == 1 and not never_zero:
        return b"."
    return rb"[^\0]" + b".{%d}" % (size - 1)


def _around(update: p4r.Update, open_: list[bytes]) -> Iterator[bytes]:
    """The pattern: what is open in the place of values and priority, all else as it is.

    Where they are is seen by filling them differently.
    """
    pieces = iter(open_)
    both = zip(_filled(update, ONES), _filled(update, TWOS), strict=True)
    for same, run in groupby(both, key=lambda pair: pair[0] == pair[1]):
        yield re.escape(bytes(one for one, _ in run)) if same else next(pieces)


def _filled(update: p4r.Update, number: int) -> bytes:
    filled = p4r.Update()
    filled.CopyFrom(update)
    message = filled.entity.table_entry
    for match in message.match:
        kind = match.exact if match.HasField("exact") else match.ternary
        kind.value = bytes([number]) * len(kind.value)
    for param in message.action.action.params:
        param.value = bytes([number]) * len(param.value)
    size = (message.priority.bit_length() + 6) // 7  # bytes of the number, seven bits each
    message.priority = sum(number << 7 * place for place in range(size))
    return filled.SerializeToString()
