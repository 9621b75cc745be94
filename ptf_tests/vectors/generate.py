"""Random scenarios from a seed: tables that refer to each other, mostly, and packets that hit them.

Values come from small pools, so that hits, misses, ties and overlaps all happen. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from dfvisor.p4rt.entries import EntryKey, Item, Meter, MeterConfig, MulticastGroup, entry_key
from dfvisor.p4rt.p4info import Schema

from ptf_tests.network import Host
from ptf_tests.p4rt import CPU_PORT
from ptf_tests.tables import Hop, Tables, Value, group, ipv4, ipv6, mac, route
from ptf_tests.vectors.frames import OUTER_ADDRESSES, FrameMaker
from ptf_tests.vectors.scenario import Scenario

PORTS = (1, 2, 3, 4, 5, 6, 7, 8)
NO_SUCH_PORT = 300  # no interface: what goes there is gone
HOSTS = tuple(
    Host(f"02:00:00:00:00:{n:02x}", f"10.0.0.{n}", f"fd00::{n:x}") for n in (1, 2, 3, 10, 11, 250)
)
GROUPS = (
    Host("ff:ff:ff:ff:ff:ff", "10.0.0.255", "ff02::1"),
    Host("01:00:5e:00:00:05", "224.0.0.5", "ff02::5"),
    Host("33:33:00:00:00:01", "224.0.0.1", "ff02::1"),
)
L4_PORTS = (53, 80, 443, 5000, 5001)
PROTOCOLS = (1, 6, 17, 47, 132)
DSCPS = (0, 10, 46)
VLANS = (0, 5, 100, 4095)
TYPES = (0x0800, 0x86DD, 0x0806, 0x88B5)
PATH_CLASSES = (0, 0, 0, 0, 1, 0xFFF)
NEXT_HOPS = tuple(range(1, 13))
REPLICATION_IDS = (0, 1, 2, 3, 4, 5)
PORT_VIDS = (5, 100)
METER_IDS = (0, 1, 2)
MTUS = (9000, 1500, 1500, 140, 100)
BURST_BYTES = (0, 90, 150, 300, 1000)  # nothing fills them again: colours do not depend on time
BURST_PACKETS = (0, 1, 2, 5)
PACKET_OUTS = 0.06


def scenario(schema: Schema, seed: int, number: int, count: int) -> Scenario:
    """Scenario `number` of a seed, with `count` packets.

    The same for ever, unless this file or `frames` changes.
    """
    rng = Random(f"{seed}/{number}")
    build = _Builder(rng, Tables(schema))
    build.all()
    maker = FrameMaker(rng, HOSTS, GROUPS, build.keys)
    packets = []
    for _ in range(count):
        port = rng.choice(PORTS)
        if rng.random() < PACKET_OUTS:
            packets.append((CPU_PORT, maker.packet_out(PORTS, build.fabric)))
        else:
            packets.append((port, maker.frame(fabric=port in build.fabric)))
    return Scenario(f"{seed}/{number}", tuple(build.items.values()), tuple(packets))


@dataclass
class _Builder:
    rng: Random
    tables: Tables
    items: dict[EntryKey, Item] = field(default_factory=dict)
    vns: list[int] = field(default_factory=list)
    slices: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    fabric: list[int] = field(default_factory=list)

    def add(self, item: Item) -> None:
        """Add an item unless one with its identity is there."""
        self.items.setdefault(entry_key(item), item)

    def entry(self, table: str, action: str, /, *, priority: int = 0, **values: Value) -> None:
        self.add(self.tables.entry(table, action, priority=priority, **values))

    def likely(self, probability: float) -> bool:
        return self.rng.random() < probability

    def all(self) -> None:
        rng = self.rng
        self.vns = rng.sample(range(1, 1000), rng.randint(1, 3))
        self.slices = rng.sample(range(1, 4000), rng.randint(2, 6))
        self.keys = [rng.choice((0, 1, 0xFFFFFFFF, rng.getrandbits(32))) for _ in self.slices]
        self.add(
            self.tables.default(
                "switch_config",
                "set_switch_config",
                vtep=ipv4("10.255.0.1"),
                mac=rng.getrandbits(48) & ~(1 << 40),
                hash_seed=rng.getrandbits(16),
            )
        )
        self.ports()
        self.slice_tables()
        self.underlay()
        for vn in self.vns:
            self.virtual_network(vn)
        self.meters()
        self.neighbours(0, (0.3, 0))
        for _ in range(rng.randint(0, 12)):
            self.classifier()
        for _ in range(rng.randint(2, 20)):
            self.flow()

    def ports(self) -> None:
        for port in PORTS:
            role = self.rng.choices(("access", "fabric", "none"), (18, 18, 1))[0]
            if role == "access":
                if self.likely(0.95):
                    self.access(port, 1)
                for vid in PORT_VIDS:
                    if self.likely(0.25):
                        tagged = self.likely(0.8)
                        self.access(port, 2, vid if tagged else 0, vlan_tci=0x1000 | vid)
            elif role == "fabric":
                self.fabric.append(port)
                self.entry("access_port", "set_fabric", priority=1, port=port)

    def access(self, port: int, priority: int, vid: int = 0, **match: Value) -> None:
        vn = self.rng.choice(self.vns)
        guarded = self.likely(0.15)
        self.entry(
            "access_port",
            "set_access",
            priority=priority,
            port=port,
            vn=vn,
            best_effort_slice=self.rng.choice(self.slices),
            vid=vid,
            guarded=int(guarded),
            learning=self.rng.randrange(2),
            **match,
        )
        for host in HOSTS:
            if guarded and self.likely(0.6):
                address = ipv4(host.ip) if self.likely(0.7) else 0
                what: dict[str, Value] = {"eth_type": 0x0800, "ipv4_src": (address, 0xFFFFFFFF)}
                if self.likely(0.3):
                    what = {"eth_type": 0x86DD, "ipv6_src": ipv6(host.ipv6)}
                elif self.likely(0.3):
                    what = {}
                self.entry(
                    "source_guard",
                    "guard_pass",
                    priority=self.rng.randint(1, 3),
                    vn=vn,
                    port=port,
                    eth_src=mac(host.mac),
                    **what,
                )
            if self.likely(0.3):
                self.entry("known_host", "host_known", vn=vn, port=port, eth_src=mac(host.mac))
            for address in ({"ipv4": ipv4(host.ip)}, {"ipv6": ipv6(host.ipv6)}):
                if self.likely(0.3):
                    self.entry(
                        "known_address",
                        "address_known",
                        vn=vn,
                        port=port,
                        eth_src=mac(host.mac),
                        **{"ipv4": 0, "ipv6": 0, **address},
                    )

    def meters(self) -> None:
        """Some cells that are in use, with bursts and without rates."""
        rng = self.rng
        cells = [("flow_meters", meter_id) for meter_id in set(METER_IDS)]
        cells += [("slice_meters", slice_id) for slice_id in self.slices]
        cells += [("punt_meters", slice_id) for slice_id in (0, *self.slices)]
        cells += [("flood_meters", vn) for vn in self.vns]
        for name, index in cells:
            if self.likely(0.3):
                pool = BURST_PACKETS if name in ("punt_meters", "flood_meters") else BURST_BYTES
                bursts = sorted(rng.choice(pool) for _ in range(2))
                self.add(Meter(name, index, MeterConfig(0, bursts[0], 0, bursts[1])))

    def slice_tables(self) -> None:
        rng = self.rng
        for slice_id, key in zip(self.slices, self.keys, strict=True):
            if self.likely(0.9):
                self.entry(
                    "slice", "set_slice", gre_key=key, slice_id=slice_id, vn=rng.choice(self.vns)
                )
            if self.likely(0.95):
                best_effort = rng.randrange(len(self.slices))
                self.entry(
                    "slice_policy",
                    "set_slice_policy",
                    slice_id=slice_id,
                    gre_key=key,
                    qos_level=rng.choice((0, 0, 1, 200)),
                    miss_policy=rng.choice((0, 1, 1, 1, 2, 2)),
                    queue=rng.randrange(8),
                    dscp=rng.choice(DSCPS),
                    best_effort_slice=self.slices[best_effort],
                    best_effort_key=self.keys[best_effort],
                    dscp_yellow=rng.choice((0, 12, 38)),
                )

    def underlay(self) -> None:
        rng = self.rng
        for address in OUTER_ADDRESSES:
            if self.likely(0.35) or address == "10.255.0.1":
                self.entry("vtep", "terminate", outer_dst=ipv4(address))
            if self.likely(0.85):
                action = rng.choice(("peer_ours", "peer_ours", "peer_foreign"))
                self.entry("peer", action, outer_src=ipv4(address))
        for _ in range(rng.randint(1, 6)):
            length = rng.choice((1, 8, 16, 24, 31, 32, 32))
            value = ipv4(rng.choice(OUTER_ADDRESSES)) >> (32 - length) << (32 - length)
            self.add(route(value, length, *self.hops()))
        if self.likely(0.5):
            self.add(route(0, 0, *self.hops()))
        for next_hop in NEXT_HOPS:
            kind = rng.choice((*("to_port", "to_neighbour", "to_vtep") * 4, ""))
            vtep = ipv4(rng.choice(OUTER_ADDRESSES))
            if kind == "to_port":
                self.entry(
                    "next_hop",
                    kind,
                    next_hop=next_hop,
                    port=self.some_port(),
                    vid=rng.choice((0, 0, 5, 100)),
                )
            elif kind == "to_neighbour":
                port, link = self.some_port(), rng.getrandbits(48)
                self.entry(
                    "next_hop",
                    kind,
                    next_hop=next_hop,
                    vtep=vtep,
                    port=port,
                    mac=link,
                    mtu=rng.choice(MTUS),
                )
            elif kind == "to_vtep":
                self.entry("next_hop", kind, next_hop=next_hop, vtep=vtep)
        for replication_id in REPLICATION_IDS[1:]:
            if self.likely(0.6):
                self.entry(
                    "replica",
                    "replica_to_vtep",
                    replication_id=replication_id,
                    vtep=ipv4(rng.choice(OUTER_ADDRESSES)),
                    mac=rng.getrandbits(48),
                    mtu=rng.choice(MTUS),
                )
            elif self.likely(0.85):
                self.entry(
                    "replica",
                    "replica_to_port",
                    replication_id=replication_id,
                    vid=rng.choice((0, *PORT_VIDS)),
                )

    def hops(self) -> list[Hop]:
        """The links of a route: often one, seldom none."""
        rng = self.rng
        return [
            Hop(self.some_port(), rng.getrandbits(48), rng.choice(MTUS))
            for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 4)))
        ]

    def neighbours(self, vn: int, chances: tuple[float, float]) -> None:
        """What the switch answers for a VN: (IPv4, IPv6) addresses by chance."""
        addresses = [host.ip for host in HOSTS] if vn else OUTER_ADDRESSES[:3]
        for address in addresses:
            if self.likely(chances[0]):
                link = self.rng.getrandbits(48)
                self.entry("arp_responder", "arp_reply", vn=vn, target=ipv4(address), mac=link)
        for host in HOSTS:
            if self.likely(chances[1]):
                link = self.rng.getrandbits(48)
                self.entry("nd_responder", "nd_reply", vn=vn, target=ipv6(host.ipv6), mac=link)

    def some_port(self) -> int:
        return (
            self.rng.choice((*PORTS, NO_SUCH_PORT)) if self.likely(0.1) else self.rng.choice(PORTS)
        )

    def virtual_network(self, vn: int) -> None:
        rng = self.rng
        if self.likely(0.85):
            groups = (0 if self.likely(0.1) else vn * 2, vn * 2 + 1)
            for group_id in groups:
                if group_id and self.likely(0.9):
                    self.add(self.random_group(group_id))
            self.entry(
                "flood",
                "flood_to",
                vn=vn,
                from_access=groups[0],
                from_fabric=groups[1],
                unknown_unicast=rng.randrange(2),
            )
        self.neighbours(vn, (0.4, 0.4))
        for host in HOSTS:
            for address in ({"ipv4_dst": ipv4(host.ip)}, {"ipv6_dst": ipv6(host.ipv6)}):
                if self.likely(0.6):
                    self.entry(
                        "l3_endpoint",
                        "set_l3_endpoint",
                        vn=vn,
                        mac=mac(rng.choice(HOSTS).mac),
                        **{"ipv4_dst": 0, "ipv6_dst": 0, **address},
                    )
            if self.likely(0.8):
                self.entry(
                    "bridge",
                    rng.choice(("bridge_local", "bridge_local", "bridge_remote")),
                    vn=vn,
                    eth_dst=mac(host.mac),
                    next_hop=rng.choice(NEXT_HOPS),
                )

    def random_group(self, group_id: int) -> MulticastGroup:
        copies = [
            (self.rng.choice(PORTS), self.rng.choice(REPLICATION_IDS))
            for _ in range(self.rng.randint(1, 6))
        ]
        return group(group_id, *copies)

    def fields(self) -> dict[str, Value]:
        """A random ternary match over one to three fields of the tenant's frame."""
        rng = self.rng
        host, width = rng.choice(HOSTS), 32
        candidates: dict[str, tuple[int, int]] = {
            "eth_src": (mac(host.mac), 48),
            "eth_dst": (mac(rng.choice((*HOSTS, *GROUPS)).mac), 48),
            "eth_type": (rng.choice(TYPES), 16),
            "vlan_tci": (0x1000 | rng.choice(VLANS) if self.likely(0.7) else 0, 13),
            "ipv4_src": (ipv4(host.ip), width),
            "ipv4_dst": (ipv4(rng.choice(HOSTS).ip), width),
            "ipv6_dst": (0xFD << 120 | rng.choice((1, 2, 3)), 128),
            "ip_proto": (rng.choice(PROTOCOLS), 8),
            "ip_dscp": (rng.choice(DSCPS), 6),
            "is_fragment": (rng.randrange(2), 1),
            "l4_src": (rng.choice(L4_PORTS), 16),
            "l4_dst": (rng.choice(L4_PORTS), 16),
            "tcp_flags": (rng.choice((0x02, 0x12, 0x10)), 8),
        }
        chosen: dict[str, Value] = {}
        for name in rng.sample(sorted(candidates), rng.randint(0, 3)):
            value, bits = candidates[name]
            mask = rng.getrandbits(bits) if self.likely(0.25) else (1 << bits) - 1
            if mask:
                chosen[name] = (value & mask, mask)
        return chosen

    def classifier(self) -> None:
        rng = self.rng
        values = {"vn": rng.choice(self.vns), **({} if self.likely(0.25) else self.fields())}
        if self.likely(0.2):
            values["port"] = rng.choice(PORTS)
        priority, cookie = rng.randint(1, 8), rng.getrandbits(32)
        if self.likely(0.9):
            slice_id = rng.choice(self.slices)
            self.entry(
                "classifier",
                "classify",
                priority=priority,
                slice_id=slice_id,
                cookie=cookie,
                meter_id=rng.choice(METER_IDS),
                **values,
            )
        else:
            self.entry("classifier", "classify_deny", priority=priority, cookie=cookie, **values)

    def flow(self) -> None:
        rng = self.rng
        slice_id = rng.choice(self.slices)
        values = {"slice_id": slice_id, "cookie": rng.getrandbits(32), **self.fields()}
        if self.likely(0.2):
            values["path_class"] = rng.choice(PATH_CLASSES)
        actions = ("permit", "permit_on_path", "deny", "demote", "to_controller")
        action = rng.choices(actions, (6, 6, 2, 2, 1))[0]
        if action == "permit_on_path":
            values["path_class_"] = rng.choice(PATH_CLASSES)
        self.entry("flow", action, priority=rng.randint(1, 8), **values)
        for host in (None, *HOSTS):
            if self.likely(0.3):
                match = {} if host is None else {"eth_dst": mac(host.mac)}
                path_class = rng.choice(PATH_CLASSES)
                self.entry(
                    "slice_path",
                    "set_path",
                    priority=rng.randint(1, 3),
                    slice_id=slice_id,
                    path_class=path_class,
                    **match,
                )
        for host in HOSTS:
            if self.likely(0.5):
                self.entry(
                    "slice_forward",
                    "forward",
                    slice_id=slice_id,
                    path_class=rng.choice(PATH_CLASSES),
                    eth_dst=mac(host.mac),
                    next_hop=rng.choice(NEXT_HOPS),
                    cookie=rng.getrandbits(32),
                )
