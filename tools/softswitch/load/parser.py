"""Parser states."""

from __future__ import annotations

from softswitch import ir
from softswitch.errors import UnsupportedError
from softswitch.load.expr import Expressions
from softswitch.load.scope import Scope
from softswitch.load.statement import load_statement
from softswitch.load.view import View


def load_parser(scope: Scope, root: View) -> ir.Parser:
    """The one parser; every state it mentions must exist."""
    parsers = list(root.get("parsers").each())
    if len(parsers) != 1 or parsers[0].get("name").text() != "parser":
        raise root.get("parsers").fail("expected one parser named 'parser'")
    item = parsers[0]
    states: dict[str, ir.State] = {}
    for view in item.get("parse_states").each():
        state = _state(scope, view)
        states[state.name] = state
    for view in item.get("parse_states").each():
        state = states[view.get("name").text()]
        for name in (state.default, *(case.next for case in state.cases)):
            if name is not None and name not in states:
                raise view.fail(f"no parser state '{name}'")
    start = item.get("init_state")
    if start.text() not in states:
        raise start.fail(f"no parser state '{start.text()}'")
    return ir.Parser(start.text(), states)


def _state(scope: Scope, item: View) -> ir.State:
    ops = tuple(_op(scope, view) for view in item.get("parser_ops").each())
    key = tuple(_key_field(scope, view) for view in item.get("transition_key").each())
    widths = [_key_width(scope, part) for part in key]
    cases: list[ir.Case] = []
    default: str | None = None
    for view in item.get("transitions").each():
        after = view.opt("next_state")
        following = None if after is None else after.text()
        kind = view.opt("type")
        value = view.opt("value")
        if (kind is not None and kind.text() == "default") or (
            value is not None and value.value == "default"
        ):
            # BMv2 keeps the last default and tries every other case first, wherever it stands
            default = following
        elif kind is not None and kind.text() != "hexstr":
            raise UnsupportedError(f"parser transition '{kind.text()}'", view.path)
        else:
            cases.append(_case(view, widths, following))
    return ir.State(item.get("name").text(), ops, key, tuple(cases), default)


def _case(view: View, widths: list[int], following: str | None) -> ir.Case:
    mask = view.opt("mask")
    values = _split(view.get("value").hexstr(), widths)
    if mask is None:
        return ir.Case(values, tuple(None for _ in widths), following)
    masks = _split(mask.hexstr(), widths)
    masked = tuple(v & m for v, m in zip(values, masks, strict=True))
    return ir.Case(masked, masks, following)


def _split(number: int, widths: list[int]) -> tuple[int, ...]:
    """Cut a number into fields, each padded to whole bytes, the last one lowest."""
    parts: list[int] = []
    for width in reversed(widths):
        padded = (width + 7) // 8 * 8
        parts.append(number & ((1 << padded) - 1))
        number >>= padded
    return tuple(reversed(parts))


def _key_field(scope: Scope, view: View) -> ir.KeyField:
    kind = view.get("type").text()
    match kind:
        case "field":
            return scope.field(view.get("value"))
        case "stack_field":
            return scope.stack_field(view.get("value"))
        case "lookahead":
            return _lookahead(view.get("value"))
    raise UnsupportedError(f"'{kind}' in a parser's transition key", view.path)


def _key_width(scope: Scope, part: ir.KeyField) -> int:
    match part:
        case ir.FieldRef():
            return scope.width(part)
        case ir.StackLast():
            found = scope.stacks[part.stack].type.field(part.field)
            assert found is not None
            return found.width
        case ir.Lookahead():
            return part.width


def _lookahead(pair: View) -> ir.Lookahead:
    offset, width = (view.integer() for view in pair.tuple(2))
    return ir.Lookahead(offset, width)


def _op(scope: Scope, item: View) -> ir.ParserOp:
    op = item.get("op").text()
    args = list(item.get("parameters").each())
    expressions = Expressions(scope)
    match op:
        case "extract":
            return _extract(scope, args[0], None)
        case "extract_VL":
            return _extract(scope, args[0], expressions.data(args[1]))
        case "set":
            target = scope_field(scope, args[0])
            if args[1].get("type").text() == "lookahead":
                return ir.SetLookahead(target, _lookahead(args[1].get("value")))
            return ir.Do(ir.Assign(target, expressions.data(args[1])))
        case "verify":
            return ir.Verify(expressions.boolean(args[0]), expressions.data(args[1]))
        case "advance":
            return ir.Advance(expressions.data(args[0]))
        case "shift":
            return ir.Advance(ir.Const(args[0].integer() * 8))
        case "primitive":
            statement = load_statement(expressions, args[0])
            if isinstance(statement, ir.Jump | ir.Exit | ir.Count):
                raise UnsupportedError(f"'{args[0].get('op').text()}' in a parser", item.path)
            return ir.Do(statement)
    raise UnsupportedError(f"parser operation '{op}'", item.path)


def scope_field(scope: Scope, view: View) -> ir.FieldRef:
    """A parameter that must be a plain field."""
    if view.get("type").text() != "field":
        raise UnsupportedError(f"parser sets a '{view.get('type').text()}'", view.path)
    return scope.field(view.get("value"))


def _extract(scope: Scope, view: View, varbit_bits: ir.Data | None) -> ir.ParserOp:
    kind = view.get("type").text()
    if kind == "regular":
        header = scope.header(view.get("value"))
        if (header.type.varbit is not None) != (varbit_bits is not None):
            raise view.fail(f"extract of '{header.name}' with a wrong number of arguments")
        return ir.Extract(header.name, varbit_bits)
    if kind == "stack":
        return ir.ExtractNext(scope.stack(view.get("value")).name, varbit_bits)
    raise UnsupportedError(f"extract into a '{kind}'", view.path)
