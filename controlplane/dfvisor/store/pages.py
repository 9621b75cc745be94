"""How the records of a VN are laid out in immutable pages: pure.

A record belongs to the page whose prefix its hash begins with. Pages are a function of the records
alone: starting from one page with the empty prefix, a page of more than 16 KiB is split in two by
the next bit of the hash. So a small change touches one page, and two writers of the same records
agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from dfvisor.store.codec import Key, Record, Revision, encode_page, encode_record

MAX_PAGE_BYTES = 16 * 1024
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Page:
    """An encoded page; `digest` is of its content."""

    prefix: str
    data: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The manifest of the next revision, and the pages to be written for it: node name -> data."""

    manifest: dict[str, tuple[str, str]]
    staged: dict[str, bytes]


def split(records: Mapping[Key, Record], max_bytes: int = MAX_PAGE_BYTES) -> list[Page]:
    """The pages of these records, by prefix."""
    items = [(_bits(key), key, encode_record(record)) for key, record in records.items()]
    found: list[Page] = []
    _split("", items, max_bytes, found)
    return sorted(found, key=lambda page: page.prefix)


def _split(
    prefix: str, items: list[tuple[str, Key, bytes]], max_bytes: int, found: list[Page]
) -> None:
    size = sum(len(data) + len(key[1]) + 4 for _, key, data in items)
    if size > max_bytes and len(items) > 1 and len(prefix) < _MAX_DEPTH:
        for bit in "01":
            half = [item for item in items if item[0][len(prefix)] == bit]
            _split(prefix + bit, half, max_bytes, found)
    elif items:
        data = encode_page((key, data) for _, key, data in items)
        found.append(Page(prefix, data, digest(data)))


def _bits(key: Key) -> str:
    value = int.from_bytes(hashlib.sha256("/".join(key).encode()).digest()[: _MAX_DEPTH // 8])
    return f"{value:0{_MAX_DEPTH}b}"


def digest(data: bytes) -> str:
    """128 bits of SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()[:32]


def lay_out(pages: list[Page], old: Revision | None, generation: str) -> Layout:
    """Reuse the old revision's node of each unchanged page; name the others `<generation>-<n>`."""
    manifest: dict[str, tuple[str, str]] = {}
    staged: dict[str, bytes] = {}
    for page in pages:
        held = old.pages.get(page.prefix) if old else None
        if held is not None and held[1] == page.digest:
            manifest[page.prefix] = held
        else:
            node = f"{generation}-{len(staged)}"
            manifest[page.prefix] = (node, page.digest)
            staged[node] = page.data
    return Layout(manifest, staged)
