"""Short notation for table entries: `tables.entry("flow", "permit", slice_id=2, ip_proto=17, ...)`.

Match fields and action arguments are keywords; the P4Info says which is which and gives the order.
An exact field takes an int; a ternary field an int (all bits) or (value, mask); a prefix (value,
length). A name that is both a match field and an argument takes the argument's value as `name_`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from dfvisor.p4rt.entries import (
    Exact,
    FieldMatch,
    Lpm,
    Member,
    MulticastGroup,
    TableEntry,
    Ternary,
)
from dfvisor.p4rt.p4info import Field, MatchKind, Schema

Value = int | tuple[int, int]


@dataclass(frozen=True, slots=True)
class Hop:
    """One member of an ECMP group: `route_to` and its weight.

    The switch leaves the member out while port `watch` is down; 0 watches none.
    """

    port: int
    mac: int
    mtu: int
    weight: int = 1
    watch: int = 0


@dataclass(frozen=True, slots=True)
class Timed:
    """A table entry that reports when nothing hit it for so long."""

    entry: TableEntry
    idle_timeout_ms: int


class Tables:
    """Builds entries for one P4Info."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def entry(
        self, table: str, action: str, /, *, priority: int = 0, **values: Value
    ) -> TableEntry:
        """An entry; a field that is left out does not matter. KeyError names what is not used."""
        known = self._schema.table(table)
        fields = {field.name for field in known.fields}
        args = []
        for param in known.actions[action].params:
            name = f"{param.name}_" if param.name in fields else param.name
            args.append((param.name, _number(values.pop(name))))
        key = tuple(
            (field.name, _match(field, values.pop(field.name)))
            for field in known.fields
            if field.name in values
        )
        if values:
            raise KeyError(f"{table}: neither match field nor argument: {', '.join(values)}")
        return TableEntry(table, key, priority, action, tuple(args))

    def default(self, table: str, action: str, /, **args: int) -> TableEntry:
        """The default entry of a table."""
        params = self._schema.table(table).actions[action].params
        ordered = tuple((param.name, args[param.name]) for param in params)
        return TableEntry(table, (), 0, action, ordered, is_default=True)


def route(address: int, prefix_len: int, *hops: Hop) -> TableEntry:
    """An entry of `underlay`; without hops its address is unreachable."""
    members = tuple(
        Member(
            "route_to",
            (("port", hop.port), ("mac", hop.mac), ("mtu", hop.mtu)),
            hop.watch or None,
            hop.weight,
        )
        for hop in hops
    )
    key = (("outer_dst", Lpm(address, prefix_len)),) if prefix_len else ()
    return TableEntry("underlay", key, 0, "", members=members or (Member("unreachable", ()),))


def group(group_id: int, *replicas: tuple[int, int]) -> MulticastGroup:
    """A multicast group of (egress port, replication id)."""
    return MulticastGroup(group_id, frozenset(replicas))


def mac(text: str) -> int:
    """The integer of aa:bb:cc:dd:ee:ff."""
    return int(text.replace(":", ""), 16)


def ipv4(text: str) -> int:
    """The integer of a dotted address."""
    return int.from_bytes(bytes(int(part) for part in text.split(".")), "big")


def ipv6(text: str) -> int:
    """The integer of an IPv6 address."""
    return int(ipaddress.IPv6Address(text))


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value


def _match(field: Field, value: Value) -> FieldMatch:
    if field.kind is MatchKind.EXACT:
        return Exact(_number(value))
    if field.kind is MatchKind.LPM:
        assert isinstance(value, tuple)
        return Lpm(*value)
    return Ternary(*value) if isinstance(value, tuple) else Ternary(value, (1 << field.width) - 1)
