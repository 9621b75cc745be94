"""Errors of the softswitch engine.

EngineError
  ConfigError          the BMv2 JSON is malformed
    UnsupportedError   the BMv2 JSON uses a construct that this switch does not implement
  CompileError         the C compiler refused the generated pipeline, or it could not be loaded
  EntryError           a table, counter or multicast operation that cannot be carried out
    UnknownNameError   no such table, action, counter or entry handle
    TableFullError     the table holds its maximum number of entries
    DuplicateEntryError an entry with this key (and priority) exists already
  PortError            an interface could not be opened, or a port is used twice
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of every error that the engine raises on purpose."""


class ConfigError(EngineError):
    """The program's JSON is not what p4c emits. `where` is a path into the document."""

    def __init__(self, message: str, where: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where


class UnsupportedError(ConfigError):
    """The program uses `construct` at `where`, which this switch does not implement."""

    def __init__(self, construct: str, where: str) -> None:
        super().__init__(f"unsupported construct: {construct}", where)
        self.construct = construct


INCONSISTENT = (
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading a document that contradicts itself may raise beyond ConfigError."""


def inconsistent(error: BaseException) -> ConfigError:
    """The same for people: no place is known."""
    return ConfigError(f"the program contradicts itself: {type(error).__name__}: {error}", "$")


class CompileError(EngineError):
    """The generated pipeline did not compile; the message ends with the compiler's output."""


class EntryError(EngineError):
    """A table, counter or multicast operation that cannot be carried out."""


class UnknownNameError(EntryError):
    """No such table, action, counter or entry handle."""


class TableFullError(EntryError):
    """The table holds its maximum number of entries."""


class DuplicateEntryError(EntryError):
    """An entry with this key (and, where keys may overlap, this priority) exists already."""


class PortError(EngineError):
    """An interface could not be opened, or a port number or interface is used twice."""


class BusyError(PortError):
    """Too many packets wait already; later there may be room."""
