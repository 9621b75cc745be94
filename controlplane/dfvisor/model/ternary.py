"""From a flowspace's match to ternary table keys: pure.

Field names are those of the P4 tables `classifier` and `flow`. Values are integers of the field's
width; a field that does not matter is absent. Port ranges become prefixes, so one match may need
several keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TypeAlias

import msgspec
from msgspec.structs import astuple

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

Masks: TypeAlias = tuple[tuple[str, int], ...]
"""Field names with masks other than 0, in any order that the caller keeps to."""
Values: TypeAlias = tuple[int, ...]


def _prefixes_of(name: str) -> list[tuple[str, int]]:
    """The field with the mask of each prefix length."""
    width, whole = WIDTHS[name], _WHOLE[name]
    return [(name, whole ^ whole >> length) for length in range(width + 1)]


# shared by all keys: to see that two have the same masks is to see that they are the same objects
_EXACT = {name: (name, whole) for name, whole in _WHOLE.items()}
_PREFIX = {name: _prefixes_of(name) for name in ("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst")}
_FLAGS = [("tcp_flags", mask) for mask in range(1 << WIDTHS["tcp_flags"])]
_ETH_SRC, _ETH_DST, _ETH_TYPE = _EXACT["eth_src"], _EXACT["eth_dst"], _EXACT["eth_type"]
_VLAN, _PROTO, _DSCP = _EXACT["vlan_tci"], _EXACT["ip_proto"], _EXACT["ip_dscp"]
_FRAGMENT, _L4_SRC, _L4_DST = _EXACT["is_fragment"], _EXACT["l4_src"], _EXACT["l4_dst"]
_IPV4_SRC, _IPV4_DST = _PREFIX["ipv4_src"], _PREFIX["ipv4_dst"]
_IPV6_SRC, _IPV6_DST = _PREFIX["ipv6_src"], _PREFIX["ipv6_dst"]
_ANY_PORT = [(0, 0)]


class TernaryMatch(msgspec.Struct, frozen=True, gc=False):
    """One ternary key: values under masks, value & ~mask == 0, in the order of WIDTHS."""

    masks: Masks
    values: Values

    @property
    def fields(self) -> dict[str, tuple[int, int]]:
        """Field -> (value, mask)."""
        return {
            name: (value, mask) for (name, mask), value in zip(self.masks, self.values, strict=True)
        }

    def matches(self, packet: Mapping[str, int]) -> bool:
        """Whether a packet with these field values (absent: 0) hits this key."""
        return all(
            packet.get(name, 0) & mask == value
            for (name, mask), value in zip(self.masks, self.values, strict=True)
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
    return keys if len(keys) == 1 else list(dict.fromkeys(keys))


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
    (
        _,  # endpoint
        eth_src,
        eth_dst,
        eth_type,
        vlan,
        ipv4_src,
        ipv4_dst,
        ipv6_src,
        ipv6_dst,
        ip_proto,
        dscp,
        fragment,
        l4_src,
        l4_dst,
        tcp_flags,
    ) = astuple(match)
    ipv4 = ipv4_src is not None or ipv4_dst is not None
    if eth_type is None:  # as `canonical` has it, without the copy
        if ipv4:
            eth_type = ETH_IPV4
        elif ipv6_src is not None or ipv6_dst is not None:
            eth_type = ETH_IPV6
    if fragment is None and (l4_src is not None or l4_dst is not None or tcp_flags is not None):
        fragment = False
    masks: list[tuple[str, int]] = []
    values: list[int] = []
    if eth_src is not None:
        masks.append(_ETH_SRC)
        values.append(eth_src.value)
    if eth_dst is not None:
        masks.append(_ETH_DST)
        values.append(eth_dst.value)
    if eth_type is not None:
        masks.append(_ETH_TYPE)
        values.append(eth_type)
    if vlan is not None:
        masks.append(_VLAN)
        values.append(0 if vlan == UNTAGGED else VLAN_PRESENT | vlan)
    if ipv4 or ipv6_src is not None or ipv6_dst is not None:
        for network, of_length in (
            (ipv4_src, _IPV4_SRC),
            (ipv4_dst, _IPV4_DST),
            (ipv6_src, _IPV6_SRC),
            (ipv6_dst, _IPV6_DST),
        ):
            if network is not None and (length := network.prefixlen):
                masks.append(of_length[length])
                values.append(int(network.network_address))
    if ip_proto is not None:
        masks.append(_PROTO)
        values.append(ip_proto)
    if dscp is not None:
        masks.append(_DSCP)
        values.append(dscp)
    if fragment is not None:
        masks.append(_FRAGMENT)
        values.append(int(fragment))
    plain = (l4_src is None or l4_src.low == l4_src.high) and (
        l4_dst is None or l4_dst.low == l4_dst.high
    )
    if plain:
        if l4_src is not None:
            masks.append(_L4_SRC)
            values.append(l4_src.low)
        if l4_dst is not None:
            masks.append(_L4_DST)
            values.append(l4_dst.low)
        if tcp_flags is not None and tcp_flags[1]:
            masks.append(_FLAGS[tcp_flags[1]])
            values.append(tcp_flags[0] & tcp_flags[1])
        return [TernaryMatch(tuple(masks), tuple(values))]
    last: tuple[tuple[str, int], ...] = ()
    flags: tuple[int, ...] = ()
    if tcp_flags is not None and tcp_flags[1]:
        last = (_FLAGS[tcp_flags[1]],)
        flags = (tcp_flags[0] & tcp_flags[1],)
    keys: list[TernaryMatch] = []
    for src in _ANY_PORT if l4_src is None else prefixes(l4_src):
        for dst in _ANY_PORT if l4_dst is None else prefixes(l4_dst):
            ports = [
                (_port(name, mask), value)
                for name, (value, mask) in (("l4_src", src), ("l4_dst", dst))
                if mask
            ]
            keys.append(
                TernaryMatch(
                    (*masks, *[port for port, _ in ports], *last),
                    (*values, *[value for _, value in ports], *flags),
                )
            )
    return keys


@cache
def _port(name: str, mask: int) -> tuple[str, int]:
    return _EXACT[name] if mask == PORT_MAX else (name, mask)
