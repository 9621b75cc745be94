"""The RPCs of P4Runtime and how their messages are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from softswitch.server.batches import WriteCall
from softswitch.server.pb import p4r

if TYPE_CHECKING:
    from softswitch.server.service import P4RuntimeService

SERVICE = "p4.v1.P4Runtime"


def add_to_server(service: P4RuntimeService, server: grpc.aio.Server) -> None:
    """Serve P4Runtime there."""
    encode = p4r.WriteResponse.SerializeToString, p4r.ReadResponse.SerializeToString
    handlers = {
        "Write": grpc.unary_unary_rpc_method_handler(service.Write, WriteCall.parse, encode[0]),
        "Read": grpc.unary_stream_rpc_method_handler(
            service.Read, p4r.ReadRequest.FromString, encode[1]
        ),
        "SetForwardingPipelineConfig": grpc.unary_unary_rpc_method_handler(
            service.SetForwardingPipelineConfig,
            p4r.SetForwardingPipelineConfigRequest.FromString,
            p4r.SetForwardingPipelineConfigResponse.SerializeToString,
        ),
        "GetForwardingPipelineConfig": grpc.unary_unary_rpc_method_handler(
            service.GetForwardingPipelineConfig,
            p4r.GetForwardingPipelineConfigRequest.FromString,
            p4r.GetForwardingPipelineConfigResponse.SerializeToString,
        ),
        "StreamChannel": grpc.stream_stream_rpc_method_handler(
            service.StreamChannel,
            p4r.StreamMessageRequest.FromString,
            p4r.StreamMessageResponse.SerializeToString,
        ),
        "Capabilities": grpc.unary_unary_rpc_method_handler(
            service.Capabilities,
            p4r.CapabilitiesRequest.FromString,
            p4r.CapabilitiesResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
