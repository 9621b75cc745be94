"""Entries as the C side takes them: keys, masks and arguments in 64-bit words."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

from softswitch import ir
from softswitch.codegen.keys import KeyLayout, key_layout
from softswitch.codegen.layout import words
from softswitch.codegen.program import arg_words
from softswitch.errors import EntryError, UnknownNameError

_WORD = 1 << 64
Words = ctypes.Array[ctypes.c_uint64]


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


@dataclass(frozen=True, slots=True)
class PackedKey:
    """A key's words, its masks', and the prefix length of its lpm field."""

    values: bytes
    masks: bytes
    prefix_len: int


def as_words(values: Sequence[int], size: int) -> Words:
    """An array of at least `size` words, and never an empty one."""
    return (ctypes.c_uint64 * (max(size, len(values)) + 1))(*values)


class Table:
    """A table of the program with the layout of its entries."""

    def __init__(self, program: ir.Program, index: int, table: ir.Table) -> None:
        self.ir = table
        self.index = index
        self.name = table.name
        self._program = program
        self._layout: KeyLayout = key_layout(table)
        self._arg_words = arg_words(program, table)

    def action(self, name: str) -> int:
        """Id of an action. Raises UnknownNameError."""
        found = self.ir.actions.get(name)
        if found is None:
            raise UnknownNameError(f"table '{self.name}' has no action '{name}'")
        return found

    def args(self, action_id: int, args: Sequence[int]) -> Words:
        """An action's arguments. Raises EntryError."""
        return as_words(pack_args(self._program, action_id, args), self._arg_words)

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
