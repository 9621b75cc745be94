"""The command line of a switch process: pure. The same flags for both targets, where both have
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from emulation.plan import SwitchPlan, switch_interface

THRIFT_PORT = 9090
CPU_PORT = 510  # as the P4 program has it
QUEUES = 8  # BMv2 drops packets of a priority that has no queue, silently
MULTICAST_NODES = 65536  # BMv2's default of 4,096 is one per (group, replica)


class Target(StrEnum):
    """Which switch runs the compiled program."""

    BMV2 = "bmv2"
    SOFTSWITCH = "softswitch"


def control_socket(socket: Path) -> Path:
    """Where a softswitch that serves P4Runtime at `socket` answers `softswitch ctl`."""
    return socket.with_suffix(".ctl")


def switch_command(
    target: Target,
    program: Sequence[str],
    switch: SwitchPlan,
    socket: Path,
) -> tuple[str, ...]:
    """How to start `switch` inside its namespace, serving P4Runtime at the unix socket.

    `program` is the executable (with leading arguments). The switch starts without a pipeline; its
    agent pushes it. The softswitch takes rates at `control_socket(socket)`.
    """
    argv = [*program, "--no-p4", "--device-id", str(switch.device_id), "--log-level", "off"]
    for port in switch.ports:
        argv += ["-i", f"{port}@{switch_interface(port)}"]
    if target is Target.BMV2:  # its other servers, which would collide between instances
        argv += ["--thrift-port", str(THRIFT_PORT)]  # on all interfaces of its own namespace
        argv += ["--notifications-addr", f"ipc://{socket.with_suffix('.notify')}"]
    else:
        argv += ["--ctl", str(control_socket(socket))]
    argv += ["--", "--grpc-server-addr", f"unix:{socket}", "--priority-queues", str(QUEUES)]
    argv += ["--cpu-port", str(CPU_PORT)]
    argv += ["--max-l1-entries", str(MULTICAST_NODES), "--max-l2-entries", str(MULTICAST_NODES)]
    return tuple(argv)
