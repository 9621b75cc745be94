"""Command lines of the control plane's programs: pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from emulation.plan import SwitchPlan
from emulation.supervisor import Command
from emulation.targets import Target


def script(name: str) -> str:
    """The installed command of that name, beside this Python."""
    return str(Path(sys.executable).parent / name)


def agent(
    switch: SwitchPlan, *, zookeeper: str, socket: Path, data: Path, target: Target
) -> Command:
    """The agent beside a switch, with its slicer on a free loopback port."""
    argv = [script("dfvisor-agent"), "--switch", switch.name, "--p4runtime", f"unix:{socket}"]
    argv += ["--zookeeper", zookeeper, "--data-dir", str(data), "--target", target]
    return Command(name=f"agent-{switch.name}", argv=tuple(argv))


def vnc(name: str, *, zookeeper: str, data: Path) -> Command:
    """A VN controller daemon; any number of them share the VNs."""
    argv = [script("dfvisor-vnc"), "--name", name]
    argv += ["--zookeeper", zookeeper, "--data-dir", str(data)]
    return Command(name=name, argv=tuple(argv))


def dfvctl(zookeeper: str, arguments: Sequence[str]) -> list[str]:
    """The command-line tool, with the address where it must look."""
    return [script("dfvctl"), "--zookeeper", zookeeper, *arguments]
