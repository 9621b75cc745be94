"""Packets that end too early, at every byte."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import IP

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, ONE, RED, A
from ptf_tests.packets import arriving, leaving, tcp, udp

KEY = RED.best_effort.key
FRAME = udp(FAR, ONE, payload=b"abc")
ALL = {"chksum_present": 1, "seqnum_present": 1, "sequence_number": 5}


def shortened(packet, length):
    """The first bytes of a tunnel packet, its outer length and checksum fitting them."""
    outer = IP(packet[14:34])
    outer.len = length - 14
    del outer.chksum
    return packet[:14] + bytes(outer)[:20] + packet[34:length]


class CutAtEveryByteIsBeyondTheFrame(SwitchCase):
    """A cut that the outer length does not know of: no IPv4, or a length beyond the frame."""

    def runTest(self):
        packet = arriving(FRAME, KEY, sender=A)
        self.passes(A.port, packet, {1: FRAME})
        for length in range(15, len(packet)):
            with self.subTest(length=length):
                reason = DropReason.NOT_GRE if length < 34 else DropReason.OUTER_MALFORMED
                self.drops(A.port, packet[:length], 0, reason)


class CutAtEveryByteWithFittingLength(SwitchCase):
    """What ends within GRE or the inner Ethernet header is dropped, the rest is the tenant's."""

    def runTest(self):
        packet = arriving(FRAME, KEY, sender=A)
        for length in range(34, len(packet) + 1):
            with self.subTest(length=length):
                cut = shortened(packet, length)
                if length < 42:
                    self.drops(A.port, cut, 0, DropReason.GRE_UNSUPPORTED)
                elif length < 42 + 14:
                    self.drops(A.port, cut, 0, DropReason.INNER_MALFORMED)
                else:
                    self.passes(A.port, cut, {1: FRAME[: length - 42]})


class CutAtEveryByteWithChecksum(SwitchCase):
    """With a checksum over the whole any cut is seen."""

    def runTest(self):
        packet = arriving(FRAME, KEY, sender=A, gre_fields=ALL)
        self.passes(A.port, packet, {1: FRAME})
        for length in range(34, len(packet)):
            with self.subTest(length=length):
                unsupported = length < 46
                self.drops(
                    A.port,
                    shortened(packet, length),
                    0,
                    DropReason.GRE_UNSUPPORTED if unsupported else DropReason.OUTER_CHECKSUM,
                )


class CutAtEveryByteOfATenantsFrame(SwitchCase):
    """A tenant's frame of any length goes into the tunnel as it is."""

    def runTest(self):
        frame = tcp(ONE, FAR)
        for length in range(15, 60):
            with self.subTest(length=length):
                cut = frame[:length]
                self.passes(1, cut, {A.port: leaving(cut, KEY, A)})
