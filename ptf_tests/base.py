"""What the packet tests share: a switch in its typical state, sending, and exact expectations.

A case is a class with `runTest`. The state is installed before it and deleted after it. Parameters
come from run.py: `server` (P4Runtime address) and `target`.
"""

from __future__ import annotations

import atexit
import functools
import time

import ptf
from dfvisor.p4rt.counters import CounterValue
from dfvisor.p4rt.drops import DropReason, PuntReason, drop_cell
from dfvisor.p4rt.entries import Item, MeterConfig, TableEntry, entry_key
from dfvisor.p4rt.streamed import PacketIn
from ptf import testutils
from ptf.base_tests import BaseTest
from scapy.layers.l2 import Ether

from ptf_tests.lab import DEVICE_ID, load_schema
from ptf_tests.network import SLICE_IDS_USED, Network, Slice, Tenant
from ptf_tests.p4rt import SwitchClient
from ptf_tests.tables import Tables, Timed

RECEIVE_TIMEOUT_S = 5.0
SILENCE_S = 0.05  # after the switch is known to have handled the packet, or has sent its last copy
COUNTER_TIMEOUT_S = 5.0
ELECTION = 2  # run.py was 1

DROP_CELLS = {
    drop_cell(slice_id, reason): (slice_id, reason)
    for slice_id in SLICE_IDS_USED
    for reason in DropReason
}


@functools.cache
def switch_client() -> SwitchClient:
    """The one connection of this test run."""
    address = testutils.test_param_get("server")
    client = SwitchClient(address, DEVICE_ID, load_schema(), ELECTION)
    atexit.register(client.close)
    return client


class SwitchCase(BaseTest):  # type: ignore[misc] # ptf has no types
    """A switch with the entries of `state()`."""

    def state(self) -> list[Item]:
        """The entries to start with; a case may take fewer."""
        return self.network.typical()

    def setUp(self) -> None:
        super().setUp()
        self.client = switch_client()
        self.network = Network(Tables(self.client.schema))
        self.client.clear()
        self.addCleanup(self.client.clear)
        self.addCleanup(self._unset_meters)
        self._meters: list[tuple[str, int]] = []
        self.client.insert(*self.state())
        self.dataplane = ptf.dataplane_instance
        self.dataplane.flush()
        self.client.forget()
        self.drops_before = self._drops()

    # -- state

    def insert(self, *items: Item | Timed) -> None:
        """Insert entries or groups."""
        self.client.insert(*items)

    def delete(self, *items: Item | Timed) -> None:
        """Delete entries or groups."""
        self.client.delete(*items)

    def modify(self, *items: Item | Timed) -> None:
        """Replace actions or replicas."""
        self.client.modify(*items)

    def meter(self, name: str, index: int, cir: int, cburst: int, pir: int, pburst: int) -> None:
        """Configure a meter cell, until the case ends; setting fills its buckets."""
        if (name, index) not in self._meters:
            self._meters.append((name, index))
        self.client.set_meter(name, index, MeterConfig(cir, cburst, pir, pburst))

    def _unset_meters(self) -> None:
        for name, index in self._meters:
            self.client.set_meter(name, index, None)

    def counter(self, entry: TableEntry) -> CounterValue:
        """The direct counter of an entry that the switch holds."""
        for counted in self.client.direct(entry.table):
            if entry_key(counted.entry) == entry_key(entry):
                return counted.counter
        raise AssertionError(f"the switch has no entry {entry}")

    # -- packets

    def passes(self, port: int, frame: bytes, expected: dict[int, bytes]) -> None:
        """The frame into `port` comes out as exactly `expected` (port -> frame), nothing else."""
        testutils.send_packet(self, port, frame)
        self.comes_out(expected)

    def comes_out(self, expected: dict[int, bytes]) -> None:
        """Exactly `expected` (port -> frame) comes out, and nothing is dropped."""
        for out, wanted in expected.items():
            self.receive(out, wanted)
        self.silence()
        self.assertEqual(self._new_drops(), {}, "drops were counted for a packet that passed")

    def drops(
        self,
        port: int,
        frame: bytes,
        slice_id: int,
        reason: DropReason,
        others: dict[int, bytes] | None = None,
    ) -> None:
        """The frame into `port` is dropped and counted for slice and reason, and nowhere else.

        `others` are copies that come out all the same.
        """
        testutils.send_packet(self, port, frame)
        self.is_dropped(slice_id, reason, others)

    def is_dropped(
        self, slice_id: int, reason: DropReason, others: dict[int, bytes] | None = None
    ) -> None:
        """What was sent last is dropped, as `drops`."""
        deadline = time.monotonic() + COUNTER_TIMEOUT_S
        while not self._new_drops():
            if time.monotonic() > deadline:
                self.silence()
                self.fail(f"no drop was counted; expected {reason.name} for slice id {slice_id}")
            time.sleep(0.005)
        for out, wanted in (others or {}).items():
            self.receive(out, wanted)
        self.silence()
        self.assertEqual(self._new_drops(), {(slice_id, reason.name): 1})
        self.drops_before = self._drops()

    def punts(
        self,
        port: int,
        frame: bytes,
        reason: PuntReason,
        *,
        tenant: Tenant | None = None,
        slice_: Slice | None = None,
        cookie: int = 0,
        carried: bytes | None = None,
    ) -> None:
        """The frame into `port` goes to the agent alone, as it came or as `carried`."""
        testutils.send_packet(self, port, frame)
        got = self.packet_in()
        self.assertEqual(got.payload.hex(), (frame if carried is None else carried).hex())
        wanted = {
            "port": port,
            "vn": tenant.vn if tenant else 0,
            "slice_id": slice_.id if slice_ else 0,
            "reason": int(reason),
            "cookie": cookie,
        }
        for name in ("reserved", "egress_port", "ingress_time", "egress_time", "queue_depth"):
            wanted[name] = 0
        self.assertEqual(dict(got.metadata), wanted)
        self.comes_out({})

    def packet_in(self) -> PacketIn:
        """The next packet for the agent."""
        got = self.client.next_packet(RECEIVE_TIMEOUT_S)
        if got is None:
            raise self.failureException("no packet-in")
        return got

    def vanishes(self, port: int, frame: bytes, counted_by: TableEntry) -> None:
        """The frame into `port`, counted by an entry that it hits, comes out nowhere, uncounted."""
        before = self.counter(counted_by).packets
        testutils.send_packet(self, port, frame)
        self.await_count(counted_by, before + 1)
        self.silence()
        self.assertEqual(self._new_drops(), {})

    def await_count(self, entry: TableEntry, packets: int) -> CounterValue:
        """Wait until an entry has counted that many packets."""
        deadline = time.monotonic() + COUNTER_TIMEOUT_S
        while (counter := self.counter(entry)).packets < packets:
            if time.monotonic() > deadline:
                self.fail(f"{entry} counted {counter.packets} packets, expected {packets}")
            time.sleep(0.005)
        return counter

    def next_frame(self, port: int) -> bytes | None:
        """The next frame out of a port; None if there is none for too long."""
        result = testutils.dp_poll(self, port_number=port, timeout=RECEIVE_TIMEOUT_S)
        return bytes(result.packet) if isinstance(result, self.dataplane.PollSuccess) else None

    def receive(self, port: int, wanted: bytes) -> None:
        """The next frame out of a port is exactly `wanted`."""
        # ptf's own comparison ignores what follows a frame shorter than 60 bytes.
        got = self.next_frame(port)
        if got is None:
            self.fail(f"port {port}: nothing came out, expected\n{_describe(wanted)}")
        elif got != wanted:
            self.fail(
                f"port {port}: got\n{_describe(got)}\nexpected\n{_describe(wanted)}\n"
                f"first difference at byte {_first_difference(got, wanted)}"
            )

    def silence(self) -> None:
        """Nothing more comes out of any port."""
        result = testutils.dp_poll(self, timeout=SILENCE_S)
        if isinstance(result, self.dataplane.PollSuccess):
            self.fail(f"port {result.port}: unexpected\n{_describe(bytes(result.packet))}")
        punted = self.client.next_packet(0)
        if punted is not None:
            self.fail(f"unexpected packet-in {punted.metadata}\n{_describe(punted.payload)}")

    def _drops(self) -> dict[int, int]:
        cells = self.client.cells("drops", DROP_CELLS)
        return {index: value.packets for index, value in cells.items()}

    def _new_drops(self) -> dict[tuple[int, str], int]:
        return {
            (DROP_CELLS[index][0], DROP_CELLS[index][1].name): packets - self.drops_before[index]
            for index, packets in self._drops().items()
            if packets != self.drops_before[index]
        }


def _describe(frame: bytes) -> str:
    return f"  {Ether(frame).summary()}\n  {len(frame)} bytes {frame.hex()}"


def _first_difference(got: bytes, wanted: bytes) -> int:
    pairs = zip(got, wanted, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(got), len(wanted)))
