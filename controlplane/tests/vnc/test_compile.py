"""The compiled entries, followed hop by hop through a model of the fabric."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from ipaddress import IPv4Address

import msgspec
import pytest
from dfvisor.agent.desired import neighbours, vn_plan
from dfvisor.agent.site import look
from dfvisor.errors import Problem
from dfvisor.model.overlap import conflicts
from dfvisor.model.records import (
    Endpoint,
    Fabric,
    Flowspace,
    Match,
    Network,
    Peer,
    Slice,
    Tenant,
    Treatment,
    VirtualNetwork,
)
from dfvisor.model.ternary import TernaryMatch, expand
from dfvisor.model.types import Mac, PortRange, PortRef
from dfvisor.model.validate import validate
from dfvisor.p4rt.cookies import flowspace_cookie
from dfvisor.p4rt.entries import Exact, TableEntry, Ternary, entry_key
from dfvisor.p4rt.ports import NEIGHBOUR
from dfvisor.vnc.compile import CompileError, Entries, compile_vn
from dfvisor.vnc.flows import CARRIED_PRIORITY, FLOWSPACE_PRIORITY
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tests.agent.networks import MemoryNumbers, demo, fabrics, vns

MATCHES = st.builds(
    Match,
    ip_proto=st.just(6),
    l4_src=st.none() | st.sampled_from([PortRange(1, 2), PortRange(2, 3)]),
    l4_dst=st.none() | st.sampled_from([PortRange(1, 2), PortRange(2, 3)]),
    dscp=st.none() | st.integers(0, 1),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Fabric, VirtualNetwork]:
    """A valid network's VN with a fabric; slices may avoid switches, flowspaces overlap a lot."""
    fabric = draw(fabrics())
    vn = draw(vns(fabric, 1))
    network = Network(fabric=fabric, tenants={"t": Tenant(name="t")})
    switches = sorted(network.fabric.switches)
    slices = {
        name: one
        if one.best_effort
        else dataclasses.replace(
            one, avoid=tuple(draw(st.lists(st.sampled_from(switches), max_size=1)))
        )
        for name, one in vn.slices.items()
    }
    flowspaces: dict[str, Flowspace] = {}
    at_ports = sorted(one.name for one in vn.endpoints.values() if one.port)
    for place in range(draw(st.integers(0, 6))):
        endpoint = draw(st.none() | st.sampled_from(at_ports) if at_ports else st.none())
        slice_ = draw(st.sampled_from(sorted(slices)))
        treatments = [
            one
            for one in Treatment
            if one is not Treatment.TO_CONTROLLER or not slices[slice_].best_effort
        ]
        flowspaces[f"f{place}"] = Flowspace(
            name=f"f{place}",
            priority=draw(st.integers(1, 4)),
            match=msgspec.structs.replace(draw(MATCHES), endpoint=endpoint),
            slice=slice_,
            treatment=draw(st.sampled_from(treatments)),
            bidirectional=endpoint is None and draw(st.booleans()),
        )
    for _, second in conflicts(flowspaces.values()):
        flowspaces.pop(second, None)
    vn = dataclasses.replace(vn, slices=slices, flowspaces=flowspaces)
    if _problems(network, vn):  # what is avoided leaves endpoints without a path
        vn = dataclasses.replace(
            vn,
            slices={name: dataclasses.replace(one, avoid=()) for name, one in slices.items()},
        )
    assert not _problems(network, vn)
    return network.fabric, vn


def network_of(fabric: Fabric, vn: VirtualNetwork) -> Network:
    """The network of one VN."""
    return Network(fabric=fabric, tenants={"t": Tenant(name="t")}, vns={vn.name: vn})


def _problems(network: Network, vn: VirtualNetwork) -> list[Problem]:
    return validate(network_of(network.fabric, vn))


def forwards(entries: Entries, slice_: Slice) -> dict[tuple[str, int], int]:
    """Next hop by switch and destination MAC."""
    return {
        (switch, mac.value): entry.arg("next_hop")
        for switch, found in entries.items()
        for entry in found
        if entry.table == "slice_forward" and entry.field("slice_id") == Exact(slice_.key)
        if isinstance(mac := entry.field("eth_dst"), Exact)
    }


def walk(
    fabric: Fabric, entries: Entries, slice_: Slice, source: str, destination: Endpoint
) -> tuple[list[str], int]:
    """The switches that a packet of the slice passes, and the port it leaves by."""
    names = {switch.device_id: name for name, switch in fabric.switches.items()}
    table = forwards(entries, slice_)
    at = [source]
    while (next_hop := table[at[-1], destination.mac.value]) >= NEIGHBOUR:
        at.append(names[next_hop - NEIGHBOUR])
        assert len(at) <= len(fabric.switches), "a loop"
    return at, next_hop


@given(cases())
def test_every_path_ends_at_the_endpoint_and_follows_links(
    case: tuple[Fabric, VirtualNetwork],
) -> None:
    fabric, vn = case
    entries = compile_vn(fabric, vn)
    cables = {frozenset((link.a.switch, link.b.switch)) for link in fabric.links}
    for slice_ in vn.slices.values():
        if slice_.best_effort:
            assert not forwards(entries, slice_)
            continue
        here = [one for one in vn.endpoints.values() if one.port is not None]
        for source, destination in itertools.product(here, here):
            passed, port = walk(fabric, entries, slice_, source.port.switch, destination)
            assert PortRef(passed[-1], port) == destination.port
            assert not set(passed[1:-1]) & set(slice_.avoid)
            hops = itertools.pairwise(passed)
            assert all(frozenset(hop) in cables for hop in hops)


@given(cases())
def test_every_switch_on_a_path_has_the_same_flows(case: tuple[Fabric, VirtualNetwork]) -> None:
    fabric, vn = case
    entries = compile_vn(fabric, vn)
    for slice_ in vn.slices.values():
        flows = [
            {
                entry
                for entry in found
                if entry.table == "flow" and entry.field("slice_id") == Exact(slice_.key)
            }
            for switch, found in entries.items()
            if any(where == switch for where, _ in forwards(entries, slice_))
        ]
        assert all(one == flows[0] for one in flows)


@given(cases())
def test_entries_name_only_what_the_agent_offers(case: tuple[Fabric, VirtualNetwork]) -> None:
    """Slices, ports and neighbours that the agent of each switch knows, on just those switches."""
    fabric, vn = case
    entries = compile_vn(fabric, vn)
    for name in fabric.switches:
        site = look(fabric, name)
        assert site is not None
        numbers = MemoryNumbers()
        plan = vn_plan(site, vn, numbers)
        assert (plan is not None) == (name in entries)
        if plan is None:
            continue
        keys = {info.key for info in plan.slices.values() if not info.best_effort}
        offered = plan.ports.keys() | neighbours(site, numbers).keys()
        for entry in entries[name]:
            slice_id = entry.field("slice_id")
            assert isinstance(slice_id, Exact) and slice_id.value in keys
            if entry.table == "slice_forward":
                assert entry.arg("next_hop") in offered
        assert len({entry_key(entry) for entry in entries[name]}) == len(entries[name])


def claimed_by(vn: VirtualNetwork, packet: Mapping[str, int], at: Endpoint) -> Flowspace | None:
    """The flowspace that the edge would choose for a packet that enters at an endpoint."""
    for flowspace in sorted(vn.flowspaces.values(), key=lambda one: -one.priority):
        if flowspace.match.endpoint not in (None, at.name):
            continue
        keys = expand(flowspace.match, bidirectional=flowspace.bidirectional)
        if any(key.matches(packet) for key in keys):
            return flowspace
    return None


def hit(entries: frozenset[TableEntry], key: int, packet: Mapping[str, int]) -> TableEntry | None:
    """The `flow` entry of the slice that a packet hits."""
    for entry in sorted(entries, key=lambda one: -one.priority):
        if entry.table != "flow" or entry.field("slice_id") != Exact(key):
            continue
        fields = [(name, match) for name, match in entry.key if isinstance(match, Ternary)]
        known = TernaryMatch(
            tuple((name, match.mask) for name, match in fields),
            tuple(match.value for _, match in fields),
        )
        if known.matches(packet):
            return entry
    return None


ACTIONS = {
    Treatment.PERMIT: "permit",
    Treatment.DEMOTE: "demote",
    Treatment.TO_CONTROLLER: "to_controller",
}
PACKETS = st.fixed_dictionaries(
    {
        "ip_proto": st.sampled_from([6, 17]),
        "l4_src": st.integers(0, 4),
        "l4_dst": st.integers(0, 4),
        "ip_dscp": st.integers(0, 1),
        "is_fragment": st.just(0),
    }
)


@given(cases(), st.lists(PACKETS, min_size=1, max_size=8), st.data())
def test_what_the_edge_lets_into_a_slice_gets_its_treatment_on_every_switch(
    case: tuple[Fabric, VirtualNetwork], packets: list[dict[str, int]], data: st.DataObject
) -> None:
    fabric, vn = case
    entries = compile_vn(fabric, vn)
    at = data.draw(st.sampled_from([vn.endpoints[name] for name in sorted(vn.endpoints)]))
    for fields in packets:
        packet = {**fields, "eth_src": at.mac.value}
        flowspace = claimed_by(vn, packet, at)
        if flowspace is None or flowspace.treatment is Treatment.DENY:
            continue
        slice_ = vn.slices[flowspace.slice]
        if slice_.best_effort:
            continue
        for switch in {where for where, _ in forwards(entries, slice_)}:
            found = hit(entries[switch], slice_.key, packet)
            assert found is not None
            assert found.action == ACTIONS[flowspace.treatment]


@given(cases())
def test_compiling_does_not_depend_on_the_order_of_records(
    case: tuple[Fabric, VirtualNetwork],
) -> None:
    fabric, vn = case
    turned = dataclasses.replace(
        vn,
        slices=dict(reversed(vn.slices.items())),
        endpoints=dict(reversed(vn.endpoints.items())),
        flowspaces=dict(reversed(vn.flowspaces.items())),
    )
    backwards = Fabric(
        switches=dict(reversed(fabric.switches.items())),
        links=tuple(reversed(fabric.links)),
        peers=dict(reversed(fabric.peers.items())),
    )
    assert compile_vn(fabric, vn) == compile_vn(backwards, turned)


def test_vn_without_qos_slices_is_present_where_its_endpoints_are_and_has_no_entries() -> None:
    network = demo()
    vn = network.vns["red"]
    plain = dataclasses.replace(
        vn,
        slices={name: one for name, one in vn.slices.items() if one.best_effort},
        flowspaces={},
    )
    homes = {endpoint.port.switch for endpoint in vn.endpoints.values()}
    assert compile_vn(network.fabric, plain) == dict.fromkeys(homes, frozenset())


def test_packets_to_an_endpoint_behind_a_peer_are_demoted_above_all_flowspaces() -> None:
    network = demo()
    peer = Peer(
        name="ovs",
        vtep=IPv4Address("198.51.100.9"),
        port=PortRef("s4", 8),
        mac=Mac(0x020000000F09),
    )
    fabric = dataclasses.replace(network.fabric, peers={"ovs": peer})
    vn = network.vns["red"]
    behind = Endpoint(name="behind", mac=Mac(0x02000000AAAA), ips=(), peer="ovs")
    vn = dataclasses.replace(vn, endpoints={**vn.endpoints, "behind": behind})
    entries = compile_vn(fabric, vn)
    for slice_ in vn.slices.values():
        if slice_.best_effort:
            continue
        for found in entries.values():
            mine = [one for one in found if one.field("slice_id") == Exact(slice_.key)]
            if not mine:
                continue
            top = max((one for one in mine if one.table == "flow"), key=lambda one: one.priority)
            assert (top.action, top.field("eth_dst")) == (
                "demote",
                Ternary(0x02000000AAAA, 0xFFFF_FFFF_FFFF),
            )
            assert top.priority > 65000
            assert Exact(0x02000000AAAA) not in [one.field("eth_dst") for one in mine]


def flowspace_flows(entries: Entries) -> set[TableEntry]:
    """The `flow` entries that stand for flowspaces."""
    flows = {entry for found in entries.values() for entry in found if entry.table == "flow"}
    return {entry for entry in flows if entry.priority > CARRIED_PRIORITY}


def test_flowspace_to_the_controller_becomes_that_action() -> None:
    network = demo()
    vn = network.vns["red"]
    gold = next(one for one in vn.slices.values() if not one.best_effort)
    flowspace = Flowspace(
        name="look",
        priority=9,
        match=Match(ip_proto=6),
        slice=gold.name,
        treatment=Treatment.TO_CONTROLLER,
    )
    entries = compile_vn(network.fabric, dataclasses.replace(vn, flowspaces={"look": flowspace}))
    flows = flowspace_flows(entries)
    assert [(flow.action, flow.arg("cookie")) for flow in flows] == [
        ("to_controller", flowspace_cookie("red", "look"))
    ]


def test_endpoint_flowspace_is_narrowed_to_the_endpoints_mac() -> None:
    network = demo()
    vn = network.vns["red"]
    gold = next(one for one in vn.slices.values() if not one.best_effort)
    endpoint = next(iter(vn.endpoints.values()))
    flowspace = Flowspace(
        name="only", priority=9, match=Match(endpoint=endpoint.name), slice=gold.name
    )
    entries = compile_vn(network.fabric, dataclasses.replace(vn, flowspaces={"only": flowspace}))
    flows = flowspace_flows(entries)
    assert flows == {
        TableEntry(
            "flow",
            (
                ("slice_id", Exact(gold.key)),
                ("eth_src", Ternary(endpoint.mac.value, 0xFFFF_FFFF_FFFF)),
            ),
            9 + FLOWSPACE_PRIORITY,
            "permit",
            (("cookie", flowspace_cookie("red", "only")),),
        )
    }


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")], ids="-".join)
def test_of_two_equal_flowspaces_the_first_by_name_has_the_entry(order: tuple[str, str]) -> None:
    network = demo()
    vn = network.vns["red"]
    gold = next(one for one in vn.slices.values() if not one.best_effort)
    flowspaces = {
        name: Flowspace(name=name, priority=9, match=Match(ip_proto=6), slice=gold.name)
        for name in order
    }
    entries = compile_vn(network.fabric, dataclasses.replace(vn, flowspaces=flowspaces))
    flows = flowspace_flows(entries)
    assert [flow.arg("cookie") for flow in flows] == [flowspace_cookie("red", "a")]


@pytest.mark.parametrize(
    "broken",
    [
        lambda vn: dataclasses.replace(
            vn,
            endpoints={
                "x": dataclasses.replace(
                    next(iter(vn.endpoints.values())), name="x", port=PortRef("nowhere", 1)
                )
            },
        ),
        lambda vn: dataclasses.replace(
            vn,
            flowspaces={
                "f": Flowspace(
                    name="f",
                    priority=1,
                    match=Match(endpoint="nobody"),
                    slice=next(one.name for one in vn.slices.values() if not one.best_effort),
                )
            },
        ),
    ],
    ids=["switch", "endpoint"],
)
def test_dangling_reference_is_an_error(broken: object) -> None:
    network = demo()
    assert callable(broken)
    with pytest.raises(CompileError):
        compile_vn(network.fabric, broken(network.vns["red"]))
