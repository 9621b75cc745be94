"""Command lines of the control plane's programs: pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from emulation.plan import SwitchPlan
from emulation.supervisor import Command
from emulation.targets import Target


def agent(
    switch: SwitchPlan,
    *,
    zookeeper: str,
    socket: Path,
    state: Path,
    pipeline: Path,
    target: Target,
) -> Command:
    """The agent beside a switch, with its slicer on a free loopback port."""
    argv = [sys.executable, "-m", "dfvisor.agent.main", switch.name]
    argv += ["--zookeeper", zookeeper, "--switch-address", f"unix:{socket}"]
    argv += ["--state", str(state), "--pipeline", str(pipeline), "--target", target]
    return Command(name=f"agent-{switch.name}", argv=tuple(argv))


def vnc(name: str, *, zookeeper: str, state: Path, pipeline: Path) -> Command:
    """A VN controller daemon; any number of them share the VNs."""
    argv = [sys.executable, "-m", "dfvisor.vnc.main", "--name", name]
    argv += ["--zookeeper", zookeeper, "--state", str(state)]
    return Command(name=name, argv=tuple(argv))


def dfvctl(zookeeper: str, arguments: Sequence[str]) -> list[str]:
    """The command-line tool, with the address where it must look."""
    return [sys.executable, "-m", "dfvisor.cli.main", "--zookeeper", zookeeper, *arguments]
