"""One central slicer in front of 4 switches, the FlowVisor way, against one beside each switch.

`python -m bench.central [--flows N]`, as root, from the top of the source tree. Four softswitches
in a row carry real UDP packets between two hosts (interfaces in a namespace of their own). A flow
needs an entry at each of the four. The central slicer is this same slicer in one process, a
namespace hop away from switches and controller; both use TLS.

Push: the controller writes the entries before the first packet. Pull: the first packet misses at
the first switch, the controller hears of it, writes the entries and sends the packet on. Setup is
over when all 4 switches have acknowledged. The round trip is a packet's to the other host, which
answers at once, and back.

On one machine all share its processors, and four slicers cost there four times what is beside each
switch elsewhere. So there is a row for slicers that have a machine each: the four are written one
after the other, each alone, and the slowest counts. One central slicer has no such row: it is one
machine for all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dfvisor.cli.pki import init, issue
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import Exact, TableEntry, Ternary
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.streamed import PacketIn, PacketOut, StreamEvent
from dfvisor.p4rt.tls import Credentials
from rich.console import Console
from rich.table import Table

from bench.chain import ACCESS, DOWN, IPS, MACS, NAMES, SLICE, UP, VN, next_hops
from bench.slicer import Sample
from bench.slicer_rig import Process, running

FABRIC, CENTRAL = "dfv-bench-fabric", "dfv-bench-central"
HERE, THERE = "10.231.77.1", "10.231.77.2"
IN_FLIGHT = 16
STEADY = 5  # packets of a flow after its first
WAIT_S = 5.0
HOSTS = ("h1", "h2")
ETH_IPV4 = 0x0800


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    """One for switches, hosts and controller, and one for the central slicer, joined by a cable."""

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    def cable(a: str, b: str) -> None:
        ip("-n", FABRIC, "link", "add", a, "type", "veth", "peer", "name", b)

    try:
        for name in (FABRIC, CENTRAL):
            ip("netns", "add", name)
            quiet = "net.ipv6.conf.default.disable_ipv6=1"
            subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", quiet], check=True)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", FABRIC, "link", "add", "hop", "type", "veth", "peer", "hop", "netns", CENTRAL)
        for name, address in ((FABRIC, HERE), (CENTRAL, THERE)):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", "hop")
        cable(HOSTS[0], interface(1, ACCESS))
        cable(HOSTS[1], interface(len(NAMES), ACCESS))
        for number in range(1, len(NAMES)):
            cable(interface(number, DOWN), interface(number + 1, UP))
        for name in (FABRIC, CENTRAL):
            listed = subprocess.run(
                ["ip", "-n", name, "-o", "link"], check=True, capture_output=True, text=True
            )
            for line in listed.stdout.splitlines():
                ip("-n", name, "link", "set", line.split()[1].split("@")[0].rstrip(":"), "up")
        yield
    finally:
        for name in (FABRIC, CENTRAL):
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def interface(number: int, port: int) -> str:
    return f"s{number}p{port}"


def ports_of(number: int) -> list[int]:
    """Of the number-th switch in the row, from 1."""
    ends = {1: [DOWN, ACCESS], len(NAMES): [UP, ACCESS]}
    return ends.get(number, [UP, DOWN])


# -- packets


def frame(number: int, back: bool = False) -> bytes:
    """A packet of the number-th flow, there or back: source and destination port are its number."""
    source, destination = (1, 0) if back else (0, 1)
    ports = number.to_bytes(2, "big") * 2
    addresses = IPS[source].packed + IPS[destination].packed
    head = bytes.fromhex("4500001c000000004011") + bytes(2) + addresses
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, len(head), 2))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    packet = head[:10] + checksum + head[12:] + ports + bytes.fromhex("00080000")
    macs = MACS[destination].value.to_bytes(6, "big") + MACS[source].value.to_bytes(6, "big")
    return (macs + ETH_IPV4.to_bytes(2, "big") + packet).ljust(60, b"\0")


def number_of(data: bytes) -> int | None:
    """Which flow a frame is of."""
    if len(data) < 42 or data[12:14] != ETH_IPV4.to_bytes(2, "big") or data[23] != 17:
        return None
    return int.from_bytes(data[34:36], "big")


class Hosts:
    """Both hosts: the second answers what it gets, the first waits for the answers."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._sockets = []
        loop = asyncio.get_running_loop()
        for name, heard in zip(HOSTS, (self._answered, self._asked), strict=True):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_IPV4))
            opened.bind((name, ETH_IPV4))
            opened.setblocking(False)
            loop.add_reader(opened, self._read, opened, heard)
            self._sockets.append(opened)

    def _read(self, source: socket.socket, heard: object) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, address = source.recvfrom(2048)
                number = number_of(data) if address[2] != socket.PACKET_OUTGOING else None
                if number is not None:
                    heard(number)  # type: ignore[operator]

    def _asked(self, number: int) -> None:
        self._sockets[1].send(frame(number, back=True))

    def _answered(self, number: int) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def trip(self, number: int) -> float:
        """Milliseconds for a flow's packet to the other host and back."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        began = time.perf_counter()
        self._sockets[0].send(frame(number))
        await asyncio.wait_for(waiting, WAIT_S)
        return (time.perf_counter() - began) * 1e3

    def close(self) -> None:
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one)
            one.close()


# -- the controller


def flow(number: int) -> TableEntry:
    """Both directions of the number-th flow."""
    key = (
        ("ip_proto", Ternary(17, 0xFF)),
        ("l4_src", Ternary(number, 0xFFFF)),
        ("l4_dst", Ternary(number, 0xFFFF)),
    )
    return TableEntry("flow", key, 10, "permit", (("cookie", number),))


def ways(number: int) -> list[TableEntry]:
    """At the number-th switch, to either host."""
    return [
        TableEntry(
            "slice_forward",
            (("path_class", Exact(0)), ("eth_dst", Exact(mac.value))),
            0,
            "forward",
            (("next_hop", hop), ("cookie", 0)),
        )
        for mac, hop in zip(MACS, next_hops(number), strict=True)
    ]


class Controller:
    """A slice's controller: connected to the slicers of all switches."""

    def __init__(self, addresses: Sequence[str], tls: Credentials) -> None:
        role = f"slice/{VN}/{SLICE}"
        self._clients = [
            P4RuntimeClient(address, number, election_id=(0, 1), role=role, tls=tls)
            for number, address in enumerate(addresses, 1)
        ]
        self._setups: dict[int, asyncio.Future[float]] = {}
        self._asked: dict[int, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        for number, client in enumerate(self._clients, 1):
            await client.connect()
            await client.become_primary()
            client.schema = await client.get_schema()
            assert client.schema is not None
            await client.write([client.schema.insert(one) for one in ways(number)])
        self._clients[0]._on_event = self._event

    def _event(self, event: StreamEvent) -> None:
        number = number_of(event.payload) if isinstance(event, PacketIn) else None
        if number is not None and number in self._asked:
            task = asyncio.get_running_loop().create_task(self._pulled(number), name="pulled")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pulled(self, number: int) -> None:
        began = self._asked.pop(number)
        await self.install(number)
        self._setups.pop(number).set_result((time.perf_counter() - began) * 1e3)
        self._clients[0].send_packet(PacketOut(frame(number), {"port": ACCESS, "as_ingress": 1}))

    def expect(self, number: int) -> asyncio.Future[float]:
        """A packet of this flow is sent now: how long until its entries are in all switches."""
        self._asked[number] = time.perf_counter()
        self._setups[number] = asyncio.get_running_loop().create_future()
        return self._setups[number]

    def _write(self, client: P4RuntimeClient, number: int) -> asyncio.Future[None]:
        assert client.schema is not None
        update: p4r.Update = client.schema.insert(flow(number))
        return asyncio.ensure_future(client.write([update]))

    async def install(self, number: int) -> float:
        """Milliseconds until a flow's entry is in all switches."""
        began = time.perf_counter()
        await asyncio.gather(*(self._write(client, number) for client in self._clients))
        return (time.perf_counter() - began) * 1e3

    async def install_alone(self, number: int) -> float:
        """One switch after the other, each alone: the slowest of them."""
        slowest = 0.0
        for client in self._clients:
            began = time.perf_counter()
            await self._write(client, number)
            slowest = max(slowest, time.perf_counter() - began)
        return slowest * 1e3

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


async def at_a_time(flows: Sequence[int], setup: object) -> float:
    """Flows per second, some at a time."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int) -> None:
        async with slots:
            await setup(number)  # type: ignore[operator]

    began = time.perf_counter()
    await asyncio.gather(*map(one, flows))
    return len(flows) / (time.perf_counter() - began)


async def measure(
    addresses: Sequence[str], tls: Credentials, flows: int, slicers: Sequence[Process], alone: bool
) -> list[list[str]]:
    """Rows of the table."""
    controller, hosts = Controller(addresses, tls), Hosts()
    numbers = iter(range(1000, 60_000))

    async def pull(number: int) -> tuple[float, float]:
        setup = controller.expect(number)
        first = await hosts.trip(number)
        return await setup, first

    def row(what: str, setup: list[float], rate: str, first: list[float]) -> list[str]:
        latency, trip = Sample(setup), Sample(first)
        steadily = f"{Sample(steady).p(50):.2f}"
        shown = f"{trip.p(50):.2f} / {trip.p(99):.2f}" if first else ""
        cpu = f"{used / flows * 1e6:.0f}" if rate else ""
        times = [f"{latency.p(50):.2f}", f"{latency.p(99):.2f}"]
        return [what, *times, rate, shown, steadily if first else "", cpu]

    rows = []
    try:
        await controller.open()
        for _ in range(30):
            number = next(numbers)
            await controller.install(number)
            await hosts.trip(number)
        setups, firsts, steady = [], [], []
        used = -sum(one.cpu_s() for one in slicers)
        for _ in range(flows):
            number = next(numbers)
            setups.append(await controller.install(number))
            firsts.append(await hosts.trip(number))
            steady += [await hosts.trip(number) for _ in range(STEADY)]
        used += sum(one.cpu_s() for one in slicers)
        rate = await at_a_time([next(numbers) for _ in range(flows)], controller.install)
        rows.append(row("push", setups, f"{rate:,.0f}", firsts))
        if alone:
            each = [await controller.install_alone(next(numbers)) for _ in range(flows)]
            rows.append(row("push, a machine each", each, "", []))
        setups, firsts, steady = [], [], []
        used = -sum(one.cpu_s() for one in slicers)
        for _ in range(flows):
            number = next(numbers)
            setup, first = await pull(number)
            setups.append(setup)
            firsts.append(first)
            steady += [await hosts.trip(number) for _ in range(STEADY)]
        used += sum(one.cpu_s() for one in slicers)
        rate = await at_a_time([next(numbers) for _ in range(flows)], pull)
        rows.append(row("pull", setups, f"{rate:,.0f}", firsts))
    finally:
        hosts.close()
        await controller.close()
    return rows


# -- processes


def switches(stack: contextlib.ExitStack) -> list[str]:
    """Four switches with interfaces, that both namespaces reach: `name=address`."""
    found = []
    for number, name in enumerate(NAMES, 1):
        options = ["--device-id", str(number), "--log-level", "off", "--no-p4"]
        for port in ports_of(number):
            options += ["-i", f"{port}@{interface(number, port)}"]
        at = ["--", "--grpc-server-addr", f"{HERE}:{24770 + number}", "--cpu-port", "510"]
        process = running("softswitch.main", *options, *at, "--priority-queues", "8")
        found.append(f"{name}={stack.enter_context(process).address}")
    return found


def inside(flows: int) -> int:
    """In the namespace of switches and hosts."""
    table = Table(title=f"a new flow at {len(NAMES)} switches in a row")
    columns = ("slicer", "", "setup p50 ms", "p99 ms", "flows/s", "first trip p50 / p99 ms")
    for column in (*columns, "steady trip p50 ms", "slicers' CPU us a flow"):
        table.add_column(column, justify="right" if column not in ("slicer", "") else "left")
    with tempfile.TemporaryDirectory() as scratch:
        pki = Path(scratch) / "pki"
        init(pki)
        issue(pki, "slicer", hosts=[HERE, THERE, "127.0.0.1"])
        issue(pki, "tenant", tenant="t", roles=["slice/t/*"])
        tls = Credentials.load(pki / "tenant.pem", pki / "tenant.key", pki / "ca.pem")
        for name in ("beside each switch", "central"):
            with contextlib.ExitStack() as stack:
                at = switches(stack)
                if name == "central":
                    listen = ",".join([f"{THERE}:0"] * len(at))
                    command = ["bench.chain", listen, ",".join(at), str(pki)]
                    slicers = [stack.enter_context(running(*command, within=CENTRAL))]
                else:
                    slicers = [
                        stack.enter_context(running("bench.chain", "127.0.0.1:0", one, str(pki)))
                        for one in at
                    ]
                addresses = [one for slicer in slicers for one in slicer.addresses]
                alone = len(slicers) > 1
                for row in asyncio.run(measure(addresses, tls, flows, slicers, alone)):
                    table.add_row(name, *row)
    Console(width=150).print(table)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=150)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if options.inside:
        sys.exit(inside(options.flows))
    with namespaces():
        again = [sys.executable, "-m", "bench.central", "--inside", "--flows", str(options.flows)]
        done = subprocess.run(["ip", "netns", "exec", FABRIC, *again], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
