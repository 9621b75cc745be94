"""The real process with real interfaces: the CPU port, watch ports and rates. As root."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from softswitch.server.pb import p4r
from softswitch.tests.namespace import Wire, in_namespace, ip, veth
from softswitch.tests.p4client import CPU_PORT, Client, connected, exact, streams_config
from softswitch.tests.test_server_process import listening, started

pytestmark = pytest.mark.switch

PORTS = (1, 2, 3)
WAIT_S = 10.0
HEAD = b"\x02\0\0\0\0\1" + b"\x02\0\0\0\0"
Body = Callable[[Client, dict[int, Wire]], Awaitable[None]]


def frame(source: int, ethertype: bytes = b"\x88\xb5") -> bytes:
    return HEAD + bytes([source]) + ethertype + bytes(range(46))


def on_a_switch(tmp_path: Path, cache: Path, body: Body, *flags: str) -> None:
    """Run `body` with a primary client of a switch that has PORTS, and with their far ends."""

    async def run() -> None:
        with ExitStack() as stack:
            words = [word for port in PORTS for word in ("-i", f"{port}@s{port}")]
            words += ["--no-p4", "--device-id", "7", "--cache-dir", str(cache), *flags]
            words += ["--", "--cpu-port", str(CPU_PORT)]
            words += ["--grpc-server-addr", f"unix:{tmp_path}/p4rt.sock"]
            address = listening(stack.enter_context(started(*words)))
            wires = {port: Wire.open(f"h{port}") for port in PORTS}
            for wire in wires.values():
                stack.callback(wire.close)
            async with connected(address) as client:
                client.use(streams_config())
                client.primary = await client.become_primary()
                await client.push(streams_config())
                await body(client, wires)

    def in_it() -> None:
        for port in PORTS:
            veth(f"s{port}", f"h{port}")
        asyncio.run(run())

    in_namespace(in_it)


def one_shot(client: Client, *ports: int) -> p4r.TableEntry:
    """An entry that spreads packets over ports, each only while it is up."""
    entry = client.names.entry("routes", {"mac": exact(HEAD[:6])})
    for port in ports:
        entry.action.action_profile_action_set.action_profile_actions.add(
            action=client.names.action("send_to", {"port": bytes([port])}),
            weight=1,
            watch_port=bytes([port]),
        )
    return entry


def test_live_packets_to_and_from_the_controller(tmp_path: Path, engine_cache: Path) -> None:
    async def body(client: Client, wires: dict[int, Wire]) -> None:
        assert client.primary is not None
        out = p4r.PacketOut(payload=frame(1))
        out.metadata.add(metadata_id=1, value=b"\x02")
        out.metadata.add(metadata_id=2, value=b"\0")
        await client.primary.call.write(p4r.StreamMessageRequest(packet=out))
        assert await asyncio.to_thread(wires[2].receive, WAIT_S) == frame(1)
        punted = frame(9, b"\x88\xb7")
        wires[3].send(punted)
        async with asyncio.timeout(WAIT_S):
            packet = (await client.primary.next()).packet
        assert packet.payload == punted
        assert packet.metadata[0].value == b"\x03"

    on_a_switch(tmp_path, engine_cache, body)


def test_live_watch_port_moves_packets_when_the_peer_goes_down_and_back(
    tmp_path: Path, engine_cache: Path
) -> None:
    async def body(client: Client, wires: dict[int, Wire]) -> None:
        await client.write(("INSERT", one_shot(client, 2, 3)))
        shares = [await _until_all_arrive(wires)]
        ip("link", "set", "h2", "down")
        wires[2].sock.getsockopt(1, 4)  # SOL_SOCKET, SO_ERROR: "network is down" is expected
        shares.append(await _until_all_arrive(wires))
        ip("link", "set", "h2", "up")
        deadline = time.monotonic() + WAIT_S
        while (share := await _until_all_arrive(wires)) != shares[0]:
            assert time.monotonic() < deadline
        assert 0 < shares[0] < 64
        assert shares[1] == 0
        assert share == shares[0]

    on_a_switch(tmp_path, engine_cache, body)


async def _until_all_arrive(wires: dict[int, Wire]) -> int:
    """Send 64 frames of other hosts until all of them arrive; how many came by port 2."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for source in range(64):
            wires[1].send(frame(source))
        came = [0, 0]
        while sum(came) < 64:
            got = await asyncio.to_thread(wires[3].receive, 0.2)
            if got is None:
                break
            came[1] += 1
        while sum(came) < 64:
            got = await asyncio.to_thread(wires[2].receive, 0.2)
            if got is None:
                break
            came[0] += 1
        if sum(came) == 64:
            return came[0]
    raise AssertionError("packets are lost for good")


def test_live_port_rate_holds_packets_back(tmp_path: Path, engine_cache: Path) -> None:
    async def body(client: Client, wires: dict[int, Wire]) -> None:
        await client.write(("INSERT", one_shot(client, 2)))
        begin = time.monotonic()
        for source in range(40):
            wires[1].send(frame(source))
        for source in range(40):
            assert await asyncio.to_thread(wires[2].receive, WAIT_S) == frame(source)
        assert time.monotonic() - begin > 0.3  # 40 packets at 100 a second

    on_a_switch(tmp_path, engine_cache, body, "--port-rate", "2=100")
