"""The entries of one QoS slice on all its switches: pure bookkeeping."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dfvisor.model.types import PortRef
from dfvisor.p4rt.cookies import NO_FLOWSPACE
from dfvisor.p4rt.entries import EntryKey, Exact, TableEntry
from dfvisor.slicer.view import SLICE_ID
from dfvisor.vnc.flows import Flows
from dfvisor.vnc.places import Places
from dfvisor.vnc.routing import Routing, rerouted

UNSTAMPED = 0
FIRST_CLASS, LAST_CLASS = 1, 0xFFF

Keys = Iterable[EntryKey]


def next_class(held: int) -> int:
    """The path class after this one."""
    return held + 1 if held < LAST_CLASS else FIRST_CLASS


@dataclass(slots=True)
class Work:
    """By switch, the keys of entries that came, went or differ (and perhaps others), in groups;
    and the slices that took another path class.
    """

    changed: dict[str, list[Keys]] = field(default_factory=dict)
    repathed: set[str] = field(default_factory=set)

    def add(self, switches: Iterable[str], keys: Keys) -> None:
        if keys:
            for switch in switches:
                self.changed.setdefault(switch, []).append(keys)


class QosSlice:
    """`places` are those of the VN, shared with its other slices."""

    def __init__(self, vn: str, name: str, gre_key: int, path_class: int, places: Places) -> None:
        self.name = name
        self.gre_key = gre_key
        self.path_class = path_class
        self.routing = Routing()
        self.flows = Flows(vn, gre_key, path_class)
        self._places = places
        self._unstamped = False  # whether there are entries for path class 0
        self._made: dict[tuple[int, int, int], TableEntry] = {}
        self._joined: frozenset[str] = frozenset()  # switches that have yet to get everything

    # -- what is there

    @property
    def switches(self) -> frozenset[str]:
        return self.routing.switches

    def entry(self, switch: str, key: EntryKey) -> TableEntry | None:
        """The entry of this key, of a switch of the slice."""
        table, fields, _ = key
        if table == "flow":
            return self.flows.entries.get(key)
        path_class, mac = fields[1][1].value, fields[2][1].value
        port = self._places.ports.get(mac)
        if port is None or path_class not in self._classes():
            return None
        return self._forward(switch, path_class, mac, port)

    def forwards(self, switch: str) -> Iterator[TableEntry]:
        """All `slice_forward` entries of a switch of the slice."""
        hops = {
            home: hop[1]
            for home, tree in self.routing.trees.items()
            if (hop := tree.get(switch)) is not None
        }
        for path_class in self._classes():
            for mac, port in self._places.ports.items():
                next_hop = port.port if port.switch == switch else hops.get(port.switch)
                if next_hop is not None:
                    yield self._entry(path_class, mac, next_hop)

    def _classes(self) -> tuple[int, ...]:
        return (UNSTAMPED, self.path_class) if self._unstamped else (self.path_class,)

    def _forward(self, switch: str, path_class: int, mac: int, port: PortRef) -> TableEntry | None:
        """The way from a switch to an access port; None where no path leads there."""
        if port.switch == switch:
            next_hop = port.port
        else:
            hop = self.routing.trees[port.switch].get(switch)
            if hop is None:
                return None
            next_hop = hop[1]
        return self._entry(path_class, mac, next_hop)

    def _entry(self, path_class: int, mac: int, next_hop: int) -> TableEntry:
        made = self._made.get((path_class, mac, next_hop))
        if made is None:
            _, fields, _ = self._key(path_class, mac)
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
        return ("slice_forward", fields, 0)

    def keys(self, macs: Iterable[int] = ()) -> list[EntryKey]:
        """Keys of all entries of any switch, and of those for other MACs."""
        every = self._places.ports.keys() | set(macs)
        forwards = (self._key(path_class, mac) for path_class in self._classes() for mac in every)
        return [*self.flows.entries, *forwards]

    # -- what changes

    def follow(self, routing: Routing, before: Mapping[int, PortRef | None], work: Work) -> None:
        """Take on a routing and what is new in places: `before` as of `Places.follow`."""
        old, self.routing = self.routing, routing
        everywhere = old.switches | routing.switches
        gone = old.switches - routing.switches
        if gone:
            work.add(gone, self.keys(before))
        self._joined |= routing.switches - old.switches
        for mac in before:
            work.add(everywhere, self.flows.demote(mac, mac in self._places.foreign))
        turned = bool(old.switches) and (self._places.moved(before) or rerouted(old, routing))
        unstamped, self._unstamped = self._unstamped, bool(self._places.foreign)
        if unstamped or self._unstamped:
            whole = turned or unstamped != self._unstamped
            macs = self._places.ports.keys() | before.keys() if whole else before.keys()
            work.add(everywhere, [self._key(UNSTAMPED, mac) for mac in macs])
        if turned:
            self.repath(everywhere, before, work)
        else:
            work.add(everywhere, [self._key(self.path_class, mac) for mac in before])

    def adopt(self, path_class: int) -> None:
        """Bear this path class."""
        self.path_class = path_class
        self._made.clear()
        self.flows.stamp(path_class)

    def conflicts(self, switch: str, held: Mapping[EntryKey, TableEntry]) -> bool:
        """Whether one of these entries leads packets of the path class another way."""
        if switch not in self.switches:
            return False
        keys = (self._key(self.path_class, mac) for mac in self._places.ports)
        return any(key in held and held[key] != self.entry(switch, key) for key in keys)

    def repath(
        self,
        switches: Iterable[str],
        others: Iterable[int],
        work: Work,
        used: Collection[int] = (),
    ) -> None:
        """Take the next path class that is not used. `others` are MACs that have left."""
        macs = self._places.ports.keys() | set(others)
        work.add(switches, [self._key(self.path_class, mac) for mac in macs])
        self.path_class = next_class(self.path_class)
        while self.path_class in used:
            self.path_class = next_class(self.path_class)
        self._made.clear()
        work.add(switches, [self._key(self.path_class, mac) for mac in macs])
        work.add(switches, self.flows.stamp(self.path_class))
        work.repathed.add(self.name)

    def welcome(self, work: Work) -> None:
        """Everything for the switches that have joined."""
        if self._joined:
            work.add(self._joined & self.switches, self.keys())
            self._joined = frozenset()
