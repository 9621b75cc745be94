"""What checksums and hashes are taken over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SumField:
    """An input of a checksum: a field of a header; skipped while the header is invalid."""

    header: str
    field: str


@dataclass(frozen=True, slots=True)
class SumHeader:
    """An input of a checksum: a whole header; skipped while it is invalid."""

    header: str


@dataclass(frozen=True, slots=True)
class SumConst:
    """An input of a checksum: `width` constant bits."""

    value: int
    width: int


SumInput: TypeAlias = SumField | SumHeader | SumConst
