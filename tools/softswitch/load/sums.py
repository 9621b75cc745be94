"""What calculations are over: the inputs of checksums and hashes."""

from __future__ import annotations

from softswitch import ir
from softswitch.errors import UnsupportedError
from softswitch.load.scope import MAX_HASHED_HEADERS, Scope
from softswitch.load.view import View


def sum_inputs(scope: Scope, calculation: View) -> tuple[tuple[ir.SumInput, ...], bool]:
    """The inputs in order, and whether the payload follows them."""
    inputs: list[ir.SumInput] = []
    payload = False
    for view in calculation.get("input").each():
        kind = view.get("type").text()
        match kind:
            case "field":
                inputs.append(_sum_field(scope, view.get("value")))
            case "header":
                inputs.append(ir.SumHeader(scope.header(view.get("value")).name))
            case "hexstr":
                width = view.get("bitwidth").integer()
                inputs.append(ir.SumConst(view.get("value").hexstr(), width))
            case "payload":
                payload = True
            case _:
                raise UnsupportedError(f"'{kind}' in a checksum", view.path)
    return tuple(inputs), payload


def _sum_field(scope: Scope, pair: View) -> ir.SumField:
    header_name, field_name = pair.tuple(2)
    header = scope.header(header_name)
    if header.type.field(field_name.text()) is None:
        raise field_name.fail(f"no field '{field_name.text()}' in header '{header.name}'")
    return ir.SumField(header.name, field_name.text())


def hash_inputs(scope: Scope, name: View) -> tuple[ir.SumField | ir.SumConst, ...]:
    """The inputs of the crc16 that a calculation is; whole headers become their fields."""
    calculation = scope.calculations.get(name.text())
    if calculation is None:
        raise name.fail(f"no calculation '{name.text()}'")
    algorithm = calculation.get("algo")
    if algorithm.text() != "crc16":
        raise UnsupportedError(f"hash algorithm '{algorithm.text()}'", algorithm.path)
    found, payload = sum_inputs(scope, calculation)
    if payload:
        raise UnsupportedError("hash over the payload", calculation.path)
    inputs: list[ir.SumField | ir.SumConst] = []
    for item in found:
        if isinstance(item, ir.SumHeader):
            inputs += [
                ir.SumField(item.header, f.name) for f in scope.headers[item.header].type.fields
            ]
        else:
            inputs.append(item)
    headers: set[str] = set()
    for item in inputs:
        if not isinstance(item, ir.SumField):
            continue
        header = scope.headers[item.header]
        field = header.type.field(item.field)
        if field is not None and field.varbit:
            raise UnsupportedError(f"varbit field '{item.field}' in a hash", calculation.path)
        if not header.metadata:
            headers.add(header.name)
    if len(headers) > MAX_HASHED_HEADERS:
        raise UnsupportedError(f"{len(headers)} headers in a hash", calculation.path)
    return tuple(inputs)
