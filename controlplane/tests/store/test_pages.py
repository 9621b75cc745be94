"""Records to pages and back, and the merge of changes: no database."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from dfvisor.errors import Conflict, StoreError
from dfvisor.model.records import (
    Flowspace,
    Match,
    Profile,
    Slice,
    UnknownUnicast,
    VirtualNetwork,
)
from dfvisor.store import bulk
from dfvisor.store.codec import (
    Key,
    Record,
    Revision,
    assemble,
    decode,
    decode_link,
    decode_page,
    decode_records,
    encode,
    encode_link,
    encode_page,
    encode_record,
    plain_record,
    records_of,
    settings_in,
    settings_of,
)
from dfvisor.store.merge import merge, merge_vn
from dfvisor.store.pages import MAX_PAGE_BYTES, amend, lay_out, records_by_page, split
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.tests.model.strategies import vns


def flowspace(name: str, priority: int = 1) -> Flowspace:
    return Flowspace(name=name, priority=priority, match=Match(), slice="s")


def many(count: int) -> dict[Key, Record]:
    return {("flowspaces", f"f{n}"): flowspace(f"f{n}") for n in range(count)}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(vns("v"), st.integers(100, 2000))
def test_pages_hold_exactly_the_records(vn: VirtualNetwork, max_bytes: int) -> None:
    found: dict[Key, Record] = {}
    for page in split(records_of(vn), max_bytes):
        records = decode_page(page.data, "page")
        assert not records.keys() & found.keys()
        found |= records
    assert assemble(settings_of(vn), found.items()) == vn


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(vns("v"))
def test_flowspaces_in_bulk_are_read_and_written_as_one_by_one(vn: VirtualNetwork) -> None:
    plain = {name: plain_record(one) for name, one in vn.flowspaces.items()}
    assert bulk.flowspaces(encode(plain)) == vn.flowspaces
    parsed = decode_records({"flowspaces": plain}, "page")
    assert {name: one for (_, name), one in parsed.items()} == vn.flowspaces
    for one in vn.flowspaces.values():
        assert bulk.encode_flowspace(one) == encode(plain_record(one))


def spoiled(path: tuple[str, ...], value: object) -> dict[str, object]:
    found: dict[str, object] = {
        "priority": 1,
        "slice": "s",
        "match": {"ip_proto": "tcp", "ipv4_src": "10.0.0.0/8", "l4_dst": 80},
    }
    at = found
    for key in path[:-1]:
        inner = at[key]
        assert isinstance(inner, dict)
        at = inner
    at[path[-1]] = value
    return found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("priority",), 0),
        (("priority",), 65001),
        (("priority",), "1"),
        (("priority",), True),
        (("slice",), "no name"),
        (("slice",), "s\n"),
        (("treatment",), "permitted"),
        (("bidirectional",), "yes"),
        (("other",), 1),
        (("rate",), "fast"),
        (("match", "other"), 1),
        (("match", "ipv4_src"), "10.0.0.1/8"),
        (("match", "ipv6_src"), "10.0.0.0/8"),
        (("match", "l4_dst"), "90-80"),
        (("match", "l4_dst"), 65536),
        (("match", "ip_proto"), "tpc"),
        (("match", "ip_proto"), 256),
        (("match", "eth_type"), 65536),
        (("match", "eth_src"), "nonsense"),
        (("match", "vlan"), 4096),
        (("match", "dscp"), 64),
        (("match", "tcp_flags"), "0x10/0x01"),
        (("match", "fragment"), 1),
        (("match", "endpoint"), ""),
    ],
)
def test_flowspace_that_the_parser_refuses_is_not_decoded_in_bulk(
    path: tuple[str, ...], value: object
) -> None:
    plain = {"f": spoiled(path, value)}
    with pytest.raises(StoreError):
        decode_records({"flowspaces": plain}, "page")
    assert bulk.flowspaces(encode(plain)) is None


def test_pages_are_of_moderate_size() -> None:
    pages = split(many(5000))
    sizes = [len(page.data) for page in pages]
    assert max(sizes) <= MAX_PAGE_BYTES + 200
    assert sum(sizes) / len(sizes) > MAX_PAGE_BYTES / 3


def test_pages_do_not_depend_on_the_order_of_records() -> None:
    records = many(1000)
    assert split(records) == split(dict(reversed(records.items())))


@pytest.mark.parametrize("change", ["add", "change", "remove"])
def test_change_of_one_record_stages_one_page(change: str) -> None:
    records = many(3000)
    first = lay_out(split(records), {}, "1")
    assert len(first.staged) == len(first.manifest) > 5
    if change == "remove":
        del records["flowspaces", "f7"]
    else:
        name = "f7" if change == "change" else "added"
        records["flowspaces", name] = flowspace(name, 9)
    second = lay_out(split(records), first.manifest, "2")
    assert list(second.staged) == ["2-0"]
    assert len(set(second.manifest.values()) - set(first.manifest.values())) == 1


def test_no_change_stages_nothing() -> None:
    first = lay_out(split(many(3000)), {}, "1")
    assert lay_out(split(many(3000)), first.manifest, "2").staged == {}


@settings(max_examples=100, deadline=None)
@given(
    st.sets(st.integers(0, 60), max_size=60),
    st.lists(st.dictionaries(st.integers(0, 60), st.booleans(), max_size=20), max_size=6),
    st.integers(200, 1500),
)
def test_amended_pages_hold_what_was_there_and_the_changes(
    first: set[int], changes: list[dict[int, bool]], max_bytes: int
) -> None:
    def key(number: int) -> Key:
        return ("flowspaces", f"f{number}")

    records: dict[Key, Record] = {key(n): flowspace(f"f{n}") for n in first}
    held = records_by_page(split(records, max_bytes), records)
    for step, change in enumerate(changes, 2):
        change_of: dict[Key, Record | None] = {
            key(n): flowspace(f"f{n}", step) if kept else None for n, kept in change.items()
        }
        gone, coming = amend(held, change_of, max_bytes)
        assert all(len(page.data) < max_bytes * 2 for page in coming)
        held = {prefix: page for prefix, page in held.items() if prefix not in gone}
        held |= {page.prefix: decode_page(page.data, "page") for page in coming}
        records = {k: r for k, r in {**records, **change_of}.items() if r is not None}
        found = [pair for page in held.values() for pair in page.items()]
        assert len(found) == len(records)
        assert dict(found) == records
        prefixes = sorted(held)
        assert not any(b.startswith(a) for a, b in pairwise(prefixes)), "one home for every record"
        assert all(held.values()), "no empty page"


def test_pages_that_became_nearly_empty_are_made_anew() -> None:
    records = many(3000)
    held = records_by_page(split(records), records)
    kept = {("flowspaces", f"f{n}") for n in range(20)}
    gone, coming = amend(held, {key: None for key in records if key not in kept})
    assert (gone, len(coming)) == (set(held), 1)


def test_vn_without_records_has_no_pages() -> None:
    assert split({}) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "bad record"),
        (b"[]", "bad record"),
        (b"{}", "its schema is missing"),
        (b'{"schema": 2}', "schema is 2, newer than 1"),
        (b'{"schema": 1, "ghosts": {}}', "there are no 'ghosts'"),
        (b'{"schema": 1, "slices": []}', "there are no 'slices'"),
        (b'{"schema": 1, "slices": {"a": {"key": 0}, "b": 1}}', "slices.a.key: 0 is out of range"),
        (b'{"schema": 1, "slices": {"a": {"key": 0}, "b": 1}}', "slices.b: expected a mapping"),
        (b'{"schema": 1, "slices": {"a": {"key": 1, "kye": 1}}}', "unknown key 'kye'"),
        (b"\xff", "bad record"),
    ],
)
def test_page_that_cannot_be_read_says_why(data: bytes, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        decode_page(data, "/vns/v/pages/1-0")
    assert str(caught.value).startswith("/vns/v/pages/1-0: bad record: ")


def test_equal_records_give_equal_bytes() -> None:
    key = ("flowspaces", "f")
    one, two = encode_record(flowspace("f")), encode_record(flowspace("f"))
    assert encode_page([(key, one)]) == encode_page([(key, two)])


@given(*[st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)) for _ in range(3)])
def test_merge_takes_each_change_or_says_conflict(
    base: dict[str, int], mine: dict[str, int], theirs: dict[str, int]
) -> None:
    clashes = {
        key
        for key in "abcd"
        if len({base.get(key), mine.get(key)}) == 2
        and len({base.get(key), theirs.get(key)}) == 2
        and mine.get(key) != theirs.get(key)
    }
    if clashes:
        with pytest.raises(Conflict) as caught:
            merge(base, mine, theirs, "v")
        assert str(caught.value).endswith(", ".join(f"v.{key}" for key in sorted(clashes)))
        return
    merged = merge(base, mine, theirs, "v")
    for key in "abcd":
        changed = mine if mine.get(key) != base.get(key) else theirs
        assert merged.get(key) == changed.get(key)
    assert merged == merge(base, theirs, mine, "v")


def test_record_of_an_older_version_is_read_with_the_defaults() -> None:
    page = {
        "schema": 1,
        "profiles": {"p": {"queue": 1, "dscp": 2}},
        "slices": {"s": {"key": 1}},
        "endpoints": {"e": {"mac": "02:00:00:00:00:01", "port": "s1:1"}},
        "flowspaces": {"f": {"priority": 1, "slice": "s", "match": {}}},
    }
    found = decode_page(encode(page), "page")
    assert found["profiles", "p"] == Profile(name="p", queue=1, dscp=2)
    assert found["slices", "s"] == Slice(name="s", key=1)
    assert found["flowspaces", "f"] == flowspace("f")
    assert {key: json.loads(encode_record(record)) for key, record in found.items()} == {
        (kind, name): value
        for kind, named in page.items()
        if isinstance(named, dict)
        for name, value in named.items()
    }
    link = decode_link(b'{"schema": 1, "a": "s1:1", "b": "s2:1", "cost": 1}', "/links/x")
    assert (link.mtu, encode_link(link)) == (
        1500,
        b'{"schema":1,"a":"s1:1","b":"s2:1","cost":1}',
    )
    old = (
        b'{"revision":1,"origin":"","changes":[],"tenant":"t","unknown_unicast":"drop","pages":{}}'
    )
    vn = settings_in("v", decode(old, Revision, "/vns/v/revision"), "/vns/v/revision")
    assert vn == VirtualNetwork(name="v", tenant="t")


@pytest.mark.parametrize("option", [b'"flood_pps":0', b'"source_guard":1', b'"learning":"yes"'])
def test_option_that_is_none_is_a_bad_record(option: bytes) -> None:
    data = (
        b'{"revision":1,"origin":"","changes":[],"tenant":"t","unknown_unicast":"flood",'
        b'"pages":{},' + option + b"}"
    )
    with pytest.raises(StoreError, match="bad record"):
        decode(data, Revision, "/vns/v/revision")


def test_limit_taken_away_by_one_side_is_gone_after_the_merge() -> None:
    base = VirtualNetwork(name="v", tenant="t", flood_pps=5)
    mine = replace(base, learning=True)
    theirs = replace(base, flood_pps=None)
    merged = VirtualNetwork(name="v", tenant="t", learning=True)
    assert merge_vn(base, mine, theirs) == merge_vn(base, theirs, mine) == merged
    with pytest.raises(Conflict, match=r"vns\.v\.flood_pps"):
        merge_vn(base, replace(base, flood_pps=6), theirs)


def test_merge_of_settings_and_records() -> None:
    base = VirtualNetwork(name="v", tenant="t")
    mine = replace(base, flowspaces={"a": flowspace("a")})
    theirs = replace(base, unknown_unicast=UnknownUnicast.FLOOD)
    merged = merge_vn(base, mine, theirs)
    assert merged == replace(mine, unknown_unicast=UnknownUnicast.FLOOD)
    with pytest.raises(Conflict, match=r"vns\.v\.tenant"):
        merge_vn(base, replace(base, tenant="a"), replace(base, tenant="b"))
