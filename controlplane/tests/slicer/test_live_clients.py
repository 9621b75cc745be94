"""p4runtime-shell and finsy, unmodified, run a slice at a real switch: entries, counters, packets
both ways, mastership lost and won again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator

import finsy as fy
import pytest
from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.entries import TableEntry
from dfvisor.p4rt.streamed import PacketOut
from google.protobuf.empty_pb2 import Empty

from controlplane.tests.agent.rig import DEVICE_ID, SwitchProcess
from controlplane.tests.slicer.fakes import RED_GOLD, flow, forward
from controlplane.tests.slicer.live import Live, live
from controlplane.tests.slicer.test_live_packets import (
    FLOWSPACE,
    PULL,
    UDP,
    pulling,
    set_miss,
    until_counted,
)
from controlplane.tests.slicer.test_outside_client import FLOW, FORWARD
from controlplane.tests.slicer.test_p4runtime_shell import shell

pytestmark = pytest.mark.switch

ROLE = "slice/red/gold"
GOLD = RED_GOLD.slice_id
TCP = bytes.fromhex("0200000000020200000000010800") + bytes.fromhex(
    "450000280000000040060000" + "0a0000010a000002" + "10000050" + "00" * 8 + "5002000000000000"
)


@pytest.fixture
def switch_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = SwitchProcess(tmp_path_factory.mktemp("switch"))
    process.start()
    yield process.address
    process.kill()


@pytest.fixture
async def rig(switch_process: str) -> AsyncIterator[Live]:
    async with live(switch_process) as made:
        await pulling(made)
        await set_miss(made, PULL)
        yield made


def received(rig: Live, frame: bytes) -> None:
    """Have the switch receive a frame at access port 1."""
    rig.switch.client.send_packet(PacketOut(frame, {"port": 1, "as_ingress": 1}))


async def until_sent(rig: Live) -> None:
    async with asyncio.timeout(10):
        while not rig.switch.sent:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert rig.switch.sent == [PacketOut(UDP, {"port": 2, "as_ingress": 0})]


async def test_shell_runs_a_slice_at_a_switch(rig: Live) -> None:
    async with shell(rig.address, DEVICE_ID) as session:
        await session.step("p4info ['flow', 'slice_forward', 'slice_path'] False")
        await session.said("inserted")
        assert await rig.held() == {flow(GOLD, cookie=7)}
        for _ in range(3):
            received(rig, TCP)
        await until_counted(rig, 3)
        session.go_on()
        await session.step("modified 1 8")
        await session.step("counted 1 3")
        await session.step("drops [0]")
        await session.step("refused True")
        await session.said("forwarding")
        assert await rig.held() == {flow(GOLD, cookie=8), forward(GOLD, 202)}
        session.go_on()
        await session.said("sniffing")
        received(rig, UDP)
        await session.step("packet-ins 1 True")
        await session.said("packet-out")
        await until_sent(rig)
        session.go_on()
        await session.said("waiting for a rival")
        rival = await rig.connect(ROLE, (1 << 64) + 1)
        session.go_on()
        await session.said("rivalled True")
        await rival.close()
        session.go_on()
        await session.step("primary again")
        await session.said("deleted")
        assert not await rig.held()
        session.go_on()


async def test_finsy_runs_a_slice_at_a_switch(rig: Live) -> None:
    options = fy.SwitchOptions(device_id=DEVICE_ID, role_name=ROLE, role_config=Empty())
    changed = fy.P4TableEntry(
        "flow", match=FLOW.match, action=fy.Action("permit", cookie=9), priority=10
    )
    async with asyncio.timeout(30):
        async with fy.Switch("s", rig.address, options) as client:
            assert client.is_primary
            tables = {table.alias for table in client.p4info.tables}
            assert tables == {"flow", "slice_path", "slice_forward"}
            await client.insert([FORWARD, FLOW])
            await client.modify([changed])
            held: set[TableEntry] = {flow(GOLD, cookie=9), forward(GOLD, 202)}
            assert await rig.held() == held
            received(rig, TCP)
            await until_counted(rig, 1)
            counted = [one async for one in client.read(fy.P4DirectCounterEntry("flow_counter"))]
            assert [one.packet_count for one in counted] == [1]

            arriving = asyncio.ensure_future(anext(client.read_packets()))
            while not arriving.done():  # it listens once it has begun to wait
                received(rig, UDP)
                await asyncio.sleep(0.05)
            packet = arriving.result()
            assert packet.payload == UDP
            assert (packet["port"], packet["reason"]) == (1, PuntReason.FLOW_MISS)
            assert packet["cookie"] == FLOWSPACE
            await client.write([fy.P4PacketOut(UDP, port=2, as_ingress=0)])
            await until_sent(rig)

            rival = await rig.connect(ROLE, 99)
            while client.is_primary:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            with pytest.raises(fy.P4ClientError):
                await client.modify([FLOW])
            await rival.close()
        late = dataclasses.replace(options, initial_election_id=100)
        async with fy.Switch("s", rig.address, late) as client:
            assert client.is_primary and await rig.held() == held
            await client.delete_all()
    assert not await rig.held()
