"""Reads a BMv2 JSON document (as p4c emits it for v1model) into the intermediate form.

Whatever the switch does not implement is refused here, with the construct's name and its place in
the document; nothing is ignored in silence. Format: docs/JSON_format.md of behavioral-model,
version 2.
"""

from __future__ import annotations

import json

from softswitch import ir
from softswitch.errors import INCONSISTENT, ConfigError, UnsupportedError, inconsistent
from softswitch.load.control import load_pipeline, load_profile, negative_arguments
from softswitch.load.expr import Expressions
from softswitch.load.headers import load_scope
from softswitch.load.parser import load_parser
from softswitch.load.scope import Scope
from softswitch.load.statement import load_action
from softswitch.load.sums import sum_inputs
from softswitch.load.view import View

MAJOR_VERSION = 2
MAX_MINOR_VERSION = 23

_READ = frozenset(
    (
        "__meta__",
        "header_types",
        "headers",
        "header_stacks",
        "header_unions",
        "header_union_types",
        "errors",
        "parsers",
        "deparsers",
        "counter_arrays",
        "meter_arrays",
        "register_arrays",
        "learn_lists",
        "field_lists",
        "actions",
        "pipelines",
        "calculations",
        "checksums",
        "field_aliases",
    )
)
# Without effect on packets unless something that is refused elsewhere refers to them.
_INERT = frozenset(("program", "enums", "force_arith", "config_options"))
_NOT_YET = {
    "header_union_stacks": "header union stack",
    "parse_vsets": "parser value set",
    "extern_instances": "extern",
}
_REQUIRED_METADATA = (
    "ingress_port",
    "packet_length",
    "instance_type",
    "egress_spec",
    "egress_port",
)


def load_program(document: bytes) -> ir.Program:
    """Read and check a document; raises ConfigError, or UnsupportedError naming the construct."""
    try:
        root = View(json.loads(document))
    except ValueError as error:
        raise ConfigError(f"not JSON: {error}", "$") from None
    except RecursionError:
        raise ConfigError("nested too deeply", "$") from None
    try:
        return _load(root)
    except INCONSISTENT as error:
        raise inconsistent(error) from error


def _load(root: View) -> ir.Program:
    _check_top_level(root)
    scope = load_scope(root)
    if "standard_metadata" not in scope.headers:
        raise root.get("headers").fail("no 'standard_metadata': not a v1model program")
    for name in _REQUIRED_METADATA:
        if scope.headers["standard_metadata"].type.field(name) is None:
            raise root.get("headers").fail(f"standard_metadata has no field '{name}'")
    counters, direct = _counters(root)
    scope.counters = counters
    scope.meters, scope.direct_meters = _meters(scope, root)
    scope.registers = _registers(root)
    scope.learn_lists = _learn_lists(scope, root)
    scope.field_lists = _field_lists(scope, root)
    scope.calculations = {item.get("name").text(): item for item in root.get("calculations").each()}
    negative = negative_arguments(root)
    actions: dict[int, ir.Action] = {}
    for item in root.get("actions").each():
        action_id = item.get("id").integer()
        actions[action_id] = load_action(scope, item, negative.get(action_id, frozenset()))
    pipelines = {}
    profiles: dict[str, ir.Profile] = {}
    for item in root.get("pipelines").each():
        listed = item.opt("action_profiles")
        for view in () if listed is None else listed.each():
            profile = load_profile(scope, view)
            profiles[profile.name] = profile
    for item in root.get("pipelines").each():
        pipelines[item.get("name").text()] = load_pipeline(scope, actions, item)
    if sorted(pipelines) != ["egress", "ingress"]:
        raise root.get("pipelines").fail("expected the pipelines 'ingress' and 'egress'")
    return ir.Program(
        headers=scope.headers,
        stacks=scope.stacks,
        unions=scope.unions,
        errors={
            name.text(): code.integer()
            for name, code in (pair.tuple(2) for pair in root.get("errors").each())
        },
        parser=load_parser(scope, root),
        actions=actions,
        ingress=pipelines["ingress"],
        egress=pipelines["egress"],
        deparser=_deparser(scope, root),
        checksums=_checksums(scope, root),
        counters=counters,
        direct_counters=direct,
        aliases={
            name.text(): scope.field(target)
            for name, target in (pair.tuple(2) for pair in root.get("field_aliases").each())
        },
        meters=scope.meters,
        direct_meters=scope.direct_meters,
        registers=scope.registers,
        profiles=profiles,
        learn_lists=scope.learn_lists,
        field_lists=scope.field_lists,
    )


def _check_top_level(root: View) -> None:
    for name, view in root.items():
        if name in _READ or name in _INERT:
            continue
        if name not in _NOT_YET:
            raise UnsupportedError(f"top-level member '{name}'", view.path)
        for item in view.each():
            title = item.opt("name")
            label = f"{_NOT_YET[name]} '{title.text()}'" if title is not None else _NOT_YET[name]
            raise UnsupportedError(label, item.path)
    meta = root.opt("__meta__")
    version = None if meta is None else meta.opt("version")
    if version is not None:
        major, minor = (view.integer() for view in version.tuple(2))
        if major != MAJOR_VERSION or minor > MAX_MINOR_VERSION:
            raise UnsupportedError(f"BMv2 JSON version {major}.{minor}", version.path)


def _counters(root: View) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes of the indirect counters, tables of the direct ones, by counter name."""
    indirect: dict[str, int] = {}
    direct: dict[str, str] = {}
    for item in root.get("counter_arrays").each():
        name = item.get("name").text()
        if item.get("is_direct").flag():
            direct[name] = item.get("binding").text()
        else:
            indirect[name] = item.get("size").size()
    return indirect, direct


def _meters(scope: Scope, root: View) -> tuple[dict[str, ir.Meter], dict[str, ir.DirectMeter]]:
    meters: dict[str, ir.Meter] = {}
    direct: dict[str, ir.DirectMeter] = {}
    listed = root.opt("meter_arrays")
    for item in () if listed is None else listed.each():
        name = item.get("name").text()
        if item.get("rate_count").integer() != 2:
            raise UnsupportedError(f"meter '{name}' without two rates", item.path)
        kind = item.get("type").text()
        if kind not in ("packets", "bytes"):
            raise UnsupportedError(f"meter type '{kind}'", item.path)
        if item.get("is_direct").flag():
            target = scope.field(item.get("result_target"))
            direct[name] = ir.DirectMeter(kind == "packets", target)
        else:
            meters[name] = ir.Meter(item.get("size").size(), kind == "packets")
    return meters, direct


def _registers(root: View) -> dict[str, ir.Register]:
    listed = root.opt("register_arrays")
    registers: dict[str, ir.Register] = {}
    for item in () if listed is None else listed.each():
        width = item.get("bitwidth").integer()
        if width < 1:
            raise item.get("bitwidth").fail(f"{width} bits, expected 1 or more")
        registers[item.get("name").text()] = ir.Register(item.get("size").size(), width)
    return registers


def _list_fields(scope: Scope, item: View) -> tuple[ir.FieldRef, ...]:
    fields = []
    for view in item.get("elements").each():
        kind = view.get("type").text()
        if kind != "field":
            raise UnsupportedError(f"'{kind}' in a list of fields", view.path)
        fields.append(scope.field(view.get("value")))
    return tuple(fields)


def _learn_lists(scope: Scope, root: View) -> dict[int, ir.LearnList]:
    listed = root.opt("learn_lists")
    return {
        item.get("id").integer(): ir.LearnList(item.get("name").text(), _list_fields(scope, item))
        for item in (() if listed is None else listed.each())
    }


def _field_lists(scope: Scope, root: View) -> dict[int, tuple[ir.FieldRef, ...]]:
    listed = root.opt("field_lists")
    return {
        item.get("id").integer(): _list_fields(scope, item)
        for item in (() if listed is None else listed.each())
    }


def _deparser(scope: Scope, root: View) -> tuple[str, ...]:
    deparsers = list(root.get("deparsers").each())
    if len(deparsers) != 1:
        raise root.get("deparsers").fail("expected one deparser")
    primitives = deparsers[0].opt("primitives")
    for primitive in [] if primitives is None else primitives.each():
        raise UnsupportedError(f"deparser primitive '{primitive.get('op').text()}'", primitive.path)
    return tuple(scope.header(view).name for view in deparsers[0].get("order").each())


def _checksums(scope: Scope, root: View) -> tuple[ir.Checksum, ...]:
    result: list[ir.Checksum] = []
    for item in root.get("checksums").each():
        kind = item.get("type")
        if kind.text() != "generic":
            raise UnsupportedError(f"checksum type '{kind.text()}'", kind.path)
        name = item.get("calculation")
        if name.text() not in scope.calculations:
            raise name.fail(f"no calculation '{name.text()}'")
        calculation = scope.calculations[name.text()]
        algorithm = calculation.get("algo")
        if algorithm.text() != "csum16":
            raise UnsupportedError(f"checksum algorithm '{algorithm.text()}'", algorithm.path)
        inputs, payload = sum_inputs(scope, calculation)
        cond, verify, update = item.opt("if_cond"), item.opt("verify"), item.opt("update")
        result.append(
            ir.Checksum(
                name=item.get("name").text(),
                target=scope.field(item.get("target")),
                inputs=inputs,
                payload=payload,
                cond=None if cond is None else Expressions(scope).boolean(cond),
                verify=verify is None or verify.flag(),
                update=update is None or update.flag(),
            )
        )
    return tuple(result)
