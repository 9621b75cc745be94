"""Three-way merge of concurrent changes, record by record: pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from dfvisor.errors import Conflict
from dfvisor.model.records import VirtualNetwork
from dfvisor.store.codec import KINDS
from dfvisor.store.deltas import changed, difference

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def merge_vn(base: VirtualNetwork, mine: VirtualNetwork, theirs: VirtualNetwork) -> VirtualNetwork:
    """Both changes of `base`. Conflict names the records that both changed, differently."""
    where = f"vns.{mine.name}"
    settings = merge(_settings(base), _settings(mine), _settings(theirs), where)
    ours, other = difference(base, mine), difference(base, theirs)
    both = {key for key in ours.keys() & other.keys() if ours[key] != other[key]}
    if both:
        raise _conflict(both, where)
    # of the records that both changed in the same way there is nothing left to do
    records = {kind: getattr(theirs, kind) for kind in KINDS}
    return changed(VirtualNetwork(**settings, **records), ours)


def _settings(vn: VirtualNetwork) -> dict[str, Any]:
    """The VN's own fields by name. To `merge`, None is as good as absent."""
    return {one.name: getattr(vn, one.name) for one in fields(vn) if one.name not in KINDS}


def merge(
    base: Mapping[K, V], mine: Mapping[K, V], theirs: Mapping[K, V], where: str
) -> dict[K, V]:
    """Per key: whichever side changed it. Conflict names all keys that both changed."""
    found: dict[K, V] = {}
    clashes: list[K] = []
    for key in {**base, **theirs, **mine}:
        old, ours, other = base.get(key), mine.get(key), theirs.get(key)
        if ours != other and old not in (ours, other):
            clashes.append(key)
            continue
        chosen = other if ours == old else ours
        if chosen is not None:
            found[key] = chosen
    if clashes:
        raise _conflict(clashes, where)
    return found


def _conflict(clashes: Iterable[Hashable], where: str) -> Conflict:
    names = sorted(".".join(one) if isinstance(one, tuple) else str(one) for one in clashes)
    shown = ", ".join(f"{where}.{name}" for name in names)
    return Conflict(f"changed by somebody else at the same time: {shown}")
