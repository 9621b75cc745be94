"""Replication of broadcast, multicast and unknown unicast, with split horizon."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, BROADCAST, FAR, NOBODY, ONE, OTHER_PATH, RED, TWO, A, B, Host
from ptf_tests.packets import STAMPED, arp, arriving, gold, leaving, udp
from ptf_tests.tables import group

GROUP = Host("01:00:5e:00:00:05", "224.0.0.5", "ff02::5")
EVERYONE = Host(BROADCAST, "10.0.0.255", "ff02::1")


class FloodBroadcastFromAccess(SwitchCase):
    """A broadcast goes to the tenant's other port here and to every other VTEP, nowhere else."""

    def runTest(self):
        frame = arp(ONE, FAR)
        key = RED.best_effort.key
        copies = {2: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        self.passes(1, frame, copies)


class FloodReceivingPortPruned(SwitchCase):
    """Whichever port the broadcast came from gets no copy."""

    def runTest(self):
        frame = arp(TWO, ONE)
        key = RED.best_effort.key
        copies = {1: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        self.passes(2, frame, copies)


class FloodFromFabricStaysLocal(SwitchCase):
    """A broadcast from another switch goes to local ports only, also with TTL 1."""

    def runTest(self):
        frame = arp(FAR, ONE)
        for ttl in (64, 1, 0):
            packet = arriving(frame, RED.best_effort.key, sender=A, ttl=ttl)
            self.passes(A.port, packet, {1: frame, 2: frame})


class FloodTenantsApart(SwitchCase):
    """A tenant's broadcast reaches that tenant's ports alone, with that tenant's key."""

    def runTest(self):
        frame = arp(ONE, FAR)
        key = BLUE.best_effort.key
        copies = {4: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        self.passes(3, frame, copies)
        self.passes(A.port, arriving(frame, key, sender=A), {3: frame, 4: frame})


class FloodMulticast(SwitchCase):
    """Multicast is flooded like broadcast."""

    def runTest(self):
        frame = udp(ONE, GROUP)
        key = RED.best_effort.key
        copies = {2: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        self.passes(1, frame, copies)


class FloodMulticastIgnoresBridge(SwitchCase):
    """A group address is never looked up in the bridge."""

    def runTest(self):
        self.insert(self.network.bridge(RED, GROUP, 2))
        frame = udp(ONE, GROUP)
        key = RED.best_effort.key
        copies = {2: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        self.passes(1, frame, copies)


class FloodOfQosSliceIsDemoted(SwitchCase):
    """A broadcast that a QoS slice permits is flooded as best effort: key, DSCP, no path class."""

    def runTest(self):
        frame = gold(ONE, EVERYONE)
        key = RED.best_effort.key
        copies = {
            2: frame,
            A.port: leaving(frame, key, A, identification=STAMPED),
            B.port: leaving(frame, key, B, identification=STAMPED),
        }
        self.passes(1, frame, copies)
        self.assertEqual(self.counter(self.network.gold_flow(RED)).packets, 1)
        on_path = {"path_class_": OTHER_PATH, "slice_id": RED.gold.id, "cookie": 1}
        self.insert(self.network.entry("flow", "permit_on_path", priority=20, **on_path))
        self.passes(1, frame, copies)


class FloodOfQosSliceFromFabric(SwitchCase):
    """A foreign peer's broadcast in a QoS slice is delivered here and goes no further."""

    def runTest(self):
        frame = gold(FAR, EVERYONE)
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46)
        self.passes(A.port, packet, {1: frame, 2: frame})


class FloodDeniedBroadcastStaysDropped(SwitchCase):
    """A broadcast that the slice denies is not flooded."""

    def runTest(self):
        frame = gold(ONE, EVERYONE)
        self.modify(
            self.network.entry(
                "flow",
                "deny",
                priority=10,
                slice_id=RED.gold.id,
                ip_proto=17,
                l4_dst=5000,
                cookie=3,
            )
        )
        self.drops(1, frame, RED.gold.id, DropReason.FLOW_DENIED)


class FloodUnknownUnicast(SwitchCase):
    """Unknown unicast is flooded where the VN says so."""

    def runTest(self):
        frame = udp(ONE, NOBODY)
        self.drops(1, frame, RED.best_effort.id, DropReason.UNKNOWN_UNICAST)
        self.modify(self.network.flood(RED, unknown_unicast=True))
        key = RED.best_effort.key
        copies = {2: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        self.passes(1, frame, copies)
        packet = arriving(frame, key, sender=A)
        self.passes(A.port, packet, {1: frame, 2: frame})
        self.drops(3, frame, BLUE.best_effort.id, DropReason.UNKNOWN_UNICAST)


class FloodWithoutEntryDropped(SwitchCase):
    """A VN without flood entry drops broadcasts."""

    def runTest(self):
        frame = arp(ONE, FAR)
        copies = {
            2: frame,
            A.port: leaving(frame, RED.best_effort.key, A),
            B.port: leaving(frame, RED.best_effort.key, B),
        }
        self.passes(1, frame, copies)
        self.delete(self.network.flood(RED))
        self.drops(1, frame, RED.best_effort.id, DropReason.UNKNOWN_UNICAST)


class FloodGroupChanged(SwitchCase):
    """A changed group takes effect; the copies of an emptied one are none."""

    def runTest(self):
        frame = arp(ONE, FAR)
        self.modify(group(RED.from_access, (2, 0)))
        self.passes(1, frame, {2: frame})
        self.modify(group(RED.from_access, (2, 0), (A.port, A.replication_id)))
        self.passes(1, frame, {2: frame, A.port: leaving(frame, RED.best_effort.key, A)})
        self.modify(group(RED.from_access))
        self.vanishes(1, frame, self.network.access_port(RED, 1))


class FloodCopyWithoutTunnelStaysInside(SwitchCase):
    """A copy whose replication id has no entry does not leave: no frame is seen without tunnel."""

    def runTest(self):
        frame = arp(ONE, FAR)
        replica = next(
            item
            for item in self.network.underlay()
            if getattr(item, "table", "") == "replica" and item.arg("mac") == 0x02DF00000002
        )
        self.delete(replica)
        others = {2: frame, B.port: leaving(frame, RED.best_effort.key, B)}
        self.drops(1, frame, RED.best_effort.id, DropReason.REPLICA_MISSING, others)


class FloodOfNobodyDropped(SwitchCase):
    """A VN whose flood names no group for frames from here, or from the fabric: counted drops."""

    def runTest(self):
        frame = arp(ONE, FAR)
        key = RED.best_effort.key
        packet = arriving(frame, key, sender=A)
        copies = {2: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        self.passes(1, frame, copies)
        self.groups(0, RED.from_fabric)
        self.drops(1, frame, RED.best_effort.id, DropReason.NO_FLOOD_MEMBER)
        self.passes(A.port, packet, {1: frame, 2: frame})
        self.groups(RED.from_access, 0)
        self.drops(A.port, packet, RED.best_effort.id, DropReason.NO_FLOOD_MEMBER)
        self.passes(1, frame, copies)

    def groups(self, from_access, from_fabric):
        self.modify(
            self.network.entry(
                "flood",
                "flood_to",
                vn=RED.vn,
                from_access=from_access,
                from_fabric=from_fabric,
                unknown_unicast=0,
            )
        )
