"""Configuration of indirect meters."""

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


class Meters:
    """The cells of all meters of a program."""

    def __init__(self, instance: Instance, program: ir.Program) -> None:
        self._instance = instance
        self._sizes = {name: meter.size for name, meter in program.meters.items()}
        self._places = {name: place for place, name in enumerate(program.meters)}

    def set(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """Configure a cell, with full buckets; None: not configured."""
        place, where = self._cell(meter, index)
        rates = None
        if config is not None:
            numbers = astuple(config)
            if not all(0 <= number <= _MOST for number in numbers):
                raise EntryError(f"{where}: a rate or burst is not in 0..{_MOST}")
            rates = ctypes.byref(MeterRates(*numbers))
        self._instance.call(where, "sw_meter_set", place, index, rates)

    def get(self, meter: str, index: int) -> MeterConfig | None:
        """A cell's configuration; None where it has none."""
        place, where = self._cell(meter, index)
        rates = MeterRates()
        if not self._instance.call(where, "sw_meter_get", place, index, ctypes.byref(rates)):
            return None
        return MeterConfig(rates.cir, rates.cburst, rates.pir, rates.pburst)

    def _cell(self, meter: str, index: int) -> tuple[int, str]:
        size = self._sizes.get(meter)
        if size is None:
            raise UnknownNameError(f"no indirect meter '{meter}'")
        if not 0 <= index < size:
            raise EntryError(f"meter '{meter}': {index} is not in 0..{size - 1}")
        return self._places[meter], f"meter '{meter}', cell {index}"
