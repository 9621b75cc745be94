"""Three-way merge of concurrent changes, record by record: pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from dfvisor.errors import Conflict
from dfvisor.model.records import UnknownUnicast, VirtualNetwork
from dfvisor.store.codec import assemble, records_of

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def merge_vn(base: VirtualNetwork, mine: VirtualNetwork, theirs: VirtualNetwork) -> VirtualNetwork:
    """Both changes of `base`. Conflict names the records that both changed, differently."""
    own = {"tenant": mine.tenant, "unknown_unicast": mine.unknown_unicast.value}
    merged = merge(
        {"tenant": base.tenant, "unknown_unicast": base.unknown_unicast.value},
        own,
        {"tenant": theirs.tenant, "unknown_unicast": theirs.unknown_unicast.value},
        f"vns.{mine.name}",
    )
    records = merge(records_of(base), records_of(mine), records_of(theirs), f"vns.{mine.name}")
    return assemble(mine.name, merged["tenant"], UnknownUnicast(merged["unknown_unicast"]), records)


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
