"""What makes a network of well-formed records impossible."""

from __future__ import annotations

import pytest
from dfvisor.model.description import check, read
from dfvisor.model.records import Network
from dfvisor.model.validate import validate

BASE = """
switches:
  s1: {device_id: 1, vtep: 192.0.2.1}
  s2: {device_id: 2, vtep: 192.0.2.2}
  s3: {device_id: 3, vtep: 192.0.2.3}
links:
  - {a: "s1:1", b: "s2:1"}
  - {a: "s2:2", b: "s3:1"}
peers:
  o: {vtep: 192.0.2.9, port: "s3:9", mac: "02:00:00:00:64:01"}
tenants: {t: {}}
vns:
  v:
    tenant: t
    profiles: {p: {queue: 1, dscp: 1}}
    slices:
      b: {key: 1}
      q: {key: 2, profile: p}
    endpoints:
      e1: {mac: "02:00:00:00:00:01", ips: [10.0.0.1], port: "s1:11"}
      e3: {mac: "02:00:00:00:00:03", ips: [10.0.0.3], port: "s3:11"}
    flowspaces:
      f: {priority: 5, slice: q, match: {ip_proto: tcp, l4_dst: 80}}
  w:
    tenant: t
    slices:
      b: {key: 3}
    endpoints:
      e1: {mac: "02:00:00:00:00:01", ips: [10.0.0.1], port: "s1:12"}
"""


def problems(text: str) -> list[tuple[str, str]]:
    _, found = check(Network(), read(text))
    return [(problem.path, problem.message) for problem in found]


def test_network_without_mistakes_has_no_problem() -> None:
    assert problems(BASE) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("s2: {device_id: 2", "s2: {device_id: 1", "switches.s2.device_id", "that of switch s1"),
        ("192.0.2.2", "192.0.2.1", "switches.s2.vtep", "192.0.2.1 is already that of switch s1"),
        ("192.0.2.2", "224.0.0.1", "switches.s2.vtep", "not a unicast address"),
        ("192.0.2.2", "0.0.0.0", "switches.s2.vtep", "not a unicast address"),
        ("192.0.2.2", "169.254.0.1", "switches.s2.vtep", "169.254.0.1 is link-local"),
        ('b: "s3:1"', 'b: "s4:1"', "links.s2:2-s4:1", "there is no switch 's4'"),
        ('a: "s2:2"', 'a: "s2:1"', "links.s2:1-s3:1", "s2:1 is already used by link s1:1-s2:1"),
        ('b: "s2:1"', 'b: "s1:9"', "links.s1:1-s1:9", "both ends are at switch s1"),
        ("tenant: t\n    profiles", "tenant: u\n    profiles", "vns.v.tenant", "no tenant 'u'"),
        ("tenant: t\n    profiles", "profiles", "vns.v", "tenant is missing"),
        ("b: {key: 3}", "b: {key: 2}", "vns.w.slices.b.key", "already the GRE key of slice v/q"),
        ("{key: 2, profile: p}", "{key: 1, profile: p}", "vns.v.slices.q.key", "of slice v/b"),
        ("key: 2, profile: p", "key: 2, profile: pp", "vns.v.slices.q.profile", "did you mean 'p'"),
        ("{key: 2, profile: p}", "{key: 2}", "vns.v.slices.q", "second best-effort slice"),
        ("b: {key: 3}", "", "vns.w", "no best-effort slice"),
        ("b: {key: 3}", "b: {key: 3, avoid: [s2]}", "vns.w.slices.b.avoid", "can avoid nothing"),
        ("b: {key: 3}", "b: {key: 3, miss: drop}", "vns.w.slices.b.miss", "no flow entries"),
        ("profile: p}", "profile: p, avoid: [s9]}", "vns.v.slices.q.avoid", "no switch 's9'"),
        (
            "profile: p}",
            "profile: p, avoid: [s2]}",
            "vns.v.slices.q",
            "no path avoiding s2 between e3@s3 and e1@s1",
        ),
        ('  - {a: "s2:2", b: "s3:1"}\n', "", "vns.v", "no path between e3@s3 and e1@s1"),
        ('"02:00:00:00:00:03"', '"03:00:00:00:00:03"', "vns.v.endpoints.e3.mac", "multicast"),
        ('"02:00:00:00:00:03"', '"00:00:00:00:00:00"', "vns.v.endpoints.e3.mac", "all zero"),
        ("00:03", "00:01", "vns.v.endpoints.e3.mac", "already that of endpoint e1"),
        ("10.0.0.3", "10.0.0.1", "vns.v.endpoints.e3.ips", "already that of endpoint e1"),
        ("10.0.0.3", "10.0.0.3, 10.0.0.3", "vns.v.endpoints.e3.ips", "given twice"),
        ("10.0.0.3", "224.0.0.3", "vns.v.endpoints.e3.ips", "not a unicast address"),
        ("s3:11", "s9:11", "vns.v.endpoints.e3.port", "there is no switch 's9'"),
        ("s3:11", "s3:1", "vns.v.endpoints.e3.port", "is a fabric port of link s2:2-s3:1"),
        ("s1:12", "s1:11", "vns.w.endpoints.e1.port", "already the port of endpoint v/e1"),
        ("slice: q", "slice: qq", "vns.v.flowspaces.f.slice", "there is no slice 'qq'"),
        ("priority: 5", "priority: 0", "vns.v.flowspaces.f.priority", "out of range 1..65000"),
        ("priority: 5", "priority: 65001", "vns.v.flowspaces.f.priority", "out of range"),
        ("key: 2,", "key: 0,", "vns.v.slices.q.key", "0 is out of range 1..4294967295"),
        ("key: 2,", "key: 4294967296,", "vns.v.slices.q.key", "out of range"),
        ("queue: 1", "queue: 8", "vns.v.profiles.p.queue", "8 is out of range 0..7"),
        ('s1:12"', 's1:12", vlan: 0', "vns.w.endpoints.e1.vlan", "0 is out of range 1..4094"),
        ('s1:12"', 's1:12", vlan: 4095', "vns.w.endpoints.e1.vlan", "out of range 1..4094"),
        ('port: "s3:11"', "", "vns.v.endpoints.e3", "port is missing (or peer"),
        ("s3:11", "s1:11", "vns.v.endpoints.e3.port", "of endpoint v/e1 of the same network"),
        ('s3:11"', 's1:11", vlan: 5', "vns.v.endpoints.e3.port", "of the same network"),
        ('s3:11"', 's3:11", peer: o', "vns.v.endpoints.e3", "exclude each other"),
        ('port: "s3:11"', "peer: oo", "vns.v.endpoints.e3.peer", "did you mean 'o'?"),
        (
            'port: "s3:11"',
            "peer: o, vlan: 3",
            "vns.v.endpoints.e3.vlan",
            "only endpoints at",
        ),
        ("s3:11", "s3:9", "vns.v.endpoints.e3.port", "s3:9 is a fabric port of peer o"),
        ('port: "s3:9"', 'port: "s3:1"', "peers.o.port", "s3:1 is already used by link s2:2-s3:1"),
        ('port: "s3:9"', 'port: "s8:9"', "peers.o.port", "there is no switch 's8'"),
        ("192.0.2.9", "192.0.2.2", "peers.o.vtep", "192.0.2.2 is already that of switch s2"),
        ("192.0.2.9", "224.0.0.9", "peers.o.vtep", "not a unicast address"),
        ("02:00:00:00:64:01", "03:00:00:00:64:01", "peers.o.mac", "is a multicast address"),
        ("02:00:00:00:64:01", "00:00:00:00:00:00", "peers.o.mac", "all zero"),
        ("o: {vtep", "s1: {vtep", "peers.s1", "a switch has this name"),
        ("profile: p}", "profile: p, punt_pps: 0}", "vns.v.slices.q.punt_pps", "out of range 1.."),
        ("profile: p}", "profile: p, miss: punt}", "vns.v.slices.q.miss", "best-effort, packet-in"),
        ("b: {key: 3}", "b: {key: 3, miss: packet-in}", "vns.w.slices.b.miss", "no flow entries"),
        ("dscp: 1}", "dscp: 1, rate: 5mb}", "vns.v.profiles.p.rate", "'5mb' is not a rate like"),
        ("dscp: 1}", "dscp: 1, rate: 5}", "vns.v.profiles.p.rate", "5bit is out of range 8kbit"),
        ("dscp: 1}", "dscp: 1, rate: true}", "vns.v.profiles.p.rate", "expected text"),
        ("dscp: 1}", "dscp: 1, rate: {peak: 1mbit}}", "vns.v.profiles.p.rate", "committed is miss"),
        ("dscp: 1}", "dscp: 1, rate: {committed: 1mbit}}", "vns.v.profiles.p.rate", "peak is miss"),
        (
            "dscp: 1}",
            "dscp: 1, rate: {committed: 2mbit, peak: 1500kbit}}",
            "vns.v.profiles.p.rate.peak",
            "1500kbit is below the committed rate, 2mbit",
        ),
        (
            "dscp: 1}",
            "dscp: 1, rate: {committed: 1mbit, peak: 1mbit, burst: 1000}}",
            "vns.v.profiles.p.rate.burst",
            "1000 is out of range 1518..",
        ),
        (
            "dscp: 1}",
            "dscp: 1, rate: {committed: 1mbit, peak: 1mbit, bust: 2000}}",
            "vns.v.profiles.p.rate.bust",
            "did you mean 'burst'?",
        ),
        (
            "slice: q,",
            "slice: q, treatment: deny, rate: 1mbit,",
            "vns.v.flowspaces.f.rate",
            "what is not permitted (deny) is not metered",
        ),
        (
            "slice: q,",
            "slice: b, treatment: to-controller,",
            "vns.v.flowspaces.f.treatment",
            "slice b is best effort",
        ),
        (
            'port: "s3:11"}\n    flowspaces:',
            "peer: o}\n    flowspaces:\n      g: {priority: 9, slice: q, match: {endpoint: e3}}",
            "vns.v.flowspaces.g.match.endpoint",
            "e3 is behind peer o: its frames enter at no port",
        ),
        (
            "match: {ip_proto: tcp, l4_dst: 80}}",
            "bidirectional: true, match: {endpoint: e1}}",
            "vns.v.flowspaces.f.bidirectional",
            "has no reverse",
        ),
    ],
)
def test_mistake_is_the_only_one_reported(old: str, new: str, path: str, message: str) -> None:
    assert old in BASE
    found = problems(BASE.replace(old, new))
    assert len(found) == 1, found
    assert found[0][0] == path
    assert message in found[0][1]


@pytest.mark.parametrize(
    ("text", "conflict"),
    [
        ("{priority: 5, slice: b, match: {ip_proto: tcp, l4_dst: 80-90}}", True),
        ("{priority: 5, slice: q, treatment: deny, match: {l4_dst: 80, ip_proto: tcp}}", True),
        ("{priority: 5, slice: b, match: {ip_proto: tcp, l4_src: 1}}", True),
        ("{priority: 5, slice: q, match: {}}", False),
        ("{priority: 6, slice: b, match: {ip_proto: tcp, l4_dst: 80}}", False),
        ("{priority: 5, slice: b, match: {ip_proto: tcp, l4_dst: 81-90}}", False),
        ("{priority: 5, slice: b, match: {ip_proto: udp, l4_dst: 80}}", False),
        (
            "{priority: 5, slice: b, bidirectional: true, "
            "match: {ip_proto: tcp, l4_src: 80, l4_dst: 1}}",
            True,
        ),
        ("{priority: 5, slice: b, match: {ip_proto: tcp, fragment: true}}", False),
        ("{priority: 5, slice: q, rate: 1mbit, match: {ip_proto: tcp, l4_dst: 80}}", True),
        ("{priority: 6, slice: q, rate: 1mbit, match: {ip_proto: tcp, l4_dst: 80}}", False),
    ],
)
def test_flowspaces_of_equal_priority_conflict_where_they_overlap_and_disagree(
    text: str, conflict: bool
) -> None:
    line = "      f: {priority: 5, slice: q, match: {ip_proto: tcp, l4_dst: 80}}\n"
    assert line in BASE
    found = problems(BASE.replace(line, line + f"      g: {text}\n"))
    assert [path for path, _ in found] == (["vns.v.flowspaces.g"] if conflict else [])


def test_same_name_in_another_vn_is_no_duplicate() -> None:
    assert problems(BASE) == []  # both VNs have an endpoint e1 with the same MAC and address


def test_validate_without_lines_still_names_paths() -> None:
    network, _ = check(Network(), read(BASE.replace("slice: q", "slice: x")))
    assert [(p.line, p.path) for p in validate(network)] == [(0, "vns.v.flowspaces.f.slice")]


def test_problem_of_what_is_not_in_the_file_has_no_line() -> None:
    network, _ = check(Network(), read(BASE.replace("slice: q", "slice: x")))
    _, found = check(network, read("tenants: {u: {}}"))
    assert [(p.line, p.path) for p in found] == [(0, "vns.v.flowspaces.f.slice")]


def test_meters_of_overlapping_flowspaces_are_the_reason_given() -> None:
    line = "      f: {priority: 5, slice: q, match: {ip_proto: tcp, l4_dst: 80}}\n"
    text = line.replace("slice: q", "slice: q, rate: 1mbit")
    found = problems(BASE.replace(line, text + text.replace("f:", "g:")))
    assert [message for _, message in found] == [
        "overlaps flowspace f of equal priority 5, and one meter has to count the packets of both"
    ]


SHARED = """
  x:
    tenant: t
    slices: {b: {key: 9}}
    endpoints: {e: {mac: "02:00:00:00:00:01", port: "s1:11"%s}}
  y:
    tenant: t
    slices: {b: {key: 10}}
    endpoints: {e: {mac: "02:00:00:00:00:01", port: "s1:11"%s}}
"""


@pytest.mark.parametrize(
    ("one", "two", "found"),
    [
        (", vlan: 5", ", vlan: 6", []),
        (
            ", vlan: 5",
            ", vlan: 5",
            [("vns.y.endpoints.e.vlan", "5 is already that of endpoint x/e at port s1:11")],
        ),
        (
            ", vlan: 5",
            "",
            [
                (
                    "vns.y.endpoints.e.port",
                    "s1:11 is already the port of endpoint v/e1; a vlan tells them apart",
                )
            ],
        ),
    ],
)
def test_endpoints_share_a_port_if_their_vlans_differ(
    one: str, two: str, found: list[tuple[str, str]]
) -> None:
    """The VN v has an endpoint without VLAN at the same port."""
    assert problems(BASE + SHARED % (one, two)) == found


def test_several_peers_may_be_behind_one_port() -> None:
    more = '  o2: {vtep: 192.0.2.10, port: "s3:9", mac: "02:00:00:00:64:02"}\ntenants: {t: {}}'
    assert problems(BASE.replace("tenants: {t: {}}", more)) == []
    found = problems(BASE.replace("tenants: {t: {}}", more.replace("2.10", "2.9")))
    assert found == [("peers.o2.vtep", "192.0.2.9 is already that of peer o")]


def test_way_to_an_endpoint_behind_a_peer_leads_to_its_switch() -> None:
    behind = BASE.replace('port: "s3:11"', "peer: o")
    assert problems(behind) == []
    found = problems(behind.replace('  - {a: "s2:2", b: "s3:1"}\n', ""))
    assert found == [("vns.v", "no path between e3@s3 and e1@s1")]


def test_reference_to_a_peer_with_a_mistake_is_not_reported_as_dangling() -> None:
    behind = BASE.replace('port: "s3:11"', "peer: o").replace("192.0.2.9", "nowhere")
    assert [path for path, _ in problems(behind)] == ["peers.o.vtep"]
