"""A read-only look at a switch's tables, for people: no arbitration, nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dfvisor.model.types import Mac
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import (
    Args,
    CloneSession,
    Exact,
    FieldMatch,
    Lpm,
    Member,
    Meter,
    MulticastGroup,
    TableEntry,
)
from dfvisor.p4rt.errors import SwitchUnavailable
from dfvisor.p4rt.p4info import Schema

CONNECT_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An entry as text; counters are None where the table has none. Tables `multicast` and `clone`:
    groups and sessions; a meter's configured cells are under the meter's name.
    """

    table: str
    match: str
    priority: int
    action: str
    packets: int | None = None
    bytes: int | None = None


async def read_entries(address: str, device_id: int) -> list[Row]:
    """All entries, default entries that were set, multicast groups, clone sessions and configured
    meters, in the P4Info's order.

    Raises SwitchUnavailable when the switch does not answer or has no pipeline.
    """
    client = P4RuntimeClient(address, device_id)
    try:
        await client.connect(CONNECT_TIMEOUT_S)
        schema = await client.get_schema()
        if schema is None:
            raise SwitchUnavailable(f"{address}: the switch has no pipeline")
        client.schema = schema
        rows: list[Row] = []
        for table in schema.tables.values():
            rows += await _table_rows(client, schema, table.name)
        rows += [_copies_row(group) for group in await client.read_multicast()]
        rows += [_copies_row(session) for session in await client.read_clone_sessions()]
        rows += [_meter_row(meter) for meter in await client.read_meters()]
        return rows
    finally:
        await client.close()


async def _table_rows(client: P4RuntimeClient, schema: Schema, name: str) -> list[Row]:
    table = schema.table(name)
    if not table.fields:
        default = await client.read_default(name)
        return [_row(default)] if default.action not in ("", "NoAction") else []
    if table.has_counter:
        return sorted(
            (
                _row(counted.entry, counted.counter.packets, counted.counter.bytes)
                for counted in await client.counters.direct(name)
            ),
            key=_order,
        )
    return sorted((_row(entry) for entry in await client.read_entries(name)), key=_order)


def _order(row: Row) -> tuple[int, str]:
    return (-row.priority, row.match)


def _row(entry: TableEntry, packets: int | None = None, bytes_: int | None = None) -> Row:
    match = " ".join(f"{name}={match_text(name, match)}" for name, match in entry.key)
    action = _call_text(entry.action, entry.args)
    if entry.members:
        action = " | ".join(_member_text(member) for member in entry.members)
    return Row(
        table=entry.table,
        match="default" if entry.is_default else match,
        priority=entry.priority,
        action=action,
        packets=packets,
        bytes=bytes_,
    )


def _call_text(action: str, args: Args) -> str:
    shown = " ".join(f"{name}={value_text(name, value)}" for name, value in args)
    return f"{action} {shown}".strip()


def _member_text(member: Member) -> str:
    text = _call_text(member.action, member.args)
    return text if member.watch_port is None else f"{text} while {member.watch_port} is up"


def _copies_row(item: MulticastGroup | CloneSession) -> Row:
    copies = " ".join(
        f"port={port} rid={rid}" if rid else f"port={port}" for port, rid in sorted(item.replicas)
    )
    if isinstance(item, MulticastGroup):
        return Row(table="multicast", match=f"group={item.group_id}", priority=0, action=copies)
    return Row(table="clone", match=f"session={item.session_id}", priority=0, action=copies)


def _meter_row(meter: Meter) -> Row:
    config = meter.config
    assert config is not None  # only configured cells are read
    action = f"cir={config.cir}/{config.cburst} pir={config.pir}/{config.pburst}"
    return Row(table=meter.meter, match=f"index={meter.index}", priority=0, action=action)


def match_text(name: str, match: FieldMatch) -> str:
    """A match for people: `10.0.0.0/24`, `0x1000&0x1000`, `6` for a whole ternary value."""
    value = value_text(name, match.value)
    if isinstance(match, Exact):
        return value
    if isinstance(match, Lpm):
        return f"{value}/{match.prefix_len}"
    width = _WIDTHS.get(name)
    if width is not None:
        length = match.mask.bit_count()
        if match.mask == (1 << length) - 1 << width - length:  # a prefix
            return value if length == width else f"{value}/{length}"
    return f"{value}&{match.mask:#x}"


_WIDTHS = {
    "port": 9,
    "eth_src": 48,
    "eth_dst": 48,
    "eth_type": 16,
    "vlan_tci": 13,
    "ipv4_src": 32,
    "ipv4_dst": 32,
    "ipv6_src": 128,
    "ipv6_dst": 128,
    "ip_proto": 8,
    "ip_dscp": 6,
    "is_fragment": 1,
    "l4_src": 16,
    "l4_dst": 16,
    "tcp_flags": 8,
    "path_class": 12,
}
_IPV4 = frozenset({"ipv4_src", "ipv4_dst", "outer_dst", "outer_src", "vtep"})
_IPV6 = frozenset({"ipv6_src", "ipv6_dst"})
_MAC = frozenset({"eth_src", "eth_dst", "mac"})
_HEX = frozenset({"eth_type", "vlan_tci", "tcp_flags", "cookie"})


def value_text(name: str, value: int) -> str:
    """A field's or argument's value as people write it, by its name."""
    if name in _IPV4:
        return str(IPv4Address(value))
    if name in _IPV6:
        return str(IPv6Address(value))
    if name in _MAC:
        return str(Mac(value))
    if name == "target":  # of arp_responder and nd_responder
        return str(IPv4Address(value) if value < 1 << 32 else IPv6Address(value))
    return f"{value:#x}" if name in _HEX else str(value)
