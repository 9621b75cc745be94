"""Links have an MTU: what does not fit goes to the agent, copies of a flood are dropped."""

from dfvisor.p4rt.drops import DropReason, PuntReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BEYOND_A, COOKIE, FAR, FAR_B, FOREIGN, ONE, RED, S1, TWO, A, B
from ptf_tests.packets import arp, arriving, gold, leaving, tunnel, udp
from ptf_tests.tables import ipv4, mac

KEY = RED.best_effort.key
OVERHEAD = 28  # IPv4 and GRE with a key
BEST, GOLD = udp(ONE, FAR), gold(ONE, FAR)
FITS = len(BEST) + OVERHEAD


class _MtuCase(SwitchCase):
    def route_mtu(self, mtu):
        self.modify(self.network.route_to(A.ip, 32, A, mtu=mtu))

    def link_mtu(self, peer, mtu):
        self.modify(
            self.network.entry(
                "next_hop",
                "to_neighbour",
                next_hop=peer.link,
                vtep=ipv4(peer.ip),
                port=peer.port,
                mac=mac(peer.mac),
                mtu=mtu,
            )
        )


class MtuOfARoute(_MtuCase):
    """To the byte: what fits passes, one byte more is punted as the tenant sent it."""

    def runTest(self):
        self.route_mtu(FITS)
        self.passes(1, BEST, {A.port: leaving(BEST, KEY, A)})
        self.route_mtu(FITS - 1)
        self.punts(1, BEST, PuntReason.TOO_BIG, tenant=RED, slice_=RED.best_effort)


class MtuOfALink(_MtuCase):
    """The same for the next hop of a QoS slice; the packet-in says whose entry sent it there."""

    def runTest(self):
        self.link_mtu(A, FITS)
        self.passes(1, GOLD, {A.port: leaving(GOLD, RED.gold.key, A, dscp=46)})
        self.link_mtu(A, FITS - 1)
        self.punts(1, GOLD, PuntReason.TOO_BIG, tenant=RED, slice_=RED.gold, cookie=COOKIE)


class MtuOnTheWay(_MtuCase):
    """A packet that is encapsulated again is measured anew; the agent gets the tenant's frame."""

    def runTest(self):
        frame = gold(FAR, FAR_B)
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46)
        self.link_mtu(B, len(frame) + OVERHEAD)
        self.passes(A.port, packet, {B.port: leaving(frame, RED.gold.key, B, dscp=46, ttl=63)})
        self.link_mtu(B, len(frame) + OVERHEAD - 1)
        self.punts(
            A.port,
            packet,
            PuntReason.TOO_BIG,
            tenant=RED,
            slice_=RED.gold,
            cookie=COOKIE,
            carried=frame,
        )


class MtuInTransit(_MtuCase):
    """The whole outer packet counts, with its GRE checksum and sequence number."""

    def runTest(self):
        every = {"chksum_present": 1, "seqnum_present": 1, "sequence_number": 1}
        for form, extra in (({}, 0), (every, 8)):
            passing = {"sender": B, "receiver": BEYOND_A, "gre_fields": form}
            packet = tunnel(BEST, 5, link=S1, **passing)
            onward = tunnel(BEST, 5, link=A, link_src=S1.mac, ttl=63, **passing)
            self.modify(self.network.route_to("10.255.7.0", 24, A, mtu=FITS + extra))
            self.passes(B.port, packet, {A.port: onward})
            self.modify(self.network.route_to("10.255.7.0", 24, A, mtu=FITS + extra - 1))
            self.punts(B.port, packet, PuntReason.TOO_BIG)


class MtuOfFloodedCopies(_MtuCase):
    """A copy that does not fit is dropped and counted; the others leave."""

    def runTest(self):
        frame = arp(ONE, FAR)
        copies = {2: frame, A.port: leaving(frame, KEY, A), B.port: leaving(frame, KEY, B)}
        self.replica_mtu(len(frame) + OVERHEAD)
        self.passes(1, frame, copies)
        self.replica_mtu(len(frame) + OVERHEAD - 1)
        del copies[A.port]
        self.drops(1, frame, RED.best_effort.id, DropReason.MTU_EXCEEDED, copies)

    def replica_mtu(self, mtu):
        self.modify(
            self.network.entry(
                "replica",
                "replica_to_vtep",
                replication_id=A.replication_id,
                vtep=ipv4(A.ip),
                mac=mac(A.mac),
                mtu=mtu,
            )
        )


class MtuDoesNotMatterLocally(_MtuCase):
    """Frames between local ports, and out of a tunnel, need no tunnel header."""

    def runTest(self):
        self.route_mtu(60)
        self.link_mtu(A, 60)
        for frame in (udp(ONE, TWO), gold(ONE, TWO)):
            self.passes(1, frame, {2: frame})
        frame = udp(FAR, ONE)
        self.passes(A.port, arriving(frame, KEY, sender=A), {1: frame})
        self.punts(1, BEST, PuntReason.TOO_BIG, tenant=RED, slice_=RED.best_effort)


class MtuOfDemotedPackets(_MtuCase):
    """A demoted packet is measured on the way it takes then."""

    def runTest(self):
        self.link_mtu(A, 60)
        self.insert(
            self.network.entry("flow", "demote", priority=20, slice_id=RED.gold.id, cookie=5)
        )
        self.passes(1, GOLD, {A.port: leaving(GOLD, KEY, A)})
        self.route_mtu(60)
        self.punts(1, GOLD, PuntReason.TOO_BIG, tenant=RED, slice_=RED.best_effort, cookie=5)


class MtuBeforeTtl(_MtuCase):
    """A packet whose TTL ends here is dropped, however big it is."""

    def runTest(self):
        passing = {"sender": FOREIGN, "receiver": BEYOND_A, "link": S1}
        self.modify(self.network.route_to("10.255.7.0", 24, A, mtu=60))
        self.punts(FOREIGN.port, tunnel(BEST, 5, **passing), PuntReason.TOO_BIG)
        packet = tunnel(BEST, 5, ttl=1, **passing)
        self.drops(FOREIGN.port, packet, 0, DropReason.TTL_EXPIRED)
