"""What switches and daemons report: `/stats`, `/applied`, `/seen`, `/live/agents`, and who leads a
VN.

Every record here is written by its owner alone and read on demand by others; nobody watches
`/stats` or `/applied`. All times are seconds since the epoch (UTC). Counters are totals since the
switch's entry or cell was created; a reader that wants rates keeps two readings.
"""

from __future__ import annotations

import msgspec

from dfvisor.store.schema import newest


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """A direct counter summed over the table entries that stand for one record.

    `table` is the short P4 name (`classifier`, `slice`, `flow`, `slice_forward`, `bridge`, ...).
    `kind` and `name` say which record of the VN the entries came from: kind `flowspace`,
    `endpoint`, `slice` or `best-effort` (packets of an access port that no flowspace matched).
    Flowspaces and best effort are left out as long as they have counted nothing.
    Where the counter belongs to one access port, `port` is its number; otherwise 0.
    """

    table: str
    vn: str
    kind: str
    name: str
    packets: int
    bytes: int
    port: int = 0


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """Packets that the program dropped, per slice and reason (the P4 program's drop reason enum).

    `vn` and `slice` are empty where the packet was dropped before its slice was known.
    """

    vn: str
    slice: str
    reason: str
    packets: int
    bytes: int = 0


class PortCounters(msgspec.Struct, frozen=True, kw_only=True):
    """Frames in and out of one P4 port, as far as the target can tell."""

    port: int
    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0


LATENCY_BOUNDS_MS = (1, 2, 3, 4, 6, 8, 11, 15, 20, 30, 50, 75, 100, 200, 500, 1000, 5000, 30000)
"""Upper bounds of the cells of a latency histogram; one more cell is for what took longer."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long changes of a slice took from their commit to a stage at one switch.

    Stages, in their order: `read` (by the agent, into its memory and then the local database),
    `edge` (the agent's own entries are in the switch), `slicer` (the first flow entries of the
    revision have come to the slicer), `switch` (all flow entries are in the switch), `active` (the
    last of all that). `cells` counts changes by `LATENCY_BOUNDS_MS`. `sum_ms` is of all of them.
    """

    vn: str
    slice: str
    stage: str
    cells: tuple[int, ...]
    sum_ms: float


class RoleCount(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a slice controller's requests at a slicer since its start: `kind` is writes,
    updates_refused, packet_ins_dropped, ...
    """

    role: str
    kind: str
    number: int


class SwitchStats(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a switch's counters, taken at `at`. The store splits it into pages itself."""

    switch: str
    at: float
    counters: tuple[Counter, ...] = ()
    drops: tuple[Drop, ...] = ()
    ports: tuple[PortCounters, ...] = ()
    latency: tuple[Latency, ...] = ()
    roles: tuple[RoleCount, ...] = ()


class AgentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the agent of a live switch. Addresses are `host:port`.

    `slicer` is the agent's own P4Runtime server for slice controllers; `switch_address` the
    switch's P4Runtime server itself (for read-only inspection) with its `device_id`; `target` is
    `bmv2` or `softswitch`.
    """

    slicer: str
    target: str
    pid: int
    switch_address: str = ""
    device_id: int = 0
    schema: int = newest("AgentInfo")


class VnApplied(msgspec.Struct, frozen=True, kw_only=True):
    """How far one VN has got on one switch.

    `revision`: the last one whose infrastructure entries the agent wrote. `flows`: the last one
    whose flow entries the VNC completed on this switch. `ways`: the last revision of the fabric
    along whose ways it has all packets of the VN's QoS slices go (0: not told since the agent's
    start). `error` says why `revision` is behind, if it is. `learned` are senders that are no
    endpoints: MAC -> access port.
    """

    revision: int
    flows: int = 0
    ways: int = 0
    error: str | None = None
    learned: dict[str, int] = {}
    at: float = 0.0


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What a switch's agent has applied: the fabric revision, and each VN known to it.

    A VN that was deleted and removed from the switch is absent. `error`: what is wrong with the
    agent itself, such as a local database that cannot be written.
    """

    vns: dict[str, VnApplied] = {}
    fabric: int = 0
    at: float = 0.0
    error: str = ""
    schema: int = newest("Applied")


class PortSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A fabric port as its agent finds it.

    `up`: whether packets get to the described neighbour and back; None for a port that is not the
    end of a link. `neighbours`: who says to be at the other end (`s2:1`), those heard of late.
    `failures` counts since the agent started; `held_until` is when a link that works again will be
    used again (0: it is not held back).
    """

    up: bool | None = None
    since: float = 0.0
    neighbours: tuple[str, ...] = ()
    failures: int = 0
    held_until: float = 0.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """`/seen/<switch>`: its fabric ports, by number."""

    ports: dict[int, PortSeen] = {}
    at: float = 0.0
    schema: int = newest("Seen")


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """`/vns/<vn>/active`: the activated revision, and the VN controller that leads the VN.

    `leader` is a display name (empty: none yet). `election_id` is the czxid of the leader's owner
    node, the only election id (low half) that a slicer accepts for role `vn/<vn>`; 0 while there
    is none. `epoch` is the database's when the leader claimed the VN: the high half.
    """

    revision: int = 0
    leader: str = ""
    election_id: int = 0
    epoch: int = 0
    schema: int = newest("Active")
