"""The index of VNs by switch, and what is active, on a real ZooKeeper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.errors import Conflict
from dfvisor.model.description import load_network
from dfvisor.model.presence import slices_at
from dfvisor.model.records import Fabric, Flowspace, Match, VirtualNetwork
from dfvisor.model.types import PortRange, PortRef
from dfvisor.store import layout
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.zk import ZooKeeper

from controlplane.tests.store.harness import until

pytestmark = pytest.mark.zk

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
RED, BLUE = DEMO.vns["red"], DEMO.vns["blue"]


@pytest.fixture
async def db(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper, page_grace_s=0.0) as found:
        await found.apply_fabric(await found.read_fabric(), DEMO.fabric, DEMO.tenants)
        yield found


@pytest.fixture
async def other(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper, page_grace_s=0.0) as found:
        yield found


async def index(db: GlobalDatabase) -> dict[str, set[str]]:
    found = {switch: set(await db.read_present(switch)) for switch in DEMO.fabric.switches}
    return {switch: names for switch, names in found.items() if names}


def expected(fabric: Fabric, *vns: VirtualNetwork) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for vn in vns:
        for switch in slices_at(fabric, vn):
            found.setdefault(switch, set()).add(vn.name)
    return found


def at(vn: VirtualNetwork, *switches: str) -> VirtualNetwork:
    """The VN with one endpoint per switch."""
    ends = list(vn.endpoints.values())[: len(switches)]
    moved = {
        end.name: replace(end, port=PortRef(switch, 40 + n), peer=None, vlan=None)
        for n, (end, switch) in enumerate(zip(ends, switches, strict=True))
    }
    return replace(vn, endpoints=moved, flowspaces={})


def without_gold(vn: VirtualNetwork) -> VirtualNetwork:
    best = vn.best_effort_slice
    return replace(vn, slices={best.name: best}, flowspaces={}, profiles={})


def with_flowspace(vn: VirtualNetwork, name: str, slice_: str = "gold") -> VirtualNetwork:
    match = Match(ip_proto=6, l4_dst=PortRange(1, 1))
    one = Flowspace(name=name, priority=1, match=match, slice=slice_)
    return replace(vn, flowspaces=vn.flowspaces | {name: one})


async def test_vn_is_in_the_index_where_it_is_present_and_nowhere_after_deletion(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    red = await db.apply(None, at(RED, "s1", "s2"))
    await db.apply(None, at(without_gold(BLUE), "s3"))
    assert await index(other) == expected(DEMO.fabric, red.vn, at(without_gold(BLUE), "s3"))
    await db.delete_vn(red)
    assert await index(other) == {"s3": {"blue"}}


async def test_index_follows_endpoints_and_the_agent_of_another_switch_is_not_told(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    calm = without_gold(RED)
    looks: dict[str, int] = dict.fromkeys(DEMO.fabric.switches, 0)

    def watch(switch: str) -> None:
        looks[switch] += 1

    for switch in looks:
        await other.read_present(switch, lambda switch=switch: watch(switch))
    first = await db.apply(None, at(calm, "s1", "s2"))
    await until(lambda: looks == {"s1": 1, "s2": 1, "s3": 0, "s4": 0}, "those concerned look")
    await db.apply(first, at(calm, "s1", "s3"))
    assert await index(db) == {"s1": {"red"}, "s3": {"red"}}
    await until(lambda: looks == {"s1": 1, "s2": 1, "s3": 1, "s4": 0}, "the new one looks")


async def test_index_follows_the_fabric(db: GlobalDatabase, other: GlobalDatabase) -> None:
    red = at(RED, "s1", "s3")
    await db.apply(None, red)
    before = expected(DEMO.fabric, red)
    assert await index(other) == before
    for link in DEMO.fabric.links:  # some link is part of the only shortest path
        fabric = replace(DEMO.fabric, links=tuple(one for one in DEMO.fabric.links if one != link))
        if expected(fabric, red) != before:
            break
    else:
        pytest.fail("no link matters")
    await other.apply_fabric(await other.read_fabric(), fabric, DEMO.tenants)
    assert await index(db) == expected(fabric, red)


async def test_fabric_changed_during_a_change_of_a_vn_is_not_missed(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    """The writer has the old fabric in its hands when it commits."""
    red = at(RED, "s1", "s3")
    before = expected(DEMO.fabric, red)
    fabric = next(
        changed
        for link in DEMO.fabric.links
        if expected(
            changed := replace(
                DEMO.fabric, links=tuple(one for one in DEMO.fabric.links if one != link)
            ),
            red,
        )
        != before
    )
    original = db._zk.multi
    base = await other.read_fabric()

    async def multi(operations: object) -> None:
        db._zk.multi = original  # type: ignore[method-assign]
        await other.apply_fabric(base, fabric, DEMO.tenants)
        await original(operations)  # type: ignore[arg-type]

    db._zk.multi = multi  # type: ignore[assignment,method-assign]
    await db.apply(None, red)
    assert await index(db) == expected(fabric, red)


async def test_presence_found_wrong_can_be_set(db: GlobalDatabase) -> None:
    await db.apply(None, at(without_gold(RED), "s1"))
    await db.set_presence("red", {"s1", "s4"})
    assert await index(db) == {"s1": {"red"}, "s4": {"red"}}
    await db.set_presence("red", {"s4"})
    assert await index(db) == {"s4": {"red"}}
    with pytest.raises(Conflict, match="deleted"):
        await db.set_presence("blue", {"s1"})


async def test_tree_of_an_older_version_gets_its_index(db: GlobalDatabase, zookeeper: str) -> None:
    snapshot = await db.apply(None, RED)
    wanted = await index(db)
    zk = await ZooKeeper(zookeeper).start()
    for switch in await zk.children(layout.PRESENT):
        for name in await zk.children(layout.present(switch)):
            await zk.delete(layout.presence(switch, name))
        await zk.delete(layout.present(switch))
    await zk.delete(layout.PRESENT)
    await zk.delete(layout.vn_present("red"))
    await zk.close()
    async with await GlobalDatabase.connect(zookeeper) as again:
        assert await index(again) == wanted
        assert (await again.apply(snapshot, with_flowspace(RED, "x"))).revision == 2


# -- what is active


async def test_change_with_flows_is_activated_by_the_leader(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    red = await db.apply(None, at(RED, "s1", "s2"), activate=False)
    active = await db.read_active("red")
    assert active is not None and active.revision == 0
    leader = await other.contend("red", "one", lambda: None)
    await other.claim(leader)
    looks: list[int] = []
    await db.read_active("red", lambda: looks.append(1))
    written = await other.activate(leader, red.revision)
    assert (written.revision, written.leader, written.election_id) == (1, "one", leader.czxid)
    assert await db.read_active("red") == written
    await until(lambda: looks == [1], "the watch")
    moved = await db.apply(red, at(RED, "s1", "s3"), activate=False)
    assert (await db.read_active("red")) == written
    left = expected(DEMO.fabric, red.vn).keys() - expected(DEMO.fabric, moved.vn).keys()
    assert left, "the example is to leave a switch"
    both = expected(DEMO.fabric, red.vn).keys() | expected(DEMO.fabric, moved.vn).keys()
    assert (await index(db)).keys() == both, "entries stay at the switch that is left"
    await other.activate(leader, 1)
    assert (await index(db)).keys() == both
    assert (await other.activate(leader, 2)).revision == 2
    assert await index(db) == expected(DEMO.fabric, moved.vn)
    assert (await other.activate(leader, 1)).revision == 2, "never back"
    with pytest.raises(Conflict, match="does not lead"):
        await db.activate(await db.contend("red", "two", lambda: None), 2)


async def test_change_without_flows_is_activated_at_once_unless_one_with_flows_waits(
    db: GlobalDatabase,
) -> None:
    async def active() -> int:
        found = await db.read_active("red")
        assert found is not None
        return found.revision

    best = RED.best_effort_slice.name
    red = await db.apply(None, RED, activate=True)
    assert await active() == 1
    red = await db.apply(red, with_flowspace(red.vn, "a", best), activate=False)
    assert await active() == 2
    red = await db.apply(red, with_flowspace(red.vn, "b"), activate=False)
    red = await db.apply(red, with_flowspace(red.vn, "c", best), activate=False)
    assert (red.revision, await active()) == (4, 2)
    await db.apply(red, with_flowspace(red.vn, "d", best), activate=True)
    assert await active() == 5


async def test_claim_names_the_epoch(db: GlobalDatabase, zookeeper: str) -> None:
    await db.apply(None, RED)
    leader = await db.contend("red", "one", lambda: None)
    assert (await db.claim(leader)).epoch == 0
    zk = await ZooKeeper(zookeeper).start()
    await zk.create(layout.EPOCH, b"7")
    assert await db.read_epoch() == 7
    assert (await db.claim(leader)).epoch == 7
    await zk.close()


async def test_two_sessions_that_make_the_index_at_once_agree(zookeeper: str) -> None:
    async with await GlobalDatabase.connect(zookeeper) as db:
        await db.apply_fabric(await db.read_fabric(), DEMO.fabric, DEMO.tenants)
        await asyncio.gather(*(db.apply(None, vn) for vn in DEMO.vns.values()))
        wanted = await index(db)
        zk = await ZooKeeper(zookeeper).start()
        for vn in DEMO.vns:
            for switch in wanted:
                if vn in wanted[switch]:
                    await zk.delete(layout.presence(switch, vn))
            await zk.delete(layout.vn_present(vn))
        await zk.set(layout.PRESENT, b"")
        await zk.close()

        async def connect() -> None:
            async with await GlobalDatabase.connect(zookeeper):
                pass

        await asyncio.gather(*(connect() for _ in range(4)))
        assert await index(db) == wanted
