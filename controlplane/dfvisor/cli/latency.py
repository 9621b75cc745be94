"""`dfvctl latency`: how long changes took from their commit to the switches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from dfvisor.cli.output import table
from dfvisor.store.stats import LATENCY_BOUNDS_MS, Latency, SwitchStats

STAGES = ("read", "edge", "slicer", "switch", "active")


def latency_table(reading: Mapping[str, SwitchStats], vn: str | None, per_switch: bool) -> Table:
    """Per slice and stage, of all switches together or of each."""
    cells: dict[tuple[str, ...], list[int]] = {}
    sums: dict[tuple[str, ...], float] = {}
    for switch, one in _all(reading):
        if vn not in (None, one.vn):
            continue
        key = (one.vn, one.slice, one.stage, switch if per_switch else "all")
        held = cells.setdefault(key, [0] * len(one.cells))
        for place, count in enumerate(one.cells):
            held[place] += count
        sums[key] = sums.get(key, 0.0) + one.sum_ms
    order = sorted(cells, key=lambda k: (k[0], k[1], STAGES.index(k[2]), k[3]))
    rows = [
        (
            *key,
            sum(cells[key]),
            f"{sums[key] / sum(cells[key]):.1f}",
            quantile(cells[key], 0.5),
            quantile(cells[key], 0.99),
        )
        for key in order
        if sum(cells[key])
    ]
    columns = ("VN", "slice", "stage", "switch", "changes", "mean ms", "p50 ms", "p99 ms")
    return table("from the commit of a change to", columns, rows, right=columns[4:])


def _all(reading: Mapping[str, SwitchStats]) -> Iterable[tuple[str, Latency]]:
    for switch, stats in sorted(reading.items()):
        for one in stats.latency:
            yield switch, one


def quantile(cells: Sequence[int], share: float) -> str:
    """The bound of the cell that the quantile is in: `<= 4`."""
    wanted = share * sum(cells)
    total = 0
    for bound, cell in zip(LATENCY_BOUNDS_MS, cells, strict=False):
        total += cell
        if total >= wanted:
            return f"<= {bound}"
    return f"> {LATENCY_BOUNDS_MS[-1]}"
