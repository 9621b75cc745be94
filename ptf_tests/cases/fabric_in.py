"""Packets from other switches: is the outer header sound? A sound one always passes first."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, FOREIGN, ONE, RED, S1, A
from ptf_tests.packets import arriving, tagged, udp

KEY = RED.best_effort.key
FRAME = udp(FAR, ONE)


class _FabricCase(SwitchCase):
    def sound(self, packet, frame=FRAME, port=A.port):
        self.passes(port, packet, {1: frame})

    def refused(self, packet, reason, slice_id=0, port=A.port):
        self.drops(port, packet, slice_id, reason)


class FabricDelivery(_FabricCase):
    """A sound packet for a local host is decapsulated to the frame that was sent."""

    def runTest(self):
        self.sound(arriving(FRAME, KEY, sender=A))


class FabricNotGreDropped(_FabricCase):
    """What is no GRE over IPv4 is dropped on a fabric port: IPv6, UDP, TCP, VLAN, unknown."""

    def runTest(self):
        sound = arriving(FRAME, KEY, sender=A)
        self.sound(sound)
        outer = {"src": A.mac, "dst": S1.mac}
        ip = IP(src=A.ip, dst=S1.ip)
        others = {
            "ipv6": bytes(Ether(**outer) / IPv6(nh=47) / Raw(b"x" * 40)),
            "udp": bytes(Ether(**outer) / ip / UDP(sport=1, dport=4789) / Raw(FRAME)),
            "tcp": bytes(Ether(**outer) / ip / TCP(sport=1, dport=2)),
            "unknown": bytes(Ether(**outer, type=0x88B5) / Raw(b"x" * 50)),
            "tagged": tagged(sound, (0x8100, 1)),
            "tenant": FRAME,
        }
        for name, packet in others.items():
            with self.subTest(name):
                self.refused(packet, DropReason.NOT_GRE)


class FabricCutBeforeGreDropped(_FabricCase):
    """A packet cut in the outer IPv4 header is none to the switch."""

    def runTest(self):
        sound = arriving(FRAME, KEY, sender=A)
        self.sound(sound)
        for length in (15, 20, 33):
            with self.subTest(length=length):
                self.refused(sound[:length], DropReason.NOT_GRE)


class FabricOuterChecksumDropped(_FabricCase):
    """A wrong outer header checksum."""

    def runTest(self):
        sound = arriving(FRAME, KEY, sender=A)
        self.sound(sound)
        checksum = IP(sound[14:]).chksum
        for wrong in (checksum ^ 1, checksum ^ 0x8000, 0):
            bad = arriving(FRAME, KEY, sender=A, ip_fields={"chksum": wrong})
            self.refused(bad, DropReason.OUTER_CHECKSUM)


class FabricOuterLengthDropped(_FabricCase):
    """An outer length beyond the frame."""

    def runTest(self):
        length = len(FRAME) + 28
        self.sound(arriving(FRAME, KEY, sender=A, ip_fields={"len": length}))
        bad = arriving(FRAME, KEY, sender=A, ip_fields={"len": length + 1})
        self.refused(bad, DropReason.OUTER_MALFORMED)
        bad = arriving(FRAME, KEY, sender=A, ip_fields={"len": 0xFFFF})
        self.refused(bad, DropReason.OUTER_MALFORMED)


class FabricOuterVersionAndOptionsDropped(_FabricCase):
    """An outer IP version that is not 4, a header length below 5, or options."""

    def runTest(self):
        self.sound(arriving(FRAME, KEY, sender=A))
        for fields in (
            {"version": 5},
            {"version": 6},
            {"ihl": 4},
            {"ihl": 0},
            {"options": [IPOption_Router_Alert()]},
        ):
            with self.subTest(fields=str(fields)):
                bad = arriving(FRAME, KEY, sender=A, ip_fields=fields)
                self.refused(bad, DropReason.OUTER_MALFORMED)


class FabricOuterFragmentDropped(_FabricCase):
    """First, middle and last fragments of a tunnel packet."""

    def runTest(self):
        self.sound(arriving(FRAME, KEY, sender=A, flags=0))
        for flags, frag in (("MF", 0), ("MF", 5), (0, 5), (0, 0x1FFF)):
            with self.subTest(flags=flags, frag=frag):
                bad = arriving(FRAME, KEY, sender=A, flags=flags, frag=frag)
                self.refused(bad, DropReason.OUTER_FRAGMENT)


class FabricGreUnsupportedDropped(_FabricCase):
    """GRE forms that are not taken: no key, routing, reserved bits, version, payload."""

    def runTest(self):
        self.sound(arriving(FRAME, KEY, sender=A))
        forms = {
            "no key": {"key_present": 0, "key": None},
            "version 1": {"version": 1},
            "version 7": {"version": 7},
            "routing": {"routing_present": 1},
            "strict": {"strict_route_source": 1},
            "recursion": {"recursion_control": 1},
            "flags": {"flags": 0x10},
            "flag 1": {"flags": 1},
        }
        for name, fields in forms.items():
            with self.subTest(name):
                bad = arriving(FRAME, KEY, sender=A, gre_fields=fields)
                self.refused(bad, DropReason.GRE_UNSUPPORTED)
        for protocol in (0x6559, 0x0806, 0x88BE, 0):
            with self.subTest(protocol=hex(protocol)):
                bad = arriving(FRAME, KEY, sender=A, protocol=protocol)
                self.refused(bad, DropReason.GRE_UNSUPPORTED)


class FabricCutInGreDropped(_FabricCase):
    """A packet that ends within GRE: base header, or key."""

    def runTest(self):
        self.sound(arriving(FRAME, KEY, sender=A))
        for length in (34, 36, 38, 41):
            cut = arriving(FRAME, KEY, sender=A, ip_fields={"len": length - 14})[:length]
            with self.subTest(length=length):
                self.refused(cut, DropReason.GRE_UNSUPPORTED)


class FabricGreSequenceAccepted(_FabricCase):
    """A sequence number is accepted and taken off with the rest."""

    def runTest(self):
        fields = {"seqnum_present": 1, "sequence_number": 0xDEADBEEF}
        self.sound(arriving(FRAME, KEY, sender=FOREIGN, gre_fields=fields), port=FOREIGN.port)


class FabricInnerMalformedDropped(_FabricCase):
    """Less than a whole Ethernet header behind GRE, by the frame or by the outer length."""

    def runTest(self):
        self.sound(arriving(FRAME, KEY, sender=A))
        self.sound(arriving(FRAME[:14], KEY, sender=A), FRAME[:14])
        for length in (0, 1, 13):
            with self.subTest(length=length):
                bad = arriving(FRAME[:length], KEY, sender=A)
                self.refused(bad, DropReason.INNER_MALFORMED)
        bad = arriving(FRAME, KEY, sender=A, ip_fields={"len": 20 + 8 + 13})
        self.refused(bad, DropReason.INNER_MALFORMED)
        sequence = {"seqnum_present": 1, "sequence_number": 1}
        bad = arriving(FRAME, KEY, sender=A, gre_fields=sequence, ip_fields={"len": 20 + 12 + 13})
        self.refused(bad, DropReason.INNER_MALFORMED)


class FabricOuterDscpAndIdentificationDoNotMatter(_FabricCase):
    """Outer DSCP, Identification and ECT leave no trace in a frame that is not capable of ECN."""

    def runTest(self):
        for dscp, ecn, identification in ((46, 1, 0), (63, 1, 0x7FFF), (0, 2, 0xFFFF)):
            packet = arriving(
                FRAME, KEY, sender=A, dscp=dscp, ecn=ecn, identification=identification
            )
            self.sound(packet)
