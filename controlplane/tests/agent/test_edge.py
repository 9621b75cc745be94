"""Guarding, learning, answers, meters, VLANs and foreign peers: the demo, changed by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import msgspec
from dfvisor.agent.desired import VnPlan, fabric_items, vn_plan
from dfvisor.agent.edge import Address
from dfvisor.agent.numbers import Kind
from dfvisor.agent.site import look
from dfvisor.model.records import (
    Endpoint,
    Fabric,
    MissPolicy,
    Network,
    Peer,
    Rate,
    Treatment,
    VirtualNetwork,
)
from dfvisor.model.types import Mac, PortRef
from dfvisor.model.validate import validate
from dfvisor.p4rt.cookies import flowspace_cookie
from dfvisor.p4rt.entries import (
    Exact,
    Item,
    Lpm,
    Meter,
    MeterConfig,
    MulticastGroup,
    TableEntry,
    Ternary,
)

from .networks import MemoryNumbers, demo

OVS = Peer(
    name="ovs",
    vtep=IPv4Address("198.51.100.9"),
    port=PortRef("s4", 8),
    mac=Mac(0x020000000F09),
    mtu=1400,
)


def planned(
    vn: VirtualNetwork,
    switch: str = "s1",
    fabric: Fabric | None = None,
    learned: dict[int, int] | None = None,
    addresses: Sequence[Address] = (),
) -> tuple[VnPlan, MemoryNumbers]:
    fabric = fabric or demo().fabric
    network = dataclasses.replace(demo(), fabric=fabric, vns={vn.name: vn})
    assert validate(network) == []
    site = look(fabric, switch)
    assert site is not None
    numbers = MemoryNumbers()
    plan = vn_plan(site, vn, numbers, learned=learned, addresses=addresses)
    assert plan is not None
    return plan, numbers


def red(**changes: object) -> VirtualNetwork:
    return dataclasses.replace(demo().vns["red"], **changes)  # type: ignore[arg-type]


def local(vn: VirtualNetwork, switch: str = "s1") -> Endpoint:
    (found,) = [one for one in vn.endpoints.values() if one.port and one.port.switch == switch]
    return found


def with_endpoint(vn: VirtualNetwork, endpoint: Endpoint) -> VirtualNetwork:
    return dataclasses.replace(vn, endpoints={**vn.endpoints, endpoint.name: endpoint})


def entries(items: tuple[Item, ...] | list[Item], table: str) -> list[TableEntry]:
    return [one for one in items if isinstance(one, TableEntry) and one.table == table]


def meters(items: tuple[Item, ...]) -> dict[tuple[str, int], MeterConfig | None]:
    return {(one.meter, one.index): one.config for one in items if isinstance(one, Meter)}


# -- senders


def guards(plan: VnPlan, packet: dict[str, int]) -> bool:
    """Whether source_guard lets a packet pass, its absent fields 0."""
    for found in entries(plan.items, "source_guard"):
        matches = dict(found.key)
        if all(
            packet.get(name, 0) == match.value
            if isinstance(match, Exact)
            else packet.get(name, 0) & match.mask == match.value
            for name, match in matches.items()
            if isinstance(match, Exact | Ternary)
        ):
            return True
    return False


def test_guarded_endpoint_sends_from_its_own_addresses_alone() -> None:
    host = local(demo().vns["red"])
    assert host.port is not None
    (four,) = [ip for ip in host.ips if isinstance(ip, IPv4Address)]
    six = IPv6Address("2001:db8::7")
    host = dataclasses.replace(host, ips=(four, six))
    vn = with_endpoint(red(source_guard=True), host)
    plan, _ = planned(vn)
    (access,) = entries(plan.items, "access_port")
    assert access.arg("guarded") == 1
    base = {"vn": plan.vn_id, "port": host.port.port, "eth_src": host.mac.value}
    ipv4 = base | {"eth_type": 0x0800, "ipv4_src": int(four)}
    arp = base | {"eth_type": 0x0806, "ipv4_src": int(four)}
    ipv6 = base | {"eth_type": 0x86DD, "ipv6_src": int(six)}
    passing = [
        ipv4,
        arp,
        arp | {"ipv4_src": 0},  # probe
        ipv6,
        ipv6 | {"ipv6_src": 0},  # duplicate address detection
        ipv6 | {"ipv6_src": int(IPv6Address("fe80::1"))},
        ipv6 | {"ipv6_src": int(IPv6Address("febf::1"))},
    ]
    assert [packet for packet in passing if not guards(plan, packet)] == []
    others = [
        ipv4 | {"ipv4_src": int(four) + 1},
        ipv4 | {"ipv4_src": 0},
        ipv4 | {"eth_src": host.mac.value + 1},
        ipv4 | {"port": host.port.port + 1},
        ipv4 | {"vn": plan.vn_id + 1},
        arp | {"ipv4_src": int(four) + 1},
        ipv6 | {"ipv6_src": int(six) + 1},
        ipv6 | {"ipv6_src": int(IPv6Address("fec0::1"))},
        base | {"eth_type": 0x88B5},
        base | {"eth_type": 0x86DD, "ipv6_src": int(IPv6Address("ff02::1"))},
    ]
    assert [packet for packet in others if guards(plan, packet)] == []


def test_vn_without_guard_and_learning_has_neither() -> None:
    plan, _ = planned(red())
    assert entries(plan.items, "source_guard") == entries(plan.items, "known_host") == []
    assert not plan.learns


def test_learning_vn_knows_its_endpoints_and_what_it_learned() -> None:
    vn = red(learning=True)
    host = local(vn)
    assert host.port is not None
    port, mac = host.port.port, 0x02000000BEEF
    elsewhere = next(one for one in vn.endpoints.values() if one != host).mac.value
    plan, numbers = planned(vn, learned={mac: port, elsewhere: port, 0x02000000DEAD: port + 1})
    assert plan.learns
    assert {tuple(m.value for _, m in one.key) for one in entries(plan.items, "known_host")} == {
        (plan.vn_id, port, host.mac.value),
        (plan.vn_id, port, mac),
    }
    bridge = {one.key[1][1].value: one for one in entries(plan.items, "bridge")}
    assert bridge[mac].action == "bridge_local"
    assert numbers.name(Kind.NEXT_HOP, bridge[mac].arg("next_hop")) == f"local/red/{port}"
    assert bridge[elsewhere].action == "bridge_remote"  # an endpoint is not learned anew
    assert len(bridge) == len(vn.endpoints) + 1


def test_addresses_of_learned_hosts_are_known_and_answered_if_they_are_believed() -> None:
    vn = red(learning=True)
    host = local(vn)
    assert host.port is not None
    port, mac, other = host.port.port, 0x02000000BEEF, 0x02000000DEAD
    said = [
        Address(mac, IPv4Address("10.9.9.9"), True),
        Address(mac, IPv6Address("fd00::9"), True),
        Address(mac, IPv4Address("10.9.9.10"), False),
        Address(other, IPv4Address("10.9.9.11"), True),  # not at a port of the VN
    ]
    before, _ = planned(vn, learned={mac: port})
    after, _ = planned(vn, learned={mac: port}, addresses=said)
    added = set(after.items) - set(before.items)
    assert {
        (one.table, tuple(match.value for _, match in one.key[1:]))
        for one in added
        if isinstance(one, TableEntry)
    } == {
        ("known_address", (port, mac, 0x0A090909, 0)),
        ("known_address", (port, mac, 0, int(IPv6Address("fd00::9")))),
        ("known_address", (port, mac, 0x0A09090A, 0)),
        ("arp_responder", (0x0A090909,)),
        ("nd_responder", (int(IPv6Address("fd00::9")),)),
        ("l3_endpoint", (0x0A090909, 0)),
        ("l3_endpoint", (0, int(IPv6Address("fd00::9")))),
    }


# -- answers


def test_every_address_of_the_vn_is_answered_and_those_here_have_an_ethernet() -> None:
    vn = demo().vns["red"]
    host = dataclasses.replace(
        local(vn), ips=(IPv4Address("10.0.0.77"), IPv6Address("2001:db8::77"))
    )
    vn = with_endpoint(vn, host)
    plan, _ = planned(vn)
    answers = {
        one.key[1][1].value: one.arg("mac")
        for table in ("arp_responder", "nd_responder")
        for one in entries(plan.items, table)
    }
    assert answers == {int(ip): end.mac.value for end in vn.endpoints.values() for ip in end.ips}
    found = entries(plan.items, "l3_endpoint")
    assert {tuple(m.value for _, m in one.key) for one in found} == {
        (plan.vn_id, int(IPv4Address("10.0.0.77")), 0),
        (plan.vn_id, 0, int(IPv6Address("2001:db8::77"))),
    }
    assert {one.arg("mac") for one in found} == {host.mac.value}


# -- VLANs


def test_endpoint_on_a_vlan_is_told_apart_and_gets_its_tag_back() -> None:
    vn = demo().vns["red"]
    host = dataclasses.replace(local(vn), vlan=7)
    assert host.port is not None
    plan, numbers = planned(with_endpoint(vn, host))
    port = host.port.port
    (access,) = entries(plan.items, "access_port")
    assert access.key == (("port", Exact(port)), ("vlan_tci", Ternary(0x1007, 0x1FFF)))
    assert (access.priority, access.arg("vid")) == (2, 7)
    (out,) = [one for one in entries(plan.items, "next_hop") if one.action == "to_port"]
    assert out.args == (("port", port), ("vid", 7))
    (tag,) = entries(plan.items, "replica")
    assert (tag.action, tag.arg("vid")) == ("replica_to_port", 7)
    rid = tag.key[0][1].value
    assert numbers.name(Kind.REPLICA, rid) == "local/red/7"
    groups = [one for one in plan.items if isinstance(one, MulticastGroup)]
    assert all((port, rid) in group.replicas for group in groups) and len(groups) == 2
    (catch_all,) = [one for one in entries(plan.items, "classifier") if one.priority == 1]
    assert catch_all.field("vlan_tci") is None  # the tag is off by then


# -- meters


RATE = Rate(committed_bps=8_000_000, peak_bps=16_000_000)


def test_rates_become_meters_where_packets_enter() -> None:
    vn = demo().vns["red"]
    gold = dataclasses.replace(vn.profiles["gold"], rate=RATE)
    flowspace = msgspec.structs.replace(
        vn.flowspaces["gold-tcp"], rate=Rate(committed_bps=80_000, peak_bps=80_000, burst_bytes=9)
    )
    vn = red(
        profiles={
            **{name: dataclasses.replace(one, rate=None) for name, one in vn.profiles.items()},
            "gold": gold,
        },
        flowspaces={**vn.flowspaces, "gold-tcp": flowspace},
        flood_pps=1000,
    )
    plan, numbers = planned(vn)
    number = numbers.number(Kind.METER, "red/gold-tcp")
    metered = {
        one.arg("meter_id")
        for one in entries(plan.items, "classifier")
        if one.arg("cookie") == flowspace_cookie("red", "gold-tcp")
    }
    assert metered == {number} and number != 0
    found = meters(plan.items)
    assert found.pop(("flow_meters", number)) == MeterConfig(10_000, 9, 10_000, 9)
    assert found.pop(("flood_meters", plan.vn_id)) == MeterConfig(1000, 100, 1000, 100)
    for name, info in plan.slices.items():
        assert found.pop(("punt_meters", info.slice_id)) == MeterConfig(100, 10, 100, 10)
        if vn.slices[name].profile == "gold":
            expected = MeterConfig(1_000_000, 100_000, 2_000_000, 200_000)
            assert found.pop(("slice_meters", info.slice_id)) == expected
    assert found == {}


def test_flowspace_of_an_endpoint_elsewhere_has_no_meter_here() -> None:
    vn = demo().vns["red"]
    remote = next(one for one in vn.endpoints.values() if one != local(vn))
    old = vn.flowspaces["gold-tcp"]
    flowspace = msgspec.structs.replace(
        old,
        rate=RATE,
        bidirectional=False,
        match=msgspec.structs.replace(old.match, endpoint=remote.name),
    )
    plan, numbers = planned(red(flowspaces={"gold-tcp": flowspace}))
    assert numbers.known[Kind.METER] == {}
    assert all(meter != "flow_meters" for meter, _ in meters(plan.items))


# -- policies


def test_slice_policy_has_packet_in_and_the_yellow_dscp() -> None:
    vn = demo().vns["red"]
    gold = dataclasses.replace(vn.profiles["gold"], dscp=10)
    slice_ = dataclasses.replace(vn.slices["gold"], miss=MissPolicy.PACKET_IN, punt_pps=5000)
    plan, _ = planned(
        red(profiles={**vn.profiles, "gold": gold}, slices={**vn.slices, "gold": slice_})
    )
    slice_id = plan.slices["gold"].slice_id
    (policy,) = [
        one
        for one in entries(plan.items, "slice_policy")
        if one.key == (("slice_id", Exact(slice_id)),)
    ]
    assert (policy.arg("miss_policy"), policy.arg("dscp"), policy.arg("dscp_yellow")) == (2, 10, 12)
    assert meters(plan.items)["punt_meters", slice_id] == MeterConfig(5000, 500, 5000, 500)


def test_flowspace_to_the_controller_is_classified_into_its_slice() -> None:
    vn = demo().vns["red"]
    flowspace = msgspec.structs.replace(
        vn.flowspaces["gold-tcp"], treatment=Treatment.TO_CONTROLLER
    )
    plan, _ = planned(red(flowspaces={"gold-tcp": flowspace}))
    found = [one for one in entries(plan.items, "classifier") if one.priority > 1]
    assert {one.action for one in found} == {"classify"}
    assert {one.arg("slice_id") for one in found} == {plan.slices["gold"].slice_id}


# -- foreign peers


def foreign() -> Network:
    """The demo, with Open vSwitch at s4, and an endpoint of red behind it."""
    network = demo()
    behind = Endpoint(
        name="behind", mac=Mac(0x02000000AAAA), ips=(IPv4Address("10.0.0.99"),), peer="ovs"
    )
    return dataclasses.replace(
        network,
        fabric=dataclasses.replace(network.fabric, peers={"ovs": OVS}),
        vns={**network.vns, "red": with_endpoint(network.vns["red"], behind)},
    )


def fabric_of(switch: str) -> list[Item]:
    site = look(foreign().fabric, switch)
    assert site is not None
    return fabric_items(site, MemoryNumbers())


def underlay(items: list[Item], vtep: int) -> TableEntry:
    key = (("outer_dst", Lpm(vtep, 32)),)
    (found,) = [one for one in entries(items, "underlay") if one.key == key]
    return found


def test_peer_is_reached_straight_at_its_switch_and_through_the_fabric_elsewhere() -> None:
    vtep = int(OVS.vtep)
    here, there = fabric_of("s4"), fabric_of("s1")
    (member,) = underlay(here, vtep).members
    assert member.args == (("port", 8), ("mac", OVS.mac.value), ("mtu", 1400))
    assert member.watch_port is None
    s4 = int(demo().fabric.switches["s4"].vtep)
    assert underlay(there, vtep).members == underlay(there, s4).members
    for items in (here, there):
        (known,) = [
            one for one in entries(items, "peer") if one.key == (("outer_src", Exact(vtep)),)
        ]
        assert known.action == "peer_foreign"
    ports = {one.key[0][1].value for one in entries(here, "access_port")}
    assert 8 in ports
    assert 8 not in {one.key[0][1].value for one in entries(there, "access_port")}


def test_switch_with_a_peer_answers_arp_for_all_vteps_behind_it() -> None:
    vteps = {int(switch.vtep) for switch in demo().fabric.switches.values()}
    asked = {
        switch: {one.key[1][1].value for one in entries(fabric_of(switch), "arp_responder")}
        for switch in ("s1", "s4")
    }
    assert asked == {"s1": {int(demo().fabric.switches["s1"].vtep)}, "s4": vteps}


def test_endpoint_behind_a_peer_is_bridged_flooded_and_answered_through_its_vtep() -> None:
    network = foreign()
    plan, numbers = planned(network.vns["red"], "s1", network.fabric)
    (bridge,) = [
        one
        for one in entries(plan.items, "bridge")
        if one.key[1] == ("eth_dst", Exact(0x02000000AAAA))
    ]
    assert bridge.action == "bridge_remote"
    assert numbers.name(Kind.NEXT_HOP, bridge.arg("next_hop")) == "vtep/ovs"
    rid = numbers.number(Kind.REPLICA, "ovs")
    groups = {
        numbers.name(Kind.GROUP, one.group_id): {rid for _, rid in one.replicas}
        for one in plan.items
        if isinstance(one, MulticastGroup)
    }
    assert rid in groups["access/red"] and rid not in groups["fabric/red"]
    asked = {one.key[1][1].value for one in entries(plan.items, "arp_responder")}
    assert int(IPv4Address("10.0.0.99")) in asked


def test_vn_behind_a_peer_alone_is_present_at_the_peers_switch_without_an_edge() -> None:
    network = foreign()
    red_here = [
        end for end in network.vns["red"].endpoints.values() if end.port and end.port.switch == "s1"
    ]
    behind = network.vns["red"].endpoints["behind"]
    vn = dataclasses.replace(
        network.vns["red"],
        endpoints={end.name: end for end in (*red_here, behind)},
        flowspaces={},
    )
    plan, _ = planned(vn, "s4", network.fabric)
    assert not plan.access and set(plan.slices) == set(vn.slices)
    assert entries(plan.items, "classifier") == entries(plan.items, "flood") == []
    assert {one.action for one in entries(plan.items, "bridge")} == {"bridge_remote"}


def test_vtep_without_a_way_to_it_is_unreachable() -> None:
    network = demo()
    lonely = dataclasses.replace(network.fabric, links=())
    site = look(lonely, "s1")
    assert site is not None
    items = fabric_items(site, MemoryNumbers())
    actions = [[one.action for one in found.members] for found in entries(items, "underlay")]
    assert actions == [["unreachable"]] * 3
    assert entries(items, "replica") == []
