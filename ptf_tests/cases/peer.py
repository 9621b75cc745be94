"""Who may send tunnels to this switch, and whose Identification field is read."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, FAR_B, FOREIGN, ONE, OTHER_PATH, RED, A, B, Vtep
from ptf_tests.packets import STAMPED, arriving, gold, leaving, udp

STRANGER = Vtep("203.0.113.5", "02:99:00:00:00:05")


class PeerUnknownDropped(SwitchCase):
    """A sender that is no peer, counted for the slice whose key it used."""

    def runTest(self):
        frame = udp(FAR, ONE)
        key = RED.best_effort.key
        self.passes(A.port, arriving(frame, key, sender=A), {1: frame})
        stranger = arriving(frame, key, sender=STRANGER)
        self.drops(A.port, stranger, RED.best_effort.id, DropReason.UNKNOWN_PEER)
        both_unknown = arriving(frame, 0xABCDEF, sender=STRANGER)
        self.drops(A.port, both_unknown, 0, DropReason.UNKNOWN_PEER)
        self.delete(self.network.peer(A))
        packet = arriving(frame, key, sender=A)
        self.drops(A.port, packet, RED.best_effort.id, DropReason.UNKNOWN_PEER)


class PeerForeignDelivers(SwitchCase):
    """A foreign GRE endpoint with a key of ours is understood, and answered."""

    def runTest(self):
        frame = udp(FAR, ONE)
        packet = arriving(frame, RED.best_effort.key, sender=FOREIGN, identification=7, flags=0)
        self.passes(FOREIGN.port, packet, {1: frame})
        self.modify(self.network.bridge(RED, FAR, FOREIGN.next_hop))
        answer = udp(ONE, FAR)
        self.passes(1, answer, {FOREIGN.port: leaving(answer, RED.best_effort.key, FOREIGN)})


class PeerOursCarriesPathClass(SwitchCase):
    """A stamped Identification of one of our switches names the path, and is stamped again."""

    def runTest(self):
        frame = gold(FAR_B, FAR)
        for identification, out in (
            (STAMPED, A),
            (STAMPED | OTHER_PATH, B),
            (STAMPED | 0x3000 | OTHER_PATH, B),  # bits 13 and 12 are nothing yet
        ):
            packet = arriving(frame, RED.gold.key, sender=B, dscp=46, identification=identification)
            path_class = identification & 0xFFF
            onward = leaving(
                frame, RED.gold.key, out, ttl=63, dscp=46, identification=STAMPED | path_class
            )
            self.passes(B.port, packet, {out.port: onward})


class PeerOursUnstampedIsPathClassZero(SwitchCase):
    """An Identification that is not stamped means nothing."""

    def runTest(self):
        frame = gold(FAR_B, FAR)
        packet = arriving(frame, RED.gold.key, sender=B, dscp=46, identification=OTHER_PATH)
        onward = leaving(frame, RED.gold.key, A, ttl=63, dscp=46)
        self.passes(B.port, packet, {A.port: onward})


class PeerForeignIdentificationIgnored(SwitchCase):
    """A foreign endpoint's Identification means nothing, even if it looks stamped."""

    def runTest(self):
        frame = gold(FAR_B, FAR)
        packet = arriving(
            frame, RED.gold.key, sender=FOREIGN, dscp=46, identification=STAMPED | OTHER_PATH
        )
        onward = leaving(frame, RED.gold.key, A, ttl=63, dscp=46)
        self.passes(FOREIGN.port, packet, {A.port: onward})
