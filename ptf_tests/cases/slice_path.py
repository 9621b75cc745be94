"""The path class of a slice: stamped where a packet comes in, by one entry."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, FAR_B, FOREIGN, ONE, OTHER_PATH, RED, TWO, A, B
from ptf_tests.packets import STAMPED, arp, arriving, gold, leaving
from ptf_tests.tables import mac

FRAME = gold(ONE, FAR)
THIRD_PATH = OTHER_PATH + 1


class _SlicePathCase(SwitchCase):
    def path(self, path_class, *, priority=1, slice_id=RED.gold.id, **match):
        return self.network.entry(
            "slice_path",
            "set_path",
            priority=priority,
            slice_id=slice_id,
            path_class=path_class,
            **match,
        )

    def on_path(self, path_class, priority=30):
        return self.network.entry(
            "flow",
            "permit_on_path",
            priority=priority,
            slice_id=RED.gold.id,
            path_class_=path_class,
            cookie=4,
        )

    def from_host(self, out, path_class):
        stamp = STAMPED | path_class
        onward = leaving(FRAME, RED.gold.key, out, dscp=RED.gold.dscp, identification=stamp)
        self.passes(1, FRAME, {out.port: onward})


class SlicePathStampsTheWholeSlice(_SlicePathCase):
    """One entry has all that enters take another path; another one's slice does not care."""

    def runTest(self):
        self.from_host(A, 0)
        self.insert(self.path(OTHER_PATH))
        self.from_host(B, OTHER_PATH)
        self.modify(self.path(THIRD_PATH))
        self.drops(1, FRAME, RED.gold.id, DropReason.NO_NEXT_HOP)
        self.delete(self.path(THIRD_PATH))
        self.insert(self.path(OTHER_PATH, slice_id=RED.gold.id + 1))
        self.from_host(A, 0)


class SlicePathByDestination(_SlicePathCase):
    """An entry for a destination goes before that of the slice, by priority."""

    def runTest(self):
        self.insert(self.path(THIRD_PATH))
        self.drops(1, FRAME, RED.gold.id, DropReason.NO_NEXT_HOP)
        self.insert(self.path(OTHER_PATH, priority=2, eth_dst=mac(FAR.mac)))
        self.from_host(B, OTHER_PATH)
        self.insert(self.path(0, priority=3, eth_dst=mac(FAR.mac)))
        self.from_host(A, 0)


class SlicePathAfterTheFlowsOwn(_SlicePathCase):
    """A flow entry that names a class goes before it; class 0 is the slice's."""

    def runTest(self):
        flow = self.on_path(OTHER_PATH)
        self.insert(self.path(THIRD_PATH), flow)
        self.from_host(B, OTHER_PATH)
        self.modify(self.on_path(0))
        self.drops(1, FRAME, RED.gold.id, DropReason.NO_NEXT_HOP)
        self.modify(self.path(OTHER_PATH))
        self.from_host(B, OTHER_PATH)


class SlicePathIsDecidedOnce(_SlicePathCase):
    """What another switch of ours has stamped keeps its class, 0 too."""

    def runTest(self):
        self.insert(self.path(OTHER_PATH), self.on_path(THIRD_PATH))
        frame = gold(FAR_B, FAR)
        for path_class, out in ((0, A), (OTHER_PATH, B)):
            stamped = {"dscp": 46, "identification": STAMPED | path_class}
            packet = arriving(frame, RED.gold.key, sender=B, **stamped)
            self.passes(
                B.port, packet, {out.port: leaving(frame, RED.gold.key, out, ttl=63, **stamped)}
            )


class SlicePathOfForeignPeers(_SlicePathCase):
    """What a foreign peer sends comes in here, whatever its Identification says."""

    def runTest(self):
        frame = gold(FAR_B, FAR)
        packet = arriving(frame, RED.gold.key, sender=FOREIGN, identification=STAMPED | THIRD_PATH)
        onward = {"dscp": 46, "ttl": 63}
        self.passes(FOREIGN.port, packet, {A.port: leaving(frame, RED.gold.key, A, **onward)})
        self.insert(self.path(OTHER_PATH))
        stamp = STAMPED | OTHER_PATH
        out = leaving(frame, RED.gold.key, B, identification=stamp, **onward)
        self.passes(FOREIGN.port, packet, {B.port: out})


class SlicePathOfMatchedPackets(_SlicePathCase):
    """Flow entries see path class 0 of what comes in; demoted packets and floods have none."""

    def runTest(self):
        self.insert(self.path(OTHER_PATH))
        self.from_host(B, OTHER_PATH)
        demote = self.network.entry(
            "flow",
            "demote",
            priority=40,
            slice_id=RED.gold.id,
            path_class=(0, 0xFFF),
            eth_dst=mac(FAR.mac),
            cookie=5,
        )
        self.insert(demote)
        best_effort = RED.best_effort.key
        self.passes(1, FRAME, {A.port: leaving(FRAME, best_effort, A)})
        everything = self.network.entry(
            "classifier", "classify", priority=20, vn=RED.vn, slice_id=RED.gold.id, cookie=1
        )
        permit = self.network.entry("flow", "permit", priority=5, slice_id=RED.gold.id, cookie=1)
        self.insert(everything, permit)
        flooded = arp(ONE, FAR)
        copies = {peer.port: leaving(flooded, best_effort, peer) for peer in (A, B)}
        self.passes(1, flooded, {2: flooded, **copies})


class SlicePathForLocalDelivery(_SlicePathCase):
    """Hosts of one switch, too: the class is that of the slice's forwarding."""

    def runTest(self):
        frame = gold(ONE, TWO)
        self.passes(1, frame, {2: frame})
        self.insert(self.path(OTHER_PATH))
        self.drops(1, frame, RED.gold.id, DropReason.NO_NEXT_HOP)
        self.insert(self.network.forward(RED, TWO, OTHER_PATH, 2))
        self.passes(1, frame, {2: frame})
