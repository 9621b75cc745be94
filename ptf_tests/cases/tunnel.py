"""The tunnel header: TTL, checksum, Identification, DSCP, lengths."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, FAR_B, ONE, RED, A, B, Vtep
from ptf_tests.packets import PAYLOAD, arriving, gold, leaving, tunnel, udp


class TunnelOfEverySize(SwitchCase):
    """Outer length and checksum fit frames from the smallest to a large one."""

    def runTest(self):
        for size in (0, 1, 2, 17, 255, 1000, 1400):
            frame = udp(ONE, FAR, payload=b"\xa5" * size)
            self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})


class TunnelTtlOnDelivery(SwitchCase):
    """Any TTL is good enough for delivery, 0 and 1 too."""

    def runTest(self):
        for ttl in (255, 64, 2, 1, 0):
            best, qos = udp(FAR, ONE), gold(FAR, ONE)
            self.passes(A.port, arriving(best, RED.best_effort.key, sender=A, ttl=ttl), {1: best})
            self.passes(A.port, arriving(qos, RED.gold.key, sender=A, dscp=46, ttl=ttl), {1: qos})


class TunnelTtlOnReEncapsulation(SwitchCase):
    """A packet encapsulated again carries the received TTL minus one; 1 and 0 are dropped."""

    def runTest(self):
        frame = gold(FAR, FAR_B)
        for ttl in (255, 64, 3, 2):
            packet = arriving(frame, RED.gold.key, sender=A, dscp=46, ttl=ttl)
            onward = leaving(frame, RED.gold.key, B, dscp=46, ttl=ttl - 1)
            self.passes(A.port, packet, {B.port: onward})
        for ttl in (1, 0):
            packet = arriving(frame, RED.gold.key, sender=A, dscp=46, ttl=ttl)
            self.drops(A.port, packet, RED.gold.id, DropReason.TTL_EXPIRED)


class TunnelTtlStartsAt64(SwitchCase):
    """A tenant's own TTL does not matter: the tunnel starts with 64."""

    def runTest(self):
        for ttl in (0, 1, 255):
            frame = udp(ONE, FAR, ttl=ttl)
            self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A, ttl=64)})


class TunnelDscpIsTheSlices(SwitchCase):
    """The outer DSCP is the slice's, whatever the tenant wrote; ECN is the tenant's."""

    def runTest(self):
        best, qos = udp(ONE, FAR, tos=0xFF), gold(ONE, FAR, tos=0x0B)
        self.passes(1, best, {A.port: leaving(best, RED.best_effort.key, A, dscp=0, ecn=3)})
        self.passes(1, qos, {A.port: leaving(qos, RED.gold.key, A, dscp=46, ecn=3)})


class TunnelSourceIsTheSwitchs(SwitchCase):
    """Outer source addresses are those of the switch_config entry."""

    def runTest(self):
        other = Vtep("198.51.100.77", "02:77:00:00:00:77")
        frame = udp(ONE, FAR)
        self.modify(self.network.switch_config(other))
        self.passes(
            1, frame, {A.port: tunnel(frame, RED.best_effort.key, sender=other, receiver=A)}
        )
        self.modify(self.network.switch_config())
        self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})


class TunnelReEncapsulatedDropsSequenceAndKeepsPadding(SwitchCase):
    """A sequence number is not carried on; the outer length is the frame's."""

    def runTest(self):
        frame = gold(FAR, FAR_B, payload=PAYLOAD)
        sequence = {"seqnum_present": 1, "sequence_number": 5}
        packet = arriving(
            frame, RED.gold.key, sender=A, dscp=46, gre_fields=sequence, tail=b"\0\0\0"
        )
        onward = leaving(frame, RED.gold.key, B, dscp=46, ttl=63, tail=b"\0\0\0")
        self.passes(A.port, packet, {B.port: onward})
