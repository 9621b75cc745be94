"""Networks for the agent's tests: the demo, and valid ones at random."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import msgspec
from dfvisor.agent.numbers import Kind
from dfvisor.model.description import load_network
from dfvisor.model.records import (
    Endpoint,
    Fabric,
    Flowspace,
    Link,
    Match,
    MissPolicy,
    Network,
    Peer,
    Profile,
    Rate,
    Slice,
    Switch,
    Tenant,
    Treatment,
    UnknownUnicast,
    VirtualNetwork,
)
from dfvisor.model.types import Mac, PortRange, PortRef
from hypothesis import strategies as st

EXAMPLES = Path(__file__).parents[3] / "examples"


def demo() -> Network:
    """Four switches in a diamond; red, blue and green."""
    return load_network(EXAMPLES / "demo.yaml")


class MemoryNumbers:
    """Numbers without a database: from 1 up, in the order of asking."""

    def __init__(self) -> None:
        self.known: dict[Kind, dict[str, int]] = {kind: {} for kind in Kind}

    def number(self, kind: Kind, name: str) -> int:
        return self.known[kind].setdefault(name, len(self.known[kind]) + 1)

    def name(self, kind: Kind, number: int) -> str:
        """Whose number it is."""
        return {held: name for name, held in self.known[kind].items()}[number]


@st.composite
def fabrics(draw: st.DrawFn) -> Fabric:
    """2 to 5 connected switches: a random tree and a few more links."""
    count = draw(st.integers(2, 5))
    switches = {
        f"s{number}": Switch(
            name=f"s{number}", device_id=number, vtep=IPv4Address(f"192.0.2.{number}")
        )
        for number in range(1, count + 1)
    }
    pairs = [(draw(st.integers(1, number - 1)), number) for number in range(2, count + 1)]
    pairs += draw(
        st.lists(
            st.tuples(st.integers(1, count), st.integers(1, count)).filter(lambda p: p[0] != p[1]),
            max_size=3,
        )
    )
    links = tuple(
        Link(
            a=PortRef(f"s{a}", 100 + place),
            b=PortRef(f"s{b}", 200 + place),
            cost=draw(st.integers(1, 3)),
            mtu=draw(st.sampled_from([1500, 9000])),
        )
        for place, (a, b) in enumerate(pairs)
    )
    peers = {
        f"p{number}": Peer(
            name=f"p{number}",
            vtep=IPv4Address(f"198.51.100.{number}"),
            port=PortRef(draw(st.sampled_from(sorted(switches))), 300),
            mac=Mac(0x020000000F00 + number),
        )
        for number in range(1, draw(st.integers(0, 2)) + 1)
    }
    return Fabric(switches=switches, links=links, peers=peers)


rates = st.none() | st.builds(
    lambda committed, more, burst: Rate(
        committed_bps=committed, peak_bps=committed + more, burst_bytes=burst
    ),
    st.integers(8000, 10**9),
    st.integers(0, 10**9),
    st.none() | st.integers(1500, 10**6),
)


matches = st.builds(
    Match,
    ip_proto=st.just(6),
    ipv4_dst=st.none() | st.builds(lambda n: IPv4Network((n << 8, 24)), st.integers(0, 2**24 - 1)),
    l4_dst=st.none()
    | st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(
        lambda ends: PortRange(min(ends), max(ends))
    ),
)


@st.composite
def vns(draw: st.DrawFn, fabric: Fabric, number: int) -> VirtualNetwork:
    """A valid VN; VNs of different numbers share no key and no port."""
    profiles = {"gold": Profile(name="gold", queue=6, dscp=46, rate=draw(rates))}
    slices = {"default": Slice(name="default", key=number * 100)}
    for place in range(draw(st.integers(0, 3))):
        name = f"qos{place}"
        slices[name] = Slice(
            name=name,
            key=number * 100 + 1 + place,
            profile="gold",
            miss=draw(st.sampled_from(MissPolicy)),
        )
    endpoints: dict[str, Endpoint] = {}
    for place in range(draw(st.integers(1, 5))):
        name = f"h{place}"
        place_at = draw(st.sampled_from([*sorted(fabric.switches), *sorted(fabric.peers)]))
        at_peer = place_at in fabric.peers
        vlan = draw(st.none() | st.just(number))  # a port may serve a VN on each VLAN
        port = PortRef(place_at, (0 if vlan else number * 10) + 10 + place)
        ips = (IPv4Address(f"10.0.0.{place + 1}"), IPv6Address(f"2001:db8::{place + 1}"))
        endpoints[name] = Endpoint(
            name=name,
            mac=Mac(0x020000000000 + place),
            ips=ips[: draw(st.integers(0, 2))],
            port=None if at_peer else port,
            vlan=None if at_peer else vlan,
            peer=place_at if at_peer else None,
        )
    flowspaces: dict[str, Flowspace] = {}
    for place in range(draw(st.integers(0, 3))):
        name = f"f{place}"
        at_ports = sorted(one.name for one in endpoints.values() if one.port is not None)
        entrance = draw(st.none() | st.sampled_from(at_ports) if at_ports else st.none())
        flowspaces[name] = Flowspace(
            name=name,
            priority=10 + place,
            match=msgspec.structs.replace(draw(matches), endpoint=entrance),
            slice=(slice_name := draw(st.sampled_from(sorted(slices)))),
            treatment=(
                treatment := draw(
                    st.sampled_from(
                        [
                            one
                            for one in Treatment
                            if one is not Treatment.TO_CONTROLLER or slice_name != "default"
                        ]
                    )
                )
            ),
            rate=draw(rates) if treatment is Treatment.PERMIT else None,
        )
    return VirtualNetwork(
        name=f"vn{number}",
        tenant="t",
        unknown_unicast=draw(st.sampled_from(UnknownUnicast)),
        source_guard=draw(st.booleans()),
        learning=draw(st.booleans()),
        flood_pps=draw(st.none() | st.integers(1, 10**6)),
        profiles=profiles,
        slices=slices,
        endpoints=endpoints,
        flowspaces=flowspaces,
    )


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A valid network of up to 3 VNs."""
    fabric = draw(fabrics())
    count = draw(st.integers(0, 3))
    found = [draw(vns(fabric, number)) for number in range(1, count + 1)]
    return Network(
        fabric=fabric, tenants={"t": Tenant(name="t")}, vns={vn.name: vn for vn in found}
    )
