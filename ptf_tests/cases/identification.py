"""The outer Identification between our own switches: stamp, trace bit, path class (RFC 6864)."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet import IP

from ptf_tests.base import SwitchCase
from ptf_tests.network import BEYOND_A, FAR, FAR_B, FOREIGN, ONE, OTHER_PATH, RED, S1, A, B
from ptf_tests.packets import STAMPED, arp, arriving, gold, leaving, tunnel, udp

FRAME = gold(ONE, FAR)
LAST_CLASS = 0xFFF


class _IdentificationCase(SwitchCase):
    def on_path(self, path_class, **match):
        return self.network.entry(
            "flow",
            "permit_on_path",
            priority=30,
            slice_id=RED.gold.id,
            path_class_=path_class,
            cookie=4,
            **match,
        )


class IdentificationStampedAlways(_IdentificationCase):
    """Every tunnel header of ours is stamped, has DF set and no fragment fields."""

    def runTest(self):
        for frame, slice_, dscp in (
            (udp(ONE, FAR), RED.best_effort, 0),
            (FRAME, RED.gold, RED.gold.dscp),
        ):
            onward = leaving(frame, slice_.key, A, dscp=dscp)
            outer = IP(onward[14:])
            self.assertEqual((outer.id, outer.flags, outer.frag), (STAMPED, "DF", 0))
            self.passes(1, frame, {A.port: onward})


class IdentificationCarriesEveryPathClass(_IdentificationCase):
    """The classes' 12 bits, first and last ones."""

    def runTest(self):
        for path_class in (1, 0x800, LAST_CLASS):
            entry = self.on_path(path_class)
            self.insert(entry, self.network.forward(RED, FAR, path_class, B.link))
            stamp = STAMPED | path_class
            onward = leaving(FRAME, RED.gold.key, B, dscp=46, identification=stamp)
            self.passes(1, FRAME, {B.port: onward})
            self.delete(entry)


class IdentificationPathClassWithoutForward(_IdentificationCase):
    """A class for which the slice has no next hop is no other class's."""

    def runTest(self):
        entry = self.on_path(OTHER_PATH)
        self.insert(entry)
        onward = leaving(FRAME, RED.gold.key, B, dscp=46, identification=STAMPED | OTHER_PATH)
        self.passes(1, FRAME, {B.port: onward})
        self.modify(self.on_path(OTHER_PATH + 1))
        self.drops(1, FRAME, RED.gold.id, DropReason.NO_NEXT_HOP)


class IdentificationDoesNotReachTheTenant(_IdentificationCase):
    """A delivered frame's own Identification is the tenant's."""

    def runTest(self):
        for number in (0, 0xFFFF, 0x8007):
            frame = gold(FAR, ONE, id=number)
            stamp = STAMPED | 3
            self.insert(self.network.forward(RED, ONE, 3, 1))
            packet = arriving(frame, RED.gold.key, sender=A, dscp=46, identification=stamp)
            self.passes(A.port, packet, {1: frame})
            self.delete(self.network.forward(RED, ONE, 3, 1))


class IdentificationOfBestEffort(_IdentificationCase):
    """Best effort has no classes: what comes in is not asked, what goes out has class 0."""

    def runTest(self):
        frame = udp(FAR, ONE)
        for identification in (STAMPED | LAST_CLASS, 0x0123):
            packet = arriving(frame, RED.best_effort.key, sender=A, identification=identification)
            self.passes(A.port, packet, {1: frame})
        flooded = arp(ONE, FAR)
        key = RED.best_effort.key
        copies = {A.port: leaving(flooded, key, A), B.port: leaving(flooded, key, B), 2: flooded}
        self.passes(1, flooded, copies)


class IdentificationPeerBecomesOurs(_IdentificationCase):
    """Whether it is read is the peer entry's: foreign, then ours."""

    def runTest(self):
        frame = gold(FAR_B, FAR)
        stamp = STAMPED | OTHER_PATH
        packet = arriving(frame, RED.gold.key, sender=FOREIGN, dscp=46, identification=stamp)
        onward = leaving(frame, RED.gold.key, A, dscp=46, ttl=63)
        self.passes(FOREIGN.port, packet, {A.port: onward})
        entry = self.network.peer(FOREIGN)
        self.modify(type(entry)(entry.table, entry.key, entry.priority, "peer_ours"))
        onward = leaving(frame, RED.gold.key, B, dscp=46, ttl=63, identification=stamp)
        self.passes(FOREIGN.port, packet, {B.port: onward})


class IdentificationInTransitIsNotTouched(_IdentificationCase):
    """Any value passes a core switch, whoever sent it."""

    def runTest(self):
        for sender in (B, FOREIGN):
            for identification in (0, 1, 0x3FFF, 0x8000, 0xBFFF):
                passing = {
                    "sender": sender,
                    "receiver": BEYOND_A,
                    "identification": identification,
                }
                packet = tunnel(FRAME, 5, link=S1, **passing)
                onward = tunnel(FRAME, 5, link=A, link_src=S1.mac, ttl=63, **passing)
                self.passes(sender.port, packet, {A.port: onward})
