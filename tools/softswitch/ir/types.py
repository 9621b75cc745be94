"""Headers and their fields."""

from __future__ import annotations

from dataclasses import dataclass

VALID = "$valid$"
"""Hidden one-bit field of every header instance: its validity."""


@dataclass(frozen=True, slots=True)
class FieldType:
    """A member of a header type. `width` in bits; for a varbit field, the most it can hold."""

    name: str
    width: int
    signed: bool = False
    varbit: bool = False


@dataclass(frozen=True, slots=True)
class HeaderType:
    """A header or metadata type; fields in wire order."""

    name: str
    fields: tuple[FieldType, ...]

    @property
    def fixed_bits(self) -> int:
        """Width without the varbit field, in bits."""
        return sum(f.width for f in self.fields if not f.varbit)

    @property
    def varbit(self) -> FieldType | None:
        """The varbit field, of which there is at most one."""
        return next((f for f in self.fields if f.varbit), None)

    @property
    def max_bytes(self) -> int:
        """The most bytes a header of this type takes in a packet."""
        return sum(f.width for f in self.fields) // 8

    def field(self, name: str) -> FieldType | None:
        """The field of that name, if any."""
        return next((f for f in self.fields if f.name == name), None)


@dataclass(frozen=True, slots=True)
class Header:
    """A header or metadata instance; `stack` and `index` are set for an element of a stack."""

    name: str
    type: HeaderType
    metadata: bool
    stack: str | None = None
    index: int = 0
    union: str | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A header stack; `headers` are the names of its elements in order."""

    name: str
    type: HeaderType
    headers: tuple[str, ...]
