"""Shorthand for the items that a switch should hold: pure."""

from __future__ import annotations

from dfvisor.model.records import Rate
from dfvisor.p4rt.entries import Exact, Key, MeterConfig, TableEntry, Ternary

PORT_MASK = (1 << 9) - 1
LOWEST_PRIORITY = 1
PACKET_BURST_S = 0.1  # what a meter of packets lets pass at once, in seconds of its rate
MIN_PACKET_BURST = 10


def entry(table: str, action: str, key: Key, priority: int = 0, /, **args: int) -> TableEntry:
    """An entry, its arguments in the action's order."""
    return TableEntry(table, key, priority, action, tuple(args.items()))


def exact(**fields: int) -> Key:
    """A key of exact matches, its fields in the table's order."""
    return tuple((name, Exact(value)) for name, value in fields.items())


def whole(value: int, width: int) -> Ternary:
    """A ternary match of all `width` bits."""
    return Ternary(value, (1 << width) - 1)


def rate_meter(rate: Rate) -> MeterConfig:
    """The meter of a rate, in bytes."""
    return MeterConfig(
        cir=rate.committed_bytes_per_s,
        cburst=rate.committed_burst_bytes,
        pir=rate.peak_bytes_per_s,
        pburst=rate.peak_burst_bytes,
    )


def packet_meter(rate_pps: int) -> MeterConfig:
    """The meter of a limit in packets per second: green or red, never yellow."""
    burst = max(MIN_PACKET_BURST, int(rate_pps * PACKET_BURST_S))
    return MeterConfig(cir=rate_pps, cburst=burst, pir=rate_pps, pburst=burst)
