"""Pull through a real switch: a packet of the slice misses, its controller hears of it and answers.

Push and pull on the same slice differ in its miss policy alone, which the agent changes live.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.entries import Exact, Meter, MeterConfig, TableEntry, Ternary
from dfvisor.p4rt.p4info import Schema
from dfvisor.slicer.view import role_view

from controlplane.tests.agent.rig import DEVICE_ID, SwitchProcess
from controlplane.tests.slicer.fakes import RED_BEST_EFFORT, RED_GOLD
from controlplane.tests.slicer.live import SCHEMA, Live, live
from controlplane.tests.slicer.plain import PlainClient

pytestmark = pytest.mark.switch

VIEW = Schema(role_view(SCHEMA.proto, False))
VN = 5
DROP, PULL = 0, 2
FLOWSPACE = 1  # the cookie of the classifier entry
UDP = bytes.fromhex("0200000000020200000000010800") + bytes.fromhex(
    "4500001c0000000040110000" + "0a0000010a000002" + "1000145100080000"
)
MATCH = (
    ("eth_type", Ternary(0x0800, 0xFFFF)),
    ("ip_proto", Ternary(17, 0xFF)),
    ("l4_dst", Ternary(0x1451, 0xFFFF)),
)


def policy(slice_id: int, level: int, miss: int) -> TableEntry:
    args = (
        *(("gre_key", slice_id), ("qos_level", level), ("miss_policy", miss), ("queue", 0)),
        *(("dscp", 0), ("best_effort_slice", RED_BEST_EFFORT.slice_id), ("best_effort_key", 9)),
        ("dscp_yellow", 0),
    )
    return TableEntry("slice_policy", (("slice_id", Exact(slice_id)),), 0, "set_slice_policy", args)


INFRASTRUCTURE = [
    TableEntry(
        "access_port",
        (("port", Exact(1)),),
        1,
        "set_access",
        (
            *(("vn", VN), ("best_effort_slice", RED_BEST_EFFORT.slice_id)),
            *(("vid", 0), ("guarded", 0), ("learning", 0)),
        ),
    ),
    *(
        TableEntry(
            "classifier",
            (("vn", Exact(VN)), ("ip_proto", Ternary(protocol, 0xFF))),
            2,
            "classify",
            (("slice_id", RED_GOLD.slice_id), ("cookie", FLOWSPACE), ("meter_id", 0)),
        )
        for protocol in (6, 17)
    ),
    policy(RED_GOLD.slice_id, 1, DROP),
    policy(RED_BEST_EFFORT.slice_id, 0, DROP),
]


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
        yield made


async def pulling(rig: Live) -> None:
    """Have an access port at the switch whose TCP and UDP packets are gold's."""
    await rig.switch.client.write([SCHEMA.insert(one) for one in INFRASTRUCTURE])
    meter = Meter("punt_meters", RED_GOLD.slice_id, MeterConfig(1000, 100, 1000, 100))
    await rig.switch.client.write([SCHEMA.modify(meter)])


async def set_miss(rig: Live, miss: int) -> None:
    await rig.switch.client.write([SCHEMA.modify(policy(RED_GOLD.slice_id, 1, miss))])


async def heard(client: PlainClient) -> tuple[bytes, int, int]:
    """The next packet-in: payload, reason, cookie."""
    packet = (await client.next()).packet
    metadata = {one.metadata_id: int.from_bytes(one.value, "big") for one in packet.metadata}
    assert metadata[1] == 1, "the port that it came in at"
    return packet.payload, metadata[5], metadata[6]


async def test_pull_push_and_back_on_one_slice(rig: Live) -> None:
    async with (
        PlainClient.primary(rig.address, "slice/red/gold", device_id=DEVICE_ID) as gold,
        PlainClient.primary(rig.address, "slice/blue/gold", device_id=DEVICE_ID) as blue,
    ):
        await set_miss(rig, PULL)
        gold.send(UDP, port=1, as_ingress=1)
        assert await heard(gold) == (UDP, PuntReason.FLOW_MISS, FLOWSPACE)

        # pushed: an entry is there before the packet, and nobody is asked
        entry = TableEntry("flow", MATCH, 10, "permit", (("cookie", 77),))
        await gold.write([VIEW.insert(entry)])
        gold.send(UDP, port=1, as_ingress=1)
        await until_counted(rig, 1)
        assert gold.idle

        # a flow entry may send packets to the controller, too
        asked = TableEntry("flow", MATCH, 10, "to_controller", (("cookie", 78),))
        await gold.write([VIEW.modify(asked)])
        gold.send(UDP, port=1, as_ingress=1)
        assert await heard(gold) == (UDP, PuntReason.FLOW_ACTION, 78)

        # without pull the controller is left alone
        delete = VIEW.delete(asked)
        await gold.write([delete])
        await set_miss(rig, DROP)
        gold.send(UDP, port=1, as_ingress=1)
        await set_miss_and_prove(rig, gold)
        assert blue.idle


async def set_miss_and_prove(rig: Live, gold: PlainClient) -> None:
    """Of two packets, the one sent after pull is on again is the only one heard of."""
    async with asyncio.timeout(10):
        while not await dropped(rig):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await set_miss(rig, PULL)
    marked = UDP[:-8] + b"\x20\x00" + UDP[-6:]
    gold.send(marked, port=1, as_ingress=1)
    assert await heard(gold) == (marked, PuntReason.FLOW_MISS, FLOWSPACE)
    assert gold.idle


async def dropped(rig: Live) -> int:
    """Packets of the slice that missed and were dropped (reason 13)."""
    cell = RED_GOLD.slice_id << 6 | 13
    counters = await rig.switch.client.counters.cells("drops", [cell])
    return counters[cell].packets


async def until_counted(rig: Live, packets: int) -> None:
    """Until the slice's flow entry has counted so many."""
    async with asyncio.timeout(10):
        while True:
            counted = await rig.switch.client.counters.direct("flow")
            if sum(one.counter.packets for one in counted) >= packets:
                return
            await asyncio.sleep(0.02)
