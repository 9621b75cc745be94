"""GRE as RFC 2784 and RFC 2890 allow it: checksum, key and sequence number in every combination."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Raw

from ptf_tests.base import SwitchCase
from ptf_tests.network import BEYOND_A, FAR, FAR_B, FOREIGN, ONE, RED, S1, A, B
from ptf_tests.packets import PAYLOAD, arriving, gold, leaving, tagged, tunnel, udp

KEY = RED.best_effort.key
CHECKSUM = {"chksum_present": 1}
SEQUENCE = {"seqnum_present": 1, "sequence_number": 0x01020304}
NO_KEY = {"key_present": 0, "key": None}


class _Accepted(SwitchCase):
    """Delivered here, sent on in its slice without what we do not send, unchanged in transit."""

    def accepted(self, form):
        frame = udp(FAR, ONE)
        packet = arriving(frame, KEY, sender=FOREIGN, gre_fields=form)
        self.passes(FOREIGN.port, packet, {1: frame})
        frame = gold(FAR, FAR_B)
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46, gre_fields=form)
        onward = leaving(frame, RED.gold.key, B, dscp=46, ttl=63)
        self.passes(A.port, packet, {B.port: onward})
        passing = {"sender": B, "receiver": BEYOND_A, "gre_fields": form}
        packet = tunnel(frame, 7, link=S1, **passing)
        onward = tunnel(frame, 7, link=A, link_src=S1.mac, ttl=63, **passing)
        self.passes(B.port, packet, {A.port: onward})


class _Refused(SwitchCase):
    """Without a key there is no slice, also in transit."""

    def refused(self, form):
        frame = udp(FAR, ONE)
        keyed = {**form, "key_present": 1, "key": KEY}
        self.passes(A.port, arriving(frame, KEY, sender=A, gre_fields=keyed), {1: frame})
        packet = arriving(frame, KEY, sender=A, gre_fields=form)
        self.drops(A.port, packet, 0, DropReason.GRE_UNSUPPORTED)
        packet = tunnel(frame, 0, sender=B, receiver=BEYOND_A, link=S1, gre_fields=form)
        self.drops(B.port, packet, 0, DropReason.GRE_UNSUPPORTED)


class GreWithKey(_Accepted):
    """K."""

    def runTest(self):
        self.accepted({})


class GreWithKeyAndSequence(_Accepted):
    """K and S."""

    def runTest(self):
        self.accepted(SEQUENCE)


class GreWithChecksumAndKey(_Accepted):
    """C and K."""

    def runTest(self):
        self.accepted(CHECKSUM)


class GreWithChecksumKeyAndSequence(_Accepted):
    """C, K and S."""

    def runTest(self):
        self.accepted(CHECKSUM | SEQUENCE)


class GreBareDropped(_Refused):
    """Neither C, K nor S."""

    def runTest(self):
        self.refused(NO_KEY)


class GreWithSequenceAloneDropped(_Refused):
    """S without K."""

    def runTest(self):
        self.refused(NO_KEY | SEQUENCE)


class GreWithChecksumAloneDropped(_Refused):
    """C without K."""

    def runTest(self):
        self.refused(NO_KEY | CHECKSUM)


class GreWithChecksumAndSequenceDropped(_Refused):
    """C and S without K."""

    def runTest(self):
        self.refused(NO_KEY | CHECKSUM | SEQUENCE)


class GreReservedBitsDropped(SwitchCase):
    """Every bit that is reserved, with C and S set or not."""

    def runTest(self):
        frame = udp(FAR, ONE)
        for form in ({}, CHECKSUM | SEQUENCE):
            self.passes(A.port, arriving(frame, KEY, sender=A, gre_fields=form), {1: frame})
            for bits in (
                {"strict_route_source": 1},
                *({"recursion_control": 1 << bit} for bit in range(3)),
                *({"flags": 1 << bit} for bit in range(5)),
            ):
                with self.subTest(bits=bits, form=form):
                    packet = arriving(frame, KEY, sender=A, gre_fields={**form, **bits})
                    self.drops(A.port, packet, 0, DropReason.GRE_UNSUPPORTED)


class GreVersionsAndRoutingDropped(SwitchCase):
    """Every version but 0; the routing bit."""

    def runTest(self):
        frame = udp(FAR, ONE)
        self.passes(A.port, arriving(frame, KEY, sender=A), {1: frame})
        for fields in (*({"version": version} for version in range(1, 8)), {"routing_present": 1}):
            packet = arriving(frame, KEY, sender=A, gre_fields=fields)
            self.drops(A.port, packet, 0, DropReason.GRE_UNSUPPORTED)


class GreSequenceNumberDoesNotMatter(SwitchCase):
    """Sequence numbers are taken off, whatever they are; packets are not put in order by them."""

    def runTest(self):
        frame = udp(FAR, ONE)
        for number in (9, 3, 0xFFFFFFFF, 0, 3):
            fields = {"seqnum_present": 1, "sequence_number": number}
            packet = arriving(frame, KEY, sender=A, gre_fields=fields)
            self.passes(A.port, packet, {1: frame})


class GreChecksumReserved1IsIgnored(SwitchCase):
    """The 16 bits behind the checksum (RFC 2784: ignored on receipt) are part of what it covers."""

    def runTest(self):
        frame = udp(FAR, ONE)
        for form in (CHECKSUM, CHECKSUM | SEQUENCE):
            fields = {**form, "offset": 0xBEEF}
            packet = arriving(frame, KEY, sender=A, gre_fields=fields)
            self.passes(A.port, packet, {1: frame})


class _Checksummed(SwitchCase):
    """With the right checksum the frame passes, with any wrong one it does not."""

    def checksummed(self, frame):
        for form in (CHECKSUM, CHECKSUM | SEQUENCE):
            with self.subTest(form=form):
                packet = arriving(frame, KEY, sender=A, gre_fields=form)
                self.passes(A.port, packet, {1: frame})
                right = int.from_bytes(packet[38:40], "big")
                for wrong in (right ^ 1, right ^ 0x8000, right ^ 0x0100):
                    packet = arriving(frame, KEY, sender=A, gre_fields={**form, "chksum": wrong})
                    self.drops(A.port, packet, 0, DropReason.OUTER_CHECKSUM)
                flipped = bytearray(arriving(frame, KEY, sender=A, gre_fields=form))
                flipped[-1] ^= 0x10
                self.drops(A.port, bytes(flipped), 0, DropReason.OUTER_CHECKSUM)


ETHER = Ether(src=FAR.mac, dst=ONE.mac)
V4 = IP(src=FAR.ip, dst=ONE.ip)
V6 = IPv6(src=FAR.ipv6, dst=ONE.ipv6)


class GreChecksumOfOddLength(_Checksummed):
    """One byte less than even."""

    def runTest(self):
        self.checksummed(bytes(ETHER / (V4 / UDP(dport=7) / Raw(PAYLOAD[:-1]))))


class GreChecksumOfTcp(_Checksummed):
    """TCP without payload."""

    def runTest(self):
        self.checksummed(bytes(ETHER / (V4 / TCP(dport=7))))


class GreChecksumOfIpv4Options(_Checksummed):
    """IPv4 with options."""

    def runTest(self):
        self.checksummed(
            bytes(
                ETHER
                / (
                    IP(src=FAR.ip, dst=ONE.ip, options=[IPOption_RR(length=7, routers=["0.0.0.0"])])
                    / (UDP() / Raw(b"x"))
                )
            )
        )


class GreChecksumOfIpv6(_Checksummed):
    """IPv6 with UDP."""

    def runTest(self):
        self.checksummed(bytes(ETHER / (V6 / UDP(dport=9) / Raw(PAYLOAD))))


class GreChecksumOfIpv6Extensions(_Checksummed):
    """IPv6 with hop-by-hop options, destination options and a fragment header."""

    def runTest(self):
        self.checksummed(
            bytes(
                ETHER
                / (
                    (
                        V6
                        / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
                        / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])
                        / IPv6ExtHdrFragment(offset=3)
                    )
                    / Raw(b"abc")
                )
            )
        )


class GreChecksumOfNeighbourSolicitation(_Checksummed):
    """A solicitation that the parser takes apart."""

    def runTest(self):
        self.checksummed(
            bytes(ETHER / (V6 / ICMPv6ND_NS(tgt=ONE.ipv6) / ICMPv6NDOptSrcLLAddr(lladdr=FAR.mac)))
        )


class GreChecksumOfArp(_Checksummed):
    """ARP."""

    def runTest(self):
        self.checksummed(
            bytes(ETHER / (ARP(op=2, hwsrc=FAR.mac, psrc=FAR.ip, hwdst=ONE.mac, pdst=ONE.ip)))
        )


class GreChecksumOfTenantsGre(_Checksummed):
    """A tenant's own GRE with a checksum of its own, which is wrong."""

    def runTest(self):
        self.checksummed(
            bytes(ETHER / (V4 / GRE(chksum_present=1, chksum=1, proto=0x6558) / Raw(b"payload")))
        )


class GreChecksumOfUnknownType(_Checksummed):
    """A type that the parser does not know."""

    def runTest(self):
        self.checksummed(bytes(Ether(src=FAR.mac, dst=ONE.mac, type=0x88B5) / Raw(b"0123456789a")))


class GreChecksumOfVlanTags(_Checksummed):
    """Three VLAN tags."""

    def runTest(self):
        self.checksummed(tagged(udp(FAR, ONE), (0x88A8, 1), (0x8100, 2), (0x8100, 3)))


class GreChecksumOfCutFrame(_Checksummed):
    """A frame that ends within its UDP header."""

    def runTest(self):
        self.checksummed(udp(FAR, ONE)[:39])


class GreChecksumOfBareEthernet(_Checksummed):
    """Nothing but an Ethernet header."""

    def runTest(self):
        self.checksummed(udp(FAR, ONE)[:14])


class GreChecksumOfWrongTransitDropped(SwitchCase):
    """A wrong checksum is not passed on either."""

    def runTest(self):
        form = {"sender": B, "receiver": BEYOND_A, "link": S1}
        packet = tunnel(udp(FAR, ONE), 7, **form, gre_fields=CHECKSUM)
        onward = tunnel(
            udp(FAR, ONE),
            7,
            sender=B,
            receiver=BEYOND_A,
            link=A,
            link_src=S1.mac,
            ttl=63,
            gre_fields=CHECKSUM,
        )
        self.passes(B.port, packet, {A.port: onward})
        packet = tunnel(udp(FAR, ONE), 7, **form, gre_fields={**CHECKSUM, "chksum": 1})
        self.drops(B.port, packet, 0, DropReason.OUTER_CHECKSUM)


class GreChecksumOfATenantIsItsOwn(SwitchCase):
    """The same packet from a tenant is a frame like any other, its checksum right or wrong."""

    def runTest(self):
        for checksum in (None, 0xBAD):
            packet = arriving(
                udp(FAR, ONE), KEY, sender=A, gre_fields={**CHECKSUM, "chksum": checksum}
            )
            frame = bytes(Ether(src=ONE.mac, dst=FAR.mac, type=0x0800)) + packet[14:]
            self.passes(1, frame, {A.port: leaving(frame, KEY, A)})
