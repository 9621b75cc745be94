"""A scenario: what a switch holds, what it receives, and, once played, what it did.

Their file is JSON that people can read: entries by name, one packet a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfvisor.p4rt.drops import REASON_BITS
from dfvisor.p4rt.entries import (
    Exact,
    FieldMatch,
    Item,
    Lpm,
    Member,
    Meter,
    MeterConfig,
    MulticastGroup,
    TableEntry,
    Ternary,
)

Output = tuple[int, bytes]
"""Port and frame. At the CPU port the frame is behind packet_out_t or packet_in_t, as the program
sees it."""


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
                f"{scenario.name}: drops of slice id {cell >> REASON_BITS}, "
                f"reason {cell & (1 << REASON_BITS) - 1}: "
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
    match item:
        case MulticastGroup():
            return {
                "group": item.group_id,
                "replicas": sorted(list(pair) for pair in item.replicas),
            }
        case Meter(meter, index, MeterConfig() as rates):
            return {
                "meter": meter,
                "index": index,
                "rates": [rates.cir, rates.cburst, rates.pir, rates.pburst],
            }
        case TableEntry():
            return _entry_to_json(item)
    raise TypeError(f"{item} has no place in a scenario")


def _entry_to_json(entry: TableEntry) -> dict[str, Any]:
    row: dict[str, Any] = {"table": entry.table}
    if entry.is_default:
        row["default"] = True
    else:
        row["key"] = {name: _match_to_text(match) for name, match in entry.key}
    if entry.priority:
        row["priority"] = entry.priority
    if entry.members:
        members = [
            {"action": one.action, "args": _args_to_json(one.args), "weight": one.weight}
            for one in entry.members
        ]
        return {**row, "members": members}
    return {**row, "action": entry.action, "args": _args_to_json(entry.args)}


def _args_to_json(args: Sequence[tuple[str, int]]) -> dict[str, str]:
    return {name: hex(value) for name, value in args}


def _args_from_json(row: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    return tuple((name, int(value, 16)) for name, value in row.items())


def _item_from_json(row: Mapping[str, Any]) -> Item:
    if "group" in row:
        return MulticastGroup(row["group"], frozenset((port, rid) for port, rid in row["replicas"]))
    if "meter" in row:
        return Meter(row["meter"], row["index"], MeterConfig(*row["rates"]))
    members = tuple(
        Member(one["action"], _args_from_json(one["args"]), weight=one["weight"])
        for one in row.get("members", ())
    )
    return TableEntry(
        row["table"],
        tuple((name, _match_from_text(text)) for name, text in row.get("key", {}).items()),
        row.get("priority", 0),
        row.get("action", ""),
        _args_from_json(row.get("args", {})),
        row.get("default", False),
        members,
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
