"""The committed vectors: the softswitch sends what BMv2 sent, and the file is what it says."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.p4rt.drops import REASON_BITS, DropReason, PuntReason

from ptf_tests import parity
from ptf_tests.lab import load_schema
from ptf_tests.p4rt import CPU_PORT
from ptf_tests.vectors.generate import scenario
from ptf_tests.vectors.scenario import Vectors, differences, load, save

REPLAY_TIMEOUT_S = 300
FEWEST_SCENARIOS = 20


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return load(parity.RECORDED)


@pytest.mark.switch
def test_vectors_replayed_on_softswitch_are_equal() -> None:
    command = [sys.executable, str(parity.ROOT / "ptf_tests" / "parity.py"), "--recorded-only"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REPLAY_TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def test_vectors_belong_to_the_committed_pipeline() -> None:
    assert parity._recorded() is not None, parity.REGENERATE


def test_vectors_of_other_pipeline_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "dfvisor.json"
    other.write_bytes(parity.CONFIG.read_bytes() + b" ")
    monkeypatch.setattr(parity, "CONFIG", other)
    assert parity._judge_by_record() == 1
    assert "make vectors" in capsys.readouterr().err


def test_vectors_come_from_the_seed_they_name(vectors: Vectors) -> None:
    words = shlex.split(vectors.made_by["command"])
    seed = int(words[words.index("--seed") + 1])
    count = int(words[words.index("--scenarios") + 1])
    schema = load_schema()
    assert count == len(vectors.played) >= FEWEST_SCENARIOS
    assert [played for played, _ in vectors.played] == [
        scenario(schema, seed, number, parity.RECORDED_PACKETS) for number in range(count)
    ]


def test_vectors_saved_again_are_the_same_bytes(vectors: Vectors, tmp_path: Path) -> None:
    save(tmp_path / "again.json", vectors)
    assert (tmp_path / "again.json").read_bytes() == parity.RECORDED.read_bytes()


def test_vectors_show_every_drop_reason(vectors: Vectors) -> None:
    seen = {
        DropReason(cell & (1 << REASON_BITS) - 1)
        for _, outcome in vectors.played
        for cell in outcome.drops
    }
    assert seen == set(DropReason)


def test_vectors_show_every_punt_reason(vectors: Vectors) -> None:
    seen = {
        PuntReason(frame[6])
        for _, outcome in vectors.played
        for outputs in outcome.outputs
        for port, frame in outputs
        if port == CPU_PORT
    }
    assert seen == set(PuntReason)


def test_differences_of_equal_outcomes_is_empty(vectors: Vectors) -> None:
    for played, outcome in vectors.played:
        assert differences(played, outcome, outcome) == []


def test_differences_name_scenario_and_packet(vectors: Vectors) -> None:
    played, outcome = vectors.played[0]
    index = next(at for at, outs in enumerate(outcome.outputs) if outs)
    port, frame = outcome.outputs[index][0]
    outputs = list(outcome.outputs)
    outputs[index] = ((port, frame[:-1] + bytes([frame[-1] ^ 1])),)
    cell = next(iter(outcome.drops))
    entry = next(iter(outcome.direct))
    other = replace(
        outcome,
        outputs=tuple(outputs),
        drops={**outcome.drops, cell: outcome.drops[cell] + 1},
        direct={**outcome.direct, entry: (0, 0)},
    )
    found = differences(played, outcome, other)
    assert len(found) == 3
    assert f"{played.name}: packet {index} " in found[0]


@pytest.mark.parametrize("reason", DropReason, ids=str)
def test_drop_reason_has_a_packet_test(reason: DropReason) -> None:
    cases = (parity.ROOT / "ptf_tests" / "cases").glob("*.py")
    assert any(f"DropReason.{reason.name}" in case.read_text() for case in cases)
