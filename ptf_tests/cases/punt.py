"""Packets for the agent: why, whose, and no more than the slice's punt meter allows."""

from dfvisor.p4rt.drops import DropReason, PuntReason
from scapy.layers.l2 import ARP, Ether

from ptf_tests.base import SwitchCase
from ptf_tests.network import (
    BLUE,
    BROADCAST,
    COOKIE,
    FAR,
    FAR_B,
    FOREIGN,
    ONE,
    RED,
    S1,
    A,
    B,
    Host,
    Miss,
)
from ptf_tests.packets import arp, arriving, gold, leaving, lldp, tagged
from ptf_tests.tables import ipv4, mac

FRAME = gold(ONE, FAR)
EVERYONE = Host(BROADCAST, "10.0.0.255", "ff02::1")
NEVER = 0


class _PuntCase(SwitchCase):
    def in_gold(self):
        self.passes(1, FRAME, {A.port: leaving(FRAME, RED.gold.key, A, dscp=46)})

    def miss_policy(self, policy, tenant=RED):
        args = dict(self.network.slice_policy(tenant, tenant.gold).args)
        args["miss_policy"] = int(policy)
        self.modify(
            self.network.entry("slice_policy", "set_slice_policy", slice_id=tenant.gold.id, **args)
        )

    def pulling(self, tenant=RED):
        """A slice whose misses go to the controller."""
        self.miss_policy(Miss.PACKET_IN, tenant)
        self.delete(self.network.gold_flow(tenant))

    def to_controller(self, cookie=0xABCDEF01, **match):
        return self.network.entry(
            "flow",
            "to_controller",
            priority=20,
            slice_id=RED.gold.id,
            cookie=cookie,
            **match,
        )


class PuntFlowMiss(_PuntCase):
    """Miss policy packet-in: the frame, its port, VN, slice and the flowspace's cookie."""

    def runTest(self):
        self.in_gold()
        self.pulling()
        about = {"tenant": RED, "slice_": RED.gold, "cookie": COOKIE}
        self.punts(1, FRAME, PuntReason.FLOW_MISS, **about)
        self.insert(self.network.gold_flow(RED))
        self.in_gold()


class PuntFlowMissOfEachSlice(_PuntCase):
    """Equal frames of two tenants are told apart."""

    def runTest(self):
        self.pulling(RED)
        self.pulling(BLUE)
        for tenant in (RED, BLUE):
            about = {"tenant": tenant, "slice_": tenant.gold, "cookie": COOKIE}
            self.punts(tenant.ports[0], FRAME, PuntReason.FLOW_MISS, **about)


class PuntFlowMissFromFabric(_PuntCase):
    """In the middle of a path the controller gets the tenant's frame, without tunnel or cookie."""

    def runTest(self):
        frame = gold(FAR, FAR_B)
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46)
        self.passes(A.port, packet, {B.port: leaving(frame, RED.gold.key, B, dscp=46, ttl=63)})
        self.pulling()
        about = {"tenant": RED, "slice_": RED.gold, "carried": frame}
        self.punts(A.port, packet, PuntReason.FLOW_MISS, **about)


class PuntFlowMissOfBroadcast(_PuntCase):
    """A broadcast that misses is punted, not flooded."""

    def runTest(self):
        self.pulling()
        about = {"tenant": RED, "slice_": RED.gold, "cookie": COOKIE}
        self.punts(1, gold(ONE, EVERYONE), PuntReason.FLOW_MISS, **about)


class PuntFlowAction(_PuntCase):
    """A flow entry sends to the controller, with its own cookie, and counts."""

    def runTest(self):
        self.in_gold()
        entry = self.to_controller(ipv4_dst=ipv4(FAR.ip))
        self.insert(entry)
        about = {"tenant": RED, "slice_": RED.gold, "cookie": 0xABCDEF01}
        self.punts(1, FRAME, PuntReason.FLOW_ACTION, **about)
        self.assertEqual(self.counter(entry).packets, 1)
        self.delete(entry)
        self.in_gold()


class PuntFlowActionOfBroadcast(_PuntCase):
    """The controller gets a broadcast once; nobody else does."""

    def runTest(self):
        self.insert(self.to_controller(eth_dst=mac(BROADCAST)))
        about = {"tenant": RED, "slice_": RED.gold, "cookie": 0xABCDEF01}
        self.punts(1, gold(ONE, EVERYONE), PuntReason.FLOW_ACTION, **about)


class PuntKeepsTheTenantsTags(_PuntCase):
    """Tags of the tenant come along."""

    def runTest(self):
        self.insert(self.to_controller())
        frame = tagged(FRAME, (0x88A8, 3), (0x8100, 4))
        about = {"tenant": RED, "slice_": RED.gold, "cookie": 0xABCDEF01}
        self.punts(1, frame, PuntReason.FLOW_ACTION, **about)


class PuntOfEmptyAndLargeFrames(_PuntCase):
    """From no payload to 1,400 bytes."""

    def runTest(self):
        self.insert(self.to_controller())
        about = {"tenant": RED, "slice_": RED.gold, "cookie": 0xABCDEF01}
        for size in (0, 1, 500, 1400):
            frame = gold(ONE, FAR, payload=bytes(size))
            self.punts(1, frame, PuntReason.FLOW_ACTION, **about)


class PuntIsNotMetered(_PuntCase):
    """What the controller gets charges neither flow nor slice meter."""

    def runTest(self):
        self.meter("slice_meters", RED.gold.id, 1, 1, 1, 1)
        self.drops(1, FRAME, RED.gold.id, DropReason.SLICE_METER)
        self.insert(self.to_controller())
        about = {"tenant": RED, "slice_": RED.gold, "cookie": 0xABCDEF01}
        for _ in range(3):
            self.punts(1, FRAME, PuntReason.FLOW_ACTION, **about)


class PuntMeterStopsTheFlood(_PuntCase):
    """A slice's punt meter lets so many packets to the agent; other slices have their own."""

    def runTest(self):
        self.pulling(RED)
        self.pulling(BLUE)
        self.meter("punt_meters", RED.gold.id, NEVER, 1, NEVER, 2)
        about = {"tenant": RED, "slice_": RED.gold, "cookie": COOKIE}
        self.punts(1, FRAME, PuntReason.FLOW_MISS, **about)
        self.punts(1, FRAME, PuntReason.FLOW_MISS, **about)
        self.drops(1, FRAME, RED.gold.id, DropReason.PUNT_METER)
        about = {"tenant": BLUE, "slice_": BLUE.gold, "cookie": COOKIE}
        self.punts(3, FRAME, PuntReason.FLOW_MISS, **about)
        self.drops(1, FRAME, RED.gold.id, DropReason.PUNT_METER)


class PuntMeterOfWhatHasNoSlice(_PuntCase):
    """Discovery and ARP on fabric ports share cell 0."""

    def runTest(self):
        self.meter("punt_meters", 0, NEVER, 1, NEVER, 1)
        probe = lldp(A.mac)
        self.punts(A.port, probe, PuntReason.DISCOVERY)
        self.drops(A.port, probe, 0, DropReason.PUNT_METER)
        self.insert(self.to_controller())
        about = {"tenant": RED, "slice_": RED.gold, "cookie": 0xABCDEF01}
        self.punts(1, FRAME, PuntReason.FLOW_ACTION, **about)


class PuntDiscoveryOnFabricPorts(_PuntCase):
    """Probes from other switches, from each fabric port."""

    def runTest(self):
        for peer in (A, B, FOREIGN):
            self.punts(peer.port, lldp(peer.mac), PuntReason.DISCOVERY)


class PuntDiscoveryOfATenantIsItsOwn(_PuntCase):
    """On an access port LLDP is the tenant's multicast."""

    def runTest(self):
        frame = lldp(ONE.mac)
        key = RED.best_effort.key
        self.passes(
            1, frame, {2: frame, A.port: leaving(frame, key, A), B.port: leaving(frame, key, B)}
        )


class PuntArpOnFabricPorts(_PuntCase):
    """Requests for others than the VTEP, and answers, are the agent's."""

    def runTest(self):
        request = bytes(
            Ether(src=A.mac, dst=BROADCAST) / ARP(hwsrc=A.mac, psrc=A.ip, pdst="10.255.0.77")
        )
        answer = bytes(
            Ether(src=A.mac, dst=S1.mac)
            / ARP(op=2, hwsrc=A.mac, psrc=A.ip, hwdst=S1.mac, pdst=S1.ip)
        )
        for frame in (request, answer, arp(FAR, ONE)):
            self.punts(A.port, frame, PuntReason.ARP)


class PuntNothingFromUnknownPorts(_PuntCase):
    """Discovery and ARP on a port without role are dropped."""

    def runTest(self):
        self.punts(A.port, lldp(A.mac), PuntReason.DISCOVERY)
        self.delete(self.network.fabric_port(A))
        for frame in (lldp(A.mac), arp(FAR, ONE)):
            self.drops(A.port, frame, 0, DropReason.UNKNOWN_PORT)


class PuntDeniedIsNot(_PuntCase):
    """What a flowspace denies is not punted by a flow entry."""

    def runTest(self):
        self.insert(self.to_controller())
        about = {"tenant": RED, "slice_": RED.gold, "cookie": 0xABCDEF01}
        self.punts(1, FRAME, PuntReason.FLOW_ACTION, **about)
        self.insert(
            self.network.entry(
                "classifier", "classify_deny", priority=90, vn=RED.vn, ip_proto=17, cookie=1
            )
        )
        self.drops(1, FRAME, RED.best_effort.id, DropReason.DENIED)
