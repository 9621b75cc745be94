"""Records what BMv2 makes of `data/extras.p4`: `python -m softswitch.tests.record_extras`, as root.

As `record.py`, which has the machinery; `test_engine_extras.py` replays it. All packets come in at
port 0, so that meters see them in one order; rates are 0, so that colours depend on nothing else.
"""

from __future__ import annotations

import random
import re
from typing import Any

from softswitch.tests.namespace import in_namespace
from softswitch.tests.record import DATA, run, save

PORTS = (0, 1, 2, 3, 4, 5, 6, 7, 8)
PACKETS = 1500
PROFILE, TABLE = "ExtraIngress.choice", "ExtraIngress.spread"
TYPES = (0x0900, 0x0901, 0x0800, 0x0801, 0x1234, 0x2000, 0x3000)
# action and arguments, by member number
MEMBERS: list[tuple[str, list[int]]] = [
    ("to", [1, 10]),
    ("to", [2, 11]),
    ("to", [3, 12]),
    ("nowhere", []),
    ("to", [4, 13]),
    ("to", [5, 14]),
    ("to", [6, 15]),
    ("to", [7, 16]),
]
# in the order of adding, which is not that of choosing
GROUPS: list[list[int]] = [[7, 0, 4, 2, 1], [5], [6, 3, 4]]
# EtherType, prefix length, member, group
SPREAD: list[tuple[int, int, int | None, int | None]] = [
    (0x0900, 15, None, 0),
    (0x0800, 16, None, 1),
    (0x0801, 16, None, 2),
    (0x1000, 4, 3, None),
    (0x2000, 8, 6, None),
]
# value of `kept`, instance type, session; 7 does not exist
COPIES = [(1, 0, 5), (1, 2, 6), (2, 0, 6), (3, 0, 5), (4, 0, 7), (5, 0, 6), (5, 2, 6)]
# (egress port, rid)
SESSIONS: dict[int, list[tuple[int, int]]] = {5: [(1, 3), (8, 3), (2, 4)], 6: [(3, 0)]}
# meter, cell, cburst, pburst
BURSTS = [
    ("ExtraIngress.by_bytes", 0, 9000, 14000),
    ("ExtraIngress.by_bytes", 1, 0, 5000),
    ("ExtraIngress.by_bytes", 4, 3000, 3000),
    ("ExtraIngress.by_packets", 1, 7, 12),
    ("ExtraIngress.by_packets", 2, 0, 0),
    ("ExtraIngress.by_packets", 15, 30, 40),
]


def _sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packets() -> list[bytes]:
    """Frames for port 0."""
    r = random.Random(2891)
    frames = []
    for _ in range(PACKETS):
        kind = r.choice(TYPES)
        body = r.randbytes(r.choice([0, 1, 4, 7, 50, 101]))
        if kind == 0x0900:
            size = r.randrange(16)
            options = r.randbytes(size)
            first, last = bytes([size | r.randrange(16) << 4]), r.randbytes(1)
            check = _sum(first + options + last + body) ^ r.choice([0, 0, 1])
            body = first + check.to_bytes(2, "big") + options + last + body
        target = r.randbytes(4) + bytes([r.randrange(8), r.randrange(256)])
        frame = target + r.randbytes(6) + kind.to_bytes(2, "big") + body
        if r.random() < 0.1:
            frame = frame[: r.randrange(1, len(frame) + 1)]
        elif kind == 0x0901 and r.random() < 0.7:
            frame = frame[: r.randrange(14, 19)]
        frames.append(frame)
    return frames


def _commands(_: dict[str, Any]) -> list[str]:
    lines = []
    for action, args in MEMBERS:
        words = " ".join(map(str, args))
        lines.append(f"act_prof_create_member {PROFILE} ExtraIngress.{action} {words}")
    for number, members in enumerate(GROUPS):
        lines.append(f"act_prof_create_group {PROFILE}")
        for member in members:
            lines.append(f"act_prof_add_member_to_group {PROFILE} {member} {number}")
    for value, length, member_, group in SPREAD:
        suffix, target = ("", member_) if group is None else ("_with_group", group)
        lines.append(f"table_indirect_add{suffix} {TABLE} {value:#x}/{length} => {target}")
    for kept, instance, session in COPIES:
        lines.append(
            f"table_add ExtraEgress.copies ExtraEgress.copy {kept} {instance} => {session}"
        )
    node = 0
    for session, replicas in SESSIONS.items():
        if replicas[0][1] == 0:
            lines.append(f"mirroring_add {session} {replicas[0][0]}")
            continue
        lines += [f"mirroring_add_mc {session} {session}", f"mc_mgrp_create {session}"]
        for rid in dict.fromkeys(rid for _, rid in replicas):
            ports = " ".join(str(port) for port, r in replicas if r == rid)
            lines += [f"mc_node_create {rid} {ports}", f"mc_node_associate {session} {node}"]
            node += 1
    for meter, cell, cburst, pburst in BURSTS:
        lines.append(f"meter_set_rates {meter} {cell} 0:{cburst} 0:{pburst}")
    return lines


def record() -> None:
    """Run BMv2 and write both files."""
    sent = packets()
    reads = [f"meter_get_rates {meter} {cell}" for meter, cell, _, _ in BURSTS]
    program, out, text = run(
        DATA / "extras.p4", [(0, frame) for frame in sent], PORTS, _commands, reads
    )
    assert len(re.findall("burst", text)) == 2 * len(BURSTS), text
    vectors = {"packets": [frame.hex() for frame in sent], "out": out}
    save(vectors, program, "extras")


if __name__ == "__main__":
    in_namespace(record)
