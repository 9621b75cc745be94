"""A slice at a real switch, of whichever target: finsy unmodified, and the modes of a batch.

BMv2 knows CONTINUE_ON_ERROR alone: rolling back is the slicer's, DATAPLANE_ATOMIC is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import finsy as fy
import pytest
import pytest_asyncio
from dfvisor.p4rt.entries import TableEntry
from dfvisor.p4rt.pb import p4r
from google.protobuf.empty_pb2 import Empty

from controlplane.tests.agent.rig import DEVICE_ID, TARGET, SwitchProcess
from controlplane.tests.slicer.fakes import RED_GOLD, flow, forward
from controlplane.tests.slicer.live import Live, live
from controlplane.tests.slicer.test_outside_client import FLOW, FORWARD
from controlplane.tests.slicer.test_writes import write

pytestmark = [pytest.mark.switch, pytest.mark.asyncio(loop_scope="module")]

GOLD = RED_GOLD.slice_id


@pytest.fixture(scope="module")
def switch_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = SwitchProcess(tmp_path_factory.mktemp("switch"))
    process.start()
    yield process.address
    process.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def rig(switch_address: str) -> AsyncIterator[Live]:
    async with live(switch_address) as made:
        yield made


def own(*entries: TableEntry) -> frozenset[TableEntry]:
    return frozenset(entries)


async def test_finsy_programs_its_slice_and_leaves_nothing_behind(rig: Live) -> None:
    options = fy.SwitchOptions(device_id=DEVICE_ID, role_name="slice/red/gold", role_config=Empty())
    stranger = await rig.connect("slice/blue/gold")
    assert stranger.schema is not None
    await stranger.write([stranger.schema.insert(flow(None))])
    others = await rig.held()
    async with asyncio.timeout(20), fy.Switch("s", rig.address, options) as client:
        await client.insert([FORWARD, FLOW])
        assert await rig.held() - others == own(flow(GOLD), forward(GOLD, 202))
        found = [one async for one in client.read(fy.P4TableEntry())]
        assert {one.table_id for one in found} == {"flow", "slice_forward"}
        counted = [one async for one in client.read(fy.P4DirectCounterEntry("flow_counter"))]
        assert [one.packet_count for one in counted] == [0]
        changed = fy.P4TableEntry(
            "flow", match=FLOW.match, action=fy.Action("permit", cookie=9), priority=10
        )
        await client.modify([changed])
        assert await rig.held() - others == own(flow(GOLD, cookie=9), forward(GOLD, 202))
        await client.delete_all()
    assert await rig.held() == others


@pytest.mark.parametrize("mode", ["ROLLBACK_ON_ERROR", "DATAPLANE_ATOMIC"])
async def test_batch_is_carried_out_as_a_whole_or_not_at_all(rig: Live, mode: str) -> None:
    client = await rig.connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    await client.write([schema.insert(flow(None, 1)), schema.insert(flow(None, 2))])
    before = await rig.held()
    spoiled = [
        schema.modify(flow(None, 1, cookie=5)),
        schema.delete(flow(None, 2)),
        schema.insert(flow(None, 3)),
        schema.insert(flow(None, 1)),
    ]
    assert await write(client, spoiled, mode) == ["ABORTED"] * 3 + ["ALREADY_EXISTS"]
    assert await rig.held() == before
    good = spoiled[:3]
    if mode == "DATAPLANE_ATOMIC" and TARGET == "bmv2":
        assert await write(client, good, mode) == ["UNIMPLEMENTED"]
        assert await rig.held() == before
        return
    assert await write(client, good, mode) == ["OK"] * 3
    assert await rig.held() == own(flow(GOLD, 1, cookie=5), flow(GOLD, 3))
    assert set(await client.read_entries()) == {flow(None, 1, cookie=5), flow(None, 3)}


@pytest.mark.parametrize("mode", ["ROLLBACK_ON_ERROR", "DATAPLANE_ATOMIC"])
async def test_batch_that_the_switch_itself_refuses_leaves_everything_as_it_was(
    rig: Live, mode: str
) -> None:
    """Behind the slicer's back an entry is there that the batch inserts."""
    client = await rig.connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    await client.write([schema.insert(flow(None, 1))])
    direct = rig.switch.client
    assert direct.schema is not None
    await direct.write([direct.schema.insert(flow(GOLD, 9))])
    before = await rig.held()
    updates = [
        schema.modify(flow(None, 1, cookie=5)),
        schema.insert(flow(None, 2)),
        schema.insert(flow(None, 9)),
    ]
    found = await write(client, updates, mode)
    if mode == "DATAPLANE_ATOMIC" and TARGET == "bmv2":
        assert found == ["UNIMPLEMENTED"]
    else:
        assert found[:2] == ["ABORTED"] * 2
        assert found[2] in ("ALREADY_EXISTS", "UNKNOWN")
    assert await rig.held() == before
    assert await client.read_entries() == [flow(None, 1)]


async def test_batch_continues_after_errors_in_order(rig: Live) -> None:
    client = await rig.connect("slice/red/gold")
    schema = client.schema
    assert schema is not None
    updates: list[p4r.Update] = [
        schema.insert(flow(None, 1)),
        schema.insert(forward(None, 3)),
        schema.insert(flow(None, 1)),
        schema.modify(flow(None, 1, cookie=7)),
    ]
    found = await write(client, updates, "CONTINUE_ON_ERROR")
    assert found == ["OK", "PERMISSION_DENIED", "ALREADY_EXISTS", "OK"]
    assert await rig.held() == own(flow(GOLD, 1, cookie=7))
