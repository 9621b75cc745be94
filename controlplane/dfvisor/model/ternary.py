"""From a flowspace's match to ternary table keys: pure.

Field names are those of the P4 tables `classifier` and `flow`. Values are integers of the field's
width; a field that does not matter is absent. Port ranges become prefixes, so one match may need
several keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from dfvisor.model.records import UNTAGGED, Match
from dfvisor.model.types import PortRange

ETH_IPV4 = 0x0800  # RFC 894
ETH_IPV6 = 0x86DD  # RFC 2464
VLAN_PRESENT = 0x1000
PORT_MAX = 0xFFFF

WIDTHS: Mapping[str, int] = {
    "eth_src": 48,
    "eth_dst": 48,
    "eth_type": 16,
    "vlan_tci": 13,  # 0x1000 = a tag is present, then the VLAN id; untagged is 0
    "ipv4_src": 32,
    "ipv4_dst": 32,
    "ipv6_src": 128,
    "ipv6_dst": 128,
    "ip_proto": 8,
    "ip_dscp": 6,
    "is_fragment": 1,  # a later fragment
    "l4_src": 16,
    "l4_dst": 16,
    "tcp_flags": 8,
}
_WHOLE = {name: (1 << width) - 1 for name, width in WIDTHS.items()}
_ANY_PORT = [(0, 0)]


@dataclass(frozen=True, slots=True)
class TernaryMatch:
    """One ternary key: field -> (value, mask), with value & ~mask == 0 and mask != 0."""

    fields: dict[str, tuple[int, int]]

    def matches(self, packet: Mapping[str, int]) -> bool:
        """Whether a packet with these field values (absent: 0) hits this key."""
        return all(
            packet.get(name, 0) & mask == value for name, (value, mask) in self.fields.items()
        )


def expand(match: Match, *, bidirectional: bool = False) -> list[TernaryMatch]:
    """The keys that together match exactly what `match` matches (and its mirror, if bidirectional).

    `ipv4_*` implies EtherType 0x0800 and `ipv6_*` 0x86dd where none is said. A match on ports or
    TCP flags excludes later fragments, which carry neither. `endpoint` is not a header: the caller
    adds the ingress port. The order is deterministic and no key appears twice.
    """
    keys = _expand_one(match)
    if bidirectional:
        keys += _expand_one(mirror(match))
    unique = {tuple(key.fields.items()): key for key in keys}
    return list(unique.values())


def mirror(match: Match) -> Match:
    """The match of the reverse direction: sources and destinations exchanged."""
    return msgspec.structs.replace(
        match,
        eth_src=match.eth_dst,
        eth_dst=match.eth_src,
        ipv4_src=match.ipv4_dst,
        ipv4_dst=match.ipv4_src,
        ipv6_src=match.ipv6_dst,
        ipv6_dst=match.ipv6_src,
        l4_src=match.l4_dst,
        l4_dst=match.l4_src,
    )


def canonical(match: Match) -> Match:
    """The same match with everything said that is implied, and no constraint that constrains
    nothing.
    """
    eth_type = match.eth_type
    if eth_type is None and (match.ipv4_src or match.ipv4_dst):
        eth_type = ETH_IPV4
    if eth_type is None and (match.ipv6_src or match.ipv6_dst):
        eth_type = ETH_IPV6
    fragment = match.fragment
    if fragment is None and (match.l4_src or match.l4_dst or match.tcp_flags):
        fragment = False
    return msgspec.structs.replace(match, eth_type=eth_type, fragment=fragment)


def prefixes(ports: PortRange) -> list[tuple[int, int]]:
    """The fewest (value, mask) pairs, 16 bits, that cover exactly low..high; ascending."""
    if ports.low == ports.high:
        return [(ports.low, PORT_MAX)]
    found: list[tuple[int, int]] = []
    low = ports.low
    while low <= ports.high:
        size = low & -low if low else PORT_MAX + 1
        while low + size - 1 > ports.high:
            size //= 2
        found.append((low, PORT_MAX + 1 - size))
        low += size
    return found


def _expand_one(match: Match) -> list[TernaryMatch]:
    match = canonical(match)
    fields: dict[str, tuple[int, int]] = {}
    if match.eth_src is not None:
        fields["eth_src"] = (match.eth_src.value, _WHOLE["eth_src"])
    if match.eth_dst is not None:
        fields["eth_dst"] = (match.eth_dst.value, _WHOLE["eth_dst"])
    if match.eth_type is not None:
        fields["eth_type"] = (match.eth_type, _WHOLE["eth_type"])
    if match.vlan is not None:
        tci = 0 if match.vlan == UNTAGGED else VLAN_PRESENT | match.vlan
        fields["vlan_tci"] = (tci, _WHOLE["vlan_tci"])
    for name, network in (
        ("ipv4_src", match.ipv4_src),
        ("ipv4_dst", match.ipv4_dst),
        ("ipv6_src", match.ipv6_src),
        ("ipv6_dst", match.ipv6_dst),
    ):
        if network is not None and network.prefixlen:
            whole = _WHOLE[name]
            mask = whole ^ whole >> network.prefixlen
            fields[name] = (int(network.network_address), mask)
    if match.ip_proto is not None:
        fields["ip_proto"] = (match.ip_proto, _WHOLE["ip_proto"])
    if match.dscp is not None:
        fields["ip_dscp"] = (match.dscp, _WHOLE["ip_dscp"])
    if match.fragment is not None:
        fields["is_fragment"] = (int(match.fragment), _WHOLE["is_fragment"])
    if match.tcp_flags is not None and match.tcp_flags[1]:
        value, mask = match.tcp_flags
        fields["tcp_flags"] = (value & mask, mask)

    keys: list[TernaryMatch] = []
    for src in _ANY_PORT if match.l4_src is None else prefixes(match.l4_src):
        for dst in _ANY_PORT if match.l4_dst is None else prefixes(match.l4_dst):
            key = dict(fields)
            if src[1]:
                key["l4_src"] = src
            if dst[1]:
                key["l4_dst"] = dst
            keys.append(TernaryMatch(key))
    return keys
