"""What the loader refuses, and that it says what and where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from softswitch.build import build
from softswitch.codegen import generate
from softswitch.config import load_program
from softswitch.engine import Engine
from softswitch.errors import CompileError, ConfigError, EngineError, UnsupportedError
from softswitch.tests.bmv2_json import (
    Json,
    Program,
    assign,
    const,
    field,
    forwarding,
    op,
    primitive,
)


def sending() -> Program:
    program = forwarding([["a", 8, False], ["b", 8, False]])
    program.table("t", [("h", "a", "exact")], [0, 1], default=1)
    return program


def _set(document: Json, path: list[Any], value: object) -> None:
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value


NOVEL = primitive("modify_field_rng_uniform", const(0), const(0), const(0))
TABLE = ["pipelines", 0, "tables", 0]
UNSUPPORTED: dict[str, tuple[list[Any], object, str, str]] = {
    "one-rate": (
        ["meter_arrays"],
        [{"name": "m1", "is_direct": False, "rate_count": 1}],
        "meter 'm1' without two rates",
        "$.meter_arrays[0]",
    ),
    "meter-type": (
        ["meter_arrays"],
        [{"name": "m1", "is_direct": False, "rate_count": 2, "type": "flows", "size": 1}],
        "meter type 'flows'",
        "$.meter_arrays[0]",
    ),
    "digest": (
        ["learn_lists"],
        [{"name": "d1", "id": 1, "elements": [{"type": "header", "value": "h"}]}],
        "'header' in a list of fields",
        "$.learn_lists[0].elements[0]",
    ),
    "value-set": (["parse_vsets"], [{"name": "v"}], "parser value set 'v'", "$.parse_vsets[0]"),
    "extern": (["extern_instances"], [{"name": "x"}], "extern 'x'", "$.extern_instances[0]"),
    "unknown-member": (["novelty"], [], "top-level member 'novelty'", "$.novelty"),
    "version": (["__meta__", "version"], [3, 0], "BMv2 JSON version 3.0", "$.__meta__.version"),
    "primitive": (
        ["actions", 0, "primitives", 0],
        NOVEL,
        "primitive 'modify_field_rng_uniform'",
        "$.actions[0].primitives[0]",
    ),
    "table-type": ([*TABLE, "type"], "novel", "table type 'novel'", "tables[0]"),
    "indirect-default": ([*TABLE, "type"], "indirect", "indirect table 't'", "default_entry"),
    "range": ([*TABLE, "match_type"], "range", "match kind 'range'", "match_type"),
    "selector-algorithm": (
        ["pipelines", 1, "action_profiles"],
        [{"name": "p", "max_size": 9, "selector": {"algo": "crc32", "input": []}}],
        "selector algorithm 'crc32'",
        "$.pipelines[1].action_profiles[0].selector.algo",
    ),
    "extract-union": (
        ["parsers", 0, "parse_states", 0, "parser_ops", 0, "parameters", 0, "type"],
        "union_stack",
        "extract into a 'union_stack'",
        "parser_ops[0]",
    ),
    "transition": (
        ["parsers", 0, "parse_states", 0, "transitions", 0, "type"],
        "parse_vset",
        "parser transition 'parse_vset'",
        "transitions[0]",
    ),
    "deparser-primitive": (
        ["deparsers", 0, "primitives"],
        [primitive("assert")],
        "deparser primitive 'assert'",
        "$.deparsers[0].primitives[0]",
    ),
    "checksum-algorithm": (
        ["checksums"],
        [{"type": "generic", "calculation": "c", "name": "s", "target": ["h", "a"]}],
        "checksum algorithm 'crc16'",
        "$.calculations[0].algo",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_unsupported_construct_is_refused_with_its_name_and_place(case: str) -> None:
    path, value, construct, where = UNSUPPORTED[case]
    program = sending()
    program.calculations = [{"name": "c", "id": 0, "algo": "crc16", "input": []}]
    load_program(program.encode())
    document = program.document()
    _set(document, path, value)
    with pytest.raises(UnsupportedError) as caught:
        load_program(json.dumps(document).encode())
    assert construct in caught.value.construct
    assert where in caught.value.where


MALFORMED: dict[str, tuple[list[Any], object, str]] = {
    "no-table": (["pipelines", 0, "init_table"], "nowhere", "no table or conditional 'nowhere'"),
    "no-state": (["parsers", 0, "init_state"], "nowhere", "no parser state 'nowhere'"),
    "no-next-state": (
        ["parsers", 0, "parse_states", 0, "transitions", 0, "next_state"],
        "nowhere",
        "no parser state 'nowhere'",
    ),
    "no-header": (["deparsers", 0, "order"], ["nowhere"], "no header 'nowhere'"),
    "no-field": ([*TABLE, "key", 0, "target"], ["h", "z"], "no field 'z'"),
    "no-action": ([*TABLE, "action_ids"], [0, 99], "no action with id 99"),
    "no-successor": ([*TABLE, "next_tables"], {"send": None}, "no next node after action 'nop'"),
    "wrong-type": ([*TABLE, "max_size"], "many", "expected an integer"),
    "missing": ([*TABLE, "key"], None, "member 'key' is missing"),
    "bad-hex": (
        ["actions", 0, "primitives", 0, "parameters", 1, "value"],
        "0xzz",
        "no hexadecimal string",
    ),
    "arguments": ([*TABLE, "default_entry", "action_data"], ["0x1"], "1 arguments for 0"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_program_is_refused_with_a_reason(case: str) -> None:
    path, value, message = MALFORMED[case]
    document = sending().document()
    _set(document, path, value)
    with pytest.raises(ConfigError, match=message.replace("'", ".")):
        load_program(json.dumps(document).encode())


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_what_is_no_program_at_all_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigError):
        load_program(document)


def test_operands_of_different_types_are_refused() -> None:
    program = sending()
    mixed = op("b2d", None, op("==", field("h", "a"), op("==", const(1), const(1))))
    program.action("mixed", [], [assign("h", "a", mixed)])
    with pytest.raises(ConfigError, match="different types"):
        load_program(program.encode())


def test_generated_text_is_the_same_every_time() -> None:
    document = sending().encode()
    assert generate(load_program(document)) == generate(load_program(document))


def test_build_when_cached_needs_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = generate(load_program(sending().encode()))
    path = build(text, tmp_path)
    monkeypatch.setattr("subprocess.run", None)
    assert build(text, tmp_path) == path


def test_build_without_a_compiler_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(CompileError, match="apt install gcc"):
        build("", tmp_path)


def test_build_of_bad_c_reports_the_compiler_and_caches_nothing(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="does_not_exist"):
        build('#include "does_not_exist.h"\n', tmp_path)
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["runtime"]


def test_engine_when_closed_refuses_packets(engine_cache: Path) -> None:
    engine = Engine.build(sending().encode(), cache_dir=engine_cache)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.process(1, b"")
    engine.stop()
