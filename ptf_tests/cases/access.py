"""The ingress port's role."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, FAR, ONE, RED, TWO, UNKNOWN_PORT, A
from ptf_tests.packets import leaving, udp


class AccessLocalDelivery(SwitchCase):
    """A frame between two hosts of a tenant at one switch comes out as it came in."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.passes(1, frame, {2: frame})
        self.passes(3, frame, {4: frame})


class AccessUnknownPortDropped(SwitchCase):
    """A port without entry drops; with an entry the same frame passes."""

    def runTest(self):
        frame = udp(ONE, TWO)
        entry = self.network.access_port(RED, UNKNOWN_PORT)
        self.insert(entry)
        self.passes(UNKNOWN_PORT, frame, {2: frame})
        self.delete(entry)
        self.drops(UNKNOWN_PORT, frame, 0, DropReason.UNKNOWN_PORT)


class AccessPortMovedToOtherTenant(SwitchCase):
    """The port's entry alone decides whose frame it is, though addresses are the same."""

    def runTest(self):
        frame = udp(TWO, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})
        self.modify(self.network.access_port(BLUE, 1))
        self.passes(1, frame, {A.port: leaving(frame, BLUE.best_effort.key, A)})
