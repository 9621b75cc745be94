"""Expressions of the BMv2 JSON, sorted by type: integers, booleans, headers."""

from __future__ import annotations

from softswitch import ir
from softswitch.errors import UnsupportedError
from softswitch.load.scope import Scope
from softswitch.load.view import View

CAST_OPS = frozenset(("two_comp_mod", "usat_cast", "sat_cast"))
DATA_OPS = frozenset(("+", "-", "*", "/", "%", "<<", ">>", "&", "|", "^")) | CAST_OPS
COMPARE_OPS = frozenset(("==", "!=", "<", "<=", ">", ">="))
Params = tuple[tuple[str, int], ...]


class Expressions:
    """Reads expressions; `params` are the enclosing action's parameters (name, width).

    `negative` tells which of them may be negative.
    """

    def __init__(
        self, scope: Scope, params: Params = (), negative: frozenset[int] = frozenset()
    ) -> None:
        self.scope = scope
        self.params = params
        self.negative = negative

    def data(self, view: View) -> ir.Data:
        """An integer."""
        found = self._any(view)
        if isinstance(found, ir.Data):
            return found
        raise view.fail("expected an integer expression")

    def boolean(self, view: View) -> ir.Bool:
        """A boolean."""
        found = self._any(view)
        if isinstance(found, ir.Bool):
            return found
        raise view.fail("expected a boolean expression")

    def header(self, view: View) -> ir.HeaderRef:
        """A header."""
        found = self._any(view)
        if isinstance(found, ir.HeaderRef):
            return found
        raise view.fail("expected a header")

    def target(self, view: View) -> ir.Target:
        """An integer that can be assigned to."""
        found = self._any(view)
        if isinstance(found, ir.Target):
            return found
        raise view.fail("expected a field to assign to")

    def _any(self, view: View) -> ir.Data | ir.Bool | ir.HeaderRef:
        kind = view.get("type").text()
        value = view.get("value")
        match kind:
            case "expression":
                # p4c wraps an expression that is a parameter in a second object
                return self._any(value) if value.has("type") else self._operation(value)
            case "hexstr":
                return ir.Const(value.hexstr())
            case "bool":
                return ir.BoolConst(value.flag())
            case "field":
                return self.scope.field(value)
            case "header":
                return ir.NamedHeader(self.scope.header(value).name)
            case "stack_field":
                return self.scope.stack_field(value)
            case "local" | "runtime_data":
                return self._param(value)
        raise UnsupportedError(f"'{kind}' in an expression", view.path)

    def _param(self, value: View) -> ir.Param:
        index = value.integer()
        if not 0 <= index < len(self.params):
            raise value.fail(f"the action has no parameter {index}")
        return ir.Param(index, self.params[index][1], index in self.negative)

    def _operation(self, view: View) -> ir.Data | ir.Bool | ir.HeaderRef:
        op = view.get("op").text()
        right = view.get("right")
        match op:
            case "~":
                return ir.Unary("~", self.data(right))
            case "?":
                return self._choice(view)
            case "d2b":
                return ir.ToBool(self.data(right))
            case "b2d":
                return ir.FromBool(self.boolean(right))
            case "not":
                return ir.Not(self.boolean(right))
            case "valid":
                return ir.IsValid(self.header(right))
            case "and" | "or":
                return ir.Logic(op, self.boolean(view.get("left")), self.boolean(right))
            case "dereference_header_stack":
                return ir.StackItem(self._stack(view.get("left")), self.data(right))
            case "access_field":
                return self._access_field(view)
            case "last_stack_index":
                return ir.StackCount(self._stack(right), -1)
            case "size_stack":
                return ir.StackCount(self._stack(right), 0)
        if op in COMPARE_OPS:
            return self._compare(op, view)
        if op in DATA_OPS:
            left = view.opt("left")
            if left is None and op in ("+", "-"):
                return ir.Binary(op, ir.Const(0), self.data(right))
            operand = self.data(right)
            if op in CAST_OPS and not (isinstance(operand, ir.Const) and operand.value > 0):
                raise UnsupportedError(f"'{op}' to a computed width", view.path)
            return ir.Binary(op, self.data(view.get("left")), operand)
        raise UnsupportedError(f"operator '{op}'", view.path)

    def _stack(self, view: View) -> str:
        kind = view.get("type").text()
        if kind != "header_stack":
            raise UnsupportedError(f"'{kind}' as a header stack", view.path)
        return self.scope.stack(view.get("value")).name

    def _access_field(self, view: View) -> ir.Data:
        header = self.header(view.get("left"))
        index = view.get("right").integer()
        if isinstance(header, ir.NamedHeader):
            fields = self.scope.headers[header.name].type.fields
        else:
            fields = self.scope.stacks[header.stack].type.fields
        if not 0 <= index < len(fields) or fields[index].varbit:
            raise view.fail(f"no fixed field number {index}")
        if isinstance(header, ir.NamedHeader):
            return ir.FieldRef(header.name, fields[index].name)
        return ir.StackItemField(header, fields[index].name)

    def _choice(self, view: View) -> ir.Data | ir.Bool:
        cond = self.boolean(view.get("cond"))
        then, other = self._any(view.get("left")), self._any(view.get("right"))
        if isinstance(then, ir.Data) and isinstance(other, ir.Data):
            return ir.Choice(cond, then, other)
        if isinstance(then, ir.Bool) and isinstance(other, ir.Bool):
            return ir.BoolChoice(cond, then, other)
        raise UnsupportedError("'?' on headers or on mixed types", view.path)

    def _compare(self, op: str, view: View) -> ir.Bool:
        left, right = self._any(view.get("left")), self._any(view.get("right"))
        if isinstance(left, ir.Data) and isinstance(right, ir.Data):
            return ir.Compare(op, left, right)
        if op in ("==", "!="):
            if isinstance(left, ir.Bool) and isinstance(right, ir.Bool):
                return ir.Logic(op, left, right)
            if isinstance(left, ir.HeaderRef) and isinstance(right, ir.HeaderRef):
                return ir.SameHeader(left, right, op == "!=")
        raise view.fail(f"operands of '{op}' have different types")
