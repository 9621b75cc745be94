"""Learned hosts, seen from one switch."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from dfvisor.agent.hosts import (
    ADDRESSES_PER_HOST,
    AGE_S,
    CONFLICTS_PER_VN,
    DOUBT_S,
    DUPLICATE_S,
    LEARNED_PER_PORT,
    Hosts,
    Outcome,
)
from dfvisor.model.description import read
from dfvisor.model.learned import Claim, settle, with_hosts
from dfvisor.model.types import Mac
from dfvisor.model.validate import validate

from .networks import demo

IP, IP6 = IPv4Address("10.9.9.9"), IPv6Address("fd00::9")
A, B = Mac(0x02_0000_00AA_01), Mac(0x02_0000_00AA_02)


def test_sender_is_new_once_and_then_known() -> None:
    hosts = Hosts("s1")
    assert hosts.learn(A, 11, 100.0) is Outcome.NEW
    assert hosts.learn(A, 11, 101.0) is Outcome.KNOWN
    assert hosts.local() == {A.value: 11}
    assert hosts.claims() == {A: Claim(11, 100.0)}


def test_host_moves_between_ports_of_a_switch() -> None:
    hosts = Hosts("s1")
    hosts.learn(A, 11, 100.0)
    assert hosts.learn(A, 12, 100.0 + DUPLICATE_S) is Outcome.MOVED
    assert hosts.local() == {A.value: 12}
    assert hosts.conflicts == {}


def test_host_that_another_switch_claims_later_has_moved_there() -> None:
    hosts = Hosts("s1")
    hosts.learn(A, 11, 100.0)
    hosts.learn(B, 11, 100.0)
    assert hosts.set_claims({"s2": {A: Claim(21, 200.0)}, "s1": {B: Claim(11, 300.0)}})
    assert hosts.local() == {B.value: 11}
    assert hosts.elsewhere == {A: ("s2", Claim(21, 200.0))}
    assert not hosts.set_claims({"s2": {A: Claim(21, 200.0)}})


def test_claim_made_after_a_move_is_the_latest_whatever_the_clocks_say() -> None:
    hosts = Hosts("s1")
    hosts.set_claims({"s2": {A: Claim(21, 200.0)}})
    ahead = 200.0 + DUPLICATE_S
    assert hosts.learn(A, 11, ahead) is Outcome.MOVED
    hosts.set_claims({"s2": {B: Claim(21, 900.0)}})  # its clock is ahead of ours
    assert hosts.learn(B, 11, 1000.0) is Outcome.MOVED
    assert settle({"s1": hosts.claims(), "s2": {B: Claim(21, 900.0)}})[B][0] == "s1"


def test_duplicate_address_is_reported_and_the_first_stays() -> None:
    hosts = Hosts("s1")
    hosts.set_claims({"s2": {A: Claim(21, 100.0)}})
    assert hosts.learn(A, 11, 101.0) is Outcome.DUPLICATE
    assert hosts.local() == {} and hosts.elsewhere[A][0] == "s2"
    assert hosts.conflicts == {A: "at s2:21, and seen at s1:11"}
    hosts.learn(B, 11, 101.0)
    assert hosts.learn(B, 12, 102.0) is Outcome.DUPLICATE
    assert hosts.local() == {B.value: 11}


def test_conflicts_and_hosts_are_bounded() -> None:
    hosts = Hosts("s1")
    for number in range(LEARNED_PER_PORT):
        assert hosts.learn(Mac(0x0200_0000_0000 + number), 11, 100.0) is Outcome.NEW
    assert hosts.learn(A, 11, 100.0) is Outcome.FULL
    assert hosts.learn(A, 12, 100.0) is Outcome.NEW  # another port has its own share
    for number in range(CONFLICTS_PER_VN + 5):
        hosts.refuse(Mac(0x0200_0000_0000 + number), 12, "endpoint r1")
    assert len(hosts.conflicts) == CONFLICTS_PER_VN


def test_silent_host_is_doubted_then_forgotten_and_one_that_sends_is_not() -> None:
    hosts = Hosts("s1")
    hosts.learn(A, 11, 100.0)
    hosts.learn(B, 11, 100.0)
    now = 100.0 + DOUBT_S
    assert hosts.age(now)
    assert hosts.doubted(now) == {A.value, B.value}
    assert hosts.learn(A, 11, now) is Outcome.HEARD
    assert hosts.doubted(now) == {B.value}
    hosts.age(100.0 + AGE_S)
    assert hosts.local() == {A.value: 11}


def test_claims_of_an_earlier_life_are_taken_over() -> None:
    hosts = Hosts("s1")
    assert hosts.adopt({A: Claim(11, 50.0)}, 100.0)
    assert hosts.claims() == {A: Claim(11, 50.0)}
    assert not hosts.adopt({A: Claim(12, 60.0)}, 100.0)


def test_latest_claim_holds_and_of_equal_ones_the_lower_switch() -> None:
    claims = {
        "s2": {A: Claim(1, 5.0), B: Claim(1, 7.0)},
        "s1": {A: Claim(1, 5.0), B: Claim(1, 6.0)},
    }
    found = settle(claims)
    assert (found[A][0], found[B][0]) == ("s1", "s2")


def test_learned_host_stands_as_an_endpoint_where_the_vn_learns() -> None:
    network = demo()
    vn = network.vns["green"]
    port = vn.endpoints["g1"].port
    assert port is not None
    here = {A: (port.switch, Claim(port.port, 1.0))}
    assert with_hosts(vn, here) is vn  # it does not learn
    learning = replace(vn, learning=True)
    found = with_hosts(learning, here)
    (added,) = found.endpoints.keys() - vn.endpoints.keys()
    assert found.endpoints[added].mac == A and found.endpoints[added].port == port
    assert with_hosts(learning, {vn.endpoints["g1"].mac: here[A]}) is learning  # an endpoint's
    assert with_hosts(learning, {A: ("s1", Claim(99, 1.0))}) is learning  # no port of the VN
    assert validate(replace(network, vns={**network.vns, "green": found})) == []
    # nobody can describe what looks like one
    said = read(
        f'schema: 1\nvns: {{green: {{endpoints: {{"{added}": {{mac: "{A}", port: "s1:9"}}}}}}}}'
    )
    assert any(added in str(problem) for problem in said.problems)


def test_addresses_are_learned_with_their_host_and_go_with_it() -> None:
    hosts = Hosts("s1")
    assert hosts.learn(A, 11, 100.0, IP) is Outcome.NEW
    assert hosts.learn(A, 11, 101.0, IP) is Outcome.KNOWN
    assert hosts.learn(A, 11, 102.0, IP6) is Outcome.ADDRESS
    assert hosts.claims() == {A: Claim(11, 100.0, {IP: 100.0, IP6: 102.0})}
    assert hosts.learn(A, 12, 102.0 + DUPLICATE_S, IP6) is Outcome.MOVED
    assert hosts.claims()[A].ips == {IP6: 102.0 + DUPLICATE_S}
    hosts.age(102.0 + DUPLICATE_S + AGE_S)
    assert hosts.claims() == {}


def test_addresses_of_one_host_are_bounded() -> None:
    hosts = Hosts("s1")
    hosts.learn(A, 11, 100.0)
    outcomes = [hosts.learn(A, 11, 101.0, IP + number) for number in range(20)]
    assert outcomes == [Outcome.ADDRESS] * ADDRESSES_PER_HOST + [Outcome.FULL] * (
        20 - ADDRESSES_PER_HOST
    )


def test_address_stays_with_who_had_it_first_and_the_other_is_shown() -> None:
    hosts = Hosts("s1")
    hosts.set_claims({"s2": {A: Claim(21, 50.0, {IP: 50.0})}})
    hosts.learn(B, 11, 100.0, IP)
    assert hosts.conflicts == {B: f"says to be {IP}, which is {A}'s"}
    network = demo()
    vn = replace(network.vns["green"], learning=True)
    port = vn.endpoints["g1"].port
    assert port is not None
    here = {
        A: (port.switch, Claim(port.port, 50.0, {IP: 50.0})),
        B: (port.switch, Claim(port.port, 100.0, {IP: 100.0, IP6: 100.0})),
    }
    found = {one.mac: one.ips for one in with_hosts(vn, here).endpoints.values()}
    assert (found[A], found[B]) == ((IP,), (IP6,))
    described = replace(
        vn, endpoints={**vn.endpoints, "g1": replace(vn.endpoints["g1"], ips=(IP6,))}
    )
    found = {one.mac: one.ips for one in with_hosts(described, here).endpoints.values()}
    assert (found[A], found[B]) == ((IP,), ())


def test_news_of_an_address_elsewhere_are_news() -> None:
    hosts = Hosts("s1")
    assert hosts.set_claims({"s2": {A: Claim(21, 50.0)}})
    assert hosts.set_claims({"s2": {A: Claim(21, 50.0, {IP: 60.0})}})
    assert not hosts.set_claims({"s2": {A: Claim(21, 50.0, {IP: 60.0})}})
