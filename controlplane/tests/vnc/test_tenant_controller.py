"""A tenant's own controller (finsy) at the slicer of a real agent and switch, beside our own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import finsy as fy
import pytest
from dfvisor.errors import SwitchError
from dfvisor.model.description import load_network
from dfvisor.model.grants import Grant
from dfvisor.p4rt.client import P4RuntimeClient
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
        await made.open(activate=True)  # before there is a controller
        yield made
    finally:
        await made.close()


async def test_tenant_programs_its_slice_until_the_vns_controller_comes(rig: Rig) -> None:
    async def applied() -> bool:
        record = (await rig.database.read_applied()).get("s1")
        if record is None or VN not in record.vns:  # nobody leads, so nothing is activated
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

        async def counted() -> bool:
            stats = await rig.database.read_stats("s1")
            found = {(one.role, one.kind): one.number for one in stats.roles} if stats else {}
            return found.get((f"slice/{VN}/voice", "updates")) == 1

        await eventually(counted, "what the controller did is counted in the database")

        rig.start_vnc("vnc1")
        await rig.until_completed(VN, 1)
        with pytest.raises(fy.P4ClientError) as refused:
            await tenant.modify([FLOW])
        assert refused.value.code is fy.GRPCStatusCode.PERMISSION_DENIED

    wanted = compile_vn(NETWORK.fabric, NETWORK.vns[VN])["s1"]
    assert len(await rig.flows("s1")) == len(wanted)
    assert entry not in await rig.flows("s1")


async def test_controllers_find_their_entries_as_they_were_after_the_agent_restarts(
    rig: Rig,
) -> None:
    async def announced() -> bool:
        return "s1" in await rig.database.read_agents()

    async def reachable() -> bool:
        """The controller has reconnected, is primary again, and reads its entries."""
        client = P4RuntimeClient(info.slicer, info.device_id, election_id=(0, 1), role=role)
        try:
            await client.connect(0.5)
            await client.become_primary(2.0)
            client.schema = await client.get_schema()
            found = await client.read_entries()
        except SwitchError:
            return False
        finally:
            await client.close()
        return len(found) == 1 and found[0].arg("cookie") == 99

    role = f"slice/{VN}/voice"
    await eventually(announced, "the agent is announced")
    info = (await rig.database.read_agents())["s1"]
    options = fy.SwitchOptions(device_id=info.device_id, role_name=role, role_config=Empty())
    async with asyncio.timeout(30), fy.Switch("s1", info.slicer, options) as tenant:
        await tenant.insert([FLOW])
    before = await rig.flows("s1")
    assert len(before) == 1
    for number in (signal.SIGTERM, signal.SIGKILL):
        rig.stop("agent-s1", number)
        assert await rig.flows("s1") == before
        rig.start_agent("s1", "--listen", info.slicer)
        await eventually(reachable, "the controller is back, with its entries")
        assert await rig.flows("s1") == before


async def test_slice_granted_to_the_tenants_controller_needs_no_vn_controller_and_has_none(
    tmp_path: Path, zookeeper: str
) -> None:
    rig = Rig(tmp_path, zookeeper, NETWORK)
    grant = Grant(vn=VN, tenant=NETWORK.vns[VN].tenant, controllers=("voice",))

    async def live() -> bool:
        applied = await rig.database.read_applied()
        switches = NETWORK.fabric.switches.keys()
        return (await rig.database.read_agents()).keys() == applied.keys() == switches and all(
            VN in record.vns and record.vns[VN].revision == 1 for record in applied.values()
        )

    try:
        await rig.open(grants=[grant])
        await eventually(live, "revision 1 has taken effect everywhere without a VN controller")
        info = (await rig.database.read_agents())["s1"]
        options = fy.SwitchOptions(
            device_id=info.device_id, role_name=f"slice/{VN}/voice", role_config=Empty()
        )
        async with asyncio.timeout(60), fy.Switch("s1", info.slicer, options) as tenant:
            await tenant.insert([FLOW])
            before = await rig.flows("s1")
            rig.start_vnc("vnc1")
            await rig.until_completed(VN, 1)
            assert await rig.flows("s1") == before
            assert not rig.written("vnc1")
            await tenant.modify([FLOW])
    finally:
        await rig.close()
