"""Fixtures of the server tests: the service over a unix socket, on either data plane."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from softswitch.server.dataplane import Builder, DataPlane, engine_builder
from softswitch.server.links import Links
from softswitch.server.ports import PortHost
from softswitch.server.rpc import add_to_server
from softswitch.server.service import P4RuntimeService
from softswitch.tests.fake_engine import FakeEngine
from softswitch.tests.p4client import (
    CPU_PORT,
    DEVICE,
    Client,
    Switch,
    connected,
    contract_config,
    streams_config,
)


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("softswitch-cache")


@pytest.fixture
def data_plane() -> str:
    """Which data plane the switch has; tests that run on both override it."""
    return "fake"


@pytest.fixture
async def switch(data_plane: str, engine_cache: Path, tmp_path: Path) -> AsyncIterator[Switch]:
    made: list[DataPlane] = []
    may_build, building = threading.Event(), threading.Event()
    may_build.set()
    real = engine_builder(engine_cache)

    def build(bmv2_json: bytes) -> DataPlane:
        building.set()
        assert may_build.wait(10)
        if data_plane == "fake":
            fake = FakeEngine(bmv2_json)
            fake.others = [other for other in made if isinstance(other, FakeEngine)]
            made.append(fake)
        else:
            made.append(real(bmv2_json))
        return made[-1]

    builder: Builder = build
    ports = PortHost((), cpu_port=CPU_PORT)
    ports.links = Links(range(1, 7))  # without interfaces: tests say which are up
    service = P4RuntimeService(DEVICE, builder, ports)
    server = grpc.aio.server()
    add_to_server(service, server)
    address = f"unix:{tmp_path}/p4rt.sock"
    server.add_insecure_port(address)
    await server.start()
    yield Switch(service, address, ports.links, made, may_build, building)
    may_build.set()
    await server.stop(None)
    await service.close()


@pytest.fixture
async def client(switch: Switch) -> AsyncIterator[Client]:
    """A client without a stream and without a pipeline."""
    async with connected(switch.address) as made:
        yield made


@pytest.fixture
async def primary(client: Client) -> Client:
    """A client that is primary with election id 1 and has pushed the test program;
    `client.primary` is its stream.
    """
    client.primary = await client.become_primary()
    await client.push(contract_config(cookie=42))
    return client


@pytest.fixture
async def streaming(client: Client) -> Client:
    """As `primary`, with the second test program; `client.primary` is its stream."""
    client.use(streams_config())
    client.primary = await client.become_primary()
    await client.push(streams_config())
    return client
