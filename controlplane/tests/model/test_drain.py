"""Traffic keeps away from what is drained, and only from that."""

from __future__ import annotations

import dataclasses
import json
from ipaddress import IPv4Address

import pytest
from dfvisor.cli.change import Refused
from dfvisor.cli.drain import drained
from dfvisor.model.description import plan, read, render
from dfvisor.model.paths import ecmp_next_hops, path
from dfvisor.model.records import Fabric, Link, Network, Switch
from dfvisor.model.types import PortRef


def square() -> Network:
    """s1 - s2 - s4 and, at a higher cost, s1 - s3 - s4."""
    switches = {
        f"s{n}": Switch(name=f"s{n}", device_id=n, vtep=IPv4Address(f"192.0.2.{n}"))
        for n in range(1, 5)
    }
    links = (
        Link(a=PortRef("s1", 1), b=PortRef("s2", 1)),
        Link(a=PortRef("s2", 2), b=PortRef("s4", 2)),
        Link(a=PortRef("s1", 3), b=PortRef("s3", 1), cost=100),
        Link(a=PortRef("s3", 2), b=PortRef("s4", 3), cost=100),
    )
    return Network(fabric=Fabric(switches=switches, links=links))


@pytest.mark.parametrize("name", ["s2", "s1:1-s2:1", "s2:1-s1:1", "s2:2-s4:2"])
def test_paths_avoid_what_is_drained_until_it_is_not(name: str) -> None:
    network = square()
    assert path(network.fabric, "s1", "s4") == ("s1", "s2", "s4")
    away = drained(network, name, True)
    assert path(away.fabric, "s1", "s4") == ("s1", "s3", "s4")
    assert drained(away, name, False) == network


def test_drained_switch_is_reached_and_a_drained_link_carries_what_has_no_other_way() -> None:
    network = drained(square(), "s2", True)
    assert path(network.fabric, "s1", "s2") == ("s1", "s2")
    both = drained(network, "s3", True)
    assert path(both.fabric, "s1", "s4") == ("s1", "s2", "s4")


def test_drained_link_of_two_leaves_the_choice_of_best_effort() -> None:
    fabric = square().fabric
    twin = Link(a=PortRef("s1", 8), b=PortRef("s2", 8))
    network = Network(fabric=dataclasses.replace(fabric, links=(*fabric.links, twin)))
    assert len(ecmp_next_hops(network.fabric, "s4")["s1"]) == 2
    (hop,) = ecmp_next_hops(drained(network, "s1:1-s2:1", True).fabric, "s4")["s1"]
    assert hop.port == PortRef("s1", 8)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(Refused, match="no switch or link 's9'; there are: s1, s2"):
        drained(square(), "s9", True)


def test_drained_records_and_capacities_are_read_as_they_are_written() -> None:
    network = drained(drained(square(), "s2", True), "s1:3-s3:1", True)
    first, *others = network.fabric.links
    links = (dataclasses.replace(first, capacity_bps=10_000_000_000), *others)
    network = dataclasses.replace(network, fabric=dataclasses.replace(network.fabric, links=links))
    text = json.dumps(render(network))
    found = plan(Network(), read(text, as_json=True)).fabric
    assert found.switches == network.fabric.switches
    assert set(found.links) == set(network.fabric.links)
