"""JSON Schema (2020-12) of description files, from the functions that read them. Pure.

Each is run on an empty record and tells which keys it asks for; what reads a value says which
values it takes. So a key that is added to a record is in the schema, too. The schema accepts every
file that can be read; it refuses unknown and missing keys, wrong types, forms and ranges. What
needs more than one value (references, overlaps, a peak rate below the committed one) it cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dfvisor.model.description import parse_description
from dfvisor.model.plain import NAME, RECORDER, Problems
from dfvisor.model.source import Path

Schema = dict[str, Any]


def json_schema() -> Schema:
    """Of a whole description file, or a fragment of one."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "DFVisor network description",
        **_record(lambda problems: parse_description({}, (), problems)),
    }


class _Keys:
    """Notes the keys of one record; those at longer paths belong to records inside it."""

    def __init__(self) -> None:
        self.found: dict[Path, dict[str, tuple[Schema, bool]]] = {}

    def key(self, path: Path, key: str, parse: Callable[..., Any], required: bool) -> None:
        self.found.setdefault(path, {}).setdefault(key, (_value(parse), required))

    def named(self, path: Path, key: str, parse: Callable[..., Any]) -> None:
        record = _value(parse)
        mapping = {
            "type": "object",
            "propertyNames": {"pattern": f"^{NAME.pattern}$"},
            "additionalProperties": record if record.get("required") else _or_null(record),
        }
        self.found.setdefault(path, {})[key] = (mapping, False)


def _record(parse: Callable[[Problems], object]) -> Schema:
    keys = _Keys()
    token = RECORDER.set(keys)
    try:
        parse(Problems())  # of an empty record: its problems mean nothing
    finally:
        RECORDER.reset(token)
    return _object((), keys.found)


def _object(path: Path, found: Mapping[Path, Mapping[str, tuple[Schema, bool]]]) -> Schema:
    properties: Schema = {}
    required: list[str] = []
    for key, (schema, needed) in found.get(path, {}).items():
        inner = (*path, key)
        value = _object(inner, found) if inner in found else schema
        properties[key] = value if needed else _or_null(value)
        if needed:
            required.append(key)
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": required} if required else made


def _value(parse: Callable[..., Any]) -> Schema:
    """What a function takes, by its description; without one it reads a record."""
    said: Schema = {key: _inside(one) for key, one in getattr(parse, "json_schema", {}).items()}
    if _reads_a_record(parse):
        return {**_record(lambda problems: _call(parse, problems)), **said}
    return said


def _reads_a_record(parse: Callable[..., Any]) -> bool:
    code = getattr(parse, "__code__", None)
    return code is not None and "problems" in code.co_varnames[: code.co_argcount]


def _call(parse: Callable[..., Any], problems: Problems) -> object:
    named = parse.__code__.co_argcount == 4
    return parse("x", {}, (), problems) if named else parse({}, (), problems)


def _inside(value: Any) -> Any:
    """Functions in a description stand for what they take."""
    if callable(value):
        return _value(value)
    if isinstance(value, list):
        return [_inside(one) for one in value]
    if isinstance(value, dict):
        return {key: _inside(one) for key, one in value.items()}
    return value


def _or_null(schema: Schema) -> Schema:
    """Null counts as absent."""
    kind = schema.get("type")
    if not schema:
        return schema
    if kind is not None and not {"enum", "oneOf", "anyOf"} & schema.keys():
        kinds = kind if isinstance(kind, list) else [kind]
        return {**schema, "type": [*kinds, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
