"""Writers in each other's way, on a real ZooKeeper: what one has listed, another deletes.

Some meet by chance, many at once with as little kept as can be; others are made to meet.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.description import load_network
from dfvisor.model.grants import Grant, Span
from dfvisor.model.records import Flowspace, Match, Slice, VirtualNetwork
from dfvisor.model.types import PortRange
from dfvisor.store import layout, vns
from dfvisor.store.codec import encode
from dfvisor.store.database import GlobalDatabase, VnSnapshot
from dfvisor.store.learned import LearnedRecord
from dfvisor.store.revisions import nodes_of

pytestmark = pytest.mark.zk

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
RED, BLUE = DEMO.vns["red"], DEMO.vns["blue"]
WRITERS = 4
ROUNDS = 20


@pytest.fixture
async def sessions(zookeeper: str) -> AsyncIterator[list[GlobalDatabase]]:
    """Four that keep next to nothing."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(WRITERS):
            connecting = GlobalDatabase.connect(zookeeper, page_grace_s=0.0, user=f"w{number}")
            database = await stack.enter_async_context(await connecting)
            database._vns.history._kept = 3
            found.append(database)
        yield found


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change tidies up."""
    monkeypatch.setattr(vns, "COLLECT_EVERY", 1)
    monkeypatch.setattr(vns, "FOLD_BYTES", 400)


def flowspace(name: str, number: int = 1) -> Flowspace:
    source = IPv4Network(((10 << 24) + (number % 256 << 8), 24))
    match = Match(ip_proto=6, ipv4_src=source, l4_dst=PortRange(number % 65536, number % 65536))
    return Flowspace(name=name, priority=1 + number % 60_000, match=match, slice="gold")


def with_flowspaces(vn: VirtualNetwork, *added: Flowspace) -> VirtualNetwork:
    return replace(vn, flowspaces=vn.flowspaces | {f.name: f for f in added})


def meanwhile(
    database: GlobalDatabase, when: Callable[[object], bool], what: Callable[[], Awaitable[object]]
) -> list[int]:
    """Once, just before the first transaction for which `when` holds is sent, do `what`; the list
    then says so.
    """
    original, done = database._zk.multi, []

    async def multi(operations: object) -> object:
        if not done and when(operations):
            done.append(1)
            await what()
        return await original(operations)  # type: ignore[arg-type]

    database._zk.multi = multi  # type: ignore[assignment,method-assign]
    return done


async def newest(database: GlobalDatabase, name: str = "red") -> VnSnapshot:
    found = await database.read_vn(name)
    assert found is not None
    return found


# -- by chance


@pytest.mark.usefixtures("collecting")
async def test_writers_that_keep_next_to_nothing_lose_nothing_and_see_no_error(
    sessions: list[GlobalDatabase],
) -> None:
    base = await sessions[0].apply(None, RED)
    written: dict[str, Flowspace] = {}
    made = [0] * WRITERS

    async def write(number: int) -> None:
        database, rng = sessions[number], random.Random(number)
        for turn in range(ROUNDS):
            many = 60 if rng.random() < 0.2 else 1  # 60 are too many to be inline
            own = [
                flowspace(f"w{number}-{rng.randrange(80)}", rng.randrange(60_000))
                for _ in range(many)
            ]
            snapshot = await newest(database)
            after = await database.apply(snapshot, with_flowspaces(snapshot.vn, *own))
            written.update({one.name: one for one in own})
            made[number] += 1
            for entry in await database.read_history("red"):
                try:
                    await database.read_revision("red", entry.revision)
                except StoreError as error:
                    assert "is not kept in its history" in str(error)
            assert after.revision > turn

    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    found = await newest(sessions[0])
    assert found.revision == base.revision + sum(made)
    assert found.vn.flowspaces == RED.flowspaces | written
    last = await sessions[0].apply(found, with_flowspaces(found.vn, flowspace("last")))
    numbers = [entry.revision for entry in await sessions[0].read_history("red")]
    assert numbers == list(range(numbers[0], last.revision + 1))
    for revision in numbers[-3:]:
        vn = await sessions[1].read_revision("red", revision)
        assert revision < last.revision or vn == last.vn
    used = set(nodes_of(last.manifest))
    for number in numbers:
        used |= nodes_of((await sessions[0]._vns.history.record("red", number)).record)
    listed = set(await sessions[0]._zk.children(layout.pages("red")))
    assert used <= listed
    assert not {node for node in nodes_of(found.manifest) if node not in listed}


@pytest.mark.usefixtures("collecting")
async def test_networks_that_come_and_go_with_the_same_keys_leave_nothing(
    sessions: list[GlobalDatabase],
) -> None:
    base = await sessions[0].read_fabric()
    await sessions[0].apply_fabric(base, DEMO.fabric, DEMO.tenants)
    outcomes = {"made": 0, "refused": 0}

    async def work(number: int) -> None:
        database, rng = sessions[number], random.Random(number)
        for _ in range(ROUNDS):
            vn = rng.choice((RED, replace(RED, name="other")))  # the same keys
            try:
                snapshot = await database.read_vn(vn.name)
                if snapshot is None:
                    snapshot = await database.apply(None, vn)
                many = [flowspace(f"w{number}-{n}", rng.randrange(60_000)) for n in range(50)]
                await database.apply(snapshot, with_flowspaces(snapshot.vn, *many))
                outcomes["made"] += 1
                await database.delete_vn(await newest(database, vn.name))
            except (Conflict, AssertionError) as error:
                outcomes["refused"] += 1
                if isinstance(error, AssertionError):
                    continue  # it was gone
                known = ("exists already", "by somebody else", "that of a slice of", "keeps chang")
                assert any(one in str(error) for one in known), error
                assert "keeps chang" not in str(error), error

    await asyncio.gather(*(work(number) for number in range(WRITERS)))
    assert min(outcomes.values()) > 0, outcomes
    for name in ("red", "other"):
        left = await sessions[0].read_vn(name)
        if left is not None:
            await sessions[0].delete_vn(left)
    zk = sessions[0]._zk
    assert await zk.children(layout.VNS) == []
    assert await zk.children(layout.KEYS) == []
    assert await zk.children(layout.GRANTS) == []
    for switch in DEMO.fabric.switches:
        assert await sessions[0].read_present(switch) == ()


# -- made to meet


async def test_change_by_another_before_a_new_network_is_known_is_not_overwritten(
    sessions: list[GlobalDatabase],
) -> None:
    one, two = sessions[:2]
    exists, seen = one._zk.exists, []

    async def late(path: str, *rest: object) -> object:
        if path == layout.revision("red") and not seen:
            seen.append(1)
            theirs = await newest(two)
            await two.apply(theirs, with_flowspaces(theirs.vn, flowspace("theirs")))
        return await exists(path, *rest)  # type: ignore[arg-type]

    one._zk.exists = late  # type: ignore[assignment,method-assign]
    made = await one.apply(None, RED)
    assert seen and made.revision == 1
    after = await one.apply(made, with_flowspaces(made.vn, flowspace("mine")))
    assert {"mine", "theirs"} < after.vn.flowspaces.keys()
    assert after.revision == 3


async def test_deletion_met_by_a_page_that_is_collected_or_staged_is_made(
    sessions: list[GlobalDatabase],
) -> None:
    one, two = sessions[:2]
    for what in ("collected", "staged", "trimmed"):
        first = await one.apply(None, RED)
        snapshot = await one.apply(first, with_flowspaces(RED, flowspace("x")))
        unused = layout.page("red", "0.unused")
        await one._zk.create(unused)
        paths = {"collected": unused, "trimmed": layout.history_of("red", first.revision)}

        async def interfere(what: str = what, paths: dict[str, str] = paths) -> None:
            if what == "staged":
                await two._zk.create(layout.page("red", "99.staged"), b"{}")
            else:
                await two._zk.delete(paths[what])

        met = meanwhile(one, lambda _: True, interfere)
        await one.delete_vn(snapshot)
        assert met
        assert await two.read_vn("red") is None
        assert await two.vn_names() == ()


async def test_deletion_whose_answer_and_network_were_lost_to_another_change_is_a_conflict(
    sessions: list[GlobalDatabase],
) -> None:
    one, two = sessions[:2]
    snapshot = await one.apply(None, RED)
    original = one._zk.multi

    async def lose(operations: object) -> object:
        one._zk.multi = original  # type: ignore[method-assign]
        theirs = await newest(two)
        await two.apply(theirs, with_flowspaces(theirs.vn, flowspace("theirs")))
        raise StoreUnavailable("it never came to the server")

    one._zk.multi = lose  # type: ignore[assignment,method-assign]
    with pytest.raises(Conflict, match="was changed by somebody else"):
        await one.delete_vn(snapshot)
    assert "theirs" in (await newest(two)).vn.flowspaces


async def test_lost_deletion_of_a_network_made_anew_leaves_the_new_one(
    sessions: list[GlobalDatabase],
) -> None:
    one, two = sessions[:2]
    snapshot = await one.apply(None, RED)
    original = one._zk.multi

    async def lose(operations: object) -> object:
        one._zk.multi = original  # type: ignore[method-assign]
        await original(operations)  # type: ignore[arg-type]
        await two.apply(None, with_flowspaces(RED, flowspace("anew")))
        raise StoreUnavailable("the answer was lost")

    one._zk.multi = lose  # type: ignore[assignment,method-assign]
    await one.delete_vn(snapshot)
    assert "anew" in (await newest(two)).vn.flowspaces


async def test_change_is_made_although_tidying_up_fails(
    sessions: list[GlobalDatabase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vns, "COLLECT_EVERY", 1)
    one = sessions[0]
    snapshot = await one.apply(None, RED)
    await one._zk.set(layout.history_of("red", 1), b"nonsense")
    after = await one.apply(snapshot, with_flowspaces(RED, flowspace("x")))
    assert after.revision == 2
    assert "x" in (await newest(one)).vn.flowspaces


async def test_lost_change_that_the_history_no_longer_tells_of_is_not_made_again(
    sessions: list[GlobalDatabase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vns, "COLLECT_EVERY", 1)
    one, two = sessions[:2]
    base = await one.apply(None, RED)
    original = one._zk.multi

    async def lose(operations: object) -> object:
        one._zk.multi = original  # type: ignore[method-assign]
        await original(operations)  # type: ignore[arg-type]
        theirs = await two.apply(await newest(two), RED)  # they undo it
        for number in range(40):  # more than is kept and remembered
            many = [flowspace(f"theirs{n}", number * 100 + n) for n in range(60)]
            theirs = await two.apply(theirs, with_flowspaces(theirs.vn, *many))
        raise StoreUnavailable("the answer was lost")

    one._zk.multi = lose  # type: ignore[assignment,method-assign]
    with pytest.raises(Conflict, match="too many changes have followed"):
        await one.apply(base, with_flowspaces(RED, flowspace("mine")))
    assert "mine" not in (await newest(two)).vn.flowspaces


def with_key(vn: VirtualNetwork, key: int) -> VirtualNetwork:
    return replace(vn, slices=vn.slices | {"new": Slice(name="new", key=key, profile="gold")})


async def test_key_left_over_is_not_taken_from_who_took_it_meanwhile(
    sessions: list[GlobalDatabase],
) -> None:
    one, two = sessions[:2]
    key = layout.key(90000)
    await one._zk.create(key, b"gone")

    async def take() -> None:
        await two._zk.delete(key)
        await two.apply(None, with_key(BLUE, 90000))

    met = meanwhile(one, lambda operations: key in str(operations), take)
    with pytest.raises(Conflict, match="that of a slice of virtual network blue"):
        await one.apply(None, with_key(RED, 90000))
    assert met


async def test_grant_taken_away_frees_keys_although_one_is_left_over(
    sessions: list[GlobalDatabase],
) -> None:
    one = sessions[0]
    await one.apply(None, RED)
    limits = Grant(vn="red", tenant=RED.tenant, keys=(Span(1, 200_000),))
    await one.apply_grants(await one.read_network(), {"red": limits})
    left = min(slice_.key for slice_ in RED.slices.values())
    await one._zk.create(layout.key(left), b"gone")
    await one.apply_grants(await one.read_network(), {"red": None})
    assert (await one._zk.get(layout.key(left)))[0] == b"red"


async def test_learned_hosts_that_others_report_too_are_an_error(
    sessions: list[GlobalDatabase],
) -> None:
    one = sessions[0]
    record = LearnedRecord(hosts={"02:00:00:00:00:01": (1, 1.0)})
    await one.publish_learned("red", "s1", record)
    original, calls = one._zk.multi, [0]

    async def other(operations: object) -> object:
        nodes = await one._zk.children(f"{layout.LEARNED}/red")
        for node in nodes:
            await one._zk.delete(f"{layout.LEARNED}/red/{node}")
        calls.append(1)
        await one._zk.create(f"{layout.LEARNED}/red/s1.{len(calls)}", encode(record))
        return await original(operations)  # type: ignore[arg-type]

    one._zk.multi = other  # type: ignore[assignment,method-assign]
    with pytest.raises(StoreError, match="somebody else reports"):
        await one.publish_learned("red", "s1", record)
