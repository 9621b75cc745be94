"""Direct resources: the counter and the meter that an entry of a table has of its own.

P4Runtime 1.4, section "Direct resources". In an INSERT or MODIFY an unset counter stays, an unset
meter configuration means green.
"""

from __future__ import annotations

from dataclasses import dataclass

from softswitch.engine import ColorCounts, MeterConfig
from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import invalid
from softswitch.server.meters import NO_COUNTS, check_cleared, parse_config
from softswitch.server.pb import p4r
from softswitch.server.schema import Table


@dataclass(frozen=True, slots=True)
class Saved:
    """An entry's counter, meter configuration and counts of colours."""

    counter: tuple[int, int] | None
    meter: MeterConfig | None
    counts: ColorCounts | None


class Direct:
    """The direct resources of one table's entries, by the engine's handle."""

    def __init__(self, table: Table, engine: DataPlane) -> None:
        self._table = table
        self._engine = engine
        self.configs: dict[int, MeterConfig] = {}

    def check(self, entry: p4r.TableEntry) -> None:
        """Whether a write of the entry may carry what it carries. Raises INVALID_ARGUMENT."""
        where = f"table {self._table.name}"
        if entry.HasField("counter_data"):
            self.need_counter()
            self.check_counter(entry.counter_data)
        if entry.HasField("meter_config"):
            self.config(entry.meter_config)
        if entry.HasField("meter_counter_data"):
            self.need_meter()
            check_cleared(where, entry.meter_counter_data)

    def config(self, message: p4r.MeterConfig) -> MeterConfig:
        """A checked meter configuration. Raises RequestError."""
        self.need_meter()
        assert self._table.direct_meter is not None
        return parse_config(f"table {self._table.name}", self._table.direct_meter, message)

    def check_counter(self, data: p4r.CounterData) -> None:
        """Raises INVALID_ARGUMENT for a negative value."""
        if data.packet_count < 0 or data.byte_count < 0:
            raise invalid(f"table {self._table.name}: counter values must not be negative")

    def need_counter(self) -> None:
        """Raises INVALID_ARGUMENT without a counter."""
        if not self._table.direct_counter:
            raise invalid(f"table {self._table.name}: has no direct counter")

    def need_meter(self) -> None:
        """Raises INVALID_ARGUMENT without a meter."""
        if self._table.direct_meter is None:
            raise invalid(f"table {self._table.name}: has no direct meter")

    def apply(self, handle: int, entry: p4r.TableEntry) -> None:
        """What an INSERT or MODIFY of the entry, already checked, does to them."""
        if entry.HasField("counter_data"):
            data = entry.counter_data
            self.set_counter(handle, data.packet_count, data.byte_count)
        if self._table.direct_meter is not None:
            self.configure(
                handle, self.config(entry.meter_config) if entry.HasField("meter_config") else None
            )
            if entry.HasField("meter_counter_data"):
                self.set_counts(handle, NO_COUNTS)

    def write_meter(self, handle: int, entry: p4r.DirectMeterEntry) -> None:
        """MODIFY of a DirectMeterEntry."""
        config = self.config(entry.config) if entry.HasField("config") else None
        clears = entry.HasField("counter_data")
        if clears:
            check_cleared(f"table {self._table.name}", entry.counter_data)
        self.configure(handle, config)
        if clears:
            self.set_counts(handle, NO_COUNTS)

    def configure(self, handle: int, config: MeterConfig | None) -> None:
        """Set the meter's configuration, which begins with full buckets."""
        if config is not None:
            self._engine.direct_meter_set(self._table.name, handle, config)
            self.configs[handle] = config
        elif self.configs.pop(handle, None) is not None:
            self._engine.direct_meter_set(self._table.name, handle, None)

    def forget(self, handle: int) -> None:
        """The entry is gone."""
        self.configs.pop(handle, None)

    def set_counter(self, handle: int, packets: int, bytes_: int) -> None:
        """Set the counter."""
        self._engine.set_direct_counter(self._table.name, handle, packets, bytes_)

    def counter(self, handle: int) -> tuple[int, int]:
        """Packets and bytes."""
        return self._engine.direct_counter(self._table.name, handle)

    def counts(self, handle: int) -> ColorCounts:
        """Packets and bytes by colour."""
        return self._engine.direct_meter_counts(self._table.name, handle)

    def set_counts(self, handle: int, counts: ColorCounts) -> None:
        """Set these."""
        self._engine.set_direct_meter_counts(self._table.name, handle, counts)

    # -- for rollback and reconciliation ------------------------------------------------------

    def save(self, handle: int, *, counters: bool) -> Saved:
        """What an entry has now; of its counts only if `counters`."""
        metered = self._table.direct_meter is not None
        return Saved(
            self.counter(handle) if counters and self._table.direct_counter else None,
            self.configs.get(handle),
            self.counts(handle) if counters and metered else None,
        )

    def restore(self, handle: int, saved: Saved) -> None:
        """Give it to an entry; buckets stay as they are when the configuration is the same."""
        if saved.counter is not None:
            self.set_counter(handle, *saved.counter)
        if self._table.direct_meter is not None:
            if self.configs.get(handle) != saved.meter:
                self.configure(handle, saved.meter)
            if saved.counts is not None:
                self.set_counts(handle, saved.counts)
