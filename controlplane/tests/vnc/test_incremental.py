"""The compiler follows changes: always what a full computation gives, and it says what changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest
from dfvisor.model.changes import changes
from dfvisor.model.records import Endpoint, Fabric, Flowspace, Link, Match, Slice, VirtualNetwork
from dfvisor.model.types import Mac, PortRef
from dfvisor.model.validate import validate
from dfvisor.p4rt.entries import EntryKey, TableEntry, entry_key
from dfvisor.vnc.compile import Compiler, Entries, Update, compile_vn
from dfvisor.vnc.flows import CARRIED_PRIORITY
from dfvisor.vnc.routing import Trees
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tests.agent.networks import demo

from .test_compile import MATCHES, cases, network_of

Held = dict[str, dict[EntryKey, TableEntry]]


def everything(compiler: Compiler) -> Held:
    """All entries, by switch and key."""
    return {
        switch: {entry_key(entry): entry for entry in compiler.entries(switch)}
        for switch in compiler.switches
    }


@st.composite
def changed_fabrics(draw: st.DrawFn, fabric: Fabric) -> Fabric:
    """The fabric with a link that costs more, has gone or is new; or as it was."""
    links = list(fabric.links)
    kind = draw(st.sampled_from(["same", "cost", "gone", "new"]))
    if kind in ("cost", "gone") and links:
        place = draw(st.integers(0, len(links) - 1))
        if kind == "cost":
            links[place] = dataclasses.replace(links[place], cost=draw(st.integers(1, 9)))
        else:
            del links[place]
    if kind == "new" and len(fabric.switches) > 1:
        a, b = draw(st.permutations(sorted(fabric.switches)))[:2]
        number = 400 + len(links)
        links.append(Link(a=PortRef(a, number), b=PortRef(b, number), cost=draw(st.integers(1, 9))))
    return dataclasses.replace(fabric, links=tuple(links))


@st.composite
def changed_vns(draw: st.DrawFn, fabric: Fabric, vn: VirtualNetwork) -> VirtualNetwork:
    """The VN with a few records that came, went, moved or differ."""
    slices, endpoints, flowspaces = dict(vn.slices), dict(vn.endpoints), dict(vn.flowspaces)
    qos = sorted(name for name, one in slices.items() if not one.best_effort)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(
            st.sampled_from(["flow", "move", "mac", "leave", "come", "slice", "avoid", "rekey"])
        )
        if kind == "flow":
            name = f"f{draw(st.integers(0, 6))}"
            at = sorted(one.name for one in endpoints.values() if one.port)
            flowspaces[name] = Flowspace(
                name=name,
                priority=draw(st.integers(1, 4)),
                match=msgspec.structs.replace(
                    draw(MATCHES), endpoint=draw(st.sampled_from([None, *at]))
                ),
                slice=draw(st.sampled_from(sorted(slices))),
            )
        elif kind in ("move", "mac", "leave") and endpoints:
            name = draw(st.sampled_from(sorted(endpoints)))
            one = endpoints[name]
            if kind == "leave":
                del endpoints[name]
            elif kind == "mac":
                endpoints[name] = dataclasses.replace(one, mac=Mac(draw(st.integers(2, 250))))
            elif one.port is not None:
                port = PortRef(draw(st.sampled_from(sorted(fabric.switches))), one.port.port)
                endpoints[name] = dataclasses.replace(one, port=port)
        elif kind == "come":
            name = f"n{draw(st.integers(0, 2))}"
            port = PortRef(draw(st.sampled_from(sorted(fabric.switches))), 200 + int(name[1:]))
            endpoints[name] = Endpoint(name=name, mac=Mac(0x500 + port.port), ips=(), port=port)
        elif kind == "slice":
            name = f"s{draw(st.integers(0, 1))}"
            if slices.pop(name, None) is None and "gold" in vn.profiles:
                slices[name] = Slice(name=name, key=90 + int(name[1:]), profile="gold")
        elif qos and (name := draw(st.sampled_from(qos))) in slices:
            avoid = (draw(st.sampled_from(sorted(fabric.switches))),)
            new = {"key": 80 + qos.index(name)} if kind == "rekey" else {"avoid": avoid}
            slices[name] = dataclasses.replace(slices[name], **new)  # type: ignore[arg-type]
    changed = dataclasses.replace(vn, slices=slices, endpoints=endpoints, flowspaces=flowspaces)
    return vn if validate(network_of(fabric, changed)) else changed


@given(cases(), st.data())
def test_following_changes_gives_what_a_full_computation_gives(
    case: tuple[Fabric, VirtualNetwork], data: st.DataObject
) -> None:
    fabric, vn = case
    trees = Trees(fabric)
    compiler = Compiler()
    compiler.update(trees, vn)
    held = everything(compiler)
    for _ in range(data.draw(st.integers(1, 4))):
        fabric = data.draw(changed_fabrics(trees.fabric))
        if validate(network_of(fabric, vn)):
            fabric = trees.fabric
        if fabric != trees.fabric:
            trees = Trees(fabric)
        changed = data.draw(changed_vns(fabric, vn))
        known = changes(vn, changed) if data.draw(st.booleans()) else None
        vn = changed
        update = compiler.update(trees, vn, known)
        wanted = compile_vn(fabric, vn, compiler.classes)
        _carry_out(compiler, update, held)
        if data.draw(st.booleans()):
            continue  # another change before this one is completed
        settle(compiler, held)
        assert not _differences(everything(compiler), wanted)
        assert not _differences(held, wanted)
    settle(compiler, held)
    assert not _differences(held, compile_vn(trees.fabric, vn, compiler.classes))


def settle(compiler: Compiler, held: Held | None = None) -> None:
    """Have all packets bear the newest path classes, and give up the others."""
    turning = compiler.turning
    for done in (compiler.stamp, compiler.retire):
        update = done(turning)
        assert update is not None
        if held is not None:
            _carry_out(compiler, update, held)
    assert not compiler.turning


def _differences(found: Held, wanted: Entries) -> list[str]:
    entries = {switch: frozenset(held.values()) for switch, held in found.items()}
    return [
        f"{switch}: {entry}"
        for switch in entries.keys() | wanted.keys()
        for entry in entries.get(switch, frozenset()) ^ wanted.get(switch, frozenset())
    ] + [f"{switch}: not on both sides" for switch in entries.keys() ^ wanted.keys()]


def _carry_out(compiler: Compiler, update: Update, held: Held) -> None:
    """What sessions do: look up the keys that are said to have changed, and no others."""
    for switch in held.keys() - compiler.switches:
        del held[switch]
    for switch in compiler.switches:
        found = held.setdefault(switch, {})
        for group in update.changed.get(switch, ()):
            for key in group:
                entry = compiler.entry(switch, key)
                if entry is None:
                    found.pop(key, None)
                else:
                    found[key] = entry


@given(cases(), st.data())
def test_an_entry_is_never_changed_under_a_packet_that_follows_it(
    case: tuple[Fabric, VirtualNetwork], data: st.DataObject
) -> None:
    """What a stamped packet meets on its way changes only by another path class."""
    fabric, vn = case
    trees = Trees(fabric)
    compiler = Compiler()
    compiler.update(trees, vn)
    before = everything(compiler)
    fabric = data.draw(changed_fabrics(fabric))
    if validate(network_of(fabric, vn)):
        fabric = trees.fabric
    compiler.update(Trees(fabric), data.draw(changed_vns(fabric, vn)))
    for switch, found in everything(compiler).items():
        for key, entry in found.items():
            carried = key.table == "flow" and key.number == CARRIED_PRIORITY
            if key.table == "slice_forward" or carried:
                assert before.get(switch, {}).get(key, entry) == entry


CHANGES: dict[str, Callable[[VirtualNetwork], VirtualNetwork]] = {
    "a flowspace's priority": lambda vn: dataclasses.replace(
        vn,
        flowspaces={
            **vn.flowspaces,
            "gold-tcp": msgspec.structs.replace(vn.flowspaces["gold-tcp"], priority=7),
        },
    ),
    "a new endpoint": lambda vn: dataclasses.replace(
        vn,
        endpoints={
            **vn.endpoints,
            "new": Endpoint(name="new", mac=Mac(0x0200000000FE), ips=(), port=PortRef("s2", 77)),
        },
    ),
    "a new flowspace": lambda vn: dataclasses.replace(
        vn,
        flowspaces={
            **vn.flowspaces,
            "new": Flowspace(name="new", priority=1, match=Match(ip_proto=47), slice="gold"),
        },
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_no_path_keeps_the_path_class_and_touches_its_own_entries(
    change: Callable[[VirtualNetwork], VirtualNetwork],
) -> None:
    network = demo()
    vn = network.vns["red"]
    trees = Trees(network.fabric)
    compiler = Compiler()
    compiler.update(trees, vn)
    before = everything(compiler)
    classes = compiler.classes
    update = compiler.update(trees, change(vn))
    assert not update.repathed and compiler.classes == classes
    assert update.changed
    for switch, after in everything(compiler).items():
        named = {key for group in update.changed.get(switch, ()) for key in group}
        differing = {
            key
            for key in before[switch].keys() | after.keys()
            if before[switch].get(key) != after.get(key)
        }
        assert differing == named


def test_moved_endpoint_takes_its_slices_to_another_path_class() -> None:
    network = demo()
    vn = network.vns["red"]
    compiler = Compiler({"gold": 0xFFF})
    compiler.update(Trees(network.fabric), vn)
    name, endpoint = next(iter(vn.endpoints.items()))
    assert endpoint.port is not None
    port = PortRef(endpoint.port.switch, 99)
    moved = {**vn.endpoints, name: dataclasses.replace(endpoint, port=port)}
    update = compiler.update(Trees(network.fabric), dataclasses.replace(vn, endpoints=moved))
    assert "gold" in update.repathed
    assert compiler.classes["gold"] == 1  # after the last comes the first
