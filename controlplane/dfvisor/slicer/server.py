"""Starting and stopping the slicer: what the agent holds of it."""

from __future__ import annotations

from collections.abc import Mapping

import grpc.aio

from dfvisor.errors import SlicerError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.ports import SliceDirectory, SwitchPort
from dfvisor.p4rt.streamed import StreamEvent
from dfvisor.p4rt.tls import Credentials, is_local
from dfvisor.slicer import rpc
from dfvisor.slicer.limits import Limits
from dfvisor.slicer.service import SlicerService
from dfvisor.slicer.streams import MAX_STREAMS
from dfvisor.slicer.tables import FlowTables

MAX_REQUEST_BYTES = 256 << 10  # parsing is done at one go: a larger one would stop everyone else
STOP_GRACE_S = 0.5

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", 64),  # of one connection
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),  # a client that vanished must not stay primary
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),
)
MAX_CALLS = 2 * MAX_STREAMS  # streams among them


class SlicerServer:
    """The slicer of one switch. `schema` is the whole program's; `device_id` the switch's."""

    def __init__(
        self,
        directory: SliceDirectory,
        switch: SwitchPort,
        schema: Schema,
        device_id: int,
        *,
        limits: Limits | None = None,
        tls: Credentials | None = None,
    ) -> None:
        self._tls = tls
        self._tables = FlowTables(switch, schema)
        self._service = SlicerService(
            directory,
            switch,
            schema,
            device_id,
            self._tables,
            limits=limits,
            secure=tls is not None,
        )
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> str:
        """Fill the mirror from the switch, then serve at `host:port` (port 0: any) or
        `unix:<path>`; the bound address. SlicerError if it is no loopback address and there are no
        credentials: without TLS anybody may say to be anybody.
        """
        if self._tls is None and not is_local(address):
            raise SlicerError(
                f"can't serve at {address} without TLS: only a loopback address or unix socket; "
                f"give a certificate, its key and the authority's certificate"
            )
        await self._tables.upkeep.fill()
        self._service.begin()
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        rpc.add_to_server(self._service, server)
        try:
            if self._tls is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, self._tls.for_server())
        except RuntimeError as error:
            raise SlicerError(f"can't listen at {address}: {error}") from error
        await server.start()
        self._server = server
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    async def replay(self) -> None:
        """Make `flow` and `slice_forward` of the switch equal to the mirror: it has restarted.

        Streams of roles that had entries which the switch no longer takes are ended.
        """
        await self._service.replay()

    async def drop_slice(self, slice_id: int) -> None:
        """Forget a slice and delete its entries from the switch; its id may be given to another.

        Streams of roles that had entries in it are ended: they must read what they have now.
        """
        await self._service.drop_slice(slice_id)

    def event(self, event: StreamEvent) -> None:
        """Something that the switch has sent unasked: to the controllers of the slice concerned."""
        self._service.event(event)

    def stats(self) -> Mapping[str, Mapping[str, int]]:
        """What was done, delayed, refused and dropped so far, by role and kind."""
        return self._service.stats()

    async def stop(self) -> None:
        """Stop serving; entries stay in the switch."""
        if self._server is not None:
            await self._server.stop(STOP_GRACE_S)
            self._server = None
