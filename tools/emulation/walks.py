"""The ways that numbered packets (stream.py) took through the fabric, as captured on its links."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from dfvisor.model.types import PortRef

from emulation import stream
from emulation.emulation import Emulation
from emulation.nodes import Capture

_FILE_BYTES = 24  # pcap's file header
_RECORD = struct.Struct("<IIII")
_OUTER = struct.Struct("!12xH9xB2x4s4sHHI")  # Ethernet, IPv4, GRE with a key
_INNER = struct.Struct("!12xH9xB2x4s4sHH4x")  # Ethernet, IPv4, UDP
_IPV4, _UDP, _GRE, _TEB = 0x0800, 17, 47, 0x6558


@dataclass(frozen=True, slots=True)
class Step:
    """A packet crossed a link, in a tunnel from one switch to another; times in microseconds."""

    link: tuple[PortRef, PortRef]
    at_us: int
    key: int
    near: str
    far: str
    source: int
    number: int
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Walk:
    """All that is known of one packet: when it was sent, and its steps in their order."""

    sent_ns: int
    steps: tuple[Step, ...]

    @property
    def switches(self) -> tuple[str, ...]:
        """Those where it was taken out of its tunnel, the first one before; with a question mark
        where steps do not join up.
        """
        found = [self.steps[0].near]
        for step in self.steps:
            found += [step.far] if step.near == found[-1] else [f"{step.near}?", step.far]
        return tuple(found)


class Walks:
    """Captures all fabric links, from `with` to its end; then `found` has each packet's walk, by
    UDP source port and number.
    """

    def __init__(self, net: Emulation, vteps: Mapping[IPv4Address, str], name: str) -> None:
        self._net = net
        self._vteps = {vtep.packed: switch for vtep, switch in vteps.items()}
        self._name = name
        self._captures: list[tuple[tuple[PortRef, PortRef], Capture]] = []
        self.found: dict[tuple[int, int], Walk] = {}

    def __enter__(self) -> Walks:
        def start(link: tuple[PortRef, PortRef]) -> tuple[tuple[PortRef, PortRef], Capture]:
            near = link[0]
            file = self._net.instance.directory / f"{self._name}-{near.switch}-{near.port}.pcap"
            node = self._net.switch(near.switch)
            return link, node.capture(near.port, file, only="ip proto 47", whole=True)

        with ThreadPoolExecutor() as pool:
            self._captures = list(pool.map(start, self._net.plan.links))
        return self

    def __exit__(self, *_: object) -> None:
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(lambda one: (one[0], one[1].stop()), self._captures))
        steps: list[Step] = []
        for link, file in files:
            steps += self._read(link, file)
            file.unlink()
        self.found = walks(steps)

    def _read(self, link: tuple[PortRef, PortRef], file: Path) -> Iterator[Step]:
        data = file.read_bytes()
        at = _FILE_BYTES
        while at + _RECORD.size <= len(data):
            seconds, fraction, size, _ = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            frame, at = data[at : at + size], at + size
            if len(frame) < _OUTER.size + _INNER.size + stream.PACKET.size:
                continue
            kind, protocol, source, destination, _, payload, key = _OUTER.unpack_from(frame)
            inner = _INNER.unpack_from(frame, _OUTER.size)
            if (kind, protocol, payload) != (_IPV4, _GRE, _TEB) or inner[:2] != (_IPV4, _UDP):
                continue
            number, sent_ns = stream.PACKET.unpack_from(frame, _OUTER.size + _INNER.size)
            yield Step(
                link,
                seconds * 1_000_000 + fraction,
                key,
                self._vteps.get(source, "?"),
                self._vteps.get(destination, "?"),
                inner[4],
                number,
                sent_ns,
            )


def walks(steps: Iterable[Step]) -> dict[tuple[int, int], Walk]:
    """The steps put together, by UDP source port and number."""
    found: dict[tuple[int, int], list[Step]] = {}
    for step in steps:
        found.setdefault((step.source, step.number), []).append(step)
    return {
        packet: Walk(passed[0].sent_ns, tuple(sorted(passed, key=lambda one: one.at_us)))
        for packet, passed in found.items()
    }
