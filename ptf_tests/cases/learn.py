"""Host learning: senders that the switch does not know are reported, once for each packet."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from ptf_tests.base import RECEIVE_TIMEOUT_S, SwitchCase
from ptf_tests.network import BLUE, FAR, NOBODY, ONE, RED, TWO, A, B
from ptf_tests.p4rt import Learned
from ptf_tests.packets import arp, arriving, leaving, tagged, udp
from ptf_tests.tables import ipv4, ipv6, mac

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

    def address(self, tenant, port, host, **address):
        return self.network.entry(
            "known_address",
            "address_known",
            vn=tenant.vn,
            port=port,
            eth_src=mac(host.mac),
            **{"ipv4": 0, "ipv6": 0, **address},
        )

    def floods(self, frame):
        copies = {peer.port: leaving(frame, RED.best_effort.key, peer) for peer in (A, B)}
        self.passes(1, frame, {2: frame, **copies})

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


class LearnAddressFromArp(_LearnCase):
    """The protocol address that a sender says to have; of a host that is known too, once."""

    def runTest(self):
        frame = arp(ONE, FAR)
        self.floods(frame)
        self.learned(Learned(RED.vn, 1, mac(ONE.mac), ipv4=ipv4(ONE.ip)))
        self.insert(self.known(RED, 1, ONE))
        self.passes(1, udp(ONE, TWO), {2: udp(ONE, TWO)})
        self.nothing_learned()
        self.floods(frame)
        self.learned(Learned(RED.vn, 1, mac(ONE.mac), ipv4=ipv4(ONE.ip)))
        self.insert(self.address(RED, 1, ONE, ipv4=ipv4(ONE.ip)))
        self.floods(frame)
        self.nothing_learned()
        self.delete(self.known(RED, 1, ONE))
        self.floods(frame)
        self.learned(Learned(RED.vn, 1, mac(ONE.mac), ipv4=ipv4(ONE.ip)))


class LearnAddressFromArpAnswer(_LearnCase):
    """An answer says it as a question does; one about another sender's MAC says nothing."""

    def runTest(self):
        answer = Ether(src=ONE.mac, dst=TWO.mac) / ARP(
            op=2, hwsrc=ONE.mac, psrc=ONE.ip, hwdst=TWO.mac, pdst=TWO.ip
        )
        self.passes(1, bytes(answer), {2: bytes(answer)})
        self.learned(Learned(RED.vn, 1, mac(ONE.mac), ipv4=ipv4(ONE.ip)))
        answer[ARP].hwsrc = FAR.mac
        self.passes(1, bytes(answer), {2: bytes(answer)})
        self.learned(Learned(RED.vn, 1, mac(ONE.mac)))


class LearnAddressNotFromProbes(_LearnCase):
    """Who asks whether an address is free (RFC 5227, RFC 4862) does not have it yet."""

    def runTest(self):
        probe = Ether(src=ONE.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
            hwsrc=ONE.mac, psrc="0.0.0.0", pdst=FAR.ip
        )
        self.floods(bytes(probe))
        self.learned(Learned(RED.vn, 1, mac(ONE.mac)))
        self.insert(self.known(RED, 1, ONE))
        self.floods(bytes(probe))
        self.floods(_solicitation(ONE, FAR, src="::"))
        self.nothing_learned()


class LearnAddressFromNeighbourDiscovery(_LearnCase):
    """The same for IPv6; not from one with another's link-layer address, or from far away."""

    def runTest(self):
        self.insert(self.known(RED, 1, ONE))
        frame = _solicitation(ONE, FAR)
        self.floods(frame)
        self.learned(Learned(RED.vn, 1, mac(ONE.mac), **_halves(ONE)))
        self.insert(self.address(RED, 1, ONE, ipv6=ipv6(ONE.ipv6)))
        self.floods(frame)
        self.floods(_solicitation(ONE, FAR, src=FAR.ipv6, lladdr=FAR.mac))
        self.floods(_solicitation(ONE, FAR, src=FAR.ipv6, hlim=254))
        self.nothing_learned()
        self.delete(self.address(RED, 1, ONE, ipv6=ipv6(ONE.ipv6)))
        self.floods(frame)
        self.learned(Learned(RED.vn, 1, mac(ONE.mac), **_halves(ONE)))


class LearnAddressesAreHostsAtPorts(_LearnCase):
    """An address that is known of another host, or at another port, is news."""

    def runTest(self):
        self.insert(self.known(RED, 1, ONE), self.known(RED, 2, ONE), self.known(RED, 1, TWO))
        self.insert(self.address(RED, 2, ONE, ipv4=ipv4(ONE.ip)))
        self.insert(self.address(RED, 1, TWO, ipv4=ipv4(ONE.ip)))
        self.insert(self.address(RED, 1, ONE, ipv4=ipv4(TWO.ip)))
        self.floods(arp(ONE, FAR))
        self.learned(Learned(RED.vn, 1, mac(ONE.mac), ipv4=ipv4(ONE.ip)))


def _solicitation(asker, target, *, src=None, lladdr=None, hlim=255):
    return bytes(
        Ether(src=asker.mac, dst="33:33:ff:00:00:0a")
        / IPv6(src=src or asker.ipv6, dst="ff02::1:ff00:a", hlim=hlim)
        / ICMPv6ND_NS(tgt=target.ipv6)
        / ICMPv6NDOptSrcLLAddr(lladdr=lladdr or asker.mac)
    )


def _halves(host):
    return dict(zip(("ipv6_high", "ipv6_low"), divmod(ipv6(host.ipv6), 1 << 64), strict=True))
