"""Whatever the order in which switches carry out a change, every packet takes a path of the old or
of the new configuration, never a mixture, and none is lost whose way is there in both.

Switches are dictionaries here; what is written, and when, is what the compiler and the stages say.
Packets move hop by hop between any two writes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from random import Random

import pytest
from dfvisor.model.records import Endpoint, Fabric, Flowspace, Link, Match, Slice, VirtualNetwork
from dfvisor.model.types import Mac, PortRef
from dfvisor.model.validate import validate
from dfvisor.p4rt.entries import EntryKey, TableEntry, Ternary, entry_key
from dfvisor.p4rt.ports import NEIGHBOUR
from dfvisor.vnc.compile import Compiler, SwitchEntries, Update
from dfvisor.vnc.routing import Trees
from dfvisor.vnc.stages import Stage, Step, steps

from controlplane.tests.agent.networks import demo

from .test_compile import network_of

KEY = 4711
BATCH = 20
BATCHES = 25 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 3  # 500 networks, or 60

Path = tuple[str, ...]
Ways = Mapping[tuple[str, int], Path]


@dataclasses.dataclass
class Packet:
    """On its way to a MAC; `old` and `new` are the ways that it may take."""

    mac: int
    at: str
    path_class: int
    may: tuple[Path | None, Path | None]
    passed: list[str]


class Network:
    """The switches, the packets between them, and a leader that carries out changes."""

    def __init__(self, random: Random, fabric: Fabric, vn: VirtualNetwork) -> None:
        self.random = random
        self.fabric, self.vn = fabric, vn
        self.compiler = Compiler()
        self.compiler.update(Trees(fabric), vn)
        self.held = {
            switch: {entry_key(entry): entry for entry in self.compiler.entries(switch)}
            for switch in self.compiler.switches
        }
        self.under_way: list[Packet] = []
        self.old = self.new = self.ways()
        self.delivered = self.repathed = 0

    def ways(self) -> Ways:
        """The way from each home to each endpoint, by the compiled entries of a quiet network."""
        table = {
            switch: {entry_key(entry): entry for entry in self.compiler.entries(switch)}
            for switch in self.compiler.switches
        }
        path_class = self.compiler.classes["gold"]  # the newest
        found: dict[tuple[str, int], Path] = {}
        for source in homes(self.vn):
            for end in self.vn.endpoints.values():
                passed = [source]
                while passed[-1] != "out":
                    passed.append(self.step(table[passed[-1]], path_class, end.mac.value))
                assert end.port is not None
                found[source, end.mac.value] = (*passed[:-1], f"out {end.port}")
        return found

    def step(self, table: Mapping[EntryKey, TableEntry], path_class: int, mac: int) -> str:
        """The next switch, `out`, or `lost`."""
        forward = next(
            (
                entry
                for entry in table.values()
                if entry.table == "slice_forward"
                and [match.value for _, match in entry.key] == [KEY, path_class, mac]
            ),
            None,
        )
        if forward is None:
            return "lost"
        hop = forward.arg("next_hop")
        names = {one.device_id: name for name, one in self.fabric.switches.items()}
        return "out" if hop < NEIGHBOUR else names[hop - NEIGHBOUR]

    # -- packets

    def let_in(self) -> None:
        """A packet of the slice enters somewhere."""
        source = self.random.choice(sorted(homes(self.vn)))
        mac = self.random.choice([end.mac.value for end in self.vn.endpoints.values()])
        question = (source, mac)
        if question not in self.old or question not in self.new or source not in self.held:
            return
        hit = lookup(self.held[source], 0)
        assert hit is not None and hit.action == "permit"
        (path,) = [one for one in self.held[source].values() if one.table == "slice_path"]
        may = (self.old[question], self.new[question])
        self.under_way.append(Packet(mac, source, path.arg("path_class"), may, [source]))

    def move(self) -> None:
        """One of the packets under way takes a step."""
        if not self.under_way:
            return
        packet = self.random.choice(self.under_way)
        table = self.held.get(packet.at, {})
        hit = lookup(table, packet.path_class if len(packet.passed) > 1 else 0)
        assert hit is not None and hit.action.startswith("permit"), packet
        after = self.step(table, packet.path_class, packet.mac)
        assert after != "lost", packet
        if after == "out":
            (port,) = [
                entry.arg("next_hop")
                for entry in table.values()
                if entry.table == "slice_forward"
                and [match.value for _, match in entry.key] == [KEY, packet.path_class, packet.mac]
            ]
            assert (*packet.passed, f"out {packet.at}:{port}") in packet.may, packet
            self.under_way.remove(packet)
            self.delivered += 1
            return
        packet.passed.append(after)
        packet.at = after
        assert len(packet.passed) <= len(self.fabric.switches), packet

    def drain(self) -> None:
        while self.under_way:
            self.move()

    # -- changes

    def change(self, fabric: Fabric, vn: VirtualNetwork) -> None:
        update = self.compiler.update(Trees(fabric), vn)
        self.fabric, self.vn = fabric, vn
        self.repathed += bool(update.repathed)
        self.new = self.ways()
        pending: dict[str, dict[EntryKey, None]] = {}
        take_note(pending, update)
        for switch in self.compiler.switches - self.held.keys():
            self.held[switch] = {}
        if update.repathed:
            self.carry_out(Stage.FORWARD, pending)
            take_note(pending, self.compiler.stamp(update.repathed))
        self.carry_out(Stage.FLOW, pending)
        self.drain()
        self.old = self.new
        retired = self.compiler.retire(self.compiler.turning)
        assert retired is not None
        take_note(pending, retired)
        for switch in self.held.keys() - self.compiler.switches:
            del self.held[switch]
        self.carry_out(Stage.FINISH, pending)
        for switch, found in self.held.items():
            assert set(found.values()) == set(self.compiler.entries(switch))

    def carry_out(self, stage: Stage, pending: dict[str, dict[EntryKey, None]]) -> None:
        """Each switch in its order, all of them at once, packets between."""
        work: dict[str, list[Step]] = {}
        for switch in self.compiler.switches:
            wanted = SwitchEntries(self.compiler, switch)
            work[switch] = steps(self.held[switch], wanted, stage, pending.setdefault(switch, {}))
        while waiting := [switch for switch, left in work.items() if left]:
            switch = self.random.choice(sorted(waiting))
            step = work[switch].pop(0)
            if step.new is None:
                del self.held[switch][step.key]
            else:
                self.held[switch][step.key] = step.new
            for _ in range(self.random.randint(0, 2)):
                self.let_in()
            for _ in range(self.random.randint(0, 4)):
                self.move()


def take_note(pending: dict[str, dict[EntryKey, None]], update: Update) -> None:
    """What sessions do when they are told of changed keys."""
    for switch, groups in update.changed.items():
        for group in groups:
            pending.setdefault(switch, {}).update(dict.fromkeys(group))


def lookup(table: Mapping[EntryKey, TableEntry], path_class: int) -> TableEntry | None:
    """The `flow` entry that a packet of the slice hits; its headers match every flowspace."""
    hits = [
        entry
        for entry in table.values()
        if entry.table == "flow"
        and (
            not isinstance(match := entry.field("path_class"), Ternary) or match.value == path_class
        )
    ]
    return max(hits, key=lambda entry: entry.priority, default=None)


def homes(vn: VirtualNetwork) -> set[str]:
    return {end.port.switch for end in vn.endpoints.values() if end.port is not None}


def made(random: Random) -> tuple[Fabric, VirtualNetwork]:
    """A ring of switches with chords, and a VN with one QoS slice for all its packets."""
    base = demo()
    count = random.randint(3, 7)
    switch = next(iter(base.fabric.switches.values()))
    names = [f"s{n}" for n in range(1, count + 1)]
    switches = {
        name: dataclasses.replace(switch, name=name, device_id=n, vtep=switch.vtep + n)
        for n, name in enumerate(names, 1)
    }
    pairs = {(n, (n + 1) % count) for n in range(count)}
    pairs |= {(a, b) for a in range(count) for b in range(a) if random.random() < 0.2}
    links = tuple(
        Link(
            a=PortRef(names[a], 300 + n),
            b=PortRef(names[b], 400 + n),
            cost=random.randint(1, 5),
        )
        for n, (a, b) in enumerate(sorted(pairs))
    )
    red = base.vns["red"]
    vn = dataclasses.replace(
        red,
        tenant="t",
        slices={
            "default": Slice(name="default", key=1),
            "gold": Slice(name="gold", key=KEY, profile="gold"),
        },
        endpoints={
            name: Endpoint(
                name=name,
                mac=Mac(0x0200_0000_0000 + n),
                ips=(),
                port=PortRef(random.choice(names), n),
            )
            for n in range(1, random.randint(3, 6))
            if (name := f"h{n}")
        },
        flowspaces={"all": Flowspace(name="all", priority=1, match=Match(), slice="gold")},
    )
    return Fabric(switches=switches, links=links), vn


def changed(
    random: Random, fabric: Fabric, vn: VirtualNetwork, number: int
) -> tuple[Fabric, VirtualNetwork]:
    """Another cost, a drained switch, an endpoint that moves, comes or goes, and so on."""
    names = sorted(fabric.switches)
    kind = random.choice(["cost", "cost", "drain", "move", "come", "go", "avoid", "flow"])
    if kind == "cost":
        links = list(fabric.links)
        place = random.randrange(len(links))
        links[place] = dataclasses.replace(links[place], cost=random.randint(1, 9))
        return dataclasses.replace(fabric, links=tuple(links)), vn
    if kind == "drain":
        one = fabric.switches[random.choice(names)]
        switches = {**fabric.switches, one.name: dataclasses.replace(one, drained=not one.drained)}
        return dataclasses.replace(fabric, switches=switches), vn
    endpoints, slices, flowspaces = dict(vn.endpoints), dict(vn.slices), dict(vn.flowspaces)
    if kind == "come":
        port = PortRef(random.choice(names), 20 + number)
        mac = Mac(0x0400_0000_0000 + number)
        endpoints[f"n{number}"] = Endpoint(name=f"n{number}", mac=mac, ips=(), port=port)
    elif kind == "go" and len(endpoints) > 2:
        del endpoints[random.choice(sorted(endpoints))]
    elif kind == "move":
        end = endpoints[random.choice(sorted(endpoints))]
        port = PortRef(random.choice(names), 100 + number)
        endpoints[end.name] = dataclasses.replace(end, port=port)
    elif kind == "avoid":
        slices["gold"] = dataclasses.replace(slices["gold"], avoid=(random.choice(names),))
    elif kind == "flow":
        one = Flowspace(name=f"f{number}", priority=2, match=Match(ip_proto=6), slice="gold")
        flowspaces[one.name] = one
    return fabric, dataclasses.replace(
        vn, endpoints=endpoints, slices=slices, flowspaces=flowspaces
    )


def run(seed: int, kind: type[Network] = Network) -> Network:
    """Eight changes of a random network."""
    random = Random(seed)
    fabric, vn = made(random)
    assert not validate(network_of(fabric, vn))
    network = kind(random, fabric, vn)
    for number in range(8):
        after = changed(random, network.fabric, network.vn, number)
        if not validate(network_of(*after)):
            network.change(*after)
    network.drain()
    return network


@pytest.mark.parametrize("batch", range(BATCHES))
def test_packets_take_old_or_new_paths_while_switches_change_in_any_order(batch: int) -> None:
    networks = [run(seed) for seed in range(batch * BATCH, (batch + 1) * BATCH)]
    assert sum(network.delivered for network in networks) > 10 * BATCH
    assert sum(network.repathed for network in networks) > BATCH


class Hasty(Network):
    """Without stages: each switch does all of a change at once."""

    def carry_out(self, stage: Stage, pending: dict[str, dict[EntryKey, None]]) -> None:
        turning = self.compiler.turning
        take_note(pending, self.compiler.stamp(turning))
        take_note(pending, self.compiler.retire(turning) or Update())
        super().carry_out(Stage.FINISH, pending)


def test_without_stages_packets_are_lost_or_take_a_mixture() -> None:
    with pytest.raises(AssertionError):
        for seed in range(BATCH):
            run(seed, Hasty)
