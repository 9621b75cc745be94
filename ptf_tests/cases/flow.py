"""The flow switch of a QoS slice: treatments, misses, isolation."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, FAR, GOLD_UDP_PORT, ONE, OTHER_PATH, RED, TWO, A, B, Miss
from ptf_tests.packets import STAMPED, arriving, gold, ipv6_tcp, leaving, tagged, tcp, udp
from ptf_tests.tables import ipv4, ipv6, mac


class _FlowCase(SwitchCase):
    frame = gold(ONE, FAR)

    def flow(self, action, *, priority=20, slice_id=RED.gold.id, **values):
        values.setdefault("cookie", 1)
        return self.network.entry("flow", action, priority=priority, slice_id=slice_id, **values)

    def in_gold(self, frame=None, out=A, path_class=0):
        frame = frame or self.frame
        onward = leaving(
            frame, RED.gold.key, out, dscp=RED.gold.dscp, identification=STAMPED | path_class
        )
        self.passes(1, frame, {out.port: onward})


class FlowPermitted(_FlowCase):
    """A permitted packet goes on in its slice, counted with the bytes that came in."""

    def runTest(self):
        self.in_gold()
        counter = self.counter(self.network.gold_flow(RED))
        self.assertEqual((counter.packets, counter.bytes), (1, len(self.frame)))


class FlowMissDropped(_FlowCase):
    """Miss policy drop."""

    def runTest(self):
        self.in_gold()
        self.delete(self.network.gold_flow(RED))
        self.drops(1, self.frame, RED.gold.id, DropReason.FLOW_MISS)


class FlowMissBestEffort(_FlowCase):
    """Miss policy best effort: the packet takes the VN's best-effort slice, key and path."""

    def runTest(self):
        self.in_gold()
        self.delete(self.network.gold_flow(RED))
        policy = dict(self.network.slice_policy(RED, RED.gold).args)
        policy["miss_policy"] = int(Miss.BEST_EFFORT)
        self.modify(
            self.network.entry("slice_policy", "set_slice_policy", slice_id=RED.gold.id, **policy)
        )
        self.passes(1, self.frame, {A.port: leaving(self.frame, RED.best_effort.key, A)})
        self.assertEqual(self.counter(self.network.bridge(RED, FAR, A.next_hop)).packets, 1)


class FlowDenied(_FlowCase):
    """A denying entry of higher priority drops what a lower one permits."""

    def runTest(self):
        self.in_gold()
        deny = self.flow("deny", ipv4_src=ipv4(ONE.ip))
        self.insert(deny)
        self.drops(1, self.frame, RED.gold.id, DropReason.FLOW_DENIED)
        self.assertEqual(self.counter(deny).packets, 1)
        self.assertEqual(self.counter(self.network.gold_flow(RED)).packets, 1)


class FlowDemoted(_FlowCase):
    """A demoting entry moves the packet to the VN's best-effort slice: key, DSCP and bridge."""

    def runTest(self):
        self.in_gold()
        demote = self.flow("demote", eth_dst=mac(FAR.mac))
        self.insert(demote)
        self.passes(1, self.frame, {A.port: leaving(self.frame, RED.best_effort.key, A)})
        self.assertEqual(self.counter(demote).packets, 1)
        self.modify(self.network.bridge(RED, FAR, B.next_hop))
        self.passes(1, self.frame, {B.port: leaving(self.frame, RED.best_effort.key, B)})


class FlowDemotedOnTheWay(_FlowCase):
    """A packet that was demoted here, in the middle of its path, may go on to the end's VTEP."""

    def runTest(self):
        frame = gold(ONE, FAR)
        packet = arriving(frame, RED.gold.key, sender=B, dscp=46, ttl=60)
        onward = leaving(frame, RED.gold.key, A, dscp=46, ttl=59)
        self.passes(B.port, packet, {A.port: onward})
        self.insert(self.flow("demote", eth_dst=mac(FAR.mac)))
        onward = leaving(frame, RED.best_effort.key, A, ttl=59)
        self.passes(B.port, packet, {A.port: onward})
        on_path = arriving(
            frame, RED.gold.key, sender=B, dscp=46, ttl=60, identification=STAMPED | OTHER_PATH
        )
        self.passes(B.port, on_path, {A.port: onward})
        best_effort = arriving(frame, RED.best_effort.key, sender=B)
        self.drops(B.port, best_effort, RED.best_effort.id, DropReason.NOT_BACK_TO_FABRIC)


class FlowChoosesPathAtTheEdge(_FlowCase):
    """The first switch decides the path class and stamps it."""

    def runTest(self):
        self.in_gold()
        self.insert(self.flow("permit_on_path", ip_proto=17, path_class_=OTHER_PATH))
        self.in_gold(out=B, path_class=OTHER_PATH)


class FlowDoesNotChangePathLater(_FlowCase):
    """Later switches take the path class from the packet, whatever their entries say."""

    def runTest(self):
        self.insert(self.flow("permit_on_path", ip_proto=17, path_class_=OTHER_PATH))
        packet = arriving(self.frame, RED.gold.key, sender=B, dscp=46)
        onward = leaving(self.frame, RED.gold.key, A, dscp=46, ttl=63)
        self.passes(B.port, packet, {A.port: onward})


class FlowMatchesPathClass(_FlowCase):
    """The received path class is a match field."""

    def runTest(self):
        stamped = {"sender": B, "dscp": 46, "identification": STAMPED | OTHER_PATH}
        packet = arriving(self.frame, RED.gold.key, **stamped)
        onward = leaving(
            self.frame, RED.gold.key, B, dscp=46, ttl=63, identification=STAMPED | OTHER_PATH
        )
        self.passes(B.port, packet, {B.port: onward})
        self.insert(self.flow("deny", path_class=OTHER_PATH))
        self.drops(B.port, packet, RED.gold.id, DropReason.FLOW_DENIED)
        plain = arriving(self.frame, RED.gold.key, sender=B, dscp=46)
        onward = leaving(self.frame, RED.gold.key, A, dscp=46, ttl=63)
        self.passes(B.port, plain, {A.port: onward})


class FlowOfOtherSliceNeverMatches(_FlowCase):
    """Another slice's entry, of any priority, does not touch this slice's packet."""

    def runTest(self):
        deny = self.flow("deny", priority=0x7FFFFFF0, slice_id=BLUE.gold.id, ip_proto=17)
        self.insert(deny)
        self.in_gold()
        self.assertEqual(self.counter(deny).packets, 0)
        self.drops(3, self.frame, BLUE.gold.id, DropReason.FLOW_DENIED)


class FlowFirstOfEqualPriorityWins(_FlowCase):
    """Of entries with equal priority the older one decides."""

    def runTest(self):
        self.insert(self.flow("deny", priority=10, ipv4_dst=ipv4(FAR.ip)))
        self.in_gold()


class FlowModifiedInPlace(_FlowCase):
    """Modifying an entry changes the treatment of the next packet."""

    def runTest(self):
        self.in_gold()
        self.modify(
            self.flow("deny", priority=10, ip_proto=17, l4_dst=GOLD_UDP_PORT),
        )
        self.drops(1, self.frame, RED.gold.id, DropReason.FLOW_DENIED)
        self.modify(self.network.gold_flow(RED))
        self.in_gold()


class FlowLocalDeliveryInSlice(_FlowCase):
    """Two hosts of a QoS slice at one switch: matched, counted, no tunnel."""

    def runTest(self):
        frame = gold(ONE, TWO)
        self.passes(1, frame, {2: frame})
        self.assertEqual(self.counter(self.network.gold_flow(RED)).packets, 1)
        self.insert(self.flow("deny", eth_dst=mac(TWO.mac)))
        self.drops(1, frame, RED.gold.id, DropReason.FLOW_DENIED)


class FlowMatchesEachField(_FlowCase):
    """Each match field decides by itself: a denying entry on it stops this frame, not the other."""

    def state(self):
        everything = self.network.entry(
            "classifier", "classify", priority=20, vn=RED.vn, slice_id=RED.gold.id, cookie=1
        )
        return [*super().state(), everything, self.flow("permit", priority=5)]

    def runTest(self):
        v4 = tagged(tcp(ONE, TWO, 80, flags="SA", tos=0x28 << 2), (0x8100, 5))
        v6 = ipv6_tcp(ONE, TWO, 81)
        later = tcp(ONE, TWO, frag=3)
        other = tagged(udp(TWO, ONE, 53, sport=99), (0x8100, 6))
        matches = [
            ("eth_src", mac(ONE.mac), v4),
            ("eth_dst", mac(TWO.mac), v4),
            ("eth_type", 0x86DD, v6),
            ("vlan_tci", 0x1005, v4),
            ("ipv4_src", ipv4(ONE.ip), v4),
            ("ipv4_dst", (ipv4("10.0.0.2"), 0xFFFFFF03), v4),
            ("ipv6_src", ipv6(ONE.ipv6), v6),
            ("ipv6_dst", ipv6(TWO.ipv6), v6),
            ("ip_proto", 6, v4),
            ("ip_dscp", 0x28, v4),
            ("is_fragment", 1, later),
            ("l4_src", 4000, v4),
            ("l4_dst", (80, 0xFFF0), v6),
            ("tcp_flags", (0x12, 0x3F), v4),
        ]
        for field, match, frame in matches:
            with self.subTest(field=field):
                self.passes(1, frame, {2: frame})
                deny = self.flow("deny", **{field: match})
                self.insert(deny)
                self.drops(1, frame, RED.gold.id, DropReason.FLOW_DENIED)
                self.passes(2, other, {1: other})
                self.delete(deny)
