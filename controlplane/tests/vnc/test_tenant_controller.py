"""A tenant's own controller (finsy) at the slicer of a real agent and switch, beside our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import finsy as fy
import pytest
from dfvisor.model.description import load_network
from dfvisor.p4rt.entries import Exact
from dfvisor.vnc.compile import compile_vn
from google.protobuf.empty_pb2 import Empty

from controlplane.tests.vnc.rig import Rig, eventually

pytestmark = [pytest.mark.zk, pytest.mark.switch]

NETWORK = load_network(Path(__file__).parents[3] / "examples" / "two-switches.yaml")
VN = "office"
FLOW = fy.P4TableEntry(
    "flow",
    match=fy.Match(ip_proto=17, l4_dst=5060),
    action=fy.Action("permit", cookie=99),
    priority=10,
)


@pytest.fixture
async def rig(tmp_path: Path, zookeeper: str) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, zookeeper, NETWORK)
    try:
        await made.open()
        yield made
    finally:
        await made.close()


async def test_tenant_programs_its_slice_until_the_vns_controller_comes(rig: Rig) -> None:
    async def applied() -> bool:
        record = (await rig.database.read_applied()).get("s1")
        if record is None or VN not in record.vns or record.vns[VN].revision < 1:
            return False
        return "s1" in await rig.database.read_agents()

    await eventually(applied, "the agent has the virtual network and is announced")
    info = (await rig.database.read_agents())["s1"]
    options = fy.SwitchOptions(
        device_id=info.device_id, role_name=f"slice/{VN}/voice", role_config=Empty()
    )
    async with asyncio.timeout(30), fy.Switch("s1", info.slicer, options) as tenant:
        await tenant.insert([FLOW])
        (entry,) = await rig.flows("s1")
        slice_id = entry.field("slice_id")
        assert isinstance(slice_id, Exact) and slice_id.value > 0
        assert entry.arg("cookie") == 99
        assert [one.priority async for one in tenant.read(fy.P4TableEntry("flow"))] == [10]

        rig.start_vnc("vnc1")
        await rig.until_completed(VN, 1)
        with pytest.raises(fy.P4ClientError) as refused:
            await tenant.modify([FLOW])
        assert refused.value.code is fy.GRPCStatusCode.PERMISSION_DENIED

    wanted = compile_vn(NETWORK.fabric, NETWORK.vns[VN])["s1"]
    assert len(await rig.flows("s1")) == len(wanted)
    assert entry not in await rig.flows("s1")
