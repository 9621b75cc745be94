"""One open StreamChannel: the messages waiting to be sent to its client.

Bounded: arbitration notifications carry state, so when a client does not read, the newest replaces
the last one waiting; packets, digests, idle timeouts and errors are dropped, as P4Runtime allows.
"""

from __future__ import annotations

import asyncio
from collections import deque

from softswitch.server.arbitration import View
from softswitch.server.errors import exhausted
from softswitch.server.pb import any_pb2, p4r, rpc_status

MAX_WAITING = 64
MAX_EVENTS_WAITING = 1024
"""Messages of the data plane for a client that reads slowly; the rest is lost and counted."""


class Stream:
    """A client's stream; hashable by identity, so it serves as the client in `Arbitration`."""

    def __init__(self, device_id: int) -> None:
        self._device_id = device_id
        self._waiting: deque[p4r.StreamMessageResponse] = deque()
        self._ready = asyncio.Event()
        self.events_lost = 0

    def notify(self, view: View) -> None:
        """Queue an arbitration notification."""
        if len(self._waiting) >= MAX_WAITING:
            for place in range(len(self._waiting) - 1, -1, -1):
                if self._waiting[place].HasField("arbitration"):
                    del self._waiting[place]
                    break
        self._put(arbitration_message(self._device_id, view))

    def error(self, message: p4r.StreamError) -> None:
        """Queue a stream error, unless too much waits already."""
        if len(self._waiting) < MAX_WAITING:
            self._put(p4r.StreamMessageResponse(error=message))

    def answer(self, status: rpc_status.Status) -> None:
        """Queue what became of a Write; RequestError, which ends the stream, if the client does not
        read.
        """
        if len(self._waiting) >= MAX_EVENTS_WAITING:
            raise exhausted("answers are not read")
        message = p4r.StreamMessageResponse()
        message.other.Pack(status)
        self._put(message)

    def event(self, message: p4r.StreamMessageResponse) -> None:
        """Queue what the data plane reported, unless too much waits already."""
        if len(self._waiting) >= MAX_EVENTS_WAITING:
            self.events_lost += 1
        else:
            self._put(message)

    def _put(self, message: p4r.StreamMessageResponse) -> None:
        self._waiting.append(message)
        self._ready.set()

    async def next(self) -> p4r.StreamMessageResponse:
        """The next message to send; waits for one."""
        while not self._waiting:
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()


def arbitration_message(device_id: int, view: View) -> p4r.StreamMessageResponse:
    """The MasterArbitrationUpdate that tells a client its standing."""
    message = p4r.StreamMessageResponse()
    update = message.arbitration
    update.device_id = device_id
    if view.role or view.config is not None:
        update.role.name = view.role
    if view.config is not None:
        update.role.config.CopyFrom(any_pb2.Any.FromString(view.config))
    if view.election_id is not None:
        update.election_id.high = view.election_id >> 64
        update.election_id.low = view.election_id & ((1 << 64) - 1)
        if not view.election_id:
            update.election_id.SetInParent()
    update.status.code = view.standing.value
    update.status.message = view.standing.name.lower().replace("_", " ")
    update.status.SetInParent()
    return message
