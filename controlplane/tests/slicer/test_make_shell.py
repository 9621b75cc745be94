"""`make shell SWITCH=... SLICE=...`: finds the slicer by the database, and opens a shell at it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from dfvisor.p4rt.entries import Exact
from dfvisor.slicer.view import TABLES
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import AgentInfo

from controlplane.tests.slicer.conftest import Connect
from controlplane.tests.slicer.fakes import DEVICE, RED_GOLD, FakeSwitch, flow

ROOT = Path(__file__).parents[3]
LIMIT_S = 60.0
TYPED = """\
print("tables:", sorted(table.preamble.alias for table in tables))
print("read:", [int.from_bytes(e.action["cookie"].value, "big") for e in TableEntry("flow").read()])
entry = TableEntry("flow")(action="permit")
entry.match["ip_proto"] = "6&&&0xff"
entry.match["l4_dst"] = "443&&&0xffff"
entry.action["cookie"] = "9"
entry.priority = 10
entry.insert()
exit
"""


async def shell(zookeeper: str, typed: str, **names: str) -> tuple[int, str]:
    """Exit code, and all that it prints, of `make shell` for somebody who types this."""
    process = await asyncio.create_subprocess_exec(
        *("make", "-s", "-C", str(ROOT), "shell", *(f"{k}={v}" for k, v in names.items())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "DFVISOR_ZOOKEEPER": zookeeper, "TERM": "dumb"},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            said, _ = await process.communicate(typed.encode())
    except TimeoutError:
        os.killpg(process.pid, 9)
        raise
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")


@pytest.mark.zk
async def test_make_shell_shows_and_writes_a_slice(
    zookeeper: str, address: str, connect: Connect, switch: FakeSwitch
) -> None:
    writer = await connect("slice/red/gold")
    assert writer.schema is not None
    await writer.write([writer.schema.insert(flow(None, 80, cookie=7))])
    await writer.close()  # the shell is to be primary
    async with await GlobalDatabase.connect(zookeeper) as database:
        info = AgentInfo(slicer=address, target="softswitch", pid=os.getpid(), device_id=DEVICE)
        await database.register_agent("s1", info)
        code, said = await shell(zookeeper, TYPED, SWITCH="s1", SLICE="red/gold")
    assert code == 0, said
    assert f"tables: {sorted(TABLES)}" in said, said
    assert "read: [7]" in said
    assert {entry.arg("cookie") for entry in switch.entries.values()} == {7, 9}
    assert {entry.key[0][1] for entry in switch.entries.values()} == {Exact(RED_GOLD.slice_id)}


@pytest.mark.zk
async def test_make_shell_names_the_switches_that_are_there(zookeeper: str) -> None:
    async with await GlobalDatabase.connect(zookeeper) as database:
        await database.register_agent("s2", AgentInfo(slicer="127.0.0.1:1", target="bmv2", pid=1))
        code, said = await shell(zookeeper, "", SWITCH="s1", SLICE="red/gold")
    assert code != 0
    assert "no live agent for switch 's1'; live: s2" in said
