"""A slicer in this process over a real switch process: for what a fake can't prove."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import SLICE_TABLES, TableEntry
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.p4rt.streamed import PacketOut
from dfvisor.slicer.limits import Limits
from dfvisor.slicer.server import SlicerServer
from dfvisor.slicer.tables import FlowTables

from controlplane.tests.agent.rig import DEVICE_ID, PIPELINE
from controlplane.tests.slicer.fakes import FakeDirectory

SCHEMA = PIPELINE.schema


class LiveSwitch:
    """A `SwitchPort` to a real switch, as primary."""

    def __init__(self, client: P4RuntimeClient) -> None:
        self.client = client
        self.sent: list[PacketOut] = []

    async def write(
        self,
        updates: Sequence[p4r.Update],
        *,
        at_once: bool = False,
        activating: tuple[str, int] | None = None,
    ) -> list[UpdateStatus]:
        return await self.client.write_statuses(updates, at_once=at_once)

    async def read(self, request: p4r.ReadRequest) -> list[p4r.Entity]:
        return await self.client.read(request.entities)

    def send_packet(self, packet: PacketOut) -> None:
        self.sent.append(packet)
        self.client.send_packet(packet)


@dataclass
class Live:
    """Slicer, its surroundings, and an eye on the switch itself."""

    address: str
    slicer: SlicerServer
    directory: FakeDirectory
    switch: LiveSwitch
    clients: list[P4RuntimeClient] = field(default_factory=list)

    async def connect(self, role: str, election_id: int = 1) -> P4RuntimeClient:
        """A primary of the role."""
        client = P4RuntimeClient(
            self.address, DEVICE_ID, election_id=divmod(election_id, 1 << 64), role=role
        )
        self.clients.append(client)
        await client.become_primary()
        client.schema = await client.get_schema()
        return client

    async def held(self) -> frozenset[TableEntry]:
        """The slices' tables of the switch itself."""
        return frozenset(await self.switch.client.read_entries(*SLICE_TABLES))

    @property
    def tables(self) -> FlowTables:
        return self.slicer._tables


_boots = iter(range(1, 1 << 30))


@asynccontextmanager
async def live(
    address: str, directory: FakeDirectory | None = None, limits: Limits | None = None
) -> AsyncIterator[Live]:
    """A slicer at the switch at this address, whose flow tables are empty at first."""
    client = P4RuntimeClient(address, DEVICE_ID, election_id=(0, next(_boots)), schema=SCHEMA)
    await client.connect()
    await client.become_primary()
    if await client.get_pipeline_cookie() != PIPELINE.cookie:
        await client.set_pipeline(SCHEMA, PIPELINE.device_config, PIPELINE.cookie)
    stale = await client.read_entries(*SLICE_TABLES)
    await client.write([SCHEMA.delete(entry) for entry in stale])
    directory = directory or FakeDirectory()
    switch = LiveSwitch(client)
    slicer = SlicerServer(directory, switch, SCHEMA, DEVICE_ID, limits=limits)
    client._on_event = slicer.event
    made = Live(await slicer.start("127.0.0.1:0"), slicer, directory, switch)
    try:
        yield made
    finally:
        await asyncio.gather(*(one.close() for one in made.clients))
        await slicer.stop()
        await client.close()
