"""Packets that begin anew: resubmitted as they came, recirculated as they left."""

from __future__ import annotations

from pathlib import Path

import pytest
from softswitch.config import load_program
from softswitch.engine import Engine, KeyPart
from softswitch.errors import ConfigError
from softswitch.tests.bmv2_json import Program, assign, const, field, forwarding, op, primitive

RECIRCULATED, RESUBMITTED = 4, 6


def program(how: str, *, egress: bool) -> Program:
    """One header `h`, a table by its field a, or in ingress by what was kept. `again` counts in
    both, and begins anew; a miss does nothing. Ingress sends out of port 2, and writes what was
    kept into b where the instance type has an entry in `first`."""
    made = forwarding([["a", 8, False], ["b", 8, False]])
    made.header("meta", [["kept", 8, False], ["lost", 8, False]], metadata=True)
    made.extra["field_lists"] = [{"id": 1, "name": "fl", "elements": [field("meta", "kept")]}]
    made.action(
        "again",
        [],
        [
            assign("h", "a", op("+", field("h", "a"), const(1))),
            assign("meta", "kept", op("+", field("meta", "kept"), const(1))),
            assign("meta", "lost", const(0x66)),
            primitive(how, const(1)),
        ],
    )
    shown = op("+", field("meta", "kept"), field("meta", "lost"))
    send = assign("standard_metadata", "egress_spec", const(2))
    made.action("show", [], [assign("h", "b", shown), send])
    instance = [("standard_metadata", "instance_type", "exact")]
    made.table("first", instance, [3, 0], default=0, size=8, after=None if egress else "t")
    key = ("h", "a", "exact") if egress else ("meta", "kept", "exact")
    made.table("t", [key], [2, 1], default=1, size=8, egress=egress)
    return made


def built(made: Program, cache: Path) -> Engine:
    return Engine.build(made.encode(), cache_dir=cache)


def test_resubmitted_packet_is_as_it_came_and_keeps_the_list(engine_cache: Path) -> None:
    engine = built(program("resubmit", egress=False), engine_cache)
    engine.insert("first", [KeyPart(RESUBMITTED)], 0, "show", [])
    engine.insert("t", [KeyPart(0)], 0, "again", [])
    assert engine.process(7, b"\x10\x20rest") == [(2, b"\x10\x01rest")]
    assert engine.drop_stats().passes == 0
    engine.close()


def test_recirculated_packet_is_as_it_left_and_keeps_the_list(engine_cache: Path) -> None:
    engine = built(program("recirculate", egress=True), engine_cache)
    engine.insert("t", [KeyPart(0x10)], 0, "again", [])
    rest = b"r" * 300
    assert engine.process(7, b"\x10\x20" + rest) == [(2, b"\x11\x20" + rest)]
    engine.insert("first", [KeyPart(RECIRCULATED)], 0, "show", [])
    assert engine.process(7, b"\x10\x20" + rest) == [(2, b"\x11\x01" + rest)]
    assert engine.drop_stats().passes == 0
    engine.close()


@pytest.mark.parametrize(("how", "egress"), [("resubmit", False), ("recirculate", True)])
def test_packet_that_never_ends_is_dropped_and_counted(
    how: str, egress: bool, engine_cache: Path
) -> None:
    engine = built(program(how, egress=egress), engine_cache)
    engine.set_default("t", "again", [])
    assert engine.process(7, b"\x10\x20") == []
    assert engine.drop_stats().passes == 1
    engine.close()


def test_unknown_field_list_is_refused() -> None:
    made = program("resubmit", egress=False)
    made.extra["field_lists"] = []
    with pytest.raises(ConfigError, match="no field list 1"):
        load_program(made.encode())
