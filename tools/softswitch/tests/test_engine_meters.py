"""Two-rate meters against a naive model, with rates whose colours do not depend on timing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from softswitch.engine import Engine, MeterConfig
from softswitch.errors import EntryError, UnknownNameError
from softswitch.tests.record import DATA

BYTES, PACKETS = "ExtraIngress.by_bytes", "ExtraIngress.by_packets"
GREEN, YELLOW, RED = 0, 1, 2


@pytest.fixture
def engine(engine_cache: Path) -> Iterator[Engine]:
    made = Engine.build((DATA / "extras.json").read_bytes(), cache_dir=engine_cache)
    yield made
    made.close()


def frame(cell: int, size: int = 60) -> bytes:
    """A frame charged to that cell of both meters."""
    head = bytes(5) + bytes([cell]) + bytes(6) + bytes([0x20, cell])
    return head + bytes(size - len(head))


def colors(engine: Engine, data: bytes) -> tuple[int, int]:
    """(bytes, packets) as the report in front of the packet says."""
    ((_, out),) = engine.process(0, data)
    return out[4] >> 6, out[4] >> 4 & 3


class Model:
    """RFC 2698, colour-blind, for buckets that are not filled."""

    def __init__(self, config: MeterConfig) -> None:
        self.committed, self.peak = config.cburst, config.pburst

    def charge(self, units: int) -> int:
        if self.peak < units:
            return RED
        self.peak -= units
        if self.committed < units:
            return YELLOW
        self.committed -= units
        return GREEN


def test_colors_follow_the_buckets(engine: Engine) -> None:
    r = random.Random(3)
    for _ in range(20):
        size, packets = MeterConfig(0, r.randrange(2000), 0, r.randrange(3000)), None
        packets = MeterConfig(0, r.randrange(10), 0, r.randrange(20))
        cell = r.randrange(16)
        engine.meter_set(BYTES, cell, size)
        engine.meter_set(PACKETS, cell, packets)
        models = Model(size), Model(packets)
        for _ in range(40):
            length = r.choice([14, 60, 61, 200, 1500])
            expected = models[0].charge(length), models[1].charge(1)
            assert colors(engine, frame(cell, length)) == expected


def test_cell_without_configuration_is_green_and_neighbours_are_apart(engine: Engine) -> None:
    nothing = MeterConfig(0, 0, 0, 0)
    engine.meter_set(BYTES, 3, nothing)
    engine.meter_set(PACKETS, 4, nothing)
    assert [colors(engine, frame(cell)) for cell in range(2, 6)] == [
        (GREEN, GREEN),
        (RED, GREEN),
        (GREEN, RED),
        (GREEN, GREEN),
    ]
    engine.meter_set(BYTES, 3, None)
    assert colors(engine, frame(3)) == (GREEN, GREEN)
    assert engine.meter_get(BYTES, 3) is None
    assert engine.meter_get(PACKETS, 4) == nothing


def test_setting_a_cell_fills_its_buckets(engine: Engine) -> None:
    config = MeterConfig(0, 1, 0, 2)
    for _ in range(2):
        engine.meter_set(PACKETS, 1, config)
        assert [colors(engine, frame(1))[1] for _ in range(3)] == [GREEN, YELLOW, RED]


def test_time_brings_tokens_at_the_rate_and_no_more_than_the_burst(engine: Engine) -> None:
    # one packet in 100 ms committed, three peak
    engine.meter_set(PACKETS, 2, MeterConfig(10, 2, 30, 5))
    began = time.monotonic()
    seen = [0, 0, 0]
    while (elapsed := time.monotonic() - began) < 1.0:
        seen[colors(engine, frame(2))[1]] += 1
    # a token that is due may be taken between the last packet and the clock
    assert abs(seen[GREEN] - (2 + 10 * elapsed)) <= 2
    assert abs(seen[GREEN] + seen[YELLOW] - (5 + 30 * elapsed)) <= 2
    time.sleep(0.4)
    # full again, and not fuller
    burst = [colors(engine, frame(2))[1] for _ in range(12)]
    assert burst[:5] == [GREEN] * 2 + [YELLOW] * 3 and burst.count(RED) >= 6


@pytest.mark.parametrize("most", [(1 << 63) - 1, 10**15])
def test_rates_beyond_every_interface_stay_green(engine: Engine, most: int) -> None:
    engine.meter_set(BYTES, 1, MeterConfig(most, most, most, most))
    engine.meter_set(PACKETS, 1, MeterConfig(most, 10, most, 10))
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        assert colors(engine, frame(1)) == (GREEN, GREEN)
        time.sleep(0.001)


def test_configuration_out_of_range_is_refused(engine: Engine) -> None:
    with pytest.raises(EntryError, match=r"16 is not in 0\.\.15"):
        engine.meter_set(BYTES, 16, None)
    with pytest.raises(EntryError, match="rate or burst"):
        engine.meter_set(BYTES, 0, MeterConfig(-1, 0, 0, 0))
    with pytest.raises(EntryError, match="rate or burst"):
        engine.meter_set(BYTES, 0, MeterConfig(0, 0, 0, 1 << 63))
    with pytest.raises(UnknownNameError, match="no indirect meter 'x'"):
        engine.meter_get("x", 0)
