"""A scenario: what a switch holds, what it receives, and, once played, what it did.

Their file is JSON that people can read: entries by name, one packet a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfvisor.p4rt.entries import (
    Exact,
    FieldMatch,
    Item,
    Lpm,
    MulticastGroup,
    TableEntry,
    Ternary,
)

Output = tuple[int, bytes]  # port, frame


@dataclass(frozen=True, slots=True)
class Scenario:
    """Entries in the order of their insertion, and packets with the port that they enter."""

    name: str
    items: tuple[Item, ...]
    packets: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a switch did: frames per packet, sorted; drop cells and counters.

    `drops` has the cells of the counter `drops` that grew, `direct` the (packets, bytes) of those
    entries (by their index in the scenario) that counted anything.
    """

    outputs: tuple[tuple[Output, ...], ...]
    drops: Mapping[int, int]
    direct: Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Scenarios with the outcomes of one switch, and how they were made."""

    made_by: Mapping[str, Any]
    played: tuple[tuple[Scenario, Outcome], ...]


def differences(scenario: Scenario, wanted: Outcome, got: Outcome) -> list[str]:
    """One line per packet, drop cell and entry in which two outcomes differ."""
    found = []
    for index, (port, frame) in enumerate(scenario.packets):
        if wanted.outputs[index] != got.outputs[index]:
            found.append(
                f"{scenario.name}: packet {index} into port {port} {frame.hex()}\n"
                f"    expected {_outputs(wanted.outputs[index])}\n"
                f"    got      {_outputs(got.outputs[index])}"
            )
    for cell in sorted(wanted.drops.keys() | got.drops.keys()):
        pair = (wanted.drops.get(cell, 0), got.drops.get(cell, 0))
        if pair[0] != pair[1]:
            found.append(
                f"{scenario.name}: drops of slice id {cell >> 5}, reason {cell & 31}: "
                f"expected {pair[0]}, got {pair[1]}"
            )
    for index in sorted(wanted.direct.keys() | got.direct.keys()):
        counts = (wanted.direct.get(index, (0, 0)), got.direct.get(index, (0, 0)))
        if counts[0] != counts[1]:
            found.append(
                f"{scenario.name}: {scenario.items[index]}: (packets, bytes) "
                f"expected {counts[0]}, got {counts[1]}"
            )
    return found


def save(path: Path, vectors: Vectors) -> None:
    """Write vectors; equal vectors give equal bytes."""
    lines = ["{", f'"made_by": {json.dumps(vectors.made_by, indent=1)},', '"scenarios": [']
    for number, (scenario, outcome) in enumerate(vectors.played):
        lines += ["{", f' "name": {json.dumps(scenario.name)},', ' "entries": [']
        lines += _rows([_item_to_json(item) for item in scenario.items])
        lines += [' "packets": [']
        lines += _rows(
            [
                {"port": port, "hex": frame.hex(), "out": [[out, data.hex()] for out, data in outs]}
                for (port, frame), outs in zip(scenario.packets, outcome.outputs, strict=True)
            ]
        )
        drops = {str(cell): count for cell, count in sorted(outcome.drops.items())}
        direct = {str(index): list(pair) for index, pair in sorted(outcome.direct.items())}
        lines += [f' "drops": {json.dumps(drops)},', f' "direct": {json.dumps(direct)}']
        lines.append("}" if number == len(vectors.played) - 1 else "},")
    lines += ["]", "}", ""]
    path.write_text("\n".join(lines))


def load(path: Path) -> Vectors:
    """Read what `save` wrote."""
    data = json.loads(path.read_text())
    played = []
    for raw in data["scenarios"]:
        scenario = Scenario(
            raw["name"],
            tuple(_item_from_json(item) for item in raw["entries"]),
            tuple((packet["port"], bytes.fromhex(packet["hex"])) for packet in raw["packets"]),
        )
        outcome = Outcome(
            tuple(
                tuple((port, bytes.fromhex(frame)) for port, frame in packet["out"])
                for packet in raw["packets"]
            ),
            {int(cell): count for cell, count in raw["drops"].items()},
            {int(index): (pair[0], pair[1]) for index, pair in raw["direct"].items()},
        )
        played.append((scenario, outcome))
    return Vectors(data["made_by"], tuple(played))


def _rows(values: Sequence[Mapping[str, Any]]) -> list[str]:
    last = len(values) - 1
    rows = [f"  {json.dumps(value)}{'' if at == last else ','}" for at, value in enumerate(values)]
    return [*rows, " ],"]


def _item_to_json(item: Item) -> dict[str, Any]:
    if isinstance(item, MulticastGroup):
        return {"group": item.group_id, "replicas": sorted(list(pair) for pair in item.replicas)}
    row: dict[str, Any] = {"table": item.table}
    if item.is_default:
        row["default"] = True
    else:
        row["key"] = {name: _match_to_text(match) for name, match in item.key}
    if item.priority:
        row["priority"] = item.priority
    return {**row, "action": item.action, "args": {name: hex(value) for name, value in item.args}}


def _item_from_json(row: Mapping[str, Any]) -> Item:
    if "group" in row:
        return MulticastGroup(row["group"], frozenset((port, rid) for port, rid in row["replicas"]))
    return TableEntry(
        row["table"],
        tuple((name, _match_from_text(text)) for name, text in row.get("key", {}).items()),
        row.get("priority", 0),
        row["action"],
        tuple((name, int(value, 16)) for name, value in row["args"].items()),
        row.get("default", False),
    )


def _match_to_text(match: FieldMatch) -> str:
    if isinstance(match, Ternary):
        return f"{match.value:#x} & {match.mask:#x}"
    if isinstance(match, Lpm):
        return f"{match.value:#x} / {match.prefix_len}"
    return f"{match.value:#x}"


def _match_from_text(text: str) -> FieldMatch:
    value, *rest = text.split()
    if not rest:
        return Exact(int(value, 16))
    if rest[0] == "&":
        return Ternary(int(value, 16), int(rest[1], 16))
    return Lpm(int(value, 16), int(rest[1]))


def _outputs(outputs: Sequence[Output]) -> str:
    return " ".join(f"{port}:{frame.hex()}" for port, frame in outputs) or "nothing"
