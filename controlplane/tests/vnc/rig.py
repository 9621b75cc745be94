"""Switches, agents and VN controllers as processes, over one database: for the tests of the daemon.

Every process is a child that a test may kill; all are gone when the rig is closed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path

import msgspec
from dfvisor.model.grants import Grant
from dfvisor.model.records import Flowspace, Match, Network, VirtualNetwork
from dfvisor.model.types import PortRange
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import SLICE_TABLES, FieldMatch, TableEntry
from dfvisor.p4rt.p4info import Schema
from dfvisor.store.database import GlobalDatabase
from dfvisor.vnc.compile import compile_vn
from dfvisor.vnc.daemon import STATUS_FILE

WAIT_S = 30.0
STOP_S = 10.0
TARGET = os.environ.get("DFVISOR_TARGET", "softswitch")
SCHEMA = Schema.load(
    (Path(__file__).parents[3] / "bmv2_configs" / "dfvisor.p4info.txtpb").read_text()
)


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Poll until true; fails after WAIT_S, naming what was waited for."""
    deadline = time.monotonic() + WAIT_S
    while not await condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        await asyncio.sleep(0.02)


class Rig:
    """`database` is the test's own session; processes are started and killed by name."""

    def __init__(self, directory: Path, zookeeper: str, network: Network) -> None:
        self.directory = directory
        self.zookeeper = zookeeper
        self.network = network
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, str] = {}
        self._ports: set[int] = set()
        self.wrapped: dict[str, Sequence[str]] = {}  # by name, what a process is started with
        self._database: GlobalDatabase | None = None

    @property
    def database(self) -> GlobalDatabase:
        assert self._database is not None
        return self._database

    async def open(self, *, activate: bool = False, grants: Sequence[Grant] = ()) -> None:
        """Put the network into the database; start its switches, each with an agent. `activate`:
        it takes effect although no controller has prepared it.
        """
        self._database = await GlobalDatabase.connect(self.zookeeper)
        base = await self.database.read_fabric()
        await self.database.apply_fabric(base, self.network.fabric, self.network.tenants)
        if grants:
            network = await self.database.read_network()
            await self.database.apply_grants(network, {grant.vn: grant for grant in grants})
        for vn in self.network.vns.values():
            await self.database.apply(None, vn, activate=activate)
        for switch in self.network.fabric.switches:
            self.start_switch(switch)
            self.start_agent(switch)

    async def close(self) -> None:
        for name in list(self._processes):
            self.stop(name, signal.SIGKILL)
        if self._database is not None:
            await self._database.close()

    # -- processes

    def start_switch(self, name: str) -> None:
        device_id = self.network.fabric.switches[name].device_id
        flags = ["--no-p4", "--device-id", str(device_id), "--log-level", "off"]
        address = f"unix:{self.directory}/{name}.sock"
        program = [sys.executable, "-m", "softswitch.main"]
        if TARGET == "bmv2":
            program = [shutil.which("simple_switch_grpc") or os.environ["BMV2"]]
            flags += ["--thrift-port", str(self._free_port())]
            flags += ["--notifications-addr", f"ipc://{self.directory}/{name}.notify"]
        self._addresses[name] = address
        self._start(name, [*program, *flags, "--", "--grpc-server-addr", address])

    def start_agent(self, switch: str, *options: str) -> None:
        arguments = ["--switch", switch, "--p4runtime", self._addresses[switch]]
        arguments += ["--zookeeper", self.zookeeper, "--target", TARGET, *options]
        self._start_daemon("agent", f"agent-{switch}", arguments)

    def start_vnc(self, name: str, zookeeper: str | None = None) -> None:
        place = zookeeper or self.zookeeper
        self._start_daemon("vnc", name, ["--zookeeper", place, "--name", name])

    def _start_daemon(self, what: str, name: str, arguments: list[str]) -> None:
        data = ["--data-dir", str(self.directory / name)]
        self._start(name, [sys.executable, "-m", f"dfvisor.{what}.main", *arguments, *data])

    def _start(self, name: str, command: list[str]) -> None:
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self.wrapped.get(name, ()), *command], stdout=log, stderr=log
            )

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal and go on."""
        self._processes[name].send_signal(number)

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """End a process; its exit status."""
        process = self._processes.pop(name)
        process.send_signal(number)
        return process.wait(STOP_S)

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def written(self, vnc: str) -> list[str]:
        """What a VN controller says that it wrote."""
        return [line for line in self.log(vnc).read_text().splitlines() if " inserts, " in line]

    # -- what is so

    def status(self, vnc: str) -> dict[str, dict[str, object]]:
        """The VNs of a VN controller's status file; empty before there is one."""
        path = self.directory / vnc / STATUS_FILE
        if not path.exists():
            return {}
        found: dict[str, dict[str, object]] = msgspec.json.decode(path.read_bytes())["vns"]
        return found

    def leads(self, vnc: str) -> list[str]:
        return [vn for vn, state in self.status(vnc).items() if state["leading"]]

    async def flows(self, switch: str) -> frozenset[TableEntry]:
        """The slices' tables of the switch itself; nothing before it has a pipeline."""
        client = P4RuntimeClient(
            self._addresses[switch],
            self.network.fabric.switches[switch].device_id,
            schema=SCHEMA,
        )
        try:
            await client.connect()
            if await client.get_pipeline_cookie() is None:
                return frozenset()
            found = await client.read_entries(*SLICE_TABLES)
        finally:
            await client.close()
        return frozenset(found)

    async def updates(self, vn: str) -> dict[str, int]:
        """By switch, the updates that its slicer has carried out for the VN's controllers since
        its start, as of the last statistics.
        """
        found: dict[str, int] = {}
        for switch in self.network.fabric.switches:
            stats = await self.database.read_stats(switch)
            found[switch] = sum(
                one.number
                for one in (stats.roles if stats else ())
                if (one.role, one.kind) == (f"vn/{vn}", "updates")
            )
        return found

    async def until_updated(self, vn: str, wanted: dict[str, int]) -> None:
        """Until exactly so many updates have been carried out: counts never fall."""

        async def updated() -> bool:
            found = await self.updates(vn)
            assert all(found[switch] <= wanted[switch] for switch in wanted), (found, wanted)
            return found == wanted

        await eventually(updated, f"{wanted} updates")

    async def all_flows(self) -> dict[str, frozenset[TableEntry]]:
        return {switch: await self.flows(switch) for switch in self.network.fabric.switches}

    async def until_completed(
        self, vn: str, revision: int, switches: Collection[str] | None = None
    ) -> None:
        """Until every agent (of these switches) that has the VN has this revision and flows."""

        async def completed() -> bool:
            applied = await self.database.read_applied()
            records = [
                record.vns[vn]
                for switch, record in applied.items()
                if vn in record.vns and (switches is None or switch in switches)
            ]
            homes = {end.port.switch for end in self.network.vns[vn].endpoints.values()}
            held = {switch for switch, record in applied.items() if vn in record.vns}
            return homes <= held and all(
                record.revision >= revision and record.flows >= revision for record in records
            )

        await eventually(completed, f"{vn} at revision {revision} on all its switches")

    def _free_port(self) -> int:
        """One that no switch of this rig has been given: they may not have bound theirs yet."""
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in self._ports:
                self._ports.add(port)
                return port


# -- VNs and entries


async def change(rig: Rig, vn: VirtualNetwork) -> int:
    """Apply a change of the VN; its revision."""
    base = await rig.database.read_vn(vn.name)
    return (await rig.database.apply(base, vn)).revision


async def vn_now(rig: Rig, name: str) -> VirtualNetwork:
    """The VN as the database has it."""
    snapshot = await rig.database.read_vn(name)
    assert snapshot is not None
    return snapshot.vn


def with_flowspace(vn: VirtualNetwork, name: str, port: int) -> VirtualNetwork:
    """With TCP to this port in slice `voice`, or there at another."""
    flowspace = Flowspace(
        name=name,
        priority=20,
        match=Match(ip_proto=6, l4_dst=PortRange(port, port)),
        slice="voice",
    )
    return dataclasses.replace(vn, flowspaces={**vn.flowspaces, name: flowspace})


def shape(entries: frozenset[TableEntry]) -> set[tuple[object, ...]]:
    """Entries without what is numbered by the switch (slice ids and next hops), and without the
    path class, which depends on what was before.
    """

    def plain(name: str, match: FieldMatch) -> tuple[str, object]:
        return name, match.value > 0 if name == "path_class" else match

    return {
        (
            entry.table,
            tuple(plain(*field) for field in entry.key[1:]),
            entry.priority,
            entry.action,
            tuple(arg for arg in entry.args if arg[0] not in ("next_hop", "path_class")),
        )
        for entry in entries
    }


async def until_equal(rig: Rig, vn: VirtualNetwork) -> None:
    """Until each switch has the entries that the VN asks for, and no others."""
    wanted = compile_vn(rig.network.fabric, vn)

    async def equal() -> bool:
        held = await rig.all_flows()
        return all(
            shape(found) == shape(wanted.get(switch, frozenset())) for switch, found in held.items()
        )

    await eventually(equal, "the switches hold what the VN asks for")
