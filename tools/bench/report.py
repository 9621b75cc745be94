"""The table that `make bench-switch` prints: figures side by side, what was to be reached, and
whether it was."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

WIDTH = 132


@dataclass(frozen=True, slots=True)
class Target:
    """A limit for a figure or a ratio."""

    text: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the value keeps the limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(slots=True)
class Report:
    """Rows of the table in order."""

    title: str
    rows: list[tuple[str, str, str, str, list[Target]]] = field(default_factory=list)

    def add(
        self, what: str, ours: str, targets: list[Target], *, bare: str = "", bmv2: str = ""
    ) -> None:
        """One measure: the softswitch's figure, and the others' where there are any."""
        self.rows.append((what, ours, bare, bmv2, targets))
        others = [f"{name} {value}" for name, value in (("bare", bare), ("BMv2", bmv2)) if value]
        verdicts = [f"{t.text}: {t.value:,.2f} {_verdict(t)}" for t in targets]
        print(f"= {what}: {ours}", *others, *verdicts, sep="; ", file=sys.stderr, flush=True)

    @property
    def missed(self) -> int:
        """How many targets were not reached."""
        return sum(not target.met for *_, targets in self.rows for target in targets)

    def show(self) -> None:
        """Print it."""
        table = Table(title=self.title)
        table.add_column("", max_width=44)
        for column in ("softswitch", "bare forwarder", "BMv2"):
            table.add_column(column, justify="right")
        table.add_column("to reach")
        table.add_column("is", justify="right")
        table.add_column("")
        for what, ours, bare, bmv2, targets in self.rows:
            first = targets[0] if targets else None
            cells = (first.text, f"{first.value:,.2f}", _verdict(first)) if first else ("", "", "")
            table.add_row(what, ours, bare, bmv2, *cells)
            for target in targets[1:]:
                table.add_row("", "", "", "", target.text, f"{target.value:,.2f}", _verdict(target))
        Console(width=WIDTH).print(table)


def _verdict(target: Target) -> str:
    return "reached" if target.met else "MISSED"
