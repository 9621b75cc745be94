"""The recorded vectors once more, played into the engine itself: no interfaces, no P4Runtime.

Also under AddressSanitizer and UndefinedBehaviorSanitizer: many of the packets are cut or changed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dfvisor.p4rt.entries import (
    Exact,
    FieldMatch,
    Lpm,
    Meter,
    MeterConfig,
    MulticastGroup,
    TableEntry,
    Ternary,
)
from dfvisor.p4rt.p4info import Schema
from softswitch.engine import Engine, KeyPart
from softswitch.meters import MeterConfig as Rates
from softswitch.tests.test_engine_sanitized import environment

from ptf_tests import parity
from ptf_tests.lab import load_schema
from ptf_tests.p4rt import CPU_PORT, TRACE_SESSION
from ptf_tests.vectors.frames import kernel_drops
from ptf_tests.vectors.replay import TEST_PORTS, without_times
from ptf_tests.vectors.scenario import Outcome, Output, Scenario, differences, load

DROPS = "drops"
PROFILE = "ecmp"
SANITIZED_TIMEOUT_S = 300


def _part(match: FieldMatch | None) -> KeyPart:
    match match:
        case Exact(value):
            return KeyPart(value)
        case Ternary(value, mask):
            return KeyPart(value, mask=mask)
        case Lpm(value, prefix_len):
            return KeyPart(value, prefix_len=prefix_len)
    return KeyPart()


def _play(engine: Engine, schema: Schema, scenario: Scenario) -> Outcome:
    engine.set_cpu_port(CPU_PORT)
    engine.clone_session_set(TRACE_SESSION, [(CPU_PORT, 1)])
    handles: dict[int, tuple[str, int]] = {}
    for place, item in enumerate(scenario.items):
        match item:
            case MulticastGroup(group_id, replicas):
                engine.multicast_set(group_id, sorted(replicas))
            case Meter(meter, index, MeterConfig() as rates):
                engine.meter_set(
                    meter, index, Rates(rates.cir, rates.cburst, rates.pir, rates.pburst)
                )
            case TableEntry(is_default=True):
                engine.set_default(item.table, item.action, [value for _, value in item.args])
            case TableEntry():
                handles[place] = (item.table, _insert(engine, schema, item))
    outputs = tuple(_process(engine, port, frame) for port, frame in scenario.packets)
    cells = engine.counter_read(DROPS, 0, schema.counter(DROPS).size)
    drops = {cell: packets for cell, (packets, _) in enumerate(cells) if packets}
    counted = {
        place: engine.direct_counter(table, handle)
        for place, (table, handle) in handles.items()
        if schema.table(table).has_counter
    }
    return Outcome(outputs, drops, {place: pair for place, pair in counted.items() if any(pair)})


def _process(engine: Engine, port: int, frame: bytes) -> tuple[Output, ...]:
    found = []
    for out, data in engine.process(port, frame):
        if out == CPU_PORT:
            found.append((out, without_times(data)))
        elif out in TEST_PORTS and not kernel_drops(data):
            found.append((out, data))
    return tuple(sorted(found))


def _insert(engine: Engine, schema: Schema, entry: TableEntry) -> int:
    key = [_part(entry.field(field.name)) for field in schema.table(entry.table).fields]
    if not entry.members:
        args = [value for _, value in entry.args]
        return engine.insert(entry.table, key, entry.priority, entry.action, args)
    group = engine.group_add(PROFILE)
    members = [
        engine.member_add(PROFILE, one.action, [value for _, value in one.args])
        for one in entry.members
    ]
    engine.group_set(PROFILE, group, members)
    return engine.insert_indirect(entry.table, key, entry.priority, group=group)


def test_vectors_played_into_the_engine_are_equal(tmp_path: Path) -> None:
    schema = load_schema()
    vectors = load(parity.RECORDED)
    found = []
    for scenario, wanted in vectors.played:
        engine = Engine.build(parity.CONFIG.read_bytes(), cache_dir=tmp_path)
        try:
            found += differences(scenario, wanted, _play(engine, schema, scenario))
        finally:
            engine.close()
    assert not found, "\n".join(found[:10])


def test_vectors_under_sanitizers_are_equal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "softswitch.tests.sanitized"]
    command += ["-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}"]
    command.append(f"{__file__}::{test_vectors_played_into_the_engine_are_equal.__name__}")
    run = subprocess.run(
        command,
        env=environment(),
        cwd=parity.ROOT,
        capture_output=True,
        text=True,
        timeout=SANITIZED_TIMEOUT_S,
        check=False,
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
    objects = list(tmp_path.glob("inner/**/pipeline-*.so"))
    assert objects and all(b"__asan_init" in path.read_bytes() for path in objects)
