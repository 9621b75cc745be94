"""The entries of one QoS slice on all its switches: pure bookkeeping.

When its paths change, the slice takes another path class, and its forwarding is there on both: on
the new one, and on the former ones as they were, until nobody stamps those any more. `stamp` has
packets take the newest class, `retire` takes the former ones away; when that is, the leader knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dfvisor.model.types import PortRef
from dfvisor.p4rt.cookies import NO_FLOWSPACE
from dfvisor.p4rt.entries import EntryKey, Exact, TableEntry, entry_key
from dfvisor.slicer.view import SLICE_ID
from dfvisor.vnc.flows import CARRIED_PRIORITY, Flows, stamp
from dfvisor.vnc.places import Places
from dfvisor.vnc.routing import Routing, Tree, rerouted

FIRST_CLASS, LAST_CLASS = 1, 0xFFF

NO_TREE: Tree = {}

Keys = Iterable[EntryKey]


def next_class(held: int) -> int:
    """The path class after this one."""
    return held + 1 if held < LAST_CLASS else FIRST_CLASS


@dataclass(slots=True)
class Work:
    """By switch, the keys of entries that came, went or differ (and perhaps others), in groups;
    and the slices that have to take another path class.
    """

    changed: dict[str, list[Keys]] = field(default_factory=dict)
    repathed: set[str] = field(default_factory=set)

    def add(self, switches: Iterable[str], keys: Keys) -> None:
        if keys:
            for switch in switches:
                self.changed.setdefault(switch, []).append(keys)


@dataclass(slots=True)
class Way:
    """What packets of one path class follow: the routing, and the access port of each MAC."""

    routing: Routing
    ports: Mapping[int, PortRef]

    def next_hop(self, switch: str, mac: int) -> int | None:
        """The virtual next hop of frames to a MAC; None where no path leads there."""
        port = self.ports.get(mac)
        if port is None:
            return None
        if port.switch == switch:
            return port.port
        hop = self.routing.trees.get(port.switch, NO_TREE).get(switch)
        return None if hop is None else hop[1]


class QosSlice:
    """`places` are those of the VN, shared with its other slices."""

    def __init__(self, vn: str, name: str, gre_key: int, path_class: int, places: Places) -> None:
        self.name = name
        self.gre_key = gre_key
        self.path_class = path_class
        self.stamped = path_class
        self.flows = Flows(vn, gre_key)
        self.flows.carry(path_class, True)
        self._places = places
        self._ways = {path_class: Way(Routing(), places.ports)}
        self._frozen: set[int] = set()  # former classes whose forwarding is left as it is
        self._switches: frozenset[str] = frozenset()
        self._path: TableEntry | None = None
        self._made: dict[tuple[int, int, int], TableEntry] = {}
        self._joined: frozenset[str] = frozenset()  # switches that have yet to get everything

    # -- what is there

    @property
    def switches(self) -> frozenset[str]:
        """Those on the ways of all path classes."""
        return self._switches

    @property
    def routing(self) -> Routing:
        """The newest."""
        return self._ways[self.path_class].routing

    @property
    def turning(self) -> bool:
        """Whether there is forwarding on former path classes too."""
        return len(self._ways) > 1 or bool(self._frozen)

    @property
    def stamped_way(self) -> Way | None:
        """What packets follow that enter now; None: whatever is there."""
        return self._ways.get(self.stamped)

    @property
    def ways_lost(self) -> bool:
        """Whether a host of now is not reached by what packets follow that enter now."""
        way = self._ways.get(self.stamped)
        return way is None or any(mac not in way.ports for mac in self._places.ports)

    def keeps(self, key: EntryKey) -> bool:
        """Whether an entry is left alone, be it there or not."""
        if not self._frozen:
            return False
        if key.table == "flow" and key.number != CARRIED_PRIORITY:
            return False
        return key.table != "slice_path" and key.fields[1][1].value in self._frozen

    def entry(self, switch: str, key: EntryKey) -> TableEntry | None:
        """The entry of this key, of a switch of the slice."""
        if key.table == "flow":
            return self.flows.entries.get(key)
        if key.table == "slice_path":
            path = self._stamp()
            return path if entry_key(path) == key else None
        path_class, mac = key.fields[1][1].value, key.fields[2][1].value
        way = self._ways.get(path_class)
        next_hop = None if way is None else way.next_hop(switch, mac)
        return None if next_hop is None else self._forward(path_class, mac, next_hop)

    def entries(self, switch: str) -> Iterator[TableEntry]:
        """All entries of a switch of the slice."""
        yield from self.flows.entries.values()
        yield self._stamp()
        for path_class, way in self._ways.items():
            hops = {
                home: hop[1]
                for home, tree in way.routing.trees.items()
                if (hop := tree.get(switch)) is not None
            }
            for mac, port in way.ports.items():
                next_hop = port.port if port.switch == switch else hops.get(port.switch)
                if next_hop is not None:
                    yield self._forward(path_class, mac, next_hop)

    def _stamp(self) -> TableEntry:
        if self._path is None or self._path.arg("path_class") != self.stamped:
            self._path = stamp(self.gre_key, self.stamped)
        return self._path

    def _forward(self, path_class: int, mac: int, next_hop: int) -> TableEntry:
        made = self._made.get((path_class, mac, next_hop))
        if made is None:
            fields = self._key(path_class, mac).fields
            args = (("next_hop", next_hop), ("cookie", NO_FLOWSPACE))
            made = TableEntry("slice_forward", fields, 0, "forward", args)
            self._made[path_class, mac, next_hop] = made
        return made

    def _key(self, path_class: int, mac: int) -> EntryKey:
        fields = (
            (SLICE_ID, Exact(self.gre_key)),
            ("path_class", Exact(path_class)),
            ("eth_dst", Exact(mac)),
        )
        return EntryKey("slice_forward", fields, 0)

    def _forwards(self, path_class: int, others: Iterable[int] = ()) -> list[EntryKey]:
        """Keys of a path class: of all MACs on its way, and of others."""
        return [self._key(path_class, mac) for mac in self._ways[path_class].ports.keys() | others]

    def keys(self, macs: Iterable[int] = ()) -> list[EntryKey]:
        """Keys of all entries of any switch, and of those for other MACs."""
        others = set(macs)
        forwards = (key for one in self._ways for key in self._forwards(one, others))
        return [*self.flows.entries, entry_key(self._stamp()), *forwards]

    # -- what changes

    def follow(self, routing: Routing, before: Mapping[int, PortRef | None], work: Work) -> None:
        """Take on a routing and what is new in places: `before` as of `Places.follow`."""
        old, switches = self.routing, self._switches
        turned = bool(old.switches) and (self._places.moved(before) or rerouted(old, routing))
        if turned:
            self._leave(old, before, work)
        self._ways[self.path_class].routing = routing
        for path_class, way in self._ways.items():
            if path_class != self.path_class:
                self._follow_hosts(way, routing, before)
        self._gather()
        everywhere = switches | self._switches
        for mac in before:
            work.add(everywhere, self.flows.demote(mac, mac in self._places.foreign))
        gone = switches - self._switches
        if gone:
            work.add(gone, self.keys(before))
        self._joined |= self._switches - switches
        if turned:
            self._arrive(work)
        work.add(everywhere, [self._key(one, mac) for one in self._ways for mac in before])

    def _follow_hosts(
        self, way: Way, routing: Routing, before: Mapping[int, PortRef | None]
    ) -> None:
        """Hosts that are new are reached on a former class too; one that has moved is not, since
        nothing may change under a packet.
        """
        ports = dict(way.ports)
        for mac, was in before.items():
            now = self._places.ports.get(mac)
            if now is not None and was is None and mac not in ports:
                ports[mac] = now
            elif ports.get(mac) != now:
                ports.pop(mac, None)
        way.ports = ports
        if routing.trees.keys() - way.routing.trees.keys():
            trees = {**routing.trees, **way.routing.trees}
            way.routing = Routing(trees, way.routing.switches | routing.switches)

    def _gather(self) -> None:
        self._switches = frozenset().union(*(way.routing.switches for way in self._ways.values()))

    def adopt(self, path_class: int, others: Collection[int] = ()) -> None:
        """Bear this path class, as if it had always been so; what there is of `others` stays."""
        way = self._ways[self.path_class]
        for one in self._ways:
            self.flows.carry(one, False)
        self._ways = {path_class: way}
        self._frozen = set(others) - {path_class}
        self.flows.carry(path_class, True)
        self.path_class = self.stamped = path_class
        self._made.clear()

    def conflicts(self, switch: str, held: Mapping[EntryKey, TableEntry]) -> bool:
        """Whether one of these entries leads packets of the path class another way."""
        if switch not in self.switches:
            return False
        keys = (self._key(self.path_class, mac) for mac in self._places.ports)
        return any(key in held and held[key] != self.entry(switch, key) for key in keys)

    def repath(self, work: Work) -> None:
        """Take another path class, and leave what there is of the present one alone."""
        way = self._ways.pop(self.path_class)
        self.flows.carry(self.path_class, False)
        self._frozen.add(self.path_class)
        self._begin(way, work)
        self._arrive(work)

    def _leave(self, old: Routing, before: Mapping[int, PortRef | None], work: Work) -> None:
        """Leave the newest class as it was, unless nothing ever bore it, and begin another."""
        if self.path_class == self.stamped:
            ports = {
                mac: port
                for mac, port in self._places.ports.items()
                if before.get(mac) in (None, port)
            }
            self._ways[self.path_class] = Way(old, ports)
        else:
            self._drop(self.path_class, before, work)
        self._begin(Way(Routing(), self._places.ports), work)

    def _begin(self, way: Way, work: Work) -> None:
        used = {self.path_class, *self._ways, *self._frozen}
        while self.path_class in used:
            self.path_class = next_class(self.path_class)
        self._ways[self.path_class] = way
        work.repathed.add(self.name)

    def _arrive(self, work: Work) -> None:
        work.add(self._switches, self._forwards(self.path_class))
        work.add(self._switches, self.flows.carry(self.path_class, True))

    def _drop(self, path_class: int, others: Iterable[int], work: Work) -> None:
        work.add(self._switches, self._forwards(path_class, set(others)))
        work.add(self._switches, self.flows.carry(path_class, False))
        del self._ways[path_class]
        self._made = {known: one for known, one in self._made.items() if known[0] != path_class}

    def stamp(self, work: Work) -> None:
        """Have packets take the newest class from now on."""
        if self.stamped != self.path_class:
            self.stamped = self.path_class
            work.add(self._switches, [entry_key(self._stamp())])

    def retire(self, work: Work) -> bool:
        """Nothing bears another class than the newest any more. False: all that is there has to be
        looked at.
        """
        for path_class in [one for one in self._ways if one != self.path_class]:
            self._drop(path_class, (), work)
        before = self._switches
        self._gather()
        if gone := before - self._switches:
            work.add(gone, self.keys())
        known = not self._frozen
        self._frozen.clear()
        return known

    def welcome(self, work: Work) -> None:
        """Everything for the switches that have joined."""
        if self._joined:
            work.add(self._joined & self.switches, self.keys())
            self._joined = frozenset()
