"""Typed access to a JSON document that remembers where it is, for error messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from softswitch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class View:
    """One value of the document and its path, such as `pipelines[0].tables[2].key`."""

    value: object
    path: str = "$"

    def fail(self, message: str) -> ConfigError:
        """The error to raise about this value."""
        return ConfigError(message, self.path)

    def items(self) -> Iterator[tuple[str, View]]:
        """Members of an object, in document order."""
        if not isinstance(self.value, dict):
            raise self.fail(f"expected an object, got {_kind(self.value)}")
        for name, value in self.value.items():
            yield str(name), View(value, f"{self.path}.{name}")

    def each(self) -> Iterator[View]:
        """Elements of an array."""
        if not isinstance(self.value, list):
            raise self.fail(f"expected an array, got {_kind(self.value)}")
        for index, value in enumerate(self.value):
            yield View(value, f"{self.path}[{index}]")

    def tuple(self, size: int) -> list[View]:
        """Elements of an array of exactly `size` elements."""
        parts = list(self.each())
        if len(parts) != size:
            raise self.fail(f"expected {size} elements, got {len(parts)}")
        return parts

    def get(self, name: str) -> View:
        """Member `name` of an object; it must be there."""
        found = self.opt(name)
        if found is None:
            raise self.fail(f"member '{name}' is missing")
        return found

    def opt(self, name: str) -> View | None:
        """Member `name` of an object; None when it is absent or null."""
        if not isinstance(self.value, dict):
            raise self.fail(f"expected an object, got {_kind(self.value)}")
        value = self.value.get(name)
        return None if value is None else View(value, f"{self.path}.{name}")

    def has(self, name: str) -> bool:
        """Whether the object has a member `name`, null included."""
        return isinstance(self.value, dict) and name in self.value

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self.fail(f"expected a string, got {_kind(self.value)}")
        return self.value

    def integer(self) -> int:
        """An integer (JSON booleans are none)."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.fail(f"expected an integer, got {_kind(self.value)}")
        return self.value

    def size(self) -> int:
        """An integer of 0 to 2^32-1."""
        number = self.integer()
        if not 0 <= number < 1 << 32:
            raise self.fail(f"{number} is no size")
        return number

    def flag(self) -> bool:
        """A boolean; p4c writes some of them as 0 and 1."""
        if self.value not in (False, True):
            raise self.fail(f"expected a boolean, got {_kind(self.value)}")
        return bool(self.value)

    def hexstr(self) -> int:
        """A hexadecimal string: `0x0a`, `0a` or, for negative numbers, `-0x0a`."""
        text = self.text()
        negative = text.startswith("-")
        digits = text[1:] if negative else text
        try:
            number = int(digits, 16)
        except ValueError:
            raise self.fail(f"'{text}' is no hexadecimal string") from None
        return -number if negative else number


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(value), type(value).__name__)
