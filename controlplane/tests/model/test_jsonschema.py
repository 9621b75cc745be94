"""The JSON Schema of description files, against the parser that it was made from."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from dfvisor.model.description import parse_description, read, render
from dfvisor.model.jsonschema import json_schema
from dfvisor.model.plain import Problems
from dfvisor.model.records import Network
from dfvisor.model.source import read_json, read_yaml
from hypothesis import given
from jsonschema import Draft202012Validator

from .strategies import networks
from .test_validate import BASE

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
WHOLE = """
schema: 1
switches: {s1: {device_id: 1, vtep: 192.0.2.1, drained: true}}
links: [{a: "s1:1", b: "s2:1", cost: 2, mtu: 9000, drained: true, capacity: 10gbit}]
peers: {o: {vtep: 192.0.2.9, port: "s3:9", mac: "02:00:00:00:64:01", mtu: 1500}}
tenants: {t: }
grants:
  v:
    tenant: t
    keys: [1, 3-9]
    ports: {s1: [11, 12-14]}
    peers: [o]
    max_slices: 3
    max_flowspaces: 3
    max_endpoints: 3
    max_flow_entries: 3
    max_rate: 10mbit
    max_queue: 3
    controllers: [q]
vns:
  v:
    tenant: t
    unknown_unicast: flood
    source_guard: true
    learning: false
    flood_pps: 100
    profiles: {p: {queue: 1, dscp: 1, rate: {committed: 1mbit, peak: 2000000, burst: 3000}}}
    slices:
      q:
        key: 2
        profile: p
        miss: packet-in
        avoid: [s1]
        punt_pps: 5
        stale: deny
        stale_after_s: 60
        disabled: true
    endpoints:
      a: {mac: "02:00:00:00:00:01", ips: [10.0.0.1, "fe80::1"], port: "s1:11", vlan: 5}
      b: {mac: "02:00:00:00:00:02", peer: o}
    flowspaces:
      f:
        priority: 5
        slice: q
        treatment: permit
        under: g
        readers: [t]
        bidirectional: true
        rate: 5mbit
        match:
          endpoint: a
          eth_src: "02:00:00:00:00:01"
          eth_dst: "02:00:00:00:00:01"
          eth_type: ipv4
          vlan: untagged
          ipv4_src: 10.0.0.0/8
          ipv4_dst: 10.0.0.1
          ipv6_src: fe80::/16
          ipv6_dst: "::"
          ip_proto: tcp
          dscp: 3
          fragment: false
          l4_src: 80
          l4_dst: 80-90
          tcp_flags: 0x02/0x12
"""


def plain(text: str) -> Any:
    return read_yaml(text).value


def readable(value: Any) -> bool:
    problems = Problems()
    parse_description(value, (), problems)
    return not problems.found


def test_schema_is_one_and_has_every_key_of_a_whole_file() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    value = plain(WHOLE)
    assert readable(value)

    def keys(schema: Any, value: Any) -> None:
        """The file above has every key that the schema knows, and no other."""
        schema = schema.get("anyOf", [schema])[-2 if "anyOf" in schema else 0]
        schema = schema.get("anyOf", [schema])[-1]
        if not isinstance(value, dict):
            return
        if schema.get("properties"):
            left = schema["properties"].keys() - value.keys()
            assert not left or left <= {"peer", "port", "vlan", "ips"}, left
            for key, inner in value.items():
                keys(schema["properties"][key], inner)
        elif isinstance(schema.get("additionalProperties"), dict):
            for inner in value.values():
                keys(schema["additionalProperties"], inner)

    keys(SCHEMA, value)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_are_valid(file: Path) -> None:
    assert not list(VALIDATOR.iter_errors(plain(file.read_text())))


def test_whole_file_and_parts_are_valid() -> None:
    assert not list(VALIDATOR.iter_errors(plain(WHOLE)))
    for text in (BASE, "{}", "vns: {v: {flowspaces: }}", "switches:", "tenants: {t: {}}"):
        assert not list(VALIDATOR.iter_errors(plain(text) or {})), text


@given(networks())
def test_every_network_as_rendered_is_valid(network: Network) -> None:
    value = json.loads(json.dumps(render(network)))
    assert not read_json(json.dumps(value)).problems
    assert readable(value)
    assert not list(VALIDATOR.iter_errors(value))


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a value, but for the whole."""
    found: list[tuple[str | int, ...]] = []
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        found += [(*path, key), *places(inner, (*path, key))]
    return found


VALUE = plain(WHOLE)
PLACES = places(VALUE)
WRONG: list[Any] = [
    -1,
    2**40,
    1.5,
    "",
    "no such thing!",
    True,
    [],
    ["?"],
    {},
    {"?": 1},
    {"nobody-asks": {}},
    None,
    "300.1.2.3",
    "s1:0x",
    [[1]],
]
BEYOND = (
    "300.1.2.3",  # a pattern says digits, the parser at most 255
)


def changed(place: tuple[str | int, ...], *wrong: Any) -> Any:
    """The whole file with another value at a place, or none."""
    value = copy.deepcopy(VALUE)
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    if wrong:
        inner[place[-1]] = wrong[0]
    else:
        del inner[place[-1]]
    return value


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_wrong_value_is_refused_by_the_schema_as_by_the_parser(wrong: Any) -> None:
    """At every place."""
    for place in PLACES:
        value = changed(place, wrong)
        valid = VALIDATOR.is_valid(value)
        if readable(value):
            assert valid, f"{place} = {wrong!r} can be read, and the schema refuses it"
        elif wrong not in BEYOND:
            assert not valid, f"{place} = {wrong!r} cannot be read, and the schema accepts it"


def test_missing_key_is_refused_by_the_schema_as_by_the_parser() -> None:
    for place in PLACES:
        value = changed(place)
        assert VALIDATOR.is_valid(value) == readable(value), place


def test_description_without_structure_is_refused() -> None:
    for text in ("5", "[]", "text"):
        assert read(text).problems
        assert list(VALIDATOR.iter_errors(plain(text)))
