"""Where header fields live in the generated C: one struct per header type, one per program.

A field of up to 128 bits is an unsigned integer holding exactly its width; a wider one is an array
of 64-bit limbs, least significant first; a varbit field is its bytes and their number. All of them
stay zero until something is stored.
"""

from __future__ import annotations

from softswitch import ir
from softswitch.codegen.writer import Names, Writer


def words(bits: int) -> int:
    """64-bit words that hold so many bits."""
    return max(1, (bits + 63) // 64)


def c_type(width: int) -> str:
    """Unsigned C type of a field of up to 128 bits."""
    for bits in (8, 16, 32, 64):
        if width <= bits:
            return f"uint{bits}_t"
    return "sw_u128"


class Layout:
    """Names and C expressions for the storage of one program."""

    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self._types = Names("hdr_")
        self._members = Names()
        self._fields: dict[str, Names] = {}
        for header in program.headers.values():
            if header.type.name not in self._fields:
                names = Names("f_")
                for field in header.type.fields:
                    _ = names[field.name]
                self._fields[header.type.name] = names
                _ = self._types[header.type.name]

    def header(self, name: str) -> str:
        """The struct of a header instance, as an lvalue."""
        header = self.program.headers[name]
        if header.stack is not None:
            return f"p->{self.stack(header.stack)}.at[{header.index}]"
        return f"p->{self._members['header ' + name]}"

    def stack(self, name: str) -> str:
        """Member name of a header stack."""
        return self._members["stack " + name]

    def field_of(self, header: str, type_: ir.HeaderType, field: str) -> str:
        """A field of a header given as lvalue."""
        if field == ir.VALID:
            return f"{header}.valid"
        return f"{header}.{self._fields[type_.name][field]}"

    def field(self, ref: ir.FieldRef) -> str:
        """A field of a named header, as an lvalue."""
        return self.field_of(
            self.header(ref.header), self.program.header_type(ref.header), ref.field
        )

    def struct_name(self, type_: ir.HeaderType) -> str:
        """C tag of a header type."""
        return self._types[type_.name]

    def field_type(self, ref: ir.FieldRef) -> ir.FieldType:
        """Type of a field; `$valid$` is one bit."""
        if ref.field == ir.VALID:
            return ir.FieldType(ir.VALID, 1)
        found = self.program.header_type(ref.header).field(ref.field)
        assert found is not None
        return found

    def declare(self, w: Writer) -> None:
        """Write the structs."""
        declared: set[str] = set()
        for header in self.program.headers.values():
            if header.type.name not in declared:
                declared.add(header.type.name)
                self._declare_type(w, header.type)
        with w.block("struct phv", ";"):
            for header in self.program.headers.values():
                if header.stack is None:
                    member = self._members["header " + header.name]
                    w.line(f"struct {self.struct_name(header.type)} {member};")
            for stack in self.program.stacks.values():
                with w.block("struct", f" {self.stack(stack.name)};"):
                    w.line("uint32_t next;")
                    w.line(f"struct {self.struct_name(stack.type)} at[{len(stack.headers)}];")
        w.line()

    def _declare_type(self, w: Writer, type_: ir.HeaderType) -> None:
        names = self._fields[type_.name]
        with w.block(f"struct {self.struct_name(type_)}", ";"):
            w.line("uint8_t valid;")
            for field in type_.fields:
                member = names[field.name]
                if field.varbit:
                    w.line(f"uint32_t {member}_len;")
                    w.line(f"uint8_t {member}[{max(1, field.width // 8)}];")
                elif field.width > 128:
                    w.line(f"uint64_t {member}[{words(field.width)}];")
                else:
                    w.line(f"{c_type(field.width)} {member}; /* {field.width} bits */")
        w.line()
