"""Deparser and checksums to C."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from softswitch import ir
from softswitch.codegen.bits import Piece, add_words, pieces, store
from softswitch.codegen.expr import ExprGen, Value, number
from softswitch.codegen.layout import Layout, words
from softswitch.codegen.writer import Writer
from softswitch.errors import UnsupportedError


def header_bytes(program: ir.Program) -> int:
    """The most that the deparser writes."""
    return sum(program.header_type(name).max_bytes for name in program.deparser)


def write_deparser(layout: Layout, w: Writer) -> None:
    """`static uint32_t sw_deparse(p, out)`: emit valid headers in order, return their bytes."""
    with w.block("static uint32_t sw_deparse(const struct phv *p, uint8_t *out)"):
        w.line("uint8_t *d = out;")
        w.line("(void)p;")
        for name in layout.program.deparser:
            header = layout.header(name)
            type_ = layout.program.header_type(name)
            with w.block(f"if ({header}.valid)"):
                _emit(layout, w, header, type_, [f.name for f in type_.fields])
        w.line("return (uint32_t)(d - out);")
    w.line()


def _emit(
    layout: Layout, w: Writer, header: str, type_: ir.HeaderType, names: Sequence[str]
) -> None:
    """Fields of a valid header to the cursor `d`; a run between varbit fields is whole bytes."""
    for varbit, run in groupby(names, lambda n: _field(type_, n).varbit):
        for_run = list(run)
        if varbit:
            for name in for_run:
                lvalue = layout.field_of(header, type_, name)
                w.line(f"memcpy(d, {lvalue}, {lvalue}_len);")
                w.line(f"d += {lvalue}_len;")
        else:
            bits = store(w, "d", pieces(layout, header, type_, for_run))
            w.line(f"d += {bits // 8};")


def _field(type_: ir.HeaderType, name: str) -> ir.FieldType:
    field = type_.field(name)
    assert field is not None
    return field


# --- checksums ------------------------------------------------------------------------------------


def write_checksums(layout: Layout, w: Writer) -> None:
    """One function per checksum, and the two that run at the parser's and the deparser's end."""
    for index, checksum in enumerate(layout.program.checksums):
        _write_sum(layout, w, index, checksum)
    args = "struct sw_packet *k, struct phv *p"
    with w.block(f"static void sw_verify_checksums({args})"):
        w.line("(void)k, (void)p;")
        for index, checksum in enumerate(layout.program.checksums):
            if checksum.verify:
                with w.block():
                    target = layout.header(checksum.target.header)
                    if not layout.program.headers[checksum.target.header].metadata:
                        w.line(f"if ({target}.valid)")
                    with w.block():
                        test = _condition(layout, w, checksum)
                        field = layout.field(checksum.target)
                        w.line(f"if ({test} && sw_sum_{index}(k, p) != {field})")
                        w.line("    k->bad_checksum = true;")
    w.line()
    with w.block(f"static void sw_update_checksums({args})"):
        w.line("(void)k, (void)p;")
        for index, checksum in enumerate(layout.program.checksums):
            if checksum.update:
                with w.block():
                    width = layout.field_type(checksum.target).width
                    test = _condition(layout, w, checksum)
                    mask = number((1 << width) - 1, 1)
                    w.line(f"if ({test})")
                    w.line(f"    {layout.field(checksum.target)} = sw_sum_{index}(k, p) & {mask};")
    w.line()


def _condition(layout: Layout, w: Writer, checksum: ir.Checksum) -> str:
    if checksum.cond is None:
        return "1"
    return ExprGen(layout, w, f"checksum '{checksum.name}'").boolean(checksum.cond)


def _header_of(item: ir.SumInput) -> str | None:
    return None if isinstance(item, ir.SumConst) else item.header


def _write_sum(layout: Layout, w: Writer, index: int, checksum: ir.Checksum) -> None:
    """The sum of all inputs; those of an invalid header are left out."""
    program = layout.program
    head = f"static uint64_t sw_sum_{index}(const struct sw_packet *k, const struct phv *p)"
    if _keeps_words(layout, checksum):
        with w.block(head):
            w.line("uint64_t sum = 0;")
            w.line("(void)k, (void)p;")
            for name, items in _runs(checksum):
                with w.block(_guard(layout, name)):
                    add_words(w, "sum", _pieces(layout, name, items))
            if checksum.payload:
                w.line("sum += sw_sum(k->data + k->offset, k->len - k->offset, false);")
            w.line("return sw_checksum(sum);")
        w.line()
        return
    size = sum(_most_bits(program, item) for item in checksum.inputs) // 8 + 1
    with w.block(head):
        w.line(f"uint8_t b[{size}];")
        w.line("uint8_t *d = b;")
        w.line("(void)k, (void)p;")
        for name, items in _runs(checksum):
            with w.block(_guard(layout, name)):
                _write_run(layout, w, checksum, name, items)
        w.line("const uint32_t n = (uint32_t)(d - b);")
        w.line("uint64_t sum = sw_sum(b, n, false);")
        if checksum.payload:
            w.line("sum += sw_sum(k->data + k->offset, k->len - k->offset, n & 1);")
        w.line("return sw_checksum(sum);")
    w.line()


def _runs(checksum: ir.Checksum) -> list[tuple[str | None, list[ir.SumInput]]]:
    return [(name, list(run)) for name, run in groupby(checksum.inputs, _header_of)]


def _guard(layout: Layout, name: str | None) -> str:
    if name is None or layout.program.headers[name].metadata:
        return ""
    return f"if ({layout.header(name)}.valid)"


def _keeps_words(layout: Layout, checksum: ir.Checksum) -> bool:
    """Whether every header puts whole 16-bit words into the sum: then no bytes need be written."""
    for name, items in _runs(checksum):
        if name is not None and any(
            field.varbit for field in _fields(layout.program.header_type(name), items)
        ):
            return False
        parts = _pieces(layout, name, items)
        if sum(part.width for part in parts) % 16 or any(part.value.words > 2 for part in parts):
            return False
    return True


def _pieces(layout: Layout, name: str | None, items: list[ir.SumInput]) -> list[Piece]:
    if name is None:
        return [_constant(item) for item in items if isinstance(item, ir.SumConst)]
    type_ = layout.program.header_type(name)
    names = [field.name for field in _fields(type_, items)]
    return pieces(layout, layout.header(name), type_, names)


def _fields(type_: ir.HeaderType, items: list[ir.SumInput]) -> list[ir.FieldType]:
    """The fields that a run of inputs of one header names."""
    fields: list[ir.FieldType] = []
    for item in items:
        if isinstance(item, ir.SumHeader):
            fields += type_.fields
        elif isinstance(item, ir.SumField):
            fields.append(_field(type_, item.field))
    return fields


def _write_run(
    layout: Layout, w: Writer, checksum: ir.Checksum, name: str | None, items: list[ir.SumInput]
) -> None:
    if name is None:
        parts = [_constant(item) for item in items if isinstance(item, ir.SumConst)]
        bits = store(w, "d", parts)
        _whole_bytes(bits, checksum)
        w.line(f"d += {bits // 8};")
        return
    type_ = layout.program.header_type(name)
    names = [field.name for field in _fields(type_, items)]
    for varbit, run in groupby(names, lambda n: _field(type_, n).varbit):
        if not varbit:
            _whole_bytes(sum(_field(type_, n).width for n in run), checksum)
    _emit(layout, w, layout.header(name), type_, names)


def _constant(item: ir.SumConst) -> Piece:
    if item.width > 128:
        raise UnsupportedError("checksum input constant of more than 128 bits", "checksums")
    n = words(item.width)
    return Piece(Value(number(item.value & ((1 << item.width) - 1), n), n), item.width)


def _whole_bytes(bits: int, checksum: ir.Checksum) -> None:
    if bits % 8:
        raise UnsupportedError(
            "checksum inputs that change header inside a byte", f"checksum '{checksum.name}'"
        )


def _most_bits(program: ir.Program, item: ir.SumInput) -> int:
    match item:
        case ir.SumConst():
            return item.width
        case ir.SumHeader():
            return program.header_type(item.header).max_bytes * 8
        case ir.SumField():
            return _field(program.header_type(item.header), item.field).width
