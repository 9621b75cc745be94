"""The best-effort bypass: from end to end by the destination MAC alone."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, FAR, FAR_B, NOBODY, ONE, RED, TWO, A, B
from ptf_tests.packets import arriving, leaving, udp


class BridgeRemote(SwitchCase):
    """A remote host is reached through the end's VTEP by the underlay's route."""

    def runTest(self):
        for host, peer in ((FAR, A), (FAR_B, B)):
            frame = udp(ONE, host)
            self.passes(1, frame, {peer.port: leaving(frame, RED.best_effort.key, peer)})
        counter = self.counter(self.network.bridge(RED, FAR, A.next_hop))
        self.assertEqual((counter.packets, counter.bytes), (1, len(frame)))


class BridgeUnderlayRerouted(SwitchCase):
    """One route moves best effort to another link; the tunnel's end stays."""

    def runTest(self):
        frame = udp(ONE, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})
        self.delete(self.network.route(A))
        self.insert(self.network.route_to(A.ip, 32, B))
        self.passes(1, frame, {B.port: leaving(frame, RED.best_effort.key, A, link=B)})


class BridgeUnknownUnicastDropped(SwitchCase):
    """A MAC that the VN does not know is dropped unless the VN floods."""

    def runTest(self):
        known = udp(ONE, TWO)
        self.passes(1, known, {2: known})
        self.drops(1, udp(ONE, NOBODY), RED.best_effort.id, DropReason.UNKNOWN_UNICAST)
        self.delete(self.network.bridge(RED, TWO, 2))
        self.drops(1, known, RED.best_effort.id, DropReason.UNKNOWN_UNICAST)


class BridgeTenantsWithTheSameAddresses(SwitchCase):
    """Overlapping addresses: each tenant's frame stays with its own hosts."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.passes(1, frame, {2: frame})
        self.passes(3, frame, {4: frame})
        self.delete(self.network.bridge(BLUE, TWO, 4))
        self.drops(3, frame, BLUE.best_effort.id, DropReason.UNKNOWN_UNICAST)
        self.passes(1, frame, {2: frame})


class BridgeNotBackToFabricDropped(SwitchCase):
    """Best effort from the fabric for a host elsewhere is dropped."""

    def runTest(self):
        local = udp(FAR, ONE)
        self.passes(A.port, arriving(local, RED.best_effort.key, sender=A), {1: local})
        remote = arriving(udp(FAR, FAR_B), RED.best_effort.key, sender=A)
        self.drops(A.port, remote, RED.best_effort.id, DropReason.NOT_BACK_TO_FABRIC)


class BridgeUnknownFromFabricDropped(SwitchCase):
    """Best effort from the fabric for an unknown host is dropped."""

    def runTest(self):
        packet = arriving(udp(FAR, NOBODY), RED.best_effort.key, sender=A)
        self.drops(A.port, packet, RED.best_effort.id, DropReason.UNKNOWN_UNICAST)


class BridgeToTheOwnPort(SwitchCase):
    """A unicast frame for a host on the port that it came from goes back, as the table says."""

    def runTest(self):
        frame = udp(TWO, ONE)
        self.passes(1, frame, {1: frame})
