"""What happens around the pipelines: checksums, multicast, drops, metadata, counters, headers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from softswitch.engine import DropStats, Engine, KeyPart
from softswitch.errors import EntryError, UnknownNameError
from softswitch.tests.bmv2_json import (
    Json,
    Program,
    assign,
    const,
    extract,
    field,
    forwarding,
    op,
    param,
    primitive,
)


def header(name: str) -> Json:
    return {"type": "header", "value": name}


def rfc1071(data: bytes) -> int:
    """Straight from the RFC, for comparison."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- checksums ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def summed(engine_cache: Path) -> Engine:
    """h with options and a checksum over all of it, a constant and the payload; g is never there.

    Bit 0 of `flags` asks for verification, bit 1 for an update. Verification fails: port 9.
    """
    program = forwarding(
        [["flags", 8, False], ["len", 8, False], ["sum", 16, False], ["options", "*"]]
    )
    program.header_types[-1]["max_length"] = 20
    program.header("g", [["y", 16, False]])
    program.states.clear()
    length = op("*", field("h", "len"), const(8))
    ahead = {"type": "lookahead", "value": [8, 8]}
    program.header("m", [["len", 8, False]], metadata=True)
    length = op("*", field("m", "len"), const(8))
    program.state(
        "start",
        [
            {"op": "set", "parameters": [field("m", "len"), ahead]},
            {
                "op": "extract_VL",
                "parameters": [
                    {"type": "regular", "value": "h"},
                    {"type": "expression", "value": length},
                ],
            },
        ],
    )
    inputs = [
        field("h", "flags"),
        field("h", "len"),
        {"type": "hexstr", "value": "0xabcd", "bitwidth": 16},
        field("g", "y"),
        field("h", "options"),
        {"type": "payload", "value": None},
    ]
    program.calculations = [{"name": "calc", "id": 0, "algo": "csum16", "input": inputs}]
    for number, (name, bit) in enumerate((("verify", 1), ("update", 2))):
        cond = op("!=", op("&", field("h", "flags"), const(bit)), const(0))
        program.checksums.append(
            {
                "name": name,
                "id": number,
                "type": "generic",
                "target": ["h", "sum"],
                "calculation": "calc",
                "verify": bit == 1,
                "update": bit == 2,
                "if_cond": cond,
            }
        )
    port = op("+", op("*", field("standard_metadata", "checksum_error"), const(7)), const(2))
    send = program.action("check", [], [assign("standard_metadata", "egress_spec", port)])
    program.table("t", [], [send], default=send)
    return Engine.build(program.encode(), cache_dir=engine_cache)


@settings(max_examples=200, deadline=None)
@given(
    flags=st.integers(0, 3),
    options=st.binary(max_size=16),
    payload=st.binary(max_size=40),
    wrong=st.sampled_from([0, 1, 0xFF00]),
)
def test_checksum_over_varbit_and_payload_equals_rfc1071(
    summed: Engine, flags: int, options: bytes, payload: bytes, wrong: int
) -> None:
    head = bytes([flags, len(options)])
    right = rfc1071(head + b"\xab\xcd" + options + payload)
    sent = right ^ wrong
    packet = head + sent.to_bytes(2, "big") + options + payload
    [(port, out)] = summed.process(1, packet)
    assert port == (9 if flags & 1 and wrong else 2)
    after = right if flags & 2 else sent
    assert out == head + after.to_bytes(2, "big") + options + payload


def test_checksum_of_a_header_that_is_not_there_passes(summed: Engine) -> None:
    assert summed.process(1, b"\x01\x05\x00") == [(2, b"\x01\x05\x00")]


# --- ports, multicast, drops ----------------------------------------------------------------------


def director() -> Program:
    """Byte 0 chooses what to do in ingress; egress reports its metadata in front of the packet."""
    program = forwarding([["what", 8, False]])
    program.header(
        "r",
        [
            ["ingress_port", 16, False],
            ["egress_port", 16, False],
            ["rid", 16, False],
            ["type", 8, False],
            ["length", 16, False],
            ["spec", 16, False],
            ["seen", 8, False],
        ],
    )
    program.header("m", [["seen", 8, False]], metadata=True)
    program.deparser = ["r", "h"]
    std = "standard_metadata"
    unicast = program.action("unicast", [("port", 9)], [assign(std, "egress_spec", param(0))])
    multicast = program.action(
        "multicast",
        [("group", 16)],
        [assign(std, "egress_spec", const(511)), assign(std, "mcast_grp", param(0))],
    )
    drop = program.action(
        "drop", [], [assign(std, "mcast_grp", const(1)), primitive("mark_to_drop", header(std))]
    )
    mark = program.action("mark", [], [assign("m", "seen", const(77))])
    program.table("always", [], [mark], default=mark, after="t")
    program.table("t", [("h", "what", "exact")], [unicast, multicast, drop], default=drop)
    report = program.action(
        "report",
        [],
        [
            primitive("add_header", header("r")),
            assign("r", "ingress_port", field(std, "ingress_port")),
            assign("r", "egress_port", field(std, "egress_port")),
            assign("r", "rid", field(std, "egress_rid")),
            assign("r", "type", field(std, "instance_type")),
            assign("r", "length", field(std, "packet_length")),
            assign("r", "spec", field(std, "egress_spec")),
            assign("r", "seen", field("m", "seen")),
        ],
    )
    kill = program.action("kill", [], [primitive("mark_to_drop", header(std))])
    program.table("e", [(std, "egress_port", "exact")], [report, kill], default=report, egress=True)
    return program


@pytest.fixture(scope="module")
def directed(engine_cache: Path) -> Engine:
    engine = Engine.build(director().encode(), cache_dir=engine_cache)
    engine.insert("t", [KeyPart(1)], 0, "unicast", [300])
    engine.insert("t", [KeyPart(2)], 0, "multicast", [7])
    engine.insert("t", [KeyPart(3)], 0, "drop", [])
    engine.insert("t", [KeyPart(4)], 0, "multicast", [8])
    engine.insert("t", [KeyPart(5)], 0, "unicast", [6])
    engine.insert("e", [KeyPart(6)], 0, "kill", [])
    return engine


def _report(port: int, rid: int, kind: int, length: int) -> bytes:
    # egress_spec starts as drop port + 1, which is 0 in nine bits
    fields = [(5, 2), (port, 2), (rid, 2), (kind, 1), (length, 2), (0, 2), (77, 1)]
    return b"".join(value.to_bytes(size, "big") for value, size in fields)


def test_unicast_reaches_egress_with_its_metadata(directed: Engine) -> None:
    assert directed.process(5, b"\x01ab") == [(300, _report(300, 0, 0, 3) + b"\x01ab")]


def test_multicast_copies_keep_metadata_and_get_their_rid(directed: Engine) -> None:
    directed.multicast_set(7, [(1, 10), (2, 11), (6, 12), (1, 13)])
    assert directed.process(5, b"\x02ab") == [
        (port, _report(port, rid, 5, 3) + b"\x02ab") for port, rid in ((1, 10), (2, 11), (1, 13))
    ]
    directed.multicast_set(7, [(3, 65535)])
    assert [port for port, _ in directed.process(5, b"\x02ab")] == [3]
    directed.multicast_delete(7)
    assert directed.process(5, b"\x02ab") == []


@pytest.mark.parametrize("what", [0, 3, 4, 5], ids=["miss", "marked", "no-group", "egress"])
def test_dropped_packet_leaves_nothing(directed: Engine, what: int) -> None:
    assert directed.process(5, bytes([what])) == []


def test_multicast_group_out_of_range_or_missing_is_refused(directed: Engine) -> None:
    for group in (0, 65536, -1):
        with pytest.raises(EntryError):
            directed.multicast_set(group, [])
    with pytest.raises(UnknownNameError):
        directed.multicast_delete(99)
    assert directed.drop_stats() == DropStats(0, 0, 0, 0, 0, 0)


# --- headers and counters -------------------------------------------------------------------------


def test_packet_length_follows_added_and_removed_headers(engine_cache: Path) -> None:
    program = forwarding([["a", 8, False], ["b", 8, False]])
    program.header("g", [["length", 32, False]])
    program.deparser = ["g", "h"]
    std = "standard_metadata"
    change = program.action(
        "change",
        [],
        [
            assign(std, "egress_spec", const(2)),
            primitive("add_header", header("g")),
            primitive("add_header", header("g")),
            primitive("remove_header", header("h")),
            primitive("remove_header", header("h")),
        ],
    )
    program.table("t", [], [change], default=change)
    show = program.action("show", [], [assign("g", "length", field(std, "packet_length"))])
    program.table("e", [], [show], default=show, egress=True)
    engine = Engine.build(program.encode(), cache_dir=engine_cache)
    assert engine.process(1, b"abxyz") == [(2, (7).to_bytes(4, "big") + b"xyz")]
    engine.close()


def test_added_header_starts_at_zero_and_copies_carry_validity(engine_cache: Path) -> None:
    fields = [["a", 8, False], ["v", 160, False]]
    program = forwarding(fields)
    program.header("m", [["left", 8, False]], metadata=True)
    types = program.header_types
    for name in ("g", "f"):
        program.header(name, fields)
        program.headers[-1]["header_type"] = "h_t"
        types.pop()
    program.deparser = ["h", "g", "f"]
    std = "standard_metadata"
    change = program.action(
        "change",
        [],
        [
            assign(std, "egress_spec", const(2)),
            primitive("assign_header", header("g"), header("h")),
            primitive("remove_header", header("h")),
            primitive("add_header", header("h")),
            primitive("assign_header", header("f"), header("g")),
            primitive("remove_header", header("f")),
            primitive("assign_header", header("g"), header("f")),
            primitive("add_header", header("f")),
            assign("f", "a", op("b2d", None, op("valid", None, header("g")))),
        ],
    )
    program.table("t", [], [change], default=change)
    engine = Engine.build(program.encode(), cache_dir=engine_cache)
    assert engine.process(1, b"\x99" * 21 + b"!") == [(2, bytes(42) + b"!")]
    engine.close()


@pytest.fixture(scope="module")
def counting(engine_cache: Path) -> Engine:
    program = forwarding([["index", 8, False]])
    program.counters = [{"name": "c", "id": 0, "size": 100, "is_direct": False}]
    count = program.action(
        "count",
        [],
        [
            primitive("count", {"type": "counter_array", "value": "c"}, field("h", "index")),
            assign("standard_metadata", "egress_spec", const(2)),
        ],
    )
    program.table("t", [], [count], default=count)
    return Engine.build(program.encode(), cache_dir=engine_cache)


def test_indirect_counter_counts_received_bytes_per_cell(counting: Engine) -> None:
    for length in (1, 5, 9):
        counting.process(1, b"\x63" * length)
    counting.counter_write("c", 98, 5, 500)
    assert counting.counter_read("c", 97, 3) == [(0, 0), (5, 500), (3, 15)]


def test_indirect_counter_beyond_its_end_counts_nothing(counting: Engine) -> None:
    before = counting.counter_read("c", 0, 100)
    assert counting.process(1, b"\x64") == [(2, b"\x64")]
    assert counting.counter_read("c", 0, 100) == before
    for first, size in ((100, 1), (99, 2), (-1, 1)):
        with pytest.raises(EntryError):
            counting.counter_read("c", first, size)
    with pytest.raises(EntryError):
        counting.counter_write("c", 100, 0, 0)
    with pytest.raises(UnknownNameError):
        counting.counter_read("d", 0, 1)


def test_jumps_in_an_action_skip_primitives(engine_cache: Path) -> None:
    program = forwarding([["a", 8, False], ["b", 8, False]])
    body = [
        assign("standard_metadata", "egress_spec", const(2)),
        primitive("_jump_if_zero", field("h", "a"), const(4)),
        assign("h", "b", const(1)),
        primitive("_jump", const(5)),
        assign("h", "b", const(2)),
    ]
    jump = program.action("jump", [], body)
    program.table("t", [], [jump], default=jump)
    engine = Engine.build(program.encode(), cache_dir=engine_cache)
    assert engine.process(1, b"\x00\x09") == [(2, b"\x00\x02")]
    assert engine.process(1, b"\x07\x09") == [(2, b"\x07\x01")]
    engine.close()


def test_stack_element_by_computed_index_is_read_and_written(engine_cache: Path) -> None:
    program = forwarding([["i", 8, False]])
    program.stack("s", [["v", 8, False]], 3)
    program.states.clear()
    ops = [extract("h"), *(extract(f"s[{i}]") for i in range(3))]
    program.state("start", ops)
    program.deparser = ["h", "s[0]", "s[1]", "s[2]"]

    def item(index: Json) -> Json:
        stack = {"type": "header_stack", "value": "s"}
        return op("access_field", op("dereference_header_stack", stack, index), const(0))

    target = item(field("h", "i"))
    target["value"]["right"] = 0
    source = item(const(2))
    source["value"]["right"] = 0
    body = [
        assign("standard_metadata", "egress_spec", const(2)),
        primitive(
            "assign",
            {"type": "expression", "value": target},
            {"type": "expression", "value": op("+", source, const(1))},
        ),
    ]
    write = program.action("write", [], body)
    program.table("t", [], [write], default=write)
    engine = Engine.build(program.encode(), cache_dir=engine_cache)
    assert engine.process(1, b"\x00abc") == [(2, b"\x00dbc")]
    assert engine.process(1, b"\x01abc") == [(2, b"\x01adc")]
    assert engine.process(1, b"\x03abc") == [(2, b"\x03abc")]
    engine.close()


def test_engines_of_one_program_share_no_state(engine_cache: Path) -> None:
    document = director().encode()
    first = Engine.build(document, cache_dir=engine_cache)
    second = Engine.build(document, cache_dir=engine_cache)
    first.insert("t", [KeyPart(1)], 0, "unicast", [1])
    assert len(first.process(5, b"\x01")) == 1
    assert second.process(5, b"\x01") == []
    first.close()
    first.close()
    second.insert("t", [KeyPart(1)], 0, "unicast", [1])
    assert len(second.process(5, b"\x01")) == 1
    second.close()
