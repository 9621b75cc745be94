"""Writes docs/p4-reference.md: the switch program as its controllers see it.

    python tools/p4reference.py            # write the page
    python tools/p4reference.py --check    # 1 and the difference if the page is not current

Facts come from the compiled P4Info, reasons from the comments in p4src: the block above an object's
`@id(...)` is its description (of one outside controls: the file's). A table must say there who
writes it and, if it has a key, what a miss means.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfvisor.p4rt.pb import p4i, text_format

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "p4-reference.md"
P4INFO = ROOT / "bmv2_configs" / "dfvisor.p4info.txtpb"
SOURCES = ROOT / "p4src"
WIDTH = 120
DEFAULT_ONLY = p4i.ActionRef.Scope.DEFAULT_ONLY

_LEDGER = re.compile(r"#define (\w+) (0x[0-9a-f]{8})")
_ID = re.compile(r"\s*@id\((\w+)\)")
_HEADER = re.compile(r'\s*@controller_header\("(\w+)"\)')
_ENUM = re.compile(r"enum bit<\d+> (\w+) \{")
_MEMBER = re.compile(r"\s*(\w+) = (\d+),?\s*(?://\s*(.*))?$")
_WRITER = re.compile(r"Written by (.+?)(?:[,.:]| where )")


class IncompleteSources(Exception):
    """The sources do not say what the page needs."""


@dataclass(frozen=True, slots=True)
class Comments:
    """What the sources say: by P4Runtime id, by controller header, and the members of enums in
    order as (name, value, comment).
    """

    objects: Mapping[int, str]
    headers: Mapping[str, str]
    enums: Mapping[str, Sequence[tuple[str, int, str]]]


def read_comments(sources: Iterable[str]) -> Comments:
    """Read P4 sources, the ledger of ids among them."""
    texts = list(sources)
    ledger = {name: int(value, 16) for text in texts for name, value in _LEDGER.findall(text)}
    objects: dict[int, str] = {}
    headers: dict[str, str] = {}
    enums: dict[str, list[tuple[str, int, str]]] = {}
    for text in texts:
        head = " ".join(line.removeprefix("//").strip() for line in _head(text))
        block: list[str] = []
        members: list[tuple[str, int, str]] | None = None
        for line in text.splitlines():
            if line.lstrip().startswith("//"):
                block.append(line.lstrip().removeprefix("//").strip())
                continue
            said = " ".join(block)
            block = []
            if found := _ID.match(line):
                if found[1] in ledger:  # otherwise the id of a parameter or a field
                    outside = not line[0].isspace()
                    objects[ledger[found[1]]] = said or (head if outside else "")
            elif found := _HEADER.match(line):
                headers[found[1]] = said
            elif found := _ENUM.match(line):
                members = enums.setdefault(found[1], [])
            elif line.startswith("}"):
                members = None
            elif members is not None and (found := _MEMBER.match(line)):
                members.append((found[1], int(found[2]), found[3] or ""))
    return Comments(objects, headers, enums)


def _head(text: str) -> list[str]:
    """The comment at the beginning of a file, behind the licence."""
    lines = itertools.takewhile(lambda line: line.startswith("//"), text.splitlines())
    return [line for line in lines if "SPDX" not in line]


def render(info: p4i.P4Info, comments: Comments) -> str:
    """The page. IncompleteSources names every table whose comment is not enough."""
    _complain(info, comments)
    package = info.pkg_info
    tables = sorted(info.tables, key=lambda table: table.preamble.id)
    parts = [
        "# The P4 program's interface",
        "<!-- Written by tools/p4reference.py (make docs) from bmv2_configs/dfvisor.p4info.txtpb\n"
        "     and the comments in p4src/. Do not edit. -->",
        textwrap.fill(
            f"`{package.name}` {package.version} for {package.arch}, as its controllers see it. "
            "Ids are P4Runtime's, widths are in bits. All fields of an entry's key are given, "
            "except ternary ones that match anything.",
            WIDTH,
        ),
        "## Tables",
        _table(
            ("table", "id", "key", "size", "written by"),
            [
                (
                    f"[`{table.preamble.name}`](#{table.preamble.name})",
                    f"0x{table.preamble.id:08x}",
                    ", ".join(f"`{field.name}`" for field in table.match_fields) or "none",
                    _size(table),
                    _writer(comments.objects[table.preamble.id]),
                )
                for table in tables
            ],
        ),
        *(part for table in tables for part in _render_table(info, comments, table)),
        *_render_extras(info, comments),
        *_render_messages(info, comments),
        *_render_reasons(comments),
    ]
    return "\n\n".join(parts) + "\n"


def _complain(info: p4i.P4Info, comments: Comments) -> None:
    found: list[str] = []
    for table in info.tables:
        said = comments.objects.get(table.preamble.id, "")
        if not _WRITER.search(said):
            found.append(f"table {table.preamble.name}: its comment does not say who writes it")
        if table.match_fields and "miss" not in said:
            found.append(f"table {table.preamble.name}: its comment does not say what a miss means")
    for name in ("DropReason", "PuntReason"):
        found += [
            f"{name}.{member}: has no comment"
            for member, value, said in comments.enums.get(name, ())
            if value and not said
        ]
        if not comments.enums.get(name):
            found.append(f"enum {name} is missing")
    if found:
        raise IncompleteSources("\n".join(found))


def _writer(said: str) -> str:
    found = _WRITER.search(said)
    return found[1] if found else "?"


def _size(table: p4i.Table) -> int:
    return table.size if table.match_fields else 1


def _render_table(info: p4i.P4Info, comments: Comments, table: p4i.Table) -> list[str]:
    name = table.preamble.name
    parts = [f"### {name}", _paragraph(comments, comments.objects[table.preamble.id])]
    if table.match_fields:
        rows = [
            (f"`{field.name}`", field.id, field.bitwidth, _match_kind(field))
            for field in table.match_fields
        ]
        parts.append(_table(("key field", "id", "width", "match"), rows))
    actions = {action.preamble.id: action for action in info.actions}
    meanings = [
        (
            f"`{action.preamble.name}`",
            f"0x{action.preamble.id:08x}",
            ", ".join(f"`{p.name}` ({p.bitwidth})" for p in action.params) or "none",
            _inline(comments, comments.objects.get(action.preamble.id, "")),
        )
        for ref in table.action_refs
        if ref.scope != DEFAULT_ONLY
        for action in [actions[ref.id]]
    ]
    parts.append(_table(("action", "id", "parameters", "meaning"), meanings))
    parts.append(" ".join(_properties(info, table)))
    return parts


def _properties(info: p4i.P4Info, table: p4i.Table) -> list[str]:
    said = [f"Size {_size(table)}." if table.match_fields else "Has a default entry only."]
    profiles = {profile.preamble.id: profile for profile in info.action_profiles}
    if table.implementation_id:
        profile = profiles[table.implementation_id]
        kind = "selector" if profile.with_selector else "profile"
        said.append(
            f"Entries name a member or group of the action {kind} `{profile.preamble.name}`."
        )
    counters = {counter.preamble.id: counter for counter in info.direct_counters}
    for resource in table.direct_resource_ids:
        unit = p4i.CounterSpec.Unit.Name(counters[resource].spec.unit).lower()
        said.append(f"Entries count {'packets and bytes' if unit == 'both' else unit}.")
    if table.idle_timeout_behavior:
        said.append("Entries may have an idle timeout.")
    return said


def _match_kind(field: p4i.MatchField) -> str:
    return p4i.MatchField.MatchType.Name(field.match_type).lower()


def _render_extras(info: p4i.P4Info, comments: Comments) -> list[str]:
    counters: list[tuple[object, ...]] = [
        (
            f"`{counter.preamble.name}`",
            f"0x{counter.preamble.id:08x}",
            counter.size,
            p4i.CounterSpec.Unit.Name(counter.spec.unit).lower(),
            _inline(comments, comments.objects.get(counter.preamble.id, "")),
        )
        for counter in info.counters
    ]
    meters: list[tuple[object, ...]] = [
        (
            f"`{meter.preamble.name}`",
            f"0x{meter.preamble.id:08x}",
            meter.size,
            p4i.MeterSpec.Unit.Name(meter.spec.unit).lower(),
            _inline(comments, comments.objects.get(meter.preamble.id, "")),
        )
        for meter in info.meters
    ]
    profiles: list[tuple[object, ...]] = [
        (
            f"`{profile.preamble.name}`",
            f"0x{profile.preamble.id:08x}",
            profile.size,
            profile.max_group_size or "any",
            ", ".join(
                f"`{table.preamble.name}`"
                for table in info.tables
                if table.implementation_id == profile.preamble.id
            ),
        )
        for profile in info.action_profiles
    ]
    columns = ("name", "id", "cells", "unit", "meaning")
    return [
        "## Counters",
        _table(columns, counters),
        "## Meters",
        _table(columns, meters),
        "## Action selectors",
        _table(("name", "id", "members", "largest group", "tables"), profiles),
    ]


def _render_messages(info: p4i.P4Info, comments: Comments) -> list[str]:
    parts: list[str] = []
    for header in info.controller_packet_metadata:
        name = header.preamble.name
        parts.append(f"## {name.replace('_', '-').capitalize()}")
        parts.append(_paragraph(comments, comments.headers.get(name, "")))
        rows = [(f"`{field.name}`", field.id, field.bitwidth) for field in header.metadata]
        parts.append(_table(("metadata", "id", "width"), rows))
    for digest in info.digests:
        members = info.type_info.structs[digest.type_spec.struct.name].members
        parts.append(f"## Digest `{digest.preamble.name}`")
        listed = ", ".join(f"`{m.name}` ({m.type_spec.bitstring.bit.bitwidth})" for m in members)
        parts.append(f"Id 0x{digest.preamble.id:08x}. Members: {listed}.")
    return parts


def _render_reasons(comments: Comments) -> list[str]:
    parts: list[str] = []
    for enum, title, about in (
        ("DropReason", "Drop reasons", "The `drops` counter has a cell for each, per slice id."),
        ("PuntReason", "Punt reasons", "The `reason` of a packet-in."),
    ):
        parts += [f"## {title}", about]
        rows = [(value, f"`{name}`", said) for name, value, said in comments.enums[enum] if value]
        parts.append(_table(("value", "name", "meaning"), rows))
    return parts


def _inline(comments: Comments, said: str) -> str:
    """The comment with the names of reasons set as code."""
    names = {
        name
        for enum in ("DropReason", "PuntReason")
        for name, value, _ in comments.enums[enum]
        if value and "_" in name
    }
    return re.sub(r"\b[A-Z][A-Z0-9_]+\b", lambda m: f"`{m[0]}`" if m[0] in names else m[0], said)


def _paragraph(comments: Comments, said: str) -> str:
    return textwrap.fill(
        _inline(comments, said), WIDTH, break_long_words=False, break_on_hyphens=False
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def current_page() -> str:
    """The page that belongs to the sources and the compiled P4Info."""
    info = text_format.Parse(P4INFO.read_text(encoding="utf-8"), p4i.P4Info())
    sources = sorted(SOURCES.rglob("*.p4"))
    return render(info, read_comments(path.read_text(encoding="utf-8") for path in sources))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    arguments = parser.parse_args(argv)
    try:
        page = current_page()
    except IncompleteSources as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not arguments.check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    held = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    sys.stderr.writelines(
        difflib.unified_diff(
            held.splitlines(keepends=True), page.splitlines(keepends=True), PAGE.name, "current"
        )
    )
    return int(held != page)


if __name__ == "__main__":
    sys.exit(main())
