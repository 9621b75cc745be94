"""Source guard: a port of a VN that forbids spoofing sends from its endpoints' addresses only."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from ptf_tests.base import SwitchCase
from ptf_tests.network import BROADCAST, FAR, ONE, RED, TWO, A, B, Host
from ptf_tests.packets import arp, leaving, tagged, udp
from ptf_tests.tables import ipv4, ipv6, mac

SPOOFED_MAC = Host("02:00:00:00:00:66", ONE.ip, ONE.ipv6)
SPOOFED_IP = Host(ONE.mac, "10.0.0.66", "fd00::66")


class _GuardCase(SwitchCase):
    def guard(self, port=1, host=ONE, priority=1, **values):
        if not values:
            values = {"eth_type": 0x0800, "ipv4_src": ipv4(host.ip)}
        return self.network.entry(
            "source_guard",
            "guard_pass",
            priority=priority,
            vn=RED.vn,
            port=port,
            eth_src=mac(host.mac),
            **values,
        )

    def setUp(self):
        super().setUp()
        self.modify(
            self.network.entry(
                "access_port",
                "set_access",
                port=1,
                vn=RED.vn,
                best_effort_slice=RED.best_effort.id,
                guarded=1,
            )
        )

    def refused(self, frame):
        self.drops(1, frame, RED.best_effort.id, DropReason.SOURCE_GUARD)


class GuardSpoofedIpv4Dropped(_GuardCase):
    """The endpoint's own addresses pass; another MAC or IPv4 address does not."""

    def runTest(self):
        self.insert(self.guard())
        frame = udp(ONE, TWO)
        self.passes(1, frame, {2: frame})
        self.refused(udp(SPOOFED_MAC, TWO))
        self.refused(udp(SPOOFED_IP, TWO))


class GuardWithoutEntryDropped(_GuardCase):
    """A guarded port without addresses sends nothing; with them it does."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.refused(frame)
        self.insert(self.guard())
        self.passes(1, frame, {2: frame})


class GuardSpoofedIpv6Dropped(_GuardCase):
    """IPv6 addresses are guarded like IPv4 ones."""

    def runTest(self):
        self.insert(self.guard(eth_type=0x86DD, ipv6_src=ipv6(ONE.ipv6)))

        def frame(src):
            layers = IPv6(src=src.ipv6, dst=TWO.ipv6) / UDP()
            return bytes(Ether(src=src.mac, dst=TWO.mac) / layers)

        self.passes(1, frame(ONE), {2: frame(ONE)})
        self.refused(frame(SPOOFED_IP))
        self.refused(frame(SPOOFED_MAC))
        self.refused(udp(ONE, TWO))


class GuardSpoofedArpDropped(_GuardCase):
    """ARP may only tell of the endpoint's own address."""

    def runTest(self):
        self.insert(self.guard(eth_type=0x0806, ipv4_src=ipv4(ONE.ip)))
        frame = arp(ONE, FAR)
        key = RED.best_effort.key
        self.passes(
            1, frame, {2: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        )
        self.refused(arp(SPOOFED_IP, FAR))
        lie = ARP(op=2, hwsrc=ONE.mac, psrc=TWO.ip, hwdst=FAR.mac, pdst=FAR.ip)
        self.refused(bytes(Ether(src=ONE.mac, dst=FAR.mac) / lie))


class GuardArpProbeNeedsItsOwnEntry(_GuardCase):
    """A probe's sender address is 0.0.0.0."""

    def runTest(self):
        self.insert(self.guard(eth_type=0x0806, ipv4_src=ipv4(ONE.ip)))
        probe = bytes(
            Ether(src=ONE.mac, dst=BROADCAST) / ARP(hwsrc=ONE.mac, psrc="0.0.0.0", pdst=ONE.ip)
        )
        self.refused(probe)
        self.insert(self.guard(priority=2, eth_type=0x0806, ipv4_src=(0, 0xFFFFFFFF)))
        key = RED.best_effort.key
        self.passes(
            1, probe, {2: probe, A.port: leaving(probe, key, A), B.port: leaving(probe, key, B)}
        )


class GuardPrefix(_GuardCase):
    """A router's port may send from a whole prefix."""

    def runTest(self):
        self.insert(self.guard(eth_type=0x0800, ipv4_src=(ipv4("10.0.0.64"), 0xFFFFFFC0)))
        frame = udp(SPOOFED_IP, TWO)
        self.passes(1, frame, {2: frame})
        self.refused(udp(ONE, TWO))


class GuardBehindVlanTags(_GuardCase):
    """Tags do not hide addresses."""

    def runTest(self):
        self.insert(self.guard())
        tags = ((0x8100, 5), (0x8100, 6))
        frame = tagged(udp(ONE, TWO), *tags)
        self.passes(1, frame, {2: frame})
        self.refused(tagged(udp(SPOOFED_IP, TWO), *tags))


class GuardOfOnePortOnly(_GuardCase):
    """An address belongs to its port; ports that are not guarded send what they like."""

    def runTest(self):
        self.insert(self.guard(host=TWO))
        frame = udp(TWO, ONE)
        self.passes(1, frame, {1: frame})
        self.passes(2, frame, {1: frame})
        spoofed = udp(SPOOFED_IP, ONE)
        self.passes(2, spoofed, {1: spoofed})
        self.delete(self.guard(host=TWO))
        self.insert(self.guard(port=2, host=TWO))
        self.refused(frame)


class GuardBeforeClassifier(_GuardCase):
    """A spoofed frame counts as nobody's flowspace."""

    def runTest(self):
        self.insert(self.guard())
        frame = udp(SPOOFED_IP, TWO, 5000)
        self.refused(frame)
        self.assertEqual(self.counter(self.network.gold_classifier(RED)).packets, 0)
        frame = udp(ONE, TWO, 5000)
        self.passes(1, frame, {2: frame})
        self.assertEqual(self.counter(self.network.gold_classifier(RED)).packets, 1)
