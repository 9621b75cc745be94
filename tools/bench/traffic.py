"""Frames and table entries of the switch benchmark: pure, from the project's own P4 program.

The switch is in the middle of a fabric: port 1 leads to switch A, port 2 to switch B; for best
effort a tenant has port 1 (its frames are encapsulated) or port 2 (they are decapsulated). Every
frame has FRAME_BYTES bytes when it enters the switch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from dfvisor.p4rt.entries import Item
from dfvisor.p4rt.p4info import Schema

from ptf_tests.tables import Hop, Tables, route

FRAME_BYTES = 134
FLOWS = 2048
MTU = 9000
VN, BEST_EFFORT, GOLD = 1, 1, 2
"""The slices' ids, which are their GRE keys too."""

HOST, PEER = 0x020000000001, 0x020000000002
OUR_MAC, A_MAC, B_MAC = 0x020000000A01, 0x020000000A02, 0x020000000A03
OUR_VTEP, A_VTEP, B_VTEP = 0xC0000201, 0xC0000202, 0xC0000203
_HOSTS, _SERVERS = 0x0A000000, 0x0A010000
_UDP, _FIRST_PORT, _SERVICE = 17, 10000, 5201
_IP_BYTES, _TUNNEL_BYTES = 20, 42


@dataclass(frozen=True, slots=True)
class Flow:
    """A tenant's UDP flow by its number."""

    number: int

    @property
    def src(self) -> int:
        return _HOSTS + self.number

    @property
    def dst(self) -> int:
        return _SERVERS + self.number % 64

    @property
    def port(self) -> int:
        return _FIRST_PORT + self.number % 50000


def tenant_frames(size: int = FRAME_BYTES) -> list[bytes]:
    """What a tenant's host sends, a frame per flow."""
    return [_tenant_frame(Flow(number), size) for number in range(FLOWS)]


def fabric_frames(vtep: int, slice_key: int = GOLD) -> list[bytes]:
    """The same flows from switch A in a slice's tunnel to a VTEP."""
    inner = tenant_frames(FRAME_BYTES - _TUNNEL_BYTES)
    return [_tunnel(frame, vtep, slice_key) for frame in inner]


def _ethernet(dst: int, src: int) -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + b"\x08\x00"


def _ipv4(src: int, dst: int, protocol: int, payload: bytes) -> bytes:
    head = bytes([0x45, 0]) + (_IP_BYTES + len(payload)).to_bytes(2, "big")
    head += bytes([0x80, 0, 0x40, 0, 64, protocol, 0, 0])
    head += src.to_bytes(4, "big") + dst.to_bytes(4, "big")
    total = sum(int.from_bytes(head[i : i + 2], "big") for i in range(0, _IP_BYTES, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + (total ^ 0xFFFF).to_bytes(2, "big") + head[12:] + payload


def _tenant_frame(flow: Flow, size: int) -> bytes:
    payload = bytes(size - 14 - _IP_BYTES - 8)
    udp = flow.port.to_bytes(2, "big") + _SERVICE.to_bytes(2, "big")
    udp += (8 + len(payload)).to_bytes(2, "big") + bytes(2) + payload
    return _ethernet(PEER, HOST) + _ipv4(flow.src, flow.dst, _UDP, udp)


def _tunnel(frame: bytes, vtep: int, key: int) -> bytes:
    gre = b"\x20\x00\x65\x58" + key.to_bytes(4, "big")
    return _ethernet(OUR_MAC, A_MAC) + _ipv4(A_VTEP, vtep, 47, gre + frame)


class Workload:
    """Entries for one P4Info."""

    def __init__(self, schema: Schema) -> None:
        self._tables = Tables(schema)

    def base(self, *, access: int | None = None) -> list[Item]:
        """Everything but flow entries; a tenant has the port `access`, the others are fabric."""
        entry = self._tables.entry
        tenant = {"vn": VN, "best_effort_slice": BEST_EFFORT, "vid": 0, "guarded": 0, "learning": 0}
        state: list[Item] = [
            self._tables.default(
                "switch_config", "set_switch_config", vtep=OUR_VTEP, mac=OUR_MAC, hash_seed=1
            ),
            *(
                entry("access_port", "set_access", priority=1, port=port, **tenant)
                if port == access
                else entry("access_port", "set_fabric", priority=1, port=port)
                for port in (1, 2)
            ),
            entry("vtep", "terminate", outer_dst=OUR_VTEP),
            entry("peer", "peer_ours", outer_src=A_VTEP),
            entry("bridge", "bridge_local", vn=VN, eth_dst=PEER, next_hop=3)
            if access == 2
            else entry("bridge", "bridge_remote", vn=VN, eth_dst=PEER, next_hop=2),
            entry("next_hop", "to_port", next_hop=3, port=2, vid=0),
            entry(
                "next_hop", "to_neighbour",
                next_hop=1, vtep=B_VTEP, port=2, mac=B_MAC, mtu=MTU,
            ),
            entry("next_hop", "to_vtep", next_hop=2, vtep=B_VTEP),
            route(B_VTEP, 32, Hop(2, B_MAC, MTU)),
            entry(
                "slice_forward", "forward",
                slice_id=GOLD, path_class=0, eth_dst=PEER, next_hop=1, cookie=1,
            ),
        ]  # fmt: skip
        for slice_id, level in ((BEST_EFFORT, 0), (GOLD, 1)):
            state += [
                entry("slice", "set_slice", gre_key=slice_id, slice_id=slice_id, vn=VN),
                entry(
                    "slice_policy", "set_slice_policy",
                    slice_id=slice_id, gre_key=slice_id, qos_level=level, miss_policy=0, queue=0,
                    dscp=0, best_effort_slice=BEST_EFFORT, best_effort_key=BEST_EFFORT,
                    dscp_yellow=0,
                ),
            ]  # fmt: skip
        return state

    def flows(self, count: int) -> list[Item]:
        """So many ternary entries in 8 masks. The widest takes every flow and has the lowest
        priority; the others take one flow each, those of the load first. Their priorities are
        mixed, so that no mask can be left out of a lookup."""
        entry = self._tables.entry
        rng = random.Random(count)
        state: list[Item] = [
            entry("flow", "permit", priority=1, slice_id=GOLD, ip_proto=_UDP, cookie=1)
        ]
        masks = _masks()
        for number in range(count - 1):
            fields = masks[number % len(masks)]
            flow = Flow(number)
            values = {
                "eth_dst": PEER, "ip_proto": _UDP, "ipv4_src": flow.src, "ipv4_dst": flow.dst,
                "l4_src": flow.port, "l4_dst": _SERVICE,
            }  # fmt: skip
            key = {name: values[name] for name in fields}
            state.append(
                entry(
                    "flow", "permit",
                    priority=rng.randint(2, 60000), slice_id=GOLD, cookie=number + 2, **key,
                )
            )  # fmt: skip
        return state


def _masks() -> list[tuple[str, ...]]:
    return [
        ("ip_proto", "ipv4_src"),
        ("ip_proto", "ipv4_src", "l4_src"),
        ("ip_proto", "ipv4_src", "l4_dst"),
        ("ip_proto", "ipv4_src", "ipv4_dst"),
        ("ip_proto", "ipv4_src", "eth_dst"),
        ("ip_proto", "ipv4_src", "ipv4_dst", "l4_src", "l4_dst"),
        ("eth_dst", "ip_proto", "ipv4_src", "ipv4_dst", "l4_src", "l4_dst"),
    ]


def batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    """The items in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
