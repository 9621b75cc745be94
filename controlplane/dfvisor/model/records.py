"""The records of the global database, as values.

Nothing here does I/O or knows where a record is stored. Names are the keys of the dictionaries; a
record repeats its own name so that it can stand alone. Everything is frozen: a change makes a new
value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from dfvisor.model.types import Mac, PortRange, PortRef


class MissPolicy(StrEnum):
    """What a packet of a slice gets that no `flow` entry matches."""

    DROP = "drop"
    BEST_EFFORT = "best-effort"


class Treatment(StrEnum):
    """What a flowspace does with its packets."""

    PERMIT = "permit"
    DENY = "deny"
    DEMOTE = "demote"  # matched in its slice, then carried by the VN's best-effort slice


class UnknownUnicast(StrEnum):
    """What the best-effort path does with a unicast MAC that is no endpoint."""

    DROP = "drop"
    FLOOD = "flood"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One P4Runtime device. `device_id` 1..65535 is unique in the network, and so is `vtep`."""

    name: str
    device_id: int
    vtep: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A cable between two fabric ports. `cost` >= 1 counts in shortest paths."""

    a: PortRef
    b: PortRef
    cost: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An owner of virtual networks."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A named QoS profile of a VN: egress queue 0..7 (7 first) and the outer DSCP 0..63."""

    name: str
    queue: int
    dscp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A QoS overlay of a VN, named on the wire by its 32-bit GRE key (1..2^32-1).

    Without a profile it is best effort: exactly one of those per VN. `avoid` names switches that
    its packets must not transit.
    """

    name: str
    key: int
    profile: str | None = None
    miss: MissPolicy = MissPolicy.BEST_EFFORT
    avoid: tuple[str, ...] = ()

    @property
    def best_effort(self) -> bool:
        return self.profile is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A tenant host: its MAC, addresses, and the access port it is attached to."""

    name: str
    mac: Mac
    ips: tuple[IPv4Address | IPv6Address, ...]
    port: PortRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Flowspace:
    """Priority (1..65000, higher wins) and match -> slice and treatment.

    `bidirectional` adds the same match with source and destination exchanged.
    """

    name: str
    priority: int
    match: Match
    slice: str
    treatment: Treatment = Treatment.PERMIT
    bidirectional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualNetwork:
    """A tenant's network: its slices (at least the best-effort one), endpoints and flowspaces."""

    name: str
    tenant: str
    unknown_unicast: UnknownUnicast = UnknownUnicast.DROP
    profiles: dict[str, Profile] = field(default_factory=dict)
    slices: dict[str, Slice] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    flowspaces: dict[str, Flowspace] = field(default_factory=dict)

    @property
    def best_effort_slice(self) -> Slice:
        """The VN's one best-effort slice; KeyError for a VN that validation would refuse."""
        for slice_ in self.slices.values():
            if slice_.best_effort:
                return slice_
        raise KeyError(f"virtual network {self.name} has no best-effort slice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """The provider's part: switches and the links between them."""

    switches: dict[str, Switch] = field(default_factory=dict)
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Everything that a network description can say, after validation."""

    fabric: Fabric = field(default_factory=Fabric)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    vns: dict[str, VirtualNetwork] = field(default_factory=dict)
