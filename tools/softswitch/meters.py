"""Meters: their configuration, and how many packets they marked."""

from __future__ import annotations

import ctypes
from dataclasses import astuple, dataclass

from softswitch import ir
from softswitch.errors import EntryError, UnknownNameError
from softswitch.instance import Instance
from softswitch.native import MeterRates

_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """Two rates (RFC 2698) in bytes or packets per second, and bursts in bytes or packets.

    Rates above 10^11 count as 10^11.
    """

    cir: int
    cburst: int
    pir: int
    pburst: int


ColorCounts = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""(packets, bytes) marked green, yellow and red."""
NO_COUNTS: ColorCounts = ((0, 0), (0, 0), (0, 0))


def rates_of(config: MeterConfig | None, where: str) -> MeterRates | None:
    """A configuration as the C side takes it. Raises EntryError."""
    if config is None:
        return None
    numbers = astuple(config)
    if not all(0 <= number <= _MOST for number in numbers):
        raise EntryError(f"{where}: a rate or burst is not in 0..{_MOST}")
    return MeterRates(*numbers)


class Meters:
    """The cells of all meters of a program."""

    def __init__(self, instance: Instance, program: ir.Program) -> None:
        self._instance = instance
        self._sizes = {name: meter.size for name, meter in program.meters.items()}
        self._places = {name: place for place, name in enumerate(program.meters)}

    def set(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """Configure a cell, with full buckets; None: not configured."""
        place, where = self._cell(meter, index)
        rates = rates_of(config, where)
        self._instance.call(
            where, "sw_meter_set", place, index, None if rates is None else ctypes.byref(rates)
        )

    def get(self, meter: str, index: int) -> MeterConfig | None:
        """A cell's configuration; None where it has none."""
        place, where = self._cell(meter, index)
        rates = MeterRates()
        if not self._instance.call(where, "sw_meter_get", place, index, ctypes.byref(rates)):
            return None
        return MeterConfig(rates.cir, rates.cburst, rates.pir, rates.pburst)

    def counts(self, meter: str, index: int) -> ColorCounts:
        """What a cell has marked."""
        place, where = self._cell(meter, index)
        numbers = counts_array()
        self._instance.call(where, "sw_meter_counts", place, index, numbers)
        return counts_of(numbers)

    def set_counts(self, meter: str, index: int, counts: ColorCounts) -> None:
        """Overwrite what a cell has marked."""
        place, where = self._cell(meter, index)
        self._instance.call(where, "sw_meter_set_counts", place, index, counts_array(counts))

    def _cell(self, meter: str, index: int) -> tuple[int, str]:
        size = self._sizes.get(meter)
        if size is None:
            raise UnknownNameError(f"no indirect meter '{meter}'")
        if not 0 <= index < size:
            raise EntryError(f"meter '{meter}': {index} is not in 0..{size - 1}")
        return self._places[meter], f"meter '{meter}', cell {index}"


def counts_array(counts: ColorCounts = NO_COUNTS) -> ctypes.Array[ctypes.c_uint64]:
    """Room for the counts of three colours."""
    return (ctypes.c_uint64 * 6)(*(number for pair in counts for number in pair))


def counts_of(numbers: ctypes.Array[ctypes.c_uint64]) -> ColorCounts:
    """The counts in it."""
    n = list(numbers)
    return (n[0], n[1]), (n[2], n[3]), (n[4], n[5])
