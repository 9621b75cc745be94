"""One running demo network for all end-to-end tests of a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from emulation.demo.__main__ import ADDITION, apply, prepare
from emulation.demo.probes import Probes
from emulation.demo.readings import Readings
from emulation.demo.run import Run
from emulation.emulation import Emulation
from emulation.targets import Target

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="session")
def target() -> Target:
    """Chosen by `make e2e TARGET=...`."""
    return Target(os.environ.get("DFVISOR_TARGET", Target.SOFTSWITCH))


@pytest.fixture(scope="session")
def running(target: Target) -> Iterator[Run]:
    """The demo network, applied, with probes listening in all hosts."""
    network = load_network(EXAMPLES / "demo.yaml")
    net = Emulation(network, instance=f"e{os.getpid()}", target=target)
    with (
        net,
        Probes(net.hosts.values()) as probes,
        Readings(net.zookeeper, sorted(net.switches)) as readings,
    ):
        apply(net, readings, EXAMPLES / "demo.yaml")
        run = prepare(network, net, probes, readings, EXAMPLES / ADDITION)
        run.listen()
        yield run
