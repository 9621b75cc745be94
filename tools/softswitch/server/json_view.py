"""What P4Runtime needs to know from the BMv2 JSON that P4Info does not say.

That is each table's initial default action with its arguments, and the const entries; and whether
JSON and P4Info describe the same program. The engine parses the JSON for itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from softswitch.server.errors import RequestError, invalid
from softswitch.server.match import Key
from softswitch.server.schema import (
    Action,
    Counter,
    Field,
    MatchKind,
    Meter,
    Register,
    Schema,
    Table,
)


@dataclass(frozen=True, slots=True)
class Call:
    """An action with its arguments in declaration order."""

    action: Action
    args: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ConstEntry:
    """An entry of a `const entries` table; priority as in P4Runtime (higher wins)."""

    key: Key
    priority: int
    call: Call


@dataclass(frozen=True, slots=True)
class Initial:
    """What a table holds before any write. `default` is None when a miss runs no action."""

    default: Call | None
    entries: tuple[ConstEntry, ...]


def initial_content(bmv2_json: bytes, schema: Schema) -> Mapping[int, Initial]:
    """The initial content of every table of the P4Info, by table id.

    Raises INVALID_ARGUMENT when the JSON is malformed or disagrees with the P4Info.
    """
    try:
        return _read(json.loads(bmv2_json), schema)
    except RequestError:
        raise
    except (ValueError, RecursionError) as error:
        raise invalid(f"p4_device_config is no BMv2 JSON: {error}") from error
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise invalid(
            f"p4_device_config is no BMv2 JSON: {type(error).__name__}: {error}"
        ) from error


def _read(config: Mapping[str, Any], schema: Schema) -> Mapping[int, Initial]:
    actions = {action["id"]: action["name"] for action in config["actions"]}
    tables = {
        table["name"]: table for pipeline in config["pipelines"] for table in pipeline["tables"]
    }
    _check_arrays("counter", schema.counters, config.get("counter_arrays", ()))
    _check_arrays("meter", schema.meters, config.get("meter_arrays", ()))
    _check_arrays("register", schema.registers, config.get("register_arrays", ()))
    profiles = {
        profile["name"]
        for pipeline in config["pipelines"]
        for profile in pipeline.get("action_profiles", ())
    }
    for profile in schema.profiles.values():
        if profile.name not in profiles:
            raise invalid(f"action profile {profile.name} is not in the BMv2 JSON")
    digests = {found["name"]: found for found in config.get("learn_lists", ())}
    for digest in schema.digests.values():
        if digest.name not in digests:
            raise invalid(f"digest {digest.name} is in the P4Info but not in the BMv2 JSON")
        if len(digests[digest.name]["elements"]) != len(digest.widths):
            raise invalid(f"digest {digest.name}: P4Info and BMv2 JSON differ in its fields")
    initial = {}
    for table in schema.tables.values():
        found = tables.get(table.name)
        if found is None:
            raise invalid(f"table {table.name} is in the P4Info but not in the BMv2 JSON")
        _check_same(table, found)
        initial[table.id] = _initial(table, found, actions)
    return initial


def _check_arrays(
    kind: str, listed: Mapping[int, Counter | Meter | Register], found: Iterable[Mapping[str, Any]]
) -> None:
    arrays = {array["name"]: array for array in found}
    for item in listed.values():
        array = arrays.get(item.name)
        if array is None or array.get("is_direct"):
            raise invalid(f"{kind} {item.name} is in the P4Info but not in the BMv2 JSON")
        if array["size"] != item.size:
            raise invalid(
                f"{kind} {item.name}: size {item.size} in the P4Info, "
                f"{array['size']} in the BMv2 JSON"
            )
        if isinstance(item, Register) and array["bitwidth"] != item.width:
            raise invalid(
                f"{kind} {item.name}: {item.width} bits in the P4Info, "
                f"{array['bitwidth']} in the BMv2 JSON"
            )


def _check_same(table: Table, found: Mapping[str, Any]) -> None:
    kinds = [key["match_type"] for key in found["key"]]
    expected = [field.kind.value for field in table.fields]
    same = len(kinds) == len(expected) and all(
        kind == wanted or (wanted == "optional" and kind == "ternary")
        for kind, wanted in zip(kinds, expected, strict=True)
    )
    if not same:
        raise invalid(
            f"table {table.name}: key is {expected} in the P4Info, {kinds} in the BMv2 JSON"
        )
    if (table.direct_meter is not None) != bool(found.get("direct_meters")):
        raise invalid(f"table {table.name}: P4Info and BMv2 JSON differ about its direct meter")
    known = set(found["actions"])
    for action, _scope in table.actions.values():
        if action.name not in known:
            raise invalid(
                f"table {table.name}: action {action.name} is in the P4Info, not in the BMv2 JSON"
            )


def _initial(table: Table, found: Mapping[str, Any], actions: Mapping[int, str]) -> Initial:
    by_name = {action.name: action for action, _scope in table.actions.values()}

    def call(entry: Mapping[str, Any]) -> Call | None:
        action = by_name.get(actions[entry["action_id"]])
        if action is None:
            return None
        return Call(action, tuple(int(value, 16) for value in entry.get("action_data", ())))

    default = found.get("default_entry")
    listed = found.get("entries") or []
    if listed and not table.is_const:
        raise invalid(f"table {table.name}: initial entries without `const` are not supported")
    lowest = max((entry.get("priority", 0) for entry in listed), default=0)
    entries = []
    for entry in listed:
        made = call(entry["action_entry"])
        if made is None:
            raise invalid(f"table {table.name}: a const entry runs an action outside the P4Info")
        key: list[int] = []
        for field, part in zip(table.fields, entry["match_key"], strict=True):
            key += _const_part(field, part)
        # In the JSON a smaller number wins; in P4Runtime the first of N entries has priority N.
        priority = lowest + 1 - entry.get("priority", 0) if table.needs_priority else 0
        entries.append(ConstEntry(tuple(key), priority, made))
    return Initial(call(default) if default else None, tuple(entries))


def _const_part(field: Field, part: Mapping[str, Any]) -> tuple[int, ...]:
    if field.kind is MatchKind.EXACT:
        return (int(part["key"], 16),)
    if field.kind is MatchKind.LPM:
        return int(part["key"], 16), part["prefix_length"]
    if field.kind is MatchKind.RANGE:
        return int(part["start"], 16), int(part["end"], 16)
    return int(part["key"], 16), int(part["mask"], 16)
