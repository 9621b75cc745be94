"""How the records of a VN are laid out in immutable pages: pure.

A record belongs to the page whose prefix its hash begins with. Starting from one page with the
empty prefix, a page of more than 16 KiB is split in two by the next bit of the hash. So a small
change touches one page, however many there are; only when pages have become nearly empty all are
made anew.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from dfvisor.store.codec import Key, Record, Reference, encode_page, encode_record

MAX_PAGE_BYTES = 16 * 1024
FEW_RECORDS = 4  # in a page, on average: time to make all anew
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Page:
    """An encoded page; `digest` is of its content, which are the records of `keys`."""

    prefix: str
    data: bytes
    digest: str
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The manifest of the next revision, and the pages to be written for it: node name -> data."""

    manifest: dict[str, Reference]
    staged: dict[str, bytes]


def split(records: Mapping[Key, Record], max_bytes: int = MAX_PAGE_BYTES) -> list[Page]:
    """The pages of these records, by prefix."""
    return _split("", _items(records), max_bytes)


_Item = tuple[int, Key, bytes]


def _items(records: Mapping[Key, Record]) -> list[_Item]:
    """Encoded, in the order of their hashes."""
    return sorted((_hash(key), key, encode_record(record)) for key, record in records.items())


def _split(prefix: str, items: list[_Item], max_bytes: int) -> list[Page]:
    """Pages of items that all begin with the prefix, which are in order: so those of every longer
    prefix stand together, too.
    """
    ends = [0, *accumulate(len(data) + len(key[1]) + 4 for _, key, data in items)]
    found: list[Page] = []
    ranges = [(prefix, 0, len(items))]
    while ranges:
        prefix, start, end = ranges.pop()
        if ends[end] - ends[start] > max_bytes and end - start > 1 and len(prefix) < _MAX_DEPTH:
            middle = bisect_left(items, (int(f"{prefix}1".ljust(_MAX_DEPTH, "0"), 2),), start, end)
            ranges += [(prefix + "1", middle, end), (prefix + "0", start, middle)]
        elif start < end:
            data = encode_page((key, data) for _, key, data in items[start:end])
            keys = tuple(key for _, key, _ in items[start:end])
            found.append(Page(prefix, data, digest(data), keys))
    return found


def _hash(key: Key) -> int:
    return int.from_bytes(hashlib.sha256("/".join(key).encode()).digest()[: _MAX_DEPTH // 8])


def _bits(key: Key) -> str:
    return f"{_hash(key):0{_MAX_DEPTH}b}"


def digest(data: bytes) -> str:
    """128 bits of SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()[:32]


def amend(
    held: Mapping[str, Mapping[Key, Record]],
    change: Mapping[Key, Record | None],
    max_bytes: int = MAX_PAGE_BYTES,
) -> tuple[set[str], list[Page]]:
    """Prefixes of the pages that go, and the pages that come, in a set of pages by prefix."""
    pages: dict[str, dict[Key, Record]] = {}
    inner = {prefix[:length] for prefix in held for length in range(len(prefix))}
    for key, record in change.items():
        prefix = _home(_bits(key), held, inner)
        if prefix not in pages:
            pages[prefix] = dict(held.get(prefix, {}))
        if record is None:
            pages[prefix].pop(key, None)
        else:
            pages[prefix][key] = record
    untouched = {prefix: records for prefix, records in held.items() if prefix not in pages}
    left = sum(map(len, pages.values())) + sum(map(len, untouched.values()))
    if len(held) > 2 and left < FEW_RECORDS * len(held):
        records = {k: r for page in (*pages.values(), *untouched.values()) for k, r in page.items()}
        return set(held), split(records, max_bytes)
    found: list[Page] = []
    for prefix, records in sorted(pages.items()):
        found += _split(prefix, _items(records), max_bytes)
    return pages.keys() & held.keys(), found


def _home(bits: str, held: Mapping[str, object], inner: set[str]) -> str:
    """The prefix of the page of a hash; of a new page where the old half had been empty."""
    for length in range(_MAX_DEPTH + 1):
        if bits[:length] in held or bits[:length] not in inner:
            return bits[:length]
    raise AssertionError("prefixes are not longer than hashes")


def records_by_page(
    pages: list[Page], records: Mapping[Key, Record]
) -> dict[str, dict[Key, Record]]:
    """The records of the pages, by prefix."""
    return {page.prefix: {key: records[key] for key in page.keys} for page in pages}


def lay_out(pages: list[Page], old: Mapping[str, Reference], generation: str) -> Layout:
    """Reuse the old node of each unchanged page; name the others `<generation>-<n>`."""
    manifest: dict[str, Reference] = {}
    staged: dict[str, bytes] = {}
    for page in pages:
        held = old.get(page.prefix)
        if held is not None and held[1] == page.digest:
            manifest[page.prefix] = held
        else:
            node = f"{generation}-{len(staged)}"
            manifest[page.prefix] = (node, page.digest)
            staged[node] = page.data
    return Layout(manifest, staged)
