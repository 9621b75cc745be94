"""Plays a scenario on a running switch, packet by packet.

No waiting by the clock: a marker follows each packet into the same port, on a VLAN of its own, and
is flooded to all ports and the agent in the lowest queue. What came out of a port before its marker
is the packet's. A packet's copies out of one port are put in order of their bytes: P4Runtime leaves
the order of a multicast group's replicas open, and with BMv2 it is that of a hash table.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from types import TracebackType
from typing import Self

from dfvisor.p4rt.drops import DropReason, drop_cell
from dfvisor.p4rt.entries import Item, Meter, TableEntry, entry_key
from dfvisor.p4rt.streamed import PacketIn

from ptf_tests.lab import Lab
from ptf_tests.p4rt import CPU_PORT, SwitchClient
from ptf_tests.tables import Tables, group
from ptf_tests.vectors.scenario import Outcome, Output, Scenario

TEST_PORTS = (1, 2, 3, 4, 5, 6, 7, 8)
MARKER_VID = 4094  # IEEE 802.1Q: no VLAN is 4095, so this is the last one
MARKER_VN = 4095
MARKER_SLICE = 4095
MARKER_GROUP = 32767
MARKER_PRIORITY = 1000
MARKER_TYPE = 0x88B6  # IEEE 802 local experimental EtherType 2

COUNTED_TABLES = ("access_port", "classifier", "slice", "flow", "slice_forward", "bridge")
PACKET_TIMEOUT_S = 10.0

PACKET_OUT = struct.Struct("!H")  # port 9 bits, as_ingress, trace, 5 reserved
PACKET_IN = struct.Struct("!HHHBIH6s6s3s")
NO_DEPTH = b"\0" * 3
NO_TIME, SOME_TIME = b"\0" * 6, b"\0" * 5 + b"\1"
TRACED = 0xC000  # of the outer Identification: stamped, and asking for a trace

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
        client.trace_to_agent(on=True)

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
        self._client.forget()
        cells = _cells_of(scenario)
        before = self._client.cells("drops", cells)
        outputs = tuple(self._send(port, frame) for port, frame in scenario.packets)
        after = self._client.cells("drops", cells)
        grown = {cell: after[cell].packets - before[cell].packets for cell in cells}
        for item in scenario.items:
            if isinstance(item, Meter):
                self._client.set_meter(item.meter, item.index, None)
        return Outcome(
            outputs, {cell: count for cell, count in grown.items() if count}, self._direct(scenario)
        )

    def _marker_items(self) -> list[Item]:
        entry = self._tables.entry
        ports = [
            entry(
                "access_port",
                "set_access",
                priority=MARKER_PRIORITY,
                port=port,
                vlan_tci=0x1000 | MARKER_VID,
                vn=MARKER_VN,
                best_effort_slice=MARKER_SLICE,
                vid=MARKER_VID,
                guarded=0,
                learning=0,
            )
            for port in TEST_PORTS
        ]
        flood = entry(
            "flood",
            "flood_to",
            vn=MARKER_VN,
            from_access=MARKER_GROUP,
            from_fabric=MARKER_GROUP,
            unknown_unicast=0,
        )
        copies = ((port, 0) for port in (*TEST_PORTS, CPU_PORT))
        return [*ports, flood, group(MARKER_GROUP, *copies)]

    def _direct(self, scenario: Scenario) -> dict[int, tuple[int, int]]:
        places = {entry_key(item): at for at, item in enumerate(scenario.items)}
        found = {}
        for counted in self._client.direct(*COUNTED_TABLES):
            at = places.get(entry_key(counted.entry))
            if at is not None and (counted.counter.packets or counted.counter.bytes):
                found[at] = (counted.counter.packets, counted.counter.bytes)
        return found

    def _send(self, port: int, frame: bytes) -> tuple[Output, ...]:
        outputs: dict[int, list[bytes]] = {out: [] for out in (*TEST_PORTS, CPU_PORT)}
        if port == CPU_PORT:
            self._packet_out(frame)
        else:
            self._taps[port].send(frame)
        self._collect(port, outputs)
        if port == CPU_PORT or int.from_bytes(frame[18:20], "big") & TRACED == TRACED:
            # A trace is copied when its packet leaves, perhaps behind the first marker.
            self._collect(port, outputs)
        return tuple((out, data) for out, frames in outputs.items() for data in sorted(frames))

    def _packet_out(self, data: bytes, **changes: int) -> None:
        (header,) = PACKET_OUT.unpack(data[:2])
        fields = {
            "port": header >> 7,
            "as_ingress": header >> 6 & 1,
            "trace": header >> 5 & 1,
            "reserved": header & 31,
        }
        self._client.packet_out(data[2:], **{**fields, **changes})

    def _collect(self, port: int, outputs: dict[int, list[bytes]]) -> None:
        """Send a marker behind what was sent into `port`; add what comes out before it."""
        deadline = time.monotonic() + PACKET_TIMEOUT_S
        self._serial += 1
        body = struct.pack("!HQ", MARKER_TYPE, self._serial) + b"end"
        marker = b"\xff" * 6 + b"\x02" * 6 + body
        tagged = marker[:12] + struct.pack("!HH", 0x8100, MARKER_VID) + body
        if port == CPU_PORT:
            self._client.packet_out(tagged, port=TEST_PORTS[0], as_ingress=1)
        else:
            self._taps[port].send(tagged)
        waiting = {self._taps[out].socket.fileno() for out in TEST_PORTS}
        while waiting:
            ready, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                ports = sorted(self._ports[fileno] for fileno in waiting)
                raise TimeoutError(f"no marker came out of ports {ports}")
            for fileno in ready:
                out = self._ports[fileno]
                got = self._taps[out].receive()
                if got == marker:
                    waiting.remove(fileno)
                else:
                    outputs[out].append(got)
        while True:
            punted = self._client.next_packet(deadline - time.monotonic())
            if punted is None:
                raise TimeoutError("no marker came to the agent")
            if punted.payload == marker:
                return
            outputs[CPU_PORT].append(_packed(punted))


def _packed(packet: PacketIn) -> bytes:
    """A packet-in as the program deparsed it, without times."""
    fields = packet.metadata
    header = PACKET_IN.pack(
        fields["port"] << 7 | fields["reserved"],
        fields["vn"],
        fields["slice_id"],
        fields["reason"],
        fields["cookie"],
        fields["egress_port"],
        fields["ingress_time"].to_bytes(6, "big"),
        fields["egress_time"].to_bytes(6, "big"),
        fields["queue_depth"].to_bytes(3, "big"),
    )
    return without_times(header + packet.payload)


def without_times(data: bytes) -> bytes:
    """A packet behind packet_in_t: of times only whether there are any, and no queue depth."""
    *fields, ingress_time, egress_time, _ = PACKET_IN.unpack(data[: PACKET_IN.size])
    times = [SOME_TIME if time != NO_TIME else NO_TIME for time in (ingress_time, egress_time)]
    return PACKET_IN.pack(*fields, *times, NO_DEPTH) + data[PACKET_IN.size :]


def _cells_of(scenario: Scenario) -> list[int]:
    """The drop cells of every slice id that the scenario names, and of slice id 0."""
    ids = {0}
    for item in scenario.items:
        if isinstance(item, TableEntry):
            ids |= {value for name, value in item.args if name in ("slice_id", "best_effort_slice")}
    return [drop_cell(slice_id, reason) for slice_id in sorted(ids) for reason in DropReason]
