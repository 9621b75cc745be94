"""What a switch can be told to hold, as values, and the difference between two sets of them.

Table entries, multicast groups, clone sessions, meters, digest subscriptions.

Pure: names and integers, no protobuf. `p4info.Schema` turns them into messages and back. Those that
keys are made of are hashed, and compared, in C.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import msgspec


class Exact(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """The field equals `value`."""

    value: int


class Ternary(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """The field and `mask` equals `value`; mask != 0 and value & ~mask == 0."""

    value: int
    mask: int


class Lpm(msgspec.Struct, frozen=True, gc=False):
    """The field's first `prefix_len` (>= 1) bits are those of `value`; its other bits are 0."""

    value: int
    prefix_len: int


FieldMatch: TypeAlias = Exact | Ternary | Lpm
Key: TypeAlias = tuple[tuple[str, FieldMatch], ...]


Args: TypeAlias = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One action of a set from which the packet's hash chooses; `weight` >= 1 counts places.

    A member whose `watch_port` is down is left out of the choice. None: it never is.
    """

    action: str
    args: Args
    watch_port: int | None = None
    weight: int = 1

    def arg(self, name: str) -> int:
        """The value of an argument; KeyError names it."""
        for known, value in self.args:
            if known == name:
                return value
        raise KeyError(f"action {self.action} has no argument {name}")

    def __str__(self) -> str:
        weight = f"{self.weight} x " if self.weight != 1 else ""
        watch = "" if self.watch_port is None else f" while port {self.watch_port} is up"
        return f"{weight}{self.action}({_args_text(self.args)}){watch}"


class TableEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry, by the short names of the P4Info.

    `key` has the fields in the order of the P4Info, without those that do not matter. `priority` is
    0 exactly if no field of the table is ternary. `args` are in the action's order. With
    `is_default` it is the table's default entry (empty key, priority 0); its `action` is then ""
    for none of our own.

    In a table with an action selector, `action` is "" and `members` are the set of actions (at
    least one, in their order: P4Runtime 9.2.3, one-shot).
    """

    table: str
    key: Key
    priority: int
    action: str
    args: Args = ()
    is_default: bool = False
    members: tuple[Member, ...] = ()

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
        priority = f" priority={self.priority}" if self.priority else ""
        key = "default" if self.is_default else key
        action = f"{self.action}({_args_text(self.args)})"
        if self.members:
            action = f"one of [{'; '.join(map(str, self.members))}]"
        return f"{self.table} {key}{priority} -> {action}"


class KeyForm(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """A table, and the fields of a key with their masks (None: exact), in the order of the P4Info;
    none is LPM.
    """

    table: str
    fields: tuple[tuple[str, int | None], ...]


class Form(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What entries have in common that differ in values and priority alone."""

    key: KeyForm
    action: str
    params: tuple[str, ...]


class FormedKey(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What identifies an entry: as `EntryKey`."""

    form: KeyForm
    values: tuple[int, ...]
    number: int


class Formed(msgspec.Struct, frozen=True, gc=False):
    """A table entry of which there are many: hardly more than its values, as its form is shared."""

    form: Form
    key: FormedKey
    args: tuple[int, ...]

    @property
    def table(self) -> str:
        """The name of the table."""
        return self.key.form.table

    @property
    def entry(self) -> TableEntry:
        """The same, spelled out."""
        form, key = self.form, self.key
        return TableEntry(
            form.key.table,
            tuple(
                (name, Exact(value) if mask is None else Ternary(value, mask))
                for (name, mask), value in zip(form.key.fields, key.values, strict=True)
            ),
            key.number,
            form.action,
            tuple(zip(form.params, self.args, strict=True)),
        )

    def __str__(self) -> str:
        return str(self.entry)


@dataclass(frozen=True, slots=True)
class MulticastGroup:
    """A group of the packet replication engine: copies as (egress port, replication id)."""

    group_id: int
    replicas: frozenset[tuple[int, int]]

    def __str__(self) -> str:
        copies = " ".join(f"{port}/{rid}" for port, rid in sorted(self.replicas))
        return f"multicast group {self.group_id} -> {copies}"


@dataclass(frozen=True, slots=True)
class CloneSession:
    """Where the copies of a clone go: (egress port, replication id), whole packets."""

    session_id: int
    replicas: frozenset[tuple[int, int]]

    def __str__(self) -> str:
        copies = " ".join(f"{port}/{rid}" for port, rid in sorted(self.replicas))
        return f"clone session {self.session_id} -> {copies}"


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """Two rates and their bursts, in the meter's unit (bytes or packets), a second: pir >= cir."""

    cir: int
    cburst: int
    pir: int
    pburst: int


@dataclass(frozen=True, slots=True)
class Meter:
    """A cell of an indirect meter. `config` None: back to green for everything."""

    meter: str
    index: int
    config: MeterConfig | None

    def __str__(self) -> str:
        return f"meter {self.meter}[{self.index}] -> {self.config or 'unconfigured'}"


@dataclass(frozen=True, slots=True)
class DigestSubscription:
    """Have a digest sent: after `max_timeout_ns` (0: at once) or `max_list_size` messages.

    What was sent and is not acknowledged is not sent again for `ack_timeout_ns`.
    """

    digest: str
    max_timeout_ns: int
    max_list_size: int
    ack_timeout_ns: int

    def __str__(self) -> str:
        return f"digest {self.digest}"


Item: TypeAlias = TableEntry | Formed | MulticastGroup | CloneSession | Meter | DigestSubscription


class EntryKey(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What identifies an item: the table (or what stands for one), the fields, and the priority or
    number. One that is kept is hashed once, however often it is looked up.
    """

    table: str
    fields: Key
    number: int


Identity: TypeAlias = EntryKey | FormedKey
"""Of items of one table either the one or the other."""

MANY = frozenset(("classifier",))
"""The tables of the agent's whose entries are kept as `Formed`."""
MULTICAST = "multicast"
CLONE = "clone"
METER = "meter"
SLICE_TABLES = ("flow", "slice_path", "slice_forward")
"""The tables that slice controllers write; all others are the agent's."""
DIGEST = "digest"
"""Stand for what is not in a table, in an order of tables."""

TABLE_ORDER = (
    "switch_config",
    METER,
    CLONE,
    "underlay",
    "next_hop",
    "replica",
    MULTICAST,
    "slice_policy",
    "flood",
    "bridge",
    "l3_endpoint",
    "arp_responder",
    "nd_responder",
    "known_host",
    "known_address",
    "source_guard",
    "peer",
    "slice_forward",
    "slice_path",
    "flow",
    "slice",
    "classifier",
    "access_port",
    "vtep",
    DIGEST,
)
"""Referenced tables first: what a table's actions name is written before it, and deleted after it.
"""

_RANK = {table: place for place, table in enumerate(TABLE_ORDER)}


def formed(entry: TableEntry) -> Formed:
    """The entry without what it shares with others; it has no LPM field, no set of actions, and is
    no default entry.
    """
    fields: list[tuple[str, int | None]] = []
    values: list[int] = []
    for name, match in entry.key:
        assert not isinstance(match, Lpm), "no table in MANY has such a field"
        fields.append((name, match.mask if isinstance(match, Ternary) else None))
        values.append(match.value)
    key = KeyForm(entry.table, tuple(fields))
    return Formed(
        Form(key, entry.action, tuple([name for name, _ in entry.args])),
        FormedKey(key, tuple(values), entry.priority),
        tuple([value for _, value in entry.args]),
    )


def compact(item: Item) -> Item:
    """The item as it is kept: an entry of a table in MANY is `Formed`."""
    if isinstance(item, TableEntry) and item.table in MANY and not item.is_default:
        return formed(item)
    return item


def spelled(item: Item) -> Item:
    """The item with nothing shared: the reverse of `compact`."""
    return item.entry if isinstance(item, Formed) else item


def identity(item: Item) -> Identity:
    """What identifies an item that is kept."""
    return item.key if isinstance(item, Formed) else entry_key(item)


def entry_key(item: Item) -> EntryKey:
    """What identifies an item: items of one identity are states of one thing."""
    match item:
        case TableEntry():
            return EntryKey(item.table, item.key, item.priority)
        case Formed():
            return entry_key(item.entry)
        case MulticastGroup():
            return EntryKey(MULTICAST, (), item.group_id)
        case CloneSession():
            return EntryKey(CLONE, (), item.session_id)
        case Meter():
            return EntryKey(f"{METER}/{item.meter}", (), item.index)
        case DigestSubscription():
            return EntryKey(f"{DIGEST}/{item.digest}", (), 0)


def rank(item: Item) -> int:
    """The place of the item's table in TABLE_ORDER; unknown tables come last."""
    if isinstance(item, Formed | TableEntry):
        return _RANK.get(item.table, len(_RANK))
    return _RANK.get(entry_key(item).table.partition("/")[0], len(_RANK))


def is_reset(item: Item) -> bool:
    """Whether writing the item takes away what was there before, and leaves nothing of ours."""
    if isinstance(item, TableEntry):
        return item.is_default and not item.action
    return isinstance(item, Meter) and item.config is None


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

    Inserts and modifies have referenced tables first, deletes last. A default entry or a meter cell
    is never inserted or deleted: it is modified, and reset when it is no longer desired.
    """
    return diff_maps(by_key(actual), by_key(desired))


def diff_maps(actual: Mapping[EntryKey, Item], desired: Mapping[EntryKey, Item]) -> Changes:
    """As `diff`, for states that are kept by identity."""
    return turned(
        chain(
            ((actual.get(key), item) for key, item in desired.items()),
            ((item, None) for key, item in actual.items() if key not in desired),
        )
    )


def turned(pairs: Iterable[tuple[Item | None, Item | None]]) -> Changes:
    """The fewest writes, each in its place, that turn the first of each two of one identity into
    the second; None: there is none.
    """
    inserts: list[Item] = []
    modifies: list[Item] = []
    deletes: list[Item] = []
    for held, item in pairs:
        if held is item or held == item:
            continue
        if item is None:
            assert held is not None, "they differ"
            reset = _reset(held)
            if reset is None:
                deletes.append(held)
            elif not is_reset(held):
                modifies.append(reset)
        elif held is None and _reset(item) is None:
            inserts.append(item)
        elif held is not None or not is_reset(item):
            modifies.append(item)
    inserts.sort(key=rank)
    modifies.sort(key=rank)
    deletes.sort(key=rank, reverse=True)
    return Changes(tuple(inserts), tuple(modifies), tuple(deletes))


def _reset(item: Item) -> Item | None:
    """For what always exists and is only modified: the same without anything of ours."""
    if isinstance(item, TableEntry) and item.is_default:
        return TableEntry(item.table, (), 0, "", (), True)
    if isinstance(item, Meter):
        return Meter(item.meter, item.index, None)
    return None


def _args_text(args: Args) -> str:
    return ", ".join(f"{name}={value:#x}" for name, value in args)


def _text(match: FieldMatch) -> str:
    if isinstance(match, Exact):
        return f"{match.value:#x}"
    if isinstance(match, Ternary):
        return f"{match.value:#x}&{match.mask:#x}"
    return f"{match.value:#x}/{match.prefix_len}"
