"""What a running engine reports: packets for the CPU port, digests, idle entries."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_PACKET, _DIGEST, _IDLE = 1, 2, 3  # runtime/event.h


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A frame that left by the CPU port, controller header included."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class Digest:
    """One sample of a learn list; values in the order of its fields."""

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    """Nothing has hit the entry for its idle timeout."""

    table: str
    handle: int


Event: TypeAlias = PacketIn | Digest | IdleTimeout


def parse_events(data: bytes, learn_lists: Sequence[str], tables: Mapping[int, str]) -> list[Event]:
    """The records of runtime/event.h, oldest first."""
    events: list[Event] = []
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        body = data[at + 8 : at + 8 + length]
        at += 8 + (length + 7) // 8 * 8
        if kind == _PACKET:
            events.append(PacketIn(body))
            continue
        numbers = struct.unpack(f"={length // 8}Q", body)
        if kind == _DIGEST:
            events.append(Digest(learn_lists[numbers[0]], numbers[1:]))
        elif kind == _IDLE:
            events.append(IdleTimeout(tables[numbers[0]], numbers[1]))
        else:
            raise AssertionError(f"event of kind {kind}")
    return events
