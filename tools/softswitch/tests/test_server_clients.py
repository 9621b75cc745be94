"""Public P4Runtime clients, unmodified, against the real process: finsy and p4runtime-shell.

PTF's turn is `make ptf`, which runs PTF's own test runner on this switch.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import finsy as fy
import grpc
import pytest
from softswitch.server.dataplane import engine_builder
from softswitch.tests.p4client import DATA, DEVICE
from softswitch.tests.test_server_grpc_packets import FRAME, Packets, request
from softswitch.tests.test_server_process import listening, started

ROOT = Path(__file__).resolve().parents[3]
SHELL = ROOT / ".venv-shell" / "bin" / "python"
TIMEOUT_S = 30


@pytest.fixture
def addresses(tmp_path: Path, engine_cache: Path) -> Iterator[tuple[str, str]]:
    """Of a running switch: P4Runtime over TCP, packets over gRPC. The programs are compiled
    already: clients do not wait for a compiler on a busy machine."""
    build = engine_builder(engine_cache)
    for program in ("contract", "streams"):
        build((DATA / f"{program}.json").read_bytes()).close()
    packets = f"unix:{tmp_path}/packets"
    flags = ["--no-p4", "--device-id", str(DEVICE), "--cache-dir", str(engine_cache), "--"]
    flags += ["--grpc-server-addr", "127.0.0.1:0", "--dp-grpc-server-addr", packets]
    with started(*flags, "--cpu-port", "510") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"softswitch: packets at {packets}\n"
        yield listening(process), packets


def options(program: str) -> fy.SwitchOptions:
    return fy.SwitchOptions(
        p4info=DATA / f"{program}.p4info.txtpb", p4blob=DATA / f"{program}.json", device_id=DEVICE
    )


def reading(client: fy.Switch, what: Any) -> AsyncIterator[Any]:
    """Client.read, whose type says that it is a coroutine."""
    read: Any = client.read
    found: AsyncIterator[Any] = read(what)
    return found


def entry() -> fy.P4TableEntry:
    """A new object each time: finsy marks it with the kind of update."""
    return fy.P4TableEntry(
        "exact_table",
        match=fy.Match(dst="02:00:00:00:00:01", port=1),
        action=fy.Action("forward", port=5),
    )


def ternary() -> fy.P4TableEntry:
    return fy.P4TableEntry(
        "acl_table",
        match=fy.Match(label=3, src="02:00:00:00:00:00/&ff:ff:00:00:00:00"),
        action=fy.Action("label", value=10, index=1),
        priority=7,
    )


async def test_finsy_pushes_a_pipeline_programs_it_and_cleans_up(
    addresses: tuple[str, str],
) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        async with fy.Switch("s", addresses[0], options("contract")) as client:
            assert client.is_primary
            group = fy.P4MulticastGroupEntry(1, replicas=[1, 2])
            session = fy.P4CloneSessionEntry(1, replicas=[3])
            await client.write([+entry(), +ternary(), +group, +session])
            read = [one async for one in reading(client, fy.P4TableEntry())]
            assert [one.action for one in read if not one.is_const] == [
                entry().action,
                ternary().action,
            ]
            assert [one.priority for one in read if one.table_id == "acl_table"] == [7]
            groups = [one async for one in reading(client, fy.P4MulticastGroupEntry())]
            assert [len(one.replicas) for one in groups] == [2]
            async with grpc.aio.insecure_channel(addresses[1]) as channel:
                stream = Packets(channel).stream()
                await stream.write(request(1, FRAME, id_=8))
                answer = await stream.read()
                assert (answer.id, answer.port, answer.packet) == (8, 5, FRAME)
                await stream.done_writing()
            counters = fy.P4DirectCounterEntry("exact_counter")
            assert [one.packet_count async for one in reading(client, counters)] == [1]
            with pytest.raises(fy.P4ClientError) as caught:
                await client.write([+entry(), -ternary()])
            assert [d.canonical_code for d in caught.value.details.values()] == [
                fy.GRPCStatusCode.ALREADY_EXISTS
            ]
            await client.delete_all()
            left = [one async for one in reading(client, fy.P4TableEntry())]
            assert all(one.is_const for one in left)


async def test_finsy_gets_packets_and_digests_and_sends_packets(
    addresses: tuple[str, str],
) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        async with fy.Switch("s", addresses[0], options("streams")) as client:
            await client.write([+fy.P4DigestEntry("learn_t", max_list_size=1)])
            async with grpc.aio.insecure_channel(addresses[1]) as channel:
                stream = Packets(channel).stream()
                punted = FRAME[:12] + b"\x88\xb7" + bytes(4)
                packets = asyncio.ensure_future(anext(aiter(client.read_packets())))
                digests = asyncio.ensure_future(anext(aiter(client.read_digests("learn_t"))))
                await stream.write(request(3, punted))
                packet = await packets
                assert (packet["port"], packet.payload) == (3, punted)
                assert (await digests).data == [{"port": 3, "mac": 0x02000000AA01}]
                await client.write([fy.P4PacketOut(FRAME, port=4, flag=0, reserved=0)])
                answer = await stream.read()
                assert (answer.port, answer.packet) == (4, FRAME)


def test_p4runtime_shell_programs_the_switch(addresses: tuple[str, str]) -> None:
    assert SHELL.exists(), "p4runtime-shell is missing: run `make .venv-shell/.installed`"
    script = Path(__file__).with_name("shell_session.py")
    run = subprocess.run(
        [SHELL, script, addresses[0], DATA / "contract.p4info.txtpb", DATA / "contract.json"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stdout + run.stderr
