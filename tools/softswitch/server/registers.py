"""Register arrays: reads and writes of RegisterEntry (P4Runtime 1.4, section "RegisterEntry")."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import invalid, out_of_range
from softswitch.server.pb import p4r
from softswitch.server.schema import Register
from softswitch.server.values import decode, encode

CELLS_PER_READ = 1024


def check_index(register: Register, index: int) -> int:
    """The index, or INVALID_ARGUMENT when negative, OUT_OF_RANGE beyond the array."""
    if index < 0:
        raise invalid(f"register {register.name}: index {index} is negative")
    if index >= register.size:
        raise out_of_range(f"register {register.name}: index {index}, size is {register.size}")
    return index


def write(engine: DataPlane, register: Register, entry: p4r.RegisterEntry) -> None:
    """MODIFY one cell, or every cell when the index is unset. Raises RequestError."""
    first, count = _cells(register, entry)
    kind = entry.data.WhichOneof("data")
    if kind != "bitstring":
        raise invalid(
            f"register {register.name}: data is {kind or 'unset'}, expected a bitstring of "
            f"{register.width} bits"
        )
    value = decode(entry.data.bitstring, register.width, f"register {register.name}")
    engine.register_write(register.name, first, [value] * count)


def undo(engine: DataPlane, register: Register, entry: p4r.RegisterEntry) -> Callable[[], None]:
    """What puts back the cells that a write of this entry changes."""
    first, count = _cells(register, entry)
    before = engine.register_read(register.name, first, count)
    return lambda: engine.register_write(register.name, first, before)


def _cells(register: Register, entry: p4r.RegisterEntry) -> tuple[int, int]:
    if not entry.HasField("index"):
        return 0, register.size
    return check_index(register, entry.index.index), 1


def read(engine: DataPlane, register: Register, index: int | None) -> Iterator[p4r.ReadResponse]:
    """Messages with one cell, or with all."""
    first, end = (0, register.size) if index is None else (index, index + 1)
    for start in range(first, end, CELLS_PER_READ):
        response = p4r.ReadResponse()
        values = engine.register_read(register.name, start, min(CELLS_PER_READ, end - start))
        for place, value in enumerate(values, start):
            entry = response.entities.add().register_entry
            entry.register_id = register.id
            entry.index.index = place
            entry.data.bitstring = encode(value)
        yield response
