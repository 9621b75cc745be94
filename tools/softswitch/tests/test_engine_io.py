"""The packet thread on real interfaces, in namespaces of the tests' own."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from softswitch.engine import Engine, KeyPart
from softswitch.errors import PortError
from softswitch.tests.bmv2_json import Program, assign, forwarding, param
from softswitch.tests.namespace import Wire, in_namespace, ip, veth

HEADER = bytes.fromhex("020000000002 020000000001")
FRAMES = {
    "untagged": HEADER + b"\x08\x00" + bytes(50),
    "tagged": HEADER + bytes.fromhex("8100 e00a 0800") + bytes(range(60)),
    "priority-tag": HEADER + bytes.fromhex("8100 6000 0800") + bytes(range(60)),
    "two-tags": HEADER + bytes.fromhex("88a8 0064 8100 0c01 86dd") + bytes(range(60)),
    "shortest": HEADER + b"\x88\xb5",
    "jumbo": HEADER + b"\x08\x00" + bytes(i & 255 for i in range(8900)),
    "tagged-jumbo": HEADER + bytes.fromhex("8100 e00a 0800") + bytes(i & 255 for i in range(8900)),
    "longest": HEADER + b"\x08\x00" + bytes(i & 255 for i in range(1500)),
}


def wired() -> Program:
    """Ingress port to egress port by a table."""
    program = forwarding([["first", 8, False]])
    to = program.action("to", [("port", 9)], [assign("standard_metadata", "egress_spec", param(0))])
    program.table(
        "wiring",
        [("standard_metadata", "ingress_port", "exact")],
        [to],
        default=to,
        default_data=[511],
        counters=True,
    )
    return program


@contextmanager
def running(cache: Path, ports: int = 2) -> Iterator[tuple[Engine, list[Wire]]]:
    """An engine between veth pairs s1-h1, s2-h2, ...; each port leads to the next."""
    for port in range(1, ports + 1):
        veth(f"s{port}", f"h{port}", mtu=9000)
    wires = [Wire.open(f"h{port}") for port in range(1, ports + 1)]
    engine = Engine.build(wired().encode(), cache_dir=cache)
    try:
        for port in range(1, ports + 1):
            engine.add_port(port, f"s{port}")
            engine.insert("wiring", [KeyPart(port)], 0, "to", [port % ports + 1])
        engine.start()
        yield engine, wires
    finally:
        engine.close()
        for wire in wires:
            wire.close()


def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_frame_through_the_switch_keeps_every_byte(engine_cache: Path, frame: bytes) -> None:
    def body() -> None:
        with running(engine_cache, ports=3) as (engine, wires):
            wires[0].send(frame)
            assert wires[1].receive() == frame
            # what the switch sends it must not take for received: port 2 would send it to port 3
            assert wires[2].receive(0.05) is None
            assert wires[0].receive(0.05) is None
            until(lambda: engine.port_stats()[2].tx_packets == 1)
            stats = engine.port_stats()
            assert (stats[1].rx_packets, stats[1].rx_bytes) == (1, len(frame))
            assert (stats[2].tx_packets, stats[2].tx_bytes) == (1, len(frame))
            assert (stats[2].rx_packets, stats[1].tx_failures) == (0, 0)
            assert stats[1].interface == "s1" and stats[1].up

    in_namespace(body)


def test_frame_for_another_mac_is_received_too(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (_, wires):
            # veth filters no addresses, other devices do
            assert "promiscuity 1" in ip("-d", "link", "show", "s1")
            frame = bytes.fromhex("0a0000000099 020000000001 88b5") + b"x" * 46
            wires[1].send(frame)
            assert wires[0].receive() == frame

    in_namespace(body)


def test_burst_comes_out_complete_and_in_order(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            for number in range(3000):
                wires[0].send(HEADER + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(60))
                if number % 500 == 250:
                    # changes of tables under load neither lose nor stop packets
                    engine.set_default("wiring", "to", [511])
            for number in range(3000):
                frame = wires[1].receive()
                assert frame is not None and int.from_bytes(frame[14:18], "big") == number
            until(lambda: engine.port_stats()[1].rx_packets == 3000)
            assert engine.port_stats()[1].rx_kernel_drops == 0

    in_namespace(body)


def test_idle_packet_thread_uses_no_processor_time(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (_, wires):
            before = time.process_time()
            assert wires[0].receive(0.5) is None
            assert time.process_time() - before < 0.05

    in_namespace(body)


def test_interface_that_goes_down_and_up_carries_on(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            ip("link", "set", "s2", "down")
            wires[0].send(FRAMES["untagged"])
            until(lambda: engine.port_stats()[2].tx_failures == 1)
            before = time.process_time()
            assert wires[0].receive(0.2) is None
            assert time.process_time() - before < 0.05
            ip("link", "set", "s2", "up")
            wires[0].send(FRAMES["untagged"])
            assert wires[1].receive() == FRAMES["untagged"]

    in_namespace(body)


def test_interface_that_disappears_leaves_the_others_working(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache, ports=3) as (_, wires):
            ip("link", "del", "s1")
            before = time.process_time()
            wires[1].send(FRAMES["tagged"])
            assert wires[2].receive() == FRAMES["tagged"]
            assert wires[2].receive(0.2) is None
            assert time.process_time() - before < 0.1

    in_namespace(body)


def test_packet_to_a_port_that_does_not_exist_is_counted(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.insert("wiring", [KeyPart(3)], 0, "to", [99])
            veth("s3", "h3")
            engine.stop()
            engine.add_port(3, "s3")
            engine.start()
            wire = Wire.open("h3")
            wire.send(FRAMES["untagged"])
            until(lambda: engine.drop_stats().unknown_port == 1)
            assert wires[0].receive(0.05) is None
            wire.close()

    in_namespace(body)


def test_stop_and_start_again_moves_packets_again(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            engine.stop()
            engine.stop()
            assert not engine.port_stats()[1].up
            wires[0].send(FRAMES["untagged"])
            assert wires[1].receive(0.1) is None
            engine.start()
            wires[0].send(FRAMES["tagged"])
            assert wires[1].receive() == FRAMES["tagged"]
            assert wires[1].receive(0.05) is None

    in_namespace(body)


def test_ports_that_cannot_be_are_refused(engine_cache: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, _):
            with pytest.raises(PortError, match="running"):
                engine.add_port(9, "s1")
            engine.stop()
            for port, name, reason in (
                (1, "s1", "in use"),
                (511, "s1", "0 to 510"),
                (9, "nothing", "no such interface"),
                (9, "x" * 40, "no such interface"),
            ):
                with pytest.raises(PortError, match=reason):
                    engine.add_port(port, name)
            ip("link", "del", "s2")
            with pytest.raises(PortError, match="port 2 at 's2'"):
                engine.start()
            assert not any(stats.up for stats in engine.port_stats().values())

    in_namespace(body)


def test_captures_hold_what_is_received_and_sent(engine_cache: Path, tmp_path: Path) -> None:
    def body() -> None:
        with running(engine_cache) as (engine, wires):
            files = {port: (tmp_path / f"{port}_in", tmp_path / f"{port}_out") for port in (1, 2)}
            engine.stop()
            for port, (into, out_of) in files.items():
                engine.capture(port, into, out_of)
            engine.start()
            for frame in FRAMES.values():
                wires[0].send(frame)
                assert wires[1].receive() == frame
            engine.stop()
            assert captured(files[1][0]) == captured(files[2][1]) == list(FRAMES.values())
            assert captured(files[1][1]) == captured(files[2][0]) == []
            with pytest.raises(PortError, match="No such file"):
                engine.add_port(5, "s1")
                engine.capture(5, tmp_path / "none" / "a", tmp_path / "b")

    in_namespace(body)


def captured(path: Path) -> list[bytes]:
    """The frames of a pcap file."""
    data = path.read_bytes()
    magic, *_, link_type = struct.unpack_from("=IHHIIII", data)
    assert (magic, link_type) == (0xA1B2C3D4, 1)
    frames, at = [], 24
    while at < len(data):
        _, _, length, whole = struct.unpack_from("=IIII", data, at)
        assert length == whole
        frames.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return frames
