"""Packet-ins, injected packets, idle timeouts, the events' queue and its descriptor."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from softswitch.engine import Engine, IdleTimeout, KeyPart, PacketIn
from softswitch.errors import EntryError, PortError
from softswitch.tests.bmv2_json import Program
from softswitch.tests.namespace import Wire, in_namespace, veth
from softswitch.tests.test_engine_io import FRAMES, until, wired

CPU = 510


def ageing() -> Program:
    program = wired()
    program.ingress["tables"][0]["support_timeout"] = True
    return program


@contextmanager
def running(cache: Path) -> Iterator[tuple[Engine, list[Wire]]]:
    """Ports 1 and 2; 1 leads to the CPU, the CPU to 2."""
    for port in (1, 2):
        veth(f"s{port}", f"h{port}", mtu=9000)
    wires = [Wire.open(f"h{port}") for port in (1, 2)]
    engine = Engine.build(ageing().encode(), cache_dir=cache)
    try:
        engine.set_cpu_port(CPU)
        for port in (1, 2):
            engine.add_port(port, f"s{port}")
        engine.insert("wiring", [KeyPart(1)], 0, "to", [CPU])
        engine.insert("wiring", [KeyPart(CPU)], 0, "to", [2])
        engine.start()
        yield engine, wires
    finally:
        engine.close()
        for wire in wires:
            wire.close()


def readable(engine: Engine, timeout_s: float = 0) -> bool:
    return bool(select.select([engine.event_fd()], [], [], timeout_s)[0])


def test_packets_to_and_from_the_cpu_port_keep_every_byte(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            assert not readable(engine)
            for frame in FRAMES.values():
                wires[0].send(frame)
                assert readable(engine, 5)
                assert engine.take_events() == [PacketIn(frame)]
                engine.inject(CPU, frame)
                assert wires[1].receive() == frame
            assert not readable(engine) and engine.take_events() == []
            assert engine.drop_stats().unknown_port == 0

    in_namespace(body)


def test_injected_packets_keep_their_order_and_may_have_any_ingress_port(
    engine_cache: Path,
) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            for number in range(500):
                engine.inject(CPU, FRAMES["shortest"] + number.to_bytes(2, "big"))
            for number in range(500):
                frame = wires[1].receive()
                assert frame is not None and int.from_bytes(frame[14:16], "big") == number
            engine.inject(1, b"as if from port 1")
            assert readable(engine, 5)
            assert engine.take_events() == [PacketIn(b"as if from port 1")]
            engine.inject(1, b"")
            assert readable(engine, 5)
            assert engine.take_events() == [PacketIn(b"")]

    in_namespace(body)


def test_inject_while_stopped_is_refused(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.stop()
            with pytest.raises(PortError, match="packet for port 510"):
                engine.inject(CPU, FRAMES["shortest"])
            engine.start()
            engine.inject(CPU, FRAMES["untagged"])
            assert wires[1].receive() == FRAMES["untagged"]

    in_namespace(body)


def test_without_a_cpu_port_its_packets_are_to_an_unknown_port(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.set_cpu_port(None)
            wires[0].send(FRAMES["untagged"])
            until(lambda: engine.drop_stats().unknown_port == 1)
            assert engine.take_events() == []

    in_namespace(body)


def test_descriptor_stays_readable_until_the_last_event_is_taken(engine_cache: Path) -> None:
    engine = Engine.build(ageing().encode(), cache_dir=engine_cache)
    engine.set_cpu_port(CPU)
    engine.set_default("wiring", "to", [CPU])
    for number in range(10):
        assert engine.process(1, bytes([number])) == [(CPU, bytes([number]))]
    taken: list[object] = []
    while readable(engine):
        events = engine.take_events(3)
        assert len(events) <= 3
        taken += events
    assert taken == [PacketIn(bytes([number])) for number in range(10)]
    engine.close()


def test_events_that_nobody_takes_are_bounded_and_the_lost_ones_counted(
    engine_cache: Path,
) -> None:
    engine = Engine.build(ageing().encode(), cache_dir=engine_cache)
    engine.set_cpu_port(CPU)
    engine.set_default("wiring", "to", [CPU])
    for _ in range(200):
        engine.process(1, bytes(65000))
    lost = engine.drop_stats().events
    assert 50 < lost < 150
    assert len(engine.take_events(1000)) == 200 - lost
    engine.process(1, b"room again")
    assert engine.take_events() == [PacketIn(b"room again")]
    assert engine.drop_stats().events == lost
    engine.close()


def test_idle_entry_is_reported_after_each_timeout_without_a_hit(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            handle = engine.insert("wiring", [KeyPart(2)], 0, "to", [1], idle_timeout_ms=600)
            key = IdleTimeout("wiring", handle)
            for _ in range(6):
                wires[1].send(FRAMES["untagged"])
                assert wires[0].receive() == FRAMES["untagged"]
                assert not readable(engine, 0.15), "it was hit"
            assert readable(engine, 3)
            assert engine.take_events() == [key]
            assert 600_000 <= engine.since_last_hit_us("wiring", handle) < 3_000_000
            assert not readable(engine, 0.4), "the time starts anew"
            assert readable(engine, 3)
            assert engine.take_events() == [key]
            wires[1].send(FRAMES["untagged"])
            assert readable(engine, 3)
            assert engine.take_events() == [key]
            # another timeout starts its clock
            engine.modify("wiring", handle, "to", [1], idle_timeout_ms=300)
            assert readable(engine, 3)
            assert engine.take_events() == [key]
            engine.modify("wiring", handle, "to", [1], idle_timeout_ms=0)
            wires[1].send(FRAMES["untagged"])
            assert not readable(engine, 0.8)

    in_namespace(body)


def test_deleted_idle_entry_is_not_reported(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, _):
            handle = engine.insert("wiring", [KeyPart(2)], 0, "to", [1], idle_timeout_ms=200)
            engine.delete("wiring", handle)
            other = engine.insert("wiring", [KeyPart(3)], 0, "to", [1], idle_timeout_ms=400)
            assert readable(engine, 3)
            assert engine.take_events() == [IdleTimeout("wiring", other)]

    in_namespace(body)


def test_idle_timeout_of_a_table_without_is_refused_and_nothing_inserted(
    engine_cache: Path,
) -> None:
    engine = Engine.build(wired().encode(), cache_dir=engine_cache)
    with pytest.raises(EntryError, match="supports no idle timeout"):
        engine.insert("wiring", [KeyPart(1)], 0, "to", [2], idle_timeout_ms=5)
    assert engine.entry_count("wiring") == 0
    engine.close()


def test_start_and_stop_while_everything_happens_at_once(engine_cache: Path) -> None:
    """For the sanitizers above all: no crash, no deadlock, no packet twice."""

    def body() -> None:
        with running(engine_cache) as (engine, wires):
            over = threading.Event()
            failures: list[BaseException] = []

            def repeat(work: Callable[[], None]) -> None:
                try:
                    while not over.is_set():
                        work()
                except BaseException as error:  # noqa: BLE001  shown by the test
                    failures.append(error)

            def inject() -> None:
                try:
                    engine.inject(CPU, FRAMES["tagged"])
                except PortError:
                    os.sched_yield()

            rates = iter(range(1, 1 << 30))

            def rate() -> None:
                number = next(rates)
                engine.set_port_rate(2, None if number % 5 == 0 else 1000 * number)

            def restart() -> None:
                engine.stop()
                engine.start()

            def change() -> None:
                handle = engine.insert("wiring", [KeyPart(9)], 0, "to", [1], idle_timeout_ms=1)
                engine.port_stats()
                engine.drop_stats()
                engine.delete("wiring", handle)

            def take() -> None:
                engine.take_events(50)

            def send() -> None:
                wires[0].send(FRAMES["untagged"])

            def pause() -> None:
                engine.stop()
                over.wait(0.01)

            work = [inject, rate, restart, pause, change, take, send]
            threads = [threading.Thread(target=repeat, args=(w,)) for w in work]
            for thread in threads:
                thread.start()
            over.wait(2.0)
            over.set()
            for thread in threads:
                thread.join(20)
                assert not thread.is_alive(), "deadlock"
            assert not failures, failures
            engine.set_port_rate(2, None)
            engine.stop()
            engine.start()
            while wires[1].receive(0.05) is not None:
                pass
            engine.inject(CPU, FRAMES["longest"])
            assert wires[1].receive() == FRAMES["longest"]

    in_namespace(body)
