"""A copy of the database, restored into a fresh one and into one that has gone on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from dfvisor.errors import DescriptionError, StoreError
from dfvisor.model.description import load_network
from dfvisor.model.grants import Grant, Span
from dfvisor.model.records import Fabric, Network, VirtualNetwork
from dfvisor.store.database import GlobalDatabase, NetworkSnapshot
from dfvisor.store.export import REVISION_GAP, parse, restore, take

from controlplane.tests.store.harness import until

pytestmark = pytest.mark.zk

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
RED, BLUE, GREEN = (DEMO.vns[name] for name in ("red", "blue", "green"))
GRANT = Grant(vn="red", tenant="red", keys=(Span(70000, 70099),), max_slices=9)


@pytest.fixture
async def db(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper, page_grace_s=0.0) as found:
        yield found


@pytest.fixture
async def fresh(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(f"{zookeeper}-fresh") as found:
        yield found


async def fill(db: GlobalDatabase) -> NetworkSnapshot:
    await db.apply_fabric(await db.read_fabric(), DEMO.fabric, DEMO.tenants)
    await db.apply_grants(await db.read_network(), {"red": GRANT})
    for vn in DEMO.vns.values():
        base = await db.apply(None, vn)
        for learning in (True, False):
            base = await db.apply(base, replace(vn, learning=learning))
    return await db.read_network()


def with_key(vn: VirtualNetwork, name: str, key: int) -> VirtualNetwork:
    return replace(vn, slices=vn.slices | {name: replace(vn.slices[name], key=key)})


async def test_copy_restored_into_a_fresh_database_says_the_same(
    db: GlobalDatabase, fresh: GlobalDatabase
) -> None:
    filled = await fill(db)
    data, bad = await take(db)
    assert not bad
    done = await restore(fresh, parse(data, "x"), replace=False)
    found = await fresh.read_network()
    assert (
        found.network
        == filled.network
        == Network(fabric=DEMO.fabric, tenants=DEMO.tenants, grants={"red": GRANT}, vns=DEMO.vns)
    )
    assert found.grants == {"red": GRANT}
    for name, vn in filled.vns.items():
        assert found.vns[name].revision == done.written[name] == vn.revision + REVISION_GAP
    assert (await db.read_epoch(), await fresh.read_epoch(), done.epoch) == (0, 1, 1)
    assert await fresh.read_present("s3") == await db.read_present("s3")
    after = await fresh.apply(found.vns["red"], replace(RED, learning=True))
    assert after.revision == done.written["red"] + 1


async def test_copy_restored_into_a_database_that_has_gone_on_replaces_it(
    db: GlobalDatabase, zookeeper: str
) -> None:
    filled = await fill(db)
    data, _ = await take(db)
    base = filled.vns["red"]
    for learning in (True, False, True):
        base = await db.apply(base, replace(RED, learning=learning))
    await db.delete_vn(filled.vns["blue"])
    await db.apply(None, replace(BLUE, name="new", tenant="blue"))  # with blue's keys
    await db.apply_grants(
        await db.read_network(), {"red": None, "more": Grant(vn="more", tenant="red")}
    )
    fabric = await db.read_fabric()
    await db.apply_fabric(fabric, fabric.fabric, {**fabric.tenants})
    copy = parse(data, "x")
    with pytest.raises(StoreError, match="not empty"):
        await restore(db, copy, replace=False)
    async with await GlobalDatabase.connect(zookeeper) as reader:
        held = await reader.read_vn("red")
        assert held is not None and held.revision == base.revision
        told: list[int] = []
        await reader.watch_vn("red", lambda: told.append(1))
        ownership = await reader.contend("red", "vnc-1", lambda: None)
        await reader.claim(ownership)

        done = await restore(db, copy, replace=True)
        assert done.deleted == ("new",)
        await until(lambda: bool(told), "readers are told")
        read = await reader.read_vn("red")
        assert read is not None and read.vn == RED
        assert read.revision == base.revision + REVISION_GAP  # above what agents may have applied
        active = await reader.read_active("red")
        assert active is not None and active.leader == "vnc-1"
        await reader.claim(ownership)
        again = await reader.read_active("red")
        assert again is not None and again.epoch == done.epoch == 1
    found = await db.read_network()
    assert found.network == filled.network
    assert [entry.why for entry in await db.read_history("red")][-1] == "import"
    second = await restore(db, copy, replace=True)
    assert second.epoch == 2
    assert (await db.read_network()).network == filled.network


async def test_keys_that_two_networks_have_exchanged_are_exchanged_back(
    db: GlobalDatabase,
) -> None:
    await db.apply_fabric(await db.read_fabric(), DEMO.fabric, DEMO.tenants)
    red, blue = RED.best_effort_slice, BLUE.best_effort_slice
    for vn in (RED, BLUE):
        await db.apply(None, vn)
    data, _ = await take(db)
    snapshot = await db.read_network()
    parked = await db.apply(snapshot.vns["red"], with_key(RED, red.name, 99))
    await db.apply(snapshot.vns["blue"], with_key(BLUE, blue.name, red.key))
    await db.apply(parked, with_key(RED, red.name, blue.key))
    await restore(db, parse(data, "x"), replace=True)
    assert (await db.read_network()).vns["red"].vn == RED
    assert (await db.read_network()).vns["blue"].vn == BLUE


async def test_copy_of_a_database_with_an_unreadable_network_has_the_others(
    db: GlobalDatabase, zookeeper: str, fresh: GlobalDatabase
) -> None:
    await fill(db)
    await db._zk.set("/vns/red/revision", b"junk")
    async with await GlobalDatabase.connect(zookeeper) as reader:
        data, bad = await take(reader)
        assert list(bad) == ["red"]
        await restore(fresh, parse(data, "x"), replace=False)
        assert set((await fresh.read_network()).vns) == {"blue", "green"}
        await restore(reader, parse(data, "x"), replace=True)
        assert set((await reader.read_network()).vns) == {"blue", "green"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dfvisor_export": 2}, StoreError, "format 2, not 1"),
        ({"more": 1}, StoreError, "not an export of DFVisor"),
        ({"network": {"switches": 1}}, DescriptionError, "switches"),
        ({"network": {"vns": {"a": {"tenant": "x"}}}}, DescriptionError, "no tenant 'x'"),
    ],
)
async def test_file_that_is_no_copy_is_refused(
    db: GlobalDatabase, change: dict[str, object], error: type[Exception], message: str
) -> None:
    await db.apply_fabric(await db.read_fabric(), Fabric(), DEMO.tenants)
    data, _ = await take(db)
    plain = msgspec.json.decode(data)
    parse(msgspec.json.encode(plain), "x")
    with pytest.raises(error, match=message):
        parse(msgspec.json.encode({**plain, **change}), "x")
