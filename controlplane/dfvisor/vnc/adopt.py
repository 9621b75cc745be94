"""What a new leader finds on the switches: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dfvisor.p4rt.entries import TableEntry


def stamps(entries: Iterable[TableEntry]) -> dict[int, Counter[int]]:
    """By GRE key, the path classes that packets get, and by how many entries.

    Where none stamps, those of the forwarding that is there.
    """
    stamped: dict[int, Counter[int]] = {}
    forwarded: dict[int, Counter[int]] = {}
    for entry in entries:
        gre_key = entry.key[0][1].value
        if entry.action == "permit_on_path":
            stamped.setdefault(gre_key, Counter())[entry.arg("path_class")] += 1
        elif entry.table == "slice_forward" and (path_class := entry.key[1][1].value):
            forwarded.setdefault(gre_key, Counter())[path_class] += 1
    return forwarded | stamped
