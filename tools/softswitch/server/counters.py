"""Indirect counter arrays: reads and writes of CounterEntry.

A cell reads as both packets and bytes whatever the counter's unit, as P4Runtime allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import invalid, out_of_range
from softswitch.server.pb import p4r
from softswitch.server.schema import Counter

CELLS_PER_READ = 1024
"""Cells fetched from the engine, and sent in one message, at a time."""


def check_index(counter: Counter, index: int) -> int:
    """The index, or INVALID_ARGUMENT when negative, OUT_OF_RANGE beyond the array."""
    if index < 0:
        raise invalid(f"counter {counter.name}: index {index} is negative")
    if index >= counter.size:
        raise out_of_range(f"counter {counter.name}: index {index}, size is {counter.size}")
    return index


def write(engine: DataPlane, counter: Counter, entry: p4r.CounterEntry) -> None:
    """MODIFY one cell, or every cell when the index is unset; unset data changes nothing."""
    cells = range(counter.size)
    if entry.HasField("index"):
        index = check_index(counter, entry.index.index)
        cells = range(index, index + 1)
    if not entry.HasField("data"):
        return
    packets, bytes_ = entry.data.packet_count, entry.data.byte_count
    if packets < 0 or bytes_ < 0:
        raise invalid(f"counter {counter.name}: counter values must not be negative")
    for cell in cells:
        engine.counter_write(counter.name, cell, packets, bytes_)


def undo(engine: DataPlane, counter: Counter, entry: p4r.CounterEntry) -> Callable[[], None]:
    """What puts back the cells that a write of this entry changes."""
    if entry.HasField("index"):
        first, count = check_index(counter, entry.index.index), 1
    else:
        first, count = 0, counter.size
    before = engine.counter_read(counter.name, first, count)

    def put_back() -> None:
        for cell, (packets, bytes_) in enumerate(before, first):
            engine.counter_write(counter.name, cell, packets, bytes_)

    return put_back


def read(
    engine: DataPlane, counter: Counter, index: int | None
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Pairs of first index and the cells from there (packets, bytes); None reads all cells."""
    if index is not None:
        yield index, engine.counter_read(counter.name, check_index(counter, index), 1)
        return
    for first in range(0, counter.size, CELLS_PER_READ):
        count = min(CELLS_PER_READ, counter.size - first)
        yield first, engine.counter_read(counter.name, first, count)
