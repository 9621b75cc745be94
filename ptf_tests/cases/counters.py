"""What is counted, in packets and in bytes as they came in."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import COOKIE, FAR, NOBODY, ONE, RED, TWO, UNKNOWN_PORT, A
from ptf_tests.packets import arriving, gold, leaving, udp


class CountersStartAtZero(SwitchCase):
    """A fresh entry has counted nothing, also after an older one of the same key was deleted."""

    def runTest(self):
        frame = udp(ONE, TWO)
        entry = self.network.bridge(RED, TWO, 2)
        self.passes(1, frame, {2: frame})
        self.assertEqual(self.counter(entry).packets, 1)
        self.delete(entry)
        self.insert(entry)
        self.assertEqual(self.counter(entry).packets, 0)


class CountersOfAnEdgePacket(SwitchCase):
    """A gold packet at the edge counts once in each table that it hits."""

    def runTest(self):
        frame = gold(ONE, FAR)
        for _ in range(3):
            self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=46)})
        entries = (
            self.network.access_port(RED, 1),
            self.network.gold_classifier(RED),
            self.network.gold_flow(RED),
            self.network.forward(RED, FAR, 0, A.link),
        )
        for entry in entries:
            with self.subTest(entry.table):
                counter = self.counter(entry)
                self.assertEqual((counter.packets, counter.bytes), (3, 3 * len(frame)))
        self.assertEqual(self.counter(self.network.bridge(RED, FAR, A.next_hop)).packets, 0)
        self.assertEqual(self.counter(self.network.slice(RED, RED.gold)).packets, 0)


class CountersOfAFabricPacket(SwitchCase):
    """From the fabric bytes include the tunnel header: 42 more than the tenant's frame."""

    def runTest(self):
        frame = gold(FAR, ONE)
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46)
        self.assertEqual(len(packet), len(frame) + 42)
        self.passes(A.port, packet, {1: frame})
        for entry in (
            self.network.fabric_port(A),
            self.network.slice(RED, RED.gold),
            self.network.gold_flow(RED),
            self.network.forward(RED, ONE, 0, 1),
        ):
            with self.subTest(entry.table):
                counter = self.counter(entry)
                self.assertEqual((counter.packets, counter.bytes), (1, len(packet)))


class CountersOfEveryPacketOfAPort(SwitchCase):
    """An entry for the port at the lowest priority makes the classifier count whatever comes in."""

    def runTest(self):
        catch = self.network.entry(
            "classifier",
            "classify",
            priority=1,
            vn=RED.vn,
            port=1,
            slice_id=RED.best_effort.id,
            cookie=COOKIE,
        )
        self.insert(catch)
        best, qos = udp(ONE, TWO), gold(ONE, TWO)
        self.passes(1, best, {2: best})
        self.passes(1, qos, {2: qos})
        self.drops(1, udp(ONE, NOBODY), RED.best_effort.id, DropReason.UNKNOWN_UNICAST)
        claimed = self.counter(self.network.gold_classifier(RED)).packets
        self.assertEqual((self.counter(catch).packets, claimed), (2, 1))
        self.assertEqual(self.counter(self.network.access_port(RED, 1)).packets, 3)


class CountersOfDropsAddUp(SwitchCase):
    """Drops of one cell add up, and cells do not touch each other."""

    def runTest(self):
        for _ in range(3):
            self.drops(1, udp(ONE, NOBODY), RED.best_effort.id, DropReason.UNKNOWN_UNICAST)
        self.drops(UNKNOWN_PORT, udp(ONE, NOBODY), 0, DropReason.UNKNOWN_PORT)


class CountersOfModifiedEntryStay(SwitchCase):
    """Modifying an entry's action keeps its count."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.passes(1, frame, {2: frame})
        self.modify(self.network.bridge(RED, TWO, 1))
        self.passes(2, frame, {1: frame})
        self.assertEqual(self.counter(self.network.bridge(RED, TWO, 1)).packets, 2)
