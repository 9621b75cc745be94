"""The real process: start, packets through real interfaces, stop. As root, in own namespaces."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from softswitch.server.pb import p4r
from softswitch.tests.p4client import (
    DEVICE,
    Client,
    connected,
    contract_config,
    exact_entry,
    key_of,
)

pytestmark = pytest.mark.switch

COMMAND = [sys.executable, "-m", "softswitch.main"]
STOP_S = 1.0
WAIT_S = 10.0
CLONE_NEWNET = 0x40000000
FRAME = bytes.fromhex("02000000000102000000aa010800") + bytes(range(46))
REPLICA_FRAME = bytes.fromhex("02000000000202000000aa010800") + bytes(range(46))


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def started(*flags: str) -> Iterator[subprocess.Popen[str]]:
    """A process with these flags; killed if the test does not end it."""
    process = start(*COMMAND, *flags)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def listening(process: subprocess.Popen[str]) -> str:
    """The address that the process says it listens on."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"softswitch: listening on (\S+)\n", line)
    assert found, (line, process.stderr and process.stderr.read())
    return found[1]


def stopped(process: subprocess.Popen[str], number: int = 15) -> tuple[int, float]:
    """Exit status after a signal, and seconds until then."""
    begin = time.monotonic()
    process.send_signal(number)
    return process.wait(WAIT_S), time.monotonic() - begin


@pytest.mark.parametrize("number", [2, 15], ids=["SIGINT", "SIGTERM"])
def test_process_told_to_stop_exits_0_within_a_second(tmp_path: Path, number: int) -> None:
    with started("--no-p4", "--", "--grpc-server-addr", f"unix:{tmp_path}/s") as process:
        assert listening(process) == f"unix:{tmp_path}/s"
        status, seconds = stopped(process, number)
    assert status == 0
    assert seconds < STOP_S


def test_process_on_port_0_tells_the_port() -> None:
    with started("--no-p4", "--grpc-server-addr", "127.0.0.1:0") as process:
        host, _, port = listening(process).rpartition(":")
        assert host == "127.0.0.1"
        socket.create_connection((host, int(port))).close()


def test_process_with_packets_over_grpc_needs_no_interfaces(tmp_path: Path) -> None:
    flags = ["--no-p4", "--", "--grpc-server-addr", f"unix:{tmp_path}/s"]
    with started(*flags, "--dp-grpc-server-addr", f"unix:{tmp_path}/p") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"softswitch: packets at unix:{tmp_path}/p\n"
        assert listening(process) == f"unix:{tmp_path}/s"
        for name in ("s", "p"):
            socket.socket(socket.AF_UNIX).connect(f"{tmp_path}/{name}")
        status, seconds = stopped(process)
    assert (status, seconds < STOP_S) == (0, True)


def test_process_at_an_address_in_use_exits_1() -> None:
    with started("--no-p4", "--grpc-server-addr", "127.0.0.1:0") as first:
        address = listening(first)
        with started("--no-p4", "--grpc-server-addr", address) as second:
            out, err = second.communicate(timeout=WAIT_S)
            assert second.returncode == 1
    assert out == ""
    assert err.endswith(f"softswitch: error: cannot listen on {address}\n")


def test_process_at_a_unix_socket_in_use_exits_1_but_takes_over_a_dead_one(tmp_path: Path) -> None:
    flags = ["--no-p4", "--grpc-server-addr", f"unix:{tmp_path}/s"]
    with started(*flags) as first:
        listening(first)
        with started(*flags) as second:
            _, err = second.communicate(timeout=WAIT_S)
            assert second.returncode == 1
        assert "another process does" in err
    assert (tmp_path / "s").exists()  # killed, so it is left
    with started(*flags) as third:
        listening(third)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--no-p4", "-i", "1@nosuch0"], "port 1: there is no interface 'nosuch0'"),
        (["/nonexistent.json"], "cannot read /nonexistent.json: No such file"),
        ([__file__], "cannot be realized"),
    ],
    ids=["interface", "file", "no-json"],
)
def test_process_that_cannot_start_exits_1_and_says_why(
    flags: list[str], words: str, tmp_path: Path
) -> None:
    flags = [*flags, "--cache-dir", str(tmp_path), "--grpc-server-addr", f"unix:{tmp_path}/s"]
    with started(*flags) as process:
        out, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
    assert out == ""
    assert words in err


def test_compile_only_fills_the_cache_and_exits(tmp_path: Path) -> None:
    json, cache = tmp_path / "contract.json", tmp_path / "cache"
    json.write_bytes(contract_config().p4_device_config)
    with started("--compile-only", "--cache-dir", str(cache), str(json)) as process:
        out, err = process.communicate(timeout=6 * WAIT_S)  # the compiler, on a busy machine
    assert (process.returncode, err) == (0, "")
    assert re.fullmatch(rf"softswitch: {json} is compiled, in {cache} \([0-9.]+ s\)\n", out)
    assert list(cache.glob("*.so"))


def test_compile_only_of_a_program_that_cannot_be_realized_exits_1(tmp_path: Path) -> None:
    json = tmp_path / "broken.json"
    json.write_text("{}")
    with started("--compile-only", "--cache-dir", str(tmp_path), str(json)) as process:
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"softswitch: error: {json}: the pipeline cannot be realized")


async def test_process_stopped_while_the_compiler_runs_exits_at_once_and_cleans_up(
    tmp_path: Path,
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho $$ > $0.pid\nexec sleep 60\n")
    compiler.chmod(0o755)
    os.environ["CC"] = str(compiler)
    cache, address = tmp_path / "cache", f"unix:{tmp_path}/s"
    try:
        flags = ["--no-p4", "--device-id", str(DEVICE), "--cache-dir", str(cache)]
        with started(*flags, "--grpc-server-addr", address) as process:
            listening(process)
            async with connected(address) as client:
                await client.become_primary()
                push = asyncio.create_task(client.push(contract_config()))
                async with asyncio.timeout(WAIT_S):
                    while not compiler.with_name("cc.pid").exists():  # noqa: ASYNC110
                        await asyncio.sleep(0.01)  # a file of another process
                status, seconds = await asyncio.to_thread(stopped, process)
                with pytest.raises(grpc.aio.AioRpcError):
                    await push
    finally:
        del os.environ["CC"]
    assert status == 0
    assert seconds < STOP_S
    assert list(cache.iterdir()) == []
    pid = int(compiler.with_name("cc.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_process_with_a_config_file_forwards_before_any_client(
    tmp_path: Path, engine_cache: Path
) -> None:
    json = tmp_path / "contract.json"
    json.write_bytes(contract_config().p4_device_config)
    flags = ["--device-id", str(DEVICE), "--cache-dir", str(engine_cache), str(json)]
    with started(*flags, "--", "--grpc-server-addr", f"unix:{tmp_path}/s") as process:
        async with connected(listening(process)) as client:
            await client.become_primary()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.entries()
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            await client.push(contract_config())
            await client.write(("INSERT", exact_entry(client, 1)))
        status, _ = stopped(process)
    assert status == 0


# -- packets --------------------------------------------------------------------------------------


@dataclass
class Wire:
    """A running switch with three ports, and raw sockets on the far ends of their wires."""

    process: subprocess.Popen[str]
    client: Client
    ends: dict[int, socket.socket]
    enter: tuple[str, ...]

    def send(self, port: int, frame: bytes) -> None:
        self.ends[port].send(frame)

    def receive(self, port: int, timeout_s: float = WAIT_S) -> bytes | None:
        """The next frame that the switch sends out of the port; None after the timeout."""
        end = self.ends[port]
        end.settimeout(timeout_s)
        try:
            while True:
                frame, source = end.recvfrom(2048)
                if source[2] != socket.PACKET_OUTGOING:
                    return frame
        except TimeoutError:
            return None


def _open_ends(ports: list[int]) -> tuple[int, dict[int, socket.socket]]:
    """In a thread of its own: a new network namespace with a wire per port. Returns a descriptor
    of the namespace and the sockets; the namespace ends with the last of them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare: run the tests as root")
    for port in ports:
        for command in (
            f"ip link add sw{port} type veth peer name end{port}",
            f"sysctl -qw net.ipv6.conf.sw{port}.disable_ipv6=1",
            f"sysctl -qw net.ipv6.conf.end{port}.disable_ipv6=1",
            f"ip link set sw{port} up",
            f"ip link set end{port} up",
        ):
            subprocess.run(command.split(), check=True)
    ends = {}
    for port in ports:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        end.bind((f"end{port}", 0))
        ends[port] = end
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY), ends


@pytest.fixture
async def wire(tmp_path: Path, engine_cache: Path) -> AsyncIterator[Wire]:
    ports = [1, 2, 3]
    with ThreadPoolExecutor(max_workers=1) as pool:
        namespace, ends = pool.submit(_open_ends, ports).result()
        flags = [f for port in ports for f in ("-i", f"{port}@sw{port}")]
        flags += ["--no-p4", "--device-id", str(DEVICE), "--cache-dir", str(engine_cache)]
        flags += ["--", "--grpc-server-addr", f"unix:{tmp_path}/s"]
        enter = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}")
        process = start(*enter, *COMMAND, *flags)
        try:
            async with connected(listening(process)) as client:
                await client.become_primary()
                await client.push(contract_config())
                yield Wire(process, client, ends, enter)
        finally:
            process.kill()
            process.communicate()
            os.close(namespace)
            for end in ends.values():
                end.close()


async def test_packet_follows_the_entry_is_counted_and_stops_with_it(wire: Wire) -> None:
    entry = exact_entry(wire.client, 1, port=b"\x02")
    await wire.client.write(("INSERT", entry))
    wire.send(1, FRAME)
    assert wire.receive(2) == FRAME
    (found,) = await wire.client.entries(table_id=entry.table_id, counter_data=p4r.CounterData())
    assert (found.counter_data.packet_count, found.counter_data.byte_count) == (1, len(FRAME))
    await wire.client.write(("MODIFY", exact_entry(wire.client, 1, port=b"\x03")))
    wire.send(1, FRAME)
    assert wire.receive(3) == FRAME
    await wire.client.write(("DELETE", key_of(entry)))
    wire.send(1, FRAME)
    assert wire.receive(2, 0.2) is None
    assert wire.receive(3, 0.2) is None


async def test_packet_to_a_group_is_replicated(wire: Wire) -> None:
    group = p4r.MulticastGroupEntry(multicast_group_id=9)
    group.replicas.add(port=b"\x02", instance=1)
    group.replicas.add(egress_port=3, instance=1)
    entry = exact_entry(wire.client, 2)
    flood = wire.client.names.actions["flood"]
    entry.action.action.action_id = flood.preamble.id
    entry.action.action.params[0].CopyFrom(
        p4r.Action.Param(param_id=flood.params[0].id, value=b"\x09")
    )
    await wire.client.write(("INSERT", group))
    await wire.client.write(("INSERT", entry))
    wire.send(1, REPLICA_FRAME)
    assert wire.receive(2) == REPLICA_FRAME
    assert wire.receive(3) == REPLICA_FRAME


async def test_packets_flow_again_after_another_push_and_only_by_new_entries(wire: Wire) -> None:
    entry = exact_entry(wire.client, 1, port=b"\x02")
    await wire.client.write(("INSERT", entry))
    wire.send(1, FRAME)
    assert wire.receive(2) == FRAME
    await wire.client.push(contract_config(cookie=2))
    wire.send(1, FRAME)
    assert wire.receive(2, 0.2) is None
    await wire.client.write(("INSERT", entry))
    wire.send(1, FRAME)
    assert wire.receive(2) == FRAME


async def test_process_with_ports_and_a_pipeline_stops_within_a_second(wire: Wire) -> None:
    status, seconds = await asyncio.to_thread(stopped, wire.process)
    assert status == 0
    assert seconds < STOP_S


async def test_lost_interface_is_left_out_of_the_next_push(wire: Wire) -> None:
    await asyncio.to_thread(
        subprocess.run, [*wire.enter, "ip", "link", "delete", "sw3"], check=True
    )
    await wire.client.push(contract_config(cookie=2))
    await wire.client.write(("INSERT", exact_entry(wire.client, 1, port=b"\x02")))
    wire.send(1, FRAME)
    assert wire.receive(2) == FRAME
    await asyncio.to_thread(stopped, wire.process)
    assert wire.process.stderr is not None
    assert "port 3 (sw3) is left out" in wire.process.stderr.read()


async def test_idle_process_takes_no_cpu_time(wire: Wire) -> None:
    """A second of watching: any polling loop would cost more than the two ticks allowed."""

    def ticks() -> int:
        fields = Path(f"/proc/{wire.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    await asyncio.sleep(0.3)  # the push and its connection settle
    before = ticks()
    await asyncio.sleep(1.0)
    assert ticks() - before <= 2
