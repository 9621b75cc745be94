"""Explicit congestion notification across tunnels: RFC 6040, normal mode."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from ptf_tests.base import SwitchCase
from ptf_tests.network import BEYOND_A, FAR, FAR_B, ONE, RED, S1, A, B
from ptf_tests.packets import PAYLOAD, arriving, gold, leaving, tagged, tunnel, udp

NOT_ECT, ECT_1, ECT_0, CE = range(4)
KEY = RED.best_effort.key


def combined(inner, outer):
    """RFC 6040 4.2, figure 4; None is dropped."""
    if outer == CE:
        return None if inner == NOT_ECT else CE
    return ECT_1 if (inner, outer) == (ECT_0, ECT_1) else inner


def ipv6(src, dst, ecn):
    layers = IPv6(src=src.ipv6, dst=dst.ipv6, tc=0xA8 | ecn) / UDP(dport=7) / Raw(PAYLOAD)
    return bytes(Ether(src=src.mac, dst=dst.mac) / layers)


class _EcnCase(SwitchCase):
    def matrix(self, build):
        """`build(ecn)` is the tenant's frame with that field."""
        for inner in (NOT_ECT, ECT_1, ECT_0, CE):
            for outer in (NOT_ECT, ECT_1, ECT_0, CE):
                with self.subTest(inner=inner, outer=outer):
                    packet = arriving(build(inner), KEY, sender=A, ecn=outer)
                    result = combined(inner, outer)
                    if result is None:
                        reason = DropReason.ECN_NOT_CAPABLE
                        self.drops(A.port, packet, RED.best_effort.id, reason)
                    else:
                        self.passes(A.port, packet, {1: build(result)})


class EcnOutOfTheTunnelIpv4(_EcnCase):
    """All 16 combinations; the inner header checksum fits."""

    def runTest(self):
        self.matrix(lambda ecn: udp(FAR, ONE, tos=0xA8 | ecn))


class EcnOutOfTheTunnelIpv6(_EcnCase):
    """All 16 combinations for IPv6."""

    def runTest(self):
        self.matrix(lambda ecn: ipv6(FAR, ONE, ecn))


class EcnOutOfTheTunnelBehindTags(_EcnCase):
    """All 16 combinations behind two VLAN tags."""

    def runTest(self):
        tags = ((0x88A8, 5), (0x8100, 6))
        self.matrix(lambda ecn: tagged(udp(FAR, ONE, tos=ecn), *tags))


class EcnChecksumCarries(SwitchCase):
    """Every kind of carry in the incremental checksum: it stays the right one."""

    def runTest(self):
        base = IP(udp(FAR, ONE, tos=ECT_0, id=0)[14:34])
        sums = {*range(4), *range(0xFFFB, 0xFFFF), 0x7FFF, 0x8000, 0x00FF, 0xFF00}
        for wanted in sorted(sums):
            # The Identification makes the checksum what is wanted.
            ident = base.chksum - wanted
            ident = (ident - 1 if ident < 0 else ident) & 0xFFFF
            for inner, outer, result in ((ECT_0, CE, CE), (ECT_1, CE, CE), (ECT_0, ECT_1, ECT_1)):
                with self.subTest(checksum=hex(wanted), inner=inner, outer=outer):
                    packet = arriving(udp(FAR, ONE, tos=inner, id=ident), KEY, sender=A, ecn=outer)
                    self.passes(A.port, packet, {1: udp(FAR, ONE, tos=result, id=ident)})


class EcnWrongChecksumStaysWrong(SwitchCase):
    """A tenant's wrong checksum is off by as much as before."""

    def runTest(self):
        for inner, outer, result in ((ECT_0, CE, CE), (ECT_1, CE, CE), (ECT_0, ECT_1, ECT_1)):
            right_before = IP(udp(FAR, ONE, tos=inner)[14:34]).chksum
            right_after = IP(udp(FAR, ONE, tos=result)[14:34]).chksum
            frame = udp(FAR, ONE, tos=inner, chksum=right_before - 0x0111)
            wanted = udp(FAR, ONE, tos=result, chksum=right_after - 0x0111)
            self.passes(A.port, arriving(frame, KEY, sender=A, ecn=outer), {1: wanted})


class EcnOfFramesWithoutIt(SwitchCase):
    """ARP and unknown types have no such field: congestion on the way does not drop them."""

    def runTest(self):
        answer = bytes(
            Ether(src=FAR.mac, dst=ONE.mac)
            / ARP(op=2, hwsrc=FAR.mac, psrc=FAR.ip, hwdst=ONE.mac, pdst=ONE.ip)
        )
        unknown = bytes(Ether(src=FAR.mac, dst=ONE.mac, type=0x88B5) / Raw(PAYLOAD))
        for frame in (answer, unknown):
            self.passes(A.port, arriving(frame, KEY, sender=A, ecn=CE), {1: frame})


class EcnIntoTheTunnel(SwitchCase):
    """The outer field is the tenant's, IPv4 and IPv6, behind tags, in both kinds of slices; 0 for
    what has none."""

    def runTest(self):
        for ecn in (NOT_ECT, ECT_1, ECT_0, CE):
            best, six = udp(ONE, FAR, tos=0xFC | ecn), ipv6(ONE, FAR, ecn)
            for frame in (best, six, tagged(best, (0x8100, 9))):
                self.passes(1, frame, {A.port: leaving(frame, KEY, A, ecn=ecn)})
            qos = gold(ONE, FAR, tos=ecn)
            onward = leaving(qos, RED.gold.key, A, dscp=46, ecn=ecn)
            self.passes(1, qos, {A.port: onward})
        frame = bytes(Ether(src=ONE.mac, dst=FAR.mac, type=0x88B5) / Raw(b"\xff" * 40))
        self.passes(1, frame, {A.port: leaving(frame, KEY, A, ecn=0)})


class EcnFromHopToHop(SwitchCase):
    """A QoS packet that was marked before this hop stays marked, inside and outside."""

    def runTest(self):
        for inner, outer in ((ECT_0, CE), (ECT_1, CE), (ECT_0, ECT_1), (ECT_0, ECT_0)):
            frame = gold(FAR, FAR_B, tos=inner)
            result = combined(inner, outer)
            marked = gold(FAR, FAR_B, tos=result)
            packet = arriving(frame, RED.gold.key, sender=A, dscp=46, ecn=outer)
            onward = leaving(marked, RED.gold.key, B, dscp=46, ecn=result, ttl=63)
            self.passes(A.port, packet, {B.port: onward})


class EcnInTransitIsNotTouched(SwitchCase):
    """In transit the mark stays outside."""

    def runTest(self):
        frame = udp(FAR, ONE)
        for ecn in (NOT_ECT, ECT_1, ECT_0, CE):
            passing = {"sender": B, "receiver": BEYOND_A, "ecn": ecn}
            packet = tunnel(frame, 5, link=S1, **passing)
            onward = tunnel(frame, 5, link=A, link_src=S1.mac, ttl=63, **passing)
            self.passes(B.port, packet, {A.port: onward})
