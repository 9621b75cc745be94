"""ARP and neighbour discovery answered by the switch."""

from dfvisor.p4rt.drops import DropReason, PuntReason
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, BROADCAST, FAR, FOREIGN, NOBODY, ONE, RED, S1, TWO, A, B
from ptf_tests.packets import arp, leaving, tagged
from ptf_tests.tables import ipv4, ipv6, mac

KEY = RED.best_effort.key
SOLICITED_NODE = "33:33:ff:00:00:0a"


def arp_answer(asker, target):
    return bytes(
        Ether(src=target.mac, dst=asker.mac)
        / ARP(op=2, hwsrc=target.mac, psrc=target.ip, hwdst=asker.mac, pdst=asker.ip)
    )


def solicitation(asker, target, *, src=None, hlim=255, options=None, dst=SOLICITED_NODE):
    if options is None:
        options = ICMPv6NDOptSrcLLAddr(lladdr=asker.mac)
    ip = IPv6(src=src or asker.ipv6, dst="ff02::1:ff00:a", hlim=hlim)
    return bytes(Ether(src=asker.mac, dst=dst) / ip / ICMPv6ND_NS(tgt=target.ipv6) / options)


def advertisement(asker, target):
    return bytes(
        Ether(src=target.mac, dst=asker.mac)
        / IPv6(src=target.ipv6, dst=asker.ipv6, hlim=255)
        / ICMPv6ND_NA(tgt=target.ipv6, R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=target.mac)
    )


class _NeighbourCase(SwitchCase):
    def knows_ip(self, tenant, host):
        vn = tenant.vn if tenant else 0
        return self.network.entry(
            "arp_responder", "arp_reply", vn=vn, target=ipv4(host.ip), mac=mac(host.mac)
        )

    def knows_ipv6(self, tenant, host):
        return self.network.entry(
            "nd_responder", "nd_reply", vn=tenant.vn, target=ipv6(host.ipv6), mac=mac(host.mac)
        )

    def state(self):
        return [*super().state(), self.knows_ip(RED, FAR), self.knows_ipv6(RED, FAR)]

    def flooded(self, frame):
        self.passes(
            1, frame, {2: frame, A.port: leaving(frame, KEY, A), B.port: leaving(frame, KEY, B)}
        )


class ArpAnswered(_NeighbourCase):
    """A request for a known address is answered where it was asked, and goes nowhere else."""

    def runTest(self):
        self.passes(1, arp(ONE, FAR), {1: arp_answer(ONE, FAR)})
        self.passes(2, arp(TWO, FAR), {2: arp_answer(TWO, FAR)})


class ArpUnknownIsFlooded(_NeighbourCase):
    """A request for an address that nobody has told of goes to everybody."""

    def runTest(self):
        self.flooded(arp(ONE, NOBODY))
        self.delete(self.knows_ip(RED, FAR))
        self.flooded(arp(ONE, FAR))


class ArpOfTheOtherTenant(_NeighbourCase):
    """Addresses are a tenant's own: blue's FAR is another."""

    def runTest(self):
        frame = arp(ONE, FAR)
        key = BLUE.best_effort.key
        self.passes(
            3, frame, {4: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        )
        self.insert(self.knows_ip(BLUE, FAR))
        self.passes(3, frame, {3: arp_answer(ONE, FAR)})


class ArpUnicastRequestAnswered(_NeighbourCase):
    """A refresh by unicast is answered like a broadcast."""

    def runTest(self):
        frame = bytes(Ether(src=ONE.mac, dst=FAR.mac) / arp_layer(ONE, FAR))
        self.passes(1, frame, {1: arp_answer(ONE, FAR)})


def arp_layer(asker, target, **fields):
    return ARP(**{"hwsrc": asker.mac, "psrc": asker.ip, "pdst": target.ip, **fields})


class ArpProbeIsNotAnswered(_NeighbourCase):
    """Duplicate detection (RFC 5227): probes and announcements are for the others to hear."""

    def runTest(self):
        for layer in (
            arp_layer(ONE, FAR, psrc="0.0.0.0"),
            arp_layer(FAR, FAR),
            arp_layer(FAR, FAR, op=2),
        ):
            self.flooded(bytes(Ether(src=ONE.mac, dst=BROADCAST) / layer))
        self.passes(1, arp(ONE, FAR), {1: arp_answer(ONE, FAR)})


class ArpOfOtherKindsIsNotAnswered(_NeighbourCase):
    """Only requests, of Ethernet and IPv4."""

    def runTest(self):
        for fields in (
            {"op": 2},
            {"op": 3},
            {"op": 0},
            {"hwtype": 6},
            {"ptype": 0x86DD},
            {"hwlen": 8},
            {"plen": 16},
        ):
            with self.subTest(fields=fields):
                raw = bytearray(bytes(arp_layer(ONE, FAR)))
                places = {"hwtype": 0, "ptype": 2, "hwlen": 4, "plen": 5, "op": 6}
                for name, value in fields.items():
                    size = 1 if name in ("hwlen", "plen") else 2
                    raw[places[name] : places[name] + size] = value.to_bytes(size, "big")
                self.flooded(
                    bytes(Ether(src=ONE.mac, dst=BROADCAST, type=0x0806) / Raw(bytes(raw)))
                )
        self.passes(1, arp(ONE, FAR), {1: arp_answer(ONE, FAR)})


class ArpPaddingAndTagsStay(_NeighbourCase):
    """The answer has the request's padding and the tenant's tags."""

    def runTest(self):
        padding = b"\0" * 18
        self.passes(1, arp(ONE, FAR) + padding, {1: arp_answer(ONE, FAR) + padding})
        tags = ((0x8100, 5), (0x8100, 6))
        self.passes(1, tagged(arp(ONE, FAR), *tags), {1: tagged(arp_answer(ONE, FAR), *tags)})


class ArpCutIsFlooded(_NeighbourCase):
    """A request that ends early is a broadcast like others."""

    def runTest(self):
        self.flooded(arp(ONE, FAR)[:41])
        self.passes(1, arp(ONE, FAR), {1: arp_answer(ONE, FAR)})


class ArpDeniedIsNotAnswered(_NeighbourCase):
    """A flowspace that denies ARP comes first, and the classifier counts what is answered."""

    def runTest(self):
        catch = self.network.entry(
            "classifier",
            "classify",
            priority=1,
            vn=RED.vn,
            port=1,
            slice_id=RED.best_effort.id,
            cookie=1,
        )
        self.insert(catch)
        self.passes(1, arp(ONE, FAR), {1: arp_answer(ONE, FAR)})
        self.assertEqual(self.counter(catch).packets, 1)
        self.insert(
            self.network.entry(
                "classifier", "classify_deny", priority=5, vn=RED.vn, eth_type=0x0806, cookie=1
            )
        )
        self.drops(1, arp(ONE, FAR), RED.best_effort.id, DropReason.DENIED)


class ArpForTheVtepOnFabricPorts(_NeighbourCase):
    """Peers find our link address, as VN 0; other addresses are the agent's."""

    def runTest(self):
        self.insert(self.knows_ip(None, S1))
        for peer in (A, FOREIGN):
            request = arp(peer, S1)
            self.passes(peer.port, request, {peer.port: arp_answer(peer, S1)})
        self.punts(A.port, arp(A, B), PuntReason.ARP)


class ArpOfTenantsAndFabricApart(_NeighbourCase):
    """A tenant that asks for the VTEP's address asks its own network; a fabric port never answers
    for a tenant's."""

    def runTest(self):
        self.insert(self.knows_ip(None, S1))
        self.flooded(arp(ONE, S1))
        self.punts(A.port, arp(A, FAR), PuntReason.ARP)


class NdAnswered(_NeighbourCase):
    """A solicitation for a known address: advertisement, solicited, override, right checksum."""

    def runTest(self):
        self.passes(1, solicitation(ONE, FAR), {1: advertisement(ONE, FAR)})
        self.passes(2, solicitation(TWO, FAR), {2: advertisement(TWO, FAR)})


class NdUnicastAnswered(_NeighbourCase):
    """Reachability is confirmed to a unicast solicitation."""

    def runTest(self):
        self.passes(1, solicitation(ONE, FAR, dst=FAR.mac), {1: advertisement(ONE, FAR)})


class NdUnknownIsFlooded(_NeighbourCase):
    """A solicitation for an unknown address, and in the other tenant's network."""

    def runTest(self):
        self.flooded(solicitation(ONE, NOBODY))
        frame = solicitation(ONE, FAR)
        key = BLUE.best_effort.key
        self.passes(
            3, frame, {4: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        )


class NdDuplicateDetectionIsNotAnswered(_NeighbourCase):
    """Duplicate address detection (RFC 4862): from ::, for the others to hear."""

    def runTest(self):
        self.flooded(solicitation(ONE, FAR, src="::", options=Raw(b"")))
        self.flooded(solicitation(ONE, FAR, src="::"))
        self.passes(1, solicitation(ONE, FAR), {1: advertisement(ONE, FAR)})


class NdForwardedIsNotAnswered(_NeighbourCase):
    """A hop limit below 255 has crossed a router (RFC 4861 7.1.1)."""

    def runTest(self):
        for hop_limit in (254, 64, 0):
            self.flooded(solicitation(ONE, FAR, hlim=hop_limit))
        self.passes(1, solicitation(ONE, FAR), {1: advertisement(ONE, FAR)})


class NdOfOtherKindsIsNotAnswered(_NeighbourCase):
    """Advertisements, other options, two options, extension headers."""

    def runTest(self):
        first = ICMPv6NDOptSrcLLAddr(lladdr=ONE.mac)
        frames = [
            solicitation(ONE, FAR, options=ICMPv6NDOptDstLLAddr(lladdr=ONE.mac)),
            solicitation(ONE, FAR, options=first / ICMPv6NDOptSrcLLAddr(lladdr=ONE.mac)),
            bytes(
                Ether(src=ONE.mac, dst=SOLICITED_NODE)
                / IPv6(src=ONE.ipv6, dst="ff02::1", hlim=255)
                / ICMPv6ND_NA(tgt=FAR.ipv6)
                / ICMPv6NDOptSrcLLAddr(lladdr=ONE.mac)
            ),
            bytes(
                Ether(src=ONE.mac, dst=SOLICITED_NODE)
                / IPv6(src=ONE.ipv6, dst="ff02::1", hlim=255)
                / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
                / ICMPv6ND_NS(tgt=FAR.ipv6)
                / first
            ),
        ]
        for frame in frames:
            self.flooded(frame)
        self.passes(1, solicitation(ONE, FAR), {1: advertisement(ONE, FAR)})


class NdBehindTags(_NeighbourCase):
    """The tenant's tags stay on the answer."""

    def runTest(self):
        tags = ((0x8100, 5),)
        frame = tagged(solicitation(ONE, FAR), *tags)
        self.passes(1, frame, {1: tagged(advertisement(ONE, FAR), *tags)})


class NdChecksums(_NeighbourCase):
    """Many addresses: every sum of the advertisement is right."""

    def runTest(self):
        for number in range(12):
            target = type(FAR)(
                f"02:{number * 19:02x}:fe:dc:ba:{255 - number:02x}",
                FAR.ip,
                f"2001:db8:{number * 5000:x}:ffff:fffe::{number:x}",
            )
            self.insert(self.knows_ipv6(RED, target))
            self.passes(1, solicitation(ONE, target), {1: advertisement(ONE, target)})
