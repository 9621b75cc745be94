"""What is built for a network: names, ports, and what cannot be built."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from dfvisor.model.description import load_network, plan, read
from dfvisor.model.records import Network
from emulation.demo.flows import choose
from emulation.errors import EmulationError
from emulation.instance import Instance
from emulation.plan import plan as plan_emulation
from emulation.targets import Target, switch_command

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

TWO_HOSTS_OF_ONE_NAME = """
schema: 1
switches:
  s1: {device_id: 1, vtep: 192.0.2.1}
tenants: {a: {}, b: {}}
vns:
  a:
    tenant: a
    slices: {default: {key: 1}}
    endpoints: {h: {mac: "02:00:00:00:00:01", ips: [10.0.0.1], port: "s1:1"}}
  b:
    tenant: b
    slices: {default: {key: 2}}
    endpoints: {h: {mac: "02:00:00:00:00:01", ips: [10.0.0.1], port: "s1:2"}}
"""


def test_plan_of_the_demo_has_every_switch_host_and_cable() -> None:
    made = plan_emulation(load_network(EXAMPLES / "demo.yaml"))
    assert set(made.switches) == {"s1", "s2", "s3", "s4"}
    assert set(made.hosts) == {"r1", "r2", "r3", "b1", "b2", "b3", "g1", "g2"}
    assert len(made.links) == 4
    assert made.switches["s1"].ports == (1, 2, 11, 12)
    assert made.switches["s1"].access_ports == (11, 12)
    assert str(made.hosts["b1"].mac) == str(made.hosts["r1"].mac)


def test_plan_of_a_foreign_peer_has_its_guests_and_tunnels() -> None:
    made = plan_emulation(load_network(EXAMPLES / "foreign-peer.yaml"))
    assert set(made.hosts) == {"host"}
    assert made.switches["s2"].ports == (1, 9)
    assert made.switches["s2"].fabric_ports == (1, 9)
    peer = made.peers["ovs"]
    assert [guest.name for guest in peer.guests] == ["guest"]
    assert peer.tunnels == {"lab": (90000, (IPv4Address("192.0.2.1"),))}


def test_plan_host_in_a_vlan_is_refused() -> None:
    text = TWO_HOSTS_OF_ONE_NAME.replace('port: "s1:2"', 'port: "s1:2", vlan: 7')
    with pytest.raises(EmulationError, match=r"host b.h is in a VLAN"):
        plan_emulation(plan(Network(), read(text)))


def test_plan_two_endpoints_of_one_name_get_the_name_of_their_vn() -> None:
    network = plan(Network(), read(TWO_HOSTS_OF_ONE_NAME))
    assert set(plan_emulation(network).hosts) == {"a.h", "b.h"}


def test_plan_port_wanted_twice_is_refused_with_both_names() -> None:
    network = load_network(EXAMPLES / "two-switches.yaml")
    links = (*network.fabric.links, network.fabric.links[0])
    fabric = type(network.fabric)(switches=network.fabric.switches, links=links)
    with pytest.raises(EmulationError, match="port s1:1 is wanted by link"):
        plan_emulation(Network(fabric=fabric, tenants=network.tenants, vns=network.vns))


@pytest.mark.parametrize("name", ["", "a-b", "UPPER", "../x", "x" * 17])
def test_instance_name_that_could_meet_another_is_refused(name: str) -> None:
    with pytest.raises(EmulationError, match="instance name"):
        Instance(name)


@pytest.mark.parametrize("target", list(Target))
def test_switch_command_has_the_flags_that_both_targets_need(target: Target) -> None:
    switch = plan_emulation(load_network(EXAMPLES / "demo.yaml")).switches["s2"]
    argv = switch_command(target, ["switch"], switch, Path("/run/x/s2.sock"))
    text = " ".join(argv)
    assert "--no-p4 --device-id 2 --log-level off" in text
    assert "-i 1@p1 -i 2@p2 -i 11@p11 -i 12@p12" in text
    assert "-- --grpc-server-addr unix:/run/x/s2.sock --priority-queues 8 --cpu-port 510" in text
    assert ("--notifications-addr ipc:///run/x/s2.notify" in text) is (target is Target.BMV2)


def test_switch_command_gives_the_softswitch_a_control_socket() -> None:
    switch = plan_emulation(load_network(EXAMPLES / "demo.yaml")).switches["s2"]
    argv = switch_command(Target.SOFTSWITCH, ["switch"], switch, Path("/run/x/s2.sock"))
    assert "--ctl /run/x/s2.ctl" in " ".join(argv)


def test_flows_of_the_demo_show_every_slice_on_its_own_path() -> None:
    network = load_network(EXAMPLES / "demo.yaml")
    flows = {flow.name: flow for flow in choose(network, plan_emulation(network).hosts)}
    assert set(flows) == {
        f"{vn.name}/{slice_}" for vn in network.vns.values() for slice_ in vn.slices
    }
    assert flows["red/gold"].path == ("s1", "s2", "s4")
    assert flows["red/silver"].path == ("s1", "s3", "s4")
    assert flows["red/gold"].ways == {("s1", "s2", "s4")}
    assert flows["red/default"].ways == {("s1", "s2", "s4"), ("s1", "s3", "s4")}
    assert flows["red/gold"].port == 5201
    sources = [flow.source for flow in flows.values()]
    assert len(set(sources)) == len(sources)
