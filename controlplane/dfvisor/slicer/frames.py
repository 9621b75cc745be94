"""Header fields of a tenant's frame, as the switch's lookups see them: pure.

Follows p4src/parser.p4 and p4src/ingress/lookup.p4: one VLAN tag counts, IPv4 options and the usual
IPv6 extension headers are passed over, later fragments have no ports. Cut headers read as absent.
"""

from __future__ import annotations

VLAN_TYPES = (0x8100, 0x88A8)
VLAN_PRESENT = 0x1000
MAX_TAGS = 3
EXTENSIONS = (0, 43, 60)  # hop by hop, routing, destination
MAX_EXTENSIONS = 2
MAX_WORDS = 7
FRAGMENT = 44
PORTS = (6, 17, 132)
TCP = 6


def outer_vlan(frame: bytes) -> int | None:
    """The id of the outermost VLAN tag."""
    if int.from_bytes(frame[12:14], "big") not in VLAN_TYPES or len(frame) < 18:
        return None
    return int.from_bytes(frame[14:16], "big") & 0xFFF


def read_fields(frame: bytes, *, stripped: bool = False) -> dict[str, int]:
    """Field -> value, by the names of table `flow`; what is not there is left out (0).

    `stripped`: the switch takes the outermost tag off first.
    """
    if stripped:
        frame = frame[:12] + frame[16:]
    fields = {
        "eth_dst": int.from_bytes(frame[0:6], "big"),
        "eth_src": int.from_bytes(frame[6:12], "big"),
    }
    vlan = outer_vlan(frame)
    if vlan is not None:
        fields["vlan_tci"] = VLAN_PRESENT | vlan
    at = 12
    for _ in range(MAX_TAGS):
        if int.from_bytes(frame[at : at + 2], "big") not in VLAN_TYPES:
            break
        at += 4
    eth_type = int.from_bytes(frame[at : at + 2], "big")
    fields["eth_type"] = eth_type
    packet = frame[at + 2 :]
    if eth_type == 0x0800 and len(packet) >= 20:
        _ipv4(packet, fields)
    elif eth_type == 0x86DD and len(packet) >= 40:
        _ipv6(packet, fields)
    elif eth_type == 0x0806 and len(packet) >= 28:
        fields["ipv4_src"] = int.from_bytes(packet[14:18], "big")
        fields["ipv4_dst"] = int.from_bytes(packet[24:28], "big")
    return fields


def _ipv4(packet: bytes, fields: dict[str, int]) -> None:
    fields["ipv4_src"] = int.from_bytes(packet[12:16], "big")
    fields["ipv4_dst"] = int.from_bytes(packet[16:20], "big")
    fields["ip_proto"] = packet[9]
    fields["ip_dscp"] = packet[1] >> 2
    if int.from_bytes(packet[6:8], "big") & 0x1FFF:
        fields["is_fragment"] = 1
    else:
        _ports(packet[9], packet[(packet[0] & 15) * 4 :], fields)


def _ipv6(packet: bytes, fields: dict[str, int]) -> None:
    fields["ipv6_src"] = int.from_bytes(packet[8:24], "big")
    fields["ipv6_dst"] = int.from_bytes(packet[24:40], "big")
    fields["ip_dscp"] = int.from_bytes(packet[0:2], "big") >> 6 & 0x3F
    protocol, rest = packet[6], packet[40:]
    for place in range(MAX_EXTENSIONS):
        if protocol not in EXTENSIONS[place and 1 :] or len(rest) < 8 or rest[1] > MAX_WORDS:
            break
        protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
    if protocol == FRAGMENT and len(rest) >= 8:
        later = int.from_bytes(rest[2:4], "big") >> 3
        protocol, rest = rest[0], rest[8:]
        if later:
            fields["ip_proto"] = protocol
            fields["is_fragment"] = 1
            return
    fields["ip_proto"] = protocol
    _ports(protocol, rest, fields)


def _ports(protocol: int, segment: bytes, fields: dict[str, int]) -> None:
    if protocol not in PORTS or len(segment) < 4:
        return
    fields["l4_src"] = int.from_bytes(segment[0:2], "big")
    fields["l4_dst"] = int.from_bytes(segment[2:4], "big")
    if protocol == TCP and len(segment) >= 20:
        fields["tcp_flags"] = segment[13]
