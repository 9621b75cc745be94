"""What all phases of the demonstration share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dfvisor.model.paths import path
from dfvisor.model.records import Network

from emulation.demo.flows import Flow
from emulation.demo.probes import Probes
from emulation.demo.readings import Readings
from emulation.emulation import Emulation


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: the running network, the probes in its hosts, the database, what is sent."""

    network: Network
    net: Emulation
    probes: Probes
    readings: Readings
    flows: list[Flow]
    best_effort_port: int
    ports: frozenset[int]  # the UDP ports of all flows, also of the added slice
    addition: Path | None  # a description that adds a slice to the network, if there is one
    added: Flow | None  # that slice's flow

    def joined(self, a: str, b: str) -> bool:
        """Whether the fabric has a path between two switches."""
        return path(self.network.fabric, a, b) is not None

    def listen(self, *, probes: bool = True) -> None:
        """Every host answers on the ports of all flows, or on none."""
        for host in self.net.hosts:
            self.probes.listen(host, self.ports if probes else ())
