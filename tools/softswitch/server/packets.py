"""Packets over gRPC, as BMv2 offers them: the service `p4.bm.DataplaneInterface`.

One client at a time hands packets in and is sent what comes out of any port. The ports need no
interfaces: each number is a port, and up until SetPortOperStatus says otherwise. When the client
ends its side, it is sent what its packets still cause, then the stream ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import grpc
from grpc import StatusCode

from softswitch.engine import Mark, PortOutput
from softswitch.errors import BusyError, EngineError
from softswitch.server import bm
from softswitch.server.dataplane import DataPlane
from softswitch.server.links import Links

log = logging.getLogger(__name__)

MAX_WAITING = 16384
"""Packets kept for a client that does not read; the rest is lost."""
BUSY_PAUSE_S = 0.001
DRAIN_TIMEOUT_S = 2.0
"""How long the end of a stream waits for packets under way."""

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class PacketService:
    """The servicer. `engine()` is the data plane that forwards now, None without one."""

    def __init__(
        self, device_id: int, engine: Callable[[], DataPlane | None], links: Links
    ) -> None:
        self._device_id = device_id
        self._engine = engine
        self._links = links
        self._active = False
        self._waiting: deque[Any] = deque()
        self._ready = asyncio.Event()
        self._sent = asyncio.Event()
        self._idle = False
        self._mark = 0
        self._marks: dict[int, asyncio.Event] = {}
        self.lost = 0

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve at this server."""
        handlers = {
            "PacketStream": grpc.stream_stream_rpc_method_handler(
                self._packet_stream,
                bm.PacketStreamRequest.FromString,
                bm.PacketStreamResponse.SerializeToString,
            ),
            "SetPortOperStatus": grpc.unary_unary_rpc_method_handler(
                self._set_port,
                bm.SetPortOperStatusRequest.FromString,
                bm.SetPortOperStatusResponse.SerializeToString,
            ),
        }
        generic = grpc.method_handlers_generic_handler(bm.SERVICE, handlers)
        server.add_generic_rpc_handlers((generic,))

    def on_event(self, event: PortOutput | Mark) -> None:
        """What the data plane reported: a packet, or that all handed in before a mark are done."""
        if isinstance(event, Mark):
            reached = self._marks.get(event.mark)
            if reached is not None:
                reached.set()
            return
        if not self._active:
            return
        if len(self._waiting) >= MAX_WAITING:
            if not self.lost:
                log.warning("packets are lost: the client does not read them")
            self.lost += 1
            return
        self._waiting.append(
            bm.PacketStreamResponse(
                id=event.packet_id, device_id=self._device_id, port=event.port, packet=event.packet
            )
        )
        self._ready.set()

    # -- RPCs ---------------------------------------------------------------------------------

    async def _packet_stream(self, requests: AsyncIterator[Any], context: _Context) -> None:
        if self._active:
            await context.abort(
                StatusCode.RESOURCE_EXHAUSTED, "only one client at a time: there is one already"
            )
        self._active = True
        self._waiting.clear()
        sender = asyncio.create_task(self._send(context), name="packet-stream-sender")
        try:
            async for request in requests:
                if request.device_id == self._device_id and request.packet:
                    await self._hand_in(request)
            await self._drain(sender)
        finally:
            self._active = False
            sender.cancel()
            await asyncio.wait([sender])
            self._waiting.clear()

    async def _set_port(self, request: Any, context: _Context) -> Any:
        if request.device_id != self._device_id:
            await context.abort(
                StatusCode.INVALID_ARGUMENT,
                f"device id {request.device_id} is not known, this is device {self._device_id}",
            )
        if request.oper_status not in (bm.OPER_UP, bm.OPER_DOWN):
            await context.abort(StatusCode.INVALID_ARGUMENT, "oper_status is neither UP nor DOWN")
        self._links.update(request.port, request.oper_status == bm.OPER_UP)
        return bm.SetPortOperStatusResponse()

    # -- inside -------------------------------------------------------------------------------

    async def _hand_in(self, request: Any) -> None:
        """Without a pipeline the packet is dropped, as it would be on a wire."""
        while (engine := self._engine()) is not None:
            try:
                engine.inject(request.port, request.packet, request.id)
            except BusyError:
                await asyncio.sleep(BUSY_PAUSE_S)
            except EngineError as error:
                log.warning("a packet is dropped: %s", error)
                return
            else:
                return

    async def _drain(self, sender: asyncio.Task[None]) -> None:
        """Wait until everything handed in is through and sent, unless the client is gone."""
        engine = self._engine()
        if engine is None:
            return
        self._mark += 1
        reached = self._marks[self._mark] = asyncio.Event()
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                engine.inject_mark(self._mark)
                await reached.wait()
                while (self._waiting or not self._idle) and not sender.done():
                    self._sent.clear()
                    await self._sent.wait()
        except (TimeoutError, EngineError) as error:
            log.warning("the end of a packet stream did not wait for all packets: %s", error)
        finally:
            del self._marks[self._mark]

    async def _send(self, context: _Context) -> None:
        while True:
            while not self._waiting:
                self._idle = True
                self._sent.set()
                self._ready.clear()
                await self._ready.wait()
            self._idle = False
            await context.write(self._waiting.popleft())
