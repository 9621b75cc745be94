"""Packets from the agent: out of a port as they are, or as if a port had received them."""

from dfvisor.p4rt.drops import DropReason, PuntReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, NOBODY, ONE, RED, TWO, UNKNOWN_PORT, A, B
from ptf_tests.packets import arp, arriving, gold, leaving, lldp, tagged, udp


class _OutCase(SwitchCase):
    def out(self, port, frame):
        self.client.packet_out(frame, port=port)

    def as_received(self, port, frame, **fields):
        self.client.packet_out(frame, port=port, as_ingress=1, **fields)


class PacketOutOfAPort(_OutCase):
    """Any port, any frame, byte by byte; no table is asked."""

    def runTest(self):
        frames = (
            lldp(A.mac),
            udp(ONE, FAR),
            tagged(udp(ONE, TWO), (0x8100, 5)),
            arriving(udp(ONE, FAR), 1, sender=A, ip_fields={"chksum": 3}),
            b"\xff" * 60,
        )
        for port in (1, A.port, UNKNOWN_PORT):
            for frame in frames:
                self.out(port, frame)
                self.comes_out({port: frame})


class PacketOutOfAPortThatIsNot(_OutCase):
    """A port without interface: nothing comes out, nothing is harmed."""

    def runTest(self):
        frame = udp(ONE, TWO)
        for port in (200, 0, 511):
            self.out(port, frame)
            self.comes_out({})
        self.out(2, frame)
        self.comes_out({2: frame})


class PacketOutAsReceivedOnAccessPort(_OutCase):
    """The tables decide as for a frame from that port: classifier, slice, tunnel, counters."""

    def runTest(self):
        best, qos, local = udp(ONE, FAR), gold(ONE, FAR), udp(ONE, TWO)
        self.as_received(1, best)
        self.comes_out({A.port: leaving(best, RED.best_effort.key, A)})
        self.as_received(1, qos)
        self.comes_out({A.port: leaving(qos, RED.gold.key, A, dscp=46)})
        self.as_received(1, local)
        self.comes_out({2: local})
        self.assertEqual(self.counter(self.network.access_port(RED, 1)).packets, 3)
        self.assertEqual(self.counter(self.network.gold_flow(RED)).packets, 1)


class PacketOutAsReceivedOnFabricPort(_OutCase):
    """A tunnel packet from the agent is delivered as from that port."""

    def runTest(self):
        frame = udp(FAR, ONE)
        self.as_received(A.port, arriving(frame, RED.best_effort.key, sender=A))
        self.comes_out({1: frame})


class PacketOutAsReceivedIsDroppedAlike(_OutCase):
    """Ports without role and unknown hosts drop and count as for a received frame."""

    def runTest(self):
        frame = udp(ONE, NOBODY)
        self.as_received(UNKNOWN_PORT, frame)
        self.is_dropped(0, DropReason.UNKNOWN_PORT)
        self.as_received(1, frame)
        self.is_dropped(RED.best_effort.id, DropReason.UNKNOWN_UNICAST)


class PacketOutAsReceivedIsFloodedAlike(_OutCase):
    """The port that is named gets no copy."""

    def runTest(self):
        frame = arp(ONE, FAR)
        key = RED.best_effort.key
        self.as_received(1, frame)
        self.comes_out({2: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)})


class PacketOutComesBackAsPacketIn(_OutCase):
    """A packet that is punted again says the port that was named."""

    def runTest(self):
        self.as_received(A.port, lldp(A.mac))
        got = self.packet_in()
        self.assertEqual(got.payload, lldp(A.mac))
        named = (got.metadata["port"], got.metadata["reason"])
        self.assertEqual(named, (A.port, PuntReason.DISCOVERY))
        self.comes_out({})


class PacketOutAfterPacketIn(_OutCase):
    """What a pulled slice's controller does: take the packet, write the entry, give it back."""

    def runTest(self):
        frame = gold(ONE, FAR)
        permit = self.network.gold_flow(RED)
        self.delete(permit)
        args = dict(self.network.slice_policy(RED, RED.gold).args)
        args["miss_policy"] = 2
        self.modify(
            self.network.entry("slice_policy", "set_slice_policy", slice_id=RED.gold.id, **args)
        )
        self.client.packet_out(frame, port=1, as_ingress=1)
        got = self.packet_in()
        self.insert(permit)
        self.as_received(got.metadata["port"], got.payload)
        self.comes_out({A.port: leaving(frame, RED.gold.key, A, dscp=46)})


class PacketOutReservedBitsDoNotMatter(_OutCase):
    """The header's reserved bits are ignored."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.client.packet_out(frame, port=2, reserved=31)
        self.comes_out({2: frame})
        self.as_received(1, frame, reserved=31)
        self.comes_out({2: frame})


class PacketOutHeaderLengthIsNotTheFrames(_OutCase):
    """The agent's header does not count for the tunnel's length."""

    def runTest(self):
        for size in (0, 1, 1000):
            frame = udp(ONE, FAR, payload=bytes(size))
            self.as_received(1, frame)
            self.comes_out({A.port: leaving(frame, RED.best_effort.key, A)})
