"""The only importer of generated protobufs: short names for the P4Runtime messages in use."""

from finsy.proto import p4d, p4i, p4r, p4r_grpc, p4t, rpc_code, rpc_status
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from google.protobuf.message import DecodeError, Message

__all__ = [
    "DecodeError",
    "Message",
    "any_pb2",
    "descriptor_pb2",
    "descriptor_pool",
    "message_factory",
    "p4d",
    "p4i",
    "p4r",
    "p4r_grpc",
    "p4t",
    "rpc_code",
    "rpc_status",
    "text_format",
]
