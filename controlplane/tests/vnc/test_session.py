"""One VN on one switch: what a session writes, and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress

import grpc
import pytest
from dfvisor.p4rt.entries import EntryKey, TableEntry, entry_key
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.slicer.server import SlicerServer
from dfvisor.vnc.batches import Batch
from dfvisor.vnc.session import UPDATES_PER_WRITE, Session, Target
from dfvisor.vnc.stages import Stage

from controlplane.tests.slicer.fakes import (
    DEVICE,
    P4INFO,
    RED_GOLD,
    RED_SILVER,
    FakeDirectory,
    FakeSwitch,
    flow,
    forward,
)

SCHEMA = Schema.load(P4INFO.read_text())


async def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - conditions here have no event
            await asyncio.sleep(0.01)


class Bench:
    """A session at a slicer over a fake switch; `leading` is what the session is told."""

    def __init__(self) -> None:
        self.switch = FakeSwitch(SCHEMA)
        self.directory = FakeDirectory()
        self.slicer = SlicerServer(self.directory, self.switch, SCHEMA, DEVICE)
        self.address: str | None = None
        self.leading = True
        self.session = self.make(5)
        self._tasks: list[asyncio.Task[None]] = []

    def make(self, election_id: int) -> Session:
        return Session(
            vn="red",
            switch="s1",
            device_id=DEVICE,
            election_id=(0, election_id),
            address=lambda: self.address,
            may_write=lambda: self.leading,
            turns=asyncio.Semaphore(4),
        )

    async def start(self) -> None:
        self.address = await self.slicer.start("127.0.0.1:0")
        self.run(self.session)

    def run(self, session: Session) -> None:
        self._tasks.append(asyncio.create_task(session.run()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.slicer.stop()

    def holds(self, *entries: TableEntry) -> bool:
        return set(self.switch.entries.values()) == set(entries)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.stop()


class Fixed:
    """What is wanted: these entries."""

    def __init__(self, *entries: TableEntry) -> None:
        self._entries = {entry_key(entry): entry for entry in entries}

    def wanted(self, keys: Iterable[EntryKey]) -> Iterator[tuple[EntryKey, TableEntry | None]]:
        for key in keys:
            yield key, self._entries.get(key)

    def holds(self, batch: Batch) -> bool:
        return all(key in self._entries for key in batch)

    def entries(self) -> list[TableEntry]:
        return list(self._entries.values())

    def gre_keys(self) -> frozenset[int]:
        return frozenset(entry.key[0][1].value for entry in self._entries.values())


def target(revision: int, *entries: TableEntry, stage: Stage = Stage.FINISH) -> Target:
    return Target(revision, stage, Fixed(*entries))


async def test_session_writes_completes_and_follows(bench: Bench) -> None:
    bench.session.aim(target(1, flow(RED_GOLD.key, 80), forward(RED_GOLD.key, 1)))
    await bench.start()
    await eventually(lambda: bench.directory.completed == [("red", 1)])
    assert bench.holds(flow(RED_GOLD.slice_id, 80), forward(RED_GOLD.slice_id, 101))
    bench.session.aim(
        target(2, flow(RED_GOLD.key, 81), forward(RED_GOLD.key, 2), flow(RED_GOLD.key, 80))
    )
    await eventually(lambda: bench.session.progress.revision == 2)
    assert bench.holds(
        flow(RED_GOLD.slice_id, 80), flow(RED_GOLD.slice_id, 81), forward(RED_GOLD.slice_id, 102)
    )
    bench.session.aim(target(3, forward(RED_GOLD.key, 2)))
    await eventually(lambda: bench.session.progress.revision == 3)
    assert bench.holds(forward(RED_GOLD.slice_id, 102))
    assert bench.directory.completed == [("red", 1), ("red", 2), ("red", 3)]
    assert bench.switch.batches == [2, 2, 2]  # of the second, one is kept


async def test_session_that_does_not_lead_writes_nothing_until_it_does(bench: Bench) -> None:
    bench.leading = False
    bench.session.aim(target(1, flow(RED_GOLD.key)))
    await bench.start()
    reader = bench.make(4)  # a lower id: it proves that the first is connected, and primary
    bench.run(reader)
    await eventually(lambda: "not primary" in reader.progress.error)
    bench.session.wake()
    await asyncio.sleep(0.2)  # it has been woken; more time would change nothing
    assert not bench.switch.entries and not bench.directory.completed
    bench.leading = True
    bench.session.wake()
    await eventually(lambda: bench.holds(flow(RED_GOLD.slice_id)))


async def test_session_that_stops_leading_does_not_finish_its_batch(bench: Bench) -> None:
    def stop_leading() -> None:
        bench.leading = False

    bench.switch.before_write = stop_leading
    entries = [flow(RED_GOLD.key, port) for port in range(1, 3 * UPDATES_PER_WRITE)]
    bench.session.aim(target(1, *entries))
    await bench.start()
    await eventually(lambda: "not leading" in bench.session.progress.error)
    assert len(bench.switch.entries) == UPDATES_PER_WRITE
    assert not bench.directory.completed
    bench.switch.before_write = lambda: None
    bench.leading = True
    bench.session.wake()
    await eventually(lambda: bench.directory.completed == [("red", 1)])
    assert len(bench.switch.entries) == len(entries)


async def test_session_superseded_by_a_newer_leader_writes_no_more(bench: Bench) -> None:
    bench.session.aim(target(1, flow(RED_GOLD.key, 80)))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    newer = bench.make(6)
    newer.aim(target(2, flow(RED_GOLD.key, 81)))
    bench.run(newer)
    await eventually(lambda: newer.progress.revision == 2)
    bench.session.aim(target(3, flow(RED_GOLD.key, 82)))
    await eventually(lambda: "not primary" in bench.session.progress.error)
    assert bench.holds(flow(RED_GOLD.slice_id, 81))
    assert bench.directory.completed == [("red", 1), ("red", 2)]


async def test_entry_that_is_refused_does_not_keep_the_others_out_and_is_tried_again(
    bench: Bench,
) -> None:
    bad = entry_key(flow(RED_GOLD.slice_id, 80))
    code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    bench.switch.refuse = lambda entry: UpdateStatus(
        code if entry_key(entry) == bad else 0, "table full"
    )
    bench.session.aim(target(1, flow(RED_GOLD.key, 80), flow(RED_SILVER.key, 80)))
    await bench.start()
    await eventually(lambda: "1 of 2 updates refused" in bench.session.progress.error)
    assert bench.holds(flow(RED_SILVER.slice_id, 80))
    assert not bench.directory.completed
    bench.switch.refuse = lambda entry: UpdateStatus()
    await eventually(lambda: bench.directory.completed == [("red", 1)])
    await eventually(lambda: bench.session.progress.error == "")


async def test_session_follows_its_agent_to_another_address(bench: Bench) -> None:
    bench.session.aim(target(1, flow(RED_GOLD.key)))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    bench.address = None
    await bench.slicer.stop()
    await eventually(lambda: "away" in bench.session.progress.error)
    bench.slicer = SlicerServer(bench.directory, bench.switch, SCHEMA, DEVICE)
    bench.address = await bench.slicer.start("127.0.0.1:0")
    bench.session.aim(target(2, flow(RED_GOLD.key)))
    await eventually(lambda: bench.directory.completed == [("red", 1), ("red", 2)])
    assert bench.switch.batches == [1]


async def test_switch_that_is_away_is_tried_again(bench: Bench) -> None:
    await bench.start()
    bench.switch.away = True
    bench.session.aim(target(1, flow(RED_GOLD.key)))
    await eventually(lambda: "the switch is away" in bench.session.progress.error)
    bench.switch.away = False
    await eventually(lambda: bench.directory.completed == [("red", 1)])


async def test_entries_of_a_slice_that_is_no_longer_here_are_left_to_the_agent(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.session.aim(target(1, flow(RED_GOLD.key), flow(RED_SILVER.key)))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    del bench.directory.slices["red"]["gold"]
    bench.session.aim(target(2, flow(RED_SILVER.key)))
    await eventually(lambda: bench.session.progress.revision == 2)
    assert not [one for one in caplog.records if one.levelname == "WARNING"]
    assert bench.switch.batches == [2]


async def test_stages_put_forwarding_before_flows_and_removals_last(bench: Bench) -> None:
    old = [flow(RED_GOLD.key, 80), forward(RED_GOLD.key, 1)]
    bench.session.aim(target(1, *old))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    new = [flow(RED_GOLD.key, 81), forward(RED_GOLD.key, 2, mac=7)]
    held = [flow(RED_GOLD.slice_id, 80), forward(RED_GOLD.slice_id, 101)]
    came = [flow(RED_GOLD.slice_id, 81), forward(RED_GOLD.slice_id, 102, mac=7)]
    keys = [[entry_key(entry) for entry in (*old, *new)]]
    for stage, there in (
        (Stage.FORWARD, [*held, came[1]]),
        (Stage.FLOW, [*held, *came]),
        (Stage.FINISH, came),
    ):
        aimed = target(2, *new, stage=stage)
        bench.session.aim(aimed, keys)
        keys = []
        await eventually(lambda aimed=aimed: bench.session.reached(aimed))  # type: ignore[misc]
        assert bench.holds(*there)
    assert bench.directory.completed == [("red", 1), ("red", 2)]


async def test_nothing_is_removed_before_the_agent_has_activated_the_revision(
    bench: Bench,
) -> None:
    bench.session.aim(target(1, flow(RED_GOLD.key, 80)))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    bench.directory.active["red"] = 1
    bench.session.aim(target(2, flow(RED_GOLD.key, 81)))
    await asyncio.sleep(0.2)  # more time would change nothing
    assert bench.holds(flow(RED_GOLD.slice_id, 80))
    bench.directory.active["red"] = 2
    bench.directory.changed.set()
    await eventually(lambda: bench.directory.completed == [("red", 1), ("red", 2)])
    assert bench.holds(flow(RED_GOLD.slice_id, 81))


async def test_session_that_waits_for_an_agent_follows_another_target_at_once(
    bench: Bench,
) -> None:
    bench.session.aim(target(1, flow(RED_GOLD.key, 80)))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    bench.directory.active["red"] = 1
    bench.session.aim(target(2, flow(RED_GOLD.key, 81)))
    await asyncio.sleep(0.05)
    aimed = target(3, flow(RED_GOLD.key, 82), stage=Stage.FLOW)
    bench.session.aim(aimed)
    await eventually(lambda: bench.session.reached(aimed), 0.4)
    assert bench.holds(flow(RED_GOLD.slice_id, 80), flow(RED_GOLD.slice_id, 82))
    assert bench.session.progress.error == ""


async def test_only_the_entries_that_are_said_to_have_changed_are_looked_at(bench: Bench) -> None:
    bench.session.aim(target(1, flow(RED_GOLD.key, 80)))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    aimed = target(1, flow(RED_GOLD.key, 81), flow(RED_GOLD.key, 82))
    bench.session.aim(aimed, [[entry_key(flow(RED_GOLD.key, 82))]])
    await eventually(lambda: bench.session.reached(aimed))
    assert bench.holds(flow(RED_GOLD.slice_id, 80), flow(RED_GOLD.slice_id, 82))


def batch_of(*entries: TableEntry) -> Batch:
    return Batch(RED_GOLD.key, [([entry_key(entry) for entry in entries], entries)])


async def test_batch_is_written_whole_and_what_is_refused_of_it_is_tried_again(
    bench: Bench,
) -> None:
    first = flow(RED_GOLD.key, 80)
    bench.session.aim(target(1, first))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    new = [flow(RED_GOLD.key, port) for port in range(1000, 1000 + 2 * UPDATES_PER_WRITE)]
    there = [flow(RED_GOLD.slice_id, port) for port in (80, *range(1000, 1000 + len(new)))]
    code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    bad = entry_key(there[-1])
    bench.switch.refuse = lambda one: UpdateStatus(code if entry_key(one) == bad else 0, "full")
    bench.session.aim(target(2, first, *new, stage=Stage.FLOW), [batch_of(*new)])
    await eventually(lambda: f"1 of {len(new)} updates refused" in bench.session.progress.error)
    assert bench.holds(*there[:-1])
    bench.switch.refuse = lambda entry: UpdateStatus()
    await eventually(lambda: bench.holds(*there))


async def test_batch_waits_for_its_stage_and_for_a_target_that_the_agent_has_prepared(
    bench: Bench,
) -> None:
    bench.session.aim(target(1, flow(RED_GOLD.key, 80)))
    await bench.start()
    await eventually(lambda: bench.session.progress.revision == 1)
    wanted = [flow(RED_GOLD.key, 80), flow(RED_GOLD.key, 81), flow(RED_GOLD.key, 82)]
    aimed = target(2, *wanted, stage=Stage.FORWARD)
    bench.session.aim(aimed, [batch_of(*wanted[1:])])
    await eventually(lambda: bench.session.reached(aimed))
    assert bench.holds(flow(RED_GOLD.slice_id, 80))
    bench.directory.revisions["red"] = 2
    bench.session.aim(target(3, *wanted, stage=Stage.FLOW), [])  # which no agent has yet
    await asyncio.sleep(0.1)  # more time would change nothing
    assert bench.holds(flow(RED_GOLD.slice_id, 80))
    last = target(2, *wanted, stage=Stage.FLOW)
    bench.session.aim(last, [])
    await eventually(lambda: bench.session.reached(last))
    assert bench.holds(*[flow(RED_GOLD.slice_id, port) for port in (80, 81, 82)])
    assert bench.switch.batches == [1, 2]
