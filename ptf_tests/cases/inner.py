"""What of a tenant's frame can be matched: tags, extension headers, fragments, ARP, SCTP, ..."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, ONE, RED, TWO, A
from ptf_tests.packets import PAYLOAD, arriving, tagged, udp
from ptf_tests.tables import ipv4, ipv6

DPORT = 4242
ETHER = Ether(src=ONE.mac, dst=TWO.mac)
V4 = IP(src=ONE.ip, dst=TWO.ip)
V6 = IPv6(src=ONE.ipv6, dst=TWO.ipv6)
HOP_BY_HOP = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
DESTINATION = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])
ROUTING = IPv6ExtHdrRouting(addresses=["2001:db8::1"])
LONG = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 60)])
L4 = UDP(sport=9, dport=DPORT) / Raw(PAYLOAD)


class _InnerCase(SwitchCase):
    def matched(self, frame, **match):
        """An entry on these fields stops the frame, and its absence does not."""
        deny = self.deny(**match)
        self.passes(1, frame, {2: frame})
        self.insert(deny)
        self.drops(1, frame, RED.best_effort.id, DropReason.DENIED)
        self.delete(deny)

    def not_matched(self, frame, **match):
        """An entry on these fields does not stop the frame."""
        deny = self.deny(**match)
        self.insert(deny)
        self.passes(1, frame, {2: frame})
        self.delete(deny)

    def deny(self, **match):
        return self.network.entry(
            "classifier", "classify_deny", priority=50, vn=RED.vn, cookie=1, **match
        )


class InnerVlanTags(_InnerCase):
    """One to three tags: the outermost is the VLAN, the type and ports are behind the last."""

    def runTest(self):
        tags = [(0x8100, 5), (0x88A8, 6), (0x8100, 7)]
        for count in (1, 2, 3):
            frame = tagged(bytes(ETHER / V4 / L4), *tags[:count])
            for match in (
                {"vlan_tci": 0x1005},
                {"eth_type": 0x0800},
                {"ipv4_src": ipv4(ONE.ip)},
                {"l4_dst": DPORT},
            ):
                with self.subTest(count=count, match=match):
                    self.matched(frame, **match)
            self.not_matched(frame, vlan_tci=0x1006)


class InnerFourTagsAreTooMany(_InnerCase):
    """Behind the third tag a fourth one is an unknown type: the frame passes, unmatched."""

    def runTest(self):
        tags = [(0x8100, vid) for vid in (1, 2, 3, 4)]
        frame = tagged(bytes(ETHER / V4 / L4), *tags)
        self.matched(frame, eth_type=0x8100)
        self.not_matched(frame, eth_type=0x0800)
        self.not_matched(frame, l4_dst=DPORT)


class InnerUntaggedIsVlanZero(_InnerCase):
    """Untagged and VID 0 are different things."""

    def runTest(self):
        plain = bytes(ETHER / V4 / L4)
        self.matched(plain, vlan_tci=(0, 0x1FFF))
        self.not_matched(plain, vlan_tci=0x1000)
        priority_tagged = tagged(plain, (0x8100, 0), pcp=5)
        self.matched(priority_tagged, vlan_tci=0x1000)
        self.not_matched(priority_tagged, vlan_tci=(0, 0x1FFF))


class InnerIpv4Options(_InnerCase):
    """L4 ports behind options."""

    def runTest(self):
        for length in (7, 39):
            routers = ["0.0.0.0"] * (length // 4)
            ip = IP(src=ONE.ip, dst=TWO.ip, options=[IPOption_RR(length=length, routers=routers)])
            frame = bytes(ETHER / ip / L4)
            self.matched(frame, l4_dst=DPORT)
            self.matched(frame, ip_proto=17)


class InnerIpv6Extensions(_InnerCase):
    """L4 behind up to two extension headers of up to 64 bytes, and a fragment header."""

    def runTest(self):
        for headers in (
            HOP_BY_HOP,
            DESTINATION,
            ROUTING,
            HOP_BY_HOP / ROUTING,
            HOP_BY_HOP / DESTINATION,
            DESTINATION / IPv6ExtHdrFragment(),
            HOP_BY_HOP / ROUTING / IPv6ExtHdrFragment(),
            IPv6ExtHdrFragment(),
            LONG,
        ):
            with self.subTest(headers=headers.summary()):
                frame = bytes(ETHER / V6 / headers / L4)
                self.matched(frame, ip_proto=17)
                self.matched(frame, l4_dst=DPORT)
                self.matched(frame, ipv6_dst=ipv6(TWO.ipv6))


class InnerIpv6ExtensionsTooMany(_InnerCase):
    """A third extension header, one longer than 64 bytes, another order: no L4 fields."""

    def runTest(self):
        too_long = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 68)])
        for headers in (
            HOP_BY_HOP / ROUTING / DESTINATION,
            too_long,
            IPv6ExtHdrFragment() / DESTINATION,
        ):
            with self.subTest(headers=headers.summary()):
                frame = bytes(ETHER / V6 / headers / L4)
                self.not_matched(frame, l4_dst=DPORT)
                self.not_matched(frame, ip_proto=17)
                self.matched(frame, ipv6_src=ipv6(ONE.ipv6))


class InnerIpv6Fragments(_InnerCase):
    """The first fragment has L4 fields, later ones have not, and say that they are later."""

    def runTest(self):
        first = bytes(ETHER / V6 / IPv6ExtHdrFragment(m=1, id=7) / L4)
        later = bytes(ETHER / V6 / IPv6ExtHdrFragment(offset=8, id=7, nh=17) / Raw(bytes(L4)))
        self.matched(first, l4_dst=DPORT)
        self.not_matched(first, is_fragment=1)
        self.not_matched(later, l4_dst=DPORT)
        self.matched(later, l4_dst=(0, 0xFFFF))
        self.matched(later, is_fragment=1)
        self.matched(later, ip_proto=17)


class InnerIpv4Fragments(_InnerCase):
    """As IPv6's."""

    def runTest(self):
        first = udp(ONE, TWO, DPORT, flags="MF")
        later = udp(ONE, TWO, DPORT, frag=8)
        self.matched(first, l4_dst=DPORT)
        self.not_matched(first, is_fragment=1)
        self.not_matched(later, l4_dst=DPORT)
        self.matched(later, is_fragment=1)
        self.matched(later, ip_proto=17)


class InnerArp(_InnerCase):
    """ARP's sender and target addresses are matched as IPv4 addresses."""

    def runTest(self):
        layer = ARP(op=2, hwsrc=ONE.mac, psrc=ONE.ip, hwdst=TWO.mac, pdst=TWO.ip)
        frame = bytes(ETHER / layer)
        self.matched(frame, eth_type=0x0806)
        self.matched(frame, ipv4_src=ipv4(ONE.ip))
        self.matched(frame, ipv4_dst=ipv4(TWO.ip))
        self.not_matched(frame, ip_proto=17)


class InnerSctp(_InnerCase):
    """SCTP has ports too, over IPv4 and IPv6."""

    def runTest(self):
        for ip in (V4, V6):
            frame = bytes(ETHER / ip / SCTP(sport=9, dport=DPORT) / Raw(PAYLOAD))
            self.matched(frame, l4_dst=DPORT)
            self.matched(frame, ip_proto=132)


class InnerGreIsOneProtocol(_InnerCase):
    """A tenant's own GRE is matched by its outer addresses and protocol alone."""

    def runTest(self):
        frame = bytes(
            ETHER / V4 / GRE(key_present=1, key=RED.gold.key, proto=0x6558) / Raw(udp(FAR, ONE, 7))
        )
        self.matched(frame, ip_proto=47)
        self.matched(frame, ipv4_src=ipv4(ONE.ip))
        self.not_matched(frame, ipv4_src=ipv4(FAR.ip))
        self.not_matched(frame, l4_dst=7)


class InnerTcpFlags(_InnerCase):
    """Each flag by itself."""

    def runTest(self):
        for bit, flag in enumerate("FSRPAUEC"):
            frame = bytes(ETHER / V4 / TCP(dport=DPORT, flags=flag) / Raw(PAYLOAD))
            self.matched(frame, tcp_flags=(1 << bit, 1 << bit))
            self.not_matched(frame, tcp_flags=(1 << (bit ^ 1), 1 << (bit ^ 1)))


class InnerCutHeadersHaveNoFields(_InnerCase):
    """A header that is cut is not there."""

    def runTest(self):
        frame = bytes(ETHER / V4 / TCP(sport=9, dport=DPORT))
        self.matched(frame, l4_dst=DPORT)
        cut = frame[: 14 + 20 + 3]
        self.not_matched(cut, l4_dst=DPORT)
        self.matched(cut, ip_proto=6)
        cut = frame[: 14 + 20 + 10]  # ports are there, flags are not
        self.matched(cut, l4_dst=DPORT)
        cut = frame[: 14 + 19]
        self.not_matched(cut, ip_proto=6)
        self.matched(cut, eth_type=0x0800)


class InnerFieldsOfTheFabric(SwitchCase):
    """A QoS slice's packet is matched by the inner headers, behind tags and options."""

    def runTest(self):
        self.delete(self.network.gold_flow(RED))
        self.insert(
            self.network.entry(
                "flow", "permit", priority=9, slice_id=RED.gold.id, l4_dst=DPORT, cookie=1
            )
        )
        ether = Ether(src=FAR.mac, dst=ONE.mac)
        ip = IP(src=FAR.ip, dst=ONE.ip, options=[IPOption_RR(length=7, routers=["0.0.0.0"])])
        v6 = IPv6(src=FAR.ipv6, dst=ONE.ipv6)
        for plain in (bytes(ether / ip / L4), bytes(ether / v6 / HOP_BY_HOP / L4)):
            for tags in ((), ((0x8100, 5),), ((0x88A8, 5), (0x8100, 6), (0x8100, 7))):
                frame = tagged(plain, *tags) if tags else plain
                packet = arriving(frame, RED.gold.key, sender=A, dscp=46)
                self.passes(A.port, packet, {1: frame})
        other = udp(FAR, ONE, DPORT + 1)
        packet = arriving(other, RED.gold.key, sender=A, dscp=46)
        self.drops(A.port, packet, RED.gold.id, DropReason.FLOW_MISS)
