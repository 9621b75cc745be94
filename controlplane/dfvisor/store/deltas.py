"""What a revision changes, record by record: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from dfvisor.errors import StoreError
from dfvisor.model.named import differing, named
from dfvisor.model.records import VirtualNetwork
from dfvisor.store.codec import (
    KINDS,
    Delta,
    Key,
    Record,
    Revision,
    decode_records,
    encode,
    plain_record,
)

Change: TypeAlias = dict[Key, Record | None]
"""Records by kind and name as they are afterwards; None: deleted."""


def difference(old: VirtualNetwork, new: VirtualNetwork) -> Change:
    """What makes the records of `new` out of those of `old`."""
    change: Change = {}
    for kind in KINDS:
        before: Mapping[str, Record] = getattr(old, kind)
        after: Mapping[str, Record] = getattr(new, kind)
        change |= {(kind, name): one for name, one in differing(before, after).items()}
    return change


def changed(vn: VirtualNetwork, change: Mapping[Key, Record | None]) -> VirtualNetwork:
    """The VN after the change; records of unchanged kinds are shared."""
    kinds: dict[str, dict[str, Record | None]] = {}
    for (kind, name), record in change.items():
        kinds.setdefault(kind, {})[name] = record
    found: dict[str, Any] = {
        kind: named(getattr(vn, kind)).changed(records) for kind, records in kinds.items()
    }
    return replace(vn, **found) if found else vn


def to_delta(revision: int, change: Mapping[Key, Record | None]) -> Delta:
    """As it is written."""
    put: dict[str, dict[str, Any]] = {}
    drop: dict[str, tuple[str, ...]] = {}
    for (kind, name), record in sorted(change.items(), key=lambda item: item[0]):
        if record is None:
            drop[kind] = (*drop.get(kind, ()), name)
        else:
            put.setdefault(kind, {})[name] = plain_record(record)
    return Delta(revision=revision, put=put, drop=drop)


def from_delta(delta: Delta, path: str) -> Change:
    """As it was written; StoreError for what cannot be read."""
    change: Change = {}
    for kind, names in delta.drop.items():
        if kind not in KINDS:
            raise StoreError(f"{path}: bad record: there are no {kind!r}")
        change |= {(kind, name): None for name in names}
    change.update(decode_records(delta.put, path))
    return change


def since(revision: Revision, held: int, path: str) -> Change | None:
    """What happened after revision `held`; None where the deltas do not reach back so far."""
    later = [delta for delta in revision.deltas if delta.revision > held]
    numbers = [delta.revision for delta in later]
    if numbers != list(range(held + 1, revision.revision + 1)):
        return None
    change: Change = {}
    for delta in later:
        change |= from_delta(delta, path)
    return change


def size(deltas: Iterable[Delta]) -> int:
    """Bytes that they take."""
    return sum(len(encode(delta)) for delta in deltas)


def recent(
    deltas: Iterable[Delta], needed: int, most_bytes: int, spare_bytes: int
) -> tuple[Delta, ...] | None:
    """The newest deltas that fit; None if not all after revision `needed` do. Of those that are not
    needed, who reads them may want the newest, and some before it in case he has missed one.
    """
    found: list[Delta] = []
    left, spare = most_bytes, spare_bytes
    for delta in reversed(list(deltas)):
        taken = size([delta])
        left -= taken
        spare -= taken if found and delta.revision <= needed else 0
        if left < 0 or spare < 0:
            if delta.revision > needed:
                return None
            break
        found.insert(0, delta)
    return tuple(found)
