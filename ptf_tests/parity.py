"""Compares the softswitch with BMv2, packet by packet.

Where simple_switch_grpc is installed both play the committed scenarios and many more packets over
fresh ones (with --scenarios: fresh ones alone), and must do the same; BMv2 must also still do what
was recorded. Elsewhere the softswitch must
do what was recorded. `--record` writes what BMv2 does. Exit status 0: no difference.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ptf_tests.sandbox import run_in_sandbox  # noqa: E402 - the path comes first

if TYPE_CHECKING:
    from ptf_tests.vectors.replay import Player
    from ptf_tests.vectors.scenario import Outcome, Scenario, Vectors

CONFIG = ROOT / "bmv2_configs" / "dfvisor.json"
RECORDED = ROOT / "ptf_tests" / "vectors" / "bmv2.json"
REGENERATE = "run `make vectors` where simple_switch_grpc is installed, and commit the result"
SEED = 20
SCENARIOS = 40  # recorded
RECORDED_PACKETS = 30  # of each
FRESH_SEED = 21
FRESH_SCENARIOS = 50  # table contents that both switches play live
FRESH_PACKETS = 200  # into each
SHOWN_DIFFERENCES = 20
ELECTION = 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write what BMv2 does")
    parser.add_argument(
        "--recorded-only", action="store_true", help="do not use BMv2 if it is there"
    )
    parser.add_argument("--scenarios", type=int, help="play so many fresh scenarios")
    parser.add_argument("--seed", type=int, default=SEED, help="of fresh or recorded scenarios")
    arguments = parser.parse_args()
    have_bmv2 = shutil.which("simple_switch_grpc") is not None
    if arguments.record:
        count = arguments.scenarios or SCENARIOS
        return run_in_sandbox(lambda: _record(arguments.seed, count))
    if not have_bmv2 or arguments.recorded_only:
        if arguments.scenarios:
            print("parity: fresh scenarios need simple_switch_grpc; playing the recorded ones")
        return run_in_sandbox(_judge_by_record)
    if arguments.scenarios:
        return run_in_sandbox(lambda: _compare_fresh(arguments.seed, arguments.scenarios))
    return run_in_sandbox(_compare_all)


def _record(seed: int, count: int) -> int:
    from ptf_tests.vectors.scenario import Vectors, differences, save

    if shutil.which("simple_switch_grpc") is None:
        print("vectors: simple_switch_grpc is not on PATH: BMv2 makes the vectors", file=sys.stderr)
        return 1
    scenarios = _generated(seed, count, RECORDED_PACKETS)
    with _player("bmv2", 0) as player:
        played = [(scenario, player.play(scenario)) for scenario in scenarios]
        unsteady = [
            line
            for scenario, outcome in played
            for line in differences(scenario, outcome, player.play(scenario))
        ]
    if unsteady:
        print("vectors: BMv2 does not do the same twice; nothing was written", *unsteady, sep="\n")
        return 1
    version = subprocess.run(
        ["simple_switch_grpc", "--version"], capture_output=True, text=True, check=True
    )
    made_by = {
        "command": f"python ptf_tests/parity.py --record --seed {seed} --scenarios {count}",
        "seed": seed,
        "switch": f"simple_switch_grpc {version.stdout.strip()}",
        "bmv2_configs/dfvisor.json": _config_hash(),
    }
    save(RECORDED, Vectors(made_by, tuple(played)))
    packets, outputs = _totals(played)
    print(f"vectors: {count} scenarios, {packets} packets in, {outputs} out, in {RECORDED.name}")
    return 0


def _judge_by_record() -> int:
    from ptf_tests.vectors.scenario import differences

    vectors = _recorded()
    if vectors is None:
        return 1
    started = time.monotonic()
    found = []
    with _player("softswitch", 0) as player:
        for scenario, wanted in vectors.played:
            found += differences(scenario, wanted, player.play(scenario))
    return _verdict("softswitch = what BMv2 sent", vectors.played, found, started)


def _compare_all() -> int:
    status = _compare_recorded()
    return _compare_fresh(FRESH_SEED, FRESH_SCENARIOS) or status


def _compare_recorded() -> int:
    from ptf_tests.vectors.scenario import differences

    vectors = _recorded()
    if vectors is None:
        return 1
    started = time.monotonic()
    stale, found = [], []
    with _player("bmv2", 0) as bmv2, _player("softswitch", 1) as ours:
        for scenario, recorded in vectors.played:
            wanted = bmv2.play(scenario)
            stale += differences(scenario, recorded, wanted)
            found += differences(scenario, wanted, ours.play(scenario))
    status = _verdict("BMv2 = what BMv2 sent when recorded", vectors.played, stale, started)
    return _verdict("softswitch = BMv2", vectors.played, found, started) or status


def _compare_fresh(seed: int, count: int) -> int:
    from ptf_tests.vectors.scenario import differences

    started = time.monotonic()
    played, found = [], []
    with _player("bmv2", 0) as bmv2, _player("softswitch", 1) as ours:
        for scenario in _generated(seed, count, FRESH_PACKETS):
            wanted = bmv2.play(scenario)
            played.append((scenario, wanted))
            found += differences(scenario, wanted, ours.play(scenario))
    return _verdict(f"softswitch = BMv2, seed {seed}", played, found, started)


@contextlib.contextmanager
def _player(target: str, index: int) -> Iterator[Player]:
    from ptf_tests.lab import DEVICE_ID, load_schema, push_pipeline, running_switch
    from ptf_tests.p4rt import SwitchClient
    from ptf_tests.vectors.replay import TEST_PORTS, Player

    with running_switch(target, index, TEST_PORTS) as lab:
        client = SwitchClient(lab.address, DEVICE_ID, load_schema(), ELECTION)
        push_pipeline(client)
        with Player(lab, client) as player:
            yield player
        client.close()


def _generated(seed: int, count: int, packets: int) -> list[Scenario]:
    from ptf_tests.lab import load_schema
    from ptf_tests.vectors.generate import scenario

    schema = load_schema()
    return [scenario(schema, seed, number, packets) for number in range(count)]


def _recorded() -> Vectors | None:
    from ptf_tests.vectors.scenario import load

    if not RECORDED.exists():
        print(f"parity: {RECORDED.name} does not exist: {REGENERATE}", file=sys.stderr)
        return None
    vectors = load(RECORDED)
    if vectors.made_by["bmv2_configs/dfvisor.json"] != _config_hash():
        print(
            f"parity: {RECORDED.name} was recorded with another dfvisor.json: {REGENERATE}",
            file=sys.stderr,
        )
        return None
    return vectors


def _config_hash() -> str:
    return hashlib.sha256(CONFIG.read_bytes()).hexdigest()


def _totals(played: Sequence[tuple[Scenario, Outcome]]) -> tuple[int, int]:
    packets = sum(len(scenario.packets) for scenario, _ in played)
    return packets, sum(len(outs) for _, outcome in played for outs in outcome.outputs)


def _verdict(
    claim: str,
    played: Sequence[tuple[Scenario, Outcome]],
    found: Sequence[str],
    started: float,
) -> int:
    for line in found[:SHOWN_DIFFERENCES]:
        print(line)
    if len(found) > SHOWN_DIFFERENCES:
        print(f"... and {len(found) - SHOWN_DIFFERENCES} more")
    packets, outputs = _totals(played)
    drops = sum(sum(outcome.drops.values()) for _, outcome in played)
    print(
        f"parity: {claim}: {len(found)} differences in {len(played)} scenarios "
        f"({packets} packets in, {outputs} out, {drops} drops counted; "
        f"{time.monotonic() - started:.1f} s)"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
