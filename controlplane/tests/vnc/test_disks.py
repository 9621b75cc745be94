"""Local databases on disks that take no writes: agents and VN controllers go on, say so, and write
what they held back once they can. The disks are in a mount namespace of the test's own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.agent.main import LOCAL_DATABASE
from dfvisor.model.description import load_network, merge, read
from dfvisor.model.records import Flowspace, Match, Network, VirtualNetwork
from dfvisor.model.types import PortRange
from dfvisor.vnc.compile import compile_vn
from dfvisor.vnc.daemon import LOCAL_DATABASE as VNC_DATABASE

from controlplane.tests.store.test_local import fill
from controlplane.tests.vnc.rig import Rig, eventually, shape

pytestmark = [pytest.mark.zk, pytest.mark.switch]

NETWORK = load_network(Path(__file__).parents[3] / "examples" / "two-switches.yaml")
VN, SLICE, SWITCH = "office", "voice", "s1"
DFVCTL = Path(sys.executable).with_name("dfvctl")
FILES = {f"agent-{SWITCH}": LOCAL_DATABASE, "vnc1": VNC_DATABASE}
"""Of the daemons that have a disk of their own; s2's agent has not."""


class Disks:
    """A small file system for each daemon, seen by those alone that are `inside`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep inf"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline()
        self.inside = ["nsenter", "-t", str(self._holder.pid), "-m", "--"]
        for name in FILES:
            (directory / name).mkdir()
            self._run("mount", "-t", "tmpfs", "-o", "size=2m", "none", str(directory / name))

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()

    def _run(self, *command: str) -> None:
        subprocess.run([*self.inside, *command], check=True)

    def place(self, name: str) -> Path:
        """Where the test finds the daemon's disk."""
        return Path(f"/proc/{self._holder.pid}/root{self._directory / name}")

    def read(self, name: str) -> Network:
        """What the daemon's local database holds, by `dfvctl local`."""
        file = str(self._directory / name / FILES[name])
        command = [*self.inside, str(DFVCTL), "local", file, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return merge(Network(), read(done.stdout, as_json=True))

    def remount(self, name: str, option: str) -> None:
        self._run("mount", "-o", f"remount,{option}", str(self._directory / name))


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    made = Disks(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
async def rig(tmp_path: Path, zookeeper: str, disks: Disks) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, zookeeper, NETWORK)
    made.wrapped = dict.fromkeys(FILES, disks.inside)
    try:
        await made.open()
        made.start_vnc("vnc1")
        await made.until_completed(VN, 1)
        yield made
    finally:
        await made.close()


def larger(vn: VirtualNetwork, number: int, priority: int) -> VirtualNetwork:
    """With so many flowspaces more: too much for what is left of a disk."""
    added = {
        f"x{n}": Flowspace(
            name=f"x{n}",
            priority=priority,
            slice=SLICE,
            match=Match(ip_proto=17, l4_dst=PortRange(1000 + n, 1000 + n)),
        )
        for n in range(number)
    }
    return replace(vn, flowspaces=vn.flowspaces | added)


async def change(rig: Rig, made: Callable[[VirtualNetwork], VirtualNetwork]) -> VirtualNetwork:
    """Change the VN, and see it in the switches' tables."""
    base = await rig.database.read_vn(VN)
    assert base is not None
    after = await rig.database.apply(base, made(base.vn))
    await rig.until_completed(VN, after.revision)
    wanted = shape(compile_vn(NETWORK.fabric, after.vn)[SWITCH])
    assert shape(await rig.flows(SWITCH)) == wanted
    return after.vn


def trouble(rig: Rig) -> str:
    """What `dfvctl status` says of the local database of the switch's agent."""
    command = [str(DFVCTL), "--zookeeper", rig.zookeeper, "status"]
    wide = {"COLUMNS": "400", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=wide)
    head, *lines = [line for line in done.stdout.splitlines() if line.strip()][1:]
    at = head.index("trouble")
    (row,) = [line for line in lines if line.split()[:2] == [SWITCH, "live"]]
    return row[at:].strip()


async def until_said(rig: Rig, text: str, logged: dict[str, int]) -> None:
    """Until the agent's row of the status, and each daemon's log since, say it."""

    async def said() -> bool:
        logs = [rig.log(name).read_text()[start:] for name, start in logged.items()]
        return all(text in log for log in logs) and text in trouble(rig)

    await eventually(said, f"{text!r} is said")


def lengths(rig: Rig) -> dict[str, int]:
    return {name: len(rig.log(name).read_text()) for name in FILES}


async def check_written(rig: Rig, disks: Disks, vn: VirtualNetwork) -> None:
    """All is well by itself: nobody complains, and the files hold the newest state."""

    async def well() -> bool:
        return not trouble(rig)

    await eventually(well, "the trouble is over")
    found = await rig.database.read_vn(VN)
    assert found is not None and found.vn == vn
    fabric = await rig.database.read_fabric()

    async def written() -> bool:
        return all(
            held.fabric == fabric.fabric and held.vns == {VN: vn}
            for held in (disks.read(name) for name in FILES)
        )

    await eventually(written, "the local databases hold the newest state")
    for name in FILES:
        rig.stop(name)
    assert await written(), "and still do when the daemons have ended"


async def test_full_disks_are_told_of_and_changes_go_on_until_there_is_room(
    rig: Rig, disks: Disks
) -> None:
    ballast = [fill(disks.place(name)) for name in FILES]
    before = lengths(rig)
    await change(rig, lambda vn: larger(vn, 400, 10))
    await until_said(rig, "full", before)
    vn = await change(rig, lambda vn: larger(vn, 3, 11))
    for file in ballast:
        file.unlink()
    await check_written(rig, disks, vn)


async def test_daemons_start_on_read_only_disks_and_write_once_they_can(
    rig: Rig, disks: Disks
) -> None:
    """What they held back is not undone by what they held before."""
    for name in FILES:
        rig.stop(name)
        disks.remount(name, "ro")
    before = lengths(rig)
    rig.start_agent(SWITCH)
    rig.start_vnc("vnc1")
    await change(rig, lambda vn: larger(vn, 5, 10))
    base = await rig.database.read_fabric()
    links = tuple(replace(link, cost=link.cost + 1) for link in base.fabric.links)
    await rig.database.apply_fabric(base, replace(base.fabric, links=links), base.tenants)
    await until_said(rig, "read-only", before)
    vn = await change(rig, lambda vn: larger(vn, 7, 11))
    for name in FILES:
        disks.remount(name, "rw")
    await check_written(rig, disks, vn)
