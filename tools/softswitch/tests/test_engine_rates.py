"""Ports with a rate: strict priority, packets per second, full queues; and bursts without one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from softswitch.engine import Engine, KeyPart, Rate
from softswitch.errors import PortError, UnknownNameError
from softswitch.tests.bmv2_json import Program, assign, field, forwarding, param
from softswitch.tests.namespace import Wire, in_namespace, veth
from softswitch.tests.test_engine_io import until

DEPTH = 64
CPU = 510


def queued() -> Program:
    """The first byte of a frame chooses port and priority; egress writes the queue's depth."""
    program = forwarding([["first", 8, False], ["depth", 8, False]])
    to = program.action(
        "to",
        [("port", 9), ("priority", 3)],
        [
            assign("standard_metadata", "egress_spec", param(0)),
            assign("standard_metadata", "priority", param(1)),
        ],
    )
    stamp = program.action(
        "stamp", [], [assign("h", "depth", field("standard_metadata", "enq_qdepth"))]
    )
    program.table("queue", [("h", "first", "exact")], [to], default=to, default_data=[2, 0])
    program.table("stamping", [], [stamp], default=stamp, egress=True)
    return program


@contextmanager
def running(cache: Path) -> Iterator[tuple[Engine, list[Wire]]]:
    """Ports 1 and 2; a frame that starts with 2p goes to port 2 with priority p."""
    for port in (1, 2):
        veth(f"s{port}", f"h{port}")
    wires = [Wire.open(f"h{port}") for port in (1, 2)]
    engine = Engine.build(queued().encode(), cache_dir=cache)
    try:
        engine.set_cpu_port(CPU)
        for port in (1, 2):
            engine.add_port(port, f"s{port}")
        for priority in range(8):
            engine.insert("queue", [KeyPart(2 * priority)], 0, "to", [2, priority])
        engine.start()
        yield engine, wires
    finally:
        engine.close()
        for wire in wires:
            wire.close()


def frame(priority: int, number: int, size: int = 60) -> bytes:
    return (
        bytes([2 * priority, 0])
        + bytes(10)
        + b"\x88\xb5"
        + number.to_bytes(4, "big")
        + bytes(size - 18)
    )


def received(wire: Wire, quiet_s: float = 0.5) -> list[tuple[int, int]]:
    """(priority, number) of what comes until nothing does."""
    found = []
    while (data := wire.receive(quiet_s)) is not None:
        found.append((data[0] // 2, int.from_bytes(data[14:18], "big")))
    return found


def test_higher_queues_go_first_and_each_keeps_its_order(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, 200)
            for number in range(30):
                for priority in (0, 3, 7):
                    wires[0].send(frame(priority, number))
            came = received(wires[1])
            assert Counter(p for p, _ in came) == {0: 30, 3: 30, 7: 30}
            for priority in (0, 3, 7):
                assert [n for p, n in came if p == priority] == list(range(30))
            # but for the few that left before all were there
            head = [p for p, _ in came[10:]]
            assert head == sorted(head, reverse=True)
            assert engine.drop_stats().queue_full == 0

    in_namespace(body)


@pytest.mark.parametrize("pps", [150, 1000])
def test_port_sends_at_its_rate(engine_cache: Path, pps: int) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, pps)
            count, took = (DEPTH * 8 if pps == 1000 else DEPTH), []
            # a busy machine may be late, but never early
            for _ in range(3):
                began = time.monotonic()
                for number in range(count):
                    wires[0].send(frame(number % 8, number))
                for _ in range(count):
                    assert wires[1].receive() is not None
                took.append(time.monotonic() - began)
                assert took[-1] >= 0.99 * (count - 1) / pps
                time.sleep(0.1)
            assert min(took) < 1.25 * count / pps + 0.1
            assert engine.drop_stats().queue_full == 0

    in_namespace(body)


def test_port_that_was_idle_sends_no_burst(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, 50)
            wires[0].send(frame(0, 0))
            assert received(wires[1], 0.2) == [(0, 0)]
            time.sleep(0.5)
            began = time.monotonic()
            for number in range(11):
                wires[0].send(frame(0, number))
            for _ in range(11):
                assert wires[1].receive() is not None
            assert 0.195 <= time.monotonic() - began < 1
            # nor after an idle time that is as short as the switch may be late
            engine.set_port_rate(2, 100)
            for _ in range(10):
                time.sleep(0.04)
                began = time.monotonic()
                for number in range(4):
                    wires[0].send(frame(0, number))
                for _ in range(4):
                    assert wires[1].receive() is not None
                assert time.monotonic() - began >= 0.029

    in_namespace(body)


def test_what_does_not_fit_the_queue_is_counted(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, 1)
            for number in range(200):
                for priority in (1, 6):
                    wires[0].send(frame(priority, number))
            until(lambda: engine.port_stats()[1].rx_packets == 400)
            full = engine.drop_stats().queue_full
            assert 400 - 2 * DEPTH - 3 <= full <= 400 - 2 * DEPTH
            # the queues drain at once when the limit goes
            engine.set_port_rate(2, None)
            came = received(wires[1])
            assert len(came) == 400 - full
            for priority in (1, 6):
                numbers = [n for p, n in came if p == priority]
                assert numbers[:DEPTH] == list(range(DEPTH)) and numbers == sorted(numbers)
            wires[0].send(frame(1, 7))
            assert received(wires[1], 0.1) == [(1, 7)]
            assert engine.drop_stats().queue_full == full

    in_namespace(body)


def test_new_rate_keeps_what_waits_and_its_order(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, 1)
            for number in range(60):
                wires[0].send(frame(0, number))
            until(lambda: engine.port_stats()[1].rx_packets == 60)
            engine.set_port_rate(2, 2000)
            assert [n for _, n in received(wires[1])] == list(range(60))

    in_namespace(body)


def test_egress_sees_the_depth_of_its_queue(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, 1)
            for number in range(40):
                wires[0].send(frame(4, number))
            until(lambda: engine.port_stats()[1].rx_packets == 40)
            engine.set_port_rate(2, None)
            depths = []
            while (data := wires[1].receive(0.2)) is not None:
                depths.append(data[1])
            # the first left at once
            assert depths in ([0, *range(39)], [0, 1, *range(1, 39)], list(range(40)))

    in_namespace(body)


def test_stop_throws_away_what_waits(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, 1)
            for number in range(20):
                wires[0].send(frame(0, number))
            until(lambda: engine.port_stats()[1].rx_packets == 20)
            engine.stop()
            engine.start()
            wires[0].send(frame(0, 99))
            came = received(wires[1], 1.3)
            assert came[-1] == (0, 99) and len(came) <= 3

    in_namespace(body)


def test_rate_of_no_port_or_no_rate_is_refused(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, _):
            with pytest.raises(UnknownNameError, match="port 77"):
                engine.set_port_rate(77, 5)
            for pps in (0, -1, 1 << 63):
                with pytest.raises(PortError, match="1 or more"):
                    engine.set_port_rate(2, pps)

    in_namespace(body)


@pytest.mark.parametrize("size", [60, 1514])
def test_thousand_packets_to_an_idle_switch_all_come_out(engine_cache: Path, size: int) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            for round_ in range(3):
                time.sleep(0.1)
                sent = [frame(0, 1000 * round_ + number, size) for number in range(1000)]
                for data in sent:
                    wires[0].send(data)
                for data in sent:
                    assert wires[1].receive() == data
            stats = engine.port_stats()
            assert stats[1].rx_kernel_drops == stats[2].tx_failures == 0

    in_namespace(body)


def test_queue_with_a_rate_lets_the_lower_ones_go(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, 20, queue=7)
            for number in range(10):
                for priority in (7, 2):
                    wires[0].send(frame(priority, number))
            came = [priority for priority, _ in received(wires[1])]
            assert Counter(came) == {7: 10, 2: 10}
            # all of the lower queue went while the higher one waited
            assert came[-7:] == [7] * 7
            until(lambda: engine.queue_stats(2)[7].packets == 10)
            stats = engine.queue_stats(2)
            assert (stats[2].packets, stats[2].bytes, stats[2].drops) == (10, 600, 0)
            assert (stats[7].waiting, stats[3].packets) == (0, 0)

    in_namespace(body)


def test_queue_statistics_count_what_does_not_fit(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, 1, queue=1)
            for number in range(100):
                wires[0].send(frame(1, number))
            until(lambda: engine.port_stats()[1].rx_packets == 100)
            stats = engine.queue_stats(2)[1]
            assert stats.packets + stats.drops + stats.waiting == 100 and stats.drops > 0
            assert engine.queue_stats(2)[0].drops == 0

    in_namespace(body)


def test_rate_in_bits_counts_the_bytes_of_frames(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_port_rate(2, Rate(800_000, bits=True))  # 100 frames of 1,000 bytes a second
            began = time.monotonic()
            for number in range(40):
                wires[0].send(frame(0, number, 1000))
            assert len(received(wires[1], 0.3)) == 40
            assert time.monotonic() - began >= 0.385 + 0.3
            # frames that are a tenth as long take a tenth of the time
            began = time.monotonic()
            for number in range(40):
                wires[0].send(frame(0, number, 100))
            for _ in range(40):
                assert wires[1].receive() is not None
            assert time.monotonic() - began >= 0.038

    in_namespace(body)
