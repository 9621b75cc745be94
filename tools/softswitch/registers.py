"""Register arrays: unsigned integers of the cells' width."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from softswitch import ir
from softswitch.codegen.layout import words
from softswitch.errors import EntryError, UnknownNameError
from softswitch.instance import Instance


class Registers:
    """The cells of all register arrays of a program."""

    def __init__(self, instance: Instance, program: ir.Program) -> None:
        self._instance = instance
        self._arrays = program.registers
        self._places = {name: place for place, name in enumerate(program.registers)}

    def read(self, register: str, first: int, count: int) -> list[int]:
        """`count` cells from `first` on."""
        array = self._array(register, first, count)
        n = words(array.width)
        cells = (ctypes.c_uint64 * (count * n + 1))()
        self._call("sw_register_read", register, first, count, cells)
        return [_number(cells[at : at + n]) for at in range(0, count * n, n)]

    def write(self, register: str, first: int, values: Sequence[int]) -> None:
        """Overwrite the cells from `first` on."""
        array = self._array(register, first, len(values))
        n = words(array.width)
        parts: list[int] = []
        for value in values:
            if not 0 <= value < 1 << array.width:
                raise EntryError(
                    f"register '{register}': {value:#x} does not fit {array.width} bits"
                )
            parts += [value >> 64 * i & (1 << 64) - 1 for i in range(n)]
        cells = (ctypes.c_uint64 * (len(parts) + 1))(*parts)
        self._call("sw_register_write", register, first, len(values), cells)

    def _call(self, function: str, register: str, first: int, count: int, cells: object) -> None:
        what = f"register '{register}'"
        self._instance.call(what, function, self._places[register], first, count, cells)

    def _array(self, register: str, first: int, count: int) -> ir.Register:
        array = self._arrays.get(register)
        if array is None:
            raise UnknownNameError(f"no register '{register}'")
        if first < 0 or count < 0 or first + count > array.size:
            last = first + count - 1
            raise EntryError(
                f"register '{register}': {first}..{last} is not in 0..{array.size - 1}"
            )
        return array


def _number(parts: Sequence[int]) -> int:
    return sum(part << 64 * place for place, part in enumerate(parts))
