"""P4Runtime inserts in batches, into an idle switch and into one that forwards."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r, p4r_grpc
from grpc import insecure_channel

from bench.measure import Load, Wire, received
from bench.traffic import Workload
from ptf_tests.lab import DEVICE_ID

BATCH = 1000
SETTLE_S = 0.5
START_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Inserted:
    """Entries per second over all of them, and over the last tenth."""

    per_s: float
    last_per_s: float


def requests(schema: Schema, workload: Workload, count: int) -> list[p4r.WriteRequest]:
    """`count` ternary entries in batches, ready to be sent."""
    updates = [
        p4r.Update(type=p4r.Update.INSERT, entity=schema.encode(item))
        for item in workload.flows(count)
    ]
    return _batched(updates, p4r.Update.INSERT)


def deletions(inserted: Sequence[p4r.WriteRequest]) -> list[p4r.WriteRequest]:
    """What takes them out again."""
    updates = [update for request in inserted for update in request.updates]
    return _batched(updates, p4r.Update.DELETE)


def _batched(
    updates: Sequence[p4r.Update], kind: p4r.Update.Type.ValueType
) -> list[p4r.WriteRequest]:
    result = []
    for start in range(0, len(updates), BATCH):
        request = p4r.WriteRequest(device_id=DEVICE_ID)
        request.election_id.low = 1
        for update in updates[start : start + BATCH]:
            request.updates.add(type=kind).entity.CopyFrom(update.entity)
        result.append(request)
    return result


def write(address: str, batches: Sequence[p4r.WriteRequest]) -> Inserted:
    """Send the batches one after the other; another client holds the election id."""
    with insecure_channel(address) as channel:
        stub = p4r_grpc.P4RuntimeStub(channel)
        times = []
        for batch in batches:
            start = time.perf_counter()
            stub.Write(batch)
            times.append(time.perf_counter() - start)
    tail = max(1, len(times) // 10)
    entries = [len(batch.updates) for batch in batches]
    return Inserted(sum(entries) / sum(times), sum(entries[-tail:]) / sum(times[-tail:]))


@dataclass(frozen=True, slots=True)
class Loss:
    """What was sent while batches were written, what did not arrive, and how much of that reached
    the switch's interface but was not sent out again; and the entries per second meanwhile."""

    sent: int
    lost: int
    in_ring: int
    entries_per_s: float


def lost_meanwhile(
    address: str, batches: Sequence[p4r.WriteRequest], load: Load, wire: Wire, pps: int
) -> Loss:
    """Send packets at `pps` while the batches are written."""
    arrived, sent = received(wire.sink), _sent(wire.source)
    entered, left = received(wire.near_source), _sent(wire.near_sink)
    command = load.command(wire.source, count=0, pps=pps)
    sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while _sent(wire.source) == sent and time.monotonic() < deadline:
            time.sleep(0.001)
        per_s = write(address, batches).per_s
    finally:
        sender.terminate()
        sender.wait()
    sent = _sent(wire.source) - sent
    deadline = time.monotonic() + SETTLE_S
    while received(wire.sink) - arrived < sent and time.monotonic() < deadline:
        time.sleep(0.01)
    in_ring = received(wire.near_source) - entered - (_sent(wire.near_sink) - left)
    return Loss(sent, sent - (received(wire.sink) - arrived), in_ring, per_s)


def _sent(interface: str) -> int:
    with open(f"/sys/class/net/{interface}/statistics/tx_packets") as file:
        return int(file.read())
