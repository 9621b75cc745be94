"""Several servers: the database goes on while some of them are gone."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.errors import StoreUnavailable
from dfvisor.model.description import load_network
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import AgentInfo
from emulation.zookeeper import Ensemble

from controlplane.tests.store.harness import until

pytestmark = pytest.mark.zk

RED = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml").vns["red"]
INFO = AgentInfo(slicer="127.0.0.1:1", target="bmv2", pid=1)


@pytest.fixture
async def pair(
    ensemble: Ensemble, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[GlobalDatabase, GlobalDatabase]]:
    """Two sessions, with a chroot of the test's own."""
    address = f"{ensemble.address}/{request.node.name}"
    one = await GlobalDatabase.connect(address, timeout_s=20.0)
    two = await GlobalDatabase.connect(address, timeout_s=20.0)
    async with one, two:
        yield one, two


async def changed(db: GlobalDatabase, learning: bool) -> int:
    """Change the VN; its revision."""
    base = await db.read_vn("red")
    assert base is not None
    return (await db.apply(base, replace(base.vn, learning=learning))).revision


async def test_change_while_the_leader_is_killed_is_made_once_and_seen_by_others(
    ensemble: Ensemble, pair: tuple[GlobalDatabase, GlobalDatabase]
) -> None:
    one, two = pair
    await one.apply(None, RED)
    await two.register_agent("s1", INFO)
    told: list[int] = []
    await two.watch_vn("red", lambda: told.append(1))
    leader = ensemble.leader()
    for round_number in range(2):
        changing = asyncio.create_task(changed(one, round_number == 0))
        await asyncio.to_thread(ensemble.kill, leader)
        try:
            revision = await changing
        except StoreUnavailable:  # a read was under way: nothing was changed
            await until(lambda: one.connected, "the session comes back")
            revision = await changed(one, round_number == 0)
        assert revision == round_number + 2
        assert await asyncio.to_thread(ensemble.leader) != leader
        await until(lambda count=round_number: len(told) > count, "the other is told")

        async def read(expected: int = revision) -> bool:
            try:
                found = await two.read_vn("red")
            except StoreUnavailable:
                return False
            return found is not None and found.revision == expected

        await until(read, "the other reads it")
        ensemble.restart(leader)
        await asyncio.to_thread(ensemble.wait_serving)
        leader = await asyncio.to_thread(ensemble.leader)
    await until(lambda: one.connected and two.connected, "both are connected")
    assert "s1" in await one.read_agents()


async def test_without_a_quorum_nothing_is_written_and_with_one_all_goes_on(
    ensemble: Ensemble, pair: tuple[GlobalDatabase, GlobalDatabase]
) -> None:
    one, two = pair
    await one.apply(None, RED)
    await two.register_agent("s1", INFO)
    told: list[int] = []
    await two.watch_vn("red", lambda: told.append(1))
    ensemble.kill(0)
    ensemble.kill(1)
    await until(lambda: not one.connected and not two.connected, "the sessions are suspended")
    with pytest.raises(StoreUnavailable):
        await two.read_vn("red")
    changing = asyncio.create_task(changed(one, True))
    await asyncio.wait([changing])
    assert isinstance(changing.exception(), StoreUnavailable)
    ensemble.restart(1)
    await until(lambda: one.connected and two.connected, "two of three are a quorum")
    assert await changed(one, True) == 2
    await until(lambda: bool(told), "the watch has outlived it")

    async def live() -> bool:
        return "s1" in await one.read_agents()

    await until(live, "the agent has announced itself again")


async def test_small_ensemble_with_an_observer_serves_until_it_is_interrupted() -> None:
    """`make zk-ensemble N=1 OBSERVERS=1`; everything through the observer."""
    # a shell's background jobs ignore SIGINT, and so would what a test starts in one
    hears = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{hears}; runpy.run_module('emulation.ensemble', run_name='__main__')"
    command = [sys.executable, "-c", program, "--servers", "1", "--observers", "1"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(60):
            while not any("Ctrl-C" in line for line in lines):
                line = (await process.stdout.readline()).decode()
                assert line, lines
                lines.append(line)
        servers = re.findall(r"^(\S+)  pid (\d+)  (\w+)", "".join(lines), re.MULTILINE)
        assert [mode for _, _, mode in servers] == ["leader", "observer"]
        observer = servers[1][0]
        (said,) = re.findall(r"DFVISOR_ZOOKEEPER=(\S+)/dfvisor", "".join(lines))
        assert said.split(",") == [address for address, _, _ in servers]
        async with await GlobalDatabase.connect(f"{observer}/x") as db:
            assert (await db.apply(None, RED)).revision == 1
            async with await GlobalDatabase.connect(f"{said}/x") as other:
                assert await other.read_vn("red") is not None
        files = Path(f"/proc/{servers[0][1]}/cmdline").read_text().rstrip("\0").rsplit("\0", 1)[1]
        assert Path(files).exists()
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert not Path(files).parents[1].exists()
    for _, pid, _ in servers:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
