"""Host learning: senders that the switch does not know are reported, once for each packet."""

from dfvisor.p4rt.drops import DropReason

from ptf_tests.base import RECEIVE_TIMEOUT_S, SwitchCase
from ptf_tests.network import BLUE, FAR, NOBODY, ONE, RED, TWO, A
from ptf_tests.p4rt import Learned
from ptf_tests.packets import arriving, leaving, tagged, udp
from ptf_tests.tables import mac

NOTHING_S = 0.2


class _LearnCase(SwitchCase):
    def setUp(self):
        super().setUp()
        self.client.learn(on=True)
        self.addCleanup(self.client.learn, on=False)
        self.learning(RED, 1)
        self.learning(RED, 2)

    def learning(self, tenant, port, **fields):
        args = {"best_effort_slice": tenant.best_effort.id, "learning": 1, **fields}
        self.modify(
            self.network.entry("access_port", "set_access", port=port, vn=tenant.vn, **args)
        )

    def known(self, tenant, port, host):
        return self.network.entry(
            "known_host", "host_known", vn=tenant.vn, port=port, eth_src=mac(host.mac)
        )

    def learned(self, *wanted):
        got = []
        while len(got) < len(wanted):
            one = self.client.next_learned(RECEIVE_TIMEOUT_S)
            if one is None:
                self.fail(f"learned {got}, expected {wanted}")
            if one not in got:  # BMv2 reports the last one again after its acknowledgement
                got.append(one)
        self.assertEqual(sorted(map(str, got)), sorted(map(str, wanted)))

    def nothing_learned(self):
        self.assertIsNone(self.client.next_learned(NOTHING_S))


class LearnUnknownSender(_LearnCase):
    """The VN, port and MAC of a sender that is not known; its frame passes."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.passes(1, frame, {2: frame})
        self.learned(Learned(RED.vn, 1, mac(ONE.mac)))


class LearnKnownSenderIsNotReported(_LearnCase):
    """A known one, on its port."""

    def runTest(self):
        self.insert(self.known(RED, 1, ONE))
        frame = udp(ONE, TWO)
        self.passes(1, frame, {2: frame})
        self.nothing_learned()
        self.passes(2, udp(TWO, ONE), {1: udp(TWO, ONE)})
        self.learned(Learned(RED.vn, 2, mac(TWO.mac)))


class LearnHostThatMoved(_LearnCase):
    """A host that is known on another port is reported from the new one."""

    def runTest(self):
        self.insert(self.known(RED, 1, ONE), self.known(RED, 2, TWO))
        frame = udp(ONE, FAR)
        self.passes(2, frame, {A.port: leaving(frame, RED.best_effort.key, A)})
        self.learned(Learned(RED.vn, 2, mac(ONE.mac)))


class LearnTenantsApart(_LearnCase):
    """A MAC that red knows is news in blue."""

    def runTest(self):
        self.insert(self.known(RED, 1, ONE))
        self.learning(BLUE, 3)
        frame = udp(ONE, TWO)
        self.passes(3, frame, {4: frame})
        self.learned(Learned(BLUE.vn, 3, mac(ONE.mac)))


class LearnNotWhereTheVnDoesNot(_LearnCase):
    """A port without learning, and frames from other switches, report nobody."""

    def runTest(self):
        self.learning(RED, 1, learning=0)
        frame = udp(ONE, TWO)
        self.passes(1, frame, {2: frame})
        frame = udp(FAR, ONE)
        self.passes(A.port, arriving(frame, RED.best_effort.key, sender=A), {1: frame})
        self.nothing_learned()
        self.learning(RED, 1)
        self.passes(1, udp(ONE, TWO), {2: udp(ONE, TWO)})
        self.learned(Learned(RED.vn, 1, mac(ONE.mac)))


class LearnNotFromSpoofers(_LearnCase):
    """What source guard drops teaches nothing."""

    def runTest(self):
        self.learning(RED, 1, guarded=1)
        self.drops(1, udp(ONE, TWO), RED.best_effort.id, DropReason.SOURCE_GUARD)
        self.nothing_learned()
        self.insert(
            self.network.entry(
                "source_guard",
                "guard_pass",
                priority=1,
                vn=RED.vn,
                port=1,
                eth_src=mac(ONE.mac),
            )
        )
        self.passes(1, udp(ONE, TWO), {2: udp(ONE, TWO)})
        self.learned(Learned(RED.vn, 1, mac(ONE.mac)))


class LearnFromFramesThatAreDroppedLater(_LearnCase):
    """A sender is reported though its frame has nowhere to go, and whatever its tags are."""

    def runTest(self):
        self.drops(1, udp(ONE, NOBODY), RED.best_effort.id, DropReason.UNKNOWN_UNICAST)
        self.learned(Learned(RED.vn, 1, mac(ONE.mac)))
        frame = tagged(udp(TWO, ONE), (0x8100, 5))
        self.passes(2, frame, {1: frame})
        self.learned(Learned(RED.vn, 2, mac(TWO.mac)))
