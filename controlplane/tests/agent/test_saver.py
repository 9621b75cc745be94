"""What the agent saves of flow entries: all of it, and a load of them once it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from dfvisor.agent import saver as saver_module
from dfvisor.agent.pipeline import P4INFO_NAME, default_directory
from dfvisor.agent.saver import Saver
from dfvisor.p4rt.entries import Exact, TableEntry, Ternary
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.store.local import LocalDatabase

SCHEMA = Schema.load((default_directory() / P4INFO_NAME).read_text())
DEADLINE_S = 10.0


def updates(first: int, count: int, *, delete: bool = False) -> list[p4r.Update]:
    entries = [
        TableEntry(
            "flow",
            (("slice_id", Exact(1)), ("l4_dst", Ternary(port, 0xFFFF))),
            7,
            "permit",
            (("cookie", port),),
        )
        for port in range(first, first + count)
    ]
    return [SCHEMA.delete(one) if delete else SCHEMA.insert(one) for one in entries]


def held(path: Path) -> int:
    local = LocalDatabase.open(path)
    try:
        return len(list(local.load_flows()))
    finally:
        local.close()


async def saved(path: Path, batches: Sequence[list[p4r.Update]], wanted: int) -> float:
    """Seconds until the file holds as many entries, all batches being given in turn."""
    one = Saver(path)
    task = asyncio.create_task(one.run())
    began = time.monotonic()
    for batch in batches:
        one.flows(batch)
    while held(path) != wanted:
        assert time.monotonic() - began < DEADLINE_S, held(path)
        await asyncio.sleep(0.05)
    spent = time.monotonic() - began
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    one.flush()
    assert held(path) == wanted
    return spent


async def test_entries_taken_and_deleted_are_saved_in_their_order(tmp_path: Path) -> None:
    batches = [updates(0, 20), updates(5, 5, delete=True), updates(5, 1)]
    await saved(tmp_path / "local.db", batches, 16)


async def test_load_of_entries_is_saved_once_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "BULK", 10)
    monkeypatch.setattr(saver_module, "LULL_S", 1.0)
    spent = await saved(tmp_path / "local.db", [updates(0, 20)], 20)
    assert spent > saver_module.DELAY_S + 0.9


async def test_load_that_is_still_worked_at_is_saved_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "BULK", 10)
    monkeypatch.setattr(saver_module, "LULL_S", 0.02)
    path = tmp_path / "local.db"
    left = [False, True, True, True]  # what is said when asked, from the last
    one = Saver(path, loading=lambda: not held(path) and left.pop())
    one.flows(updates(0, 20))
    task = asyncio.create_task(one.run())
    deadline = time.monotonic() + DEADLINE_S
    while not held(path):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not left


async def test_load_of_entries_that_does_not_end_is_saved_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "BULK", 10)
    monkeypatch.setattr(saver_module, "LULL_S", 0.02)
    monkeypatch.setattr(saver_module, "MOST_S", 0.5)
    path = tmp_path / "local.db"
    one = Saver(path)
    task = asyncio.create_task(one.run())
    began = time.monotonic()
    port = 0
    while not held(path):
        assert time.monotonic() - began < DEADLINE_S
        one.flows(updates(port, 20))
        port += 20
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    one.flush()
    assert held(path) == port
