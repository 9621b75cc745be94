"""From a flowspace's match to ternary table keys: pure.

Field names are those of the P4 tables `classifier` and `flow`. Values are integers of the field's
width; a field that does not matter is absent. Port ranges become prefixes, so one match may need
several keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
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
_PREFIX = ("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst")

Masks: TypeAlias = tuple[tuple[str, int], ...]
"""Field names with masks other than 0, in any order that the caller keeps to."""
Values: TypeAlias = tuple[int, ...]

# What a match says of each field is its shape, a number: of an address the length of its prefix, of
# TCP flags their mask, of all others, in one bit, that they are said. Keys of a shape share masks.
_PLACES = {  # lowest bit and number of bits
    "eth_src": (0, 1),
    "eth_dst": (1, 1),
    "eth_type": (2, 1),
    "vlan_tci": (3, 1),
    "ip_proto": (4, 1),
    "ip_dscp": (5, 1),
    "is_fragment": (6, 1),
    "l4_src": (7, 1),
    "l4_dst": (8, 1),
    "tcp_flags": (9, 8),
    "ipv4_src": (17, 6),
    "ipv4_dst": (23, 6),
    "ipv6_src": (29, 8),
    "ipv6_dst": (37, 8),
}
_ETH_SRC, _ETH_DST, _ETH_TYPE, _VLAN, _PROTO, _DSCP, _FRAGMENT, _L4_SRC, _L4_DST = (
    1 << place for place, bits in _PLACES.values() if bits == 1
)
_TCP_FLAGS, _IPV4_SRC, _IPV4_DST, _IPV6_SRC, _IPV6_DST = (
    place for place, bits in _PLACES.values() if bits > 1
)
_FLAGS = [("tcp_flags", mask) for mask in range(1 << WIDTHS["tcp_flags"])]
_ANY_PORT = [(0, 0)]
MOST_SHAPES = 4096  # that are remembered
_MASKS: dict[int, Masks] = {}


class TernaryMatch(msgspec.Struct, frozen=True, gc=False):
    """One ternary key: values under masks, value & ~mask == 0, in the order of WIDTHS. Those of
    `expand` with equal masks share them, so that this is most often seen at once.
    """

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
    shape = 0
    values: list[int] = []
    if eth_src is not None:
        shape |= _ETH_SRC
        values.append(eth_src.value)
    if eth_dst is not None:
        shape |= _ETH_DST
        values.append(eth_dst.value)
    if eth_type is None:  # as in `canonical`
        if ipv4_src is not None or ipv4_dst is not None:
            eth_type = ETH_IPV4
        elif ipv6_src is not None or ipv6_dst is not None:
            eth_type = ETH_IPV6
    if eth_type is not None:
        shape |= _ETH_TYPE
        values.append(eth_type)
    if vlan is not None:
        shape |= _VLAN
        values.append(0 if vlan == UNTAGGED else VLAN_PRESENT | vlan)
    if ipv4_src is not None and (length := ipv4_src.prefixlen):
        shape |= length << _IPV4_SRC
        values.append(int(ipv4_src.network_address))
    if ipv4_dst is not None and (length := ipv4_dst.prefixlen):
        shape |= length << _IPV4_DST
        values.append(int(ipv4_dst.network_address))
    if ipv6_src is not None and (length := ipv6_src.prefixlen):
        shape |= length << _IPV6_SRC
        values.append(int(ipv6_src.network_address))
    if ipv6_dst is not None and (length := ipv6_dst.prefixlen):
        shape |= length << _IPV6_DST
        values.append(int(ipv6_dst.network_address))
    if ip_proto is not None:
        shape |= _PROTO
        values.append(ip_proto)
    if dscp is not None:
        shape |= _DSCP
        values.append(dscp)
    if fragment is not None:
        shape |= _FRAGMENT
        values.append(int(fragment))
    elif l4_src is not None or l4_dst is not None or tcp_flags is not None:
        shape |= _FRAGMENT
        values.append(0)
    flags: Values = ()
    if tcp_flags is not None and tcp_flags[1]:
        flags = (tcp_flags[0] & tcp_flags[1],)
    if (l4_src is not None and l4_src.low != l4_src.high) or (
        l4_dst is not None and l4_dst.low != l4_dst.high
    ):
        last = (_FLAGS[tcp_flags[1]],) if tcp_flags is not None and flags else ()
        return [
            TernaryMatch(_shared((*_masks(shape), *names, *last)), (*values, *ports, *flags))
            for names, ports in _ports(l4_src, l4_dst)
        ]
    if l4_src is not None:
        shape |= _L4_SRC
        values.append(l4_src.low)
    if l4_dst is not None:
        shape |= _L4_DST
        values.append(l4_dst.low)
    if tcp_flags is not None and flags:
        shape |= tcp_flags[1] << _TCP_FLAGS
        values.extend(flags)
    return [TernaryMatch(_MASKS.get(shape) or _masks(shape), tuple(values))]


def _masks(shape: int) -> Masks:
    """The masks of a shape, the same object every time."""
    found: list[tuple[str, int]] = []
    for name, width in WIDTHS.items():
        place, bits = _PLACES[name]
        said = shape >> place & (1 << bits) - 1
        if said and name in _PREFIX:
            found.append((name, _WHOLE[name] ^ _WHOLE[name] >> said))
        elif said:
            found.append((name, said if name == "tcp_flags" else (1 << width) - 1))
    if len(_MASKS) >= MOST_SHAPES:
        _MASKS.clear()
    return _MASKS.setdefault(shape, _shared(tuple(found)))


@lru_cache(MOST_SHAPES)
def _shared(masks: Masks) -> Masks:
    """The object that stands for all that are equal, as far as is remembered."""
    return masks


def _ports(
    l4_src: PortRange | None, l4_dst: PortRange | None
) -> Iterator[tuple[list[tuple[str, int]], list[int]]]:
    """Masks and values for all that ranges of ports are made of."""
    for src in _ANY_PORT if l4_src is None else prefixes(l4_src):
        for dst in _ANY_PORT if l4_dst is None else prefixes(l4_dst):
            said = [
                (name, value, mask)
                for name, (value, mask) in (("l4_src", src), ("l4_dst", dst))
                if mask
            ]
            yield [(name, mask) for name, _, mask in said], [value for _, value, _ in said]
