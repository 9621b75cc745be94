"""How results look: tables for people, YAML and JSON for programs."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

PIPE_WIDTH = 240


class Output(StrEnum):
    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


def console() -> Console:
    """For standard output; wide where it is no terminal, so that nothing is cut off for `grep`."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=PIPE_WIDTH)


def say(text: str) -> None:
    """A line on standard output, as it is."""
    sys.stdout.write(text + "\n")


def complain(text: str) -> None:
    """A line on standard error, as it is."""
    sys.stderr.write(text + "\n")


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
) -> Table:
    """A table without frames; columns named in `right` hold numbers."""
    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if sys.stdout.isatty() else None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", no_wrap=not sys.stdout.isatty()
        )
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return str(value).replace("[", "\\[")


def dump(value: Any, output: Output) -> None:
    """Plain values as YAML or JSON on standard output."""
    if output is Output.JSON:
        say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        return
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = PIPE_WIDTH
    text = io.StringIO()
    yaml.dump(value, text)
    sys.stdout.write(text.getvalue())


def age(since: float, now: float | None = None) -> str:
    """`3.2s`, `5m`, `2h`, `4d` since a time; `-` for 0."""
    if not since:
        return "-"
    seconds = max(0.0, (time.time() if now is None else now) - since)
    for limit, unit, name in ((120.0, 1.0, "s"), (7200.0, 60.0, "m"), (172800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds:.1f}s" if name == "s" else f"{seconds / unit:.0f}{name}"
    return f"{seconds / 86400:.0f}d"
