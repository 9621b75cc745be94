"""Entries as the C side takes them: keys, masks and arguments in 64-bit words."""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from softswitch import ir
from softswitch.codegen.keys import KeyLayout, key_layout
from softswitch.codegen.layout import words
from softswitch.codegen.program import arg_words
from softswitch.errors import EntryError, UnknownNameError

_WORD = 1 << 64
Words = bytes
"""64-bit words in the machine's own order, and one more than needed: C takes no empty arrays."""


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One key field of an entry, in the table's order.

    `mask` counts for ternary and optional fields (0: don't care), `prefix_len` for lpm fields (0:
    don't care); exact fields compare the whole value. Values must fit the field.
    """

    value: int = 0
    mask: int = 0
    prefix_len: int = 0
    high: int = 0


class PackedKey(NamedTuple):
    """A key's words, its masks', and the prefix length of its lpm field."""

    values: bytes
    masks: bytes
    prefix_len: int


class FlatKey(Sequence[KeyPart]):
    """A key as one tuple, which is quick to pack: for each field of the table in its order `value`
    (exact), `value, prefix length` (lpm), `value, mask` (ternary, optional) or `low, high` (range).
    The values fit their fields, and nothing is set outside of masks and prefixes.
    """

    __slots__ = ("flat",)

    def __init__(self, flat: tuple[int, ...]) -> None:
        self.flat = flat

    @abstractmethod
    def parts(self) -> list[KeyPart]:
        """The same as parts."""

    def __len__(self) -> int:
        return len(self.parts())

    def __iter__(self) -> Iterator[KeyPart]:
        return iter(self.parts())

    @overload
    def __getitem__(self, index: int) -> KeyPart: ...
    @overload
    def __getitem__(self, index: slice) -> list[KeyPart]: ...
    def __getitem__(self, index: int | slice) -> KeyPart | list[KeyPart]:
        return self.parts()[index]


def as_words(values: Sequence[int], size: int) -> Words:
    """At least `size` words, those beyond the values zero."""
    count = max(size, len(values)) + 1
    return struct.pack(f"={count}Q", *values, *(0,) * (count - len(values)))


_Simple = tuple[tuple[int, ...], struct.Struct, tuple[int, ...]]
"""Arguments of one word each: what each must be below, their packing, and the words after them."""


class Table:
    """A table of the program with the layout of its entries."""

    def __init__(self, program: ir.Program, index: int, table: ir.Table) -> None:
        self.ir = table
        self.index = index
        self.name = table.name
        self._program = program
        self._layout: KeyLayout = key_layout(table)
        self._arg_words = arg_words(program, table)
        self._simple: dict[int, _Simple] = {}
        self._exact_masks = 0
        self._masked: list[tuple[int, int]] = []  # places in a flat key, and shifts
        self._exact: list[tuple[int, int]] = []
        self._prefix: tuple[int, int, int] | None = None  # place, shift, width
        at = 0
        for key, place in zip(table.keys, self._layout.places, strict=True):
            shift = 64 * place.word + place.shift
            if key.match is ir.Match.EXACT:
                self._exact.append((at, shift))
                self._exact_masks |= (1 << key.width) - 1 << shift
            elif key.match is ir.Match.LPM:
                self._prefix = at, shift, key.width
            else:
                self._masked.append((at, shift))
            at += 1 if key.match is ir.Match.EXACT else 2

    @property
    def key_words(self) -> int:
        """Words of a key."""
        return self._layout.words

    @property
    def arg_words(self) -> int:
        """Words of the longest arguments."""
        return self._arg_words

    def bits(self) -> list[int]:
        """Where each field begins in the key's words, the first of them least significant."""
        return [64 * place.word + place.shift for place in self._layout.places]

    def word_widths(self, action_id: int) -> tuple[int, ...] | None:
        """Widths of an action's parameters, if each takes one word as it is."""
        action = self._program.actions[action_id]
        widths = tuple(width for _name, width in action.params)
        return None if action.negative or any(width > 64 for width in widths) else widths

    def flat_key(self, flat: tuple[int, ...]) -> PackedKey:
        """Pack a key that fits. Raises EntryError if the table has none."""
        if not self.ir.keys:
            raise EntryError(f"table '{self.name}' has no key, so it takes no entries")
        values, masks, prefix_len = 0, self._exact_masks, 0
        for at, shift in self._exact:
            values |= flat[at] << shift
        for at, shift in self._masked:
            if mask := flat[at + 1]:
                values |= flat[at] << shift
                masks |= mask << shift
        if self._prefix is not None:
            at, shift, width = self._prefix
            prefix_len = flat[at + 1]
            full = (1 << width) - 1
            values |= flat[at] << shift
            masks |= (full & ~(full >> prefix_len)) << shift
        size = 8 * self._layout.words
        packed = values.to_bytes(size, "little"), masks.to_bytes(size, "little")
        return PackedKey(*packed, prefix_len)

    def action(self, name: str) -> int:
        """Id of an action. Raises UnknownNameError."""
        found = self.ir.actions.get(name)
        if found is None:
            raise UnknownNameError(f"table '{self.name}' has no action '{name}'")
        return found

    def args(self, action_id: int, args: Sequence[int]) -> Words:
        """An action's arguments. Raises EntryError."""
        simple = self._simple.get(action_id)
        if simple is None:
            simple = self._simple[action_id] = self._simple_args(action_id)
        limits, packer, rest = simple
        if len(args) == len(limits):
            for value, limit in zip(args, limits, strict=True):
                if not 0 <= value < limit:
                    break
            else:
                return packer.pack(*args, *rest)
        return as_words(pack_args(self._program, action_id, args), self._arg_words)

    def _simple_args(self, action_id: int) -> _Simple:
        action = self._program.actions[action_id]
        limits = tuple([1 << width for _name, width in action.params])
        if action.negative or any(width > 64 for _name, width in action.params):
            limits = (0, *limits)  # never as many as there are arguments
        count = self._arg_words + 1
        return limits, struct.Struct(f"={count}Q"), (0,) * (count - len(action.params))

    def no_args(self) -> Words:
        """What an entry without action has for arguments."""
        return as_words((), self._arg_words)

    def key(self, key: Sequence[KeyPart]) -> PackedKey:
        """Check and pack a key. Raises EntryError."""
        fields = self.ir.keys
        if not fields:
            raise EntryError(f"table '{self.name}' has no key, so it takes no entries")
        if len(key) != len(fields):
            raise EntryError(f"table '{self.name}': {len(key)} of {len(fields)} key fields")
        values, masks, prefix = [], [], 0
        for part, key_field in zip(key, fields, strict=True):
            full = (1 << key_field.width) - 1
            where = f"table '{self.name}', field '{key_field.name}'"
            match key_field.match:
                case ir.Match.EXACT:
                    mask = full
                case ir.Match.TERNARY:
                    mask = part.mask
                case ir.Match.LPM:
                    prefix = part.prefix_len
                    if not 0 <= prefix <= key_field.width:
                        raise EntryError(
                            f"{where}: prefix length {prefix} is not in 0..{key_field.width}"
                        )
                    mask = full & ~(full >> prefix)
            if not 0 <= part.value <= full or not 0 <= mask <= full:
                raise EntryError(
                    f"{where}: value {part.value:#x} or mask {mask:#x} does not fit "
                    f"{key_field.width} bits"
                )
            values.append(part.value & mask)
            masks.append(mask)
        return self.packed(values, masks, prefix)

    def packed(self, values: Sequence[int], masks: Sequence[int], prefix_len: int) -> PackedKey:
        """A key whose values fit."""
        size = 8 * self._layout.words
        return PackedKey(
            self._layout.pack(values).to_bytes(size, "little"),
            self._layout.pack(masks).to_bytes(size, "little"),
            prefix_len,
        )


def pack_args(program: ir.Program, action_id: int, args: Sequence[int]) -> list[int]:
    """An action's arguments as words. Raises EntryError."""
    action = program.actions[action_id]
    if len(args) != len(action.params):
        raise EntryError(
            f"action '{action.name}': {len(args)} arguments for {len(action.params)} parameters"
        )
    packed: list[int] = []
    for index, (value, (name, width)) in enumerate(zip(args, action.params, strict=True)):
        least = -(1 << (width - 1)) if index in action.negative else 0
        if not least <= value < 1 << width:
            raise EntryError(
                f"action '{action.name}', parameter '{name}': {value:#x} does not fit {width} bits"
            )
        packed += [value >> 64 * i & (_WORD - 1) for i in range(words(action.bits(index)))]
    return packed
