"""Tunnels that end elsewhere: only the underlay is consulted, and nothing but the outer changes."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BEYOND_A, FAR, ONE, RED, S1, A, B, Vtep
from ptf_tests.packets import arriving, gold, tunnel, udp
from ptf_tests.tables import ipv4

FRAME = udp(FAR, ONE)
ANY_KEY = 0x5EED5EED


def through(
    ttl_in=64, ttl_out=63, *, key=ANY_KEY, frame=FRAME, receiver=BEYOND_A, link=A, **fields
):
    """A packet from B for a VTEP beyond S1, as it comes in and as it must leave."""
    packet = tunnel(frame, key, sender=B, receiver=receiver, link=S1, ttl=ttl_in, **fields)
    onward = tunnel(
        frame, key, sender=B, receiver=receiver, link=link, link_src=S1.mac, ttl=ttl_out, **fields
    )
    return packet, onward


class TransitForwarded(SwitchCase):
    """TTL, checksum and MAC addresses change; key, DSCP, ECN, Identification, payload do not."""

    def runTest(self):
        packet, onward = through(dscp=46, ecn=2, identification=0x8123)
        self.passes(B.port, packet, {A.port: onward})
        packet, onward = through(identification=0x1234, flags=0)
        self.passes(B.port, packet, {A.port: onward})


class TransitOfUnknownKeyAndSender(SwitchCase):
    """Transit asks neither for the key nor for the sender."""

    def runTest(self):
        self.delete(self.network.peer(B))
        packet, onward = through(key=0)
        self.passes(B.port, packet, {A.port: onward})


class TransitOfKnownSliceIsNotMatched(SwitchCase):
    """A slice that this switch carries is not flow matched, but counted, in transit."""

    def runTest(self):
        packet, onward = through(key=RED.gold.key, frame=gold(FAR, ONE), dscp=46)
        self.passes(B.port, packet, {A.port: onward})
        self.assertEqual(self.counter(self.network.gold_flow(RED)).packets, 0)
        counter = self.counter(self.network.slice(RED, RED.gold))
        self.assertEqual((counter.packets, counter.bytes), (1, len(packet)))


class TransitKeepsSequenceAndPadding(SwitchCase):
    """A sequence number and bytes behind the outer length pass unchanged."""

    def runTest(self):
        sequence = {"seqnum_present": 1, "sequence_number": 77}
        packet, onward = through(gre_fields=sequence, tail=b"padding")
        self.passes(B.port, packet, {A.port: onward})


class TransitTtl(SwitchCase):
    """TTL counts down; 1 and 0 are dropped, counted for the slice if it is known."""

    def runTest(self):
        for ttl in (255, 128, 2):
            packet, onward = through(ttl, ttl - 1)
            self.passes(B.port, packet, {A.port: onward})
        for ttl in (1, 0):
            packet, _ = through(ttl)
            self.drops(B.port, packet, 0, DropReason.TTL_EXPIRED)
            packet, _ = through(ttl, key=RED.gold.key)
            self.drops(B.port, packet, RED.gold.id, DropReason.TTL_EXPIRED)


class TransitNoRouteDropped(SwitchCase):
    """A destination without route."""

    def runTest(self):
        packet, onward = through(receiver="10.255.7.1")
        self.passes(B.port, packet, {A.port: onward})
        packet, _ = through(receiver="10.255.8.1")
        self.drops(B.port, packet, 0, DropReason.NO_ROUTE)


class TransitLongestPrefixWins(SwitchCase):
    """Of two routes the longer one is taken."""

    def runTest(self):
        packet, onward = through(receiver=BEYOND_A)
        self.passes(A.port, packet, {A.port: onward})
        other = Vtep(B.ip, "02:02:02:02:02:fe", B.port)
        route = self.network.route_to(BEYOND_A, 32, other)
        self.insert(route)
        _, onward = through(receiver=BEYOND_A, link=other)
        self.passes(A.port, packet, {B.port: onward})
        self.delete(route)
        packet, onward = through(receiver=BEYOND_A)
        self.passes(A.port, packet, {A.port: onward})


class TransitBecomesOurs(SwitchCase):
    """The vtep table alone says whether a tunnel ends here."""

    def runTest(self):
        packet, onward = through(key=RED.best_effort.key)
        self.passes(B.port, packet, {A.port: onward})
        self.insert(self.network.entry("vtep", "terminate", outer_dst=ipv4(BEYOND_A)))
        self.passes(B.port, packet, {1: FRAME})


class TransitStillChecksTheOuterHeader(SwitchCase):
    """A bad checksum or GRE form is not passed on."""

    def runTest(self):
        packet, onward = through()
        self.passes(B.port, packet, {A.port: onward})
        packet, _ = through(ip_fields={"chksum": 1})
        self.drops(B.port, packet, 0, DropReason.OUTER_CHECKSUM)
        packet, _ = through(gre_fields={"version": 1})
        self.drops(B.port, packet, 0, DropReason.GRE_UNSUPPORTED)


class VtepRemovedMeansTransit(SwitchCase):
    """Without its vtep entry a packet to S1 is transit, and has no route."""

    def runTest(self):
        packet = arriving(FRAME, RED.best_effort.key, sender=A)
        self.passes(A.port, packet, {1: FRAME})
        self.delete(self.network.vtep())
        self.drops(A.port, packet, RED.best_effort.id, DropReason.NO_ROUTE)
