"""The records of the global database, as values.

Nothing here does I/O or knows where a record is stored. Names are the keys of the dictionaries; a
record repeats its own name so that it can stand alone. Everything is frozen: a change makes a new
value. Those of which there may be many are made, and compared, in C; none can be in a cycle, so the
garbage collector leaves them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import msgspec

from dfvisor.model.grants import Grant
from dfvisor.model.named import Records
from dfvisor.model.types import Mac, PortRange, PortRef

DEFAULT_MTU = 1500
DEFAULT_PUNT_PPS = 100
DRAINED_COST = 1 << 31  # more than a link can cost
DEFAULT_STALE_AFTER_S = 3600


class MissPolicy(StrEnum):
    """What a packet of a slice gets that no `flow` entry matches."""

    DROP = "drop"
    BEST_EFFORT = "best-effort"
    PACKET_IN = "packet-in"  # to the slice's controller


class Treatment(StrEnum):
    """What a flowspace does with its packets."""

    PERMIT = "permit"
    DENY = "deny"
    DEMOTE = "demote"  # matched in its slice, then carried by the VN's best-effort slice
    TO_CONTROLLER = "to-controller"  # packet-in to the slice's controller


class Stale(StrEnum):
    """What a slice's traffic gets where the agent has been without the database for long."""

    HOLD = "hold"  # as the last known state says
    BEST_EFFORT = "best-effort"
    DENY = "deny"


class UnknownUnicast(StrEnum):
    """What the best-effort path does with a unicast MAC that is no endpoint."""

    DROP = "drop"
    FLOOD = "flood"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A two-rate three-colour meter (RFC 2698): green up to the committed rate, yellow up to the
    peak rate, red (dropped) beyond. Rates in bit/s, `peak_bps` >= `committed_bps` >= 8000.

    `burst_bytes` is the size of both buckets; without it each holds 100 ms of its rate, at least
    `MIN_DEFAULT_BURST_BYTES`.
    """

    committed_bps: int
    peak_bps: int
    burst_bytes: int | None = None

    @property
    def committed_bytes_per_s(self) -> int:
        return self.committed_bps // 8

    @property
    def peak_bytes_per_s(self) -> int:
        return self.peak_bps // 8

    @property
    def committed_burst_bytes(self) -> int:
        return self.burst_bytes or max(MIN_DEFAULT_BURST_BYTES, self.committed_bps // 80)

    @property
    def peak_burst_bytes(self) -> int:
        return self.burst_bytes or max(MIN_DEFAULT_BURST_BYTES, self.peak_bps // 80)


MIN_DEFAULT_BURST_BYTES = 3000  # two full frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One P4Runtime device. `device_id` 1..65535 is unique in the network, and so is `vtep`.

    A `drained` one carries only what begins or ends there, or has no other way.
    """

    name: str
    device_id: int
    vtep: IPv4Address
    drained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A cable between two fabric ports. `cost` >= 1 counts in shortest paths; `mtu` is the number
    of bytes that fit behind the Ethernet header. A `drained` one carries only what has no other
    way. `capacity_bps` is what it can carry in each direction (None: not known).
    """

    a: PortRef
    b: PortRef
    cost: int = 1
    mtu: int = DEFAULT_MTU
    drained: bool = False
    capacity_bps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A foreign GRE endpoint, such as Open vSwitch, at a fabric port of one of our switches.

    `vtep` is its underlay address, `mac` the link address that frames to it get; several peers may
    share a port. `mtu` as of a link.
    """

    name: str
    vtep: IPv4Address
    port: PortRef
    mac: Mac
    mtu: int = DEFAULT_MTU


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An owner of virtual networks."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A named QoS profile of a VN: egress queue 0..7 (7 first), the outer DSCP 0..63, and the rate
    of each of its slices at each access switch (None: not metered).
    """

    name: str
    queue: int
    dscp: int
    rate: Rate | None = None

    @property
    def dscp_yellow(self) -> int:
        """The DSCP of packets beyond the committed rate: an assured-forwarding class with the next
        higher drop precedence (RFC 2597), any other unchanged.
        """
        klass, precedence = self.dscp >> 3, self.dscp & 7
        return self.dscp + 2 if 1 <= klass <= 4 and precedence in (2, 4) else self.dscp


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A QoS overlay of a VN, named on the wire by its 32-bit GRE key (1..2^32-1).

    Without a profile it is best effort: exactly one of those per VN. `avoid` names switches that
    its packets must not transit. `punt_pps` limits the packets per second that a switch sends to
    its agent. `stale` is what new packets get where they enter, once the switch's agent has been
    without the global database for `stale_after_s` seconds. A `disabled` one keeps its record and
    key, and nothing else: its packets are best effort.
    """

    name: str
    key: int
    profile: str | None = None
    miss: MissPolicy = MissPolicy.BEST_EFFORT
    avoid: tuple[str, ...] = ()
    punt_pps: int = DEFAULT_PUNT_PPS
    stale: Stale = Stale.HOLD
    stale_after_s: int = DEFAULT_STALE_AFTER_S
    disabled: bool = False

    @property
    def best_effort(self) -> bool:
        return self.profile is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A tenant host: its MAC, addresses, and where it is: exactly one of the access `port` it is
    attached to and the foreign `peer` it is behind.

    `vlan` (1..4094) is the tag that tells it apart from others on its port: taken off its frames
    and put on those to it.
    """

    name: str
    mac: Mac
    ips: tuple[IPv4Address | IPv6Address, ...]
    port: PortRef | None = None
    vlan: int | None = None
    peer: str | None = None


class Match(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Header fields of a flowspace; None means any. At most one of the IPv4 and IPv6 halves is
    used.

    `vlan` is the outer VLAN id 0..4095, or `UNTAGGED`; `endpoint` restricts to frames that enter
    at that endpoint's access port (edge only). `l4_src`/`l4_dst` are inclusive ranges of TCP/UDP
    ports. `tcp_flags` is (value, mask), 8 bits each.
    """

    endpoint: str | None = None
    eth_src: Mac | None = None
    eth_dst: Mac | None = None
    eth_type: int | None = None
    vlan: int | None = None
    ipv4_src: IPv4Network | None = None
    ipv4_dst: IPv4Network | None = None
    ipv6_src: IPv6Network | None = None
    ipv6_dst: IPv6Network | None = None
    ip_proto: int | None = None
    dscp: int | None = None
    fragment: bool | None = None  # True: a later fragment
    l4_src: PortRange | None = None
    l4_dst: PortRange | None = None
    tcp_flags: tuple[int, int] | None = None


UNTAGGED = -1


class Flowspace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Priority (1..65000, higher wins) and match -> slice and treatment.

    `bidirectional` adds the same match with source and destination exchanged. `rate` is the
    flowspace's own meter at each access switch, shared by all its entries there; with treatment
    permit only.

    Permissions: `slice` may WRITE flow entries within the match; `readers` are slices that may READ
    those. With `under` the flowspace is DELEGATED: part of that flowspace, by its slice to this
    one. Deleting it takes the part back.
    """

    name: str
    priority: int
    match: Match
    slice: str
    treatment: Treatment = Treatment.PERMIT
    bidirectional: bool = False
    rate: Rate | None = None
    under: str | None = None
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualNetwork:
    """A tenant's network: its slices (at least the best-effort one), endpoints and flowspaces.

    `source_guard`: an endpoint may send from its own addresses only. `learning`: senders that are
    no endpoint are reported. `flood_pps`: what each switch floods at most, packets per second
    (None: no limit).
    """

    name: str
    tenant: str
    unknown_unicast: UnknownUnicast = UnknownUnicast.DROP
    source_guard: bool = False
    learning: bool = False
    flood_pps: int | None = None
    profiles: Records[Profile] = field(default_factory=dict)
    slices: Records[Slice] = field(default_factory=dict)
    endpoints: Records[Endpoint] = field(default_factory=dict)
    flowspaces: Records[Flowspace] = field(default_factory=dict)

    @property
    def best_effort_slice(self) -> Slice:
        """The VN's one best-effort slice; KeyError for a VN that validation would refuse."""
        for slice_ in self.slices.values():
            if slice_.best_effort:
                return slice_
        raise KeyError(f"virtual network {self.name} has no best-effort slice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """The provider's part: switches, the links between them, and foreign GRE endpoints."""

    switches: dict[str, Switch] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    peers: dict[str, Peer] = field(default_factory=dict)

    def weight(self, link: Link) -> int:
        """What a link counts in shortest paths."""
        ends = (self.switches.get(link.a.switch), self.switches.get(link.b.switch))
        drained = link.drained or any(end is not None and end.drained for end in ends)
        return link.cost + DRAINED_COST if drained else link.cost

    def home(self, endpoint: Endpoint) -> str | None:
        """The switch at which the endpoint's frames leave the fabric: that of its port, or of its
        peer's port. None when there is no such switch.
        """
        port = endpoint.port
        if endpoint.peer is not None:
            peer = self.peers.get(endpoint.peer)
            port = peer.port if peer is not None else None
        return port.switch if port is not None and port.switch in self.switches else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Everything that a network description can say, after validation."""

    fabric: Fabric = field(default_factory=Fabric)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)  # by VN; absent: no limits
    vns: dict[str, VirtualNetwork] = field(default_factory=dict)
