"""What the server needs of a data plane: the engine's interface, as a protocol.

The real one is `softswitch.engine.Engine`; the tests' fake implements the same, and one contract
test suite runs on both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from softswitch.engine import Engine, KeyPart


@dataclass(frozen=True, slots=True)
class MeterConfig:
    cir: int
    cburst: int
    pir: int
    pburst: int


@dataclass(frozen=True, slots=True)
class PacketIn:
    packet: bytes


@dataclass(frozen=True, slots=True)
class Digest:
    name: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    table: str
    handle: int


class DataPlane(Protocol):
    """One loaded pipeline with its tables, counters, groups and ports. See `Engine` for the words;
    tables, actions and counters go by their names in the BMv2 JSON, which P4Info shares."""

    def insert(
        self,
        table: str,
        key: Sequence[KeyPart],
        priority: int,
        action: str,
        args: Sequence[int],
        idle_timeout_ms: int = 0,
    ) -> int: ...
    def modify(
        self,
        table: str,
        handle: int,
        action: str,
        args: Sequence[int],
        idle_timeout_ms: int | None = None,
    ) -> None: ...
    def insert_indirect(
        self,
        table: str,
        key: Sequence[KeyPart],
        priority: int,
        *,
        member: int | None = None,
        group: int | None = None,
    ) -> int: ...
    def modify_indirect(
        self, table: str, handle: int, *, member: int | None = None, group: int | None = None
    ) -> None: ...
    def delete(self, table: str, handle: int) -> None: ...
    def set_default(self, table: str, action: str, args: Sequence[int]) -> None: ...
    def reset_default(self, table: str) -> None: ...
    def direct_counter(self, table: str, handle: int) -> tuple[int, int]: ...
    def set_direct_counter(self, table: str, handle: int, packets: int, bytes_: int) -> None: ...
    def counter_read(self, counter: str, first: int, count: int) -> list[tuple[int, int]]: ...
    def counter_write(self, counter: str, index: int, packets: int, bytes_: int) -> None: ...
    def multicast_set(self, group: int, replicas: Sequence[tuple[int, int]]) -> None: ...
    def meter_set(self, meter: str, index: int, config: MeterConfig | None) -> None: ...
    def member_add(self, profile: str, action: str, args: Sequence[int]) -> int: ...
    def member_modify(
        self, profile: str, member: int, action: str, args: Sequence[int]
    ) -> None: ...
    def member_delete(self, profile: str, member: int) -> None: ...
    def group_add(self, profile: str) -> int: ...
    def group_set(self, profile: str, group: int, members: Sequence[int]) -> None: ...
    def group_delete(self, profile: str, group: int) -> None: ...
    def multicast_delete(self, group: int) -> None: ...
    def clone_session_set(
        self, session: int, replicas: Sequence[tuple[int, int]], packet_length_bytes: int = 0
    ) -> None: ...
    def clone_session_delete(self, session: int) -> None: ...
    def set_cpu_port(self, port: int | None) -> None: ...
    def set_port_rate(self, port: int, pps: int | None) -> None: ...
    def inject(self, port: int, packet: bytes) -> None: ...
    def event_fd(self) -> int: ...
    def take_events(self, limit: int = 1024) -> Sequence[PacketIn | Digest | IdleTimeout]: ...
    def add_port(self, port: int, ifname: str) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


Builder = Callable[[bytes], DataPlane]
"""Makes a data plane from BMv2 JSON: blocking, and raises EngineError for what it refuses."""


def engine_builder(cache_dir: Path) -> Builder:
    """The builder of real engines, which keeps compiled pipelines in `cache_dir`."""

    def build(bmv2_json: bytes) -> DataPlane:
        return Engine.build(bmv2_json, cache_dir=cache_dir)

    return build
