"""Next hops and the underlay: the one place that knows fabric ports."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, ONE, RED, TWO, A, B
from ptf_tests.packets import gold, leaving, udp
from ptf_tests.tables import ipv4, mac


class NextHopMissingDropped(SwitchCase):
    """An id without entry, in a QoS slice and in best effort, remote and local."""

    def runTest(self):
        best, qos, local = udp(ONE, FAR), gold(ONE, FAR), udp(ONE, TWO)
        self.passes(1, best, {A.port: leaving(best, RED.best_effort.key, A)})
        self.passes(1, qos, {A.port: leaving(qos, RED.gold.key, A, dscp=46)})
        self.passes(1, local, {2: local})
        self.delete(
            self.network.to_vtep(A),
            self.network.to_neighbour(A),
            self.network.entry("next_hop", "to_port", next_hop=2, port=2),
        )
        self.drops(1, best, RED.best_effort.id, DropReason.NEXT_HOP_MISSING)
        self.drops(1, qos, RED.gold.id, DropReason.NEXT_HOP_MISSING)
        self.drops(1, local, RED.best_effort.id, DropReason.NEXT_HOP_MISSING)


class NextHopRepairedByOneWrite(SwitchCase):
    """Modifying a next hop moves everything that points at it."""

    def runTest(self):
        qos, best = gold(ONE, FAR), udp(ONE, FAR)
        around = self.network.entry(
            "next_hop",
            "to_neighbour",
            next_hop=A.link,
            vtep=ipv4(B.ip),
            port=B.port,
            mac=mac(B.mac),
        )
        self.passes(1, qos, {A.port: leaving(qos, RED.gold.key, A, dscp=46)})
        self.modify(around)
        self.passes(1, qos, {B.port: leaving(qos, RED.gold.key, B, dscp=46)})
        self.modify(self.network.entry("next_hop", "to_vtep", next_hop=A.next_hop, vtep=ipv4(B.ip)))
        self.passes(1, best, {B.port: leaving(best, RED.best_effort.key, B)})


class NextHopNeighbourNeedsNoRoute(SwitchCase):
    """A neighbour is a link: it does not ask the underlay. A VTEP does."""

    def runTest(self):
        qos, best = gold(ONE, FAR), udp(ONE, FAR)
        self.passes(1, best, {A.port: leaving(best, RED.best_effort.key, A)})
        self.delete(self.network.route(A))
        self.passes(1, qos, {A.port: leaving(qos, RED.gold.key, A, dscp=46)})
        self.drops(1, best, RED.best_effort.id, DropReason.NO_ROUTE)


class UnderlayDefaultRoute(SwitchCase):
    """A short prefix catches what no longer one does."""

    def runTest(self):
        best = udp(ONE, FAR)
        self.delete(self.network.route(A))
        self.drops(1, best, RED.best_effort.id, DropReason.NO_ROUTE)
        self.insert(self.network.route_to("10.0.0.0", 8, B))
        self.passes(1, best, {B.port: leaving(best, RED.best_effort.key, A, link=B)})
