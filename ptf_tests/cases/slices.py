"""From the GRE key to the slice: known, unknown, and somebody else's."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, FAR, FAR_B, ONE, RED, TWO, A, B
from ptf_tests.packets import arriving, gold, leaving, udp


class SliceKeyChoosesTenant(SwitchCase):
    """The same inner frame goes to the tenant that the key names."""

    def runTest(self):
        frame = udp(FAR, ONE)
        self.passes(A.port, arriving(frame, RED.best_effort.key, sender=A), {1: frame})
        self.passes(A.port, arriving(frame, BLUE.best_effort.key, sender=A), {3: frame})


class SliceUnknownKeyDropped(SwitchCase):
    """A key that names no slice here, near misses of known ones among them."""

    def runTest(self):
        frame = udp(FAR, ONE)
        self.passes(A.port, arriving(frame, RED.best_effort.key, sender=A), {1: frame})
        for key in (0, RED.best_effort.key + 1, 0xC0000003, 0x1100, 0x80000011, 0xFFFFFFFE):
            with self.subTest(key=hex(key)):
                self.drops(A.port, arriving(frame, key, sender=A), 0, DropReason.UNKNOWN_KEY)
        self.delete(self.network.slice(RED, RED.best_effort))
        packet = arriving(frame, RED.best_effort.key, sender=A)
        self.drops(A.port, packet, 0, DropReason.UNKNOWN_KEY)


class SliceOtherTenantsKeyReachesNothingOfMine(SwitchCase):
    """With blue's key a frame for a host that only red has goes nowhere."""

    def runTest(self):
        frame = udp(FAR, TWO)
        red, blue = (arriving(frame, t.best_effort.key, sender=A) for t in (RED, BLUE))
        self.delete(self.network.bridge(BLUE, TWO, BLUE.ports[1]))
        self.passes(A.port, red, {2: frame})
        self.drops(A.port, blue, BLUE.best_effort.id, DropReason.UNKNOWN_UNICAST)


class SliceQosKeyIsMatchedByFlow(SwitchCase):
    """A QoS slice's packet is matched by its own flow entries at every switch, also at the last."""

    def runTest(self):
        frame = gold(FAR, ONE)
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46)
        self.passes(A.port, packet, {1: frame})
        self.assertEqual(self.counter(self.network.gold_flow(RED)).packets, 1)
        self.assertEqual(self.counter(self.network.gold_flow(BLUE)).packets, 0)
        self.delete(self.network.gold_flow(RED))
        self.drops(A.port, packet, RED.gold.id, DropReason.FLOW_MISS)


class SlicePolicyGivesKeyAndDscp(SwitchCase):
    """What a slice's packets carry on the wire is one entry: changing it changes key and DSCP."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=46)})
        policy = dict(self.network.slice_policy(RED, RED.gold).args)
        policy |= {"gre_key": 0x01020304, "dscp": 10}
        self.modify(
            self.network.entry("slice_policy", "set_slice_policy", slice_id=RED.gold.id, **policy)
        )
        self.passes(1, frame, {A.port: leaving(frame, 0x01020304, A, dscp=10)})


class SliceRekeyedByHop(SwitchCase):
    """A slice keeps its key from hop to hop, whatever the outer addresses were."""

    def runTest(self):
        frame = gold(FAR, FAR_B)
        self.passes(
            A.port,
            arriving(frame, RED.gold.key, sender=A, ttl=64, dscp=46),
            {B.port: leaving(frame, RED.gold.key, B, ttl=63, dscp=46)},
        )


class SliceDeletedMovesToBestEffort(SwitchCase):
    """Without its entries a slice's traffic is best effort, and its key is gone."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=46)})
        self.delete(
            self.network.gold_classifier(RED),
            self.network.gold_flow(RED),
            self.network.slice(RED, RED.gold),
            self.network.slice_policy(RED, RED.gold),
        )
        self.passes(1, frame, {A.port: leaving(frame, RED.best_effort.key, A)})
        back = gold(FAR, ONE)
        self.drops(
            A.port, arriving(back, RED.gold.key, sender=A, dscp=46), 0, DropReason.UNKNOWN_KEY
        )
