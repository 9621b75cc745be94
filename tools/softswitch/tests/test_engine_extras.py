"""Packets that BMv2 really sent, for selectors, meters, clones and the rest of `extras.p4`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from softswitch.engine import Digest, Engine, KeyPart, MeterConfig
from softswitch.tests import record_extras as scenario
from softswitch.tests.record import DATA

PROGRAM = DATA / "extras.json"


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DATA / "extras.bmv2.json").read_text())
    return loaded


def programmed(cache: Path) -> Engine:
    """An engine with what BMv2's tables held."""
    engine = Engine.build(PROGRAM.read_bytes(), cache_dir=cache)
    for action, args in scenario.MEMBERS:
        engine.member_add(scenario.PROFILE, f"ExtraIngress.{action}", args)
    for number, members in enumerate(scenario.GROUPS):
        assert engine.group_add(scenario.PROFILE) == number
        # BMv2 keeps a group's members by ascending number
        engine.group_set(scenario.PROFILE, number, sorted(members))
    for value, length, member, group in scenario.SPREAD:
        key = [KeyPart(value, prefix_len=length)]
        engine.insert_indirect(scenario.TABLE, key, 0, member=member, group=group)
    for kept, instance, session in scenario.COPIES:
        key = [KeyPart(kept), KeyPart(instance)]
        engine.insert("ExtraEgress.copies", key, 0, "ExtraEgress.copy", [session])
    for session, replicas in scenario.SESSIONS.items():
        engine.clone_session_set(session, replicas)
    for meter, cell, cburst, pburst in scenario.BURSTS:
        engine.meter_set(meter, cell, MeterConfig(0, cburst, 0, pburst))
    return engine


def test_engine_sends_what_bmv2_sent(engine_cache: Path, vectors: dict[str, Any]) -> None:
    engine = programmed(engine_cache)
    got: dict[str, Counter[str]] = {port: Counter() for port in vectors["out"]}
    cause: dict[str, str] = {}
    for frame in vectors["packets"]:
        for egress, data in engine.process(0, bytes.fromhex(frame)):
            got[str(egress)][data.hex()] += 1
            cause[data.hex()] = frame
    for port, frames in vectors["out"].items():
        surplus, missing = got[port] - Counter(frames), Counter(frames) - got[port]
        reason = [f"{frame} of {cause[frame]}" for frame in surplus]
        assert not surplus and not missing, (
            f"port {port}: {reason[:3]}, missing {list(missing)[:3]}"
        )
    engine.close()


def test_vectors_reach_every_case(vectors: dict[str, Any]) -> None:
    frames = [bytes.fromhex(f) for frames in vectors["out"].values() for f in frames]
    assert all(len(vectors["out"][str(port)]) > 30 for port in range(1, 9))
    # report_t: instance, hops, kept, lost, flags, ...; a copy starts with what it is a copy of
    assert {(f[0], f[1]) for f in frames} == {(0, 0), (0, 1), (2, 2)}
    assert {f[4] >> 6 for f in frames} == {0, 1, 2}
    assert {f[4] >> 4 & 3 for f in frames} == {0, 1, 2}
    assert {(f[4] >> 3 & 1, f[4] >> 2 & 1) for f in frames} == {(0, 0), (0, 1), (1, 0)}


def test_digest_reports_the_fields_after_ingress(
    engine_cache: Path, vectors: dict[str, Any]
) -> None:
    engine = programmed(engine_cache)
    wanted = []
    for frame in map(bytes.fromhex, vectors["packets"]):
        engine.process(0, frame)
        if len(frame) >= 14 and frame[5] & 16:
            source = int.from_bytes(frame[6:12], "big")
            wanted.append(Digest("learned_t", (source, 0, frame[5] & 7)))
    assert len(wanted) > 100
    assert engine.take_events(7) == wanted[:7]
    assert engine.take_events(10_000) == wanted[7:]
    assert engine.take_events() == []
    engine.close()
