"""p4runtime-shell, unmodified and in its own virtual environment, runs a slice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.entries import entry_key
from dfvisor.p4rt.streamed import PacketIn, PacketOut
from dfvisor.slicer.server import SlicerServer

from controlplane.tests.slicer.fakes import DEVICE, RED_GOLD, FakeSwitch, flow, forward

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-shell" / "bin" / "python"
FRAME = bytes.fromhex("0200000000020200000000010800") + bytes.fromhex(
    "4500001c0000000040110000" + "0a0000010a000002" + "1000145100080000"
)


class Session:
    """The shell's side, step by step."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self, wanted: str) -> None:
        """The next line that it prints."""
        assert self._process.stdout is not None
        async with asyncio.timeout(10):
            line = (await self._process.stdout.readline()).decode().strip()
        if not line:
            assert self._process.stderr is not None
            pytest.fail((await self._process.stderr.read()).decode())
        assert line == wanted

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def step(self, wanted: str) -> None:
        await self.said(wanted)
        self.go_on()


@asynccontextmanager
async def shell(address: str, device_id: int) -> AsyncIterator[Session]:
    """A session at a slicer."""
    assert PYTHON.exists(), "p4runtime-shell is missing: make .venv-shell/.installed"
    process = await asyncio.create_subprocess_exec(
        *(str(PYTHON), str(Path(__file__).with_name("shell_session.py")), address, str(device_id)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Session(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def session(address: str) -> AsyncIterator[Session]:
    async with shell(address, DEVICE) as made:
        yield made


async def test_shell_runs_a_slice(
    session: Session, address: str, switch: FakeSwitch, slicer: SlicerServer
) -> None:
    held = flow(RED_GOLD.slice_id, cookie=7)
    await session.step("p4info ['flow', 'slice_forward', 'slice_path'] False")
    await session.said("inserted")
    assert list(switch.entries.values()) == [held]
    switch.counters[entry_key(held)] = (4, 400)
    session.go_on()
    await session.step("modified 1 8")
    await session.step("counted 1 4")
    await session.step(f"drops [{RED_GOLD.slice_id * 64 + 13}]")
    await session.step("refused True")
    await session.said("forwarding")
    assert set(switch.entries.values()) == {
        flow(RED_GOLD.slice_id, cookie=8),
        forward(RED_GOLD.slice_id, 202),
    }
    session.go_on()

    await session.said("sniffing")
    metadata = {"port": 1, "slice_id": RED_GOLD.slice_id, "reason": PuntReason.FLOW_MISS}
    slicer.event(PacketIn(FRAME, metadata))
    await session.step("packet-ins 1 True")
    await session.said("packet-out")
    async with asyncio.timeout(10):
        while not switch.sent:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert switch.sent == [PacketOut(FRAME, {"port": 2, "as_ingress": 0})]
    session.go_on()

    await session.said("waiting for a rival")
    rival = P4RuntimeClient(address, DEVICE, election_id=(1, 1), role="slice/red/gold")
    await rival.become_primary()
    session.go_on()
    await session.said("rivalled True")
    await rival.close()
    session.go_on()
    await session.step("primary again")
    await session.said("deleted")
    assert not switch.entries
    session.go_on()
