"""Registers, direct meters, truncated clones, the lock held over calls, ports that are events."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from softswitch.engine import Engine, KeyPart, MeterConfig, PortOutput
from softswitch.errors import ConfigError, EntryError, UnknownNameError, UnsupportedError
from softswitch.tests.bmv2_json import (
    Json,
    Program,
    assign,
    const,
    field,
    forwarding,
    param,
    primitive,
)
from softswitch.tests.record import DATA
from softswitch.tests.test_engine_profiles import crc16

NOTHING = MeterConfig(0, 0, 0, 0)


def register(name: str) -> Json:
    return {"type": "register_array", "value": name}


def array(name: str, size: int, bits: int) -> Json:
    return {"name": name, "id": 0, "size": size, "bitwidth": bits}


def stateful(bits: int) -> Program:
    """h.index picks a cell: the old value goes to h.old, h.new is stored."""
    program = forwarding([["index", 8], ["old", bits], ["new", bits]])
    program.extra["register_arrays"] = [array("other", 2, 9), array("cells", 5, bits)]
    program.action(
        "swap",
        [],
        [
            primitive("register_read", field("h", "old"), register("cells"), field("h", "index")),
            primitive("register_write", register("cells"), field("h", "index"), field("h", "new")),
            assign("standard_metadata", "egress_spec", const(2)),
        ],
    )
    program.table("t", [], [2], default=2)
    return program


@pytest.mark.parametrize("bits", [8, 16, 32, 64, 72, 128, 136, 256])
def test_register_keeps_what_packets_and_the_control_side_write(
    bits: int, engine_cache: Path
) -> None:
    engine = Engine.build(stateful(bits).encode(), cache_dir=engine_cache)
    n = bits // 8
    first, second = bytes(range(1, n + 1)), bytes(range(255, 255 - n, -1))
    assert engine.process(0, b"\x03" + bytes(n) + first) == [(2, b"\x03" + bytes(n) + first)]
    assert engine.register_read("cells", 0, 5) == [0, 0, 0, int.from_bytes(first, "big"), 0]
    engine.register_write("cells", 4, [int.from_bytes(second, "big")])
    assert engine.process(0, b"\x04" + bytes(n) + first) == [(2, b"\x04" + second + first)]
    assert engine.register_read("cells", 3, 2) == [int.from_bytes(first, "big")] * 2
    assert engine.register_read("other", 0, 2) == [0, 0]
    engine.close()


def test_register_beyond_its_end_changes_nothing(engine_cache: Path) -> None:
    engine = Engine.build(stateful(16).encode(), cache_dir=engine_cache)
    engine.register_write("cells", 0, [1, 2, 3, 4, 5])
    assert engine.process(0, b"\x05\xaa\xaa\xbb\xbb") == [(2, b"\x05\xaa\xaa\xbb\xbb")]
    assert engine.register_read("cells", 0, 5) == [1, 2, 3, 4, 5]
    for bad in ((5, [1]), (0, [1] * 6), (-1, [1]), (0, [1 << 16]), (0, [-1])):
        with pytest.raises(EntryError):
            engine.register_write("cells", *bad)
    with pytest.raises(EntryError):
        engine.register_read("cells", 3, 3)
    with pytest.raises(UnknownNameError):
        engine.register_read("none", 0, 1)
    engine.close()


def test_register_that_is_not_declared_is_refused() -> None:
    program = stateful(16)
    program.extra["register_arrays"] = []
    with pytest.raises(ConfigError, match="cells"):
        Engine.build(program.encode(), cache_dir=Path("/nonexistent"))


# --- direct meters --------------------------------------------------------------------------------


def metered(kind: str = "packets") -> Program:
    """The colour of the entry for h.key is sent in h.color."""
    program = forwarding([["key", 8], ["color", 8]])
    program.header("meta", [["color", 8]], metadata=True)
    program.extra["meter_arrays"] = [
        {
            "name": "rates",
            "id": 0,
            "is_direct": True,
            "rate_count": 2,
            "type": kind,
            "size": 4,
            "binding": "t",
            "result_target": ["meta", "color"],
        }
    ]
    program.action(
        "show",
        [],
        [
            assign("h", "color", field("meta", "color")),
            assign("standard_metadata", "egress_spec", const(2)),
        ],
    )
    program.table("t", [("h", "key", "exact")], [2, 0], default=0, size=4)
    program.ingress["tables"][0]["direct_meters"] = "rates"
    return program


@pytest.fixture
def engine(engine_cache: Path) -> Iterator[Engine]:
    made = Engine.build(metered().encode(), cache_dir=engine_cache)
    yield made
    made.close()


def color(engine: Engine, key: int, size: int = 2) -> int:
    ((_, out),) = engine.process(0, bytes([key, 9]) + bytes(size - 2))
    return out[1]


def insert(engine: Engine, key: int) -> int:
    return engine.insert("t", [KeyPart(key)], 0, "show", [])


def test_direct_meter_marks_the_packets_of_its_entry_only(engine: Engine) -> None:
    a, b = insert(engine, 1), insert(engine, 2)
    assert [color(engine, key) for key in (1, 2, 3)] == [0, 0, 9]
    engine.direct_meter_set("t", a, MeterConfig(0, 1, 0, 2))
    assert [color(engine, 1) for _ in range(4)] == [0, 1, 2, 2]
    assert color(engine, 2) == 0
    assert engine.direct_meter_counts("t", a) == ((2, 4), (1, 2), (2, 4))
    assert engine.direct_meter_counts("t", b) == ((2, 4), (0, 0), (0, 0))
    engine.direct_meter_set("t", a, None)
    assert color(engine, 1) == 0
    engine.set_direct_meter_counts("t", a, ((7, 8), (9, 10), (11, 12)))
    assert engine.direct_meter_counts("t", a) == ((7, 8), (9, 10), (11, 12))


def test_direct_meter_counts_bytes(engine_cache: Path) -> None:
    engine = Engine.build(metered("bytes").encode(), cache_dir=engine_cache)
    engine.direct_meter_set("t", insert(engine, 1), MeterConfig(0, 100, 0, 200))
    assert [color(engine, 1, 60) for _ in range(4)] == [0, 1, 1, 2]
    engine.close()


def test_direct_meter_is_gone_with_its_entry(engine: Engine) -> None:
    a = insert(engine, 1)
    engine.direct_meter_set("t", a, NOTHING)
    assert color(engine, 1) == 2
    engine.delete("t", a)
    with pytest.raises(UnknownNameError):
        engine.direct_meter_set("t", a, None)
    with pytest.raises(UnknownNameError):
        engine.direct_meter_counts("t", a)
    b = insert(engine, 1)  # in the place of the other
    assert engine.direct_meter_counts("t", b) == ((0, 0), (0, 0), (0, 0))
    assert color(engine, 1) == 0


def test_direct_meter_of_every_entry_of_a_full_table(engine: Engine) -> None:
    handles = [insert(engine, key) for key in range(4)]
    for handle in handles[::2]:
        engine.direct_meter_set("t", handle, NOTHING)
    assert [color(engine, key) for key in range(4)] == [2, 0, 2, 0]


def test_direct_meter_that_is_not_declared_is_refused() -> None:
    program = metered()
    program.extra["meter_arrays"] = []
    with pytest.raises(ConfigError, match="rates"):
        Engine.build(program.encode(), cache_dir=Path("/nonexistent"))
    program = metered()
    program.extra["meter_arrays"][0]["rate_count"] = 3
    with pytest.raises(UnsupportedError, match="two rates"):
        Engine.build(program.encode(), cache_dir=Path("/nonexistent"))


# --- indirect meters' counts ----------------------------------------------------------------------


def test_meter_counts_what_it_marks(engine_cache: Path) -> None:
    engine = Engine.build((DATA / "extras.json").read_bytes(), cache_dir=engine_cache)
    name = "ExtraIngress.by_packets"
    head = bytes(5) + b"\x03" + bytes(6) + b"\x20\x03"
    engine.meter_set(name, 3, MeterConfig(0, 1, 0, 3))
    for _ in range(5):
        engine.process(0, head + bytes(46))
    assert engine.meter_counts(name, 3) == ((1, 60), (2, 120), (2, 120))
    assert engine.meter_counts(name, 4) == ((0, 0), (0, 0), (0, 0))
    engine.set_meter_counts(name, 3, ((0, 0), (0, 0), (0, 0)))
    assert engine.meter_counts(name, 3) == ((0, 0), (0, 0), (0, 0))
    engine.close()


# --- the lock, and ports that are events ----------------------------------------------------------


def test_packets_wait_while_the_lock_is_held(engine: Engine) -> None:
    handle = insert(engine, 1)
    seen: list[int] = []
    worker = threading.Thread(target=lambda: seen.append(color(engine, 1)))
    with engine.hold():
        engine.direct_meter_set("t", handle, NOTHING)
        worker.start()
        assert color(engine, 1) == 2  # this thread may do anything
        engine.direct_meter_set("t", handle, None)
        worker.join(timeout=0.2)
        assert worker.is_alive()
        assert seen == []
    worker.join(timeout=10)
    assert seen == [0]


def outputs(engine: Engine, count: int) -> list[PortOutput]:
    """The next packets out of ports; the descriptor says when there is something."""
    found: list[PortOutput] = []
    while len(found) < count:
        assert select.select([engine.event_fd()], [], [], 10)[0], "nothing came out"
        found += [event for event in engine.take_events() if isinstance(event, PortOutput)]
    return found


def test_ports_that_are_events_need_no_interface_and_carry_any_frame(engine: Engine) -> None:
    insert(engine, 1)
    engine.set_events_only(True)
    engine.start()
    engine.inject(500, b"\x01\x09", packet_id=77)
    engine.inject(3, b"\x01\x09" + b"z" * 3000)
    assert outputs(engine, 2) == [
        PortOutput(2, 77, b"\x01\x00"),
        PortOutput(2, 0, b"\x01\x00" + b"z" * 3000),
    ]
    engine.stop()


# --- clones of what came in -----------------------------------------------------------------------


def test_ingress_clone_is_the_packet_as_it_came_with_the_listed_metadata(
    engine_cache: Path,
) -> None:
    program = forwarding([["a", 8], ["b", 8]])
    program.header("meta", [["kept", 8], ["lost", 8]], metadata=True)
    program.extra["field_lists"] = [
        {"id": 1, "name": "fl", "elements": [field("meta", "kept")]},
    ]
    program.action(
        "clone",
        [],
        [
            assign("meta", "kept", const(0x55)),
            assign("meta", "lost", const(0x66)),
            primitive("clone_ingress_pkt_to_egress", const(9), const(1)),
            assign("h", "a", const(0xEE)),
            assign("standard_metadata", "egress_spec", const(2)),
        ],
    )
    program.action(
        "show",
        [],
        [assign("h", "b", field("meta", "kept"))],
    )
    program.action("show_lost", [], [assign("h", "a", field("meta", "lost"))])
    program.table("t", [], [2], default=2)
    kinds = [("standard_metadata", "instance_type", "exact")]
    program.table("e", kinds, [3, 4, 1], default=1, egress=True)
    engine = Engine.build(program.encode(), cache_dir=engine_cache)
    assert engine.process(7, b"\x01\x02rest") == [(2, b"\xee\x02rest")]  # no such session
    engine.clone_session_set(9, [(4, 1), (5, 2)], 4)
    assert engine.process(7, b"\x01\x02rest") == [
        (4, b"\x01\x02re"),
        (5, b"\x01\x02re"),
        (2, b"\xee\x02rest"),
    ]
    shown = engine.insert("e", [KeyPart(1)], 0, "show", [])
    assert engine.process(7, b"\x01\x02")[:1] == [(4, b"\x01\x55")]
    engine.modify("e", shown, "show_lost", [])
    assert engine.process(7, b"\x01\x02")[:1] == [(4, b"\x00\x02")]
    engine.close()


# --- selectors of header fields -------------------------------------------------------------------


def selecting() -> Program:
    """The hash is of h.a and, where it is there, of x.b; the member's port is sent to."""
    program = forwarding([["a", 16]])
    program.header("x", [["b", 16]])
    program.state("more", [{"op": "extract", "parameters": [{"type": "regular", "value": "x"}]}])
    program.states[0]["transition_key"] = [{"type": "field", "value": ["h", "a"]}]
    program.states[0]["transitions"] = [
        {"type": "hexstr", "value": "0x0001", "mask": "0x0001", "next_state": "more"},
        {"type": "default", "value": None, "mask": None, "next_state": None},
    ]
    program.deparser = ["h", "x"]
    program.action("to", [("port", 9)], [assign("standard_metadata", "egress_spec", param(0))])
    program.table("t", [("standard_metadata", "ingress_port", "exact")], [2, 1], default=1)
    row = program.ingress["tables"][0]
    row |= {"type": "indirect_ws", "action_profile": "ways"}
    del row["default_entry"]
    program.ingress["action_profiles"] = [
        {
            "name": "ways",
            "id": 0,
            "max_size": 16,
            "selector": {"algo": "crc16", "input": [field("h", "a"), field("x", "b")]},
        }
    ]
    return program


def test_selector_hashes_fields_of_valid_headers_only(engine_cache: Path) -> None:
    engine = Engine.build(selecting().encode(), cache_dir=engine_cache)
    members = [engine.member_add("ways", "to", [10 + i]) for i in range(7)]
    group = engine.group_add("ways")
    engine.group_set("ways", group, members)
    engine.insert_indirect("t", [KeyPart(0)], 0, group=group)
    for number in range(64):
        data = number.to_bytes(2, "big") + bytes([number, 0x5A])
        hashed = data if number & 1 else data[:2]
        expected = crc16("".join(f"{byte:08b}" for byte in hashed)) % 7
        assert engine.process(0, data) == [(10 + expected, data)]
    engine.close()


# --- hashes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "size"), [(0, 7), (100, 30), (250, 1 << 16), (5, 0)])
def test_hash_is_crc16_of_valid_fields_and_constants(
    base: int, size: int, engine_cache: Path
) -> None:
    program = selecting()
    program.header("meta", [["result", 16]], metadata=True)
    program.ingress["tables"], program.ingress["action_profiles"] = [], []
    program.ingress["init_table"] = None
    program.calculations = [
        {
            "name": "calc",
            "id": 0,
            "algo": "crc16",
            "input": [
                {"type": "hexstr", "value": "0x5", "bitwidth": 3},
                {"type": "header", "value": "x"},
                {"type": "field", "value": ["h", "a"]},
            ],
        }
    ]
    calculation = {"type": "calculation", "value": "calc"}
    program.action(
        "hash",
        [],
        [
            primitive(
                "modify_field_with_hash_based_offset",
                field("h", "a"),
                const(base),
                calculation,
                const(size),
            ),
            assign("standard_metadata", "egress_spec", const(2)),
        ],
    )
    program.table("t", [], [3], default=3)
    engine = Engine.build(program.encode(), cache_dir=engine_cache)
    for number in (0, 1, 0x1235, 0xFFFE):
        data = number.to_bytes(2, "big") + b"\x12\x34"
        bits = "101" + (f"{0x1234:016b}" if number & 1 else "") + f"{number:016b}"
        expected = (crc16(bits) % (size or 1) + base) & 0xFFFF
        assert engine.process(0, data) == [(2, expected.to_bytes(2, "big") + b"\x12\x34")]
    engine.close()
