"""One central slicer in front of 4 switches, the FlowVisor way, against one beside each switch.

`python -m bench.central [--flows N]`, as root, from the top of the source tree. The central one is
this same slicer in one process, a namespace hop away from switches and controller; both use TLS. A
flow's setup is over when its entry is acknowledged by all 4 switches. Push: the controller writes.
Pull: a packet misses at the first switch, and the controller writes when it hears of it; what a new
flow's first packet waits for. On one machine all of them share its processors: a slicer beside each
switch has there what the central one has for all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
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

from bench.slicer import Sample, Writer
from bench.slicer_rig import DEVICE_ID, PIPELINE, running

SWITCHES = 4
HERE, THERE = "10.231.77.1", "10.231.77.2"
NAMESPACE, DEVICE = "dfv-bench-central", "dfv-bench-c"
IN_FLIGHT = 16
PORT = 1
SLICE_ID = 1  # of s0 in the rig's directory
HEAD = bytes.fromhex("0200000000020200000000010800")


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """A namespace behind a veth pair."""

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", DEVICE, "type", "veth", "peer", "name", "hop", "netns", NAMESPACE)
        ip("addr", "add", f"{HERE}/30", "dev", DEVICE)
        ip("link", "set", DEVICE, "up")
        ip("-n", NAMESPACE, "addr", "add", f"{THERE}/30", "dev", "hop")
        ip("-n", NAMESPACE, "link", "set", "hop", "up")
        ip("-n", NAMESPACE, "link", "set", "lo", "up")
        yield
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=False)
        subprocess.run(["ip", "link", "del", DEVICE], check=False, stderr=subprocess.DEVNULL)


def infrastructure() -> list[TableEntry]:
    """An access port whose UDP packets are slice s0's, which pulls."""
    access = (
        *(("vn", 1), ("best_effort_slice", 2), ("vid", 0)),
        *(("guarded", 0), ("learning", 0)),
    )
    classify = (("slice_id", SLICE_ID), ("cookie", 1), ("meter_id", 0))
    policy = (
        *(("gre_key", 1000), ("qos_level", 1), ("miss_policy", 2), ("queue", 0), ("dscp", 0)),
        *(("best_effort_slice", 2), ("best_effort_key", 9), ("dscp_yellow", 0)),
    )
    udp = (("vn", Exact(1)), ("ip_proto", Ternary(17, 0xFF)))
    return [
        TableEntry("access_port", (("port", Exact(PORT)),), 1, "set_access", access),
        TableEntry("classifier", udp, 2, "classify", classify),
        TableEntry("slice_policy", (("slice_id", Exact(SLICE_ID)),), 0, "set_slice_policy", policy),
    ]


async def prepare(address: str) -> None:
    """Pipeline and infrastructure of an empty switch."""
    client = P4RuntimeClient(address, DEVICE_ID, election_id=(0, 1), schema=PIPELINE.schema)
    try:
        await client.connect()
        await client.become_primary()
        await client.set_pipeline(PIPELINE.schema, PIPELINE.device_config, PIPELINE.cookie)
        await client.write([PIPELINE.schema.insert(one) for one in infrastructure()])
    finally:
        await client.close()


def frame(number: int) -> bytes:
    """A packet of the number-th flow of `bench.slicer.entry`."""
    address = (0x0A000000 + number).to_bytes(4, "big")
    ports = (4096).to_bytes(2, "big") + (number % 60000 + 1).to_bytes(2, "big")
    ip = bytes.fromhex("4500001c000000004011000009000001") + address
    return HEAD + ip + ports + bytes.fromhex("00080000")


class Controller:
    """A slice's controller: connected to the slicers of all switches."""

    def __init__(self, addresses: Sequence[str], tls: Credentials) -> None:
        self.writers = [Writer(address, "s0", 1, tls) for address in addresses]
        self._heard: dict[bytes, asyncio.Future[None]] = {}

    async def open(self) -> None:
        for writer in self.writers:
            await writer.open()
        self.writers[0].client._on_event = self._event

    def _event(self, event: StreamEvent) -> None:
        if isinstance(event, PacketIn):
            waiting = self._heard.pop(event.payload, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    async def push(self, number: int) -> float:
        """Milliseconds until a flow's entry is in all switches."""
        began = time.perf_counter()
        await self._install(number)
        return (time.perf_counter() - began) * 1e3

    async def pull(self, number: int) -> float:
        """The same from the packet that asks for it."""
        packet = frame(number)
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard[packet] = heard
        began = time.perf_counter()
        self.writers[0].client.send_packet(PacketOut(packet, {"port": PORT, "as_ingress": 1}))
        await asyncio.wait_for(heard, 10)
        await self._install(number)
        return (time.perf_counter() - began) * 1e3

    async def _install(self, number: int) -> None:
        await asyncio.gather(
            *(
                writer.write(writer.request([writer.update(p4r.Update.INSERT, number)]))
                for writer in self.writers
            )
        )

    async def rate(self, first: int, flows: int) -> float:
        """Flows per second, many at a time."""
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def one(number: int) -> None:
            async with slots:
                await self.push(number)

        began = time.perf_counter()
        await asyncio.gather(*(one(first + number) for number in range(flows)))
        return flows / (time.perf_counter() - began)

    async def close(self) -> None:
        for writer in self.writers:
            await writer.client.close()


async def measure(addresses: Sequence[str], tls: Credentials, flows: int) -> list[list[str]]:
    """Rows of the table: push, pull."""
    controller = Controller(addresses, tls)
    try:
        await controller.open()
        for number in range(20):
            await controller.push(number)
        push = Sample([await controller.push(1000 + number) for number in range(flows)])
        pull = Sample([await controller.pull(10_000 + number) for number in range(flows)])
        rate = await controller.rate(20_000, flows)
    finally:
        await controller.close()
    return [
        ["push", f"{push.p(50):.2f}", f"{push.p(99):.2f}", f"{rate:,.0f}", "0: it is there before"],
        ["pull", f"{pull.p(50):.2f}", f"{pull.p(99):.2f}", "", f"{pull.p(50):.2f}"],
    ]


def switches(stack: contextlib.ExitStack) -> list[str]:
    """Four switches that both namespaces reach."""
    found = []
    for number in range(SWITCHES):
        options = ["--no-p4", "--device-id", str(DEVICE_ID), "--log-level", "off", "--"]
        at = ["--grpc-server-addr", f"{HERE}:{24770 + number}", "--cpu-port", "510"]
        found.append(stack.enter_context(running("softswitch.main", *options, *at)).address)
    return found


def run(flows: int) -> int:
    table = Table(title=f"setup of a new flow at {SWITCHES} switches")
    columns = ("slicer", "", "p50 ms", "p99 ms", "flows/s", "first packet waits ms (p50)")
    for column in columns:
        table.add_column(column, justify="right" if "s" in column[-5:] else "left")
    with tempfile.TemporaryDirectory() as scratch, namespace():
        pki = Path(scratch) / "pki"
        init(pki)
        issue(pki, "slicer", hosts=[HERE, THERE, "127.0.0.1"])
        issue(pki, "tenant", tenant="t", roles=["slice/t/*"])
        tls = Credentials.load(pki / "tenant.pem", pki / "tenant.key", pki / "ca.pem")
        for name in ("beside each switch", "central"):
            with contextlib.ExitStack() as stack:
                at = switches(stack)
                for address in at:
                    asyncio.run(prepare(address))
                slicer = ["bench.slicer_rig", "slicer"]
                if name == "central":
                    listen = ",".join([f"{THERE}:0"] * SWITCHES)
                    one = running(*slicer, ",".join(at), listen, "2", str(pki), within=NAMESPACE)
                    addresses = stack.enter_context(one).addresses
                else:
                    addresses = [
                        stack.enter_context(
                            running(*slicer, address, "127.0.0.1:0", "2", str(pki))
                        ).address
                        for address in at
                    ]
                for row in asyncio.run(measure(addresses, tls, flows)):
                    table.add_row(name, *row)
    Console().print(table)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=150)
    options = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(run(options.flows))


if __name__ == "__main__":
    main()
