"""What the demonstration found: checks that pass or fail, and evidence for each of the six
problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PROBLEMS = (
    "12-bit VLAN ids: at most 4,096 networks",
    "pull-based flow setup: first packet waits",
    "statistics share the control channel",
    "pulled statistics are late",
    "a central slicer adds latency",
    "a central slicer is a single point of failure",
)
NOT_SHOWN = "not yet shown"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the verdict: what was claimed, whether it held, and what was seen."""

    claim: str
    passed: bool
    seen: str


@dataclass(slots=True)
class Board:
    """Collects rows and evidence, and prints them."""

    console: Console
    checks: list[Check] = field(default_factory=list)
    evidence: dict[int, str] = field(default_factory=dict)

    def check(self, claim: str, passed: bool, seen: str) -> bool:
        """Add a row; returns `passed`, so that a caller can base evidence on it."""
        self.checks.append(Check(claim, passed, seen))
        return passed

    def show(self, problem: int, evidence: str) -> None:
        """Evidence for problem 1..6, measured in this run. Later evidence is added to earlier."""
        known = self.evidence.get(problem)
        self.evidence[problem] = f"{known}; {evidence}" if known else evidence

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print one table of figures; columns after the first are right-aligned if they are
        numbers.
        """
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(columns):
            cells = [row[number] for row in rows]
            numeric = bool(cells) and all(c[:1].isdigit() or c in ("-", "") for c in cells)
            table.add_column(column, justify="right" if numeric and number else "left")
        for row in rows:
            table.add_row(*row)
        self.console.print(f"[bold]{title}[/bold]")
        self.console.print(table)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    def verdict(self, target: str) -> None:
        """Print all rows, then one line per problem."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        table.add_column("claim")
        table.add_column("seen")
        for check in self.checks:
            mark = Text("PASS", "green") if check.passed else Text("FAIL", "bold red")
            table.add_row(mark, check.claim, check.seen)
        self.console.print(f"[bold]What held in this run (target: {target})[/bold]")
        self.console.print(table)
        failed = sum(not check.passed for check in self.checks)
        self.console.print(f"{len(self.checks) - failed} of {len(self.checks)} checks passed")
        self.console.print("\nThe six problems of a central slicer, and the evidence of this run:")
        for number, problem in enumerate(PROBLEMS, 1):
            said = self.evidence.get(number, NOT_SHOWN)
            style = "dim" if said == NOT_SHOWN else "bold"
            self.console.print(f"{number}. {problem}: [{style}]{said}[/{style}]")
