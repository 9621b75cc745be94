"""Probes that find out whether a link works, and frames that tell who is at its other end: pure.

A probe is a small frame that this agent gives its switch at a pseudo port. It leaves by one fabric
port in a tunnel of its own (GRE key 0, which no slice has) to a well-known link-local address, is
sent back by the tables of the neighbour switch out of the port that should be at the other end, and
comes back to this agent. So it crosses both directions of the link and the tables of both switches,
and nothing but them: that the neighbour's agent is busy, or gone, does not matter. It takes the
highest queue on both ways and has a punt meter of its own, so traffic cannot starve it.

Announcements (LLDP, IEEE 802.1AB) say by name which port is at the other end, also where the
description does not expect it. They are for people; nothing is decided by them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dfvisor.agent.making import LOWEST_PRIORITY, entry, exact, packet_meter
from dfvisor.agent.numbers import PROBE_SLICE, PROBE_VN, Kind, Numbers
from dfvisor.model.types import MAX_PORT, PortRef
from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.entries import Item, Meter
from dfvisor.p4rt.streamed import PacketIn, PacketOut

if TYPE_CHECKING:
    from dfvisor.agent.site import Cable, Site

PROBE_KEY = 0  # GRE key; a slice's is at least 1
PROBE_PORT = 510  # the CPU's: nothing comes in there but what the agent says comes in there
PROBE_VTEP = 0xA9FE_0001  # 169.254.0.1, link-local: whoever is at the other end
PROBE_QUEUE = 7
PROBE_DSCP = 48  # CS6, network control: RFC 4594
PROBE_PPS = 4000  # punted at most; far more than all ports' probes
FABRIC_VN = 0  # the VN of what comes from the fabric and is no tenant's

_PORT_MAC = 0x06DF_0000_0000  # locally administered; then device id and port, 16 bits each
_ETHERNET = struct.Struct("!6s6sH")
_ETHERTYPE = 0x88B5  # IEEE 802 local experimental EtherType 1
_BODY = struct.Struct("!4sI30x")  # to the least size of a frame
_MAGIC = b"DFV1"

_LLDP_TYPE = 0x88CC
_LLDP_GROUP = bytes.fromhex("0180c200000e")  # nearest bridge
_CHASSIS, _PORT, _TTL = 1, 2, 3
_LOCAL = 7  # subtype of chassis and port ids: locally assigned
ANNOUNCED_S = 4  # how long an announcement is good for


def port_mac(device_id: int, port: int) -> int:
    """The address of a switch's fabric port in probes, 48 bits."""
    return _PORT_MAC | device_id << 16 | port


# -- what the switches need


def probe_items(site: Site, numbers: Numbers) -> Iterator[Item]:
    """What sends probes off, sends the neighbours' back, and hands over those that come back."""
    yield entry(
        "slice_policy",
        "set_slice_policy",
        exact(slice_id=PROBE_SLICE),
        gre_key=PROBE_KEY,
        qos_level=0,
        miss_policy=0,
        queue=PROBE_QUEUE,
        dscp=PROBE_DSCP,
        best_effort_slice=PROBE_SLICE,
        best_effort_key=PROBE_KEY,
        dscp_yellow=PROBE_DSCP,
    )
    yield Meter("punt_meters", PROBE_SLICE, packet_meter(PROBE_PPS))
    yield entry(
        "access_port",
        "set_access",
        exact(port=PROBE_PORT),
        LOWEST_PRIORITY,
        vn=PROBE_VN,
        best_effort_slice=PROBE_SLICE,
        vid=0,
        guarded=0,
        learning=0,
    )
    key = exact(gre_key=PROBE_KEY)
    yield entry("slice", "set_slice", key, slice_id=PROBE_SLICE, vn=FABRIC_VN)
    yield entry("vtep", "terminate", exact(outer_dst=PROBE_VTEP))
    home = numbers.number(Kind.NEXT_HOP, "probe/agent")
    # nothing fits a link of 0 bytes, and what does not fit goes to the agent
    yield _towards(home, 1, 0, 0)
    for cable in site.cables:
        way = numbers.number(Kind.NEXT_HOP, f"probe/{cable.port}")
        yield _towards(way, cable.port, cable.mac, cable.mtu)
        near = port_mac(site.device_id, cable.port)
        far = port_mac(cable.device_id, cable.far.port)
        for vn, mac, next_hop in (
            (PROBE_VN, far, way),  # off
            (FABRIC_VN, near, way),  # the neighbour's: back
            (FABRIC_VN, far, home),  # come back
        ):
            yield entry("bridge", "bridge_local", exact(vn=vn, eth_dst=mac), next_hop=next_hop)


def _towards(next_hop: int, port: int, mac: int, mtu: int) -> Item:
    key = exact(next_hop=next_hop)
    return entry("next_hop", "to_neighbour", key, vtep=PROBE_VTEP, port=port, mac=mac, mtu=mtu)


# -- probes


@dataclass(frozen=True, slots=True)
class Echo:
    """A probe of ours that has come back: the port it was sent off by and its number, and the port
    it came in by.
    """

    port: int
    number: int
    received: int


def probe(device_id: int, cable: Cable, number: int) -> PacketOut:
    """The probe of a cable with a 32-bit number."""
    frame = _ETHERNET.pack(
        port_mac(cable.device_id, cable.far.port).to_bytes(6, "big"),
        port_mac(device_id, cable.port).to_bytes(6, "big"),
        _ETHERTYPE,
    ) + _BODY.pack(_MAGIC, number & 0xFFFF_FFFF)
    return PacketOut(frame, {"port": PROBE_PORT, "as_ingress": 1})


def is_probe(packet: PacketIn) -> bool:
    """Whether the switch says that this came in its probes' tunnel."""
    said = packet.metadata
    return said.get("slice_id") == PROBE_SLICE and said.get("reason") == PuntReason.TOO_BIG


def read_echo(device_id: int, packet: PacketIn) -> Echo | None:
    """The probe of ours in a packet-in of `is_probe`; None for anything else."""
    frame = packet.payload
    if len(frame) < _ETHERNET.size + _BODY.size:
        return None
    _, source, kind = _ETHERNET.unpack_from(frame)
    magic, number = _BODY.unpack_from(frame, _ETHERNET.size)
    sender = int.from_bytes(source, "big")
    port = sender & 0xFFFF
    if kind != _ETHERTYPE or magic != _MAGIC or sender != port_mac(device_id, port):
        return None
    return Echo(port, number, packet.metadata.get("port", 0))


# -- announcements


def announcement(near: PortRef, mac: int) -> PacketOut:
    """An LLDP frame that says which port it leaves by. `mac`: the switch's link address."""
    body = _ETHERNET.pack(_LLDP_GROUP, mac.to_bytes(6, "big"), _LLDP_TYPE)
    body += _tlv(_CHASSIS, bytes((_LOCAL,)) + near.switch.encode())
    body += _tlv(_PORT, bytes((_LOCAL,)) + str(near.port).encode())
    body += _tlv(_TTL, struct.pack("!H", ANNOUNCED_S)) + b"\0\0"
    return PacketOut(body.ljust(60, b"\0"), {"port": near.port})


def read_announcement(frame: bytes) -> PortRef | None:
    """The port that an LLDP frame of ours names; None for others' and what cannot be read."""
    if len(frame) < _ETHERNET.size or _ETHERNET.unpack_from(frame)[2] != _LLDP_TYPE:
        return None
    found: dict[int, str] = {}
    at = _ETHERNET.size
    while at + 2 <= len(frame):
        word = int.from_bytes(frame[at : at + 2], "big")
        kind, size = word >> 9, word & 0x1FF
        value = frame[at + 2 : at + 2 + size]
        at += 2 + size
        if kind == 0 or len(value) < size:
            break
        if kind in (_CHASSIS, _PORT) and value[:1] == bytes((_LOCAL,)):
            found[kind] = value[1:].decode("ascii", errors="replace")
    try:
        return PortRef.parse(f"{found[_CHASSIS]}:{found[_PORT]}")
    except (KeyError, ValueError):
        return None


def _tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value


assert PROBE_PORT > MAX_PORT  # no cable is there
