"""Entries straight into an engine of this process, and the pipeline alone: no sockets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from dfvisor.p4rt.entries import Exact, FieldMatch, Item, Lpm, TableEntry, Ternary
from softswitch.engine import Engine, KeyPart

ROUNDS = 100


def built(program: Path, cache_dir: Path) -> Engine:
    """An engine for a compiled program."""
    return Engine.build(program.read_bytes(), cache_dir=cache_dir)


def load(engine: Engine, items: Sequence[Item]) -> None:
    """Insert table entries; the short names of the P4Info are those of the program."""
    for item in items:
        assert isinstance(item, TableEntry)
        insert(engine, item)


def insert(engine: Engine, item: TableEntry) -> int | None:
    """Insert an entry, or set a default entry, which has no handle."""
    args = [value for _, value in item.args]
    if item.is_default:
        engine.set_default(item.table, item.action, args)
        return None
    if item.members:
        return _insert_members(engine, item)
    return engine.insert(item.table, _key(engine, item), item.priority, item.action, args)


def _insert_members(engine: Engine, item: TableEntry) -> int:
    profile = engine.program.tables[item.table].profile
    assert profile is not None
    members = [
        engine.member_add(profile, member.action, [value for _, value in member.args])
        for member in item.members
    ]
    group = engine.group_add(profile)
    engine.group_set(profile, group, members)
    return engine.insert_indirect(item.table, _key(engine, item), item.priority, group=group)


def _key(engine: Engine, item: TableEntry) -> list[KeyPart]:
    given = dict(item.key)
    names = (key.name.rpartition(".")[2] for key in engine.program.tables[item.table].keys)
    return [_part(given.get(name)) for name in names]


def _part(match: FieldMatch | None) -> KeyPart:
    match match:
        case Exact(value):
            return KeyPart(value)
        case Ternary(value, mask):
            return KeyPart(value, mask=mask)
        case Lpm(value, prefix_len):
            return KeyPart(value, prefix_len=prefix_len)
    return KeyPart()


def pps(engine: Engine, frames: Sequence[bytes]) -> float:
    """Packets per second and core through the pipeline, of which all must come out."""
    engine.replay(1, frames, 1)
    start = time.thread_time()
    out = engine.replay(1, frames, ROUNDS)
    used = time.thread_time() - start
    if out != ROUNDS * len(frames):
        raise RuntimeError(f"{ROUNDS * len(frames) - out} packets did not come out")
    return out / used
