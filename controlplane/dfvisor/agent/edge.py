"""What a VN needs on a switch where it has access ports: pure.

Who may enter (access_port, source_guard), who is known (known_host), what is answered at once
(arp_responder, nd_responder), what a frame is (classifier), and where a flood goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

import msgspec

from dfvisor.agent.making import (
    LOWEST_PRIORITY,
    PORT_MASK,
    entry,
    exact,
    packet_meter,
    rate_meter,
    whole,
)
from dfvisor.agent.numbers import Kind, Numbers
from dfvisor.agent.site import Site
from dfvisor.model.named import Named, content
from dfvisor.model.records import Endpoint, Flowspace, Treatment, UnknownUnicast, VirtualNetwork
from dfvisor.model.ternary import ETH_IPV4, ETH_IPV6, MOST_SHAPES, VLAN_PRESENT, Masks, expand
from dfvisor.p4rt.cookies import NO_FLOWSPACE, flowspace_cookie
from dfvisor.p4rt.entries import (
    Exact,
    FieldMatch,
    Form,
    Formed,
    FormedKey,
    Item,
    KeyForm,
    Meter,
    MulticastGroup,
    TableEntry,
    Ternary,
    formed,
)
from dfvisor.p4rt.ports import SliceInfo

CATCH_ALL_PRIORITY = LOWEST_PRIORITY
VLAN_PRIORITY = LOWEST_PRIORITY + 1  # one VLAN of a port goes before the port
ETH_ARP = 0x0806  # RFC 826
NO_METER = 0
LOCAL_COPY = 0  # replication id of a copy that leaves as it is
LINK_LOCAL = (0xFE80 << 112, 0x3FF << 118)  # fe80::/10, RFC 4291 2.4: value and mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A VN's access port here: its number, the VLAN that tells the VN apart on it (0: none), and
    the id of the next hop that leads out of it.
    """

    number: int
    vid: int
    next_hop: int


@dataclass(frozen=True, slots=True)
class Address:
    """What the learned host of this MAC says to have. `answered`: it is believed."""

    mac: int
    ip: IPv4Address | IPv6Address
    answered: bool


class Classified(msgspec.Struct, frozen=True, gc=False):
    """A flowspace's classifier entries and its meter, and what they depend on: VN id, slice id,
    port, meter.
    """

    flowspace: Flowspace
    context: tuple[int, int, int | None, int]
    items: tuple[Formed | Meter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A VN on a switch where it has access ports. `local` are the endpoints at these ports;
    `learned` maps MACs to ports of `ports`, none of them an endpoint's; `addresses` may be of
    other hosts too.
    """

    site: Site
    vn: VirtualNetwork
    vn_id: int
    slices: Mapping[str, SliceInfo]
    ports: Mapping[int, Port]
    local: Sequence[Endpoint]
    learned: Mapping[int, int]
    doubted: frozenset[int]
    addresses: Collection[Address]
    numbers: Numbers

    def items(self) -> Iterator[Item]:
        """Everything but what the flowspaces make."""
        best_effort = self.slices[self.vn.best_effort_slice.name].slice_id
        for port in self.ports.values():
            yield self._access_port(port, best_effort)
            yield formed(
                entry(
                    "classifier",
                    "classify",
                    (("vn", Exact(self.vn_id)), ("port", whole(port.number, 9))),
                    CATCH_ALL_PRIORITY,
                    slice_id=best_effort,
                    cookie=NO_FLOWSPACE,
                    meter_id=NO_METER,
                )
            )
        if self.vn.source_guard:
            for endpoint in self.local:
                yield from self._guard(endpoint)
        if self.vn.learning:
            yield from self._known()
        yield from self._responders()
        yield from self._flood()
        yield from self._meters()

    def _access_port(self, port: Port, best_effort: int) -> TableEntry:
        key: tuple[tuple[str, FieldMatch], ...] = (("port", Exact(port.number)),)
        if port.vid:
            key += (("vlan_tci", whole(VLAN_PRESENT | port.vid, 13)),)
        return entry(
            "access_port",
            "set_access",
            key,
            VLAN_PRIORITY if port.vid else LOWEST_PRIORITY,
            vn=self.vn_id,
            best_effort_slice=best_effort,
            vid=port.vid,
            guarded=int(self.vn.source_guard),
            learning=int(self.vn.learning),
        )

    # -- senders

    def _guard(self, endpoint: Endpoint) -> Iterator[TableEntry]:
        """What an endpoint may send from: its addresses, and what it needs to get or keep them.

        Those are ARP probes (RFC 5227), and in IPv6 its link-local addresses and duplicate address
        detection (RFC 4862).
        """
        assert endpoint.port is not None
        at = exact(vn=self.vn_id, port=endpoint.port.port, eth_src=endpoint.mac.value)
        ipv4, arp, ipv6 = (("eth_type", whole(kind, 16)) for kind in (ETH_IPV4, ETH_ARP, ETH_IPV6))

        def may(*fields: tuple[str, FieldMatch]) -> TableEntry:
            return entry("source_guard", "guard_pass", at + fields, LOWEST_PRIORITY)

        yield may(arp, ("ipv4_src", whole(0, 32)))
        yield may(ipv6, ("ipv6_src", whole(0, 128)))
        yield may(ipv6, ("ipv6_src", Ternary(*LINK_LOCAL)))
        for ip in endpoint.ips:
            if isinstance(ip, IPv4Address):
                yield may(ipv4, ("ipv4_src", whole(int(ip), 32)))
                yield may(arp, ("ipv4_src", whole(int(ip), 32)))
            elif int(ip) & LINK_LOCAL[1] != LINK_LOCAL[0]:
                yield may(ipv6, ("ipv6_src", whole(int(ip), 128)))

    def _known(self) -> Iterator[TableEntry]:
        """Endpoints and learned hosts, which nobody needs to report; the latter get their way."""
        for endpoint in self.local:
            assert endpoint.port is not None
            yield self._known_host(endpoint.port.port, endpoint.mac.value)
            for ip in endpoint.ips:
                yield self._known_address(endpoint.port.port, endpoint.mac.value, ip)
        for one in self.addresses:
            if one.mac in self.learned:
                yield self._known_address(self.learned[one.mac], one.mac, one.ip)
        for mac, number in self.learned.items():
            if mac not in self.doubted:
                yield self._known_host(number, mac)
            yield entry(
                "bridge",
                "bridge_local",
                exact(vn=self.vn_id, eth_dst=mac),
                next_hop=self.ports[number].next_hop,
            )

    def _known_host(self, port: int, mac: int) -> TableEntry:
        return entry("known_host", "host_known", exact(vn=self.vn_id, port=port, eth_src=mac))

    def _known_address(self, port: int, mac: int, ip: IPv4Address | IPv6Address) -> TableEntry:
        four = isinstance(ip, IPv4Address)
        key = exact(
            vn=self.vn_id,
            port=port,
            eth_src=mac,
            ipv4=int(ip) if four else 0,
            ipv6=0 if four else int(ip),
        )
        return entry("known_address", "address_known", key)

    # -- answers

    def _responders(self) -> Iterator[TableEntry]:
        """The MAC of every address of the VN, wherever it is; for IP without Ethernet, of those
        here.
        """
        learned = [
            (one.mac, one.ip) for one in self.addresses if one.answered and one.mac in self.learned
        ]
        every = [(end.mac.value, ip) for end in self.vn.endpoints.values() for ip in end.ips]
        for mac, ip in every + learned:
            key = exact(vn=self.vn_id, target=int(ip))
            if isinstance(ip, IPv4Address):
                yield entry("arp_responder", "arp_reply", key, mac=mac)
            else:
                yield entry("nd_responder", "nd_reply", key, mac=mac)
        local = [(end.mac.value, ip) for end in self.local for ip in end.ips]
        for mac, ip in local + learned:
            four = isinstance(ip, IPv4Address)
            key = exact(
                vn=self.vn_id,
                ipv4_dst=int(ip) if four else 0,
                ipv6_dst=0 if four else int(ip),
            )
            yield entry("l3_endpoint", "set_l3_endpoint", key, mac=mac)

    # -- floods

    def _flood(self) -> Iterator[Item]:
        """From-access also goes to every other VTEP with endpoints; from-fabric stays here."""
        tags = {
            vid: self.numbers.number(Kind.REPLICA, f"local/{self.vn.name}/{vid}")
            for vid in sorted({port.vid for port in self.ports.values()} - {0})
        }
        for vid, rid in tags.items():
            yield entry("replica", "replica_to_port", exact(replication_id=rid), vid=vid)
        local = {(port.number, tags.get(port.vid, LOCAL_COPY)) for port in self.ports.values()}
        remote: set[tuple[int, int]] = set()
        for name in {far for end in self.vn.endpoints.values() if (far := where(end))}:
            peer = self.site.peers.get(name)
            if peer is not None and peer.flood is not None:
                remote.add((peer.flood.port, self.numbers.number(Kind.REPLICA, name)))
        from_access = self.numbers.number(Kind.GROUP, f"access/{self.vn.name}")
        from_fabric = self.numbers.number(Kind.GROUP, f"fabric/{self.vn.name}")
        yield MulticastGroup(from_access, frozenset(local | remote))
        yield MulticastGroup(from_fabric, frozenset(local))
        yield entry(
            "flood",
            "flood_to",
            exact(vn=self.vn_id),
            from_access=from_access,
            from_fabric=from_fabric,
            unknown_unicast=int(self.vn.unknown_unicast is UnknownUnicast.FLOOD),
        )

    # -- meters

    def _meters(self) -> Iterator[Meter]:
        """A packet is metered once, where it enters."""
        if self.vn.flood_pps is not None:
            yield Meter("flood_meters", self.vn_id, packet_meter(self.vn.flood_pps))
        for name, info in self.slices.items():
            slice_ = self.vn.slices[name]
            rate = None if slice_.profile is None else self.vn.profiles[slice_.profile].rate
            if rate is not None:
                yield Meter("slice_meters", info.slice_id, rate_meter(rate))

    def _meter_id(self, flowspace: Flowspace) -> int:
        """The flowspace's own meter."""
        return self.numbers.number(Kind.METER, f"{self.vn.name}/{flowspace.name}")

    # -- flowspaces

    def classified(self, before: Mapping[str, Classified]) -> Named[Classified]:
        """What each flowspace makes here; that of one that is as `before` is taken over."""
        found = self.classify(content(self.vn.flowspaces), before)
        return Named({name: one for name, one in found.items() if one is not None})

    def classify(
        self, names: Iterable[str], before: Mapping[str, Classified]
    ) -> dict[str, Classified | None]:
        """What each of these flowspaces makes here, as `classified`; None if there is none, or no
        packet can meet it.
        """
        flowspaces, held, made = content(self.vn.flowspaces), content(before), self._classified
        found: dict[str, Classified | None] = {}
        for name in names:
            flowspace = flowspaces.get(name)
            found[name] = None if flowspace is None else made(flowspace, held.get(name))
        return found

    def _classified(self, flowspace: Flowspace, before: Classified | None) -> Classified | None:
        entrance, rate = flowspace.match.endpoint, flowspace.rate
        port = None
        if entrance is not None:
            endpoint = self.vn.endpoints[entrance]
            if where(endpoint) != self.site.name:
                return None
            port = endpoint.port.port if endpoint.port else None
        slice_id = self.slices[flowspace.slice].slice_id
        meter_id = NO_METER if rate is None else self._meter_id(flowspace)
        context = (self.vn_id, slice_id, port, meter_id)
        if (
            before is not None
            and before.context == context
            and (before.flowspace is flowspace or before.flowspace == flowspace)
        ):
            return before
        at = (self.vn_id,) if port is None else (self.vn_id, port)
        denied = flowspace.treatment is Treatment.DENY
        cookie = flowspace_cookie(self.vn.name, flowspace.name)
        args = (cookie,) if denied else (slice_id, cookie, meter_id)
        priority = flowspace.priority + CATCH_ALL_PRIORITY
        items: list[Formed | Meter] = []
        for key in expand(flowspace.match, bidirectional=flowspace.bidirectional):
            form = _form(key.masks, port is not None, denied)
            items.append(Formed(form, FormedKey(form.key, at + key.values, priority), args))
        if rate is not None:
            items.append(Meter("flow_meters", meter_id, rate_meter(rate)))
        return Classified(flowspace, context, tuple(items))


def where(endpoint: Endpoint) -> str:
    """The VTEP that frames to an endpoint go to: the name of its switch, or of its peer."""
    if endpoint.peer is not None:
        return endpoint.peer
    return endpoint.port.switch if endpoint.port is not None else ""


@lru_cache(MOST_SHAPES)
def _form(masks: Masks, at_port: bool, denied: bool) -> Form:
    """Of the classifier's entries with these masks."""
    fields: tuple[tuple[str, int | None], ...] = (("vn", None),)
    if at_port:
        fields += (("port", PORT_MASK),)
    key = KeyForm("classifier", fields + masks)
    if denied:
        return Form(key, "classify_deny", ("cookie",))
    return Form(key, "classify", ("slice_id", "cookie", "meter_id"))
