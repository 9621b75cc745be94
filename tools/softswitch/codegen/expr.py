"""Expressions to C.

BMv2 computes with unbounded integers and truncates when it stores. Two ways to the same result:

- `low(e, bits)`: only the low bits are asked for. Sums, products, left shifts and bit operations
  need only the low bits of their operands, so they run in 64 or 128 bits, or limbs.
- `exact(e)`: the true value, in a container wide enough for the bounds that `interval` computes.
  Comparisons, right shifts and divisions need it.

A value is C text of type uint64_t (1 word) or sw_u128 (2 words), or an array's name (more words).
"""

from __future__ import annotations

from dataclasses import dataclass

from softswitch import ir
from softswitch.codegen.interval import bits_for, interval, of_width
from softswitch.codegen.layout import Layout, words
from softswitch.codegen.writer import Writer
from softswitch.errors import UnsupportedError

MAX_WORDS = 64
_COMPARE = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_WIDE = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}


@dataclass(frozen=True, slots=True)
class Value:
    """C text and the number of words of its type."""

    text: str
    words: int


def number(value: int, n: int) -> str:
    """A constant of one or two words, modulo their size."""
    if n == 1:
        return f"0x{value & (1 << 64) - 1:x}ull"
    value &= (1 << 128) - 1
    return f"sw_pair(0x{value >> 64:x}ull, 0x{value & (1 << 64) - 1:x}ull)"


class ExprGen:
    """Writes expressions; wide ones leave statements in `w` first.

    `where` names the construct in errors; `param_words` gives each action parameter's place in the
    argument words.
    """

    def __init__(
        self, layout: Layout, w: Writer, where: str, param_words: tuple[int, ...] = ()
    ) -> None:
        self.layout = layout
        self.w = w
        self.where = where
        self.param_words = param_words

    # --- stores -------------------------------------------------------------------------------

    def truncated(self, e: ir.Data, width: int) -> Value:
        """The value modulo 2^width, nothing above."""
        n = words(width)
        low, high = interval(self.layout, e)
        if low >= 0 and high < 1 << width:
            return self.resize(self.exact(e), n, False)
        return self.cut(self.low(e, width), width)

    def cut(self, value: Value, width: int) -> Value:
        """A number's lowest bits, nothing above."""
        n = words(width)
        value = self.resize(value, n, False)
        if width == 64 * n:
            return value
        if n <= 2:
            return Value(f"({value.text} & {number((1 << width) - 1, n)})", n)
        copy = self._copy(value, n, False)
        self.w.line(f"sw_wide_trim({copy.text}, {n}, {width}, false);")
        return copy

    # --- containers ---------------------------------------------------------------------------

    def resize(self, value: Value, n: int, signed: bool) -> Value:
        """The same number in n words: truncated, or extended by its sign if `signed`."""
        m, text = value.words, value.text
        if m == n:
            return value
        if n == 1:
            return Value(f"(uint64_t)({text})" if m == 2 else f"{text}[0]", 1)
        if n == 2:
            if m > 2:
                return Value(f"sw_wide_low128({text})", 2)
            return Value(f"(sw_u128)(int64_t)({text})" if signed else f"(sw_u128)({text})", 2)
        return self._copy(value, n, signed)

    def _copy(self, value: Value, n: int, signed: bool) -> Value:
        name = self._array(n)
        sign = "true" if signed else "false"
        if value.words > 2:
            call = f"sw_wide_copy({name}, {n}, {value.text}, {value.words}, {sign});"
        else:
            call = f"sw_wide_from{64 * value.words}({name}, {n}, {value.text}, {sign});"
        self.w.line(call)
        return Value(name, n)

    def _array(self, n: int) -> str:
        if n > MAX_WORDS:
            raise UnsupportedError(f"arithmetic on more than {64 * MAX_WORDS} bits", self.where)
        name = self.w.temp()
        self.w.line(f"uint64_t {name}[{n}];")
        return name

    # --- the true value -----------------------------------------------------------------------

    def exact(self, e: ir.Data) -> Value:
        """The value, in two's complement if its bounds admit negative numbers."""
        bounds = interval(self.layout, e)
        n = words(bits_for(*bounds))
        match e:
            case ir.Binary("<<" | "+" | "-" | "*" | "&" | "|" | "^" | "two_comp_mod"):
                if n > MAX_WORDS:
                    raise UnsupportedError(f"'{e.op}' on unbounded operands", self.where)
                return self.low(e, 64 * n)
            case ir.Binary(">>"):
                value = self.exact(e.left)
                return self.resize(self._shift_right(e, value), n, bounds[0] < 0)
            case ir.Binary("/" | "%"):
                return self._divide(e, n)
            case ir.Binary("usat_cast" | "sat_cast"):
                return self.resize(self._saturate(e), n, bounds[0] < 0)
            case ir.FromBool():
                return Value(f"(uint64_t)({self.boolean(e.arg)})", 1)
            case ir.StackCount():
                count = f"(uint64_t)p->{self.layout.stack(e.stack)}.next"
                return Value(f"({count} + {number(e.add, 1)})" if e.add else count, 1)
            case ir.FieldRef() | ir.StackLast() | ir.StackItemField() | ir.Param():
                return self._load(e)
        return self.low(e, 64 * n)

    def _load(self, e: ir.FieldRef | ir.StackLast | ir.StackItemField | ir.Param) -> Value:
        match e:
            case ir.Param(index, width, signed):
                at, n = self.param_words[index], words(width + signed)
                if n == 1:
                    return Value(f"a[{at}]", 1)
                return Value(f"sw_pair(a[{at + 1}], a[{at}])" if n == 2 else f"(a + {at})", n)
            case ir.FieldRef():
                return self._field(self.layout.field(e), self.layout.field_type(e))
            case ir.StackLast():
                stack = self.layout.program.stacks[e.stack]
                last = self.w.temp()
                member = f"p->{self.layout.stack(e.stack)}"
                # an empty stack has no last element: BMv2 leaves it undefined, here it is the first
                self.w.line(f"const uint32_t {last} = {member}.next ? {member}.next - 1 : 0;")
                return self._stack_field(stack, f"{member}.at[{last}]", e.field)
            case ir.StackItemField():
                stack = self.layout.program.stacks[e.item.stack]
                return self._stack_field(stack, self.item(e.item), e.field)

    def _stack_field(self, stack: ir.Stack, header: str, name: str) -> Value:
        field = stack.type.field(name)
        assert field is not None
        return self._field(self.layout.field_of(header, stack.type, name), field)

    def _field(self, text: str, field: ir.FieldType) -> Value:
        n = words(field.width)
        if n == 1:
            value = f"(uint64_t){text}"
            return Value(f"sw_sign64({value}, {field.width})" if field.signed else value, 1)
        if n == 2:
            return Value(f"sw_sign128({text}, {field.width})" if field.signed else text, 2)
        if not field.signed:
            return Value(text, n)
        copy = self._copy(Value(text, n), n, False)
        self.w.line(f"sw_wide_trim({copy.text}, {n}, {field.width}, true);")
        return copy

    def item(self, item: ir.StackItem) -> str:
        """A stack element by computed index; beyond the end, the last one."""
        size = len(self.layout.program.stacks[item.stack].headers)
        index = self.w.temp()
        self.w.line(f"uint64_t {index} = {self.resize(self.exact(item.index), 1, False).text};")
        self.w.line(f"if ({index} >= {size})")
        self.w.line(f"    {index} = {size - 1};")
        return f"p->{self.layout.stack(item.stack)}.at[{index}]"

    def _amount(self, e: ir.Data) -> str:
        return f"(uint32_t)({self.resize(self.exact(e), 1, False).text})"

    def _shift_right(self, e: ir.Binary, value: Value) -> Value:
        signed = interval(self.layout, e.left)[0] < 0
        amount = self._amount(e.right)
        if value.words <= 2:
            name = f"sw_{'sar' if signed else 'shr'}{64 * value.words}"
            return Value(f"{name}({value.text}, {amount})", value.words)
        name = self._array(value.words)
        sign = "true" if signed else "false"
        self.w.line(f"sw_wide_shr({name}, {value.text}, {value.words}, {amount}, {sign});")
        return Value(name, value.words)

    def _divide(self, e: ir.Binary, n: int) -> Value:
        bounds = [interval(self.layout, side) for side in (e.left, e.right)]
        if bounds[0][0] < 0 or bounds[1][0] < 0:
            raise UnsupportedError(f"'{e.op}' on negative operands", self.where)
        m = max(words(bits_for(*b)) for b in bounds)
        if m > 2:
            raise UnsupportedError(f"'{e.op}' on more than 128 bits", self.where)
        left, right = (self.resize(self.exact(side), m, False) for side in (e.left, e.right))
        name = f"sw_{'div' if e.op == '/' else 'mod'}{64 * m}"
        return self.resize(Value(f"{name}({left.text}, {right.text})", m), n, False)

    def _saturate(self, e: ir.Binary) -> Value:
        assert isinstance(e.right, ir.Const)
        least, most = of_width(e.right.value, e.op == "sat_cast")
        low, high = interval(self.layout, e.left)
        n = words(bits_for(min(low, least), max(high, most)))
        value = self.resize(self.exact(e.left), n, low < 0)
        for bound, op in ((most, ">"), (least, "<")):
            limit = self._constant(bound, n)
            test = self._test(op, value, limit, min(low, least) < 0)
            value = self._pick(test, limit, value)
        return value

    # --- the low bits -------------------------------------------------------------------------

    def low(self, e: ir.Data, bits: int) -> Value:
        """A value in words(bits) whose low bits are right; those above may hold anything."""
        n = words(bits)
        match e:
            case ir.Const(value):
                return self._constant(value, n)
            case ir.Unary():
                return self._invert(self.low(e.arg, bits), n)
            case ir.Choice():
                cond = self.boolean(e.cond)
                return self._pick(cond, self.low(e.then, bits), self.low(e.other, bits))
            case ir.Binary("&"):
                return self._and(e, bits)
            case ir.Binary("+" | "-" | "*" | "|" | "^" as op):
                return self._arith(op, self.low(e.left, bits), self.low(e.right, bits))
            case ir.Binary("<<"):
                return self._shift_left(e, bits)
            case ir.Binary("two_comp_mod"):
                return self._two_comp_mod(e, bits)
        return self.resize(self.exact(e), n, interval(self.layout, e)[0] < 0)

    def _constant(self, value: int, n: int) -> Value:
        if n <= 2:
            return Value(number(value, n), n)
        name = self._array(n)
        for i in range(n):
            self.w.line(f"{name}[{i}] = {number(value >> 64 * i, 1)};")
        return Value(name, n)

    def _invert(self, value: Value, n: int) -> Value:
        if n <= 2:
            return Value(f"~({value.text})", n)
        name = self._array(n)
        self.w.line(f"sw_wide_not({name}, {value.text}, {n});")
        return Value(name, n)

    def _pick(self, cond: str, then: Value, other: Value) -> Value:
        n = then.words
        if n <= 2:
            return Value(f"(({cond}) ? {then.text} : {other.text})", n)
        name = self._array(n)
        self.w.line(f"sw_wide_pick({name}, {cond}, {then.text}, {other.text}, {n});")
        return Value(name, n)

    def _arith(self, op: str, left: Value, right: Value) -> Value:
        n = left.words
        if n <= 2:
            return Value(f"({left.text} {op} {right.text})", n)
        name = self._array(n)
        self.w.line(f"sw_wide_{_WIDE[op]}({name}, {left.text}, {right.text}, {n});")
        return Value(name, n)

    def _and(self, e: ir.Binary, bits: int) -> Value:
        # p4c masks every sum: a side without high bits frees the other from having them
        for masked, mask in ((e.left, e.right), (e.right, e.left)):
            low, high = interval(self.layout, mask)
            if low >= 0 and high.bit_length() < bits:
                narrow = max(1, high.bit_length())
                right = self.exact(mask)
                left = self.resize(self.low(masked, narrow), right.words, False)
                return self.resize(self._arith("&", left, right), words(bits), False)
        return self._arith("&", self.low(e.left, bits), self.low(e.right, bits))

    def _shift_left(self, e: ir.Binary, bits: int) -> Value:
        n = words(bits)
        value = self.low(e.left, bits)
        amount = self._amount(e.right)
        if n <= 2:
            return Value(f"sw_shl{64 * n}({value.text}, {amount})", n)
        name = self._array(n)
        self.w.line(f"sw_wide_shl({name}, {value.text}, {n}, {amount});")
        return Value(name, n)

    def _two_comp_mod(self, e: ir.Binary, bits: int) -> Value:
        assert isinstance(e.right, ir.Const)
        width = e.right.value
        if bits <= width:
            return self.low(e.left, bits)
        n = words(width)
        value = self.low(e.left, width)
        if n <= 2:
            signed = Value(f"sw_sign{64 * n}({value.text}, {width})", n)
        else:
            signed = self._copy(value, n, False)
            self.w.line(f"sw_wide_trim({signed.text}, {n}, {width}, true);")
        return self.resize(signed, words(bits), True)

    # --- booleans -----------------------------------------------------------------------------

    def boolean(self, e: ir.Bool) -> str:
        """C text of type int, 0 or 1, safe to combine with any operator."""
        match e:
            case ir.BoolConst(value):
                return "1" if value else "0"
            case ir.ToBool():
                return self._compare(ir.Compare("!=", e.arg, ir.Const(0)))
            case ir.IsValid():
                return f"({self.header_valid(e.header)} != 0)"
            case ir.Compare():
                return self._compare(e)
            case ir.SameHeader():
                return self._same_header(e)
            case ir.Logic():
                op = {"and": "&&", "or": "||"}.get(e.op, e.op)
                return f"({self.boolean(e.left)} {op} {self.boolean(e.right)})"
            case ir.Not():
                return f"(!{self.boolean(e.arg)})"
            case ir.BoolChoice():
                cond, then, other = (self.boolean(x) for x in (e.cond, e.then, e.other))
                return f"({cond} ? {then} : {other})"

    def _test(self, op: str, left: Value, right: Value, signed: bool) -> str:
        n = left.words
        if n > 2:
            sign = "true" if signed else "false"
            return f"(sw_wide_cmp({left.text}, {right.text}, {n}, {sign}) {_COMPARE[op]} 0)"
        cast = ("(int64_t)" if n == 1 else "(sw_i128)") if signed and op not in ("==", "!=") else ""
        return f"({cast}{left.text} {_COMPARE[op]} {cast}{right.text})"

    def _compare(self, e: ir.Compare) -> str:
        (a, b), (c, d) = interval(self.layout, e.left), interval(self.layout, e.right)
        n = words(bits_for(min(a, c), max(b, d)))
        left = self.resize(self.exact(e.left), n, a < 0)
        right = self.resize(self.exact(e.right), n, c < 0)
        return self._test(e.op, left, right, min(a, c) < 0)

    def header(self, ref: ir.HeaderRef) -> str:
        """The struct of a header, as an lvalue."""
        return self.layout.header(ref.name) if isinstance(ref, ir.NamedHeader) else self.item(ref)

    def header_type(self, ref: ir.HeaderRef) -> ir.HeaderType:
        """Type of a header."""
        if isinstance(ref, ir.NamedHeader):
            return self.layout.program.header_type(ref.name)
        return self.layout.program.stacks[ref.stack].type

    def header_valid(self, ref: ir.HeaderRef) -> str:
        """Validity of a header; metadata is always valid."""
        if isinstance(ref, ir.NamedHeader) and self.layout.program.headers[ref.name].metadata:
            return "1"
        return f"{self.header(ref)}.valid"

    def _same_header(self, e: ir.SameHeader) -> str:
        type_ = self.header_type(e.left)
        if type_.name != self.header_type(e.right).name:
            return "1" if e.negate else "0"
        left, right = self.header(e.left), self.header(e.right)
        terms = [f"{left}.valid", f"{right}.valid"]
        for field in type_.fields:
            a, b = (self.layout.field_of(side, type_, field.name) for side in (left, right))
            if field.varbit:
                terms.append(f"{a}_len == {b}_len && !memcmp({a}, {b}, {a}_len)")
            elif field.width > 128:
                terms.append(f"!memcmp({a}, {b}, sizeof {a})")
            else:
                terms.append(f"{a} == {b}")
        return f"({'!' if e.negate else ''}({' && '.join(terms)}))"
