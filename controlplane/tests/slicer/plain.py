"""The generated stub with a library's defaults: what a client can do that ours would not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Self

import grpc.aio
from dfvisor.p4rt.pb import p4r, p4r_grpc

from controlplane.tests.slicer.fakes import DEVICE

WAIT_S = 10.0
PACKET_OUT = {"port": 1, "as_ingress": 2, "trace": 3, "reserved": 4}


class PlainClient:
    """One connection with one stream."""

    def __init__(
        self,
        address: str,
        role: str,
        election_id: int | None = 1,
        *,
        device_id: int = DEVICE,
    ) -> None:
        self.device_id = device_id
        self.role = role
        self.election_id = election_id
        self.channel = grpc.aio.insecure_channel(
            address, options=(("grpc.use_local_subchannel_pool", 1),)
        )
        self.stub = p4r_grpc.P4RuntimeStub(self.channel)
        self.requests: asyncio.Queue[p4r.StreamMessageRequest | None] = asyncio.Queue()
        self.stream = self.stub.StreamChannel(self._outgoing())
        self.heard: asyncio.Queue[p4r.StreamMessageResponse] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read(), name=f"plain {role}")

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        address: str,
        role: str,
        election_id: int | None = 1,
        *,
        arbitrate: bool = True,
        device_id: int = DEVICE,
    ) -> AsyncIterator[Self]:
        """Connected, arbitration sent but its answer not read."""
        client = cls(address, role, election_id, device_id=device_id)
        try:
            if arbitrate:
                client.arbitrate(role)
            yield client
        finally:
            await client.close()

    @classmethod
    @asynccontextmanager
    async def primary(
        cls, address: str, role: str, election_id: int = 1, *, device_id: int = DEVICE
    ) -> AsyncIterator[Self]:
        """Primary of the role."""
        async with cls.opened(address, role, election_id, device_id=device_id) as client:
            answer = await client.next()
            assert answer.arbitration.status.code == 0, answer
            yield client

    async def _outgoing(self) -> AsyncIterator[p4r.StreamMessageRequest]:
        while (message := await self.requests.get()) is not None:
            yield message

    def arbitrate(self, role: str, device_id: int | None = None) -> None:
        message = p4r.StreamMessageRequest()
        message.arbitration.device_id = self.device_id if device_id is None else device_id
        message.arbitration.role.name = role
        if self.election_id is not None:
            message.arbitration.election_id.high = self.election_id >> 64
            message.arbitration.election_id.low = self.election_id & (1 << 64) - 1
        self.requests.put_nowait(message)

    async def become_primary(self) -> None:
        self.arbitrate(self.role)
        answer = await self.next()
        assert answer.arbitration.status.code == 0

    async def _read(self) -> None:
        try:
            async for message in self.stream:
                self.heard.put_nowait(message)
        except grpc.aio.AioRpcError:
            pass  # `ended` tells

    async def next(self) -> p4r.StreamMessageResponse:
        """The next message of the stream."""
        async with asyncio.timeout(WAIT_S):
            return await self.heard.get()

    async def ended(self) -> str:
        """The name of the status with which the stream ends, whatever comes before."""
        async with asyncio.timeout(WAIT_S):
            return (await self.stream.code()).name

    @property
    def idle(self) -> bool:
        """Whether nothing more has arrived that was not read. To be asked after something that was
        sent later has arrived elsewhere.
        """
        return self.heard.empty()

    def send(self, frame: bytes, **fields: int) -> None:
        """A packet-out."""
        message = p4r.StreamMessageRequest()
        message.packet.payload = frame
        for name, value in fields.items():
            data = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
            message.packet.metadata.add(metadata_id=PACKET_OUT[name], value=data)
        self.requests.put_nowait(message)

    def request(self, updates: Iterable[p4r.Update]) -> p4r.WriteRequest:
        """A Write in this client's name."""
        request = p4r.WriteRequest(device_id=self.device_id, role=self.role, updates=updates)
        if self.election_id is not None:
            request.election_id.high = self.election_id >> 64
            request.election_id.low = self.election_id & (1 << 64) - 1
        return request

    async def write(self, updates: Iterable[p4r.Update]) -> None:
        await self.stub.Write(self.request(updates), timeout=WAIT_S)

    async def close(self) -> None:
        self.requests.put_nowait(None)  # or gRPC's task that waits for more is never ended
        self.stream.cancel()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.channel.close()
