"""The names that one emulated network uses on this machine: pure.

Several instances run side by side: each has its own prefix of namespaces, its own state directory
and its own lock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from emulation.errors import EmulationError

STATE_ROOT = Path("/run/dfvisor")
ENVIRONMENT_MARK = "DFVISOR_INSTANCE"  # in the environment of every process of an instance
_NAME = re.compile(r"[a-z0-9]{1,16}")  # no dash, so that no instance's prefix begins another's


@dataclass(frozen=True, slots=True)
class Instance:
    """One emulated network on this machine; EmulationError for a name that can't be used."""

    name: str = "demo"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise EmulationError(
                f"instance name {self.name!r} must be 1 to 16 of the characters a-z and 0-9"
            )

    @property
    def prefix(self) -> str:
        return f"dfv-{self.name}-"

    def namespace(self, node: str) -> str:
        """The network namespace of a host or switch, as `ip netns` shows it."""
        return self.prefix + node

    @property
    def directory(self) -> Path:
        """The state directory: journal, logs, sockets and databases of the processes."""
        return STATE_ROOT / self.name

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def journal(self) -> Path:
        return self.directory / "journal"

    def switch_socket(self, switch: str) -> Path:
        """Where the switch serves P4Runtime (unix sockets are not bound to network namespaces)."""
        return self.directory / f"{switch}.sock"
