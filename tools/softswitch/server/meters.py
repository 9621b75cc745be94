"""Meters: configurations, and reads and writes of MeterEntry (P4Runtime 1.4, "MeterEntry").

A cell without configuration marks every packet green. What was configured is kept here, so a read
asks nobody; how many packets were marked is the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from softswitch.engine import ColorCounts, MeterConfig
from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import invalid, out_of_range, unimplemented
from softswitch.server.pb import p4r
from softswitch.server.schema import Meter, MeterKind

BURST_MAX = (1 << 32) - 1
"""Largest burst, as with BMv2."""
CELLS_PER_READ = 1024
NO_COUNTS: ColorCounts = ((0, 0), (0, 0), (0, 0))


class MeterState:
    """The cells of one meter array."""

    def __init__(self, meter: Meter, engine: DataPlane) -> None:
        self.meter = meter
        self._engine = engine
        self.configs: dict[int, MeterConfig] = {}

    def write(self, entry: p4r.MeterEntry) -> None:
        """MODIFY: configure one cell, or all when the index is unset; without a configuration,
        back to marking green. Raises RequestError."""
        where = f"meter {self.meter.name}"
        cells = self._cells(entry)
        config = (
            parse_config(where, self.meter.kind, entry.config) if entry.HasField("config") else None
        )
        clears = entry.HasField("counter_data")
        if clears:
            check_cleared(where, entry.counter_data)
        for cell in cells:
            self.configure(cell, config)
            if clears:
                self._engine.set_meter_counts(self.meter.name, cell, NO_COUNTS)

    def configure(self, cell: int, config: MeterConfig | None) -> None:
        """Set one cell's configuration, which begins with full buckets."""
        if config is not None:
            self._engine.meter_set(self.meter.name, cell, config)
            self.configs[cell] = config
        elif cell in self.configs:
            self._engine.meter_set(self.meter.name, cell, None)
            del self.configs[cell]

    def undo(self, entry: p4r.MeterEntry) -> Callable[[], None]:
        """What puts back the cells that a write of this entry changes."""
        name = self.meter.name
        before = [(cell, self.configs.get(cell)) for cell in self._cells(entry)]
        clears = entry.HasField("counter_data")
        counts = [self._engine.meter_counts(name, cell) for cell, _ in before] if clears else []

        def put_back() -> None:
            for cell, config in before:
                if self.configs.get(cell) != config:
                    self.configure(cell, config)
            for (cell, _), held in zip(before, counts, strict=False):
                self._engine.set_meter_counts(name, cell, held)

        return put_back

    def _cells(self, entry: p4r.MeterEntry) -> range:
        if not entry.HasField("index"):
            return range(self.meter.size)
        index = self.check_index(entry.index.index)
        return range(index, index + 1)

    def check_index(self, index: int) -> int:
        """The index, or INVALID_ARGUMENT when negative, OUT_OF_RANGE beyond the array."""
        if index < 0:
            raise invalid(f"meter {self.meter.name}: index {index} is negative")
        if index >= self.meter.size:
            raise out_of_range(f"meter {self.meter.name}: index {index}, size is {self.meter.size}")
        return index

    def read(self, index: int | None, *, counted: bool) -> Iterator[p4r.ReadResponse]:
        """Messages with the configuration of a cell, or of all; unset where there is none. With
        the counts of colours if `counted`."""
        if index is not None:
            yield self._response(index, index + 1, counted)
            return
        for first in range(0, self.meter.size, CELLS_PER_READ):
            yield self._response(first, min(first + CELLS_PER_READ, self.meter.size), counted)

    def _response(self, first: int, end: int, counted: bool) -> p4r.ReadResponse:
        response = p4r.ReadResponse()
        for cell in range(first, end):
            entry = response.entities.add().meter_entry
            entry.meter_id = self.meter.id
            entry.index.index = cell
            config = self.configs.get(cell)
            if config is not None:
                put_config(config, entry.config)
            if counted:
                put_counts(self._engine.meter_counts(self.meter.name, cell), entry.counter_data)
        return response


def parse_config(where: str, kind: MeterKind, config: p4r.MeterConfig) -> MeterConfig:
    """A checked configuration. Raises RequestError; `where` names the meter."""
    for what in ("cir", "cburst", "pir", "pburst", "eburst"):
        if getattr(config, what) < 0:
            raise invalid(f"{where}: {what} {getattr(config, what)} is negative")
    for what in ("cburst", "pburst"):
        if getattr(config, what) > BURST_MAX:
            raise unimplemented(f"{where}: {what} {getattr(config, what)}, at most {BURST_MAX}")
    if kind is MeterKind.TWO_RATES:
        if config.cir > config.pir:
            raise invalid(f"{where}: cir {config.cir} is above pir {config.pir}")
    elif (config.pir, config.pburst) != (config.cir, config.cburst):
        raise invalid(f"{where}: it has one rate: pir and pburst must equal cir and cburst")
    if config.eburst:
        if kind is MeterKind.ONE_RATE_THREE_COLORS:
            raise unimplemented(f"{where}: eburst (RFC 2697) is not implemented")
        raise invalid(f"{where}: eburst {config.eburst}: it has no excess burst")
    return MeterConfig(cir=config.cir, cburst=config.cburst, pir=config.pir, pburst=config.pburst)


def put_config(config: MeterConfig, message: p4r.MeterConfig) -> None:
    """Fill a message."""
    message.cir = config.cir
    message.cburst = config.cburst
    message.pir = config.pir
    message.pburst = config.pburst
    message.SetInParent()


def check_cleared(where: str, data: p4r.MeterCounterData) -> None:
    """The counts of colours can only be cleared. Raises INVALID_ARGUMENT."""
    for color in (data.green, data.yellow, data.red):
        if color.packet_count or color.byte_count:
            raise invalid(f"{where}: counts of colours can only be set to 0")


def put_counts(counts: ColorCounts, message: p4r.MeterCounterData) -> None:
    """Fill a message."""
    message.SetInParent()
    colors = (message.green, message.yellow, message.red)
    for color, (packets, bytes_) in zip(colors, counts, strict=True):
        color.SetInParent()
        color.packet_count = packets
        color.byte_count = bytes_
