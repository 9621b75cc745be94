"""Packets that BMv2 really sent, for a program with every supported construct (`record.py`)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from softswitch import ir
from softswitch.engine import Engine, KeyPart
from softswitch.tests.record import PROGRAM, VECTORS


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(VECTORS.read_text())
    return loaded


def test_engine_sends_what_bmv2_sent(engine_cache: Path, vectors: dict[str, Any]) -> None:
    engine = Engine.build(PROGRAM.read_bytes(), cache_dir=engine_cache)
    acl = []
    for table, key, priority, action, args in vectors["entries"]:
        parts = [
            KeyPart(value, prefix_len=mask)
            if field.match is ir.Match.LPM
            else KeyPart(value & mask if field.match is ir.Match.TERNARY else value, mask)
            for (value, mask), field in zip(key, engine.program.tables[table].keys, strict=True)
        ]
        handle = engine.insert(table, parts, priority, action, args)
        if table == "FeatureIngress.acl":
            acl.append(handle)
    for group, replicas in vectors["groups"].items():
        engine.multicast_set(int(group), [(port, rid) for port, rid in replicas])
    got: dict[str, Counter[str]] = {port: Counter() for port in vectors["out"]}
    cause: dict[str, str] = {}
    for port, frame in vectors["packets"]:
        for egress, data in engine.process(port, bytes.fromhex(frame)):
            got[str(egress)][data.hex()] += 1
            cause[data.hex()] = f"{frame} at port {port}"
    for port, frames in vectors["out"].items():
        assert len(frames) > 50 or port == "0", "the scenario reaches every port"
        surplus, missing = got[port] - Counter(frames), Counter(frames) - got[port]
        reason = [f"{frame} of {cause[frame]}" for frame in surplus]
        assert not surplus and not missing, (
            f"port {port}: {reason[:3]}, missing {list(missing)[:3]}"
        )
    assert [list(c) for c in engine.counter_read("FeatureIngress.by_mark", 0, 16)] == (
        vectors["by_mark"]
    )
    assert [list(engine.direct_counter("FeatureIngress.acl", h)) for h in acl] == (
        vectors["acl_counter"]
    )
    engine.close()


def test_vectors_reach_every_error_and_counter(vectors: dict[str, Any]) -> None:
    reports = [frame[:8] for frames in vectors["out"].values() for frame in frames]
    assert set(reports) == {f"{code:08x}" for code in range(5)}
    assert all(packets for packets, _ in vectors["acl_counter"])
