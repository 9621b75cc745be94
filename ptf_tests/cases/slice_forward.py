"""Where a QoS slice sends: next hops by path class and inner destination."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, FAR, NOBODY, ONE, RED, A, B
from ptf_tests.packets import arriving, gold, leaving


class ForwardHit(SwitchCase):
    """The entry of slice, path class and destination gives the neighbour, and counts."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=46)})
        counter = self.counter(self.network.forward(RED, FAR, 0, A.link))
        self.assertEqual((counter.packets, counter.bytes), (1, len(frame)))


class ForwardMissDropped(SwitchCase):
    """A destination that the slice does not know is dropped, even if best effort knows it."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=46)})
        self.delete(self.network.forward(RED, FAR, 0, A.link))
        self.drops(1, frame, RED.gold.id, DropReason.NO_NEXT_HOP)
        self.drops(1, gold(ONE, NOBODY), RED.gold.id, DropReason.NO_NEXT_HOP)


class ForwardOfOtherSliceNotUsed(SwitchCase):
    """Another slice's entry for the same destination is of no use."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.delete(self.network.forward(RED, FAR, 0, A.link))
        self.drops(1, frame, RED.gold.id, DropReason.NO_NEXT_HOP)
        self.passes(3, frame, {A.port: leaving(frame, BLUE.gold.key, A, dscp=46)})


class ForwardChanged(SwitchCase):
    """Pointing the entry at another next hop moves the traffic."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=46)})
        self.modify(self.network.forward(RED, FAR, 0, B.link))
        self.passes(1, frame, {B.port: leaving(frame, RED.gold.key, B, dscp=46)})


class ForwardToLocalPortFromFabric(SwitchCase):
    """The last switch of a path delivers the frame as it was sent."""

    def runTest(self):
        frame = gold(FAR, ONE)
        self.passes(A.port, arriving(frame, RED.gold.key, sender=A, dscp=46), {1: frame})


class ForwardBackOutOfTheSamePort(SwitchCase):
    """A path may turn at a switch: in and out of one fabric port, with the TTL counted down."""

    def runTest(self):
        frame = gold(ONE, FAR)
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46, ttl=9)
        self.passes(A.port, packet, {A.port: leaving(frame, RED.gold.key, A, dscp=46, ttl=8)})
