"""The only importer of generated protobufs: short names for the P4Runtime messages in use."""

from finsy.proto import p4d, p4i, p4r, p4t, rpc_status
from finsy.proto.p4.v1 import p4runtime_pb2_grpc as p4r_grpc
from google.protobuf import any_pb2, empty_pb2
from google.protobuf.message import DecodeError, Message

__all__ = [
    "DecodeError",
    "Message",
    "any_pb2",
    "empty_pb2",
    "p4d",
    "p4i",
    "p4r",
    "p4r_grpc",
    "p4t",
    "rpc_status",
]
