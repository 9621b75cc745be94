"""A tenant's own controller, written against a public library (finsy), works on its slice."""

from __future__ import annotations

import asyncio
import logging

import finsy as fy
import pytest
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import entry_key
from dfvisor.p4rt.ports import NEIGHBOUR
from dfvisor.p4rt.streamed import PacketIn, PacketOut
from dfvisor.slicer.server import SlicerServer
from google.protobuf.empty_pb2 import Empty

from controlplane.tests.slicer.fakes import (
    DEVICE,
    RED_GOLD,
    RED_SILVER,
    FakeSwitch,
    flow,
    forward,
)


def options(role: str) -> fy.SwitchOptions:
    return fy.SwitchOptions(device_id=DEVICE, role_name=role, role_config=Empty())


FLOW = fy.P4TableEntry(
    "flow",
    match=fy.Match(ip_proto=6, l4_dst=80),
    action=fy.Action("permit", cookie=1),
    priority=10,
)
FORWARD = fy.P4TableEntry(
    "slice_forward",
    match=fy.Match(path_class=0, eth_dst="02:00:00:00:00:01"),
    action=fy.Action("forward", next_hop=NEIGHBOUR + 2, cookie=0),
)


async def test_finsy_reads_the_view_and_programs_its_slice(
    address: str, switch: FakeSwitch
) -> None:
    stranger = flow(RED_SILVER.slice_id)
    async with asyncio.timeout(20):
        async with fy.Switch("s", address, options("slice/red/gold")) as client:
            assert client.is_primary
            assert {table.alias for table in client.p4info.tables} == {
                "flow",
                "slice_path",
                "slice_forward",
            }
            fields = [field.alias for field in client.p4info.tables["flow"].match_fields]
            assert "slice_id" not in fields and "l4_dst" in fields

            await client.insert([FORWARD, FLOW])
            assert set(switch.entries.values()) == {
                flow(RED_GOLD.slice_id),
                forward(RED_GOLD.slice_id, 202),
            }
            switch.entries[entry_key(stranger)] = stranger
            switch.counters[entry_key(flow(RED_GOLD.slice_id))] = (4, 400)
            found = [one async for one in client.read(fy.P4TableEntry())]
            assert {one.table_id for one in found} == {"flow", "slice_forward"}
            counted = [one async for one in client.read(fy.P4DirectCounterEntry("flow_counter"))]
            assert [one.packet_count for one in counted] == [4]

            await client.delete_all()
            assert list(switch.entries.values()) == [stranger]


async def test_finsy_is_told_why_an_update_is_refused(address: str, switch: FakeSwitch) -> None:
    leading_out = fy.P4TableEntry(
        "slice_forward",
        match=fy.Match(path_class=0, eth_dst="02:00:00:00:00:01"),
        action=fy.Action("forward", next_hop=3, cookie=0),
    )
    async with asyncio.timeout(20):
        async with fy.Switch("s", address, options("slice/red/gold")) as client:
            with pytest.raises(fy.P4ClientError) as caught:
                await client.write([+FLOW, +leading_out])
    failures = caught.value.details
    assert [detail.canonical_code for detail in failures.values()] == [
        fy.GRPCStatusCode.PERMISSION_DENIED
    ]
    assert list(failures) == [1]
    assert "next hop 0x3" in failures[1].message
    assert list(switch.entries.values()) == [flow(RED_GOLD.slice_id)]


async def test_finsy_without_a_role_is_refused(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(fy.P4ClientError) as caught:
        async with asyncio.timeout(20):
            async with fy.Switch("s", address, fy.SwitchOptions(device_id=DEVICE)):
                pytest.fail("a client without a role got in")
    assert caught.value.code is fy.GRPCStatusCode.PERMISSION_DENIED


async def test_finsy_runs_a_slice_with_packets_and_a_rival(
    address: str, switch: FakeSwitch, slicer: SlicerServer
) -> None:
    """Modify, packets both ways, mastership lost and regained."""
    async with asyncio.timeout(30):
        async with fy.Switch("s", address, options("slice/red/gold")) as client:
            await client.insert([FLOW])
            changed = fy.P4TableEntry(
                "flow", match=FLOW.match, action=fy.Action("permit", cookie=2), priority=10
            )
            await client.modify([changed])
            assert list(switch.entries.values()) == [flow(RED_GOLD.slice_id, cookie=2)]

            frame = bytes(range(60))
            await client.write([fy.P4PacketOut(frame, port=2, as_ingress=0)])
            while not switch.sent:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert switch.sent == [PacketOut(frame, {"port": 2, "as_ingress": 0})]

            packets = client.read_packets()
            arriving = asyncio.ensure_future(anext(packets))
            while not arriving.done():  # it listens once it has begun to wait
                metadata = {"port": 1, "slice_id": RED_GOLD.slice_id, "reason": 1, "cookie": 5}
                slicer.event(PacketIn(frame, metadata))
                await asyncio.sleep(0.02)
            packet = arriving.result()
            assert packet.payload == frame
            assert (packet["port"], packet["reason"], packet["cookie"]) == (1, 1, 5)

            rival = P4RuntimeClient(address, DEVICE, election_id=(0, 99), role="slice/red/gold")
            await rival.become_primary()
            while client.is_primary:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            with pytest.raises(fy.P4ClientError):
                await client.modify([FLOW])
            await rival.close()
        late = fy.SwitchOptions(
            device_id=DEVICE,
            role_name="slice/red/gold",
            role_config=Empty(),
            initial_election_id=100,
        )
        async with fy.Switch("s", address, late) as client:
            assert client.is_primary
            await client.delete_all()
    assert not switch.entries
