"""Changes that travel in the revision node, and the history, on a real ZooKeeper."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.description import load_network
from dfvisor.model.records import Flowspace, Match, UnknownUnicast, VirtualNetwork
from dfvisor.model.types import PortRange
from dfvisor.store import layout
from dfvisor.store.codec import Revision, decode, encode
from dfvisor.store.database import GlobalDatabase, VnSnapshot
from dfvisor.store.vns import MAX_INLINE_BYTES
from dfvisor.store.zk import ZooKeeper

pytestmark = pytest.mark.zk

RED = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml").vns["red"]


@pytest.fixture
async def db(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper, page_grace_s=0.0, user="ann") as found:
        yield found


@pytest.fixture
async def other(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper, page_grace_s=0.0, user="bob") as found:
        yield found


def flowspace(name: str, number: int = 1) -> Flowspace:
    match = Match(
        ip_proto=6,
        ipv4_src=IPv4Network((10 << 24) + number * 256).supernet(8)
        if number % 2
        else IPv4Network("10.0.0.0/8"),
        l4_dst=PortRange(number % 65536, number % 65536),
    )
    return Flowspace(name=name, priority=1 + number % 60_000, match=match, slice="gold")


def with_flowspaces(vn: VirtualNetwork, *added: Flowspace) -> VirtualNetwork:
    return replace(vn, flowspaces=vn.flowspaces | {f.name: f for f in added})


def without(vn: VirtualNetwork, name: str) -> VirtualNetwork:
    return replace(vn, flowspaces={n: f for n, f in vn.flowspaces.items() if n != name})


async def read(db: GlobalDatabase) -> VnSnapshot:
    found = await db.read_vn("red")
    assert found is not None
    return found


async def test_small_change_travels_in_the_revision_node_and_no_page_is_read(
    db: GlobalDatabase, other: GlobalDatabase, zookeeper: str
) -> None:
    base = await db.apply(None, with_flowspaces(RED, *(flowspace(f"f{n}", n) for n in range(3000))))
    await read(other)
    before = other._vns.pages_read
    changed = await db.apply(base, with_flowspaces(base.vn, flowspace("f7", 9)))
    changed = await db.apply(changed, without(changed.vn, "f8"))
    changed = await db.apply(changed, replace(changed.vn, unknown_unicast=UnknownUnicast.FLOOD))
    found = await read(other)
    assert (found.revision, found.vn) == (4, changed.vn)
    assert other._vns.pages_read == before
    assert found.since == 1
    assert found.touched == {("flowspaces", "f7"), ("flowspaces", "f8")}
    assert found.manifest.manifest == base.manifest.manifest, "no page was written"
    zk = await ZooKeeper(zookeeper).start()
    data, _ = await zk.get(layout.revision("red"))
    await zk.close()
    assert len(data) < MAX_INLINE_BYTES
    async with await GlobalDatabase.connect(zookeeper) as cold:
        assert (await read(cold)).vn == changed.vn


async def test_follower_reads_no_page_over_hundreds_of_small_changes(
    db: GlobalDatabase, other: GlobalDatabase, zookeeper: str
) -> None:
    snapshot = await db.apply(None, with_flowspaces(RED, *(flowspace(f"f{n}") for n in range(300))))
    await read(other)
    before = other._vns.pages_read
    bases = set()
    for number in range(200):
        name = f"f{number % 350}"
        wanted = (
            without(snapshot.vn, name)
            if number % 5 == 4
            else with_flowspaces(snapshot.vn, flowspace(name, number))
        )
        snapshot = await db.apply(snapshot, wanted)
        bases.add(snapshot.manifest.paged)
        found = await read(other)
        assert (found.revision, found.vn) == (snapshot.revision, wanted)
    assert len(bases) > 3, "the pages were made anew meanwhile"
    assert other._vns.pages_read == before
    async with await GlobalDatabase.connect(zookeeper) as cold:
        assert (await read(cold)).vn == snapshot.vn


async def test_reader_that_was_away_for_long_reads_pages(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    snapshot = await db.apply(None, RED)
    await read(other)
    for number in range(40):
        snapshot = await db.apply(snapshot, with_flowspaces(snapshot.vn, flowspace("x", number)))
    found = await read(other)
    assert found == snapshot
    assert found.touched is None


async def test_two_writers_in_turn_fold_and_lose_nothing(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, RED)
    for number in range(60):
        writer = (db, other)[number % 2]
        await writer.apply(base, with_flowspaces(base.vn, flowspace(f"x{number}", number)))
    found = await read(db)
    assert found == await read(other)
    assert {f"x{number}" for number in range(60)} < found.vn.flowspaces.keys()
    assert found.revision == 61


async def test_revision_of_an_older_version_with_its_pages_alone_is_read_and_changed(
    db: GlobalDatabase, other: GlobalDatabase, zookeeper: str
) -> None:
    snapshot = await db.apply(None, RED)
    record = snapshot.manifest
    old = {
        "revision": 1,
        "origin": record.origin,
        "changes": record.changes,
        "tenant": record.tenant,
        "unknown_unicast": record.unknown_unicast,
        "pages": record.pages,
        "schema": 1,
    }
    zk = await ZooKeeper(zookeeper).start()
    await zk.set(layout.revision("red"), encode(old))
    await zk.delete(layout.history_of("red", 1))
    await zk.delete(layout.history("red"))
    await zk.close()
    found = await read(other)
    assert found.vn == RED
    await other.apply(found, with_flowspaces(RED, flowspace("x")))
    assert (await read(db)).vn == with_flowspaces(RED, flowspace("x"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda record: {**record, "schema": 2}, "schema is 2, newer than 1"),
        (lambda record: {**record, "deltas": record["deltas"][1:]}, "are missing"),
        (
            lambda record: {
                **record,
                "deltas": [record["deltas"][0], {"revision": 3, "put": {"ghosts": {"a": {}}}}],
            },
            "there are no 'ghosts'",
        ),
        (
            lambda record: {
                **record,
                "deltas": [record["deltas"][0], {"revision": 3, "drop": {"ghosts": ["a"]}}],
            },
            "there are no 'ghosts'",
        ),
        (
            lambda record: {
                **record,
                "deltas": [
                    record["deltas"][0],
                    {"revision": 3, "put": {"flowspaces": {"a": {"priority": 0}}}},
                ],
            },
            "flowspaces.a.priority: 0 is out of range",
        ),
    ],
    ids=["newer-schema", "gap", "unknown-kind", "unknown-kind-dropped", "bad-record"],
)
async def test_revision_that_cannot_be_read_says_why(
    db: GlobalDatabase, other: GlobalDatabase, zookeeper: str, spoil: object, message: str
) -> None:
    snapshot = await db.apply(None, RED)
    for number in range(2):
        snapshot = await db.apply(snapshot, with_flowspaces(snapshot.vn, flowspace("x", number)))
    zk = await ZooKeeper(zookeeper).start()
    data, _ = await zk.get(layout.revision("red"))
    assert callable(spoil)
    await zk.set(layout.revision("red"), encode(spoil(decode(data, dict, "red"))))
    with pytest.raises(StoreError, match=message):
        await other.read_vn("red")
    await zk.set(layout.revision("red"), data)
    await zk.close()
    assert (await read(other)).vn == snapshot.vn


# -- history


async def test_history_says_who_when_and_why(db: GlobalDatabase, other: GlobalDatabase) -> None:
    first = await db.apply(None, RED, why="the beginning")
    second = await other.apply(first, with_flowspaces(RED, flowspace("x")), why="for x")
    third = await db.apply(second, without(without(second.vn, "x"), "gold-tcp"))
    entries = await other.read_history("red")
    records = sum(len(getattr(RED, k)) for k in ("profiles", "slices", "endpoints", "flowspaces"))
    assert [(e.revision, e.user, e.why, e.put, e.dropped) for e in entries] == [
        (1, "ann", "the beginning", records, 0),
        (2, "bob", "for x", 1, 0),
        (3, "ann", "", 0, 2),
    ]
    assert [(e.zxid, e.time) for e in entries][1:] == [(s.zxid, s.time) for s in (second, third)]
    assert await db.read_history("blue") == ()


async def test_every_kept_revision_can_be_made_again_and_the_history_is_bounded(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    db._vns.history._kept = 20
    states: dict[int, VirtualNetwork] = {}
    snapshot = await db.apply(None, RED)
    states[1] = snapshot.vn
    for number in range(150):
        wanted = with_flowspaces(snapshot.vn, flowspace(f"x{number % 30}", number))
        if number % 37 == 5:  # too large to be inline
            wanted = with_flowspaces(wanted, *(flowspace(f"big{n}", number) for n in range(80)))
        if number % 23 == 7:
            wanted = replace(wanted, learning=not wanted.learning, flood_pps=number)
        snapshot = await db.apply(snapshot, wanted)
        states[snapshot.revision] = snapshot.vn
    kept = [entry.revision for entry in await other.read_history("red")]
    assert kept == list(range(kept[0], 152)), "no gap"
    assert 20 <= len(kept) <= 20 + 16 + 60
    for revision in range(132, 152):
        assert await other.read_revision("red", revision) == states[revision], revision
    with pytest.raises(StoreError, match="revision 1 is not kept"):
        await other.read_revision("red", 1)


async def test_change_is_made_although_somebody_else_trims_the_history_meanwhile(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    db._vns.history._kept = 4
    snapshot = await db.apply(None, RED)
    children, seen = db._zk.children, 0

    async def late(path: str, *rest: object) -> object:
        nonlocal seen
        nodes = await children(path, *rest)  # type: ignore[arg-type]
        if path == layout.history("red") and len(nodes) > 8:
            seen += 1
            await other._zk.delete(f"{path}/{min(nodes)}")
        return nodes

    db._zk.children = late  # type: ignore[assignment,method-assign]
    for number in range(64):
        snapshot = await db.apply(snapshot, with_flowspaces(snapshot.vn, flowspace("x", number)))
        assert snapshot.revision == number + 2
    assert seen, "no trimming met the other's"


async def test_deletion_ends_the_history_and_a_new_vn_begins_its_own(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    first = await db.apply(None, RED)
    await other.delete_vn(first, why="not needed")
    (entry,) = await db.read_history("red")
    assert (entry.deleted, entry.revision, entry.user, entry.why) == (True, 1, "bob", "not needed")
    await db.apply(None, RED, why="needed after all")
    entries = await db.read_history("red")
    assert [(e.revision, e.deleted) for e in entries] == [(1, True), (2, False)]


async def test_lost_change_is_found_although_many_followed(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, RED)
    original = db._zk.multi

    async def lose(operations: object) -> object:
        await original(operations)  # type: ignore[arg-type]
        snapshot = await read(other)
        for number in range(20):  # more than the revision remembers
            snapshot = await other.apply(
                snapshot, with_flowspaces(snapshot.vn, flowspace("theirs", number))
            )
        db._zk.multi = original  # type: ignore[method-assign]
        raise StoreUnavailable("the answer was lost")

    db._zk.multi = lose  # type: ignore[assignment,method-assign]
    found = await db.apply(base, with_flowspaces(RED, flowspace("mine")))
    assert found.revision == 22
    assert {"mine", "theirs"} < found.vn.flowspaces.keys()


async def test_lost_creation_of_a_vn_that_was_deleted_meanwhile_is_not_made_again(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    original = db._zk.multi

    async def lose(operations: object) -> object:
        await original(operations)  # type: ignore[arg-type]
        db._zk.multi = original  # type: ignore[method-assign]
        await other.delete_vn(await read(other))
        raise StoreUnavailable("the answer was lost")

    db._zk.multi = lose  # type: ignore[assignment,method-assign]
    with pytest.raises(Conflict, match="deleted by somebody else"):
        await db.apply(None, RED)
    assert await db.read_vn("red") is None


def test_old_records_have_no_deltas() -> None:
    record = Revision(revision=7, origin="", changes=(), tenant="t", unknown_unicast="drop")
    assert record.paged == 7
