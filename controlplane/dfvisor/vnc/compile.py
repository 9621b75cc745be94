"""From a VN's records to the entries of `flow` and `slice_forward` on every switch: pure.

Entries are those of role `vn/<vn>`: field `slice_id` is the slice's GRE key, next hops are virtual
(`p4rt.ports.NEIGHBOUR`). The same input gives the same entries, so their difference to what a
switch holds is what there is to do.

A QoS slice is known to the switches with an endpoint of the VN, and to those on a path between two
of them. On each of these:

- `flow`: what the slice's flowspaces let in. Denied packets never enter a slice: that is for the
  edge. A flowspace for one endpoint is narrowed to that endpoint's MAC, because inside the fabric
  there is no access port to look at.
- `slice_forward`: for every endpoint's MAC the next switch on the tree rooted at the endpoint's
  switch (`model.paths`), and on that switch the endpoint's port. All on path class 0.

A foreign peer is reached by best effort alone: it knows nothing of flow switching, and perhaps only
one key. So packets to an endpoint behind one are demoted, above all flowspaces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from dfvisor.errors import DFVisorError
from dfvisor.model.paths import Hop, next_hops
from dfvisor.model.records import (
    Fabric,
    Flowspace,
    Match,
    Slice,
    Treatment,
    VirtualNetwork,
)
from dfvisor.model.ternary import WIDTHS, expand
from dfvisor.model.types import PortRef
from dfvisor.p4rt.cookies import NO_FLOWSPACE, flowspace_cookie
from dfvisor.p4rt.entries import Exact, FieldMatch, Key, TableEntry, Ternary
from dfvisor.p4rt.ports import NEIGHBOUR
from dfvisor.slicer.view import SLICE_ID

PATH_CLASS = 0

_ACTIONS = {
    Treatment.PERMIT: "permit",
    Treatment.DEMOTE: "demote",
    Treatment.TO_CONTROLLER: "to_controller",
}
FOREIGN_PRIORITY = 65535  # above that of every flowspace

Entries = dict[str, frozenset[TableEntry]]
"""Entries by switch. A switch with none is there too if the VN is present on it."""


class CompileError(DFVisorError):
    """Records that contradict each other; validation would have refused them."""


class Memo:
    """What flowspaces of one VN compiled to the last time: saves doing again what has not changed.

    The result is the same without it.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, str], tuple[Flowspace, Match, tuple[TableEntry, ...]]] = {}

    def flows(self, vn: VirtualNetwork, key: int, flowspace: Flowspace) -> tuple[TableEntry, ...]:
        """The `flow` entries of a flowspace of the slice with this GRE key."""
        match = _inside(vn, flowspace)
        held = self._held.get((key, flowspace.name))
        if held is not None and held[0] == flowspace and held[1] == match:
            return held[2]
        entries = tuple(_flowspace_flows(vn, key, flowspace, match))
        self._held[key, flowspace.name] = (flowspace, match, entries)
        return entries

    def forget(self, vn: VirtualNetwork) -> None:
        """Let go of what the VN no longer has."""
        keys = {slice_.key for slice_ in vn.slices.values()}
        for key, name in list(self._held):
            if key not in keys or name not in vn.flowspaces:
                del self._held[key, name]


def compile_vn(fabric: Fabric, vn: VirtualNetwork, memo: Memo | None = None) -> Entries:
    """The entries of every switch that the VN is present on; CompileError if there can be none.

    A caller that compiles a VN again and again keeps its `memo`.
    """
    memo = memo or Memo()
    memo.forget(vn)
    for endpoint in vn.endpoints.values():
        if fabric.home(endpoint) is None:
            place = endpoint.peer if endpoint.port is None else endpoint.port.switch
            raise CompileError(
                f"virtual network {vn.name}: endpoint {endpoint.name} is at {place}, "
                f"which the fabric does not have"
            )
    homes = frozenset(
        home for endpoint in vn.endpoints.values() if (home := fabric.home(endpoint)) is not None
    )
    found: dict[str, set[TableEntry]] = {switch: set() for switch in homes}
    for slice_ in vn.slices.values():
        if slice_.best_effort:
            continue
        trees = {home: next_hops(fabric, home, slice_.avoid) for home in sorted(homes)}
        flows = _flows(vn, slice_, memo)
        for switch in slice_switches(trees):
            entries = found.setdefault(switch, set())
            entries.update(flows)
            entries.update(_forwards(fabric, vn, slice_, trees, switch))
    return {switch: frozenset(entries) for switch, entries in found.items()}


def slice_switches(trees: dict[str, dict[str, Hop]]) -> frozenset[str]:
    """The switches on the paths between the roots of these trees, the roots among them."""
    reached: set[str] = set(trees)
    for destination, tree in trees.items():
        for source in trees:
            at = source
            while at != destination and at in tree:
                at = tree[at].neighbour
                reached.add(at)
    return frozenset(reached)


def _forwards(
    fabric: Fabric,
    vn: VirtualNetwork,
    slice_: Slice,
    trees: dict[str, dict[str, Hop]],
    switch: str,
) -> Iterable[TableEntry]:
    for endpoint in vn.endpoints.values():
        if endpoint.port is None:
            continue
        next_hop = _next_hop(fabric, endpoint.port, trees[endpoint.port.switch], switch)
        if next_hop is not None:
            key: Key = (
                (SLICE_ID, Exact(slice_.key)),
                ("path_class", Exact(PATH_CLASS)),
                ("eth_dst", Exact(endpoint.mac.value)),
            )
            args = (("next_hop", next_hop), ("cookie", NO_FLOWSPACE))
            yield TableEntry("slice_forward", key, 0, "forward", args)


def _next_hop(fabric: Fabric, port: PortRef, tree: dict[str, Hop], switch: str) -> int | None:
    """The virtual next hop towards an access port; None where no path leads from the switch."""
    if port.switch == switch:
        return port.port
    hop = tree.get(switch)
    return None if hop is None else NEIGHBOUR + fabric.switches[hop.neighbour].device_id


def _flows(vn: VirtualNetwork, slice_: Slice, memo: Memo) -> frozenset[TableEntry]:
    """The slice's `flow` entries, the same on all its switches."""
    found: dict[tuple[Key, int], TableEntry] = {}
    for flowspace in sorted(vn.flowspaces.values(), key=lambda one: one.name):
        if flowspace.slice == slice_.name and flowspace.treatment in _ACTIONS:
            for entry in memo.flows(vn, slice_.key, flowspace):
                # of two with the same match and priority, the first flowspace by name has the entry
                found.setdefault((entry.key, entry.priority), entry)
    return frozenset(found.values()) | frozenset(_foreign_flows(vn, slice_))


def _foreign_flows(vn: VirtualNetwork, slice_: Slice) -> Iterable[TableEntry]:
    for endpoint in vn.endpoints.values():
        if endpoint.peer is not None:
            key: Key = (
                (SLICE_ID, Exact(slice_.key)),
                ("eth_dst", Ternary(endpoint.mac.value, (1 << WIDTHS["eth_dst"]) - 1)),
            )
            args = (("cookie", NO_FLOWSPACE),)
            yield TableEntry("flow", key, FOREIGN_PRIORITY, "demote", args)


def _flowspace_flows(
    vn: VirtualNetwork, gre_key: int, flowspace: Flowspace, match: Match
) -> Iterable[TableEntry]:
    args = (("cookie", flowspace_cookie(vn.name, flowspace.name)),)
    action = _ACTIONS[flowspace.treatment]
    for one in expand(match, bidirectional=flowspace.bidirectional):
        key: tuple[tuple[str, FieldMatch], ...] = ((SLICE_ID, Exact(gre_key)),)
        key += tuple((name, Ternary(*one.fields[name])) for name in WIDTHS if name in one.fields)
        yield TableEntry("flow", key, flowspace.priority, action, args)


def _inside(vn: VirtualNetwork, flowspace: Flowspace) -> Match:
    """The flowspace's match as it can be told inside the fabric."""
    match = flowspace.match
    if match.endpoint is None or match.eth_src is not None:
        return match
    endpoint = vn.endpoints.get(match.endpoint)
    if endpoint is None:
        raise CompileError(
            f"virtual network {vn.name}: flowspace {flowspace.name} names endpoint "
            f"{match.endpoint}, which does not exist"
        )
    return dataclasses.replace(match, eth_src=endpoint.mac)
