"""A slice's life at a real agent and switch, with controllers of the tenant's own: parts of its
flowspaces given and taken back, its miss policy changed, disabled, enabled and deleted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from dfvisor.cli.disable import disabled
from dfvisor.cli.remove import without_flowspace, without_slice
from dfvisor.errors import SwitchError
from dfvisor.model.description import load_network
from dfvisor.model.grants import Grant
from dfvisor.model.records import Flowspace, Match, MissPolicy, Network, Profile, Rate, Slice
from dfvisor.model.types import PortRange
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.drops import DropReason, drop_cell
from dfvisor.p4rt.entries import Exact, Item, Meter, TableEntry, Ternary

from controlplane.tests.vnc.rig import SCHEMA, Rig, eventually

pytestmark = [pytest.mark.zk, pytest.mark.switch]

VN = "office"
BASE = load_network(Path(__file__).parents[3] / "examples" / "two-switches.yaml")
RATE = Rate(committed_bps=8_000_000, peak_bps=8_000_000)
PART = Flowspace(
    name="part",
    priority=20,
    match=Match(ip_proto=17, l4_dst=PortRange(5100, 5199)),
    slice="video",
    under="rtp",
)
OWN = Flowspace(
    name="own", priority=5, match=Match(ip_proto=17, l4_dst=PortRange(7000, 7000)), slice="video"
)


def network() -> Network:
    vn = BASE.vns[VN]
    profiles = {
        **vn.profiles,
        "voice": dataclasses.replace(vn.profiles["voice"], rate=RATE),
        "video": Profile(name="video", queue=5, dscp=34, rate=RATE),
    }
    slices = {**vn.slices, "video": Slice(name="video", key=3, profile="video")}
    vn = dataclasses.replace(
        vn, profiles=profiles, slices=slices, flowspaces={**vn.flowspaces, "own": OWN}
    )
    return dataclasses.replace(BASE, vns={VN: vn})


def flow(port: int) -> TableEntry:
    key = (("ip_proto", Ternary(17, 0xFF)), ("l4_dst", Ternary(port, 0xFFFF)))
    return TableEntry("flow", key, 10, "permit", (("cookie", port),))


class Life:
    """The rig, and controllers of slices at s1."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.network = rig.network
        self.election_id = 0
        self.clients: list[P4RuntimeClient] = []

    async def info_of_agent(self) -> tuple[str, int]:
        info = (await self.rig.database.read_agents())["s1"]
        return info.slicer, info.device_id

    async def controller(self, slice_: str) -> P4RuntimeClient:
        address, device_id = await self.info_of_agent()
        self.election_id += 1
        client = P4RuntimeClient(
            address, device_id, election_id=(0, self.election_id), role=f"slice/{VN}/{slice_}"
        )
        self.clients.append(client)
        await client.connect()
        await client.become_primary()
        client.schema = await client.get_schema()
        return client

    async def change(self, network: Network) -> None:
        """Write the VN as it is in the network, and wait until it has taken effect."""
        base = await self.rig.database.read_vn(VN)
        revision = (await self.rig.database.apply(base, network.vns[VN])).revision
        self.network = network

        async def applied() -> bool:
            records = await self.rig.database.read_applied()
            return all(
                VN in one.vns and one.vns[VN].revision >= revision and not one.vns[VN].error
                for one in records.values()
            )

        await eventually(applied, f"revision {revision} is in effect")

    async def ports(self) -> set[int]:
        """Which `flow` entries the switch itself has, by their L4 destination port."""
        return {one.arg("cookie") for one in await self.rig.flows("s1") if one.table == "flow"}

    async def until_ports(self, *wanted: int) -> None:
        async def so() -> bool:
            return await self.ports() == set(wanted)

        await eventually(so, f"flow entries of ports {wanted}")

    async def items(self) -> set[Item]:
        """All entries of the switch, and its configured meters."""
        client = P4RuntimeClient(self.rig._addresses["s1"], 1, schema=SCHEMA)
        try:
            await client.connect()
            return {*await client.read_entries(), *await client.read_meters()}
        finally:
            await client.close()

    async def policy(self, key: int) -> TableEntry | None:
        """The entry of a slice in table `slice_policy`."""
        found = [
            item
            for item in await self.items()
            if isinstance(item, TableEntry)
            and item.table == "slice_policy"
            and item.arg("gre_key") == key
        ]
        return found[0] if found else None

    async def slice_id(self, key: int) -> int | None:
        policy = await self.policy(key)
        field = None if policy is None else policy.field("slice_id")
        return field.value if isinstance(field, Exact) else None

    async def miss_policy(self, key: int) -> int:
        policy = await self.policy(key)
        assert policy is not None
        return policy.arg("miss_policy")


@pytest.fixture
async def life(tmp_path: Path, zookeeper: str) -> AsyncIterator[Life]:
    rig = Rig(tmp_path, zookeeper, network())
    made = Life(rig)
    grant = Grant(vn=VN, tenant=BASE.vns[VN].tenant, controllers=("voice", "video"))
    try:
        await rig.open(grants=[grant])

        async def live() -> bool:
            return (await rig.database.read_agents()).keys() == {"s1", "s2"}

        await eventually(live, "both agents serve")
        yield made
    finally:
        for client in made.clients:
            await client.close()
        await rig.close()


async def codes(client: P4RuntimeClient, *ports: int) -> list[str]:
    assert client.schema is not None
    found = await client.write_statuses([client.schema.insert(flow(port)) for port in ports])
    names = {code.value[0]: name for name, code in grpc.StatusCode.__members__.items()}
    return [names[one.code] for one in found]


async def test_part_of_a_flowspace_is_given_and_taken_back_with_the_entries_made_under_it(
    life: Life,
) -> None:
    vn = life.network.vns[VN]
    given = dataclasses.replace(
        life.network, vns={VN: dataclasses.replace(vn, flowspaces={**vn.flowspaces, "part": PART})}
    )
    voice, video = await life.controller("voice"), await life.controller("video")
    assert await codes(voice, 5060, 5150) == ["OK", "OK"]
    assert await codes(video, 7000, 5150) == ["OK", "PERMISSION_DENIED"]
    await life.change(given)
    assert await codes(video, 5151, 5099, 5200) == ["OK", "PERMISSION_DENIED", "PERMISSION_DENIED"]
    assert await life.ports() == {5060, 5150, 7000, 5151}
    await life.change(without_flowspace(life.network, VN, "part"))
    await life.until_ports(5060, 5150, 7000)
    assert await codes(video, 5151) == ["PERMISSION_DENIED"]
    assert voice.is_primary and video.is_primary

    # the same while no agent looks
    await life.change(given)
    assert await codes(video, 5151) == ["OK"]
    life.rig.stop("agent-s1", signal.SIGKILL)
    base = await life.rig.database.read_vn(VN)
    await life.rig.database.apply(base, without_flowspace(given, VN, "part").vns[VN])
    assert await life.ports() == {5060, 5150, 7000, 5151}
    life.rig.start_agent("s1")
    await life.until_ports(5060, 5150, 7000)


async def test_slice_changes_its_miss_policy_is_disabled_enabled_and_deleted_alone(
    life: Life,
) -> None:
    life.rig.start_vnc("vnc1")  # what goes need not be kept for so long then
    voice, video = await life.controller("voice"), await life.controller("video")
    assert await codes(voice, 5060, 5061) == ["OK", "OK"]
    assert await codes(video, 7000) == ["OK"]
    vn = life.network.vns[VN]
    for number, miss in enumerate((MissPolicy.DROP, MissPolicy.BEST_EFFORT, MissPolicy.PACKET_IN)):
        slices = {**vn.slices, "voice": dataclasses.replace(vn.slices["voice"], miss=miss)}
        await life.change(
            dataclasses.replace(life.network, vns={VN: dataclasses.replace(vn, slices=slices)})
        )
        assert await life.miss_policy(2) == number
    assert voice.is_primary and await life.ports() == {5060, 5061, 7000}

    enabled = life.network
    await life.change(disabled(life.network, VN, "voice", True))
    await life.until_ports(7000)
    await ended(voice)
    assert video.is_primary
    assert await life.slice_id(2) is None

    await life.change(enabled)
    voice = await life.controller("voice")
    assert await codes(voice, 5060) == ["OK"]
    assert await life.ports() == {5060, 7000}

    before = await life.items()
    slice_id = await life.slice_id(2)
    assert slice_id is not None
    others = {item for item in before if not _of(item, slice_id)}
    assert len(before) - len(others) >= 5, "policy, classifiers, flow and meter"
    await life.change(without_slice(life.network, VN, "voice", cascade=True))
    await life.until_ports(7000)

    async def gone() -> bool:
        return not any(_of(item, slice_id) for item in await life.items())

    await eventually(gone, "nothing names the slice")
    assert await life.items() == others
    await ended(voice)
    assert video.is_primary and await video.read_entries() == [flow(7000)]
    client = P4RuntimeClient(life.rig._addresses["s1"], 1, schema=SCHEMA)
    cells = [drop_cell(slice_id, reason) for reason in DropReason]
    try:
        await client.connect()
        assert not any(
            one.packets for one in (await client.counters.cells("drops", cells)).values()
        )
    finally:
        await client.close()
    with pytest.raises(SwitchError, match="no such QoS slice"):
        late = await life.controller("voice")
        assert late.schema is not None
        await late.write([late.schema.insert(flow(5060))])


async def ended(client: P4RuntimeClient) -> None:
    """Until the slicer has ended the client's stream."""
    async with asyncio.timeout(10):
        await client.wait_lost()


def _of(item: Item, slice_id: int) -> bool:
    """Whether an entry or meter names the slice."""
    if isinstance(item, TableEntry):
        return item.field("slice_id") == Exact(slice_id) or ("slice_id", slice_id) in item.args
    return isinstance(item, Meter) and item.index == slice_id and item.meter != "flow_meters"
