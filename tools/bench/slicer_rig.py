"""Processes for measuring the slicer: a switch, a switch that only acknowledges, a slicer.

`python -m bench.slicer_rig slicer SWITCH LISTEN SLICES` serves `SLICES` slices (`slice/t/s<n>`) in
front of the switch at that address, as an agent would; `... null LISTEN` acknowledges every Write.
Each prints its address when it serves.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dfvisor import daemon
from dfvisor.agent.pipeline import JSON_NAME, P4INFO_NAME, Pipeline, default_directory
from dfvisor.model.space import Space
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.pb import p4r, p4r_grpc
from dfvisor.p4rt.ports import ANYONE, AccessVlans, Fence, SliceInfo, UpdateStatus
from dfvisor.p4rt.streamed import PacketOut
from dfvisor.p4rt.tls import Credentials
from dfvisor.slicer.server import SlicerServer

DEVICE_ID = 1
VN = "t"
PIPELINE = Pipeline.load(default_directory() / JSON_NAME, default_directory() / P4INFO_NAME)
START_S = 60.0
ENGINE = "GRPC_EXPERIMENTS"  # as `daemon` sets it: for the slicer alone
FLOWSPACES = [{"eth_type": (0x0800, 0xFFFF), "ip_proto": (17, 0xFF)}]


class StaticDirectory:
    """A VN of so many slices, next hops 1..4; nothing changes."""

    def __init__(self, slices: int) -> None:
        self._slices = {f"s{n}": SliceInfo(1000 + n, 1 + n, False) for n in range(slices)}
        self._names = {info.slice_id: name for name, info in self._slices.items()}
        self._space = Space(FLOWSPACES)

    def vns(self) -> Sequence[str]:
        return [VN]

    def revision(self, vn: str) -> int | None:
        return 1 if vn == VN else None

    def slices_of(self, vn: str) -> Mapping[str, SliceInfo]:
        return self._slices if vn == VN else {}

    def slice_id(self, vn: str, slice_name: str) -> int | None:
        info = self._slices.get(slice_name)
        return info.slice_id if info else None

    def slice_by_id(self, slice_id: int) -> tuple[str, str] | None:
        name = self._names.get(slice_id)
        return (VN, name) if name else None

    def vn_by_id(self, vn_id: int) -> str | None:
        return None

    def writer(self, vn: str, slice_name: str) -> str | None:
        return f"slice/{vn}/{slice_name}"

    def entry_quota(self, vn: str, slice_name: str) -> int | None:
        return 100_000

    def space(self, vn: str, slice_name: str) -> Space:
        return self._space

    def readable(self, vn: str, slice_name: str) -> Sequence[tuple[str, Space]]:
        return ()

    def tenant(self, vn: str) -> str | None:
        return VN

    def fence(self, vn: str) -> Fence | None:
        return ANYONE

    def next_hops(self, vn: str) -> Sequence[int]:
        return (1, 2, 3, 4)

    def next_hop_id(self, vn: str, virtual: int) -> int | None:
        return 100 + virtual if 1 <= virtual <= 4 else None

    def virtual_next_hop(self, vn: str, next_hop: int) -> int | None:
        return next_hop - 100

    def access_vlans(self, vn: str, port: int) -> AccessVlans | None:
        return AccessVlans(frozenset({None}), frozenset()) if port == 1 else None

    def virtual_port(self, vn: str, port: int) -> int:
        return port

    def on_change(self, changed: Callable[[str], None]) -> None:
        pass

    async def wait_for_revision(self, vn: str, revision: int, timeout_s: float) -> bool:
        return True

    async def wait_for_active(self, vn: str, revision: int, timeout_s: float) -> bool:
        return True

    def activate(self, vn: str, revision: int) -> None:
        pass

    def flows_written(self, vn: str, revision: int) -> None:
        pass

    def flows_completed(
        self, vn: str, revision: int, *, hold: bool = False, fabric: int | None = None
    ) -> None:
        pass


class Switch:
    """A `SwitchPort` over our client."""

    def __init__(self, client: P4RuntimeClient) -> None:
        self._client = client

    async def write(
        self,
        updates: Sequence[p4r.Update],
        *,
        at_once: bool = False,
        activating: tuple[str, int] | None = None,
    ) -> list[UpdateStatus]:
        return await self._client.write_statuses(updates, at_once=at_once)

    async def read(self, request: p4r.ReadRequest) -> list[p4r.Entity]:
        return await self._client.read(request.entities)

    def send_packet(self, packet: PacketOut) -> None:
        self._client.send_packet(packet)


async def serve_slicer(
    switches: Sequence[str], listen: Sequence[str], slices: int, tls: Credentials | None
) -> None:
    """A slicer in front of each switch, all in this process."""
    addresses = []
    for switch, address in zip(switches, listen, strict=True):
        client = P4RuntimeClient(
            switch, DEVICE_ID, election_id=(0, 1 << 40), schema=PIPELINE.schema
        )
        await client.connect(START_S)
        await client.become_primary()
        slicer = SlicerServer(
            StaticDirectory(slices), Switch(client), PIPELINE.schema, DEVICE_ID, tls=tls
        )
        client._on_event = slicer.event
        addresses.append(await slicer.start(address))
    print(" ".join(addresses), flush=True)
    await asyncio.Event().wait()


class NullSwitch(p4r_grpc.P4RuntimeServicer):
    """Acknowledges every Write, holds nothing."""

    async def StreamChannel(self, request_iterator, context):  # type: ignore[no-untyped-def]
        async for message in request_iterator:
            answer = p4r.StreamMessageResponse(arbitration=message.arbitration)
            yield answer

    async def Write(self, request, context):  # type: ignore[no-untyped-def]
        return p4r.WriteResponse()

    async def Read(self, request, context):  # type: ignore[no-untyped-def]
        yield p4r.ReadResponse()

    async def GetForwardingPipelineConfig(self, request, context):  # type: ignore[no-untyped-def]
        return p4r.GetForwardingPipelineConfigResponse()

    async def SetForwardingPipelineConfig(self, request, context):  # type: ignore[no-untyped-def]
        return p4r.SetForwardingPipelineConfigResponse()

    async def Capabilities(self, request, context):  # type: ignore[no-untyped-def]
        return p4r.CapabilitiesResponse()


async def serve_null(listen: str) -> None:
    import grpc.aio

    server = grpc.aio.server(options=(("grpc.max_receive_message_length", 64 << 20),))
    p4r_grpc.add_P4RuntimeServicer_to_server(NullSwitch(), server)
    port = server.add_insecure_port(listen)
    await server.start()
    print(listen if listen.startswith("unix:") else f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


# -- from outside


class Process:
    """A child process; `address` is where it serves: what it prints, unless it is given."""

    def __init__(self, command: Sequence[str], address: str = "") -> None:
        own = {name: value for name, value in os.environ.items() if name != ENGINE}
        out = subprocess.DEVNULL if address else subprocess.PIPE
        self._child = subprocess.Popen(command, stdout=out, text=True, env=own)
        self.address = address
        if self._child.stdout is not None:
            self.address = self._child.stdout.readline().strip().rpartition("listening on ")[2]
        if not self.address:
            raise RuntimeError(f"{command}: it has ended")

    @property
    def addresses(self) -> list[str]:
        return self.address.split()

    def cpu_s(self) -> float:
        """CPU time so far."""
        from bench.measure import cpu_s  # not in the processes whose memory is measured

        return cpu_s(self._child.pid)

    def memory_bytes(self) -> int:
        """Resident."""
        from bench.measure import resident_bytes

        return resident_bytes(self._child.pid)

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait()


@contextmanager
def running(*command: str, within: str | None = None) -> Iterator[Process]:
    """A Python module as a process, `within` a network namespace."""
    inside = ["ip", "netns", "exec", within] if within else []
    process = Process([*inside, sys.executable, "-m", *command])
    try:
        yield process
    finally:
        process.stop()


def switch_command(directory: Path, name: str = "switch", address: str = "") -> list[str]:
    """Of a softswitch without ports; at a local socket in the directory, or at the address."""
    options = ["--no-p4", "--device-id", str(DEVICE_ID), "--log-level", "off", "--"]
    address = address or f"unix:{directory}/{name}.sock"
    return ["softswitch.main", *options, "--grpc-server-addr", address, "--cpu-port", "510"]


async def push_pipeline(address: str) -> None:
    """Give an empty switch its program."""
    client = P4RuntimeClient(address, DEVICE_ID, election_id=(0, 1), schema=PIPELINE.schema)
    try:
        await client.connect(START_S)
        await client.become_primary()
        await client.set_pipeline(PIPELINE.schema, PIPELINE.device_config, PIPELINE.cookie)
    finally:
        await client.close()


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "slicer":
        switches, listen, slices, *rest = arguments
        tls = None
        if rest:  # a directory of `dfvctl pki`
            pki = Path(rest[0])
            tls = Credentials.load(pki / "slicer.pem", pki / "slicer.key", pki / "ca.pem")
        daemon.run(serve_slicer(switches.split(","), listen.split(","), int(slices), tls))
    else:
        asyncio.run(serve_null(arguments[0]))


if __name__ == "__main__":
    began = time.monotonic()
    main()
