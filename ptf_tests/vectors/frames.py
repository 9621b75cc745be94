"""Random frames: sound ones, ones with changed bytes, ones that are cut. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from ptf_tests.network import Host
from ptf_tests.packets import TRANSPARENT_ETHERNET, tagged

OUTER_ADDRESSES = (
    "10.255.0.1",
    "10.255.0.2",
    "10.255.0.3",
    "10.255.7.7",
    "192.0.2.9",
    "203.0.113.5",
)
L4_PORTS = (53, 80, 443, 5000, 5001)
SHORTEST = 15  # a packet socket sends nothing shorter
SHORTEST_TAGGED = 20  # the kernel drops a tagged frame that ends before
VLAN_TYPES = (0x8100, 0x88A8)


class FrameMaker:
    """Makes frames between the hosts, and tunnels with mostly the given keys."""

    def __init__(
        self, rng: Random, hosts: Sequence[Host], groups: Sequence[Host], keys: Sequence[int]
    ) -> None:
        self._rng = rng
        self._hosts = hosts
        self._groups = groups
        self._keys = keys

    def frame(self, *, fabric: bool) -> bytes:
        """A frame as it may come into a port; sound in more than half of the cases."""
        rng = self._rng
        usual = rng.random() < 0.85
        frame = self.tunnel() if fabric == usual else self.tenant()
        fate = rng.random()
        if fate < 0.2:
            frame = self._changed(frame)
        elif fate < 0.3:
            frame = frame[: rng.randint(SHORTEST, len(frame))]
        if int.from_bytes(frame[12:14], "big") in VLAN_TYPES and len(frame) < SHORTEST_TAGGED:
            frame = frame.ljust(SHORTEST_TAGGED, b"\0")
        return frame

    def tenant(self) -> bytes:
        """A tenant's frame."""
        rng = self._rng
        src, dst = rng.choice(self._hosts), rng.choice(self._hosts)
        if rng.random() < 0.2:
            dst = rng.choice(self._groups)
        ether = Ether(src=src.mac, dst=dst.mac)
        body = bytes(rng.getrandbits(8) for _ in range(rng.randint(0, 24)))
        kind = rng.choices(("ipv4", "ipv6", "arp", "other"), (12, 4, 2, 1))[0]
        if kind == "ipv4":
            frame = bytes(ether / self._ipv4(src, dst) / self._transport() / Raw(body))
        elif kind == "ipv6":
            ip = IPv6(src=src.ipv6, dst=dst.ipv6, tc=rng.choice((0, 46 << 2)))
            frame = bytes(ether / ip / self._transport() / Raw(body))
        elif kind == "arp":
            frame = bytes(ether / ARP(hwsrc=src.mac, psrc=src.ip, pdst=dst.ip))
        else:
            frame = bytes(Ether(src=src.mac, dst=dst.mac, type=0x88B5) / Raw(body + b"\0"))
        if rng.random() < 0.25:
            tags = [(rng.choice(VLAN_TYPES), rng.choice((0, 5, 100, 4095)))]
            if rng.random() < 0.4:
                tags.append((0x8100, rng.choice((1, 5))))
            frame = tagged(frame, *tags, pcp=rng.choice((0, 5)))
        return frame

    def tunnel(self) -> bytes:
        """A keyed GRE packet from another switch."""
        rng = self._rng
        inner = self.tenant()
        if rng.random() < 0.05:
            inner = inner[: rng.randint(0, 20)]
        key = rng.choice(self._keys) if rng.random() < 0.93 else rng.getrandbits(32)
        identification = rng.choice((0x8000, 0x8000, 0x8001, 0x8FFF, 0xC001, 0x0001))
        ip = IP(
            src=rng.choice(OUTER_ADDRESSES),
            dst=OUTER_ADDRESSES[0] if rng.random() < 0.7 else rng.choice(OUTER_ADDRESSES),
            ttl=rng.choice((64, 64, 64, 64, 64, 63, 255, 2, 1, 0)),
            tos=rng.choice((0, 46 << 2, 0xFF)),
            id=identification,
            flags=rng.choice(("DF", "DF", "DF", 0)),
            proto=47,
        )
        sequence: dict[str, Any] = {}
        if rng.random() < 0.15:
            sequence = {"seqnum_present": 1, "sequence_number": 9}
        gre = GRE(key_present=1, key=key, proto=TRANSPARENT_ETHERNET, **sequence)
        outer = Ether(src="02:df:00:00:00:02", dst="02:df:00:00:00:01")
        packet = bytes(outer / ip / gre / Raw(inner))
        return packet + b"\0" * 6 if rng.random() < 0.1 else packet

    def _ipv4(self, src: Host, dst: Host) -> Packet:
        rng = self._rng
        options = [IPOption_RR(length=7, routers=["0.0.0.0"])] if rng.random() < 0.1 else []
        return IP(
            src=src.ip,
            dst=dst.ip,
            tos=rng.choice((0, 10 << 2, 46 << 2, 3)),
            ttl=rng.choice((0, 1, 64)),
            id=rng.getrandbits(16),
            flags=rng.choice((0, "DF", "MF")) if rng.random() < 0.2 else 0,
            frag=rng.choice((0, 1, 185)) if rng.random() < 0.15 else 0,
            options=options,
        )

    def _transport(self) -> Packet:
        rng = self._rng
        sport, dport = rng.choice(L4_PORTS), rng.choice(L4_PORTS)
        kind = rng.choices(("udp", "tcp", "icmp", "gre", "sctp"), (6, 5, 2, 1, 1))[0]
        if kind == "udp":
            return UDP(sport=sport, dport=dport)
        if kind == "tcp":
            return TCP(sport=sport, dport=dport, flags=rng.choice(("S", "SA", "A", "FPU")))
        if kind == "gre":
            return GRE(key_present=rng.randrange(2), key=rng.choice(self._keys), proto=0x6558)
        if kind == "sctp":
            return SCTP(sport=sport, dport=dport, tag=1)
        return ICMP()

    def _changed(self, frame: bytes) -> bytes:
        """One to three bytes changed, mostly in the headers; half of the time the checksum fits."""
        rng = self._rng
        changed = bytearray(frame)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(min(len(frame), 60))
            changed[at] = rng.choice((changed[at] ^ 1 << rng.randrange(8), rng.getrandbits(8)))
        if rng.random() < 0.5 and changed[12:15] == b"\x08\x00\x45" and len(changed) >= 34:
            changed[24:26] = b"\0\0"
            total = sum(struct.unpack("!10H", changed[14:34]))
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            changed[24:26] = struct.pack("!H", ~total & 0xFFFF)
        return bytes(changed)
