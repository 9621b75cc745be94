"""Table entries and multicast groups as values, and the difference between two sets of them.

Pure: names and integers, no protobuf. `p4info.Schema` turns them into messages and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Exact:
    """The field equals `value`."""

    value: int


@dataclass(frozen=True, slots=True)
class Ternary:
    """The field and `mask` equals `value`; mask != 0 and value & ~mask == 0."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Lpm:
    """The field's first `prefix_len` (>= 1) bits are those of `value`; its other bits are 0."""

    value: int
    prefix_len: int


FieldMatch: TypeAlias = Exact | Ternary | Lpm
Key: TypeAlias = tuple[tuple[str, FieldMatch], ...]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One entry, by the short names of the P4Info.

    `key` has the fields in the order of the P4Info, without those that do not matter. `priority` is
    0 exactly if no field of the table is ternary. `args` are in the action's order. With
    `is_default` it is the table's default entry (empty key, priority 0); its `action` is then ""
    for none of our own.
    """

    table: str
    key: Key
    priority: int
    action: str
    args: tuple[tuple[str, int], ...] = ()
    is_default: bool = False

    def arg(self, name: str) -> int:
        """The value of an argument; KeyError names it."""
        for known, value in self.args:
            if known == name:
                return value
        raise KeyError(f"{self.table}: action {self.action} has no argument {name}")

    def field(self, name: str) -> FieldMatch | None:
        """The match of a field, None where it does not matter."""
        for known, match in self.key:
            if known == name:
                return match
        return None

    def __str__(self) -> str:
        key = " ".join(f"{name}={_text(match)}" for name, match in self.key)
        args = ", ".join(f"{name}={value:#x}" for name, value in self.args)
        priority = f" priority={self.priority}" if self.priority else ""
        key = "default" if self.is_default else key
        return f"{self.table} {key}{priority} -> {self.action}({args})"


@dataclass(frozen=True, slots=True)
class MulticastGroup:
    """A group of the packet replication engine: copies as (egress port, replication id)."""

    group_id: int
    replicas: frozenset[tuple[int, int]]

    def __str__(self) -> str:
        copies = " ".join(f"{port}/{rid}" for port, rid in sorted(self.replicas))
        return f"multicast group {self.group_id} -> {copies}"


Item: TypeAlias = TableEntry | MulticastGroup
EntryKey: TypeAlias = tuple[str, Key, int]

MULTICAST = "multicast"
"""Stands for the multicast groups in an order of tables."""

TABLE_ORDER = (
    "tunnel_source",
    "underlay",
    "next_hop",
    "replica",
    MULTICAST,
    "slice_policy",
    "flood",
    "bridge",
    "peer",
    "slice_forward",
    "flow",
    "slice",
    "classifier",
    "access_port",
    "vtep",
)
"""Referenced tables first: what a table's actions name is written before it, and deleted after it.
"""

_RANK = {table: place for place, table in enumerate(TABLE_ORDER)}


def entry_key(item: Item) -> EntryKey:
    """What identifies an entry or group: items of one identity are states of one thing."""
    if isinstance(item, MulticastGroup):
        return (MULTICAST, (), item.group_id)
    return (item.table, item.key, item.priority)


def rank(item: Item) -> int:
    """The place of the item's table in TABLE_ORDER; unknown tables come last."""
    table = MULTICAST if isinstance(item, MulticastGroup) else item.table
    return _RANK.get(table, len(_RANK))


@dataclass(frozen=True, slots=True)
class Changes:
    """Writes that turn one state into another; to be carried out in this order, as they stand."""

    inserts: tuple[Item, ...] = ()
    modifies: tuple[Item, ...] = ()
    deletes: tuple[Item, ...] = ()

    def __len__(self) -> int:
        return len(self.inserts) + len(self.modifies) + len(self.deletes)


def by_key(items: Iterable[Item]) -> dict[EntryKey, Item]:
    """The items by their identity; the last one wins."""
    return {entry_key(item): item for item in items}


def diff(actual: Iterable[Item], desired: Iterable[Item]) -> Changes:
    """The fewest writes from `actual` to `desired`; empty when they are equal.

    Inserts and modifies have referenced tables first, deletes last. A default entry is never
    inserted or deleted: it is modified, and reset (action "") when it is no longer desired.
    """
    return diff_maps(by_key(actual), by_key(desired))


def diff_maps(actual: Mapping[EntryKey, Item], desired: Mapping[EntryKey, Item]) -> Changes:
    """As `diff`, for states that are kept by identity."""
    inserts: list[Item] = []
    modifies: list[Item] = []
    deletes: list[Item] = []
    for key, item in desired.items():
        held = actual.get(key)
        if held == item:
            continue
        if held is None and not _is_default(item):
            inserts.append(item)
        else:
            modifies.append(item)
    for key, item in actual.items():
        if key in desired:
            continue
        if isinstance(item, TableEntry) and item.is_default:
            if item.action:
                modifies.append(TableEntry(item.table, (), 0, "", (), True))
        else:
            deletes.append(item)
    inserts.sort(key=rank)
    modifies.sort(key=rank)
    deletes.sort(key=rank, reverse=True)
    return Changes(tuple(inserts), tuple(modifies), tuple(deletes))


def _is_default(item: Item) -> bool:
    return isinstance(item, TableEntry) and item.is_default


def _text(match: FieldMatch) -> str:
    if isinstance(match, Exact):
        return f"{match.value:#x}"
    if isinstance(match, Ternary):
        return f"{match.value:#x}&{match.mask:#x}"
    return f"{match.value:#x}/{match.prefix_len}"
