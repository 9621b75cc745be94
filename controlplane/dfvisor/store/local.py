"""The local database: one SQLite file per agent and per VN controller. Synchronous and fast.

Holds what a daemon needs to come back alone: last snapshots, id allocations, a boot counter,
key/value. Written in WAL mode, one transaction per call; survives kill -9 (power loss needs
synchronous=FULL).
"""

from __future__ import annotations

from pathlib import Path

from dfvisor.model.records import Fabric, VirtualNetwork


class LocalDatabase:
    """Opens (or makes) the file at `path`."""

    def __init__(self, path: Path | str) -> None: ...

    def close(self) -> None: ...

    def next_boot_id(self) -> int:
        """1, 2, 3, ...: larger than any returned before, persisted before it returns."""
        ...

    # -- ids, per `kind` (e.g. "slice", "next_hop"): dense from 1

    def allocate(self, kind: str, name: str) -> int:
        """The id of `name`: the one it holds, or the lowest free one (>= 1)."""
        ...

    def allocated(self, kind: str) -> dict[str, int]: ...

    def release(self, kind: str, name: str) -> None:
        """Free the id; no error when `name` holds none."""

    # -- last snapshots

    def save_fabric(self, revision: int, fabric: Fabric) -> None: ...

    def load_fabric(self) -> tuple[int, Fabric] | None: ...

    def save_vn(self, revision: int, vn: VirtualNetwork) -> None: ...

    def load_vns(self) -> dict[str, tuple[int, VirtualNetwork]]: ...

    def forget_vn(self, name: str) -> None: ...

    # -- key/value

    def put(self, key: str, value: bytes) -> None: ...

    def get(self, key: str) -> bytes | None: ...
