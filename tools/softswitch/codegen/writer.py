"""Indented text, and names that C accepts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class Writer:
    """Collects lines of C."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0
        self._temps = 0

    def line(self, text: str = "") -> None:
        """One line at the current depth."""
        self._lines.append("    " * self._depth + text if text else "")

    def label(self, name: str) -> None:
        """A label; an empty statement follows, so that anything may come after it."""
        self._lines.append(f"{name}:;")

    @contextmanager
    def block(self, head: str = "", tail: str = "") -> Iterator[None]:
        """`head { ... } tail`."""
        self.line(f"{head} {{" if head else "{")
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}" + tail)

    def temp(self) -> str:
        """A fresh local name."""
        self._temps += 1
        return f"t{self._temps}"

    def text(self) -> str:
        """Everything written so far."""
        return "\n".join(self._lines) + "\n"


class Names:
    """Gives each P4 name one C identifier, readable and unique."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def __getitem__(self, name: str) -> str:
        if name not in self._given:
            base = self._prefix + re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
            candidate, number = base, 1
            while candidate in self._taken:
                number += 1
                candidate = f"{base}_{number}"
            self._taken.add(candidate)
            self._given[name] = candidate
        return self._given[name]


def c_string(text: str) -> str:
    """A C string literal."""
    escaped = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\?' else f"\\{ord(c) & 0xFF:03o}"
        for c in text
    )
    return f'"{escaped}"'
