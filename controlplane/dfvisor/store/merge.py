"""Three-way merge of concurrent changes, record by record: pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from dfvisor.errors import Conflict
from dfvisor.model.records import VirtualNetwork
from dfvisor.store.codec import assemble, records_of, settings_of

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def merge_vn(base: VirtualNetwork, mine: VirtualNetwork, theirs: VirtualNetwork) -> VirtualNetwork:
    """Both changes of `base`. Conflict names the records that both changed, differently."""
    where = f"vns.{mine.name}"
    settings = merge(_settings(base), _settings(mine), _settings(theirs), where)
    records = merge(records_of(base), records_of(mine), records_of(theirs), where)
    return assemble(VirtualNetwork(**settings), records)


def _settings(vn: VirtualNetwork) -> dict[str, Any]:
    """The VN's own fields by name. To `merge`, None is as good as absent."""
    own = settings_of(vn)
    return {one.name: getattr(own, one.name) for one in fields(own)}


def merge(
    base: Mapping[K, V], mine: Mapping[K, V], theirs: Mapping[K, V], where: str
) -> dict[K, V]:
    """Per key: whichever side changed it. Conflict names all keys that both changed."""
    found: dict[K, V] = {}
    clashes: list[str] = []
    for key in {**base, **theirs, **mine}:
        old, ours, other = base.get(key), mine.get(key), theirs.get(key)
        if ours != other and old not in (ours, other):
            clashes.append(".".join(key) if isinstance(key, tuple) else str(key))
            continue
        chosen = other if ours == old else ours
        if chosen is not None:
            found[key] = chosen
    if clashes:
        raise Conflict(
            f"changed by somebody else at the same time: "
            f"{', '.join(f'{where}.{clash}' for clash in sorted(clashes))}"
        )
    return found
