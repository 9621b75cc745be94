"""What a running engine reports: packets for the CPU port, digests, idle entries."""

from __future__ import annotations

import ctypes
import os
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

from softswitch.instance import Instance

_PACKET, _DIGEST, _IDLE, _OUT, _MARK = 1, 2, 3, 4, 5  # runtime/event.h


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


@dataclass(frozen=True, slots=True)
class PortOutput:
    """A frame that left by a port while ports are events only; `packet_id` is that of the packet
    handed in that caused it."""

    port: int
    packet_id: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """All packets that were handed in before the mark are done."""

    mark: int


Event: TypeAlias = PacketIn | Digest | IdleTimeout | PortOutput | Mark


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
        if kind == _OUT:
            port, packet_id = struct.unpack_from("=QQ", body)
            events.append(PortOutput(port, packet_id, body[16:]))
            continue
        numbers = struct.unpack(f"={length // 8}Q", body)
        if kind == _DIGEST:
            events.append(Digest(learn_lists[numbers[0]], numbers[1:]))
        elif kind == _MARK:
            events.append(Mark(numbers[0]))
        elif kind == _IDLE:
            events.append(IdleTimeout(tables[numbers[0]], numbers[1]))
        else:
            raise AssertionError(f"event of kind {kind}")
    return events


class EventQueue:
    """Takes events out of an engine; its descriptor is readable while any are left."""

    def __init__(
        self, instance: Instance, learn_lists: Sequence[str], tables: Mapping[int, str]
    ) -> None:
        self._instance = instance
        self._learn_lists = learn_lists
        self._tables = tables
        self._lock = Lock()
        self._waiting: deque[Event] = deque()

    def fd(self) -> int:
        """The descriptor."""
        return self._instance.raw("sw_event_fd")

    def take(self, limit: int) -> list[Event]:
        """Up to `limit` events, oldest first."""
        with self._lock:
            if len(self._waiting) < limit:
                self._fetch()
            taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            if self._waiting:
                os.eventfd_write(self.fd(), 1)
        return taken

    def _fetch(self) -> None:
        data, size = ctypes.c_void_p(), ctypes.c_size_t()
        self._instance.raw("sw_take_events", ctypes.byref(data), ctypes.byref(size))
        if data.value:
            raw = ctypes.string_at(data.value, size.value)
            self._instance.free(data.value)
            self._waiting += parse_events(raw, self._learn_lists, self._tables)
