"""What names mean while a program is read: header instances, stacks, fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from softswitch import ir
from softswitch.errors import UnsupportedError
from softswitch.load.view import View

MAX_HASHED_HEADERS = 4
"""Headers with fields in one hash: each may be invalid."""


@dataclass(slots=True)
class Scope:
    """Headers, stacks and the constants that expressions may refer to."""

    headers: Mapping[str, ir.Header]
    stacks: Mapping[str, ir.Stack]
    unions: Mapping[str, tuple[str, ...]]
    counters: dict[str, int] = field(default_factory=dict)
    meters: dict[str, ir.Meter] = field(default_factory=dict)
    direct_meters: dict[str, ir.DirectMeter] = field(default_factory=dict)
    registers: dict[str, ir.Register] = field(default_factory=dict)
    learn_lists: dict[int, ir.LearnList] = field(default_factory=dict)
    field_lists: dict[int, tuple[ir.FieldRef, ...]] = field(default_factory=dict)
    calculations: dict[str, View] = field(default_factory=dict)

    def header(self, name: View) -> ir.Header:
        """The header instance that `name` names."""
        found = self.headers.get(name.text())
        if found is None:
            raise name.fail(f"no header '{name.text()}'")
        return found

    def stack(self, name: View) -> ir.Stack:
        """The header stack that `name` names."""
        found = self.stacks.get(name.text())
        if found is None:
            raise name.fail(f"no header stack '{name.text()}'")
        return found

    def field(self, pair: View) -> ir.FieldRef:
        """A fixed-width field, from a pair [header, field]; `$valid$` included."""
        header_name, field_name = pair.tuple(2)
        header = self.header(header_name)
        if field_name.text() == ir.VALID:
            return ir.FieldRef(header.name, ir.VALID)
        found = header.type.field(field_name.text())
        if found is None:
            raise field_name.fail(f"no field '{field_name.text()}' in header '{header.name}'")
        if found.varbit:
            raise UnsupportedError(
                f"varbit field {header.name}.{found.name} as a number", pair.path
            )
        return ir.FieldRef(header.name, found.name)

    def varbit(self, pair: View) -> tuple[str, str]:
        """A varbit field, from a pair [header, field]."""
        header_name, field_name = pair.tuple(2)
        header = self.header(header_name)
        found = header.type.field(field_name.text())
        if found is None or not found.varbit:
            raise pair.fail("expected a varbit field")
        return header.name, found.name

    def stack_field(self, pair: View) -> ir.StackLast:
        """A field of a stack's last element, from a pair [stack, field]."""
        stack_name, field_name = pair.tuple(2)
        stack = self.stack(stack_name)
        if stack.type.field(field_name.text()) is None:
            raise field_name.fail(f"no field '{field_name.text()}' in stack '{stack.name}'")
        return ir.StackLast(stack.name, field_name.text())

    def width(self, ref: ir.FieldRef) -> int:
        """Width of a fixed field in bits."""
        if ref.field == ir.VALID:
            return 1
        found = self.headers[ref.header].type.field(ref.field)
        assert found is not None
        return found.width
