"""Packet-in and packet-out: between metadata messages and the controller header on the wire.

The header's fields stand in P4Info order, most significant bit first (P4Runtime 1.4, section
"Packet I/O"); without a header in the P4Info the payload is the whole packet.
"""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.server.errors import invalid
from softswitch.server.pb import p4r
from softswitch.server.schema import PacketField
from softswitch.server.values import decode, encode


def pack(fields: Sequence[PacketField], packet: p4r.PacketOut, *, complete: bool = True) -> bytes:
    """The packet that enters the switch at the CPU port. Raises INVALID_ARGUMENT unless the
    metadata names each field once (padding may be left out) with a value that fits; unless
    `complete`, any field may be left out and is 0."""
    given: dict[int, bytes] = {}
    for item in packet.metadata:
        if item.metadata_id in given:
            raise invalid(f"packet_out: metadata id {item.metadata_id} is given twice")
        given[item.metadata_id] = item.value
    header = bits = 0
    for field in fields:
        value = 0
        what = f"packet_out: metadata {field.name}"
        if field.id in given:
            value = decode(given.pop(field.id), field.width, what)
        elif complete and not field.padding:
            raise invalid(f"{what}: missing")
        header = header << field.width | value
        bits += field.width
    if given:
        raise invalid(f"packet_out: metadata ids {sorted(given)} are not in the P4Info")
    return header.to_bytes(bits // 8, "big") + packet.payload


def unpack(fields: Sequence[PacketField], packet: bytes) -> p4r.PacketIn | None:
    """The message for a packet sent to the CPU port; None if it is shorter than the header."""
    bits = sum(field.width for field in fields)
    size = bits // 8
    if len(packet) < size:
        return None
    message = p4r.PacketIn(payload=packet[size:])
    header = int.from_bytes(packet[:size], "big")
    for field in fields:
        bits -= field.width
        value = header >> bits & ((1 << field.width) - 1)
        message.metadata.add(metadata_id=field.id, value=encode(value))
    return message
