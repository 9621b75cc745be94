"""Reports of ports that are down, and of what is at the other ends of cables."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from dfvisor.model.types import PortRef
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import PortSeen, Seen

from controlplane.tests.store.harness import until

pytestmark = pytest.mark.zk


@pytest.fixture
async def db(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper) as opened:
        yield opened


@pytest.fixture
async def other(zookeeper: str, db: GlobalDatabase) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper) as opened:
        yield opened


async def test_ports_reported_down_are_read_by_all_and_watched(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    looks: list[int] = []
    await other.watch_down(lambda: looks.append(1))
    assert await other.read_down() == frozenset()
    await db.report_down("s1", {1, 2})
    await until(lambda: len(looks) == 1, "the watch")
    assert await other.read_down() == {PortRef("s1", 1), PortRef("s1", 2)}
    await db.report_down("s1", {2, 3})
    await until(lambda: len(looks) == 2, "the watch again")
    assert await other.read_down() == {PortRef("s1", 2), PortRef("s1", 3)}


async def test_ports_of_others_stay_and_reports_outlive_the_session(
    zookeeper: str, db: GlobalDatabase
) -> None:
    async with await GlobalDatabase.connect(zookeeper) as agent:
        await agent.report_down("s1", {1})
    await db.report_down("s2", {1})
    await db.report_down("s2", ())
    assert await db.read_down() == {PortRef("s1", 1)}


async def test_report_that_changes_nothing_wakes_nobody(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    looks: list[int] = []
    await db.report_down("s1", {1})
    await other.watch_down(lambda: looks.append(1))
    await db.report_down("s1", {1})
    await db.report_down("s1", {1, 2})
    await until(lambda: bool(looks), "the watch")
    assert len(looks) == 1


async def test_what_is_seen_at_ports_is_read_back(
    db: GlobalDatabase, other: GlobalDatabase
) -> None:
    first = Seen(ports={1: PortSeen(up=True, since=1.0, neighbours=("s2:1",))}, at=2.0)
    second = Seen(ports={1: PortSeen(up=False, since=3.0, failures=1)}, at=4.0)
    await db.publish_seen("s1", first)
    assert await other.read_seen() == {"s1": first}
    await db.publish_seen("s1", second)
    assert await other.read_seen() == {"s1": second}
