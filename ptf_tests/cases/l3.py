"""IP straight in GRE, from peers that know no Ethernet: the endpoint's header is pushed."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import IP, UDP, IPOption_RR
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ptf_tests.base import SwitchCase
from ptf_tests.network import (
    BEYOND_A,
    BLUE,
    FAR_B,
    FOREIGN,
    GOLD_UDP_PORT,
    NOBODY,
    ONE,
    RED,
    S1,
    TWO,
    A,
    B,
)
from ptf_tests.packets import PAYLOAD, arriving, leaving, tunnel
from ptf_tests.tables import ipv4, ipv6, mac

IPV4, IPV6 = 0x0800, 0x86DD


def v4(dst, dport=7, **fields):
    return bytes(IP(src="198.18.0.1", dst=dst.ip, **fields) / UDP(dport=dport) / Raw(PAYLOAD))


def v6(dst, dport=7, **fields):
    return bytes(IPv6(src="2001:db8::1", dst=dst.ipv6, **fields) / UDP(dport=dport) / Raw(PAYLOAD))


def framed(packet, dst, protocol):
    """The frame that the endpoint gets."""
    return bytes(Ether(src=S1.mac, dst=dst.mac, type=protocol)) + packet


class _L3Case(SwitchCase):
    def endpoint(self, tenant, host, *, six=False):
        address = {"ipv4_dst": 0, "ipv6_dst": ipv6(host.ipv6)}
        if not six:
            address = {"ipv4_dst": ipv4(host.ip), "ipv6_dst": 0}
        return self.network.entry(
            "l3_endpoint", "set_l3_endpoint", vn=tenant.vn, mac=mac(host.mac), **address
        )

    def state(self):
        hosts = [self.endpoint(RED, host) for host in (ONE, TWO, FAR_B)]
        return [*super().state(), *hosts, self.endpoint(RED, ONE, six=True)]

    def sent(self, packet, protocol=IPV4, key=RED.best_effort.key, **fields):
        return arriving(packet, key, sender=FOREIGN, protocol=protocol, **fields)


class L3Ipv4Delivered(_L3Case):
    """An IPv4 packet for an endpoint gets the endpoint's MAC and ours."""

    def runTest(self):
        for host, port in ((ONE, 1), (TWO, 2)):
            packet = v4(host)
            self.passes(FOREIGN.port, self.sent(packet), {port: framed(packet, host, IPV4)})


class L3Ipv4UnknownDropped(_L3Case):
    """An address that is nobody's; one that was somebody's."""

    def runTest(self):
        packet = v4(ONE)
        self.passes(FOREIGN.port, self.sent(packet), {1: framed(packet, ONE, IPV4)})
        reason = DropReason.UNKNOWN_L3_ENDPOINT
        self.drops(FOREIGN.port, self.sent(v4(NOBODY)), RED.best_effort.id, reason)
        self.delete(self.endpoint(RED, ONE))
        self.drops(FOREIGN.port, self.sent(packet), RED.best_effort.id, reason)


class L3Ipv6Delivered(_L3Case):
    """An IPv6 packet for an endpoint."""

    def runTest(self):
        packet = v6(ONE)
        self.passes(FOREIGN.port, self.sent(packet, IPV6), {1: framed(packet, ONE, IPV6)})


class L3Ipv6UnknownDropped(_L3Case):
    """An IPv6 address that is nobody's, though the host's IPv4 address is known."""

    def runTest(self):
        packet = v6(ONE)
        self.passes(FOREIGN.port, self.sent(packet, IPV6), {1: framed(packet, ONE, IPV6)})
        reason = DropReason.UNKNOWN_L3_ENDPOINT
        self.drops(FOREIGN.port, self.sent(v6(TWO), IPV6), RED.best_effort.id, reason)


class L3OfTheOtherTenant(_L3Case):
    """The key's tenant alone decides: blue has no such endpoint, then another one."""

    def runTest(self):
        packet = v4(ONE)
        blue = self.sent(packet, key=BLUE.best_effort.key)
        self.passes(FOREIGN.port, self.sent(packet), {1: framed(packet, ONE, IPV4)})
        self.drops(FOREIGN.port, blue, BLUE.best_effort.id, DropReason.UNKNOWN_L3_ENDPOINT)
        self.insert(self.endpoint(BLUE, ONE))
        self.passes(FOREIGN.port, blue, {3: framed(packet, ONE, IPV4)})


class L3WithChecksumAndSequence(_L3Case):
    """C and S with an IP payload; a wrong checksum does not pass."""

    def runTest(self):
        form = {"chksum_present": 1, "seqnum_present": 1, "sequence_number": 3}
        for packet, protocol in ((v4(ONE), IPV4), (v6(ONE), IPV6), (v4(ONE)[:21], IPV4)):
            sent = self.sent(packet, protocol, gre_fields=form)
            self.passes(FOREIGN.port, sent, {1: framed(packet, ONE, protocol)})
            wrong = self.sent(packet, protocol, gre_fields={**form, "chksum": 0x0BAD})
            self.drops(FOREIGN.port, wrong, 0, DropReason.OUTER_CHECKSUM)


class L3OptionsAndFragments(_L3Case):
    """IPv4 options, first and later fragments come out as they came in."""

    def runTest(self):
        for fields in (
            {"options": [IPOption_RR(length=11, routers=["0.0.0.0", "0.0.0.0"])]},
            {"flags": "MF"},
            {"frag": 77},
            {"ttl": 0},
            {"chksum": 1},
        ):
            with self.subTest(fields=str(fields)):
                packet = v4(ONE, **fields)
                self.passes(FOREIGN.port, self.sent(packet), {1: framed(packet, ONE, IPV4)})


class L3CutDropped(_L3Case):
    """Less than a whole IP header, by frame or outer length."""

    def runTest(self):
        four, six = v4(ONE), v6(ONE)
        self.passes(FOREIGN.port, self.sent(four), {1: framed(four, ONE, IPV4)})
        for packet, protocol, lengths in ((four, IPV4, (0, 1, 19)), (six, IPV6, (0, 39))):
            for length in lengths:
                with self.subTest(protocol=hex(protocol), length=length):
                    sent = self.sent(packet[:length], protocol)
                    self.drops(FOREIGN.port, sent, 0, DropReason.INNER_MALFORMED)
        sent = self.sent(four, ip_fields={"len": 20 + 8 + 19})
        self.drops(FOREIGN.port, sent, 0, DropReason.INNER_MALFORMED)
        sent = self.sent(six, IPV6, ip_fields={"len": 20 + 8 + 39})
        self.drops(FOREIGN.port, sent, 0, DropReason.INNER_MALFORMED)
        whole = six[:40]
        self.passes(FOREIGN.port, self.sent(whole, IPV6), {1: framed(whole, ONE, IPV6)})


class L3InAQosSliceGoesOnAsEthernet(_L3Case):
    """From the second hop on the packet has the endpoint's Ethernet header."""

    def runTest(self):
        packet = v4(FAR_B, GOLD_UDP_PORT)
        onward = leaving(framed(packet, FAR_B, IPV4), RED.gold.key, B, dscp=46, ttl=63)
        self.passes(FOREIGN.port, self.sent(packet, key=RED.gold.key), {B.port: onward})
        local = v4(ONE, GOLD_UDP_PORT)
        self.passes(FOREIGN.port, self.sent(local, key=RED.gold.key), {1: framed(local, ONE, IPV4)})
        other = v4(ONE)
        self.drops(
            FOREIGN.port, self.sent(other, key=RED.gold.key), RED.gold.id, DropReason.FLOW_MISS
        )


class L3BestEffortNotBackToFabric(_L3Case):
    """An endpoint elsewhere is not reached through this switch."""

    def runTest(self):
        packet = v4(ONE)
        self.passes(FOREIGN.port, self.sent(packet), {1: framed(packet, ONE, IPV4)})
        self.drops(
            FOREIGN.port,
            self.sent(v4(FAR_B)),
            RED.best_effort.id,
            DropReason.NOT_BACK_TO_FABRIC,
        )


class L3InTransitIsNotTouched(_L3Case):
    """A tunnel that ends elsewhere: no endpoint is asked for."""

    def runTest(self):
        for packet, protocol in ((v4(NOBODY), IPV4), (v6(NOBODY), IPV6)):
            passing = {"sender": FOREIGN, "receiver": BEYOND_A, "protocol": protocol}
            sent = tunnel(packet, 5, link=S1, **passing)
            onward = tunnel(packet, 5, link=A, link_src=S1.mac, ttl=63, **passing)
            self.passes(FOREIGN.port, sent, {A.port: onward})


class L3OfAnotherFamilyDropped(_L3Case):
    """0x0800 asks for IPv4 endpoints only, 0x86DD for IPv6."""

    def runTest(self):
        self.delete(self.endpoint(RED, ONE))
        packet = v6(ONE)
        self.passes(FOREIGN.port, self.sent(packet, IPV6), {1: framed(packet, ONE, IPV6)})
        self.drops(
            FOREIGN.port, self.sent(v4(ONE)), RED.best_effort.id, DropReason.UNKNOWN_L3_ENDPOINT
        )
