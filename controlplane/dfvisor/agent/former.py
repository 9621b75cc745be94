"""What a switch holds of a VN for packets under way, so that an agent that starts knows it: pure.

Packets may still be on former ways when an agent ends, or ways may change before it is back, and
only the VN's controller knows until when they are. What they need are entries of `steps.KEPT`, and
the slices and ports that the slicer may then still build on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from dfvisor.agent.desired import VnPlan
from dfvisor.errors import StoreError
from dfvisor.model.records import VirtualNetwork
from dfvisor.p4rt.entries import EntryKey, Exact, Item, TableEntry, entry_key
from dfvisor.p4rt.ports import SliceInfo


@dataclass(frozen=True, slots=True)
class Former:
    """The entries, and what the slicer may build on."""

    items: Mapping[EntryKey, Item]
    plan: VnPlan


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    table: str
    key: tuple[tuple[str, int], ...]
    action: str
    args: tuple[tuple[str, int], ...]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: str
    vn_id: int
    slices: dict[str, SliceInfo]
    ports: dict[int, int]
    entries: tuple[_Entry, ...]


def encode_former(former: Former) -> bytes:
    """For the local database."""
    return msgspec.json.encode(
        _Record(
            tenant=former.plan.vn.tenant,
            vn_id=former.plan.vn_id,
            slices=former.plan.slices,
            ports=former.plan.ports,
            entries=tuple(map(_encoded, former.items.values())),
        )
    )


def decode_former(data: bytes, name: str, vn: VirtualNetwork | None) -> Former:
    """What was held of a VN, of which these are the records now (None: it has gone). StoreError if
    it cannot be read.
    """
    try:
        record = msgspec.json.decode(data, type=_Record)
    except msgspec.DecodeError as error:
        raise StoreError(f"what was held of {name}: {error}") from error
    items = [
        TableEntry(
            one.table, tuple((field, Exact(n)) for field, n in one.key), 0, one.action, one.args
        )
        for one in record.entries
    ]
    plan = VnPlan(
        vn=vn or VirtualNetwork(name=name, tenant=record.tenant),
        vn_id=record.vn_id,
        base=tuple(items),
        slices=record.slices,
        ports=record.ports,
    )
    return Former({entry_key(item): item for item in items}, plan)


def _encoded(item: Item) -> _Entry:
    assert isinstance(item, TableEntry) and not item.members, "of the tables in KEPT"
    key: list[tuple[str, int]] = []
    for field, match in item.key:
        assert isinstance(match, Exact), "their keys are exact"
        key.append((field, match.value))
    return _Entry(item.table, tuple(key), item.action, item.args)
