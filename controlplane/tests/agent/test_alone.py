"""The agent without the global database, and without a disk."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from dfvisor.agent.main import LOCAL_DATABASE
from dfvisor.agent.saver import SYNCED
from dfvisor.cli.local import show_local
from dfvisor.cli.output import Output
from dfvisor.model.records import Stale
from dfvisor.model.stale import without_database
from dfvisor.p4rt.entries import Exact, TableEntry
from dfvisor.p4rt.errors import SwitchUnavailable
from dfvisor.p4rt.pb import p4r
from dfvisor.store.local import LocalDatabase
from emulation.zookeeper import ZooKeeperServer

from controlplane.tests.store.test_local import fill

from .networks import demo
from .rig import PIPELINE, SWITCH, Rig, eventually

pytestmark = [pytest.mark.zk, pytest.mark.switch]


@pytest.fixture
async def own(tmp_path: Path, own_zookeeper: ZooKeeperServer) -> AsyncIterator[Rig]:
    """A rig with a server that may be stopped."""
    rig = Rig(tmp_path, f"{own_zookeeper.address}/own")
    rig.switch.start()
    try:
        await rig.connect()
        yield rig
    finally:
        if rig.database is not None:
            await rig.database.close()
        rig.switch.kill()


def forward(slice_id: int, next_hop: int) -> p4r.Update:
    key = (
        ("slice_id", Exact(slice_id)),
        ("path_class", Exact(0)),
        ("eth_dst", Exact(0x0200_0000_0001)),
    )
    args = (("next_hop", next_hop), ("cookie", 7))
    return PIPELINE.schema.insert(TableEntry("slice_forward", key, 0, "forward", args))


async def synced(data: Path) -> bool:
    with contextlib.closing(LocalDatabase.reading(data / LOCAL_DATABASE)) as local:
        return local.get(SYNCED) is not None


async def forwards(rig: Rig) -> list[TableEntry]:
    async with rig.client() as client:
        await client.connect(1.0)
        return await client.read_entries("slice_forward")


async def test_cold_start_without_the_database_forwards_within_a_second(
    own: Rig, own_zookeeper: ZooKeeperServer, capfd: pytest.CaptureFixture[str]
) -> None:
    await own.put(demo())
    async with own.agent():
        await own.wait_until_equal(demo())
        await own.wait_until_applied("red", 1)
        await eventually(lambda: synced(own.data), "the local database knows that it is up to date")
        assert own.running is not None
        local = LocalDatabase(own.data / LOCAL_DATABASE)
        slice_id = local.allocated("slice")["red/gold"]
        local.close()
        stale, gone = forward(slice_id, 1), forward(4000, 1)
        kept = forward(slice_id, 2)
        kept.type = p4r.Update.MODIFY
        statuses = await own.running.write([stale, gone])
        statuses += await own.running.write([kept])
        assert [status.code for status in statuses] == [0, 0, 0]
    show_local([own.data / LOCAL_DATABASE], Output.TABLE)
    said = capfd.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    (red,) = [line for line in lines if line[1:2] == ["red"]]
    assert red[2:4] == ["1", "1"]
    (head,) = [line for line in lines if line[1:3] == ["1", "1"] and line[-1] == "ago"]
    assert head[3:5] == ["2", "2"], "red and blue; two flow entries"
    own_zookeeper.stop()
    times: list[float] = []
    patience = time.monotonic() + 90.0
    while not times or (times[-1] >= 1.0 and time.monotonic() < patience):  # on a busy machine
        own.switch.kill()
        own.switch.start()
        await eventually(lambda: serving(own), "the switch is ready")
        began = time.monotonic()
        async with own.agent():
            assert own.running is not None and own.running.active["red"].revision == 1

            async def complete() -> bool:
                return await own.held() == own.expected(demo()) and bool(await forwards(own))

            await eventually(complete, "the switch is as it was")
            times.append(time.monotonic() - began)
            assert [entry.arg("next_hop") for entry in await forwards(own)] == [2]
    assert min(times) < 1.0


async def serving(rig: Rig) -> bool:
    async with rig.client() as client:
        try:
            await client.connect(0.2)
        except SwitchUnavailable:
            return False
        return True


@pytest.mark.parametrize("policy", [Stale.DENY, Stale.BEST_EFFORT])
async def test_slice_follows_its_policy_while_the_database_is_away(
    own: Rig, own_zookeeper: ZooKeeperServer, policy: Stale
) -> None:
    network = demo()
    red = network.vns["red"]
    gold = dataclasses.replace(red.slices["gold"], stale=policy, stale_after_s=1)
    red = dataclasses.replace(red, slices=red.slices | {"gold": gold})
    network = dataclasses.replace(network, vns=network.vns | {"red": red})
    away = dataclasses.replace(network, vns=network.vns | {"red": without_database(red, 1.0)})
    await own.put(network)
    async with own.agent():
        await own.wait_until_equal(network)
        assert own.running is not None and own.running.away_s == 0.0
        held = await own.held()
        own_zookeeper.stop()
        await own.wait_until_equal(away)
        assert own.running.away_s >= 1.0
        assert await own.held() != held
        own_zookeeper.start()
        await own.wait_until_equal(network)
        assert own.running.away_s == 0.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "agent"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_full_disk_is_told_of_and_changes_go_on(rig: Rig, disk: Path) -> None:
    assert rig.database is not None
    await rig.put(demo())
    async with rig.agent():
        await rig.wait_until_equal(demo())
        ballast = fill(disk)
        assert rig.running is not None
        rig.running._saver._wake.set()
        red = demo().vns["red"]
        network = dataclasses.replace(
            demo(),
            vns=demo().vns
            | {
                "red": dataclasses.replace(
                    red,
                    flowspaces=red.flowspaces
                    | {
                        f"x{n}": msgspec.structs.replace(
                            red.flowspaces["no-telnet"],
                            name=f"x{n}",
                            priority=1000 + n,
                            match=msgspec.structs.replace(
                                red.flowspaces["no-telnet"].match, vlan=n
                            ),
                        )
                        for n in range(300)
                    },
                )
            },
        )
        base = await rig.database.read_vn("red")
        changed = await rig.database.apply(base, network.vns["red"])
        await rig.wait_until_applied("red", changed.revision)

        async def told() -> bool:
            assert rig.database is not None and rig.running is not None
            rig.running._reports.changed()
            return "full" in (await rig.database.read_applied())[SWITCH].error

        await eventually(told, "the trouble")
        assert len(await rig.held()) > 300, "the change is in the switch"
        ballast.unlink()
    again = LocalDatabase(disk / LOCAL_DATABASE)
    assert again.load_vns()["red"] == (changed.revision, changed.vn), "what waited was saved"
    again.close()
