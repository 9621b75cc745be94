"""From a VN's records to the entries of its slices' tables on every switch: pure.

Entries are those of role `vn/<vn>`: field `slice_id` is the slice's GRE key, next hops are virtual
(`p4rt.ports.NEIGHBOUR`). The same records, trees and path classes give the same entries, whatever
was computed before; that only saves work. So the difference to what a switch holds is what there is
to do.

A QoS slice is known to the switches with an endpoint of the VN, and to those on a path between two
of them. On each of these:

- `flow` (flows.py): what the slice's flowspaces let in. Denied packets never enter a slice: that is
  for the edge.
- `slice_path`: the path class of what enters, one entry for the slice.
- `slice_forward` (slices.py): for every endpoint's MAC the next switch on the tree rooted at the
  endpoint's switch (`model.paths`), and on that switch the endpoint's port. All on the slice's path
  class, so that packets under way follow either the old paths or the new ones: when a path changes,
  the slice takes another class, and the former one's forwarding stays until it is retired. A new
  endpoint changes no path.

So once nothing is `turning`, the entries do not depend on what was before but for the numbers of
the path classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dfvisor.model.changes import Changed, changes, everything
from dfvisor.model.named import content
from dfvisor.model.records import Fabric, Flowspace, Match, Slice, VirtualNetwork
from dfvisor.p4rt.entries import EntryKey, Exact, TableEntry
from dfvisor.vnc.batches import Batch
from dfvisor.vnc.flows import FLOW_TREATMENTS, CompileError, inside
from dfvisor.vnc.places import Places
from dfvisor.vnc.routing import Routing, Trees, route
from dfvisor.vnc.slices import FIRST_CLASS, Keys, QosSlice, Work

__all__ = ["CompileError", "Compiler", "Entries", "SwitchEntries", "Update", "compile_vn"]

BULK = 250
"""So many flowspaces are looked at at once."""

Entries = dict[str, frozenset[TableEntry]]
"""Entries by switch. A switch with none is there too if the VN is present on it."""


@dataclass(frozen=True, slots=True)
class Update:
    """By switch the keys of entries that came, went or differ (and perhaps of others), in groups.
    `repathed` are the slices that have to take another path class.
    """

    changed: Mapping[str, Collection[Keys]] = field(default_factory=dict)
    repathed: frozenset[str] = frozenset()


def compile_vn(
    fabric: Fabric, vn: VirtualNetwork, classes: Mapping[str, int] | None = None
) -> Entries:
    """The entries of every switch that the VN is present on; CompileError if there can be none.

    `classes` are the path classes of slices; the others have the first.
    """
    compiler = Compiler(classes)
    compiler.update(Trees(fabric), vn)
    return {switch: frozenset(compiler.entries(switch)) for switch in compiler.switches}


class Compiler:
    """The entries of one VN; `update` it with every change.

    `classes` are path classes that slices have already.
    """

    def __init__(self, classes: Mapping[str, int] | None = None) -> None:
        self._classes = dict(classes or {})
        self._trees: Trees | None = None
        self._vn: VirtualNetwork | None = None
        self._places = Places()
        self._left_out: frozenset[str] = frozenset()
        self._entrances: dict[str, str] = {}  # flowspace -> the one endpoint where it enters
        self._bound: dict[str, set[str]] = {}  # the other way round
        self._routings: dict[frozenset[str], Routing] = {}
        self._slices: dict[str, QosSlice] = {}
        self._by_key: dict[int, QosSlice] = {}

    @property
    def switches(self) -> frozenset[str]:
        """Where the VN is present."""
        return self._places.homes.union(*(one.switches for one in self._slices.values()))

    @property
    def newest(self) -> frozenset[str]:
        """The same without those on former ways only."""
        ways = (one.routing.switches for one in self._slices.values())
        return self._places.homes.union(*ways)

    @property
    def homes(self) -> frozenset[str]:
        """Where packets of the VN enter and leave the fabric."""
        return self._places.homes

    @property
    def classes(self) -> dict[str, int]:
        """The newest path classes of the QoS slices."""
        return {name: one.path_class for name, one in self._slices.items()}

    @property
    def turning(self) -> frozenset[str]:
        """The slices whose packets bear a former path class, or may."""
        return frozenset(name for name, one in self._slices.items() if one.turning)

    def slice(self, name: str) -> QosSlice:
        """A QoS slice; not to be changed."""
        return self._slices[name]

    def avoided(self, name: str) -> tuple[str, ...]:
        """The switches that a slice's paths avoid."""
        return () if self._vn is None else self._vn.slices[name].avoid

    @property
    def slices(self) -> dict[str, int]:
        """GRE keys of the QoS slices."""
        return {name: one.gre_key for name, one in self._slices.items()}

    def entry(self, switch: str, key: EntryKey) -> TableEntry | None:
        """The entry of this key that the switch is to hold."""
        gre_key = key.fields[0][1]
        held = self._by_key.get(gre_key.value) if isinstance(gre_key, Exact) else None
        if held is None or switch not in held.switches:
            return None
        return held.entry(switch, key)

    def entries(self, switch: str) -> list[TableEntry]:
        """All entries that the switch is to hold."""
        found: list[TableEntry] = []
        for held in self._slices.values():
            if switch in held.switches:
                found += held.entries(switch)
        return found

    def wanted(
        self, switch: str, keys: Iterable[EntryKey]
    ) -> Iterator[tuple[EntryKey, TableEntry | None]]:
        """The entries of these keys that the switch is to hold, but of those that are to be left as
        they are, on all switches.
        """
        turning = any(held.turning for held in self._by_key.values())  # else nothing is left alone
        here = self.gre_keys(switch)
        for key in keys:
            gre_key = key.fields[0][1].value
            held = self._by_key.get(gre_key)
            if turning and held is not None and held.keeps(key):
                continue
            if held is None or gre_key not in here:
                yield key, None
            elif key.table == "flow":
                yield key, held.flows.entries.get(key)
            else:
                yield key, held.entry(switch, key)

    def gre_keys(self, switch: str) -> frozenset[int]:
        """Of the slices that the switch carries."""
        return frozenset(key for key, held in self._by_key.items() if switch in held.switches)

    def holds(self, switch: str, batch: Batch) -> bool:
        """Whether the switch is surely to hold the entries of a batch as they are there."""
        held = self._by_key.get(batch.gre_key)
        return held is not None and switch in held.switches and held.flows.holds(batch)

    # -- changes

    def update(
        self,
        trees: Trees,
        vn: VirtualNetwork,
        changed: Changed | None = None,
        left_out: Collection[str] = (),
    ) -> Update:
        """Follow the records; CompileError, and nothing changed, if they contradict each other.

        `changed` is what differs, at most, from the VN of the last update; without it all records
        are compared. Slices that are `left_out` have other controllers.
        """
        if self._vn is None:
            changed = everything(vn)
        elif changed is None:
            changed = changes(self._vn, vn)
        new_trees = trees is not self._trees
        flowspaces = frozenset(changed.flowspaces).union(
            *(self._bound.get(name, ()) for name in changed.endpoints)
        )
        _check(trees.fabric, vn, vn.endpoints if new_trees else changed.endpoints, flowspaces)
        homes = self._places.homes
        endpoints = changed.endpoints
        if new_trees:  # the switch of a peer's port may be another
            endpoints |= {name for name, one in vn.endpoints.items() if one.peer is not None}
        before = self._places.follow(trees.fabric, vn, endpoints)
        self._trees, self._vn = trees, vn
        work = Work()
        slices = bool(changed.slices) or self._left_out != frozenset(left_out)
        self._left_out = frozenset(left_out)
        joining = self._follow_slices(vn, before, work) if slices else set()
        if new_trees or homes != self._places.homes:
            self._routings.clear()
        if new_trees or before or slices:
            for name, held in self._slices.items():
                held.follow(self._routing(trees, vn.slices[name].avoid), before, work)
        self._follow_flowspaces(vn, flowspaces, joining, work)
        for held in self._slices.values():
            held.welcome(work)
        return Update(work.changed, frozenset(work.repathed))

    def adopt(self, name: str, path_class: int, others: Collection[int] = ()) -> None:
        """Have a slice bear this path class, as if it had always done; what there is of others is
        left alone, because some switch may have packets take them.
        """
        self._slices[name].adopt(path_class, others)

    def stamp(self, names: Iterable[str]) -> Update:
        """Have the packets of slices take their newest path classes."""
        work = Work()
        for name in names:
            self._slices[name].stamp(work)
        return Update(work.changed)

    def retire(self, names: Iterable[str]) -> Update | None:
        """Nothing bears the former path classes of these slices any more. None: all that there is
        has to be looked at.
        """
        work = Work()
        known = [self._slices[name].retire(work) for name in names]
        return Update(work.changed) if all(known) else None

    def conflicts(self, held: Mapping[str, Mapping[EntryKey, TableEntry]]) -> list[str]:
        """Slices whose path class leads packets another way on the switches that hold these entries
        than it should.
        """
        return [
            name
            for name, one in self._slices.items()
            if any(one.conflicts(switch, found) for switch, found in held.items())
        ]

    def repath(self, name: str) -> Update:
        """Have a slice take another path class, although no path has changed."""
        work = Work()
        self._slices[name].repath(work)
        return Update(work.changed, frozenset(work.repathed))

    def _routing(self, trees: Trees, avoid: Collection[str]) -> Routing:
        question = frozenset(avoid)
        held = self._routings.get(question)
        if held is None:
            held = self._routings[question] = route(trees, self._places.homes, question)
        return held

    def _follow_slices(self, vn: VirtualNetwork, left: Iterable[int], work: Work) -> set[str]:
        """Take away and make QoS slices; returns the new ones. `left`: MACs that have left."""
        made: set[str] = set()
        for name, held in list(self._slices.items()):
            slice_ = vn.slices.get(name)
            ours = slice_ is not None and self._ours(slice_)
            if slice_ is None or not ours or slice_.key != held.gre_key:
                work.add(held.switches, held.keys(left))
                self._classes[name] = held.path_class
                del self._slices[name], self._by_key[held.gre_key]
        for name, slice_ in vn.slices.items():
            if self._ours(slice_) and name not in self._slices:
                path_class = self._classes.get(name, FIRST_CLASS)
                held = QosSlice(vn.name, name, slice_.key, path_class, self._places)
                for mac in self._places.foreign:
                    held.flows.demote(mac, True)
                self._slices[name] = self._by_key[slice_.key] = held
                made.add(name)
        return made

    def _ours(self, slice_: Slice) -> bool:
        if slice_.best_effort or slice_.disabled:
            return False
        return slice_.name not in self._left_out

    def _follow_flowspaces(
        self, vn: VirtualNetwork, names: Collection[str], joining: set[str], work: Work
    ) -> None:
        """Look at these flowspaces again, and at all of slices that are new."""
        new: dict[str, list[tuple[Flowspace, Match]]] = {}
        if len(names) >= BULK:
            names, new = self._sort_out(vn, frozenset(names))
        found: dict[str, set[EntryKey]] = {held: set() for held in self._slices}
        for name in names:
            flowspace = vn.flowspaces.get(name)
            self._bind(name, None if flowspace is None else flowspace.match.endpoint)
            for held in self._slices.values():
                if flowspace is not None and _enters(held.name, flowspace):
                    found[held.name] |= held.flows.put(flowspace, inside(vn, flowspace))
                else:
                    found[held.name] |= held.flows.drop(name)
        for held in self._slices.values():
            work.add(held.switches, found[held.name])
        for slice_name, flowspaces in new.items():
            held = self._slices[slice_name]
            work.add(held.switches, held.flows.add(flowspaces))
        for slice_name in joining:
            held = self._slices[slice_name]
            for flowspace in vn.flowspaces.values():
                if _enters(slice_name, flowspace):
                    held.flows.put(flowspace, inside(vn, flowspace))

    def _sort_out(
        self, vn: VirtualNetwork, names: frozenset[str]
    ) -> tuple[frozenset[str], dict[str, list[tuple[Flowspace, Match]]]]:
        """Of these flowspaces, those to be looked at one by one; and by slice those that are in no
        slice yet, with their matches.
        """
        known = {name for held in self._slices.values() for name in held.flows.flowspaces & names}
        new: dict[str, list[tuple[Flowspace, Match]]] = {name: [] for name in self._slices}
        left = known | (names - vn.flowspaces.keys())
        for name, flowspace in content(vn.flowspaces).items():  # as they lie in memory
            if name not in names or name in known:
                continue
            if flowspace.match.endpoint is not None or name in self._entrances:
                left.add(name)
            elif flowspace.slice in new and flowspace.treatment in FLOW_TREATMENTS:
                new[flowspace.slice].append((flowspace, flowspace.match))
        return frozenset(left), new

    def _bind(self, flowspace: str, endpoint: str | None) -> None:
        before = self._entrances.pop(flowspace, None)
        if before is not None:
            self._bound[before].discard(flowspace)
            if not self._bound[before]:
                del self._bound[before]
        if endpoint is not None:
            self._entrances[flowspace] = endpoint
            self._bound.setdefault(endpoint, set()).add(flowspace)


def _enters(slice_name: str, flowspace: Flowspace) -> bool:
    return flowspace.slice == slice_name and flowspace.treatment in FLOW_TREATMENTS


def _check(
    fabric: Fabric, vn: VirtualNetwork, endpoints: Iterable[str], flowspaces: Iterable[str]
) -> None:
    for name in endpoints:
        endpoint = vn.endpoints.get(name)
        if endpoint is not None and fabric.home(endpoint) is None:
            place = endpoint.peer if endpoint.port is None else endpoint.port.switch
            raise CompileError(
                f"virtual network {vn.name}: endpoint {endpoint.name} is at {place}, "
                f"which the fabric does not have"
            )
    known = content(vn.flowspaces)
    for name in flowspaces:
        flowspace = known.get(name)
        if flowspace is not None and flowspace.match.endpoint is not None:
            inside(vn, flowspace)


class SwitchEntries:
    """What one switch is to hold, as of the compiler's last update."""

    def __init__(self, compiler: Compiler, switch: str) -> None:
        self._compiler = compiler
        self._switch = switch

    def wanted(self, keys: Iterable[EntryKey]) -> Iterator[tuple[EntryKey, TableEntry | None]]:
        return self._compiler.wanted(self._switch, keys)

    def holds(self, batch: Batch) -> bool:
        return self._compiler.holds(self._switch, batch)

    def entries(self) -> Iterable[TableEntry]:
        return self._compiler.entries(self._switch)

    def gre_keys(self) -> frozenset[int]:
        return self._compiler.gre_keys(self._switch)
