"""What a switch should hold: the demo by hand, and any network by rule."""

from __future__ import annotations

import dataclasses

import msgspec
from dfvisor.agent.desired import VnPlan, fabric_items, vn_plan
from dfvisor.agent.edge import where
from dfvisor.agent.numbers import Kind
from dfvisor.agent.pipeline import P4INFO_NAME, default_directory
from dfvisor.agent.site import Site, look
from dfvisor.model.records import Match, Network, Treatment, VirtualNetwork
from dfvisor.model.types import Mac
from dfvisor.model.validate import validate
from dfvisor.p4rt.cookies import flowspace_cookie
from dfvisor.p4rt.entries import (
    CloneSession,
    Exact,
    Item,
    Member,
    Meter,
    MeterConfig,
    MulticastGroup,
    TableEntry,
    Ternary,
    by_key,
)
from dfvisor.p4rt.p4info import Schema
from hypothesis import given
from hypothesis import strategies as st

from .networks import MemoryNumbers, demo, fabrics, networks, vns

SCHEMA = Schema.load((default_directory() / P4INFO_NAME).read_text())


def site_of(network: Network, switch: str) -> Site:
    site = look(network.fabric, switch)
    assert site is not None
    return site


def planned(switch: str, name: str, **changes: object) -> tuple[VnPlan, MemoryNumbers]:
    network = demo()
    vn = dataclasses.replace(network.vns[name], **changes)
    numbers = MemoryNumbers()
    plan = vn_plan(site_of(network, switch), vn, numbers)
    assert plan is not None
    return plan, numbers


def entries(plan: VnPlan, table: str) -> list[TableEntry]:
    return [item for item in plan.items if isinstance(item, TableEntry) and item.table == table]


def everything(network: Network, switch: str) -> list[Item]:
    site, numbers = site_of(network, switch), MemoryNumbers()
    items = fabric_items(site, numbers)
    for vn in network.vns.values():
        plan = vn_plan(site, vn, numbers)
        items += plan.items if plan else ()
    return items


# -- any network


@given(networks())
def test_items_of_any_network_fit_the_program_and_refer_to_each_other(network: Network) -> None:
    assert validate(network) == []
    for switch in network.fabric.switches:
        items = everything(network, switch)
        assert len(by_key(items)) == len(items)  # nothing twice
        for item in items:
            assert SCHEMA.decode(SCHEMA.encode(item)) == item
        held: dict[str, set[int]] = {"group": set(), "slice_policy": set(), "next_hop": set()}
        replicas: set[int] = {0}
        metered: set[int] = {0}
        for item in items:
            if isinstance(item, MulticastGroup):
                held["group"].add(item.group_id)
            elif isinstance(item, Meter) and item.meter == "flow_meters":
                metered.add(item.index)
            elif isinstance(item, TableEntry):
                value = item.key[0][1].value if item.key else 0
                if item.table == "replica":
                    replicas.add(value)
                elif item.table in held:
                    held[item.table].add(value)
        for item in items:
            if isinstance(item, MulticastGroup):
                assert item.replicas  # an empty group cannot be written everywhere
                assert {rid for _, rid in item.replicas} <= replicas
            if not isinstance(item, TableEntry):
                continue
            if item.table == "underlay":
                assert len([one for one in item.members if one.watch_port is None]) == 1
                assert {one.arg("port") for one in item.members if one.action == "route_to"} <= (
                    site_of(network, switch).fabric_ports
                )
            for name, value in item.args:
                if name == "meter_id":
                    assert value in metered
                if name in ("slice_id", "best_effort_slice"):
                    assert value in held["slice_policy"]
                elif name in ("from_access", "from_fabric"):
                    assert value in held["group"]
                elif name == "next_hop":
                    assert value in held["next_hop"]


@given(networks())
def test_items_are_the_same_every_time(network: Network) -> None:
    for switch in network.fabric.switches:
        assert everything(network, switch) == everything(network, switch)


@given(networks())
def test_groups_reach_every_switch_of_the_vn_once(network: Network) -> None:
    for switch in network.fabric.switches:
        site, numbers = site_of(network, switch), MemoryNumbers()
        for vn in network.vns.values():
            plan = vn_plan(site, vn, numbers)
            if plan is None or not plan.access:
                continue
            groups = {
                numbers.name(Kind.GROUP, item.group_id): item.replicas
                for item in plan.items
                if isinstance(item, MulticastGroup)
            }
            local = groups[f"fabric/{vn.name}"]
            assert {port for port, _ in local} == plan.ports.keys()
            names = {rid: numbers.name(Kind.REPLICA, rid) for _, rid in local if rid}
            assert all(name.startswith(f"local/{vn.name}/") for name in names.values())
            assert groups[f"access/{vn.name}"] >= local
            reached = [
                numbers.name(Kind.REPLICA, rid) for _, rid in groups[f"access/{vn.name}"] - local
            ]
            homes = {where(endpoint) for endpoint in vn.endpoints.values()}
            assert sorted(reached) == sorted(homes - {switch})


@given(st.data())
def test_plan_made_from_an_earlier_one_is_the_same_as_a_new_one(data: st.DataObject) -> None:
    fabric = data.draw(fabrics())
    site = look(fabric, "s1")
    assert site is not None
    numbers = MemoryNumbers()
    before = vn_plan(site, data.draw(vns(fabric, 1)), numbers)
    vn = data.draw(vns(fabric, 1))
    assert vn_plan(site, vn, numbers, before) == vn_plan(site, vn, numbers)


# -- the demo


def route(port: int, switch: int, watch: bool = False) -> Member:
    args = (("port", port), ("mac", 0x02DF00000000 + switch), ("mtu", 1500))
    return Member("route_to", args, port if watch else None)


def test_fabric_of_the_demo_has_ports_peers_and_routes() -> None:
    items = fabric_items(site_of(demo(), "s1"), MemoryNumbers())
    held = [item for item in items if isinstance(item, TableEntry)]
    tables = {table: [item for item in held if item.table == table] for table in SCHEMA.tables}
    assert [entry.key for entry in tables["access_port"]] == [
        (("port", Exact(1)),),
        (("port", Exact(2)),),
    ]
    assert {entry.priority for entry in tables["access_port"]} == {1}
    assert {entry.action for entry in tables["access_port"]} == {"set_fabric"}
    assert [entry.key[0][1].value for entry in tables["vtep"]] == [0xC0000201]
    assert {entry.key[0][1].value for entry in tables["peer"]} == {
        0xC0000202,
        0xC0000203,
        0xC0000204,
    }
    assert {entry.key[0][1].value: entry.members for entry in tables["underlay"]} == {
        0xC0000202: (route(1, 2),),
        0xC0000203: (route(2, 3),),
        0xC0000204: (route(1, 2), route(2, 3, watch=True)),  # over s2 and s3 at equal cost
    }
    neighbours = [entry for entry in tables["next_hop"] if entry.action == "to_neighbour"]
    assert sorted(entry.arg("port") for entry in neighbours) == [1, 2]
    assert {entry.arg("mtu") for entry in neighbours} == {1500}
    (config,) = tables["switch_config"]
    assert config.is_default
    assert config.args == (("vtep", 0xC0000201), ("mac", 0x02DF00000001), ("hash_seed", 40503))
    assert [(entry.key, entry.args) for entry in tables["arp_responder"]] == [
        ((("vn", Exact(0)), ("target", Exact(0xC0000201))), (("mac", 0x02DF00000001),))
    ]
    assert CloneSession(1, frozenset({(510, 0)})) in items
    assert Meter("punt_meters", 0, MeterConfig(100, 10, 100, 10)) in items


def test_access_switch_has_port_classifier_and_slices() -> None:
    plan, _ = planned("s1", "red")
    ids = {name: info.slice_id for name, info in plan.slices.items()}
    (access,) = entries(plan, "access_port")
    port = access.key[0][1].value
    assert dict(access.args) == {
        "vn": plan.vn_id,
        "best_effort_slice": ids["default"],
        "vid": 0,
        "guarded": 0,
        "learning": 0,
    }
    assert {entry.key[0][1].value for entry in entries(plan, "slice")} == {
        slice_.key for slice_ in plan.vn.slices.values()
    }
    catch_all = [entry for entry in entries(plan, "classifier") if entry.priority == 1]
    assert [(entry.key, entry.args) for entry in catch_all] == [
        (
            (("vn", Exact(plan.vn_id)), ("port", Ternary(port, 511))),
            (("slice_id", ids["default"]), ("cookie", 0), ("meter_id", 0)),
        )
    ]
    gold = [
        entry
        for entry in entries(plan, "classifier")
        if entry.arg("cookie") == flowspace_cookie("red", "gold-tcp")
    ]
    assert {entry.arg("slice_id") for entry in gold} == {ids["gold"]}
    assert {entry.priority for entry in gold} == {101}
    assert len(gold) == 2  # both directions


def test_denied_flowspace_is_denied_at_the_edge() -> None:
    plan, _ = planned("s1", "red")
    (deny,) = [entry for entry in entries(plan, "classifier") if entry.priority == 201]
    assert deny.action == "classify_deny"
    assert deny.args == (("cookie", flowspace_cookie("red", "no-telnet")),)


def test_demoted_flowspace_is_classified_into_its_own_slice() -> None:
    red = demo().vns["red"]
    flowspace = msgspec.structs.replace(red.flowspaces["gold-tcp"], treatment=Treatment.DEMOTE)
    plan, _ = planned("s1", "red", flowspaces={"gold-tcp": flowspace})
    found = [entry for entry in entries(plan, "classifier") if entry.priority == 101]
    assert {entry.arg("slice_id") for entry in found} == {plan.slices["gold"].slice_id}


def with_endpoint(vn: VirtualNetwork, endpoint: str) -> dict[str, object]:
    flowspace = vn.flowspaces["gold-tcp"]
    match = msgspec.structs.replace(flowspace.match, endpoint=endpoint)
    return {
        "gold-tcp": msgspec.structs.replace(flowspace, match=match, bidirectional=False),
    }


def test_flowspace_of_an_endpoint_is_bound_to_its_port() -> None:
    red = demo().vns["red"]
    local = next(name for name, end in red.endpoints.items() if end.port.switch == "s1")
    plan, _ = planned("s1", "red", flowspaces=with_endpoint(red, local))
    (found,) = [entry for entry in entries(plan, "classifier") if entry.priority == 101]
    assert found.field("port") == Ternary(red.endpoints[local].port.port, 511)


def test_flowspace_of_an_endpoint_elsewhere_is_not_here() -> None:
    red = demo().vns["red"]
    remote = next(name for name, end in red.endpoints.items() if end.port.switch != "s1")
    plan, _ = planned("s1", "red", flowspaces=with_endpoint(red, remote))
    assert [entry.priority for entry in entries(plan, "classifier")] == [1]


def test_flowspace_of_an_endpoint_that_moves_is_planned_again() -> None:
    network, numbers = demo(), MemoryNumbers()
    site, red = site_of(network, "s1"), network.vns["red"]
    name = next(name for name, end in red.endpoints.items() if end.port.switch == "s1")
    red = dataclasses.replace(red, flowspaces=with_endpoint(red, name))
    end = red.endpoints[name]
    moved = dataclasses.replace(end, port=dataclasses.replace(end.port, port=300))
    after = dataclasses.replace(red, endpoints={**red.endpoints, name: moved})
    plan = vn_plan(site, after, numbers, vn_plan(site, red, numbers))
    assert plan is not None
    (found,) = [entry for entry in entries(plan, "classifier") if entry.priority == 101]
    assert found.field("port") == Ternary(300, 511)


def test_two_flowspaces_of_one_match_make_one_entry() -> None:
    red = demo().vns["red"]
    first = msgspec.structs.replace(red.flowspaces["gold-tcp"], match=Match(), bidirectional=False)
    second = msgspec.structs.replace(first, name="again")
    plan, _ = planned("s1", "red", flowspaces={"gold-tcp": first, "again": second})
    (found,) = [entry for entry in entries(plan, "classifier") if entry.priority == 101]
    assert found.arg("cookie") == flowspace_cookie("red", "again")  # the first by name


def test_slice_policy_has_profile_and_best_effort() -> None:
    plan, _ = planned("s1", "red")
    found = {entry.key[0][1].value: dict(entry.args) for entry in entries(plan, "slice_policy")}
    default, gold = plan.slices["default"], plan.slices["gold"]
    assert found[gold.slice_id] == {
        "gre_key": gold.key,
        "qos_level": 1,
        "miss_policy": 1,
        "queue": 6,
        "dscp": 46,
        "best_effort_slice": default.slice_id,
        "best_effort_key": default.key,
        "dscp_yellow": 46,
    }
    assert found[default.slice_id]["qos_level"] == 0


def test_bridge_is_local_or_remote_by_endpoint() -> None:
    plan, numbers = planned("s1", "red")
    for found in entries(plan, "bridge"):
        mac = Mac(found.key[1][1].value)
        (end,) = [one for one in plan.vn.endpoints.values() if one.mac == mac]
        hop = numbers.name(Kind.NEXT_HOP, found.arg("next_hop"))
        if end.port.switch == "s1":
            assert (found.action, hop) == ("bridge_local", f"local/red/{end.port.port}")
        else:
            assert (found.action, hop) == ("bridge_remote", f"vtep/{end.port.switch}")
    assert len(entries(plan, "bridge")) == len(plan.vn.endpoints)


def transit_vn() -> tuple[Network, str, str]:
    """A VN with a slice forced through a switch where it has no endpoint."""
    network = demo()
    green = network.vns["green"]
    homes = sorted({end.port.switch for end in green.endpoints.values()})
    others = sorted(network.fabric.switches.keys() - homes)
    gold = dataclasses.replace(
        network.vns["red"].slices["gold"], key=99, avoid=(others[1],), name="gold"
    )
    vn = dataclasses.replace(
        green,
        profiles=network.vns["red"].profiles,
        slices={**green.slices, "gold": gold},
    )
    network = dataclasses.replace(network, vns={**network.vns, "green": vn})
    return network, others[0], others[1]


def test_transit_switch_of_a_slice_knows_slice_and_endpoints_but_no_edge() -> None:
    network, through, around = transit_vn()
    assert validate(network) == []
    plan = vn_plan(site_of(network, through), network.vns["green"], MemoryNumbers())
    assert plan is not None and not plan.access
    assert [entry.key[0][1].value for entry in entries(plan, "slice")] == [99]
    assert set(plan.slices) == {"default", "gold"}  # what is demoted here goes on
    assert len(entries(plan, "bridge")) == 2
    assert entries(plan, "classifier") == entries(plan, "flood") == []
    assert vn_plan(site_of(network, around), network.vns["green"], MemoryNumbers()) is None


def test_best_effort_in_transit_leaves_no_trace() -> None:
    network = demo()
    present = {
        switch
        for switch in network.fabric.switches
        if vn_plan(site_of(network, switch), network.vns["green"], MemoryNumbers())
    }
    assert present == {end.port.switch for end in network.vns["green"].endpoints.values()}
