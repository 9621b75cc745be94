"""Four switches in a row between two hosts, for measuring slicers with real packets.

`python -m bench.chain LISTEN[,LISTEN...] SWITCH=ADDRESS[,...] PKI` gives each of these switches its
pipeline and infrastructure, as its agent would, and serves a slicer in front of each, all in this
process; it prints their addresses. All that the slice's controller has to do is left to it.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from dfvisor import daemon
from dfvisor.agent.book import Book
from dfvisor.agent.directory import Directory, links
from dfvisor.agent.link import open_link
from dfvisor.agent.numbers import LocalNumbers
from dfvisor.agent.pipeline import Pipeline
from dfvisor.agent.planner import Planner
from dfvisor.agent.site import look
from dfvisor.model.grants import Grant
from dfvisor.model.records import (
    Endpoint,
    Fabric,
    Flowspace,
    Link,
    Match,
    MissPolicy,
    Profile,
    Slice,
    Switch,
    VirtualNetwork,
)
from dfvisor.model.types import Mac, PortRef
from dfvisor.p4rt.ports import NEIGHBOUR
from dfvisor.p4rt.tls import Credentials
from dfvisor.slicer.limits import Limits, Rate
from dfvisor.slicer.server import SlicerServer
from dfvisor.store.local import LocalDatabase

from bench import slicer_rig

VN, SLICE, TENANT = "t", "s0", "t"
NAMES = ("s1", "s2", "s3", "s4")
UP, DOWN, ACCESS = 1, 2, 11
"""Ports: to the former switch, to the next one, to a host."""
MACS = (Mac.parse("02:00:00:00:00:01"), Mac.parse("02:00:00:00:00:02"))
IPS = (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"))
PUNT_PPS = 100_000
FAST = Limits(packet_ins=Rate(per_s=1e6, burst=1e6), packet_outs=Rate(per_s=1e6, burst=1e6))


def fabric() -> Fabric:
    """s1 - s2 - s3 - s4."""
    switches = {
        name: Switch(name=name, device_id=number, vtep=IPv4Address(f"192.0.2.{number}"))
        for number, name in enumerate(NAMES, 1)
    }
    pairs = itertools.pairwise(NAMES)
    return Fabric(
        switches=switches,
        links=tuple(Link(a=PortRef(a, DOWN), b=PortRef(b, UP)) for a, b in pairs),
    )


def vn(miss: MissPolicy) -> VirtualNetwork:
    """A VN whose UDP packets are one slice's, with a host at each end."""
    slices = (
        Slice(name="default", key=1),
        Slice(name=SLICE, key=2, profile="p", miss=miss, punt_pps=PUNT_PPS),
    )
    ends = zip(("h1", "h2"), MACS, IPS, (NAMES[0], NAMES[-1]), strict=True)
    udp = Flowspace(name="udp", priority=10, match=Match(ip_proto=17), slice=SLICE)
    return VirtualNetwork(
        name=VN,
        tenant=TENANT,
        profiles={"p": Profile(name="p", queue=6, dscp=46)},
        slices={one.name: one for one in slices},
        endpoints={
            name: Endpoint(name=name, mac=mac, ips=(ip,), port=PortRef(switch, ACCESS))
            for name, mac, ip, switch in ends
        },
        flowspaces={"udp": udp},
    )


def next_hops(number: int) -> tuple[int, int]:
    """At the number-th switch (from 1), the virtual next hops to either host."""
    back = ACCESS if number == 1 else NEIGHBOUR + number - 1
    on = ACCESS if number == len(NAMES) else NEIGHBOUR + number + 1
    return back, on


async def serve(listen: Sequence[str], switches: Sequence[str], pki: Path) -> None:
    """Slicers in front of these switches (`name=address`), until cancelled."""
    tls = Credentials.load(pki / "slicer.pem", pki / "slicer.key", pki / "ca.pem")
    found = []
    for address, switch in zip(listen, switches, strict=True):
        name, _, at = switch.partition("=")
        found.append(await slicer(name, at, address, tls))
    print(" ".join(found), flush=True)
    await asyncio.Event().wait()


async def slicer(name: str, switch: str, listen: str, tls: Credentials) -> str:
    """Set one switch up and serve its slicer. The VN pulls; what is pushed is there before."""
    pipeline: Pipeline = slicer_rig.PIPELINE
    whole = fabric()
    device_id = whole.switches[name].device_id
    directory = Directory(lambda *completed: None, name)
    link = await open_link(switch, device_id, (0, 1), pipeline, lambda primary: None)
    book = Book()
    planner = Planner(name, LocalNumbers(LocalDatabase(":memory:")), book)
    if planner.set_fabric(1, whole) is not None:
        raise RuntimeError("the fabric makes no sense")
    planner.site = site = look(whole, name)
    assert site is not None
    directory.set_neighbours(planner.stage_fabric(probes=False))
    directory.set_links(links(site))
    planner.set_vn(VN, 1, vn(MissPolicy.PACKET_IN))
    (staged,) = planner.stage({VN})
    if staged.error or staged.plan is None:
        raise RuntimeError(f"{name}: {staged.error}")
    written = await link.carry_out(book.pending())
    refused = [one for one in written if one.status.code]
    if refused:
        raise RuntimeError(f"{name}: {refused[0]}")
    directory.set_grant(
        VN, Grant(vn=VN, tenant=TENANT, controllers=(SLICE,), max_flow_entries=100_000)
    )
    directory.publish(VN, 1, staged.plan, space=staged.vn)
    made = SlicerServer(
        directory,
        slicer_rig.Switch(link.client),
        pipeline.schema,
        device_id,
        limits=replace(Limits(), packet_ins=FAST.packet_ins, packet_outs=FAST.packet_outs),
        tls=tls,
    )
    link.client._on_event = made.event
    return await made.start(listen)


def main() -> None:
    listen, switches, pki = sys.argv[1:]
    daemon.run(serve(listen.split(","), switches.split(","), Path(pki)))


if __name__ == "__main__":
    main()
