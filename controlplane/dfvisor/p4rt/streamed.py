"""What passes on the stream besides arbitration: packets, digests, idle entries. Pure.

Fields go by the names of the P4Info: those of its controller headers, and of its digests' structs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dfvisor.p4rt.entries import TableEntry
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4d, p4r
from dfvisor.p4rt.shapes import DigestShape, Param
from dfvisor.p4rt.values import decode_value, encode_value

PACKET_IN = "packet_in"
PACKET_OUT = "packet_out"


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet that the switch sent to its controller, and what it says of it."""

    payload: bytes
    metadata: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PacketOut:
    """A packet for the switch. Metadata that is not given is 0."""

    payload: bytes
    metadata: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DigestList:
    """Messages of one digest, to be acknowledged by `list_id`."""

    digest: str
    list_id: int
    messages: tuple[Mapping[str, int], ...]


@dataclass(frozen=True, slots=True)
class IdleEntries:
    """Entries that nothing has hit for as long as their idle timeout says; their key alone."""

    entries: tuple[TableEntry, ...]


StreamEvent = PacketIn | DigestList | IdleEntries


def encode_packet_out(schema: Schema, packet: PacketOut) -> p4r.PacketOut:
    """The message of a packet-out; SchemaError for metadata that the program does not have."""
    header = _header(schema, PACKET_OUT)
    unknown = packet.metadata.keys() - {one.name for one in header}
    if unknown:
        names = ", ".join(one.name for one in header)
        raise SchemaError(f"packet-out: no field {sorted(unknown)[0]!r}; there are {names}")
    message = p4r.PacketOut(payload=packet.payload)
    for one in header:
        value = encode_value(packet.metadata.get(one.name, 0), one.width, one.where)
        message.metadata.add(metadata_id=one.id, value=value)
    return message


def encode_packet_in(schema: Schema, packet: PacketIn) -> p4r.PacketIn:
    """The message of a packet-in, for a server: every field of the schema's header."""
    message = p4r.PacketIn(payload=packet.payload)
    for one in _header(schema, PACKET_IN):
        value = encode_value(packet.metadata.get(one.name, 0), one.width, one.where)
        message.metadata.add(metadata_id=one.id, value=value)
    return message


def decode_packet_in(schema: Schema, message: p4r.PacketIn) -> PacketIn:
    """The packet of a message, its metadata by name."""
    header = {one.id: one for one in _header(schema, PACKET_IN)}
    metadata: dict[str, int] = {}
    for sent in message.metadata:
        one = header.get(sent.metadata_id)
        if one is None:
            raise SchemaError(f"packet-in: no field has id {sent.metadata_id}")
        metadata[one.name] = decode_value(sent.value, one.width, one.where)
    return PacketIn(message.payload, metadata)


def decode_digest(schema: Schema, message: p4r.DigestList) -> DigestList:
    """The messages of a digest list, by their struct's names."""
    shape = schema.digest_by_id(message.digest_id)
    return DigestList(
        shape.name, message.list_id, tuple(_digest_message(shape, data) for data in message.data)
    )


def encode_digest(schema: Schema, told: DigestList) -> p4r.DigestList:
    """The message of a digest list, for a server: every field of the digest's struct."""
    shape = schema.digest(told.digest)
    message = p4r.DigestList(digest_id=shape.id, list_id=told.list_id)
    for one in told.messages:
        members = message.data.add().struct.members
        for field_ in shape.fields:
            members.add().bitstring = encode_value(one[field_.name], field_.width, field_.where)
    return message


def encode_digest_ack(schema: Schema, received: DigestList) -> p4r.DigestListAck:
    """The message that acknowledges a list."""
    return p4r.DigestListAck(digest_id=schema.digest(received.digest).id, list_id=received.list_id)


def decode_idle(schema: Schema, message: p4r.IdleTimeoutNotification) -> IdleEntries:
    """The idle entries of a notification."""
    return IdleEntries(tuple(schema.decode_entry(entry) for entry in message.table_entry))


def _header(schema: Schema, name: str) -> tuple[Param, ...]:
    found = schema.headers.get(name)
    if found is None:
        raise SchemaError(f"the program has no controller header {name!r}")
    return found


def _digest_message(shape: DigestShape, data: p4d.P4Data) -> Mapping[str, int]:
    members = data.struct.members
    if len(members) != len(shape.fields):
        raise SchemaError(
            f"digest {shape.name}: {len(members)} fields, expected {len(shape.fields)}"
        )
    return {
        one.name: decode_value(member.bitstring, one.width, one.where)
        for one, member in zip(shape.fields, members, strict=True)
    }
