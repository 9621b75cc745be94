"""The global database on a real ZooKeeper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import msgspec
import pytest
from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.description import load, load_network, plan
from dfvisor.model.records import (
    Flowspace,
    Match,
    Treatment,
    UnknownUnicast,
    VirtualNetwork,
)
from dfvisor.model.types import PortRange
from dfvisor.store import layout
from dfvisor.store.database import GlobalDatabase, VnSnapshot
from dfvisor.store.stats import (
    AgentInfo,
    Applied,
    Counter,
    Drop,
    PortCounters,
    SwitchStats,
    VnApplied,
)
from dfvisor.store.zk import ZooKeeper
from emulation.zookeeper import ZooKeeperServer

from controlplane.tests.store.harness import AtOnce, Proxy, expire, until

pytestmark = pytest.mark.zk

EXAMPLES = Path(__file__).parents[3] / "examples"
DEMO = load_network(EXAMPLES / "demo.yaml")
FOREIGN = load_network(EXAMPLES / "foreign-peer.yaml")
RED = DEMO.vns["red"]
INFO = AgentInfo(slicer="127.0.0.1:1", target="bmv2", pid=1)


@pytest.fixture
async def db(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await AtOnce.connect(zookeeper, page_grace_s=0.0) as found:
        yield found


@pytest.fixture
async def other(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await AtOnce.connect(zookeeper, page_grace_s=0.0) as found:
        yield found


def flowspace(name: str, port: int = 1, treatment: Treatment = Treatment.PERMIT) -> Flowspace:
    match = Match(ip_proto=6, l4_dst=PortRange(port, port))
    return Flowspace(name=name, priority=1, match=match, slice="gold", treatment=treatment)


def with_flowspaces(vn: VirtualNetwork, *added: Flowspace) -> VirtualNetwork:
    return replace(vn, flowspaces=vn.flowspaces | {f.name: f for f in added})


def large(count: int = 2000) -> VirtualNetwork:
    return with_flowspaces(RED, *(flowspace(f"f{n}", n % 65536) for n in range(count)))


async def raw(zookeeper: str) -> ZooKeeper:
    return await ZooKeeper(zookeeper).start()


# -- the provider's part


async def test_fabric_written_is_read_back(db: GlobalDatabase, other: GlobalDatabase) -> None:
    empty = await db.read_fabric()
    assert (empty.revision, empty.fabric.switches) == (0, {})
    written = await db.apply_fabric(empty, DEMO.fabric, DEMO.tenants)
    found = await other.read_fabric()
    assert (found.revision, found.fabric, found.tenants) == (1, DEMO.fabric, DEMO.tenants)
    assert await db.apply_fabric(written, DEMO.fabric, DEMO.tenants) is written


async def test_peers_are_written_read_and_deleted(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply_fabric(await db.read_fabric(), FOREIGN.fabric, FOREIGN.tenants)
    assert (await other.read_fabric()).fabric == FOREIGN.fabric
    await db.apply_fabric(base, replace(FOREIGN.fabric, peers={}), FOREIGN.tenants)
    assert (await other.read_fabric()).fabric.peers == {}


async def test_tree_of_an_older_version_gets_what_it_lacks(zookeeper: str) -> None:
    async with await AtOnce.connect(zookeeper) as db:
        await db.apply_fabric(await db.read_fabric(), DEMO.fabric, DEMO.tenants)
    zk = await raw(zookeeper)
    await zk.delete(layout.PEERS)
    await zk.close()
    async with await AtOnce.connect(zookeeper) as db:
        assert (await db.read_fabric()).fabric == DEMO.fabric


async def test_tree_that_another_session_is_still_making_is_completed(zookeeper: str) -> None:
    for count in range(len(layout.FIXED)):
        chroot = f"{zookeeper}/half-{count}"
        zk = await ZooKeeper(chroot).start()
        for path in layout.FIXED[:count]:
            await zk.ensure(path)
        async with await AtOnce.connect(chroot) as db:
            assert await db.vn_names() == ()
            assert await db.read_agents() == {}
        missing = [path for path in layout.FIXED if await zk.exists(path) is None]
        await zk.close()
        assert missing == []


async def test_options_of_a_vn_are_written_and_read_back(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    wanted = replace(RED, source_guard=True, learning=True, flood_pps=500)
    written = await db.apply(None, wanted)
    found = await other.read_vn("red")
    assert found is not None and found.vn == wanted
    await db.apply(written, replace(wanted, flood_pps=None))
    found = await other.read_vn("red")
    assert found is not None and found.vn == replace(wanted, flood_pps=None)


async def test_fabric_changed_by_somebody_else_is_a_conflict(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.read_fabric()
    await other.apply_fabric(base, DEMO.fabric, DEMO.tenants)
    with pytest.raises(Conflict):
        await db.apply_fabric(base, DEMO.fabric, {})
    fewer = replace(DEMO.fabric, links=DEMO.fabric.links[1:])
    await db.apply_fabric(await db.read_fabric(), fewer, DEMO.tenants)
    assert (await other.read_fabric()).fabric == fewer


async def test_fabric_watch_says_look_again(db: GlobalDatabase, other: GlobalDatabase) -> None:
    looks: list[int] = []
    await other.watch_fabric(lambda: looks.append(1))
    base = await db.read_fabric()
    for tenants in (DEMO.tenants, {}):
        base = await db.apply_fabric(base, DEMO.fabric, tenants)
        seen = len(looks)
        await until(lambda seen=seen: len(looks) > seen or seen > 0, "the watch")
    await until(lambda: len(looks) == 2, "both changes")


# -- virtual networks


async def test_vn_written_is_read_back_and_active(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    written = await db.apply(None, RED)
    found = await other.read_vn("red")
    assert found is not None
    assert (found.revision, found.vn) == (1, RED)
    assert found == written
    active = await other.read_active("red")
    assert active is not None
    assert active.revision == 1
    assert await other.vn_names() == ("red",)


async def test_vn_that_does_not_exist_reads_as_none(db: GlobalDatabase) -> None:
    assert await db.read_vn("red") is None
    assert await db.read_active("red") is None
    assert await db.vn_names() == ()


async def test_vn_unchanged_keeps_its_revision(db: GlobalDatabase) -> None:
    written = await db.apply(None, RED)
    assert (await db.apply(written, RED)).revision == 1


async def test_new_vn_that_exists_is_a_conflict(db: GlobalDatabase, other: GlobalDatabase) -> None:
    await other.apply(None, RED)
    with pytest.raises(Conflict, match="red exists already"):
        await db.apply(None, RED)


async def test_network_read_is_what_was_written(db: GlobalDatabase, other: GlobalDatabase) -> None:
    await db.apply_fabric(await db.read_fabric(), DEMO.fabric, DEMO.tenants)
    await asyncio.gather(*(db.apply(None, vn) for vn in DEMO.vns.values()))
    found = await other.read_network()
    assert (found.network, found.bad) == (DEMO, {})


async def test_large_change_of_a_large_vn_reads_only_what_changed(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, large(8000))
    assert base.manifest.manifest is not None
    await other.read_vn("red")
    pages = len(db._vns._pages["red"])
    before = other._vns.pages_read
    note = Match(ipv4_dst=IPv4Network("10.0.0.0/8"))
    big = msgspec.structs.replace(flowspace("f7", 9), match=note)
    same_page = [
        key[1]
        for _, records in db._vns._pages["red"].values()
        for key in records
        if ("flowspaces", "f7") in records and key[0] == "flowspaces"
    ]
    changed = [msgspec.structs.replace(big, name=name) for name in same_page]
    await db.apply(base, with_flowspaces(base.vn, *changed))
    found = await other.read_vn("red")
    assert found is not None
    assert found.vn.flowspaces["f7"] == big
    assert pages > 40
    assert other._vns.pages_read - before <= 3, "the manifest, and the page, perhaps split"


async def test_vn_larger_than_one_transaction_is_written(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    vn = large(12_000)
    await db.apply(None, vn)
    found = await other.read_vn("red")
    assert found is not None
    assert found.vn == vn


async def test_unused_pages_are_collected_and_used_ones_stay(
    db: GlobalDatabase, zookeeper: str
) -> None:
    snapshot = await db.apply(None, RED)
    db._vns.history._kept = 2
    for port in range(70):
        snapshot = await db.apply(snapshot, with_flowspaces(snapshot.vn, flowspace("x", port)))
        if port == 60:
            folded = snapshot.manifest.paged
            snapshot = await db.apply(snapshot, large())
    assert snapshot.manifest.paged > folded
    db._vns.history._kept = 1
    await db._vns._collect("red", snapshot)
    zk = await raw(zookeeper)
    used = {node for node, _ in snapshot.manifest.pages.values()}
    used |= {snapshot.manifest.manifest[0]} if snapshot.manifest.manifest else set()
    assert set(await zk.children(layout.pages("red"))) == used
    await zk.close()


async def test_young_unused_pages_are_kept(zookeeper: str) -> None:
    async with await AtOnce.connect(zookeeper, page_grace_s=60.0) as db:
        db._vns.history._kept = 1
        snapshot = await db.apply(None, RED)
        snapshot = await db.apply(snapshot, large(100))
        await db.apply(snapshot, large(90))
        await db._vns._collect("red", snapshot)
        assert len(await db._zk.children(layout.pages("red"))) >= 2


async def test_changes_of_different_records_are_merged(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, RED)
    await other.apply(base, with_flowspaces(RED, flowspace("theirs", 1)))
    mine = replace(with_flowspaces(RED, flowspace("mine", 2)), unknown_unicast=UnknownUnicast.FLOOD)
    merged = await db.apply(base, mine)
    assert merged.revision == 3
    assert {"theirs", "mine"} < merged.vn.flowspaces.keys()
    assert merged.vn.unknown_unicast is UnknownUnicast.FLOOD


async def test_changes_of_the_same_record_conflict_and_name_it(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, RED)
    await other.apply(base, with_flowspaces(RED, flowspace("x", 1)))
    with pytest.raises(Conflict, match=r"vns\.red\.flowspaces\.x"):
        await db.apply(base, with_flowspaces(RED, flowspace("x", 2)))
    found = await db.read_vn("red")
    assert found is not None
    assert found.revision == 2


async def test_same_change_by_two_is_no_conflict(db: GlobalDatabase, other: GlobalDatabase) -> None:
    base = await db.apply(None, RED)
    await other.apply(base, with_flowspaces(RED, flowspace("x", 1)))
    assert (await db.apply(base, with_flowspaces(RED, flowspace("x", 1)))).revision == 2


async def test_merge_that_verification_refuses_is_not_written(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, RED)
    await other.apply(base, with_flowspaces(RED, flowspace("theirs")))

    def verify(_: VirtualNetwork) -> None:
        raise Conflict("no")

    with pytest.raises(Conflict, match="no"):
        await db.apply(base, with_flowspaces(RED, flowspace("mine")), verify=verify)
    found = await db.read_vn("red")
    assert found is not None
    assert "mine" not in found.vn.flowspaces


async def test_many_writers_at_once_lose_nothing(db: GlobalDatabase, zookeeper: str) -> None:
    base = await db.apply(None, RED)

    async def write(number: int) -> None:
        async with await AtOnce.connect(zookeeper) as own:
            await own.apply(base, with_flowspaces(RED, flowspace(f"w{number}", number)))

    await asyncio.gather(*(write(number) for number in range(8)))
    found = await db.read_vn("red")
    assert found is not None
    assert found.revision == 9
    assert {f"w{number}" for number in range(8)} < found.vn.flowspaces.keys()


async def test_revision_numbers_go_on_after_deletion(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    snapshot = await db.apply(None, RED)
    snapshot = await db.apply(snapshot, with_flowspaces(RED, flowspace("x")))
    await db.delete_vn(snapshot)
    assert await other.read_vn("red") is None
    assert await other.vn_names() == ()
    assert (await other.apply(None, RED)).revision == 3


async def test_deletion_of_a_vn_changed_since_is_a_conflict(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, RED)
    await other.apply(base, with_flowspaces(RED, flowspace("x")))
    with pytest.raises(Conflict, match="changed by somebody else"):
        await db.delete_vn(base)
    assert await db.read_vn("red") is not None


async def test_change_of_a_vn_deleted_since_is_a_conflict(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    base = await db.apply(None, RED)
    await other.delete_vn(base)
    with pytest.raises(Conflict, match="deleted by somebody else"):
        await db.apply(base, with_flowspaces(RED, flowspace("x")))
    await other.apply(None, RED)  # the node's version is that of the base again
    with pytest.raises(Conflict):
        await db.delete_vn(base)
    with pytest.raises(Conflict, match="deleted by somebody else"):
        await db.apply(base, with_flowspaces(RED, flowspace("x")))
    assert await db.read_vn("red") == await other.read_vn("red")


async def test_page_that_cannot_be_read_is_a_bad_record_and_other_vns_stay(
    db: GlobalDatabase, other: GlobalDatabase, zookeeper: str
) -> None:
    await db.apply(None, DEMO.vns["blue"])
    snapshot = await db.apply(None, RED)
    ((node, _),) = snapshot.manifest.pages.values()
    zk = await raw(zookeeper)
    await zk.set(layout.page("red", node), b"{}")
    with pytest.raises(StoreError, match="not what the revision says"):
        await other.read_vn("red")
    await zk.delete(layout.page("red", node))
    with pytest.raises(StoreError, match="a page that does not exist"):
        await other.read_vn("red")
    await zk.set(layout.revision("red"), b'{"revision": "x"}')
    with pytest.raises(StoreError, match=r"/vns/red/revision: bad record"):
        await other.read_vn("red")
    network = await other.read_network()
    assert set(network.vns) == {"blue"}
    assert "bad record" in network.bad["red"]
    await other.delete_unreadable_vn("red")
    assert await db.vn_names() == ("blue",)
    again = await other.apply(None, RED)
    assert again.revision > 1
    await zk.close()


async def test_watches_say_look_again(db: GlobalDatabase, other: GlobalDatabase) -> None:
    looks: list[str] = []
    await other.watch_vns(lambda: looks.append("vns"))
    watch = await other.watch_vn("red", lambda: looks.append("red"))
    await other.watch_active("red", lambda: looks.append("active"))
    snapshot = await db.apply(None, RED)
    await until(lambda: set(looks) == {"vns", "red", "active"}, "creation")
    looks.clear()
    snapshot = await db.apply(snapshot, with_flowspaces(RED, flowspace("x")))
    await until(lambda: set(looks) == {"red", "active"}, "change")
    watch.cancel()
    looks.clear()
    await db.delete_vn(snapshot)
    await until(lambda: set(looks) == {"vns", "active"}, "deletion")


# -- leaders


async def test_first_contender_leads_and_the_next_follows_its_release(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    await db.apply(None, RED)
    calls: list[str] = []
    first = await db.contend("red", "one", lambda: calls.append("one"))
    second = await other.contend("red", "two", lambda: calls.append("two"))
    assert (first.is_leader, second.is_leader) == (True, False)
    assert first.czxid < second.czxid
    assert await db.read_owners("red") == ("one", "two")
    await db.claim(first)
    active = await other.read_active("red")
    assert active is not None
    assert (active.leader, active.election_id, active.revision) == ("one", first.czxid, 1)
    with pytest.raises(Conflict, match="does not lead"):
        await other.claim(second)
    await first.release()
    await until(lambda: second.is_leader, "the second leads")
    await other.claim(second)
    with pytest.raises(Conflict):
        await db.claim(first)
    assert "two" in calls


async def test_change_of_the_vn_keeps_its_leader(db: GlobalDatabase, other: GlobalDatabase) -> None:
    snapshot = await db.apply(None, RED)
    leader = await other.contend("red", "one", lambda: None)
    await other.claim(leader)
    await db.apply(snapshot, with_flowspaces(RED, flowspace("x")))
    active = await db.read_active("red")
    assert active is not None
    assert (active.revision, active.leader, active.election_id) == (2, "one", leader.czxid)


async def test_leader_whose_session_expires_loses_and_the_other_leads(
    db: GlobalDatabase, other: GlobalDatabase, zookeeper: str
) -> None:
    await db.apply(None, RED)
    first = await db.contend("red", "one", lambda: None)
    second = await other.contend("red", "two", lambda: None)
    await asyncio.to_thread(expire, zookeeper, db)
    await until(lambda: second.is_leader, "the second leads")
    await until(lambda: first.lost and not first.is_leader, "the first knows")
    await until(lambda: db.connected, "a new session")
    again = await db.contend("red", "one", lambda: None)
    assert not again.is_leader
    assert again.czxid > second.czxid


async def test_nothing_of_the_owners_is_left_when_the_vn_is_gone(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    snapshot = await db.apply(None, RED)
    leader = await other.contend("red", "one", lambda: None)
    await db.delete_vn(snapshot)
    await leader.release()
    assert await db._zk.children(layout.OWNERS) == []


# -- reports


async def test_agent_is_live_until_its_session_ends(db: GlobalDatabase, zookeeper: str) -> None:
    looks: list[int] = []
    await db.watch_agents(lambda: looks.append(1))
    async with await AtOnce.connect(zookeeper) as agent:
        await agent.register_agent("s1", INFO)
        assert await db.read_agents() == {"s1": INFO}
        await until(lambda: bool(looks), "the watch")
    assert await db.read_agents() == {}
    seen = len(looks)
    async with await AtOnce.connect(zookeeper) as agent:
        await agent.register_agent("s1", INFO)
        await until(lambda: len(looks) > seen, "the watch of a switch that is known")


async def test_agent_announces_itself_again_after_its_session_expired(
    db: GlobalDatabase, other: GlobalDatabase, zookeeper: str
) -> None:
    await other.register_agent("s1", INFO)
    session = other.session_id
    await asyncio.to_thread(expire, zookeeper, other)
    await until(lambda: other.connected and other.session_id != session, "a new session")

    async def live() -> bool:
        return "s1" in await db.read_agents()

    await until(live, "the announcement")


async def test_agent_replaces_the_announcement_of_its_earlier_life(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    await other.register_agent("s1", INFO)
    mine = AgentInfo(slicer="127.0.0.1:2", target="bmv2", pid=2)
    await db.register_agent("s1", mine)
    assert await other.read_agents() == {"s1": mine}


async def test_applied_written_is_read_back(db: GlobalDatabase, other: GlobalDatabase) -> None:
    assert await other.read_applied() == {}
    record = Applied(vns={"red": VnApplied(revision=3, flows=2, error="why", at=1.0)}, fabric=1)
    for switch in ("s1", "s2"):
        await db.publish_applied(switch, Applied())
        await db.publish_applied(switch, record)
    assert await other.read_applied() == {"s1": record, "s2": record}


@pytest.mark.parametrize("counts", [(0,), (1, 0), (5000, 1, 3000)])
async def test_stats_written_are_read_back(
    db: GlobalDatabase, other: GlobalDatabase, counts: tuple[int, ...]
) -> None:
    assert await other.read_stats("s1") is None
    for at, count in enumerate(counts):
        stats = SwitchStats(
            switch="s1",
            at=float(at),
            counters=tuple(
                Counter(table="flow", vn="red", kind="flowspace", name=f"f{n}", packets=n, bytes=n)
                for n in range(count)
            ),
            drops=(Drop(vn="red", slice="gold", reason="no_next_hop", packets=1),),
            ports=(PortCounters(port=1, rx_packets=2),),
        )
        await db.publish_stats(stats)
        assert await other.read_stats("s1") == stats


async def test_stats_of_a_new_session_replace_those_of_the_old(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    many = tuple(
        Counter(table="flow", vn="red", kind="flowspace", name=f"f{n}", packets=n, bytes=n)
        for n in range(3000)
    )
    await db.publish_stats(SwitchStats(switch="s1", at=1.0, counters=many))
    await other.publish_stats(SwitchStats(switch="s1", at=2.0))
    await db.publish_stats(SwitchStats(switch="s1", at=3.0, counters=many[:1]))
    found = await other.read_stats("s1")
    assert found is not None
    assert (found.at, len(found.counters)) == (3.0, 1)


# -- lost connections


@pytest.mark.parametrize("undone", [False, True], ids=["alone", "undone-meanwhile"])
async def test_change_whose_answer_was_lost_is_found_and_made_once(
    db: GlobalDatabase, zookeeper_server: ZooKeeperServer, zookeeper: str, undone: bool
) -> None:
    base = await db.apply(None, RED)
    async with Proxy(zookeeper_server.port) as proxy:
        address = f"127.0.0.1:{proxy.port}/{zookeeper.partition('/')[2]}"
        async with await AtOnce.connect(address) as cut:
            original = cut._zk.multi

            async def multi(operations: object) -> None:
                proxy.swallowing = True
                await original(operations)  # type: ignore[arg-type]

            cut._zk.multi = multi  # type: ignore[assignment,method-assign]
            changing = asyncio.ensure_future(cut.apply(base, with_flowspaces(RED, flowspace("x"))))

            async def committed() -> bool:
                found = await db.read_vn("red")
                return found is not None and found.revision == 2

            await until(committed, "the server has made the change")
            assert not changing.done()
            if undone:  # by somebody else, who must not see the change come back
                await db.apply(await db.read_vn("red"), RED)
            cut._zk.multi = original  # type: ignore[method-assign]
            proxy.swallowing = False
            proxy.cut()
            result: VnSnapshot = await changing
    assert proxy.swallowed
    assert result.revision == (3 if undone else 2)
    assert ("x" in result.vn.flowspaces) is not undone


async def test_deletion_whose_answer_was_lost_is_no_error(
    db: GlobalDatabase, zookeeper_server: ZooKeeperServer, zookeeper: str
) -> None:
    base = await db.apply(None, RED)
    async with Proxy(zookeeper_server.port) as proxy:
        address = f"127.0.0.1:{proxy.port}/{zookeeper.partition('/')[2]}"
        async with await AtOnce.connect(address) as cut:
            original = cut._zk.multi

            async def multi(operations: object) -> None:
                proxy.swallowing = True
                await original(operations)  # type: ignore[arg-type]

            cut._zk.multi = multi  # type: ignore[assignment,method-assign]
            deleting = asyncio.ensure_future(cut.delete_vn(base))

            async def gone() -> bool:
                return await db.read_vn("red") is None

            await until(gone, "the server has deleted")
            cut._zk.multi = original  # type: ignore[method-assign]
            proxy.swallowing = False
            proxy.cut()
            await deleting


async def test_change_without_a_server_fails_and_is_not_made_later(
    own_zookeeper: ZooKeeperServer,
) -> None:
    async with await AtOnce.connect(f"{own_zookeeper.address}/dfvisor", timeout_s=1.0) as db:
        base = await db.apply(None, RED)
        states: list[bool] = []
        db.on_session(states.append)
        looks: list[int] = []
        await db.watch_vn("red", lambda: looks.append(1))
        own_zookeeper.stop()
        await until(lambda: not db.connected, "the loss is seen")
        async with asyncio.timeout(3.0):  # refused, not queued until the request's deadline
            with pytest.raises(StoreUnavailable):
                await db.apply(base, with_flowspaces(RED, flowspace("x")))
            with pytest.raises(StoreUnavailable):
                await db.read_vn("red")
        own_zookeeper.start()
        await until(lambda: db.connected, "reconnected")
        found = await db.read_vn("red")
        assert found is not None
        assert found.revision == 1
        await until(lambda: bool(looks), "watches are looked at again")
        looks.clear()
        await db.apply(found, with_flowspaces(RED, flowspace("x")))
        await until(lambda: bool(looks), "the watch is armed again")
        assert states == [False, True]


async def test_connection_lost_while_connecting_is_waited_for(
    zookeeper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ZooKeeper.exists
    calls = 0

    async def exists(zk: ZooKeeper, path: str, watch: object = None) -> object:
        nonlocal calls
        calls += 1
        if calls in (1, 12):
            raise StoreUnavailable(f"{path}: ConnectionLoss")
        return await original(zk, path, watch)  # type: ignore[arg-type]

    monkeypatch.setattr(ZooKeeper, "exists", exists)
    async with await AtOnce.connect(zookeeper) as db:
        assert await db.vn_names() == ()
    assert calls > 12


async def test_connect_without_a_server_fails_in_time() -> None:
    with pytest.raises(StoreUnavailable, match="no ZooKeeper server answers"):
        await AtOnce.connect("127.0.0.1:1/dfvisor", timeout_s=0.3)


async def test_server_that_stops_answering_is_noticed(own_zookeeper: ZooKeeperServer) -> None:
    async with await AtOnce.connect(f"{own_zookeeper.address}/dfvisor") as db:
        own_zookeeper.pause()
        try:
            with pytest.raises(StoreUnavailable):
                await db.read_fabric()
        finally:
            own_zookeeper.resume()
        await until(lambda: db.connected, "reconnected")
        assert (await db.read_fabric()).revision == 0


async def test_added_slice_of_the_examples_is_one_revision(db: GlobalDatabase) -> None:
    base = await db.apply(None, RED)
    wanted = plan(DEMO, load(EXAMPLES / "add-slice.yaml")).vns["red"]
    written = await db.apply(base, wanted)
    assert (written.revision, written.vn) == (2, wanted)
