"""`dfvctl local`: what local databases hold. No other database is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dfvisor.cli.change import Refused
from dfvisor.cli.output import Output, age, console, dump, table
from dfvisor.model.description import render
from dfvisor.model.records import Fabric, Network
from dfvisor.store.local import LocalDatabase
from dfvisor.store.stats import Active

SYNCED = "synced"
_FILE_COLUMNS = ("file", "boot", "fabric", "VNs", "flow entries", "equal to the global one")
_VN_COLUMNS = (
    "file",
    "VN",
    "revision",
    "active",
    "leader",
    "age",
    "slices",
    "endpoints",
    "flowspaces",
)


def show_local(files: Sequence[Path], output: Output) -> None:
    """Print the tables; as YAML or JSON the records themselves, of one file."""
    if output is not Output.TABLE:
        if len(files) != 1:
            raise Refused("records are printed of one file at a time")
        with contextlib.closing(LocalDatabase.reading(files[0])) as local:
            fabric = local.load_fabric()
            vns = {name: vn for name, (_, vn) in local.load_vns().items()}
            dump(render(Network(fabric=fabric[1] if fabric else Fabric(), vns=vns)), output)
        return
    heads: list[tuple[object, ...]] = []
    rows: list[tuple[object, ...]] = []
    for file in files:
        with contextlib.closing(LocalDatabase.reading(file)) as local:
            heads.append(_head(file, local))
            rows += _vns(file, local)
    out = console()
    out.print(table("local databases", _FILE_COLUMNS, heads, right=_FILE_COLUMNS[1:5]))
    out.print()
    right = ("revision", "active", *_VN_COLUMNS[6:])
    out.print(table("virtual networks", _VN_COLUMNS, rows, right=right))


def _head(file: Path, local: LocalDatabase) -> tuple[object, ...]:
    fabric = local.load_fabric()
    synced = local.get(SYNCED)
    return (
        file,
        int(local.get("boot_id") or b"0") or None,
        fabric[0] if fabric else None,
        len(local.summaries()),
        sum(1 for _ in local.load_flows()),
        f"{age(float(synced))} ago" if synced else "never",
    )


def _vns(file: Path, local: LocalDatabase) -> list[tuple[object, ...]]:
    active = {
        name: msgspec.json.decode(record, type=Active)
        for name, record in local.items("active/").items()
    }
    return [
        (
            file,
            one.name,
            one.revision,
            active[one.name].revision if one.name in active else None,
            active[one.name].leader if one.name in active else None,
            age(one.saved),
            one.records.get("slices", 0),
            one.records.get("endpoints", 0),
            one.records.get("flowspaces", 0),
        )
        for one in local.summaries()
    ]
