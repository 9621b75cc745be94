"""Counters by number become records by name."""

from __future__ import annotations

from dfvisor.agent.desired import VnPlan, vn_plan
from dfvisor.agent.readings import drop_cells, legend, readings
from dfvisor.agent.site import look
from dfvisor.p4rt.cookies import flowspace_cookie
from dfvisor.p4rt.counters import CountedEntry, CounterValue
from dfvisor.p4rt.drops import DropReason, drop_cell
from dfvisor.p4rt.entries import Exact, TableEntry, Ternary
from dfvisor.store.stats import Counter, Drop

from .networks import MemoryNumbers, demo


def plans() -> dict[str, VnPlan]:
    network, numbers = demo(), MemoryNumbers()
    site = look(network.fabric, "s1")
    assert site is not None
    found = {name: vn_plan(site, vn, numbers) for name, vn in network.vns.items()}
    return {name: plan for name, plan in found.items() if plan is not None}


def read(entries: list[CountedEntry], drops: dict[int, CounterValue] | None = None):
    return readings("s1", 12.5, legend("s1", plans()), entries, drops or {})


def counted(entry: TableEntry, packets: int) -> CountedEntry:
    return CountedEntry(entry, CounterValue(packets, packets * 100))


def all_entries() -> list[TableEntry]:
    return [
        item
        for plan in plans().values()
        for item in plan.items
        if isinstance(item, TableEntry)
        and item.table in ("access_port", "classifier", "slice", "bridge")
    ]


def test_every_entry_of_a_plan_has_a_name() -> None:
    entries = all_entries()
    stats = read([counted(entry, 1) for entry in entries])
    assert sum(counter.packets for counter in stats.counters) == len(entries)
    assert all(counter.name for counter in stats.counters)
    kinds = {(counter.table, counter.kind) for counter in stats.counters}
    assert kinds == {
        ("access_port", "endpoint"),
        ("classifier", "flowspace"),
        ("classifier", "best-effort"),
        ("slice", "slice"),
        ("bridge", "endpoint"),
    }


def test_entries_of_one_flowspace_are_added_up() -> None:
    cookie = flowspace_cookie("red", "gold-tcp")
    gold = [
        entry
        for entry in all_entries()
        if entry.table == "classifier" and entry.arg("cookie") == cookie
    ]
    stats = read([counted(entry, 3) for entry in gold])
    assert stats.counters == (
        Counter(
            table="classifier",
            vn="red",
            kind="flowspace",
            name="gold-tcp",
            packets=6,
            bytes=600,
        ),
    )


def test_access_port_is_named_by_its_own_endpoint() -> None:
    """Endpoints at other switches may have the same port number."""
    network = demo()
    stats = read([counted(entry, 1) for entry in all_entries()])
    for counter in stats.counters:
        if counter.table == "access_port":
            end = network.vns[counter.vn].endpoints[counter.name]
            assert (end.port.switch, end.port.port) == ("s1", counter.port)
    assert {port.port for port in stats.ports} == {
        counter.port for counter in stats.counters if counter.table == "access_port"
    }


def test_flow_entries_are_named_by_cookie_and_slice() -> None:
    plan = plans()["red"]
    key = (("slice_id", Exact(plan.slices["gold"].slice_id)),)
    ours = TableEntry("flow", key, 5, "permit", (("cookie", flowspace_cookie("red", "gold-tcp")),))
    tenants = TableEntry("flow", key, 6, "permit", (("cookie", 0x99),))
    stats = read([counted(ours, 1), counted(tenants, 2)])
    assert {(c.vn, c.kind, c.name, c.packets) for c in stats.counters} == {
        ("red", "flowspace", "gold-tcp", 1),
        ("red", "flowspace", "cookie 0x99", 2),
    }


def test_forwarding_entries_are_named_by_endpoint() -> None:
    plan = plans()["red"]
    name, end = next(iter(plan.vn.endpoints.items()))
    key = (
        ("slice_id", Exact(plan.slices["gold"].slice_id)),
        ("path_class", Exact(0)),
        ("eth_dst", Exact(end.mac.value)),
    )
    entry = TableEntry("slice_forward", key, 0, "forward", (("next_hop", 1), ("cookie", 0)))
    (counter,) = read([counted(entry, 4)]).counters
    assert (counter.table, counter.kind, counter.name) == ("slice_forward", "endpoint", name)


def test_entry_of_an_unknown_slice_is_left_out() -> None:
    entry = TableEntry("flow", (("slice_id", Exact(4000)),), 5, "permit", (("cookie", 1),))
    assert read([counted(entry, 1)]).counters == ()


def test_drops_are_named_and_zeros_left_out() -> None:
    gold = plans()["red"].slices["gold"].slice_id
    cells = {
        drop_cell(0, DropReason.UNKNOWN_PORT): CounterValue(2, 0),
        drop_cell(gold, DropReason.NO_NEXT_HOP): CounterValue(3, 0),
        drop_cell(gold, DropReason.FLOW_MISS): CounterValue(0, 0),
    }
    assert read([], cells).drops == (
        Drop(vn="", slice="", reason="unknown_port", packets=2),
        Drop(vn="red", slice="gold", reason="no_next_hop", packets=3),
    )
    assert set(cells) <= set(drop_cells(plans()))


def test_vlans_of_one_port_are_added_up() -> None:
    (first, *_) = [entry for entry in all_entries() if entry.table == "access_port"]
    port = first.key[0][1].value
    other = TableEntry(
        "access_port",
        (("port", Exact(port)), ("vlan_tci", Ternary(0x1007, 0x1FFF))),
        2,
        first.action,
        first.args,
    )
    stats = read([counted(first, 2), counted(other, 3)])
    assert [(one.port, one.rx_packets, one.rx_bytes) for one in stats.ports] == [(port, 5, 500)]
