"""A slicer over a switch and a directory in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.p4info import Schema
from dfvisor.slicer.server import SlicerServer

from controlplane.tests.slicer.fakes import DEVICE, P4INFO, FakeDirectory, FakeSwitch

Connect: TypeAlias = Callable[..., Awaitable[P4RuntimeClient]]


@pytest.fixture(scope="session")
def schema() -> Schema:
    """The whole program's."""
    return Schema.load(P4INFO.read_text())


@pytest.fixture
def switch(schema: Schema) -> FakeSwitch:
    return FakeSwitch(schema)


@pytest.fixture
def directory() -> FakeDirectory:
    return FakeDirectory()


@pytest.fixture
async def slicer(
    schema: Schema, switch: FakeSwitch, directory: FakeDirectory
) -> AsyncIterator[SlicerServer]:
    server = SlicerServer(directory, switch, schema, DEVICE)
    yield server
    await server.stop()


@pytest.fixture
async def address(slicer: SlicerServer) -> str:
    """Where the slicer serves."""
    return await slicer.start("127.0.0.1:0")


@pytest.fixture
async def connect(
    address: str,
) -> AsyncIterator[Connect]:
    """Make a client: `await connect(role, election id)`; primary unless `primary=False`."""
    clients: list[P4RuntimeClient] = []

    async def make(
        role: str | None, election_id: int = 1, *, at: str = address, primary: bool = True
    ) -> P4RuntimeClient:
        client = P4RuntimeClient(at, DEVICE, election_id=(0, election_id), role=role)
        clients.append(client)
        await client.connect()
        if primary:
            await client.become_primary()
            client.schema = await client.get_schema()
        return client

    yield make
    for client in clients:
        await client.close()
