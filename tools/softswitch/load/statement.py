"""Primitives of actions and parser states."""

from __future__ import annotations

from softswitch import ir
from softswitch.errors import UnsupportedError
from softswitch.load.expr import Expressions, Params
from softswitch.load.scope import Scope
from softswitch.load.sums import hash_inputs
from softswitch.load.view import View

_PARAMETERS = {
    "assign": 2,
    "assign_VL": 2,
    "assign_header": 2,
    "assign_header_stack": 2,
    "add_header": 1,
    "remove_header": 1,
    "mark_to_drop": 1,
    "drop": 0,
    "count": 2,
    "execute_meter": 3,
    "register_read": 3,
    "register_write": 3,
    "modify_field_with_hash_based_offset": 4,
    "generate_digest": 2,
    "clone_egress_pkt_to_egress": 2,
    "clone_ingress_pkt_to_egress": 2,
    "resubmit": 1,
    "recirculate": 1,
    "exit": 0,
    "_jump": 1,
    "_jump_if_zero": 2,
}


def load_action(scope: Scope, item: View, negative: frozenset[int]) -> ir.Action:
    """An entry of `actions`; `negative` are parameters with negative arguments somewhere."""
    params: Params = tuple(
        (p.get("name").text(), p.get("bitwidth").integer()) for p in item.get("runtime_data").each()
    )
    body: list[ir.Statement] = []
    primitives = list(item.get("primitives").each())
    for primitive in primitives:
        statement = load_statement(Expressions(scope, params, negative), primitive)
        if isinstance(statement, ir.Jump) and not 0 <= statement.target <= len(primitives):
            raise primitive.fail(f"jump to primitive {statement.target} of {len(primitives)}")
        body.append(statement)
    name, action_id = item.get("name").text(), item.get("id").integer()
    return ir.Action(name, action_id, params, tuple(body), negative)


def load_statement(expressions: Expressions, item: View) -> ir.Statement:
    """One primitive with its parameters."""
    scope = expressions.scope
    op = item.get("op").text()
    if op not in _PARAMETERS:
        raise UnsupportedError(f"primitive '{op}'", item.path)
    args = item.get("parameters").tuple(_PARAMETERS[op])
    match op:
        case "assign":
            return ir.Assign(expressions.target(args[0]), expressions.data(args[1]))
        case "assign_VL":
            return ir.AssignVarbit(_varbit(scope, args[0]), _varbit(scope, args[1]))
        case "assign_header":
            target, source = expressions.header(args[0]), expressions.header(args[1])
            return ir.AssignHeader(target, source)
        case "assign_header_stack":
            return ir.AssignStack(_stack(scope, args[0]), _stack(scope, args[1]))
        case "add_header" | "remove_header":
            return ir.SetValid(expressions.header(args[0]), op == "add_header")
        case "mark_to_drop":
            header = expressions.header(args[0])
            if not isinstance(header, ir.NamedHeader):
                raise args[0].fail("expected a metadata instance")
            return ir.MarkToDrop(header.name)
        case "drop":
            return ir.MarkToDrop("standard_metadata")
        case "count":
            return ir.Count(_counter(scope, args[0]), expressions.data(args[1]))
        case "execute_meter":
            color = expressions.target(args[2])
            if not isinstance(color, ir.FieldRef):
                raise UnsupportedError("meter colour in a header stack", args[2].path)
            index = expressions.data(args[1])
            return ir.ExecuteMeter(_meter(scope, args[0]), index, color)
        case "register_read":
            loaded = expressions.target(args[0])
            if not isinstance(loaded, ir.FieldRef):
                raise UnsupportedError("register read into a header stack", args[0].path)
            index = expressions.data(args[2])
            return ir.RegisterRead(loaded, _register(scope, args[1]), index)
        case "register_write":
            index, value = expressions.data(args[1]), expressions.data(args[2])
            return ir.RegisterWrite(_register(scope, args[0]), index, value)
        case "modify_field_with_hash_based_offset":
            hashed = expressions.target(args[0])
            if not isinstance(hashed, ir.FieldRef):
                raise UnsupportedError("hash into a header stack", args[0].path)
            inputs = hash_inputs(scope, _typed(args[2], "calculation"))
            return ir.Hash(hashed, inputs, expressions.data(args[1]), expressions.data(args[3]))
        case "generate_digest":
            learn = _constant(expressions, args[1])
            if learn not in scope.learn_lists:
                raise args[1].fail(f"no learn list {learn}")
            return ir.GenerateDigest(learn)
        case "clone_egress_pkt_to_egress" | "clone_ingress_pkt_to_egress":
            fields = _constant(expressions, args[1])
            if fields and fields not in scope.field_lists:
                raise args[1].fail(f"no field list {fields}")
            clone = ir.CloneIngress if "ingress" in op else ir.CloneEgress
            return clone(expressions.data(args[0]), fields)
        case "resubmit" | "recirculate":
            fields = _constant(expressions, args[0])
            if fields not in scope.field_lists:
                raise args[0].fail(f"no field list {fields}")
            return ir.Again(fields, op == "recirculate")
        case "exit":
            return ir.Exit()
        case "_jump":
            return ir.Jump(_constant(expressions, args[0]))
        case "_jump_if_zero":
            return ir.Jump(_constant(expressions, args[1]), expressions.data(args[0]))
    raise AssertionError(op)


def _constant(expressions: Expressions, view: View) -> int:
    value = expressions.data(view)
    if not isinstance(value, ir.Const):
        raise UnsupportedError("computed value where a constant belongs", view.path)
    return value.value


def _typed(view: View, kind: str) -> View:
    if view.get("type").text() != kind:
        raise UnsupportedError(f"'{view.get('type').text()}' where a {kind} belongs", view.path)
    return view.get("value")


def _varbit(scope: Scope, view: View) -> tuple[str, str]:
    return scope.varbit(_typed(view, "field"))


def _stack(scope: Scope, view: View) -> str:
    return scope.stack(_typed(view, "header_stack")).name


def _counter(scope: Scope, view: View) -> str:
    name = _typed(view, "counter_array")
    if name.text() not in scope.counters:
        raise name.fail(f"no indirect counter '{name.text()}'")
    return name.text()


def _meter(scope: Scope, view: View) -> str:
    name = _typed(view, "meter_array")
    if name.text() not in scope.meters:
        raise name.fail(f"no indirect meter '{name.text()}'")
    return name.text()


def _register(scope: Scope, view: View) -> str:
    name = _typed(view, "register_array")
    if name.text() not in scope.registers:
        raise name.fail(f"no register '{name.text()}'")
    return name.text()
