"""Records of learned hosts in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from dfvisor.model.learned import Claim
from dfvisor.model.types import Mac
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.learned import LearnedRecord, claims

from controlplane.tests.store.harness import until

pytestmark = pytest.mark.zk

FIRST = LearnedRecord(hosts={"02:00:00:00:00:01": (11, 5.0)})
SECOND = LearnedRecord(hosts={"02:00:00:00:00:02": (12, 6.0)})


@pytest.fixture
async def db(zookeeper: str) -> AsyncIterator[GlobalDatabase]:
    async with await GlobalDatabase.connect(zookeeper) as opened:
        yield opened


async def test_records_of_switches_are_read_and_one_watch_tells_of_all(db: GlobalDatabase) -> None:
    looks: list[int] = []
    assert await db.read_learned("red", lambda: looks.append(1)) == {}
    await db.publish_learned("red", "s1", FIRST)
    await until(lambda: len(looks) == 1, "the watch")
    assert await db.read_learned("red", lambda: looks.append(2)) == {"s1": FIRST}
    await db.publish_learned("red", "s2", SECOND)
    await until(lambda: len(looks) == 2, "the watch again")
    assert await db.read_learned("red") == {"s1": FIRST, "s2": SECOND}
    assert await db.read_learned("blue") == {}


async def test_record_replaced_is_read_anew_and_an_empty_one_goes(db: GlobalDatabase) -> None:
    await db.publish_learned("red", "s1", FIRST)
    await db.read_learned("red")
    await db.publish_learned("red", "s1", SECOND)
    assert await db.read_learned("red") == {"s1": SECOND}
    await db.publish_learned("red", "s1", LearnedRecord())
    assert await db.read_learned("red") == {}
    await db.publish_learned("red", "s1", FIRST)
    assert await db.read_learned("red") == {"s1": FIRST}


def test_claims_leave_out_what_is_no_address() -> None:
    record = LearnedRecord(hosts={"nonsense": (1, 1.0), **FIRST.hosts})
    assert claims(record) == {Mac(0x02_0000_0000_01): Claim(11, 5.0)}
