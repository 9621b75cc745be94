"""Tenants' frames come out as they went in: into a tunnel, out of one, and bridged."""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR, IPOption_Timestamp
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Raw

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, ONE, RED, TWO, A
from ptf_tests.packets import PAYLOAD, arp, arriving, leaving, tagged, tcp, udp

KEY = RED.best_effort.key


class _FrameCase(SwitchCase):
    def unchanged(self, build):
        """`build(src, dst)` gives the frame; it is sent all three ways."""
        out, back, local = build(ONE, FAR), build(FAR, ONE), build(ONE, TWO)
        self.passes(1, local, {2: local})
        self.passes(1, out, {A.port: leaving(out, KEY, A)})
        self.passes(A.port, arriving(back, KEY, sender=A), {1: back})


def ether(src, dst, **fields):
    return Ether(src=src.mac, dst=dst.mac, **fields)


class FrameVlanTags(_FrameCase):
    """One and two tags of either type, priority tags, a tag of VID 0 and 4095, three tags."""

    def runTest(self):
        for tags in (
            [(0x8100, 5)],
            [(0x8100, 0)],
            [(0x8100, 4095)],
            [(0x88A8, 7)],
            [(0x8100, 5), (0x8100, 6)],
            [(0x88A8, 100), (0x8100, 200)],
            [(0x88A8, 1), (0x8100, 2), (0x8100, 3)],
        ):
            for pcp in (0, 7):
                with self.subTest(tags=tags, pcp=pcp):
                    self.unchanged(lambda s, d, t=tags, p=pcp: tagged(udp(s, d), *t, pcp=p))


class FrameIpv4Options(_FrameCase):
    """IPv4 with options, from 4 to 40 bytes."""

    def runTest(self):
        for options in (
            [IPOption_RR(length=7, routers=["0.0.0.0"])],
            [IPOption_Timestamp()],
            [IPOption_RR(length=39, routers=["1.2.3.4"] * 9)],
        ):
            self.unchanged(lambda s, d, o=options: udp(s, d, options=o))


class FrameIpv6(_FrameCase):
    """IPv6 with UDP, TCP, extension headers, and a tag."""

    def runTest(self):
        def plain(s, d):
            return bytes(
                ether(s, d)
                / IPv6(src=s.ipv6, dst=d.ipv6, tc=0xB8, fl=0x12345)
                / UDP(dport=9)
                / Raw(PAYLOAD)
            )

        def tcp6(s, d):
            return bytes(
                ether(s, d) / IPv6(src=s.ipv6, dst=d.ipv6) / TCP(flags="PA") / Raw(PAYLOAD)
            )

        def extended(s, d):
            ip = IPv6(src=s.ipv6, dst=d.ipv6) / IPv6ExtHdrHopByHop(
                options=[PadN(optdata=b"\0" * 4)]
            )
            return bytes(ether(s, d) / ip / IPv6ExtHdrFragment() / UDP() / Raw(PAYLOAD))

        for build in (plain, tcp6, extended, lambda s, d: tagged(plain(s, d), (0x8100, 9))):
            self.unchanged(build)


class FrameArp(_FrameCase):
    """A unicast ARP answer, with and without padding."""

    def runTest(self):
        def answer(s, d):
            return bytes(ether(s, d) / ARP(op=2, hwsrc=s.mac, psrc=s.ip, hwdst=d.mac, pdst=d.ip))

        self.unchanged(answer)
        self.unchanged(lambda s, d: answer(s, d) + b"\0" * 18)
        self.assertEqual(arp(ONE, TWO)[:6], b"\xff" * 6)


class FrameUnknownEtherType(_FrameCase):
    """Types that the parser does not know, an 802.3 length, MPLS, and 6558 itself."""

    def runTest(self):
        for type_ in (0x88B5, 0x0026, 0x8847, 0x6558, 0xFFFF, 0):
            self.unchanged(lambda s, d, t=type_: bytes(ether(s, d, type=t) / Raw(PAYLOAD)))


class FrameCutHeaders(_FrameCase):
    """Frames that end within IPv4, TCP, UDP, IPv6 or behind Ethernet lose no byte."""

    def runTest(self):
        def tcp_frame(s, d):
            return tcp(s, d)

        def ipv6_frame(s, d):
            return bytes(ether(s, d) / IPv6(src=s.ipv6, dst=d.ipv6) / UDP())

        cuts = [(udp, length) for length in (15, 20, 33, 34, 36, 41, 42)]
        cuts += [(tcp_frame, length) for length in (35, 38, 40, 47, 48, 53, 54)]
        cuts += [(ipv6_frame, length) for length in (30, 53, 54, 57)]
        for build, length in cuts:
            with self.subTest(build=build.__name__, length=length):
                self.unchanged(lambda s, d, b=build, n=length: b(s, d)[:n])


class FrameIpv4HeaderLies(_FrameCase):
    """Wrong header lengths, versions and total lengths are the tenant's own business."""

    def runTest(self):
        for fields in (
            {"ihl": 0},
            {"ihl": 4},
            {"ihl": 15},
            {"version": 0},
            {"len": 0},
            {"len": 9999},
        ):
            with self.subTest(fields=fields):
                self.unchanged(lambda s, d, f=fields: udp(s, d, **f))


class FrameTenantsOwnGre(_FrameCase):
    """A tenant's own GRE, in any form, with a key of ours or another, is payload."""

    def runTest(self):
        inner = udp(FAR, ONE)
        forms = (
            {"key_present": 1, "key": KEY, "proto": 0x6558},
            {"key_present": 1, "key": 99, "proto": 0x6558, "seqnum_present": 1},
            {"proto": 0x6558},
            {"key_present": 1, "key": KEY, "proto": 0x0800},
            {"version": 1, "key_present": 1, "key": 3, "proto": 0x880B},
            {"chksum_present": 1, "key_present": 1, "key": 3, "proto": 0x6558},
        )
        for form in forms:
            with self.subTest(form=form):
                self.unchanged(
                    lambda s, d, f=form: bytes(
                        ether(s, d) / IP(src=s.ip, dst=d.ip) / GRE(**f) / Raw(inner)
                    )
                )
        self.unchanged(
            lambda s, d: bytes(
                ether(s, d)
                / IP(src=s.ip, dst=d.ip)
                / GRE(key_present=1, key=1, proto=0x6558)
                / Raw(inner[:9])
            )
        )


class FrameBadChecksumsNotRepaired(_FrameCase):
    """A tenant's wrong IPv4, UDP or TCP checksum stays wrong."""

    def runTest(self):
        def bad_ip(s, d):
            return udp(s, d, chksum=0xBAD1)

        def bad_udp(s, d):
            layers = IP(src=s.ip, dst=d.ip) / UDP(dport=7, chksum=0xBAD2) / Raw(PAYLOAD)
            return bytes(ether(s, d) / layers)

        def bad_tcp(s, d):
            layers = IP(src=s.ip, dst=d.ip) / TCP(dport=7, chksum=0xBAD3) / Raw(PAYLOAD)
            return bytes(ether(s, d) / layers)

        def bad_ip_with_gre(s, d):
            return bytes(
                ether(s, d)
                / IP(src=s.ip, dst=d.ip, chksum=1)
                / GRE(key_present=1, key=KEY, proto=0x6558)
                / Raw(bad_ip(s, d))
            )

        for build in (bad_ip, bad_udp, bad_tcp, bad_ip_with_gre):
            self.unchanged(build)


class FrameFragmentsAndIcmp(_FrameCase):
    """Fragments and ICMP."""

    def runTest(self):
        self.unchanged(lambda s, d: udp(s, d, flags="MF"))
        self.unchanged(lambda s, d: udp(s, d, frag=100))
        self.unchanged(
            lambda s, d: bytes(ether(s, d) / IP(src=s.ip, dst=d.ip) / ICMP() / Raw(PAYLOAD))
        )
