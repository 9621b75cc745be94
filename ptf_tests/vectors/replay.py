"""Plays a scenario on a running switch, packet by packet.

No waiting by the clock: after each packet, when the switch has counted it, a marker enters a port
of its own and is flooded to all others in the lowest queue. What came out of a port before its
marker is the packet's. A packet's copies out of one port are put in order of their bytes: P4Runtime
leaves the order of a multicast group's replicas open, and with BMv2 it is that of a hash table.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from types import TracebackType
from typing import Self

from dfvisor.p4rt.entries import Item, TableEntry, entry_key

from ptf_tests.lab import Lab
from ptf_tests.network import DropReason, drop_cell
from ptf_tests.p4rt import SwitchClient
from ptf_tests.tables import Tables, group
from ptf_tests.vectors.scenario import Outcome, Output, Scenario

MARKER_PORT = 9
TEST_PORTS = (1, 2, 3, 4, 5, 6, 7, 8)
MARKER_VN = 0xFFFE
MARKER_SLICE = 4095
MARKER_GROUP = 32767
MARKER_TYPE = 0x88B6  # IEEE 802 local experimental EtherType 2

COUNTED_TABLES = ("access_port", "classifier", "slice", "flow", "slice_forward", "bridge")
PACKET_TIMEOUT_S = 10.0

ETH_P_ALL = 3  # linux/if_ether.h
SOL_PACKET = 263  # linux/socket.h
PACKET_IGNORE_OUTGOING = 23  # linux/if_packet.h
PACKET_AUXDATA = 8
TP_STATUS_VLAN_VALID = 1 << 4
AUXDATA = struct.Struct("IIIHHHH")


class Tap:
    """The tester's end of a switch port; the kernel's VLAN stripping is undone."""

    def __init__(self, interface: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.bind((interface, ETH_P_ALL))

    def send(self, frame: bytes) -> None:
        """Send one frame into the switch."""
        self.socket.send(frame)

    def receive(self) -> bytes:
        """The next frame from the switch."""
        frame, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(AUXDATA.size))
        for level, kind, data in ancillary:
            if level == SOL_PACKET and kind == PACKET_AUXDATA:
                status, _, _, _, _, tci, tpid = AUXDATA.unpack(data[: AUXDATA.size])
                if status & TP_STATUS_VLAN_VALID:
                    return frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame


class Player:
    """One switch with a pipeline, ready to play scenarios one after the other."""

    def __init__(self, lab: Lab, client: SwitchClient) -> None:
        self._client = client
        self._tables = Tables(client.schema)
        self._taps = {port: Tap(name) for port, name in lab.interfaces.items()}
        self._ports = {tap.socket.fileno(): port for port, tap in self._taps.items()}
        self._serial = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for tap in self._taps.values():
            tap.socket.close()

    def play(self, scenario: Scenario) -> Outcome:
        """Install the scenario's entries alone, send its packets, and say what came of it."""
        self._client.clear()
        self._client.insert(*self._marker_items(), *scenario.items)
        cells = _cells_of(scenario)
        before = self._client.cells("drops", cells)
        outputs = tuple(self._send(port, frame) for port, frame in scenario.packets)
        after = self._client.cells("drops", cells)
        grown = {cell: after[cell].packets - before[cell].packets for cell in cells}
        return Outcome(
            outputs, {cell: count for cell, count in grown.items() if count}, self._direct(scenario)
        )

    def _marker_items(self) -> list[Item]:
        entry = self._tables.entry
        return [
            entry(
                "access_port",
                "set_access",
                port=MARKER_PORT,
                vn=MARKER_VN,
                best_effort_slice=MARKER_SLICE,
            ),
            entry(
                "flood",
                "flood_to",
                vn=MARKER_VN,
                from_access=MARKER_GROUP,
                from_fabric=MARKER_GROUP,
                unknown_unicast=0,
            ),
            group(MARKER_GROUP, *((port, 0) for port in TEST_PORTS)),
        ]

    def _direct(self, scenario: Scenario) -> dict[int, tuple[int, int]]:
        places = {entry_key(item): at for at, item in enumerate(scenario.items)}
        found = {}
        for counted in self._client.direct(*COUNTED_TABLES):
            at = places.get(entry_key(counted.entry))
            if at is not None and (counted.counter.packets or counted.counter.bytes):
                found[at] = (counted.counter.packets, counted.counter.bytes)
        return found

    def _received(self) -> int:
        """How many packets have entered the pipeline since the entries were installed."""
        ports = self._client.direct("access_port")
        unknown = drop_cell(0, DropReason.UNKNOWN_PORT)
        cell = self._client.cells("drops", [unknown])[unknown]
        return sum(counted.counter.packets for counted in ports) + cell.packets

    def _send(self, port: int, frame: bytes) -> tuple[Output, ...]:
        deadline = time.monotonic() + PACKET_TIMEOUT_S
        before = self._received()
        self._taps[port].send(frame)
        while self._received() == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"port {port}: the switch took no notice of {frame.hex()}")
        self._serial += 1
        marker = b"\xff" * 6 + b"\x02" * 6 + struct.pack("!HQ", MARKER_TYPE, self._serial) + b"end"
        self._taps[MARKER_PORT].send(marker)
        outputs: dict[int, list[bytes]] = {port: [] for port in TEST_PORTS}
        waiting = {self._taps[port].socket.fileno() for port in TEST_PORTS}
        while waiting:
            ready, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                ports = sorted(self._ports[fileno] for fileno in waiting)
                raise TimeoutError(f"no marker came out of ports {ports} after {frame.hex()}")
            for fileno in ready:
                out = self._ports[fileno]
                got = self._taps[out].receive()
                if got == marker:
                    waiting.remove(fileno)
                else:
                    outputs[out].append(got)
        return tuple((out, data) for out in TEST_PORTS for data in sorted(outputs[out]))


def _cells_of(scenario: Scenario) -> list[int]:
    """The drop cells of every slice id that the scenario names, and of slice id 0."""
    ids = {0}
    for item in scenario.items:
        if isinstance(item, TableEntry):
            ids |= {value for name, value in item.args if name in ("slice_id", "best_effort_slice")}
    return [drop_cell(slice_id, reason) for slice_id in sorted(ids) for reason in DropReason]
