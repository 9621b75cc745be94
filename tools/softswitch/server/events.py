"""From the data plane to the primaries: packet-ins, digests, idle timeouts.

The engine's event descriptor is watched by the event loop; nothing is polled. A list of digests
that is to wait is sent by a timer of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from softswitch.engine import Digest, IdleTimeout, Mark, PacketIn, PortOutput
from softswitch.server.dataplane import DataPlane
from softswitch.server.digests import DigestState
from softswitch.server.packet_io import unpack
from softswitch.server.pb import p4r
from softswitch.server.pipeline import Pipeline
from softswitch.server.schema import PacketField
from softswitch.server.streams import Stream

log = logging.getLogger(__name__)

EVENTS_PER_TURN = 256
"""Events handled before other work gets a turn on the event loop."""


class EventPump:
    """Hands the events of one pipeline at a time to `audience()`, the primaries' streams."""

    def __init__(self, audience: Callable[[], Sequence[Stream]]) -> None:
        self._audience = audience
        self.on_packet: Callable[[PortOutput | Mark], None] | None = None
        """Who is told of packets out of ports, where ports are not interfaces."""
        self._engine: DataPlane | None = None
        self._pipeline: Pipeline | None = None
        self._digests: dict[str, DigestState] = {}
        self._fd = -1
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, pipeline: Pipeline) -> None:
        """Begin with a pipeline, instead of the one before; needs the running event loop."""
        self.attach_bare(pipeline.engine)
        self._pipeline = pipeline
        self._digests = {state.digest.name: state for state in pipeline.digests.values()}

    def attach_bare(self, engine: DataPlane) -> None:
        """The same with an engine without P4Info: only packets count."""
        self.detach()
        self._engine = engine
        self._fd = engine.event_fd()
        asyncio.get_running_loop().add_reader(self._fd, self._on_readable)

    def detach(self) -> None:
        """End, before the pipeline is closed; safe twice."""
        if self._engine is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._engine = self._pipeline = None
        self._digests = {}
        self._set_timer(None)

    def new_primary(self) -> None:
        """A primary that was not primary before has not seen the digests sent so far."""
        for state in self._digests.values():
            state.forget_sent()

    def _on_readable(self) -> None:
        pipeline, engine = self._pipeline, self._engine
        assert engine is not None
        events = engine.take_events(EVENTS_PER_TURN)
        if self.on_packet is not None:
            for event in events:
                if isinstance(event, (PortOutput, Mark)):
                    self.on_packet(event)
        audience = self._audience()
        if not audience:
            return
        if pipeline is None:
            for event in events:
                if isinstance(event, PacketIn):
                    self._packet_in((), event, audience)
            return
        fields = pipeline.schema.packet_headers.get("packet_in", ())
        idle: list[p4r.TableEntry] = []
        for event in events:
            if isinstance(event, PacketIn):
                self._packet_in(fields, event, audience)
            elif isinstance(event, IdleTimeout):
                entry = pipeline.idle_entry(event.table, event.handle)
                if entry is not None:
                    idle.append(entry)
            elif isinstance(event, Digest):
                self._digest(event, audience)
        if idle:
            message = p4r.StreamMessageResponse()
            message.idle_timeout_notification.table_entry.extend(idle)
            message.idle_timeout_notification.timestamp = time.time_ns()
            _send(audience, message)
        self._schedule()

    def _packet_in(
        self, fields: Sequence[PacketField], event: PacketIn, audience: Sequence[Stream]
    ) -> None:
        packet = unpack(fields, event.packet)
        if packet is None:
            log.warning("a packet to the CPU port is shorter than the packet_in header: dropped")
            return
        _send(audience, p4r.StreamMessageResponse(packet=packet))

    def _digest(self, event: Digest, audience: Sequence[Stream]) -> None:
        state = self._digests.get(event.name)
        if state is not None:
            _send_digest(audience, state.add(event.values, time.monotonic_ns()))

    # -- lists that wait ----------------------------------------------------------------------

    def _on_timer(self) -> None:
        now_ns = time.monotonic_ns()
        audience = self._audience()
        for state in self._digests.values():
            _send_digest(audience, state.due(now_ns))
        self._schedule()

    def _schedule(self) -> None:
        waiting = [d for s in self._digests.values() if (d := s.deadline_ns()) is not None]
        self._set_timer(min(waiting, default=None))

    def _set_timer(self, deadline_ns: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline_ns is not None:
            delay_s = max(0, deadline_ns - time.monotonic_ns()) / 1e9
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)


def _send_digest(audience: Sequence[Stream], message: p4r.DigestList | None) -> None:
    if message is not None:
        message.timestamp = time.time_ns()
        _send(audience, p4r.StreamMessageResponse(digest=message))


def _send(audience: Sequence[Stream], message: p4r.StreamMessageResponse) -> None:
    for stream in audience:
        stream.event(message)
