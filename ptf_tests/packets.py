"""Frames that tests send, and the frames that they expect, built by scapy alone.

Everything is bytes: what is expected must match to the last one.
"""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from ptf_tests.network import BROADCAST, GOLD_UDP_PORT, S1, Host, Vtep

STAMPED = 0x8000
TRACED = 0x4000
NEAREST_BRIDGE = "01:80:c2:00:00:0e"  # IEEE 802.1AB
TRANSPARENT_ETHERNET = 0x6558
PAYLOAD = bytes(range(40))


def udp(
    src: Host,
    dst: Host,
    dport: int = 7,
    *,
    sport: int = 4000,
    payload: bytes = PAYLOAD,
    **ip_fields: Any,
) -> bytes:
    """A UDP frame between two hosts; `ip_fields` are scapy's."""
    return bytes(
        Ether(src=src.mac, dst=dst.mac)
        / IP(src=src.ip, dst=dst.ip, **ip_fields)
        / UDP(sport=sport, dport=dport)
        / Raw(payload)
    )


def gold(src: Host, dst: Host, **fields: Any) -> bytes:
    """A UDP frame that the gold slice carries."""
    return udp(src, dst, GOLD_UDP_PORT, **fields)


def tcp(src: Host, dst: Host, dport: int = 80, *, flags: str = "S", **ip_fields: Any) -> bytes:
    """A TCP frame between two hosts."""
    return bytes(
        Ether(src=src.mac, dst=dst.mac)
        / IP(src=src.ip, dst=dst.ip, **ip_fields)
        / TCP(sport=4000, dport=dport, flags=flags)
        / Raw(PAYLOAD)
    )


def ipv6_tcp(src: Host, dst: Host, dport: int, **ip_fields: Any) -> bytes:
    """A TCP frame over IPv6 between two hosts."""
    return bytes(
        Ether(src=src.mac, dst=dst.mac)
        / IPv6(src=src.ipv6, dst=dst.ipv6, **ip_fields)
        / TCP(sport=4000, dport=dport)
        / Raw(PAYLOAD)
    )


def arp(src: Host, dst: Host) -> bytes:
    """A broadcast ARP request."""
    return bytes(Ether(src=src.mac, dst=BROADCAST) / ARP(hwsrc=src.mac, psrc=src.ip, pdst=dst.ip))


def lldp(source: str) -> bytes:
    """A discovery probe, as switches send it."""
    return bytes(Ether(src=source, dst=NEAREST_BRIDGE, type=0x88CC) / Raw(b"\x02\x07probe..\0\0"))


def tagged(frame: bytes, *tags: tuple[int, int], pcp: int = 0) -> bytes:
    """The frame behind VLAN tags, outermost first: (TPID, VID)."""
    ether = Ether(frame)
    payload: Packet = ether.payload
    types = [tpid for tpid, _ in tags] + [ether.type]
    result = Ether(src=ether.src, dst=ether.dst, type=types[0])
    for position, (tpid, vid) in enumerate(tags):
        layer = Dot1AD if tpid == 0x88A8 else Dot1Q
        result /= layer(vlan=vid, prio=pcp, type=types[position + 1])
    return bytes(result / Raw(bytes(payload)))


def tunnel(
    inner: bytes,
    key: int,
    *,
    sender: Vtep,
    receiver: Vtep | str,
    link: Vtep | None = None,
    link_src: str | None = None,
    ttl: int = 64,
    dscp: int = 0,
    ecn: int = 0,
    identification: int = STAMPED,
    protocol: int = TRANSPARENT_ETHERNET,
    flags: str | int = "DF",
    frag: int = 0,
    gre_fields: dict[str, Any] | None = None,
    ip_fields: dict[str, Any] | None = None,
    tail: bytes = b"",
) -> bytes:
    """`inner` in Ethernet / IPv4 / GRE with a key, as `sender` sends it towards `receiver`.

    `link` is the switch at the other end of the cable, by default the receiver.
    """
    if link is None:
        assert isinstance(receiver, Vtep)
        link = receiver
    destination = receiver.ip if isinstance(receiver, Vtep) else receiver
    packet = (
        Ether(src=link_src or sender.mac, dst=link.mac)
        / IP(
            **{
                "src": sender.ip,
                "dst": destination,
                "ttl": ttl,
                "tos": dscp << 2 | ecn,
                "id": identification,
                "flags": flags,
                "frag": frag,
                "proto": 47,
                **(ip_fields or {}),
            }
        )
        / GRE(**{"key_present": 1, "key": key, "proto": protocol, **(gre_fields or {})})
        / Raw(inner)
    )
    return bytes(packet) + tail


def arriving(inner: bytes, key: int, *, sender: Vtep, **fields: Any) -> bytes:
    """What S1 receives from a VTEP."""
    return tunnel(inner, key, sender=sender, receiver=S1, **fields)


def leaving(inner: bytes, key: int, receiver: Vtep, **fields: Any) -> bytes:
    """What S1 sends to a VTEP."""
    return tunnel(inner, key, sender=S1, receiver=receiver, **fields)
