"""Statements of actions and parser states to C."""

from __future__ import annotations

from softswitch import ir
from softswitch.codegen.expr import ExprGen, Value
from softswitch.codegen.hashing import write_crc16
from softswitch.codegen.layout import Layout, c_type, words
from softswitch.codegen.writer import Writer


def param_places(action: ir.Action) -> tuple[int, ...]:
    """Where each parameter starts in the argument words."""
    places, at = [], 0
    for index in range(len(action.params)):
        places.append(at)
        at += words(action.bits(index))
    return tuple(places)


def param_total(action: ir.Action) -> int:
    """Argument words of an action."""
    return sum(words(action.bits(index)) for index in range(len(action.params)))


class StatementGen:
    """Writes statements into `w`; expects the C names e, k, p and, for parameters, a."""

    def __init__(
        self,
        layout: Layout,
        counters: dict[str, int],
        w: Writer,
        where: str,
        places: tuple[int, ...] = (),
    ) -> None:
        self.layout = layout
        self.program = layout.program
        self.counters = counters
        self.w = w
        self.expr = ExprGen(layout, w, where, places)

    def write(self, s: ir.Statement) -> None:
        """One statement in a block of its own."""
        with self.w.block():
            match s:
                case ir.Assign():
                    self._assign(s)
                case ir.AssignVarbit():
                    target, source = (self._varbit(side) for side in (s.target, s.source))
                    self._copy_varbit(target, source, self._varbit_bytes(s.target))
                case ir.AssignHeader():
                    self._assign_header(s)
                case ir.AssignStack():
                    target, source = self.layout.stack(s.target), self.layout.stack(s.source)
                    self.w.line(f"p->{target}.next = p->{source}.next;")
                    size = len(self.program.stacks[s.target].headers)
                    for i in range(size):
                        item = ir.StackItem(s.target, ir.Const(i))
                        self._assign_header(
                            ir.AssignHeader(item, ir.StackItem(s.source, ir.Const(i)))
                        )
                case ir.SetValid():
                    self._set_valid(s)
                case ir.MarkToDrop():
                    self._mark_to_drop(s)
                case ir.Count():
                    index = self.expr.resize(self.expr.exact(s.index), 1, False)
                    self.w.line(f"sw_count(e, {self.counters[s.counter]}, {index.text}, k);")
                case ir.ExecuteMeter():
                    self._execute_meter(s)
                case ir.RegisterRead():
                    self._register_read(s)
                case ir.RegisterWrite():
                    self._register_write(s)
                case ir.Hash():
                    self._hash(s)
                case ir.GenerateDigest():
                    place = list(self.program.learn_lists).index(s.learn)
                    self.w.line(f"k->digest = {place + 1};")
                case ir.CloneEgress() | ir.CloneIngress():
                    self._clone(s)
                case ir.Again(field_list, recirculates):
                    place = list(self.program.field_lists).index(field_list) + 1
                    self.w.line(f"k->{'recirculate' if recirculates else 'resubmit'} = {place};")
                case ir.Exit():
                    self.w.line("k->exit = true;")
                case ir.Jump(target, None):
                    self.w.line(f"goto s{target};")
                case ir.Jump(target, unless):
                    assert unless is not None
                    test = self.expr.boolean(ir.Compare("==", unless, ir.Const(0)))
                    self.w.line(f"if ({test})")
                    self.w.line(f"    goto s{target};")

    def _hash(self, s: ir.Hash) -> None:
        base = self.expr.resize(self.expr.exact(s.base), 1, False)
        size = self.expr.resize(self.expr.exact(s.size), 1, False)
        self.w.line(f"const uint64_t base = {base.text}, size = {size.text};")
        write_crc16(self.layout, self.w, s.inputs)
        width = self.layout.field_type(s.target).width
        value = self.expr.cut(Value("(hash % (size ? size : 1) + base)", 1), width)
        self.store(self.layout.field(s.target), width, value)

    def _clone(self, s: ir.CloneEgress | ir.CloneIngress) -> None:
        session = self.expr.resize(self.expr.exact(s.session), 1, False)
        lists = list(self.program.field_lists)
        prefix = "" if isinstance(s, ir.CloneEgress) else "ingress_"
        self.w.line(f"k->{prefix}clone_session = (uint32_t){session.text};")
        place = lists.index(s.field_list) + 1 if s.field_list else 0
        self.w.line(f"k->{prefix}clone_list = {place};")
        self.w.line(f"k->{prefix}cloned = true;")

    def _execute_meter(self, s: ir.ExecuteMeter) -> None:
        index = self.expr.resize(self.expr.exact(s.index), 1, False)
        number = list(self.program.meters).index(s.meter)
        width = self.layout.field_type(s.target).width
        color = self.w.temp()
        self.w.line(f"uint64_t {color};")
        with self.w.block(f"if (sw_meter(e, {number}, {index.text}, k, &{color}))"):
            mask = (1 << min(width, 64)) - 1
            value = Value(f"({color} & 0x{mask:x}ull)", 1)
            self.store(self.layout.field(s.target), width, value)

    def _cell(self, register: str, index: ir.Data) -> str:
        place = self.expr.resize(self.expr.exact(index), 1, False)
        number = list(self.program.registers).index(register)
        cell = self.w.temp()
        self.w.line(f"uint64_t *const {cell} = sw_register(e, {number}, {place.text});")
        return cell

    def _register_read(self, s: ir.RegisterRead) -> None:
        cell = self._cell(s.register, s.index)
        n = words(self.program.registers[s.register].width)
        whole = {1: f"{cell}[0]", 2: f"((sw_u128){cell}[1] << 64 | {cell}[0])"}.get(n, cell)
        with self.w.block(f"if ({cell})"):
            width = self.layout.field_type(s.target).width
            value = self.expr.cut(Value(whole, n), width)
            self.store(self.layout.field(s.target), width, value)

    def _register_write(self, s: ir.RegisterWrite) -> None:
        cell = self._cell(s.register, s.index)
        width = self.program.registers[s.register].width
        with self.w.block(f"if ({cell})"):
            value = self.expr.truncated(s.value, width)
            if value.words > 2:
                self.w.line(f"memcpy({cell}, {value.text}, {8 * value.words});")
                return
            self.w.line(f"{cell}[0] = (uint64_t)({value.text});")
            if value.words == 2:
                self.w.line(f"{cell}[1] = (uint64_t)(({value.text}) >> 64);")

    # --- fields -------------------------------------------------------------------------------

    def store_word(self, ref: ir.FieldRef, value: Value) -> None:
        """Store a value of one word that fits into a field."""
        width = self.layout.field_type(ref).width
        self.store(self.layout.field(ref), width, self.expr.resize(value, words(width), False))

    def store(self, lvalue: str, width: int, value: Value) -> None:
        """Store a value that fits into a field."""
        if width > 128:
            self.w.line(f"memcpy({lvalue}, {value.text}, sizeof {lvalue});")
        elif width > 64 or c_type(width) == "uint64_t":
            self.w.line(f"{lvalue} = {value.text};")
        else:
            self.w.line(f"{lvalue} = ({c_type(width)})({value.text});")

    def _assign(self, s: ir.Assign) -> None:
        target = s.target
        match target:
            case ir.FieldRef():
                field = self.layout.field_type(target)
                value = self.expr.truncated(s.value, field.width)
                self.store(self.layout.field(target), field.width, value)
            case ir.StackLast(stack_name, name):
                member = f"p->{self.layout.stack(stack_name)}"
                with self.w.block(f"if ({member}.next)"):
                    self._store_item(s, stack_name, f"{member}.at[{member}.next - 1]", name)
            case ir.StackItemField(item, name):
                size = len(self.program.stacks[item.stack].headers)
                index = self.expr.resize(self.expr.exact(item.index), 1, False).text
                at = self.w.temp()
                self.w.line(f"const uint64_t {at} = {index};")
                with self.w.block(f"if ({at} < {size})"):
                    header = f"p->{self.layout.stack(item.stack)}.at[{at}]"
                    self._store_item(s, item.stack, header, name)

    def _store_item(self, s: ir.Assign, stack_name: str, header: str, name: str) -> None:
        stack = self.program.stacks[stack_name]
        field = stack.type.field(name)
        assert field is not None
        value = self.expr.truncated(s.value, field.width)
        self.store(self.layout.field_of(header, stack.type, name), field.width, value)

    def _varbit(self, pair: tuple[str, str]) -> str:
        header, field = pair
        return self.layout.field_of(
            self.layout.header(header), self.program.header_type(header), field
        )

    def _varbit_bytes(self, pair: tuple[str, str]) -> int:
        field = self.program.header_type(pair[0]).field(pair[1])
        assert field is not None
        return field.width // 8

    def _copy_varbit(self, target: str, source: str, capacity: int) -> None:
        # lengths beyond the target's capacity come from a wider source; P4 forbids the assignment
        self.w.line(f"{target}_len = {source}_len < {capacity} ? {source}_len : {capacity};")
        self.w.line(f"memmove({target}, {source}, {target}_len);")

    # --- headers ------------------------------------------------------------------------------

    def make_valid(self, ref: ir.HeaderRef, lvalue: str) -> None:
        """Set validity; the other members of a union lose theirs."""
        self.w.line(f"{lvalue}.valid = 1;")
        if isinstance(ref, ir.NamedHeader):
            union = self.program.headers[ref.name].union
            for other in self.program.unions[union] if union is not None else ():
                if other != ref.name:
                    self.w.line(f"{self.layout.header(other)}.valid = 0;")

    def _header(self, ref: ir.HeaderRef) -> str:
        return f"(*{self._pointer(ref)})"

    def _pointer(self, ref: ir.HeaderRef) -> str:
        name = self.w.temp()
        struct = self.layout.struct_name(self.expr.header_type(ref))
        self.w.line(f"struct {struct} *const {name} = &{self.expr.header(ref)};")
        return name

    def _assign_header(self, s: ir.AssignHeader) -> None:
        target, source = self._header(s.target), self._header(s.source)
        type_ = self.expr.header_type(s.target)
        with self.w.block(f"if ({source}.valid)"):
            self.make_valid(s.target, target)
            for field in type_.fields:
                a, b = (self.layout.field_of(side, type_, field.name) for side in (target, source))
                if field.varbit:
                    self._copy_varbit(a, b, field.width // 8)
                elif field.width > 128:
                    self.w.line(f"memmove({a}, {b}, sizeof {a});")
                else:
                    self.w.line(f"{a} = {b};")
        with self.w.block("else"):
            self.w.line(f"{target}.valid = 0;")

    def header_length(self, type_: ir.HeaderType, lvalue: str) -> str:
        """Bytes that a header takes in the packet."""
        fixed = type_.fixed_bits // 8
        varbit = type_.varbit
        if varbit is None:
            return str(fixed)
        return f"({fixed} + {self.layout.field_of(lvalue, type_, varbit.name)}_len)"

    def _set_valid(self, s: ir.SetValid) -> None:
        type_ = self.expr.header_type(s.header)
        target = self._header(s.header)
        length = self.header_length(type_, target)
        if not s.valid:
            with self.w.block(f"if ({target}.valid)"):
                self.w.line(f"{target}.valid = 0;")
                self.w.line(f"k->length -= {length};")
            return
        with self.w.block(f"if (!{target}.valid)"):
            for field in type_.fields:
                lvalue = self.layout.field_of(target, type_, field.name)
                if field.varbit:
                    self.w.line(f"memset({lvalue}, 0, {lvalue}_len);")
                elif field.width > 128:
                    self.w.line(f"memset({lvalue}, 0, sizeof {lvalue});")
                else:
                    self.w.line(f"{lvalue} = 0;")
            self.make_valid(s.header, target)
            self.w.line(f"k->length += {length};")

    def _mark_to_drop(self, s: ir.MarkToDrop) -> None:
        for name, value in (("egress_spec", "SW_DROP_PORT"), ("mcast_grp", "0")):
            if self.program.header_type(s.header).field(name) is not None:
                self.w.line(f"{self.layout.field(ir.FieldRef(s.header, name))} = {value};")
