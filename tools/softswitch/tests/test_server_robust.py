"""Nonsense from clients: a clear error, and the switch goes on. Nothing here may end it."""

from __future__ import annotations

import json
import random
from typing import Any

import grpc
import pytest
from softswitch.config import load_program
from softswitch.engine import generated
from softswitch.errors import ConfigError, EngineError
from softswitch.server.pb import p4r
from softswitch.tests.p4client import (
    DATA,
    Client,
    Switch,
    connected,
    contract_config,
    exact_entry,
)

METHODS = ["Write", "Read", "SetForwardingPipelineConfig", "GetForwardingPipelineConfig"]
METHODS += ["Capabilities", "StreamChannel"]


async def still_serves(client: Client) -> None:
    """The primary's requests are answered as ever."""
    await client.write(("INSERT", exact_entry(client, 1)))
    assert len(await client.entries(table_id=exact_entry(client, 1).table_id)) == 1
    await client.write(("DELETE", exact_entry(client, 1)))


def _garbage() -> list[bytes]:
    r = random.Random(7)
    return [b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", *(r.randbytes(n) for n in (1, 7, 100, 5000))]


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_message_are_refused(
    primary: Client, switch: Switch, method: str
) -> None:
    async with grpc.aio.insecure_channel(switch.address) as channel:
        for data in _garbage():
            call = channel.stream_stream(
                f"/p4.v1.P4Runtime/{method}", lambda raw: raw, lambda raw: raw
            )(iter([data]), timeout=10)
            # some bytes happen to be a message; what counts is that an answer comes
            assert await call.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    await still_serves(primary)


async def test_message_beyond_the_limit_is_refused(primary: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await primary.write(("INSERT", exact_entry(primary, 1, metadata=bytes(5 << 20))))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await still_serves(primary)


async def test_unknown_methods_and_services_are_unimplemented(
    primary: Client, switch: Switch
) -> None:
    async with grpc.aio.insecure_channel(switch.address) as channel:
        for path in ("/p4.v1.P4Runtime/Nothing", "/gnmi.gNMI/Get"):
            call = channel.unary_unary(path, lambda raw: raw, lambda raw: raw)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await still_serves(primary)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\x00\xff\xfe",
        b"null",
        b"[" * 100_000,
        b'{"actions": ' * 20_000,
        b'{"actions": [], "pipelines": 7}',
        b'{"actions": [], "pipelines": [{"tables": "x"}]}',
    ],
    ids=["empty", "binary", "null", "deep-list", "deep-object", "number", "text"],
)
async def test_device_config_that_is_no_program_is_invalid(
    primary: Client, document: bytes
) -> None:
    config = contract_config()
    config.p4_device_config = document
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await primary.push(config)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await still_serves(primary)


async def test_reads_that_nobody_takes_hold_nobody_up(primary: Client, switch: Switch) -> None:
    request = p4r.ReadRequest(device_id=7)
    for _ in range(5000):
        request.entities.add().counter_entry.SetInParent()
    async with connected(switch.address) as idle:
        calls = [idle.stub.Read(request) for _ in range(8)]
        await still_serves(primary)
        for call in calls:
            call.cancel()
    await still_serves(primary)


JUNK: list[Any] = [None, -1, 1 << 70, 0.5, "", "x", "0x", "-0x1", [], {}, [[]], [None], True, "é"]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, item in value.items():
            found += _places(item, (*path, name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            found += _places(item, (*path, place))
    return found


@pytest.mark.parametrize("program", ["contract", "streams", "features"])
def test_program_with_junk_anywhere_is_refused_or_understood(program: str) -> None:
    text = (DATA / f"{program}.json").read_text()
    r = random.Random(11)
    places = _places(json.loads(text))
    refused = 0
    for _ in range(150):
        document = json.loads(text)
        path = r.choice(places)
        holder = document
        for step in path[:-1]:
            holder = holder[step]
        if r.random() < 0.2:
            del holder[path[-1]]
        else:
            holder[path[-1]] = r.choice(JUNK)
        try:
            generated(load_program(json.dumps(document).encode()))
        except EngineError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("document", [b"[" * 100_000, b"\xff\xfe", b'{"a": ' * 50_000])
def test_program_that_is_no_json_is_a_config_error(document: bytes) -> None:
    with pytest.raises(ConfigError):
        load_program(document)
