"""The one error tree. A message names the object, the bad value and what was expected.

DFVisorError
  DescriptionError   a network description that cannot be accepted; lists every problem
  StoreError         the global or local database
    Conflict         a concurrent change of the same record
    StoreUnavailable no session with the global database
  SwitchError        a switch or its P4Runtime server
  SlicerError        a refusal by a slicer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class DFVisorError(Exception):
    """Base of every error that DFVisor raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One thing wrong with an input: where it stands, and what is wrong.

    `path` names the object (`vns.red.slices.gold.key`); `line` is 1-based, 0 where unknown.
    """

    line: int = 0
    path: str
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.path}: {self.message}"


class DescriptionError(DFVisorError):
    """A network description with at least one problem; nothing of it was applied."""

    def __init__(self, problems: Sequence[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        prefix = f"{source}: " if source else ""
        super().__init__("\n".join(f"{prefix}{problem}" for problem in self.problems))


class StoreError(DFVisorError):
    """The global (ZooKeeper) or local (SQLite) database refused or failed."""


class Conflict(StoreError):
    """Somebody else changed the same record since it was read."""


class StoreUnavailable(StoreError):
    """No session with the global database: the outcome of a write is looked up, not guessed."""


class SwitchError(DFVisorError):
    """A switch, or the P4Runtime server in front of it, failed or refused."""


class SlicerError(DFVisorError):
    """A slicer refused a request of a slice controller."""
