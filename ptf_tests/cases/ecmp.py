"""Links of equal cost: inner headers choose, a seed of the switch's own keeps choices apart."""

import subprocess
import time

from dfvisor.p4rt.drops import DropReason
from ptf import testutils
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ptf_tests.base import COUNTER_TIMEOUT_S, RECEIVE_TIMEOUT_S, SwitchCase
from ptf_tests.lab import WATCHED_PEER, WATCHED_PORT
from ptf_tests.network import BEYOND_A, FAR, HASH_SEED, MTU, ONE, RED, S1, TWO, A, B, Host, Vtep
from ptf_tests.packets import leaving, tunnel, udp
from ptf_tests.tables import Hop, ipv4, mac, route

KEY = RED.best_effort.key
FLOWS = 64
FEWEST = 16  # of 64 flows on either link: less is no accident


class _EcmpCase(SwitchCase):
    """FAR's VTEP is reached through A and B alike."""

    links = (A, B)

    def setUp(self):
        super().setUp()
        self.modify(self.network.route_to(A.ip, 32, *self.links))

    def chosen(self, port, frame, outs):
        """The port, of those in `outs` (port -> expected packet), out of which the frame comes."""
        testutils.send_packet(self, port, frame)
        result = testutils.dp_poll(self, timeout=RECEIVE_TIMEOUT_S)
        if not isinstance(result, self.dataplane.PollSuccess):
            self.fail("nothing came out")
        self.assertIn(result.port, outs)
        self.assertEqual(bytes(result.packet).hex(), outs[result.port].hex())
        return result.port

    def choice(self, frame):
        """The port by which a best-effort frame of ONE leaves."""
        outs = {link.port: leaving(frame, KEY, A, link=link) for link in self.links}
        return self.chosen(1, frame, outs)

    def choices(self, frames):
        """The ports of several frames, which must use every link, and the same one again."""
        first = [self.choice(frame) for frame in frames]
        self.assertEqual([self.choice(frame) for frame in frames], first)
        for link in self.links:
            self.assertGreaterEqual(first.count(link.port), FEWEST, f"port {link.port}")
        self.comes_out({})
        return first


def by_port():
    return [udp(ONE, FAR, sport=1000 + flow) for flow in range(FLOWS)]


class EcmpSpreadsByL4Ports(_EcmpCase):
    """Flows that differ in a port alone use both links, each flow always the same."""

    def runTest(self):
        self.choices(by_port())


class EcmpSpreadsByAddresses(_EcmpCase):
    """Flows that differ in the IPv4 address, at one port pair."""

    def runTest(self):
        hosts = [Host(ONE.mac, f"10.0.1.{flow}", "") for flow in range(FLOWS)]
        self.choices([udp(host, FAR) for host in hosts])


def ether(flow):
    return Ether(src=f"02:00:00:00:05:{flow:02x}", dst=FAR.mac, type=0x88B5)


class EcmpSpreadsByMac(_EcmpCase):
    """Frames that are no IP differ in their MAC addresses alone."""

    def runTest(self):
        self.choices(
            [
                bytes(
                    Ether(src=f"02:00:00:00:05:{flow:02x}", dst=FAR.mac, type=0x88B5)
                    / Raw(bytes(60))
                )
                for flow in range(FLOWS)
            ]
        )


class EcmpSpreadsIpv6(_EcmpCase):
    """IPv6 addresses and ports."""

    def runTest(self):
        ether = Ether(src=ONE.mac, dst=FAR.mac)
        flows = [
            bytes(
                ether
                / IPv6(src=f"fd00::{flow % 8:x}", dst=FAR.ipv6)
                / UDP(sport=1000 + flow // 8)
                / Raw(b"x")
            )
            for flow in range(FLOWS)
        ]
        self.choices(flows)


class EcmpSpreadsInTransit(_EcmpCase):
    """A core switch looks into the tunnel: one pair of VTEPs is many flows."""

    def runTest(self):
        self.modify(self.network.route_to("10.255.7.0", 24, A, B))
        ports = []
        for frame in by_port():
            passing = {"sender": B, "receiver": BEYOND_A}
            outs = {
                link.port: tunnel(frame, 5, link=link, link_src=S1.mac, ttl=63, **passing)
                for link in self.links
            }
            ports.append(self.chosen(B.port, tunnel(frame, 5, link=S1, **passing), outs))
        for link in self.links:
            self.assertGreaterEqual(ports.count(link.port), FEWEST)


class EcmpSeedChangesTheChoice(_EcmpCase):
    """Another seed, another choice for some flows; the old seed gives the old choices."""

    def runTest(self):
        before = self.choices(by_port())
        self.addCleanup(self.modify, self.network.switch_config())
        self.modify(self.network.switch_config(hash_seed=HASH_SEED ^ 0xFFFF))
        self.assertNotEqual(self.choices(by_port()), before)
        self.modify(self.network.switch_config())
        self.assertEqual(self.choices(by_port()), before)


class EcmpDoesNotDependOnTags(_EcmpCase):
    """DSCP, TTL and Identification are no part of a flow."""

    def runTest(self):
        for flow in range(8):
            alike = [{}, {"tos": 0xB8}, {"ttl": 3}, {"id": 99}]
            ports = {self.choice(udp(ONE, FAR, sport=flow, **fields)) for fields in alike}
            self.assertEqual(len(ports), 1)


class EcmpFragmentsStayTogether(_EcmpCase):
    """All fragments between two hosts take one link, the first one with ports as well."""

    def runTest(self):
        links = set()
        for number in range(24):
            host = Host(ONE.mac, f"10.0.2.{number}", "")
            ports = {
                self.choice(udp(host, FAR, sport=sport, **fragment))
                for sport in (1, 2, 3)
                for fragment in ({"flags": "MF"}, {"flags": "MF", "frag": 9}, {"frag": 18})
            }
            self.assertEqual(len(ports), 1, host)
            links |= ports
        self.assertEqual(len(links), 2)


class EcmpWeights(_EcmpCase):
    """A link of weight 3 takes more than its equal."""

    def runTest(self):
        hops = (
            Hop(A.port, mac(A.mac), MTU, weight=3),
            Hop(B.port, mac(B.mac), MTU, weight=1),
        )
        self.modify(route(ipv4(A.ip), 32, *hops))
        hosts = [Host(ONE.mac, f"10.0.{flow * 7}.{flow * 3}", "") for flow in range(36)]
        hosts = [host for host in hosts if int(host.ip.split(".")[2]) < 256]
        ports = [
            self.choice(udp(host, FAR, sport=1000 + 77 * flow, dport=flow))
            for host in hosts
            for flow in (1, 2)
        ][:FLOWS]
        self.assertGreater(ports.count(A.port), FLOWS * 5 // 8)
        self.assertGreater(ports.count(B.port), FLOWS // 16)


class EcmpMemberRemoved(_EcmpCase):
    """With one link left all flows take it; with none the route is gone."""

    def runTest(self):
        frames = by_port()[:8]
        self.modify(self.network.route_to(A.ip, 32, B))
        for frame in frames:
            self.assertEqual(self.choice(frame), B.port)
        self.delete(self.network.route(A))
        self.drops(1, frames[0], RED.best_effort.id, DropReason.NO_ROUTE)


class EcmpDoesNotMoveQosSlices(_EcmpCase):
    """A QoS slice's path is its own: the next hop names the link."""

    def runTest(self):
        for sport in range(16):
            frame = udp(ONE, FAR, 5000, sport=sport)
            self.passes(1, frame, {A.port: leaving(frame, RED.gold.key, A, dscp=46)})


class EcmpWatchedMemberDown(SwitchCase):
    """A member whose link is down is left out, and comes back with the link."""

    def runTest(self):
        self.addCleanup(self.link, "up")
        spare = Vtep("10.255.0.99", "02:df:00:00:00:63", WATCHED_PORT)
        hops = (
            Hop(A.port, mac(A.mac), MTU),
            Hop(spare.port, mac(spare.mac), MTU, watch=spare.port),
        )
        self.modify(route(ipv4(A.ip), 32, *hops))
        frames = by_port()[:32]
        some = self.await_arrivals(frames, lambda count: 0 < count < len(frames))
        self.link("down")
        self.await_arrivals(frames, lambda count: count == len(frames))
        self.link("up")
        self.await_arrivals(frames, lambda count: count == some)

    def link(self, state):
        subprocess.run(["ip", "link", "set", WATCHED_PEER, state], check=True)

    def await_arrivals(self, frames, enough):
        """Send all frames until as many come out towards A as they should; how many."""
        deadline = time.monotonic() + COUNTER_TIMEOUT_S
        while True:
            count = sum(self.arrives(frame) for frame in frames)
            if enough(count):
                return count
            if time.monotonic() > deadline:
                self.fail(f"{count} of {len(frames)} flows take port {A.port}")

    def arrives(self, frame):
        before = self.counter(self.network.access_port(RED, 1)).packets
        testutils.send_packet(self, 1, frame)
        self.await_count(self.network.access_port(RED, 1), before + 1)
        result = testutils.dp_poll(self, port_number=A.port, timeout=0.05)
        return isinstance(result, self.dataplane.PollSuccess)


class EcmpUnreachable(_EcmpCase):
    """A route whose links are all gone drops and counts, in transit too; with a link it carries."""

    def runTest(self):
        frame = udp(ONE, FAR)
        self.choice(frame)
        self.modify(self.network.route_to(A.ip, 32), self.network.route_to("10.255.7.0", 24))
        self.drops(1, frame, RED.best_effort.id, DropReason.NO_MEMBER)
        packet = tunnel(frame, 5, sender=B, receiver=BEYOND_A, link=S1)
        self.drops(B.port, packet, 0, DropReason.NO_MEMBER)
        self.modify(self.network.route(A))
        self.passes(1, frame, {A.port: leaving(frame, KEY, A)})


class EcmpGroupWithoutMembers(SwitchCase):
    """A group that was emptied sends nothing and harms nothing; filled again it carries."""

    def state(self):
        # No one-shot groups beside explicit ones (P4Runtime 9.2.3).
        return [item for item in super().state() if getattr(item, "table", "") != "underlay"]

    def runTest(self):
        frame = udp(ONE, FAR)
        self.drops(1, frame, RED.best_effort.id, DropReason.NO_ROUTE)
        self.addCleanup(self.client.delete_groups)
        self.client.route_by_group(self.network.route(A))
        onward = leaving(frame, KEY, A)
        self.passes(1, frame, {A.port: onward})
        self.client.set_members(())
        for _ in range(3):
            # Not counted by BMv2, whose ingress ends there.
            self.count_and_ignore_drops(1, frame)
        self.client.set_members((1,))
        self.passes(1, frame, {A.port: onward})
        local = udp(ONE, TWO)
        self.passes(1, local, {2: local})

    def count_and_ignore_drops(self, port, frame):
        entry = self.network.access_port(RED, port)
        before = self.counter(entry).packets
        testutils.send_packet(self, port, frame)
        self.await_count(entry, before + 1)
        self.silence()
        self.drops_before = self._drops()
