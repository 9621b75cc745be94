"""The edge: flowspaces choose the slice of a tenant's frame."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import IP, IPOption_RR, IPOption_Timestamp
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, COOKIE, FAR, GOLD_UDP_PORT, ONE, RED, TWO, A
from ptf_tests.packets import gold, ipv6_tcp, leaving, tagged, tcp, udp
from ptf_tests.tables import ipv4, ipv6, mac


class ClassifierHitTakesSlice(SwitchCase):
    """A frame that a flowspace claims gets that slice's key and DSCP."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=RED.gold.dscp)})
        self.assertEqual(self.counter(self.network.gold_classifier(RED)).packets, 1)


class ClassifierMissIsBestEffort(SwitchCase):
    """A frame that nothing claims takes the port's best-effort slice, and no flow entry."""

    def runTest(self):
        frame = udp(ONE, FAR, GOLD_UDP_PORT + 1)
        self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})
        self.assertEqual(self.counter(self.network.gold_classifier(RED)).packets, 0)
        self.assertEqual(self.counter(self.network.gold_flow(RED)).packets, 0)


class ClassifierDenyDropped(SwitchCase):
    """A denying flowspace drops at the edge, counted for the tenant's best-effort slice."""

    def runTest(self):
        frame = tcp(ONE, FAR, 23)
        self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})
        deny = self.network.entry(
            "classifier",
            "classify_deny",
            priority=20,
            vn=RED.vn,
            ip_proto=6,
            l4_dst=23,
            cookie=COOKIE,
        )
        self.insert(deny)
        self.drops(1, frame, RED.best_effort.id, DropReason.DENIED)
        self.assertEqual(self.counter(deny).packets, 1)
        other = tcp(ONE, FAR, 24)
        self.passes(1, other, {A.port: leaving(other, RED.best_effort.key, A)})


class ClassifierHigherPriorityWins(SwitchCase):
    """Of two flowspaces that match, the one of higher priority decides, whichever came first."""

    def runTest(self):
        frame = gold(ONE, FAR)
        lower = self.network.entry(
            "classifier", "classify_deny", priority=9, vn=RED.vn, ip_proto=17, cookie=1
        )
        higher = self.network.entry(
            "classifier", "classify_deny", priority=11, vn=RED.vn, ip_proto=17, cookie=2
        )
        self.insert(lower)
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=RED.gold.dscp)})
        self.insert(higher)
        self.drops(1, frame, RED.best_effort.id, DropReason.DENIED)
        self.assertEqual(self.counter(higher).packets, 1)
        self.assertEqual(self.counter(lower).packets, 0)


class ClassifierTenantsApart(SwitchCase):
    """The same frame of two tenants with the same addresses takes each one's own slice."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=RED.gold.dscp)})
        self.passes(3, frame, {A.port: leaving(frame, BLUE.gold.key, A, dscp=BLUE.gold.dscp)})
        self.delete(self.network.gold_classifier(RED))
        self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})
        self.passes(3, frame, {A.port: leaving(frame, BLUE.gold.key, A, dscp=BLUE.gold.dscp)})


class ClassifierMatchesEachField(SwitchCase):
    """Each match field decides by itself: a denying entry on it stops this frame, not the other."""

    def runTest(self):
        frame = tagged(tcp(ONE, TWO, 80, flags="SA", tos=0x28 << 2), (0x8100, 5))
        other = tagged(udp(TWO, ONE, 53, sport=99), (0x8100, 6))
        matches = {
            "port": 1,
            "eth_src": mac(ONE.mac),
            "eth_dst": mac(TWO.mac),
            "vlan_tci": (0x1005, 0x1FFF),
            "ipv4_src": (ipv4("10.0.0.1"), 0xFFFFFFFF),
            "ipv4_dst": (ipv4("10.0.0.2"), 0xFFFFFF03),
            "ip_proto": 6,
            "ip_dscp": 0x28,
            "l4_src": 4000,
            "l4_dst": (80, 0xFFF0),
            "tcp_flags": (0x12, 0x3F),
        }
        for field, match in matches.items():
            with self.subTest(field=field):
                self.passes(1, frame, {2: frame})
                deny = self.network.entry(
                    "classifier", "classify_deny", priority=5, vn=RED.vn, cookie=1, **{field: match}
                )
                self.insert(deny)
                self.drops(1, frame, RED.best_effort.id, DropReason.DENIED)
                self.passes(2, other, {1: other})
                self.delete(deny)


class ClassifierMatchesIpv6(SwitchCase):
    """Addresses, protocol, traffic class, ports and flags of IPv6, also behind two VLAN tags."""

    def runTest(self):
        plain = ipv6_tcp(ONE, TWO, 80, tc=0x28 << 2)
        frame = tagged(plain, (0x88A8, 5), (0x8100, 6))
        other = tagged(udp(ONE, TWO), (0x88A8, 5), (0x8100, 6))
        matches = {
            "eth_type": 0x86DD,
            "vlan_tci": 0x1005,
            "ipv6_src": ipv6(ONE.ipv6),
            "ipv6_dst": (ipv6(TWO.ipv6) & ~3, (1 << 128) - 4),
            "ip_proto": 6,
            "ip_dscp": 0x28,
            "l4_dst": 80,
            "tcp_flags": (0x02, 0x02),
        }
        for field, match in matches.items():
            with self.subTest(field=field):
                self.passes(1, frame, {2: frame})
                deny = self.network.entry(
                    "classifier", "classify_deny", priority=5, vn=RED.vn, cookie=1, **{field: match}
                )
                self.insert(deny)
                self.drops(1, frame, RED.best_effort.id, DropReason.DENIED)
                if field == "vlan_tci":
                    self.passes(1, plain, {2: plain})
                else:
                    self.passes(1, other, {2: other})
                self.delete(deny)


class ClassifierSeesPortsBehindOptionsAndOfSctp(SwitchCase):
    """L4 ports are found behind IPv4 options, and SCTP has them where UDP has."""

    def runTest(self):
        for options in ([IPOption_RR(length=7, routers=["0.0.0.0"])], [IPOption_Timestamp()]):
            frame = gold(ONE, FAR, options=options)
            self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=RED.gold.dscp)})
        ether = Ether(src=ONE.mac, dst=TWO.mac)
        sctp = bytes(ether / IP(src=ONE.ip, dst=TWO.ip) / SCTP(sport=7, dport=2905))
        self.passes(1, sctp, {2: sctp})
        self.insert(
            self.network.entry(
                "classifier", "classify_deny", priority=5, vn=RED.vn, l4_dst=2905, cookie=1
            )
        )
        self.drops(1, sctp, RED.best_effort.id, DropReason.DENIED)


class ClassifierLaterFragmentHasNoPorts(SwitchCase):
    """A later fragment has no L4 fields: it is claimed by address and fragment flag only."""

    def runTest(self):
        first = gold(ONE, FAR, flags="MF")
        self.passes(1, first, {A.port: leaving(first, RED.gold.key, A, dscp=RED.gold.dscp)})
        later = gold(ONE, FAR, frag=10)
        self.passes(1, later, {A.port: leaving(later, RED.best_effort.key, A)})
        deny = self.network.entry(
            "classifier", "classify_deny", priority=5, vn=RED.vn, is_fragment=1, cookie=1
        )
        self.insert(deny)
        self.drops(1, later, RED.best_effort.id, DropReason.DENIED)
        self.passes(1, first, {A.port: leaving(first, RED.gold.key, A, dscp=RED.gold.dscp)})
