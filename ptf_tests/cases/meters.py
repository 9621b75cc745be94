"""Two-rate three-colour meters (RFC 2698) at the edge, and the meters of floods.

Rates are next to nothing and bursts some frames long, so that colours do not depend on time.
"""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, FAR, NOBODY, ONE, RED, TWO, YELLOW_DSCP, A, B
from ptf_tests.packets import arp, arriving, gold, leaving, udp

TRICKLE = 1  # bytes per second: nothing within a case
NEVER = 0  # packets per second
FLOW_METER = 77
FRAME = gold(ONE, FAR)
SIZE = len(FRAME)
ONE_FRAME = SIZE + SIZE // 2  # a burst that one frame fits, and two do not
TWO_FRAMES = 2 * SIZE + SIZE // 2


class _MeterCase(SwitchCase):
    def metered(self, priority=20, meter_id=FLOW_METER, **match):
        """A flowspace of red's gold slice with a flow meter."""
        entry = self.network.entry(
            "classifier",
            "classify",
            priority=priority,
            vn=RED.vn,
            slice_id=RED.gold.id,
            cookie=1,
            meter_id=meter_id,
            **(match or {"ip_proto": 17}),
        )
        self.insert(entry)
        return entry

    def flow_meter(self, committed, peak):
        self.meter("flow_meters", FLOW_METER, TRICKLE, committed, TRICKLE, peak)

    def slice_meter(self, committed, peak, slice_=RED.gold):
        self.meter("slice_meters", slice_.id, TRICKLE, committed, TRICKLE, peak)

    def green(self, frame=FRAME):
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=RED.gold.dscp)})

    def yellow(self, frame=FRAME):
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=YELLOW_DSCP)})

    def red(self, reason, frame=FRAME):
        self.drops(1, frame, RED.gold.id, reason)


class MeterUnconfiguredIsGreen(_MeterCase):
    """A meter id without rates, and a slice without rates, let everything pass."""

    def runTest(self):
        self.metered()
        for _ in range(5):
            self.green()


class MeterOfAFlowspaceDropsRed(_MeterCase):
    """What exceeds the peak burst of a flowspace is dropped."""

    def runTest(self):
        self.metered()
        self.flow_meter(ONE_FRAME, ONE_FRAME)
        self.green()
        self.red(DropReason.FLOW_METER)
        self.red(DropReason.FLOW_METER)


class MeterOfAFlowspaceMarksYellow(_MeterCase):
    """Between committed and peak burst the DSCP says so."""

    def runTest(self):
        self.metered()
        self.flow_meter(ONE_FRAME, TWO_FRAMES)
        self.green()
        self.yellow()
        self.red(DropReason.FLOW_METER)


class MeterOfASliceDropsRed(_MeterCase):
    """What exceeds the peak burst of a slice is dropped; other slices pass."""

    def runTest(self):
        self.slice_meter(ONE_FRAME, ONE_FRAME)
        self.green()
        self.red(DropReason.SLICE_METER)
        best = udp(ONE, FAR)
        self.passes(1, best, {A.port: leaving(best, RED.best_effort.key, A)})
        self.passes(3, FRAME, {A.port: leaving(FRAME, BLUE.gold.key, A, dscp=46)})
        self.red(DropReason.SLICE_METER)


class MeterOfASliceMarksYellow(_MeterCase):
    """Committed, then peak, then red."""

    def runTest(self):
        self.slice_meter(ONE_FRAME, TWO_FRAMES)
        self.green()
        self.yellow()
        self.red(DropReason.SLICE_METER)


class MeterSmallFramesAfterRed(_MeterCase):
    """A red frame charges nothing: a smaller one still passes."""

    def runTest(self):
        small = gold(ONE, FAR, payload=b"")
        self.slice_meter(ONE_FRAME, ONE_FRAME)
        self.green()
        self.red(DropReason.SLICE_METER)
        left = ONE_FRAME - SIZE
        self.assertLess(left, len(small))
        self.slice_meter(ONE_FRAME + len(small), ONE_FRAME + len(small))
        self.green()
        self.red(DropReason.SLICE_METER, gold(ONE, FAR, payload=bytes(200)))
        self.green(small)


class MeterOfBestEffort(_MeterCase):
    """A best-effort slice has a meter too, and its yellow DSCP."""

    def runTest(self):
        frame = udp(ONE, FAR)
        self.slice_meter(ONE_FRAME, TWO_FRAMES, RED.best_effort)
        for _ in range(2):  # green and yellow have DSCP 0
            self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})
        self.drops(1, frame, RED.best_effort.id, DropReason.SLICE_METER)


class MeterOfAFlowspaceBeforeItsSlice(_MeterCase):
    """What the flow meter drops does not charge the slice's meter."""

    def runTest(self):
        self.metered(l4_src=(4000, 0xFFFF))
        self.flow_meter(ONE_FRAME, ONE_FRAME)
        self.slice_meter(TWO_FRAMES, TWO_FRAMES)
        self.green()
        for _ in range(3):
            self.red(DropReason.FLOW_METER)
        other = gold(ONE, FAR, sport=4001)
        self.green(other)
        self.red(DropReason.SLICE_METER, other)


class MeterYellowOfEither(_MeterCase):
    """Yellow at the flow meter stays yellow where the slice's meter is green, and the reverse."""

    def runTest(self):
        self.metered()
        self.flow_meter(1, 10 * SIZE)
        self.slice_meter(10 * SIZE, 10 * SIZE)
        self.yellow()
        self.flow_meter(10 * SIZE, 10 * SIZE)
        self.green()
        self.slice_meter(1, 10 * SIZE)
        self.yellow()


class MeterSharedByAFlowspacesEntries(_MeterCase):
    """All entries with a meter id share its rate."""

    def runTest(self):
        self.metered(l4_src=(4000, 0xFFFF))
        self.metered(l4_src=(4001, 0xFFFF))
        self.flow_meter(ONE_FRAME, ONE_FRAME)
        self.green()
        self.red(DropReason.FLOW_METER, gold(ONE, FAR, sport=4001))


class MeterZeroIsNone(_MeterCase):
    """Meter id 0 is no meter, even if its cell has rates."""

    def runTest(self):
        self.meter("flow_meters", 0, TRICKLE, 1, TRICKLE, 1)
        for _ in range(3):
            self.green()


class MeterNotChargedByDenied(_MeterCase):
    """What flow entry or flowspace deny charges no meter."""

    def runTest(self):
        self.metered()
        self.flow_meter(ONE_FRAME, ONE_FRAME)
        self.slice_meter(ONE_FRAME, ONE_FRAME)
        deny = self.network.entry("flow", "deny", priority=20, slice_id=RED.gold.id, cookie=1)
        self.insert(deny)
        for _ in range(3):
            self.red(DropReason.FLOW_DENIED)
        self.delete(deny)
        self.green()
        self.red(DropReason.FLOW_METER)


class MeterNotChargedByDemoted(_MeterCase):
    """What is demoted charges neither the flow's, nor the slice's, nor best effort's meter."""

    def runTest(self):
        self.metered()
        self.flow_meter(ONE_FRAME, ONE_FRAME)
        self.slice_meter(ONE_FRAME, ONE_FRAME)
        self.slice_meter(1, 1, RED.best_effort)
        demote = self.network.entry("flow", "demote", priority=20, slice_id=RED.gold.id, cookie=1)
        self.insert(demote)
        for _ in range(3):
            self.passes(1, FRAME, {A.port: leaving(FRAME, RED.best_effort.key, A)})
        self.delete(demote)
        self.green()
        self.red(DropReason.FLOW_METER)


class MeterOnlyWhereTheFrameEnters(_MeterCase):
    """Packets from other switches were metered there."""

    def runTest(self):
        self.slice_meter(1, 1)
        self.red(DropReason.SLICE_METER)
        frame = gold(FAR, ONE)
        for _ in range(3):
            packet = arriving(frame, RED.gold.key, sender=A, dscp=46)
            self.passes(A.port, packet, {1: frame})


class MeterOfLocalTraffic(_MeterCase):
    """Frames between two ports of one switch are metered like all others."""

    def runTest(self):
        frame = gold(ONE, TWO)
        self.slice_meter(ONE_FRAME, ONE_FRAME)
        self.passes(1, frame, {2: frame})
        self.red(DropReason.SLICE_METER, frame)


class MeterRefilledBySetting(_MeterCase):
    """Setting a meter's rates fills its buckets; unsetting makes it green for ever."""

    def runTest(self):
        for _ in range(2):
            self.slice_meter(ONE_FRAME, ONE_FRAME)
            self.green()
            self.red(DropReason.SLICE_METER)
        self.client.set_meter("slice_meters", RED.gold.id, None)
        for _ in range(3):
            self.green()


class _StormCase(SwitchCase):
    frame = arp(ONE, FAR)

    def storm(self, committed, peak):
        self.meter("flood_meters", RED.vn, NEVER, committed, NEVER, peak)

    def flooded(self):
        key = RED.best_effort.key
        self.passes(
            1,
            self.frame,
            {
                2: self.frame,
                A.port: leaving(self.frame, key, A),
                B.port: leaving(self.frame, key, B),
            },
        )

    def stopped(self):
        self.drops(1, self.frame, RED.best_effort.id, DropReason.FLOOD_METER)


class StormStopped(_StormCase):
    """So many flooded packets of a VN pass, green or yellow, and no more."""

    def runTest(self):
        self.storm(1, 3)
        for _ in range(3):
            self.flooded()
        self.stopped()
        self.stopped()


class StormOfOneTenantOnly(_StormCase):
    """A tenant's storm does not stop another's broadcasts, nor its own unicast."""

    def runTest(self):
        self.storm(1, 1)
        self.flooded()
        self.stopped()
        key = BLUE.best_effort.key
        self.passes(
            3,
            self.frame,
            {
                4: self.frame,
                A.port: leaving(self.frame, key, A),
                B.port: leaving(self.frame, key, B),
            },
        )
        unicast = udp(ONE, TWO)
        self.passes(1, unicast, {2: unicast})


class StormOfUnknownUnicast(_StormCase):
    """Unknown unicast that is flooded counts as flood; what is not flooded does not."""

    frame = udp(ONE, NOBODY)

    def runTest(self):
        self.storm(1, 1)
        for _ in range(3):
            self.drops(1, self.frame, RED.best_effort.id, DropReason.UNKNOWN_UNICAST)
        self.modify(self.network.flood(RED, unknown_unicast=True))
        self.flooded()
        self.stopped()


class StormFromTheFabric(_StormCase):
    """Broadcasts from other switches count as well."""

    def runTest(self):
        self.storm(1, 1)
        packet = arriving(self.frame, RED.best_effort.key, sender=A)
        self.passes(A.port, packet, {1: self.frame, 2: self.frame})
        self.drops(A.port, packet, RED.best_effort.id, DropReason.FLOOD_METER)
        self.stopped()
