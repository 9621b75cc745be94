"""The messages of BMv2's packet service, `p4.bm.DataplaneInterface`, made from their description.

Names and numbers are those that BMv2's clients use on the wire; there is no generated code.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "p4.bm.DataplaneInterface"
OPER_DOWN, OPER_UP = 1, 2

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKET = (
    ("id", _FIELD.TYPE_UINT64),
    ("device_id", _FIELD.TYPE_UINT64),
    ("port", _FIELD.TYPE_UINT32),
    ("packet", _FIELD.TYPE_BYTES),
)


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="softswitch/packets.proto", package="p4.bm", syntax="proto3"
    )
    status = file.enum_type.add(name="PortOperStatus")
    for number, name in enumerate(("UNKNOWN", "DOWN", "UP")):
        status.value.add(name=f"OPER_STATUS_{name}", number=number)
    for direction in ("Request", "Response"):
        message = file.message_type.add(name=f"PacketStream{direction}")
        for number, (name, kind) in enumerate(_PACKET, 1):
            message.field.add(name=name, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
    change = file.message_type.add(name="SetPortOperStatusRequest")
    for number, (name, kind) in enumerate(_PACKET[1:3], 1):
        change.field.add(name=name, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
    change.field.add(
        name="oper_status",
        number=3,
        type=_FIELD.TYPE_ENUM,
        type_name=".p4.bm.PortOperStatus",
        label=_FIELD.LABEL_OPTIONAL,
    )
    file.message_type.add(name="SetPortOperStatusResponse")
    return file


_pool = descriptor_pool.DescriptorPool()  # one of our own: a client may have BMv2's in the default
_pool.Add(_describe())


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"p4.bm.{name}"))


PacketStreamRequest = _message("PacketStreamRequest")
PacketStreamResponse = _message("PacketStreamResponse")
SetPortOperStatusRequest = _message("SetPortOperStatusRequest")
SetPortOperStatusResponse = _message("SetPortOperStatusResponse")
