"""The network that the packet tests assume, and the entries that its switch S1 has.

S1 has access ports 1 and 2 (tenant red), 3 and 4 (tenant blue), fabric ports 5 and 6 to our
switches A and B, fabric port 7 to a foreign GRE endpoint, and port 8, of which it knows nothing.
Both tenants use the same MAC and IP addresses. Each has a best-effort slice and a gold one, which
carries UDP to port 5000.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dfvisor.p4rt.entries import Item, TableEntry

from ptf_tests.tables import Hop, Tables, Value, group, ipv4, mac, route

UNKNOWN_PORT = 8
GOLD_UDP_PORT = 5000
GOLD_QUEUE = 5
OTHER_PATH = 7  # a path class on which the remote host is reached through B
COOKIE = 0xC00C1E
SLICE_IDS_USED = range(8)
MTU = 9000  # of every fabric link, bytes behind the Ethernet header
HASH_SEED = 0x5EED
YELLOW_DSCP = 38  # AF43


class Miss(IntEnum):
    """Miss policies of a slice, p4src/constants.p4."""

    DROP = 0
    BEST_EFFORT = 1
    PACKET_IN = 2


@dataclass(frozen=True, slots=True)
class Vtep:
    """A tunnel end: S1 itself, or one behind fabric port `port`."""

    ip: str
    mac: str
    port: int = 0
    next_hop: int = 0  # id of its `to_vtep`
    link: int = 0  # id of its `to_neighbour`
    replication_id: int = 0


S1 = Vtep("10.255.0.1", "02:df:00:00:00:01")
A = Vtep("10.255.0.2", "02:df:00:00:00:02", 5, next_hop=102, link=202, replication_id=2)
B = Vtep("10.255.0.3", "02:df:00:00:00:03", 6, next_hop=103, link=203, replication_id=3)
FOREIGN = Vtep("192.0.2.9", "02:99:00:00:00:09", 7, next_hop=109, link=209, replication_id=9)
BEYOND_A = "10.255.7.7"  # a VTEP that S1 reaches through A and has no business with
PEERS = (A, B, FOREIGN)


@dataclass(frozen=True, slots=True)
class Host:
    """A tenant's host; both tenants have one with these addresses."""

    mac: str
    ip: str
    ipv6: str


ONE = Host("02:00:00:00:00:01", "10.0.0.1", "fd00::1")  # at the tenant's first access port
TWO = Host("02:00:00:00:00:02", "10.0.0.2", "fd00::2")  # at the second
FAR = Host("02:00:00:00:00:0a", "10.0.0.10", "fd00::a")  # behind A
FAR_B = Host("02:00:00:00:00:0b", "10.0.0.11", "fd00::b")  # behind B
NOBODY = Host("02:00:00:00:00:ee", "10.0.0.99", "fd00::99")
BROADCAST = "ff:ff:ff:ff:ff:ff"


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice as S1 knows it."""

    id: int
    key: int
    qos_level: int = 0
    queue: int = 0
    dscp: int = 0
    miss: Miss = Miss.DROP
    dscp_yellow: int = 0


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant's VN at S1."""

    vn: int
    ports: tuple[int, int]
    best_effort: Slice
    gold: Slice

    @property
    def from_access(self) -> int:
        """Multicast group of frames from the tenant's hosts."""
        return self.vn * 2

    @property
    def from_fabric(self) -> int:
        """Multicast group of frames from other switches."""
        return self.vn * 2 + 1


RED = Tenant(
    11, (1, 2), Slice(1, 0x11), Slice(2, 0xC0000002, 1, GOLD_QUEUE, 46, dscp_yellow=YELLOW_DSCP)
)
BLUE = Tenant(
    12, (3, 4), Slice(3, 0xFFFFFFFF), Slice(4, 0x10002, 1, GOLD_QUEUE, 46, dscp_yellow=YELLOW_DSCP)
)
TENANTS = (RED, BLUE)


USUAL: dict[str, dict[str, Value]] = {
    "set_access": {"vid": 0, "guarded": 0, "learning": 0},
    "classify": {"meter_id": 0},
    "to_port": {"vid": 0},
    "to_neighbour": {"mtu": MTU},
    "replica_to_vtep": {"mtu": MTU},
}
"""Arguments that most entries share, by action."""

PORT_PRIORITY = 1
"""Of a port's entry for all VLANs."""


class Network:
    """Entries of S1, one method per kind; `typical()` is all of them."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def entry(
        self, table: str, action: str, /, *, priority: int | None = None, **values: Value
    ) -> TableEntry:
        """As `Tables.entry`, with usual values for what is left out."""
        if priority is None:
            priority = PORT_PRIORITY if table == "access_port" else 0
        return self.tables.entry(
            table, action, priority=priority, **{**USUAL.get(action, {}), **values}
        )

    def typical(self) -> list[Item]:
        """The state in which everything that should pass passes."""
        return [*self.underlay(), *(item for tenant in TENANTS for item in self.tenant(tenant))]

    def underlay(self) -> list[Item]:
        """What does not belong to a tenant."""
        items: list[Item] = [
            self.switch_config(),
            self.vtep(),
            self.route_to("10.255.7.0", 24, A),
        ]
        for peer in PEERS:
            items += [
                self.fabric_port(peer),
                self.peer(peer),
                self.route(peer),
                self.to_vtep(peer),
                self.to_neighbour(peer),
                self.entry(
                    "replica",
                    "replica_to_vtep",
                    replication_id=peer.replication_id,
                    vtep=ipv4(peer.ip),
                    mac=mac(peer.mac),
                ),
            ]
        items += [
            self.entry("next_hop", "to_port", next_hop=port, port=port)
            for tenant in TENANTS
            for port in tenant.ports
        ]
        return items

    def tenant(self, tenant: Tenant) -> list[Item]:
        """Everything of one tenant."""
        first, second = tenant.ports
        items: list[Item] = [
            group(
                tenant.from_access,
                (first, 0),
                (second, 0),
                (A.port, A.replication_id),
                (B.port, B.replication_id),
            ),
            group(tenant.from_fabric, (first, 0), (second, 0)),
            self.flood(tenant),
            self.gold_classifier(tenant),
            self.gold_flow(tenant),
        ]
        for port in tenant.ports:
            items.append(self.access_port(tenant, port))
        for slice_ in (tenant.best_effort, tenant.gold):
            items += [self.slice(tenant, slice_), self.slice_policy(tenant, slice_)]
        places = (
            (ONE, first, first),
            (TWO, second, second),
            (FAR, A.next_hop, A.link),
            (FAR_B, B.next_hop, B.link),
        )
        for host, bridged, forwarded in places:
            items += [self.bridge(tenant, host, bridged), self.forward(tenant, host, 0, forwarded)]
        items.append(self.forward(tenant, FAR, OTHER_PATH, B.link))
        return items

    def vtep(self) -> TableEntry:
        """Tunnels to S1 end here."""
        return self.entry("vtep", "terminate", outer_dst=ipv4(S1.ip))

    def access_port(self, tenant: Tenant, port: int) -> TableEntry:
        """A tenant's port."""
        return self.entry(
            "access_port",
            "set_access",
            port=port,
            vn=tenant.vn,
            best_effort_slice=tenant.best_effort.id,
        )

    def fabric_port(self, peer: Vtep) -> TableEntry:
        """The port towards a VTEP."""
        return self.entry("access_port", "set_fabric", port=peer.port)

    def peer(self, peer: Vtep) -> TableEntry:
        """A VTEP that may send to S1."""
        action = "peer_foreign" if peer is FOREIGN else "peer_ours"
        return self.entry("peer", action, outer_src=ipv4(peer.ip))

    def switch_config(self, source: Vtep = S1, hash_seed: int = HASH_SEED) -> TableEntry:
        """The switch's own addresses and ECMP seed."""
        return self.tables.default(
            "switch_config",
            "set_switch_config",
            vtep=ipv4(source.ip),
            mac=mac(source.mac),
            hash_seed=hash_seed,
        )

    def route(self, peer: Vtep) -> TableEntry:
        """The way to a VTEP."""
        return self.route_to(peer.ip, 32, peer)

    def route_to(self, address: str, prefix_len: int, *links: Vtep, mtu: int = MTU) -> TableEntry:
        """A prefix behind one or several neighbours."""
        hops = tuple(Hop(link.port, mac(link.mac), mtu) for link in links)
        return route(ipv4(address), prefix_len, *hops)

    def to_vtep(self, peer: Vtep) -> TableEntry:
        """The end of a best-effort tunnel."""
        return self.entry("next_hop", "to_vtep", next_hop=peer.next_hop, vtep=ipv4(peer.ip))

    def to_neighbour(self, peer: Vtep) -> TableEntry:
        """One link of a QoS path."""
        return self.entry(
            "next_hop",
            "to_neighbour",
            next_hop=peer.link,
            vtep=ipv4(peer.ip),
            port=peer.port,
            mac=mac(peer.mac),
        )

    def slice(self, tenant: Tenant, slice_: Slice) -> TableEntry:
        """A slice by its key."""
        return self.entry(
            "slice", "set_slice", gre_key=slice_.key, slice_id=slice_.id, vn=tenant.vn
        )

    def slice_policy(self, tenant: Tenant, slice_: Slice) -> TableEntry:
        """What a slice is to S1."""
        return self.entry(
            "slice_policy",
            "set_slice_policy",
            slice_id=slice_.id,
            gre_key=slice_.key,
            qos_level=slice_.qos_level,
            miss_policy=int(slice_.miss),
            queue=slice_.queue,
            dscp=slice_.dscp,
            best_effort_slice=tenant.best_effort.id,
            best_effort_key=tenant.best_effort.key,
            dscp_yellow=slice_.dscp_yellow,
        )

    def flood(self, tenant: Tenant, *, unknown_unicast: bool = False) -> TableEntry:
        """The tenant's multicast groups."""
        return self.entry(
            "flood",
            "flood_to",
            vn=tenant.vn,
            from_access=tenant.from_access,
            from_fabric=tenant.from_fabric,
            unknown_unicast=int(unknown_unicast),
        )

    def gold_classifier(self, tenant: Tenant) -> TableEntry:
        """UDP to the gold port belongs to the gold slice."""
        return self.entry(
            "classifier",
            "classify",
            priority=10,
            vn=tenant.vn,
            ip_proto=17,
            l4_dst=GOLD_UDP_PORT,
            slice_id=tenant.gold.id,
            cookie=COOKIE,
        )

    def gold_flow(self, tenant: Tenant) -> TableEntry:
        """The gold slice permits UDP to the gold port."""
        return self.entry(
            "flow",
            "permit",
            priority=10,
            slice_id=tenant.gold.id,
            ip_proto=17,
            l4_dst=GOLD_UDP_PORT,
            cookie=COOKIE,
        )

    def forward(self, tenant: Tenant, host: Host, path_class: int, next_hop: int) -> TableEntry:
        """Where the gold slice sends frames for a host."""
        return self.entry(
            "slice_forward",
            "forward",
            slice_id=tenant.gold.id,
            path_class=path_class,
            eth_dst=mac(host.mac),
            next_hop=next_hop,
            cookie=COOKIE,
        )

    def bridge(self, tenant: Tenant, host: Host, next_hop: int) -> TableEntry:
        """Where best effort sends frames for a host: remote from next hop 100 on."""
        action = "bridge_remote" if next_hop >= 100 else "bridge_local"
        return self.entry("bridge", action, vn=tenant.vn, eth_dst=mac(host.mac), next_hop=next_hop)
