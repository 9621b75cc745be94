"""What was seen on the fabric links: captured by tcpdump, decoded by tshark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dfvisor.model.types import PortRef

from emulation.demo.flows import SOURCES_PER_FLOW, Flow
from emulation.emulation import Emulation
from emulation.nodes import Capture, decode

FIELDS = ("gre.key", "ip.src", "udp.srcport", "udp.dstport")
GRE = "ip proto 47"


@dataclass(frozen=True, slots=True)
class Seen:
    """One UDP packet of a tenant on a link, inside its tunnel. `inner` is its inner IPv4 source."""

    link: tuple[PortRef, PortRef]
    key: int
    inner: str
    source: int
    destination: int


class Tap:
    """Captures all GRE on every fabric link, from `with` to its end; then `packets` has them."""

    def __init__(self, net: Emulation, name: str) -> None:
        self._net = net
        self._name = name
        self._captures: list[tuple[tuple[PortRef, PortRef], Capture]] = []
        self.packets: list[Seen] = []

    def __enter__(self) -> Tap:
        def start(link: tuple[PortRef, PortRef]) -> tuple[tuple[PortRef, PortRef], Capture]:
            near = link[0]
            file = self._net.instance.directory / f"{self._name}-{near.switch}-{near.port}.pcap"
            return link, self._net.switch(near.switch).capture(near.port, file, only=GRE)

        with ThreadPoolExecutor() as pool:
            self._captures = list(pool.map(start, self._net.plan.links))
        return self

    def __exit__(self, *_: object) -> None:
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(lambda c: (c[0], c[1].stop()), self._captures))
            for found in pool.map(lambda f: _decode(*f), files):
                self.packets += found


def _decode(link: tuple[PortRef, PortRef], file: Path) -> list[Seen]:
    seen = []
    for key, sources, source, destination in decode(file, FIELDS, only="gre.key && udp"):
        inner = sources.split(",")[-1]
        seen.append(Seen(link, int(key, 0), inner, int(source), int(destination)))
    file.unlink()
    return seen


def forward(packets: Iterable[Seen], flow: Flow) -> list[Seen]:
    """The flow's packets from its source host to its destination."""
    sources = range(flow.source, flow.source + SOURCES_PER_FLOW)
    return [p for p in packets if p.source in sources and p.destination == flow.port]


def keys(packets: Iterable[Seen]) -> Counter[int]:
    """How many packets each GRE key was on."""
    return Counter(packet.key for packet in packets)


def way(packets: Iterable[Seen], start: str) -> tuple[str, ...]:
    """The switches that the packets passed, from `start` on, by the links they were seen on. Links
    that do not join up are added at the end, with a question mark."""
    left = {(p.link[0].switch, p.link[1].switch) for p in packets}
    passed = [start]
    while found := next((link for link in sorted(left) if passed[-1] in link), None):
        left.remove(found)
        passed.append(found[0] if found[1] == passed[-1] else found[1])
    passed += [f"{a}-{b}?" for a, b in sorted(left)]
    return tuple(passed)


def ways(packets: Iterable[Seen], start: str) -> Counter[tuple[str, ...]]:
    """On which way each connection (told by its source port) passed, counted; as `way`."""
    connections: dict[int, list[Seen]] = {}
    for packet in packets:
        connections.setdefault(packet.source, []).append(packet)
    return Counter(way(seen, start) for seen in connections.values())
