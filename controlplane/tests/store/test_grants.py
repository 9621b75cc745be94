"""Grants and GRE keys in a real ZooKeeper: who may have which, and who gets to know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.agent.book import Book
from dfvisor.agent.follower import Follower
from dfvisor.agent.planner import Planner
from dfvisor.errors import Conflict, StoreError
from dfvisor.model.description import check, load_network, read
from dfvisor.model.grants import Grant, Span
from dfvisor.model.records import Network, Slice, VirtualNetwork
from dfvisor.model.validate import outside_grant
from dfvisor.store import grants as grants_module
from dfvisor.store import layout
from dfvisor.store.database import FabricSnapshot, GlobalDatabase, VnSnapshot
from dfvisor.store.zk import ZooKeeper

from controlplane.tests.agent.networks import MemoryNumbers
from controlplane.tests.model.test_granted import GRANTED, METERED, OUTSIDE, RATED
from controlplane.tests.model.test_validate import BASE
from controlplane.tests.store.harness import until

pytestmark = pytest.mark.zk

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
RED, BLUE = DEMO.vns["red"], DEMO.vns["blue"]


@pytest.fixture
async def db(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper, page_grace_s=0.0) as found:
        yield found


@pytest.fixture
async def other(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper, page_grace_s=0.0) as found:
        yield found


def network(text: str) -> Network:
    """The network as described, whatever is wrong with it."""
    return check(Network(), read(text))[0]


def with_key(vn: VirtualNetwork, name: str, key: int) -> VirtualNetwork:
    return replace(vn, slices=vn.slices | {name: Slice(name=name, key=key, profile="gold")})


async def grant(db: GlobalDatabase, *grants: Grant) -> None:
    await db.apply_grants(await db.read_network(), {grant.vn: grant for grant in grants})


# -- records outside a grant


async def test_vn_without_a_grant_of_its_own_has_a_bare_one(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    await db.apply(None, RED)
    found = await other.read_vn("red")
    assert found is not None and found.grant.bare and found.grant.tenant == RED.tenant
    snapshot = await other.read_network()
    assert (snapshot.grants, snapshot.bad) == ({}, {})


async def test_grant_written_is_read_with_the_vn_and_in_the_network(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    ahead = Grant(vn="red", tenant="red", max_slices=9, keys=(Span(70000, 70099),))
    await grant(db, ahead)
    assert (await other.read_network()).grants == {"red": ahead}
    await db.apply(None, RED)
    found = await other.read_vn("red")
    assert found is not None and found.grant == ahead


@pytest.mark.parametrize(
    ("text", "grants"),
    [
        *(
            pytest.param(BASE.replace(p.values[0], p.values[1], 1), GRANTED, id=p.id)
            for p in OUTSIDE
        ),
        pytest.param(METERED.replace("10mbit", "11mbit"), RATED, id="rate"),
        pytest.param(BASE, RATED, id="no rate"),
    ],
)
async def test_record_outside_its_grant_forced_into_the_database_is_refused_by_every_reader(
    db: GlobalDatabase, other: GlobalDatabase, text: str, grants: str
) -> None:
    good = network((METERED if grants is RATED else BASE) + grants)
    fabric = await db.apply_fabric(await db.read_fabric(), good.fabric, good.tenants)
    await grant(db, good.grants["v"])
    written = await db.apply(None, good.vns["v"])
    planner = Planner("s1", MemoryNumbers(), book := Book())
    planner.set_fabric(fabric.revision, fabric.fabric)
    planner.set_vn("v", written.revision, written.vn, written.grant)
    assert planner.stage({"v"})[0].error is None
    before = book.pending()

    await db.apply(written, network(text).vns["v"])  # nobody asked the checks of the CLI
    found = await other.read_vn("v")
    assert found is not None and found.revision == 2
    planner.set_vn("v", found.revision, found.vn, found.grant)
    (staged,) = planner.stage({"v"})
    assert staged.error is not None and "grant" in staged.error
    assert (staged.revision, book.pending()) == (1, before)  # the last good state stays
    problems = outside_grant(found.vn, found.grant)  # what a VN controller asks
    assert problems and "grant" in str(problems[0])


async def test_vn_whose_grant_shrinks_keeps_its_state_and_shows_the_error(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    written = await db.apply(None, RED)
    planner = Planner("s1", MemoryNumbers(), book := Book())
    planner.set_fabric(1, DEMO.fabric)
    planner.set_vn("red", 1, written.vn, written.grant)
    planner.stage({"red"})
    before = book.pending()
    await grant(db, Grant(vn="red", tenant="red", max_slices=1))
    found = await other.read_vn("red")
    assert found is not None
    planner.set_vn("red", found.revision, found.vn, found.grant)
    (staged,) = planner.stage({"red"})
    assert staged.error is not None and "1 granted" in staged.error
    assert (staged.revision, book.pending()) == (1, before)


async def test_unreadable_or_missing_grant_is_a_bad_record(
    db: GlobalDatabase, zookeeper: str
) -> None:
    await db.apply(None, RED)
    await db.apply(None, BLUE)
    zk = await ZooKeeper(zookeeper).start()
    try:
        await zk.set(layout.grant("red"), b'{"schema":1,"tenant":"red","max_slices":-1}')
        await zk.delete(layout.grant("blue"))
    finally:
        await zk.close()
    async with await GlobalDatabase.connect(zookeeper) as fresh:
        found = await fresh.read_network()
        assert "max_slices" in found.bad["red"]
        assert "not granted" in found.bad["blue"]
        assert not found.vns
        await fresh.delete_unreadable_vn("red")


async def test_grants_of_a_vn_stay_when_it_is_deleted_unless_bare(db: GlobalDatabase) -> None:
    await grant(db, Grant(vn="red", tenant="red", max_slices=9))
    await db.delete_vn(await db.apply(None, RED))
    await db.delete_vn(await db.apply(None, BLUE))
    assert list((await db.read_network()).grants) == ["red"]
    await db.apply_grants(await db.read_network(), {"red": None})
    assert (await db.read_network()).grants == {}


async def test_grant_taken_away_leaves_the_vn_a_bare_one(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    await grant(db, Grant(vn="red", tenant="red", max_slices=9))
    await db.apply(None, RED)
    await db.apply_grants(await db.read_network(), {"red": None})
    found = await other.read_vn("red")
    assert found is not None and found.grant.bare


async def test_vn_given_to_another_tenant_is_no_bad_record(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, RED)
    assert (await other.read_vn("red")) is not None
    await db.apply(base, replace(RED, tenant="blue"))
    found = await other.read_vn("red")
    assert found is not None and found.grant.tenant == found.vn.tenant == "blue"


# -- who gets to know


class Told:
    """A sink that counts."""

    def __init__(self) -> None:
        self.read: list[tuple[str, Grant]] = []

    def fabric_read(self, snapshot: FabricSnapshot) -> None: ...

    def vn_read(self, name: str, snapshot: VnSnapshot | None) -> None:
        if snapshot is not None:
            self.read.append((name, snapshot.grant))

    def vn_unreadable(self, name: str, reason: str) -> None: ...

    def active_read(self, name: str, active: object) -> None: ...

    def down_read(self, down: object) -> None: ...

    def caught_up(self) -> None: ...


async def test_agent_reads_the_networks_whose_grants_changed_and_no_others(
    db: GlobalDatabase, zookeeper: str
) -> None:
    await db.apply_fabric(await db.read_fabric(), DEMO.fabric, DEMO.tenants)
    await db.apply(None, RED)
    await db.apply(None, BLUE)
    told = Told()
    running = asyncio.create_task(Follower(zookeeper, "s1", told).run())
    try:
        await until(lambda: {name for name, _ in told.read} == {"red", "blue"}, "read at the start")
        await until(lambda: not running.done(), "running")
        count = len(told.read)
        new = Grant(vn="red", tenant="red", max_slices=9)
        await grant(db, new)
        await until(lambda: ("red", new) in told.read, "the new grant")
        assert all(name == "red" for name, _ in told.read[count:])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_changes_no_longer_listed_make_all_grants_suspect(
    db: GlobalDatabase, other: GlobalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants_module, "REMEMBERED_GRANTS", 2)
    await db.apply(None, RED)
    await db.apply(None, BLUE)
    await other.read_network()
    await other.changed_grants()
    await other.read_network()
    for number in range(4):
        await grant(db, Grant(vn=f"x{number}", tenant="red"))
    assert await other.changed_grants() == {"red", "blue"}
    await other.read_network()
    await grant(db, Grant(vn="blue", tenant="blue", max_slices=9))
    assert await other.changed_grants() == {"blue"}
    assert await other.changed_grants() == frozenset()


# -- keys


async def test_two_networks_with_one_key_at_the_same_time_cannot_both_be_written(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    for attempt in range(5):
        key = 90000 + attempt
        one, two = with_key(RED, "new", key), with_key(BLUE, "new", key)
        results = await asyncio.gather(
            db.apply(None, one), other.apply(None, two), return_exceptions=True
        )
        refused = [str(result) for result in results if isinstance(result, Conflict)]
        assert len(refused) == 1 and f"GRE key {key} is that of a slice of" in refused[0], results
        for result in results:
            if isinstance(result, VnSnapshot):
                await db.delete_vn(result)


async def test_key_is_free_again_when_its_slice_or_its_network_is_gone(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    red = await db.apply(None, with_key(RED, "new", 90000))
    blue = await other.apply(None, BLUE)
    with pytest.raises(Conflict, match="GRE key 90000 is that of a slice of virtual network red"):
        await other.apply(blue, with_key(BLUE, "new", 90000))
    red = await db.apply(red, RED)
    blue = await other.apply(blue, with_key(BLUE, "new", 90000))
    await other.delete_vn(blue)
    await db.apply(red, with_key(RED, "new", 90000))


async def test_key_left_over_from_a_network_that_is_gone_is_taken(
    db: GlobalDatabase, zookeeper: str
) -> None:
    await db.apply(None, RED)
    await db.delete_unreadable_vn("red")  # nobody knows which keys it had
    mine = with_key(BLUE, "new", RED.best_effort_slice.key)
    await db.apply(None, mine)
    with pytest.raises(Conflict, match="that of a slice of virtual network blue"):
        await db.apply(None, RED)


async def test_key_of_a_database_without_keys_is_taken_with_the_next_change(
    db: GlobalDatabase, zookeeper: str
) -> None:
    base = await db.apply(None, RED)
    zk = await ZooKeeper(zookeeper).start()
    try:
        for name in await zk.children(layout.KEYS):
            await zk.delete(layout.key(int(name)))
        await db.apply(base, with_key(RED, "new", 90000))
        assert "90000" in await zk.children(layout.KEYS)
        assert str(RED.best_effort_slice.key) in await zk.children(layout.KEYS)
    finally:
        await zk.close()


async def test_granted_keys_are_nobody_elses(db: GlobalDatabase) -> None:
    await grant(db, Grant(vn="red", tenant="red", keys=(Span(70000, 70099),)))
    with pytest.raises(Conflict, match="70050 is granted to virtual network red"):
        await db.apply(None, with_key(BLUE, "new", 70050))
    with pytest.raises(Conflict, match="granted to red"):
        await grant(db, Grant(vn="blue", tenant="blue", keys=(Span(70099, 70100),)))
    await db.apply(None, BLUE)
    with pytest.raises(Conflict, match="is that of virtual network blue"):
        await grant(db, Grant(vn="green", tenant="green", keys=(Span(80000, 80099),)))


async def test_grant_of_a_key_and_its_taking_at_the_same_time_cannot_both_succeed(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base: VnSnapshot = await db.apply(None, BLUE)
    for attempt in range(5):
        key = 90000 + attempt
        wish = Grant(vn=f"x{attempt}", tenant="red", keys=(Span(key, key),))
        snapshot = await other.read_network()
        results = await asyncio.gather(
            db.apply(base, with_key(BLUE, "new", key)),
            other.apply_grants(snapshot, {wish.vn: wish}),
            return_exceptions=True,
        )
        assert sum(isinstance(result, Conflict) for result in results) == 1, results
        found = await db.read_vn("blue")
        assert found is not None
        base = found


async def test_keys_change_between_granted_and_taken_with_the_grant(
    db: GlobalDatabase, zookeeper: str
) -> None:
    await db.apply(None, RED)
    zk = await ZooKeeper(zookeeper).start()
    try:
        assert await zk.children(layout.KEYS) == ["70000", "70001", "70002"]
        await grant(db, Grant(vn="red", tenant="red", keys=(Span(70000, 70099),)))
        assert await zk.children(layout.KEYS) == []
        found = await db.read_vn("red")
        assert found is not None
        await db.apply(found, with_key(RED, "new", 70003))
        assert await zk.children(layout.KEYS) == []
        await db.apply_grants(await db.read_network(), {"red": None})
        assert await zk.children(layout.KEYS) == ["70000", "70001", "70002", "70003"]
    finally:
        await zk.close()


async def test_grant_that_frees_keys_of_a_network_changed_meanwhile_is_a_conflict(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    await grant(db, Grant(vn="red", tenant="red", keys=(Span(70000, 70099),)))
    base = await db.apply(None, RED)
    snapshot = await other.read_network()
    await db.apply(base, with_key(RED, "new", 70003))
    with pytest.raises(Conflict, match="keep changing"):
        await other.apply_grants(snapshot, {"red": None})


async def test_unchanged_grants_write_nothing(db: GlobalDatabase, other: GlobalDatabase) -> None:
    same = Grant(vn="red", tenant="red", keys=(Span(1, 2),))
    await grant(db, same)
    await other.changed_grants()
    await grant(db, same)
    assert await other.changed_grants() == frozenset()


async def test_many_grants_are_written_in_several_transactions(
    db: GlobalDatabase, other: GlobalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants_module, "GRANTS_AT_ONCE", 10)
    many = [Grant(vn=f"v{n}", tenant="t", keys=(Span(n * 10 + 1, n * 10 + 9),)) for n in range(35)]
    await grant(db, *many)
    assert (await other.read_network()).grants == {
        g.vn: g for g in sorted(many, key=lambda g: g.vn)
    }


async def test_refused_grants_leave_nothing(db: GlobalDatabase) -> None:
    wishes = [
        Grant(vn="a", tenant="t", keys=(Span(1, 5),)),
        Grant(vn="b", tenant="t", keys=(Span(5, 9),)),
    ]
    with pytest.raises(StoreError, match="5-9 overlaps 1-5"):
        await grant(db, *wishes)
    assert (await db.read_network()).grants == {}
