"""Random frames: sound ones, ones with changed bytes, ones that are cut. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from ptf_tests.network import Host
from ptf_tests.packets import TRANSPARENT_ETHERNET, lldp, tagged

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
VIDS = (0, 5, 5, 100, 100, 4095)
SWITCH = "10.255.0.1"
GRE_CHECKSUM_AT = 38


def kernel_drops(frame: bytes) -> bool:
    """Whether the kernel takes the frame for cut in its VLAN tag, and drops it on receipt."""
    return int.from_bytes(frame[12:14], "big") in VLAN_TYPES and len(frame) < SHORTEST_TAGGED


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
        if kernel_drops(frame):
            frame = frame.ljust(SHORTEST_TAGGED, b"\0")
        return frame

    def packet_out(self, ports: Sequence[int], fabric: Sequence[int]) -> bytes:
        """A packet from the agent, as if received on one of the ports, behind packet_out_t."""
        rng = self._rng
        port = rng.choice(ports)
        header = port << 7 | 1 << 6 | (rng.random() < 0.5) << 5 | rng.getrandbits(5)
        return struct.pack("!H", header) + self.frame(fabric=port in fabric)

    def tenant(self) -> bytes:
        """A tenant's frame."""
        rng = self._rng
        src, dst = rng.choice(self._hosts), rng.choice(self._hosts)
        if rng.random() < 0.2:
            dst = rng.choice(self._groups)
        ether = Ether(src=src.mac, dst=dst.mac)
        kind = rng.choices(("ipv4", "ipv6", "arp", "nd", "other", "lldp"), (24, 9, 4, 3, 1, 1))[0]
        if kind == "ipv4":
            frame = bytes(ether / self._packet(src, dst, six=False))
        elif kind == "ipv6":
            frame = bytes(ether / self._packet(src, dst, six=True))
        elif kind == "arp":
            frame = self._arp(src)
        elif kind == "nd":
            frame = self._neighbour(src)
        elif kind == "lldp":
            frame = lldp(src.mac)
        else:
            frame = bytes(Ether(src=src.mac, dst=dst.mac, type=0x88B5) / Raw(self._body() + b"\0"))
        if rng.random() < 0.3:
            tags = [
                (rng.choice(VLAN_TYPES), rng.choice(VIDS)) for _ in range(rng.choice((1, 1, 2, 3)))
            ]
            frame = tagged(frame, *tags, pcp=rng.choice((0, 5)))
        return frame

    def _packet(self, src: Host, dst: Host, *, six: bool) -> Packet:
        """An IP packet with something in it."""
        if six:
            return self._ipv6(src, dst) / self._transport() / Raw(self._body())
        return self._ipv4(src, dst) / self._transport() / Raw(self._body())

    def _body(self) -> bytes:
        return self._rng.randbytes(self._rng.choice((0, 1, 7, 24, 24, 25, 180)))

    def _arp(self, src: Host) -> bytes:
        """A request, answer, probe or announcement."""
        rng = self._rng
        asked = rng.choice((src, *self._hosts, *self._hosts)).ip
        if rng.random() < 0.2:
            asked = rng.choice(OUTER_ADDRESSES[:3])
        psrc = src.ip if rng.random() < 0.85 else "0.0.0.0"
        layer = ARP(op=rng.choice((1, 1, 1, 2)), hwsrc=src.mac, psrc=psrc, pdst=asked)
        return bytes(Ether(src=src.mac, dst="ff:ff:ff:ff:ff:ff") / layer) + b"\0" * rng.choice(
            (0, 18)
        )

    def _neighbour(self, src: Host) -> bytes:
        """A solicitation, mostly as hosts send them."""
        rng = self._rng
        target = rng.choice(self._hosts).ipv6
        message = (ICMPv6ND_NS if rng.random() < 0.8 else ICMPv6ND_NA)(tgt=target)
        option = ICMPv6NDOptSrcLLAddr if rng.random() < 0.9 else ICMPv6NDOptDstLLAddr
        ip = IPv6(
            src=src.ipv6 if rng.random() < 0.85 else "::",
            dst="ff02::1:ff00:1",
            hlim=255 if rng.random() < 0.9 else 64,
        )
        ether = Ether(src=src.mac, dst="33:33:ff:00:00:01")
        return bytes(ether / ip / message / option(lladdr=src.mac))

    def tunnel(self) -> bytes:
        """A keyed GRE packet from another switch."""
        rng = self._rng
        protocol, inner = TRANSPARENT_ETHERNET, self.tenant()
        fate = rng.random()
        if fate < 0.2:
            src, dst = rng.choice(self._hosts), rng.choice(self._hosts)
            six = rng.random() < 0.4
            protocol = 0x86DD if six else 0x0800
            inner = bytes(self._packet(src, dst, six=six))
        elif fate < 0.25:
            inner = inner[: rng.randint(0, 20)]
        key = rng.choice(self._keys) if rng.random() < 0.95 else rng.getrandbits(32)
        identification = rng.choice((0x8000, 0x8000, 0x8001, 0x8FFF, 0xC000, 0xC001, 0x0001))
        ip = IP(
            src=rng.choice(OUTER_ADDRESSES[1:]),
            dst=SWITCH if rng.random() < 0.7 else rng.choice(OUTER_ADDRESSES),
            ttl=rng.choice((64, 64, 64, 64, 64, 63, 255, 2, 1, 0)),
            tos=rng.choice((0, 46 << 2)) | rng.choice((0, 0, 1, 2, 3)),
            id=identification,
            flags="MF" if rng.random() < 0.02 else rng.choice(("DF", "DF", "DF", 0)),
            frag=rng.randrange(1, 9) if rng.random() < 0.02 else 0,
            proto=47,
        )
        fields: dict[str, Any] = {}
        if rng.random() < 0.2:
            fields |= {"seqnum_present": 1, "sequence_number": rng.getrandbits(32)}
        if rng.random() < 0.25:
            fields |= {"chksum_present": 1}
        if rng.random() < 0.02:
            fields |= rng.choice(({"version": 1}, {"routing_present": 1}, {"flags": 2}))
        gre = GRE(key_present=1, key=key, proto=protocol, **fields)
        outer = Ether(src="02:df:00:00:00:02", dst="02:df:00:00:00:01")
        packet = bytes(outer / ip / gre / Raw(inner))
        if "chksum_present" in fields and rng.random() < 0.15:
            wrong = bytearray(packet)
            wrong[GRE_CHECKSUM_AT + rng.randrange(2)] ^= 1 << rng.randrange(8)
            packet = bytes(wrong)
        return packet + b"\0" * 6 if rng.random() < 0.1 else packet

    def _ipv6(self, src: Host, dst: Host) -> Packet:
        rng = self._rng
        packet: Packet = IPv6(
            src=src.ipv6, dst=dst.ipv6, tc=rng.choice((0, 46 << 2)) | rng.randrange(4)
        )
        padding = PadN(optdata=b"\0" * rng.choice((4, 12, 60, 68)))
        for header in (
            IPv6ExtHdrHopByHop(options=[padding]),
            IPv6ExtHdrRouting(addresses=["2001:db8::1"]),
            IPv6ExtHdrDestOpt(options=[padding]),
            IPv6ExtHdrFragment(offset=rng.choice((0, 0, 9)), m=rng.randrange(2), id=5),
        ):
            if rng.random() < 0.12:
                packet /= header
        return packet

    def _ipv4(self, src: Host, dst: Host) -> Packet:
        rng = self._rng
        options = [IPOption_RR(length=7, routers=["0.0.0.0"])] if rng.random() < 0.1 else []
        return IP(
            src=src.ip,
            dst=dst.ip,
            tos=rng.choice((0, 10 << 2, 46 << 2)) | rng.randrange(4),
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
