"""Checking a changed VN finds what checking all of it finds."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Network

import msgspec
from dfvisor.errors import Problem
from dfvisor.model.changes import changes
from dfvisor.model.checker import Checker
from dfvisor.model.records import (
    Endpoint,
    Flowspace,
    Match,
    Network,
    Slice,
    Tenant,
    Treatment,
    VirtualNetwork,
)
from dfvisor.model.types import Mac, PortRange, PortRef
from dfvisor.model.validate import validate
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tests.agent.networks import demo

NETWORK = demo()
RED = NETWORK.vns["red"]
NETS = [IPv4Network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16")]
FLOWSPACES = st.builds(
    Flowspace,
    name=st.sampled_from("abcdefg"),
    priority=st.integers(1, 2),
    match=st.builds(
        Match,
        endpoint=st.sampled_from([None, None, *RED.endpoints, "nobody"]),
        ipv4_src=st.sampled_from([None, *NETS]),
        ipv4_dst=st.sampled_from([None, *NETS]),
        ip_proto=st.sampled_from([None, 6, 17]),
        l4_dst=st.sampled_from([None, PortRange(1, 9), PortRange(5, 5), PortRange(8, 80)]),
    ),
    slice=st.sampled_from([*RED.slices, *RED.slices, "nothing"]),
    treatment=st.sampled_from(Treatment),
    bidirectional=st.booleans(),
)


PORTS = [PortRef(switch, port) for switch in ("s1", "s3", "s9") for port in (1, 11, 60, 61)]
ENDPOINTS = st.builds(
    Endpoint,
    name=st.sampled_from([*RED.endpoints, "new1", "new2"]),
    mac=st.sampled_from([0, 1, 2, 3, 1 << 40]).map(Mac),
    ips=st.lists(
        st.sampled_from(["10.9.0.1", "10.9.0.2", "224.0.0.1", "0.0.0.0"]).map(IPv4Address),
        max_size=2,
    ).map(tuple),
    port=st.sampled_from(PORTS),
)


def whole(vn: VirtualNetwork) -> list[Problem]:
    tenants = {vn.tenant: Tenant(name=vn.tenant)}
    return validate(Network(fabric=NETWORK.fabric, tenants=tenants, vns={vn.name: vn}))


@given(st.lists(st.lists(FLOWSPACES, min_size=1, max_size=3), min_size=1, max_size=12), st.data())
def test_checking_a_change_finds_what_checking_everything_finds(
    steps: list[list[Flowspace]], data: st.DataObject
) -> None:
    checker = Checker()
    vn = dataclasses.replace(RED, flowspaces={})
    assert checker.problems(vn, None, NETWORK.fabric, NETWORK, whole) == []
    for step in steps:
        flowspaces = dict(vn.flowspaces)
        for one in step:
            if data.draw(st.booleans()) and one.name in flowspaces:
                del flowspaces[one.name]
            else:
                flowspaces[one.name] = one
        endpoints = dict(vn.endpoints)
        for end in data.draw(st.lists(ENDPOINTS, max_size=2)):
            if data.draw(st.booleans()) and end.name in endpoints:
                del endpoints[end.name]
            else:
                endpoints[end.name] = end
        before = vn
        vn = dataclasses.replace(vn, flowspaces=flowspaces, endpoints=endpoints)
        found = checker.problems(vn, changes(before, vn), NETWORK.fabric, NETWORK, whole)
        assert found == whole(vn)
        if found and data.draw(st.booleans()):  # what is refused is mended, or stays
            vn = dataclasses.replace(RED, flowspaces={})
            assert checker.problems(vn, None, NETWORK.fabric, NETWORK, whole) == []


def test_change_of_one_flowspace_does_not_check_the_whole_again() -> None:
    asked: list[VirtualNetwork] = []

    def counted(vn: VirtualNetwork) -> list[Problem]:
        asked.append(vn)
        return whole(vn)

    checker = Checker()
    checker.problems(RED, None, NETWORK.fabric, NETWORK, counted)
    gold = msgspec.structs.replace(RED.flowspaces["gold-tcp"], priority=7)
    changed = dataclasses.replace(RED, flowspaces={**RED.flowspaces, "gold-tcp": gold})
    assert checker.problems(changed, changes(RED, changed), NETWORK.fabric, NETWORK, counted) == []
    assert len(asked) == 1
    checker.problems(
        changed, changes(changed, changed), NETWORK.fabric, demo(), counted
    )  # another fabric
    slices = {**changed.slices, "new": Slice(name="new", key=99, profile="gold")}
    more = dataclasses.replace(changed, slices=slices)
    checker.problems(more, changes(changed, more), NETWORK.fabric, NETWORK, counted)
    assert len(asked) == 3
