"""Reading, merging and rendering network descriptions."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from dfvisor.errors import DescriptionError
from dfvisor.model.description import (
    check,
    load,
    load_network,
    merge,
    plan,
    read,
    render,
)
from dfvisor.model.records import Network, UnknownUnicast
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from controlplane.tests.model.strategies import networks

EXAMPLES = Path(__file__).parents[3] / "examples"
DEMO = load_network(EXAMPLES / "demo.yaml")


def complaints(text: str, *, as_json: bool = False) -> list[tuple[int, str, str]]:
    _, problems = check(Network(), read(text, as_json=as_json))
    return [(problem.line, problem.path, problem.message) for problem in problems]


def dump(value: object) -> str:
    yaml = YAML()
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_render_read_as_yaml_gives_the_same_network(network: Network) -> None:
    description = read(dump(render(network)))
    assert description.problems == ()
    assert merge(Network(), description) == network


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_render_read_as_json_gives_the_same_network(network: Network) -> None:
    description = read(json.dumps(render(network)), as_json=True, locate=False)
    assert description.problems == ()
    assert merge(Network(), description) == network


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_merge_of_what_is_there_changes_nothing(network: Network) -> None:
    assert merge(network, read(json.dumps(render(network)), as_json=True, locate=False)) == network


@pytest.mark.parametrize(
    "name", ["demo.yaml", "two-switches.yaml", "foreign-peer.yaml", "redundant.yaml"]
)
def test_example_is_valid(name: str) -> None:
    assert load_network(EXAMPLES / name).vns


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == {
        "demo.yaml",
        "two-switches.yaml",
        "foreign-peer.yaml",
        "add-slice.yaml",
        "grants.yaml",
        "redundant.yaml",
    }


def test_grants_of_the_examples_are_for_the_demo() -> None:
    merged = plan(load_network(EXAMPLES / "demo.yaml"), load(EXAMPLES / "grants.yaml"))
    assert list(merged.grants) == ["red"]


def test_fragment_added_to_the_demo_is_valid_and_keeps_the_rest() -> None:
    demo = load_network(EXAMPLES / "demo.yaml")
    merged = plan(demo, load(EXAMPLES / "add-slice.yaml"))
    assert merged.vns["red"].slices.keys() == {"default", "gold", "silver", "bronze"}
    assert merged.vns["red"].endpoints == demo.vns["red"].endpoints
    assert merged.vns["blue"] == demo.vns["blue"]
    assert merged.fabric == demo.fabric


def test_fragment_alone_lacks_what_it_adds_to() -> None:
    with pytest.raises(DescriptionError) as caught:
        plan(Network(), load(EXAMPLES / "add-slice.yaml"))
    messages = " ".join(problem.message for problem in caught.value.problems)
    assert "tenant is missing" in messages
    assert "no best-effort slice" in messages


def test_vn_settings_left_out_stay_as_they_are() -> None:
    demo = load_network(EXAMPLES / "two-switches.yaml")
    merged = merge(demo, read("vns: {office: {slices: {default: {key: 9}}}}"))
    assert merged.vns["office"].unknown_unicast is UnknownUnicast.FLOOD
    assert merged.vns["office"].tenant == "acme"
    assert merged.vns["office"].slices["default"].key == 9


def test_link_given_from_the_other_end_replaces_it() -> None:
    demo = load_network(EXAMPLES / "two-switches.yaml")
    merged = merge(demo, read('links: [{a: "s2:1", b: "s1:1", cost: 7}]'))
    assert [link.cost for link in merged.fabric.links] == [7]


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("a: [1\nb: 2", 2, "description", "not YAML"),
        ("a: 'x\n\n", 3, "description", "not YAML"),
        ("schema: 1\n\x01", 2, "description", "not YAML: character"),
        ("schema: 1\n---\nschema: 1\n", 2, "description", "not YAML"),
        ("- 1", 1, "description", "expected a mapping, not a list"),
        ("tenants: {}\ntenant: {}\n", 2, "tenant", "did you mean 'tenants'"),
        ("tenants:\n  a: {}\n  a: {}\n", 3, "tenants.a", "given twice (first in line 2)"),
        ("schema: 2", 1, "schema", "2 is out of range 1..1"),
        ("tenants: 3", 1, "tenants", "expected a mapping of names, not a number"),
        ("tenants: {a b: {}}", 1, "tenants.a b", "is no name"),
        ("links: {}", 1, "links", "expected a list"),
        ("links:\n- {a: s1:1}", 2, "links.0", "b is missing"),
        ("links:\n- {a: s1:1, b: s1:0}", 2, "links.0.b", "'s1:0' is not a port"),
        ("links:\n- {a: s1:1, b: s1:511}", 2, "links.0.b", "ports 1..509"),
        ("links:\n- {a: s1:1, b: s2:2, cost: 0}", 2, "links.0.cost", "0 is out of range 1"),
        ("switches:\n  s1:\n    vtep: 192.0.2.1", 2, "switches.s1", "device_id is missing"),
        ("switches:\n  s1: {device_id: x, vtep: 1.2.3}", 2, "switches.s1.device_id", "a number"),
        ("switches:\n  s1: {device_id: 1, vtep: 1.2.3}", 2, "switches.s1.vtep", "not an IPv4"),
        ("switches:\n  s1: {device_id: true, vtep: 1.2.3.4}", 2, "switches.s1.device_id", "true"),
        ("links:\n- {a: s1:1, b: s1:510}", 2, "links.0.b", "ports 1..509"),
        ("links:\n- {a: s1:1, b: s2:2, mtu: 99}", 2, "links.0.mtu", "99 is out of range 576..9216"),
        ("peers:\n  p: {vtep: 1.2.3.4}", 2, "peers.p", "port is missing"),
        ("peers:\n  p: {vtep: 1.2.3.4}", 2, "peers.p", "mac is missing"),
        ("peers:\n  p: {vtep: x}", 2, "peers.p.vtep", "not an IPv4 address"),
        ("peer:\n  p: {vtep: 1.2.3.4}", 1, "peer", "did you mean 'peers'"),
        ("vns:\n  v: {flood_pps: 0}", 2, "vns.v.flood_pps", "0 is out of range 1..10000000"),
        ("vns:\n  v: {source_guard: 1}", 2, "vns.v.source_guard", "expected true or false"),
        ("vns:\n  v: {learning: 'yes'}", 2, "vns.v.learning", "expected true or false"),
        ("x: &a {b: *a}", 1, "x.b", "refers to what contains it"),
        ("x: !!python/object:os.system 1", 1, "x", "unknown key"),
    ],
)
def test_read_of_a_mistake_names_line_and_path(
    text: str, line: int, path: str, message: str
) -> None:
    found = complaints(text)
    assert any(at == line and where == path and message in said for at, where, said in found), found


VN = """
switches: {s1: {device_id: 1, vtep: 192.0.2.1}}
tenants: {t: {}}
vns:
  v:
    tenant: t
    profiles: {p: {queue: 1, dscp: 1}}
    slices:
      b: {key: 1}
      q: {key: 2, profile: p}
    endpoints: {e: {mac: "02:00:00:00:00:01", ips: [10.0.0.1], port: "s1:1"}}
    flowspaces:
      f: {priority: 5, slice: q, match: {%s}}
"""


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("l4_dst: 80", "need ip_proto tcp, udp or sctp"),
        ("ip_proto: icmp, l4_dst: 80", "need ip_proto tcp, udp or sctp"),
        ("ip_proto: tcp, l4_dst: 80-79", "is not a port or a range"),
        ("ip_proto: tcp, l4_dst: 65536", "is not a port or a range"),
        ("ip_proto: tcp, l4_dst: [80]", "expected text, not a list"),
        ("ip_proto: 256", "256 is out of range 0..255"),
        ("ip_proto: tpc", "is not one of: icmp, tcp"),
        ("eth_type: ipv5", "is not one of: ipv4"),
        ("eth_type: 65536", "out of range"),
        ("vlan: 4096", "4096 is out of range 0..4095"),
        ("vlan: tagged", "expected a number 0..4095"),
        ("dscp: 64", "64 is out of range 0..63"),
        ("fragment: 3", "expected true or false"),
        ("ipv4_src: 10.0.0.1/24", "did you mean 10.0.0.0/24?"),
        ("ipv4_src: 10.0.0.0/33", "is not an IPv4 network"),
        ("ipv6_src: 2001:db8::1/64", "did you mean 2001:db8::/64?"),
        ("ipv4_src: 10.0.0.0/8, ipv6_dst: '::/0'", "exclude each other"),
        ("ipv4_src: 10.0.0.0/8, eth_type: ipv6", "ipv4 addresses need eth_type ipv4"),
        ("eth_type: arp, ip_proto: tcp", "need an IP eth_type"),
        ("ip_proto: udp, tcp_flags: 2", "tcp_flags needs ip_proto tcp"),
        ("ip_proto: tcp, tcp_flags: 0x03/0x01", "cover the value"),
        ("ip_proto: tcp, l4_dst: 1, fragment: true", "later fragments carry no ports"),
        ("l4dst: 80", "did you mean 'l4_dst'?"),
        ("eth_src: 02:00:00:00:00", "is not a MAC address"),
        ("endpoint: g", "there is no endpoint 'g'"),
    ],
)
def test_match_with_a_mistake_is_reported_alone(match: str, message: str) -> None:
    found = complaints(VN % match)
    assert len(found) == 1, found
    line, path, said = found[0]
    assert (line, path.startswith("vns.v.flowspaces.f.match")) == (13, True)
    assert message in said


@pytest.mark.parametrize(
    "match",
    [
        "",
        "ip_proto: tcp, l4_dst: 0-65535",
        "eth_type: 0x88cc",
        "eth_type: arp, eth_src: 02:00:00:00:00:01",
        "vlan: untagged",
        "ip_proto: tcp, tcp_flags: 0x02/0x12",
        "ipv6_dst: 2001:db8::/32, ip_proto: icmpv6",
        "endpoint: e",
    ],
)
def test_match_that_is_fine_has_no_problem(match: str) -> None:
    assert complaints(VN % match) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{\n"schema": 1,\n}', 3, "not JSON"),
        ('{"tenants": {"a": {},\n"a": {}}}', 2, "given twice"),
        ('{"tenants": {},\n "tenant": {}}', 2, "did you mean 'tenants'"),
    ],
)
def test_json_mistake_names_its_line(text: str, line: int, message: str) -> None:
    found = complaints(text, as_json=True)
    assert any(at == line and message in said for at, _, said in found), found


@pytest.mark.parametrize("as_json", [False, True])
def test_monstrous_value_gives_a_short_message(as_json: bool) -> None:
    ((_, _, said),) = complaints('{"schema": ' + "9" * 5000 + "}", as_json=as_json)
    assert len(said) < 200


def test_duplicate_key_in_a_large_json_is_still_found() -> None:
    text = '{"tenants": {"a": {}, "a": {}}, "x": "' + "y" * (1 << 20) + '"}'
    assert any("'a' is given twice" in said for _, _, said in complaints(text, as_json=True))


def test_all_mistakes_are_reported_at_once_in_order_of_lines() -> None:
    found = complaints(
        "switches:\n  s1: {device_id: 0, vtep: x}\ntenant: {}\nlinks: [{a: s1:1, b: s9:1}]\n"
    )
    assert [line for line, _, _ in found] == [2, 2, 3, 4]


def test_reference_to_a_record_with_a_mistake_is_not_reported_as_dangling() -> None:
    found = complaints(VN.replace("q: {key: 2,", "q: {key: 0,") % "")
    assert [said for _, _, said in found] == ["0 is out of range 1..4294967295"]


def test_load_of_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")


def test_load_of_binary_says_so(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DescriptionError, match="not UTF-8"):
        load(file)


def test_vn_options_left_out_stay_and_unlimited_takes_the_limit_away() -> None:
    options = "{source_guard: true, learning: true, flood_pps: 7}"
    network = merge(Network(), read(f"vns: {{v: {options}}}"))
    same = merge(network, read("vns: {v: {tenant: t}}")).vns["v"]
    assert (same.source_guard, same.learning, same.flood_pps) == (True, True, 7)
    changed = merge(network, read("vns: {v: {flood_pps: unlimited, learning: false}}")).vns["v"]
    assert (changed.source_guard, changed.learning, changed.flood_pps) == (True, False, None)


def test_peer_of_the_same_name_is_replaced() -> None:
    network = load_network(EXAMPLES / "foreign-peer.yaml")
    text = 'peers: {ovs: {vtep: 192.0.2.9, port: "s2:8", mac: "02:00:00:00:64:02", mtu: 9000}}'
    merged = plan(network, read(text))
    assert list(merged.fabric.peers) == ["ovs"]
    assert str(merged.fabric.peers["ovs"].port) == "s2:8"
    assert merged.fabric.links == network.fabric.links


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)


@settings(max_examples=300)
@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60) | st.text("[]{}:-,'\"&*!|>\n a1")
)
def test_any_text_gives_a_description_or_problems(text: str) -> None:
    for as_json in (False, True):
        _, problems = check(Network(), read(text, as_json=as_json))
        assert all(problem.message for problem in problems)


@settings(max_examples=300)
@given(st.data())
def test_any_value_in_any_place_gives_problems_not_exceptions(data: st.DataObject) -> None:
    plain: dict[str, Any] = json.loads(json.dumps(render(DEMO)))
    place: Any = plain
    while True:
        keys = list(range(len(place))) if isinstance(place, list) else list(place)
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(plain_values)
            break
        place = inner
    check(Network(), read(json.dumps(plain), as_json=True, locate=False))
