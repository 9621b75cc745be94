"""A tenant's own controller (finsy, unmodified), an agent that restarts under it, and traffic.

The slice's entries are the controller's at both switches. Meanwhile numbered packets of the slice
and of best effort run from host to host.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import finsy as fy
import pytest
from dfvisor.model.description import load_network
from dfvisor.p4rt.ports import NEIGHBOUR
from emulation.demo.readings import Readings
from emulation.emulation import Emulation
from emulation.outage import measure
from emulation.targets import Target
from google.protobuf.empty_pb2 import Empty

NETWORK = Path(__file__).resolve().parents[3] / "examples" / "two-switches.yaml"
GRANT = "grants: {office: {tenant: acme, controllers: [voice]}}\n"
ROLE = "slice/office/voice"
VOICE, BEST_EFFORT = (5060, 40000), (9000, 40001)
PPS = {Target.SOFTSWITCH: 4000, Target.BMV2: 500}
SECONDS = {Target.SOFTSWITCH: 12.0, Target.BMV2: 20.0}  # for two restarts on a busy machine
POLL_S = 0.05
DEADLINE_S = 30.0
HOPS = {"s1": {1: 11, 2: NEIGHBOUR + 2}, "s2": {1: NEIGHBOUR + 1, 2: 11}}
"""At each switch, the way to each host."""

pytestmark = pytest.mark.e2e


class Ready(NamedTuple):
    """The controller is connected to a switch's slicer: what it found there."""

    switch: str
    primary: bool
    entries: frozenset[str]


class Controller:
    """What a tenant writes: when a switch is ready it reads its entries, and inserts them
    if there are none."""

    def __init__(self, addresses: dict[str, tuple[str, int]]) -> None:
        self._addresses = addresses
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.ready: list[Ready] = []
        self.inserted = 0

    def __enter__(self) -> Controller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._main is not None:
            self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.create_task(self._serve(), name="tenant")
        await asyncio.gather(self._main, return_exceptions=True)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in self._addresses:
                tasks.create_task(self._follow(name), name=f"tenant at {name}")

    async def _follow(self, name: str) -> None:
        """Connect, and again when the connection is lost (finsy itself would wait for 10 s)."""
        address, device_id = self._addresses[name]
        options = fy.SwitchOptions(device_id=device_id, role_name=ROLE, role_config=Empty())
        while True:
            with contextlib.suppress(fy.P4ClientError):
                async with fy.Switch(name, address, options) as switch:
                    await self._on_ready(switch)
                    while switch.is_up:  # noqa: ASYNC110
                        await asyncio.sleep(POLL_S)
            await asyncio.sleep(POLL_S)

    async def _on_ready(self, switch: fy.Switch) -> None:
        held = await read(switch)
        if not held:
            wanted = entries(switch.name)
            await switch.insert(wanted)
            self.inserted += len(wanted)
            held = await read(switch)
        self.ready.append(Ready(switch.name, switch.is_primary, held))

    def of(self, switch: str) -> list[Ready]:
        return [one for one in list(self.ready) if one.switch == switch]


async def read(switch: fy.Switch) -> frozenset[str]:
    """The entries that the controller finds at a switch."""
    found = switch.read(fy.P4TableEntry())
    return frozenset([str(one) async for one in found])  # type: ignore[attr-defined]


def entries(switch: str) -> Sequence[fy.P4TableEntry]:
    """The slice's entries at a switch."""
    flow = fy.P4TableEntry(
        "flow",
        match=fy.Match(ip_proto=17, l4_dst=VOICE[0]),
        action=fy.Action("permit", cookie=99),
        priority=10,
    )
    hops = [
        fy.P4TableEntry(
            "slice_forward",
            match=fy.Match(path_class=0, eth_dst=f"02:00:00:00:00:{host:02x}"),
            action=fy.Action("forward", next_hop=hop, cookie=host),
        )
        for host, hop in HOPS[switch].items()
    ]
    return [flow, *hops]


@pytest.fixture
def net(target: Target, tmp_path: Path) -> Iterator[Emulation]:
    file = tmp_path / "network.yaml"
    file.write_text(NETWORK.read_text() + GRANT)
    network = load_network(NETWORK)
    with Emulation(network, instance=f"t{os.getpid()}", target=target) as found:
        found.dfvctl("apply", str(file))
        yield found


def test_agent_restarts_under_a_tenants_controller_and_traffic(
    net: Emulation, target: Target
) -> None:
    with Readings(net.zookeeper, sorted(net.switches)) as readings:
        net.wait_until(lambda: readings.agents().keys() == HOPS.keys(), "agents", DEADLINE_S)
        addresses = {
            name: (info.slicer, info.device_id) for name, info in readings.agents().items()
        }
        with Controller(addresses) as tenant:
            net.wait_until(lambda: len(tenant.ready) == 2, "the controller", DEADLINE_S)
            net.wait_until(
                lambda: net.host("h1").ping("10.0.0.2").received == 1, "a way to h2", DEADLINE_S
            )
            inserted, began = tenant.inserted, {name: tenant.of(name)[-1] for name in HOPS}
            took: list[float] = []

            def restart() -> None:
                start = time.monotonic()
                for number in (signal.SIGKILL, signal.SIGTERM):
                    before = len(tenant.of("s1"))
                    net.kill("agent-s1", number)
                    net.restart("agent-s1", "--listen", addresses["s1"][0])
                    net.wait_until(
                        lambda before=before: len(tenant.of("s1")) > before,  # type: ignore[misc]
                        "the controller is back",
                        DEADLINE_S,
                    )
                took.append(time.monotonic() - start)

            flows = [VOICE, BEST_EFFORT]
            fared = measure(
                net, "h1", "h2", flows, restart, pps=PPS[target], seconds=SECONDS[target]
            )
    assert took[0] < SECONDS[target] - 0.5, f"it took {took[0]:.1f} s; the traffic had ended"
    assert tenant.inserted == inserted, "everything was there still"
    assert [one for one in tenant.of("s1") if one != began["s1"]] == [], "and as it was"
    assert len(tenant.of("s1")) == 3 and len(tenant.of("s2")) == 1
    for flow, one in fared.items():
        assert (one.lost, one.twice) == (0, 0), (flow, one)
        assert one.sent > 0.8 * PPS[target] * SECONDS[target] / len(flows)
