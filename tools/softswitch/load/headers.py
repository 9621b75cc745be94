"""Header types, instances, stacks and unions."""

from __future__ import annotations

from softswitch import ir
from softswitch.errors import UnsupportedError
from softswitch.load.scope import Scope
from softswitch.load.view import View


def load_scope(root: View) -> Scope:
    """Everything that has fields."""
    types = {t.get("name").text(): _header_type(t) for t in root.get("header_types").each()}
    headers: dict[int, ir.Header] = {}
    for item in root.get("headers").each():
        type_name = item.get("header_type")
        if type_name.text() not in types:
            raise type_name.fail(f"no header type '{type_name.text()}'")
        header = ir.Header(
            name=item.get("name").text(),
            type=types[type_name.text()],
            metadata=item.get("metadata").flag(),
        )
        if not header.metadata and header.type.fixed_bits % 8:
            raise UnsupportedError(f"header {header.name} of no whole bytes", item.path)
        headers[item.get("id").integer()] = header
    stacks: dict[str, ir.Stack] = {}
    for item in _optional(root, "header_stacks"):
        name = item.get("name").text()
        ids = [view.integer() for view in item.get("header_ids").each()]
        for index, header_id in enumerate(ids):
            old = headers[header_id]
            headers[header_id] = ir.Header(old.name, old.type, old.metadata, name, index)
        stacks[name] = ir.Stack(
            name=name,
            type=types[item.get("header_type").text()],
            headers=tuple(headers[i].name for i in ids),
        )
    unions: dict[str, tuple[str, ...]] = {}
    for item in _optional(root, "header_unions"):
        name = item.get("name").text()
        ids = [view.integer() for view in item.get("header_ids").each()]
        for header_id in ids:
            old = headers[header_id]
            headers[header_id] = ir.Header(old.name, old.type, old.metadata, union=name)
        unions[name] = tuple(headers[i].name for i in ids)
    return Scope({h.name: h for h in headers.values()}, stacks, unions)


def _optional(root: View, name: str) -> list[View]:
    found = root.opt(name)
    return [] if found is None else list(found.each())


def _header_type(item: View) -> ir.HeaderType:
    name = item.get("name").text()
    if item.opt("length_exp") is not None:
        raise UnsupportedError("header type with length_exp", item.path)
    rows = [list(view.each()) for view in item.get("fields").each()]
    fixed = sum(row[1].integer() for row in rows if row[1].value != "*")
    fields: list[ir.FieldType] = []
    for row in rows:
        field_name, width = row[0].text(), row[1]
        if len(row) > 3 and row[3].flag():
            raise UnsupportedError(f"saturating field {name}.{field_name}", row[3].path)
        signed = len(row) > 2 and row[2].flag()
        if width.value == "*":
            if any(f.varbit for f in fields):
                raise UnsupportedError(f"second varbit field in {name}", width.path)
            if sum(f.width for f in fields) % 8:
                raise UnsupportedError(
                    f"varbit field {name}.{field_name} inside a byte", width.path
                )
            maximum = item.get("max_length").integer() * 8 - fixed
            fields.append(ir.FieldType(field_name, maximum, varbit=True))
        else:
            fields.append(ir.FieldType(field_name, width.integer(), signed))
    return ir.HeaderType(name, tuple(fields))
