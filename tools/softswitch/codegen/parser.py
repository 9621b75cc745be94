"""The parser to C: one label per state, one exit for acceptance and errors alike."""

from __future__ import annotations

from softswitch import ir
from softswitch.codegen.bits import load
from softswitch.codegen.expr import Value, number
from softswitch.codegen.layout import Layout, words
from softswitch.codegen.statements import StatementGen
from softswitch.codegen.writer import Names, Writer

_ACCEPT = "accepted"


class ParserGen:
    """Writes `static void sw_parse(e, k, p)`."""

    def __init__(self, layout: Layout, w: Writer) -> None:
        self.layout = layout
        self.program = layout.program
        self.w = w
        self._labels = Names("state_")
        self._used: set[str] = set()

    def write(self) -> None:
        """The whole function. A failed operation leaves the cursor before it."""
        parser = self.program.parser
        reachable = self._reachable(parser)
        self._used = {
            following
            for name in reachable
            for following in _successors(parser.states[name])
            if following is not None
        }
        args = "struct sw_engine *e, struct sw_packet *k, struct phv *p"
        with self.w.block(f"static void sw_parse({args})"):
            self.w.line("(void)e, (void)k, (void)p;")
            for name in reachable:
                self._state(parser.states[name])
            self.w.label(_ACCEPT)
        self.w.line()

    def _reachable(self, parser: ir.Parser) -> list[str]:
        order, pending = [parser.start], [parser.start]
        while pending:
            for following in _successors(parser.states[pending.pop(0)]):
                if following is not None and following not in order:
                    order.append(following)
                    pending.append(following)
        return order

    def _goto(self, state: str | None) -> str:
        return f"goto {_ACCEPT if state is None else self._labels[state]};"

    def _require(self, size: str, error: str = "PacketTooShort") -> None:
        self._refuse(f"k->len - k->offset < {size}", error)

    def _refuse(self, condition: str, error: str) -> None:
        with self.w.block(f"if ({condition})"):
            self.w.line(f"k->error = {self.program.errors.get(error, 0)}; /* {error} */")
            self.w.line(f"goto {_ACCEPT};")

    def _state(self, state: ir.State) -> None:
        if state.name in self._used:
            self.w.label(self._labels[state.name])
        self.w.line(f"/* {state.name} */")
        statements = StatementGen(self.layout, {}, self.w, f"parser state '{state.name}'")
        for op in state.ops:
            with self.w.block():
                self._op(statements, op)
        with self.w.block():
            self._select(statements, state)

    def _op(self, statements: StatementGen, op: ir.ParserOp) -> None:
        match op:
            case ir.Extract(name, bits):
                type_ = self.program.header_type(name)
                ref = ir.NamedHeader(name)
                self._extract(statements, ref, self.layout.header(name), type_, bits)
            case ir.ExtractNext(name, bits):
                self._extract_next(statements, name, bits)
            case ir.SetLookahead(target, source):
                self._lookahead_set(statements, target, source)
            case ir.Verify(cond, error):
                with self.w.block(f"if (!{statements.expr.boolean(cond)})"):
                    code = statements.expr.resize(statements.expr.exact(error), 1, False)
                    self.w.line(f"k->error = (uint32_t)({code.text});")
                    self.w.line(f"goto {_ACCEPT};")
            case ir.Advance(bits):
                value = statements.expr.resize(statements.expr.exact(bits), 1, False)
                self.w.line(f"const uint64_t skip = {value.text};")
                self._refuse("skip % 8", "ParserInvalidArgument")
                self._require("skip / 8")
                self.w.line("k->offset += (uint32_t)(skip / 8);")
            case ir.Do(statement):
                statements.write(statement)

    def _lookahead_set(
        self, statements: StatementGen, target: ir.FieldRef, source: ir.Lookahead
    ) -> None:
        self._require(str((source.offset + source.width + 7) // 8))
        self.w.line("const uint8_t *d = k->data + k->offset;")
        value = load(self.w, "d", source.offset, source.width)
        field = self.layout.field_type(target)
        if field.width < source.width or field.width > 128:
            value = statements.expr.resize(value, words(field.width), False)
            if field.width % 64 and field.width < source.width:
                mask = number((1 << field.width) - 1, value.words)
                value = Value(f"({value.text} & {mask})", value.words)
        else:
            value = statements.expr.resize(value, words(field.width), False)
        statements.store(self.layout.field(target), field.width, value)

    def _extract_next(self, statements: StatementGen, name: str, bits: ir.Data | None) -> None:
        stack = self.program.stacks[name]
        member = f"p->{self.layout.stack(name)}"
        self._refuse(f"{member}.next >= {len(stack.headers)}", "StackOutOfBounds")
        ref = ir.StackItem(name, ir.Const(0))
        self._extract(statements, ref, f"{member}.at[{member}.next]", stack.type, bits)
        self.w.line(f"{member}.next++;")

    def _extract(
        self,
        statements: StatementGen,
        ref: ir.HeaderRef,
        lvalue: str,
        type_: ir.HeaderType,
        bits: ir.Data | None,
    ) -> None:
        struct = self.layout.struct_name(type_)
        fixed = type_.fixed_bits // 8
        self.w.line(f"struct {struct} *const h = &{lvalue};")
        varbit = type_.varbit
        if bits is None or varbit is None:
            self._require(str(fixed))
        else:
            self._varbit_length(statements, type_, varbit, bits)
        self.w.line("const uint8_t *d = k->data + k->offset;")
        at = 0
        for field in type_.fields:
            target = self.layout.field_of("(*h)", type_, field.name)
            if field.varbit:
                self.w.line(f"{target}_len = extra;")
                self.w.line(f"memcpy({target}, d + {at // 8}, extra);")
                self.w.line(f"d += {at // 8} + extra;")
                at = 0
            else:
                statements.store(target, field.width, load(self.w, "d", at, field.width))
                at += field.width
        statements.make_valid(ref, "(*h)")
        self.w.line(f"k->offset += {fixed}{' + extra' if varbit is not None else ''};")

    def _varbit_length(
        self,
        statements: StatementGen,
        type_: ir.HeaderType,
        varbit: ir.FieldType,
        bits: ir.Data,
    ) -> None:
        """The order of the three checks is BMv2's; lengths beyond 2^31-1 become 2^31-1 there."""
        fixed = type_.fixed_bits // 8
        value = statements.expr.resize(statements.expr.exact(bits), 1, False)
        old = self.layout.field_of("(*h)", type_, varbit.name)
        self.w.line(f"uint64_t bits = {value.text};")
        self.w.line("if (bits > INT32_MAX)")
        self.w.line("    bits = INT32_MAX;")
        self._refuse("bits % 8", "ParserInvalidArgument")
        self.w.line("const uint32_t extra = (uint32_t)(bits / 8);")
        # BMv2 counts the bytes of an earlier extraction into the same header again
        self._require(f"{fixed} + {old}_len + extra")
        self._refuse(f"{fixed} + {old}_len + extra > {type_.max_bytes}", "HeaderTooShort")

    # --- select -------------------------------------------------------------------------------

    def _select(self, statements: StatementGen, state: ir.State) -> None:
        if not state.key:
            self.w.line(self._goto(state.default))
            return
        names = [self._key(statements, part) for part in state.key]
        for case in state.cases:
            terms = []
            for value, wanted, mask in zip(names, case.values, case.masks, strict=True):
                terms += _match_terms(value, wanted, mask)
            test = " && ".join(terms) or "1"
            self.w.line(f"if ({test})")
            self.w.line(f"    {self._goto(case.next)}")
        self.w.line(self._goto(state.default))

    def _key(self, statements: StatementGen, part: ir.KeyField) -> tuple[str, int, int]:
        """A local holding a part of the key; its words and width."""
        if isinstance(part, ir.Lookahead):
            width = part.width
            self._require(str((part.offset + width + 7) // 8))
            value = load(self.w, "(k->data + k->offset)", part.offset, width)
        else:
            width = self._key_width(part)
            value = statements.expr.truncated(part, width)
        name = self.w.temp()
        if value.words > 2:
            self.w.line(f"const uint64_t *{name} = {value.text};")
        else:
            kind = "uint64_t" if value.words == 1 else "sw_u128"
            self.w.line(f"const {kind} {name} = {value.text};")
        return name, value.words, width

    def _key_width(self, part: ir.FieldRef | ir.StackLast) -> int:
        if isinstance(part, ir.FieldRef):
            return self.layout.field_type(part).width
        field = self.program.stacks[part.stack].type.field(part.field)
        assert field is not None
        return field.width


def _successors(state: ir.State) -> list[str | None]:
    return [*(case.next for case in state.cases), state.default]


def _match_terms(key: tuple[str, int, int], wanted: int, mask: int | None) -> list[str]:
    name, n, width = key
    full = (1 << width) - 1
    mask = full if mask is None else mask & full
    if wanted & ~full:
        return ["0"]  # bits beyond the field: such a case never fits
    if not mask:
        return []
    if n <= 2:
        text = name if mask == full else f"({name} & {number(mask, n)})"
        return [f"{text} == {number(wanted, n)}"]
    return [
        f"({name}[{i}] & {number(mask >> 64 * i, 1)}) == {number(wanted >> 64 * i, 1)}"
        for i in range(n)
        if mask >> 64 * i & (1 << 64) - 1
    ]
