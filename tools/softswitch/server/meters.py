"""Indirect meters: reads and writes of MeterEntry (P4Runtime 1.4, section "MeterEntry").

A cell without configuration marks every packet green. What was configured is kept here, so a read
asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

from softswitch.engine import MeterConfig
from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import invalid, out_of_range, unimplemented
from softswitch.server.pb import p4r
from softswitch.server.schema import Meter, MeterKind

BURST_MAX = (1 << 32) - 1
"""Largest burst, as with BMv2."""
CELLS_PER_READ = 1024


class MeterState:
    """The cells of one meter array."""

    def __init__(self, meter: Meter, engine: DataPlane) -> None:
        self.meter = meter
        self._engine = engine
        self._configs: dict[int, MeterConfig] = {}

    def write(self, entry: p4r.MeterEntry) -> None:
        """MODIFY: configure one cell, or all when the index is unset; without a configuration,
        back to marking green. Raises RequestError."""
        if entry.HasField("counter_data"):
            raise unimplemented(f"meter {self.meter.name}: counter_data is not implemented")
        cells = range(self.meter.size)
        if entry.HasField("index"):
            index = self.check_index(entry.index.index)
            cells = range(index, index + 1)
        config = self._parse(entry.config) if entry.HasField("config") else None
        for cell in cells:
            if config is not None:
                self._engine.meter_set(self.meter.name, cell, config)
                self._configs[cell] = config
            elif cell in self._configs:
                self._engine.meter_set(self.meter.name, cell, None)
                del self._configs[cell]

    def check_index(self, index: int) -> int:
        """The index, or INVALID_ARGUMENT when negative, OUT_OF_RANGE beyond the array."""
        if index < 0:
            raise invalid(f"meter {self.meter.name}: index {index} is negative")
        if index >= self.meter.size:
            raise out_of_range(f"meter {self.meter.name}: index {index}, size is {self.meter.size}")
        return index

    def read(self, index: int | None) -> Iterator[p4r.ReadResponse]:
        """Messages with the configuration of a cell, or of all; unset where there is none."""
        if index is not None:
            yield self._cells(index, index + 1)
            return
        for first in range(0, self.meter.size, CELLS_PER_READ):
            yield self._cells(first, min(first + CELLS_PER_READ, self.meter.size))

    def _cells(self, first: int, end: int) -> p4r.ReadResponse:
        response = p4r.ReadResponse()
        for cell in range(first, end):
            entry = response.entities.add().meter_entry
            entry.meter_id = self.meter.id
            entry.index.index = cell
            config = self._configs.get(cell)
            if config is not None:
                entry.config.cir = config.cir
                entry.config.cburst = config.cburst
                entry.config.pir = config.pir
                entry.config.pburst = config.pburst
                entry.config.SetInParent()
        return response

    def _parse(self, config: p4r.MeterConfig) -> MeterConfig:
        name = f"meter {self.meter.name}"
        for what in ("cir", "cburst", "pir", "pburst", "eburst"):
            if getattr(config, what) < 0:
                raise invalid(f"{name}: {what} {getattr(config, what)} is negative")
        for what in ("cburst", "pburst"):
            if getattr(config, what) > BURST_MAX:
                raise unimplemented(f"{name}: {what} {getattr(config, what)}, at most {BURST_MAX}")
        if self.meter.kind is MeterKind.TWO_RATES:
            if config.cir > config.pir:
                raise invalid(f"{name}: cir {config.cir} is above pir {config.pir}")
        elif (config.pir, config.pburst) != (config.cir, config.cburst):
            raise invalid(f"{name}: it has one rate: pir and pburst must equal cir and cburst")
        if config.eburst:
            if self.meter.kind is MeterKind.ONE_RATE_THREE_COLORS:
                raise unimplemented(f"{name}: eburst (RFC 2697) is not implemented")
            raise invalid(f"{name}: eburst {config.eburst}: it has no excess burst")
        return MeterConfig(
            cir=config.cir, cburst=config.cburst, pir=config.pir, pburst=config.pburst
        )
