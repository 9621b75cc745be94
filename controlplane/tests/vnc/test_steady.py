"""The whole control plane at rest: what it asks of the database when nothing changes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from dfvisor.agent.saver import SYNCED
from dfvisor.model.description import load_network
from dfvisor.store.local import LocalDatabase
from dfvisor.vnc.daemon import LOCAL_DATABASE

from controlplane.tests.store.harness import requests, watched_by_all
from controlplane.tests.vnc.rig import Rig

pytestmark = [pytest.mark.zk, pytest.mark.switch]

NETWORK = load_network(Path(__file__).parents[3] / "examples" / "two-switches.yaml")
WINDOWS = 6
REST_S = 6.0  # statistics that repeat the last ones are written every 5 s


async def test_at_rest_nothing_is_read_and_only_statistics_are_written(
    tmp_path: Path, zookeeper: str
) -> None:
    rig = Rig(tmp_path, zookeeper, NETWORK)
    try:
        await rig.open()
        rig.start_vnc("c1")
        await rig.until_completed("office", 1)

        async def statistics() -> int:
            """Times that the statistics were written; costs two reads for each switch."""
            versions = []
            for switch in NETWORK.fabric.switches:
                stat = await rig.database._zk.exists(f"/stats/{switch}/0")
                versions.append(-1 if stat is None else stat.version)
            return sum(versions)

        for _ in range(WINDOWS):  # what follows the start (links found down, ...) comes to an end
            await rig.until_completed("office", 1)
            before = await statistics()
            reads, writes = requests(zookeeper)
            await asyncio.sleep(REST_S)
            after = requests(zookeeper)
            written = await statistics() - before
            if after[0] == reads and 2 <= written == after[1] - writes:
                break
        else:
            pytest.fail(f"{after[0] - reads} reads, {after[1] - writes} writes, {written} expected")
        seen = watched_by_all(zookeeper)
        assert "/vns/office/revision" in seen
        assert not {path for path in seen if path.startswith(("/applied", "/stats"))}
        assert rig.stop("c1") == 0
        local = LocalDatabase(tmp_path / "c1" / LOCAL_DATABASE)
        assert local.load_vns() == {"office": (1, NETWORK.vns["office"])}
        assert local.load_fabric() == (1, NETWORK.fabric)
        assert abs(float(local.get(SYNCED) or b"0") - time.time()) < 60
        local.close()
    finally:
        await rig.close()
