"""Traces: a packet that asks for it is copied to the agent of every hop, as it leaves."""

from dfvisor.p4rt.drops import DropReason, PuntReason
from ptf.testutils import send_packet

from ptf_tests.base import SwitchCase
from ptf_tests.network import (
    BEYOND_A,
    COOKIE,
    FAR,
    FAR_B,
    FOREIGN,
    NOBODY,
    ONE,
    OTHER_PATH,
    RED,
    S1,
    TWO,
    A,
    B,
)
from ptf_tests.packets import STAMPED, TRACED, arp, arriving, gold, leaving, tunnel, udp

MOST_US = 60_000_000


class _TraceCase(SwitchCase):
    def setUp(self):
        super().setUp()
        self.client.trace_to_agent(on=True)
        self.addCleanup(self.client.trace_to_agent, on=False)

    def traced(self, out, frame, *, port, tenant=None, slice_=None, cookie=0):
        """A copy of `frame` as it left `out` comes to the agent."""
        self.receive(out, frame)
        self.copied(out, frame, port=port, tenant=tenant, slice_=slice_, cookie=cookie)
        self.comes_out({})

    def copied(self, out, frame, *, port, tenant=None, slice_=None, cookie=0):
        got = self.packet_in()
        self.assertEqual(got.payload.hex(), frame.hex())
        fields = got.metadata
        self.assertEqual(fields["reason"], PuntReason.TRACE)
        self.assertEqual(fields["port"], port)
        self.assertEqual(fields["egress_port"], out)
        self.assertEqual(fields["vn"], tenant.vn if tenant else 0)
        self.assertEqual(fields["slice_id"], slice_.id if slice_ else 0)
        self.assertEqual(fields["cookie"], cookie)
        self.assertEqual(fields["queue_depth"], 0)
        self.assertGreater(fields["ingress_time"], 0)
        self.assertLess(fields["egress_time"] - fields["ingress_time"], MOST_US)
        self.assertGreaterEqual(fields["egress_time"], fields["ingress_time"])


class TraceAtTheEdge(_TraceCase):
    """The agent injects a traced packet: the tunnel asks the next hops for a trace as well."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.client.packet_out(frame, port=1, as_ingress=1, trace=1)
        onward = leaving(frame, RED.gold.key, A, dscp=46, identification=STAMPED | TRACED)
        self.traced(A.port, onward, port=1, tenant=RED, slice_=RED.gold, cookie=COOKIE)


class TraceOfBestEffort(_TraceCase):
    """Best effort is traced too; without cookie, as no entry with one acted."""

    def runTest(self):
        frame = udp(ONE, FAR)
        self.client.packet_out(frame, port=1, as_ingress=1, trace=1)
        onward = leaving(frame, RED.best_effort.key, A, identification=STAMPED | TRACED)
        self.traced(A.port, onward, port=1, tenant=RED, slice_=RED.best_effort)


class TraceOnTheWay(_TraceCase):
    """A hop of a QoS path copies it and passes the wish on, with the path class."""

    def runTest(self):
        frame = gold(FAR_B, FAR)
        stamp = STAMPED | TRACED | OTHER_PATH
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46, identification=stamp)
        send_packet(self, A.port, packet)
        onward = leaving(frame, RED.gold.key, B, dscp=46, ttl=63, identification=stamp)
        self.traced(B.port, onward, port=A.port, tenant=RED, slice_=RED.gold, cookie=COOKIE)


class TraceInTransit(_TraceCase):
    """In transit the copy is what leaves: counted down, its checksum right."""

    def runTest(self):
        frame = udp(FAR_B, FAR)
        stamp = STAMPED | TRACED
        passing = {"sender": B, "receiver": BEYOND_A, "identification": stamp}
        send_packet(self, B.port, tunnel(frame, 5, link=S1, **passing))
        onward = tunnel(frame, 5, link=A, link_src=S1.mac, ttl=63, **passing)
        self.traced(A.port, onward, port=B.port)


class TraceOnDelivery(_TraceCase):
    """The last hop copies the frame that it delivers."""

    def runTest(self):
        frame = udp(FAR, ONE)
        packet = arriving(frame, RED.best_effort.key, sender=A, identification=STAMPED | TRACED)
        send_packet(self, A.port, packet)
        self.traced(1, frame, port=A.port, tenant=RED, slice_=RED.best_effort)


class TraceOfAFlood(_TraceCase):
    """Each copy of a flood is traced by itself."""

    def runTest(self):
        frame = arp(FAR, NOBODY)
        packet = arriving(frame, RED.best_effort.key, sender=A, identification=STAMPED | TRACED)
        send_packet(self, A.port, packet)
        self.receive(1, frame)
        self.receive(2, frame)
        outs = {self.packet_in().metadata["egress_port"] for _ in range(2)}
        self.assertEqual(outs, {1, 2})
        self.comes_out({})


class TraceOfForeignersIsIgnored(_TraceCase):
    """A foreign endpoint's Identification is no wish, nor is one that is not stamped."""

    def runTest(self):
        frame = udp(FAR, ONE)
        for sender, identification in ((FOREIGN, STAMPED | TRACED), (A, TRACED), (A, STAMPED)):
            packet = arriving(
                frame, RED.best_effort.key, sender=sender, identification=identification
            )
            self.passes(sender.port, packet, {1: frame})


class TraceOfTenantsIsNot(_TraceCase):
    """A tenant can't ask: its frames, also through the agent without the wish, are not copied."""

    def runTest(self):
        frame = udp(ONE, TWO, id=STAMPED | TRACED)
        self.passes(1, frame, {2: frame})
        self.client.packet_out(frame, port=1, as_ingress=1)
        self.comes_out({2: frame})


class TraceOfADroppedPacket(_TraceCase):
    """What is dropped in ingress leaves no copy; the drop counter tells."""

    def runTest(self):
        self.client.packet_out(udp(ONE, TWO), port=1, as_ingress=1, trace=1)
        self.traced(2, udp(ONE, TWO), port=1, tenant=RED, slice_=RED.best_effort)
        self.client.packet_out(udp(ONE, NOBODY), port=1, as_ingress=1, trace=1)
        self.is_dropped(RED.best_effort.id, DropReason.UNKNOWN_UNICAST)


class TraceWithoutSession(SwitchCase):
    """Without clone session the packet goes its way, and nobody hears of it."""

    def runTest(self):
        frame = udp(FAR, ONE)
        packet = arriving(frame, RED.best_effort.key, sender=A, identification=STAMPED | TRACED)
        self.passes(A.port, packet, {1: frame})
