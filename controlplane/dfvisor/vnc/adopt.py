"""What a new leader finds on the switches, and goes on with. Pure, but for the compiler it tells.

A leader may have gone in the middle of a change. So what is there of other path classes than the
one that most switches have packets take is left alone, until it is known that nobody does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from dfvisor.p4rt.entries import EntryKey, TableEntry
from dfvisor.vnc.compile import Compiler

Held = Mapping[str, Mapping[EntryKey, TableEntry]]
"""By switch."""


def adopt(compiler: Compiler, held: Held, names: Collection[str] | None = None) -> frozenset[str]:
    """Go on with the path classes that packets bear already; returns the slices whose forwarding
    can't stay as it is, which have to take another. `names`: only these slices.
    """
    found = [entry for entries in held.values() for entry in entries.values()]
    stamped, forwarded = stamps(found), forwards(found)
    for name, gre_key in compiler.slices.items():
        if names is not None and name not in names:
            continue
        there = forwarded.get(gre_key, frozenset())
        used = stamped.get(gre_key)
        if used:
            compiler.adopt(name, used.most_common(1)[0][0], there | used.keys())
        elif there:
            compiler.adopt(name, min(there), there)
    turned = frozenset(name for name in compiler.conflicts(held) if names is None or name in names)
    for name in turned:
        compiler.repath(name)
    return turned


def stamps(entries: Iterable[TableEntry]) -> dict[int, Counter[int]]:
    """By GRE key, the path classes that packets get where they enter, and at how many switches."""
    found: dict[int, Counter[int]] = {}
    for entry in entries:
        if entry.table == "slice_path":
            found.setdefault(entry.key[0][1].value, Counter())[entry.arg("path_class")] += 1
    return found


def forwards(entries: Iterable[TableEntry]) -> dict[int, frozenset[int]]:
    """By GRE key, the path classes for which there is forwarding."""
    found: dict[int, set[int]] = {}
    for entry in entries:
        if entry.table == "slice_forward":
            found.setdefault(entry.key[0][1].value, set()).add(entry.key[1][1].value)
    return {gre_key: frozenset(classes) for gre_key, classes in found.items()}
