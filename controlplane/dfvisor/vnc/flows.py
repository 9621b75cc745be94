"""The `flow` entries of one QoS slice, by key: pure bookkeeping.

They are the same on all switches of the slice:

- for each flowspace what it lets in; which path class it gets there is `slice_path`'s to say, so
  a change of paths does not touch them. What demotes or punts applies to packets that no switch has
  decided about (path class 0): a later switch carries out what the first one decided, although its
  own entries may be newer or older.
- below all of them, what bears a path class of the slice is let through, for the same reason.
- above all of them, what goes to an endpoint behind a foreign peer is demoted: such a peer is
  reached by best effort alone, it knows nothing of flow switching and perhaps only one key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, KeysView, Mapping
from operator import getitem
from weakref import ref

import msgspec

from dfvisor.errors import DFVisorError
from dfvisor.model.records import Flowspace, Match, Treatment, VirtualNetwork
from dfvisor.model.ternary import WIDTHS, Masks, expand
from dfvisor.p4rt.cookies import NO_FLOWSPACE, flowspace_cookie
from dfvisor.p4rt.entries import (
    EntryKey,
    Exact,
    FieldMatch,
    Key,
    TableEntry,
    Ternary,
    entry_key,
)
from dfvisor.slicer.view import SLICE_ID
from dfvisor.vnc.batches import Batch

UNDECIDED = ("path_class", Ternary(0, 0xFFF))
"""A packet from an access port, or from a foreign peer."""
CARRIED_PRIORITY = 1
PATH_PRIORITY = 1
FLOWSPACE_PRIORITY = 1  # added to that of the flowspace
FOREIGN_PRIORITY = 65535  # above that of every flowspace

_ACTIONS = {
    Treatment.PERMIT: "permit",
    Treatment.DEMOTE: "demote",
    Treatment.TO_CONTROLLER: "to_controller",
}
FLOW_TREATMENTS = frozenset(_ACTIONS)
_CARRIED = "/carried/"
_PEER = "/peer/"  # sources that are no flowspaces: names have no slash


class CompileError(DFVisorError):
    """Records that contradict each other; validation would have refused them."""


_Rows = tuple[list[EntryKey], list[TableEntry]]
"""Keys and entries of one form."""


class _Made(msgspec.Struct, frozen=True, gc=False):
    """What a flowspace's entries were made from."""

    flowspace: Flowspace
    match: Match


class _Parts(dict[int, tuple[str, FieldMatch]]):
    """Parts of keys by their value: those of one field under one mask, each made once."""

    def __init__(self, name: str, mask: int) -> None:
        super().__init__()
        self._name = name
        self._mask = mask

    def __missing__(self, value: int) -> tuple[str, FieldMatch]:
        self[value] = found = (self._name, Ternary(value, self._mask))
        return found


class Flows:
    """Entries by key. Of two flowspaces with the same match and priority, whose treatment is then
    equal, the first by name has the entry.
    """

    def __init__(self, vn: str, gre_key: int) -> None:
        self._vn = vn
        self._gre_key = gre_key
        self._made: dict[str, _Made] = {}
        self._of: dict[str, tuple[TableEntry, ...]] = {}  # by source
        self._first: dict[EntryKey, TableEntry] = {}
        self._source: dict[EntryKey, str] = {}
        self._twins: dict[EntryKey, dict[str, TableEntry]] = {}  # where there are several
        self._batch: ref[Batch] | None = None  # the latest, unless an entry of it has changed

    @property
    def entries(self) -> Mapping[EntryKey, TableEntry]:
        """All of them."""
        return self._first

    @property
    def flowspaces(self) -> KeysView[str]:
        """Names of those that have entries."""
        return self._made.keys()

    def holds(self, batch: Batch) -> bool:
        """Whether a batch's entries are surely as they were when it was made."""
        return self._batch is not None and self._batch() is batch

    def add(self, flowspaces: Iterable[tuple[Flowspace, Match]]) -> Collection[EntryKey]:
        """`put` many flowspaces that are not there yet. The keys are a batch, unless an entry is
        two flowspaces'.
        """
        made, of, first, source = self._made, self._of, self._first, self._source
        parts: dict[tuple[str, int], _Parts] = {}
        forms: dict[tuple[Treatment, Masks], tuple[Key, list[_Parts], _Rows]] = {}
        rows: dict[tuple[Treatment, tuple[str, ...]], _Rows] = {}
        others: set[EntryKey] = set()
        for flowspace, match in flowspaces:
            name, treatment = flowspace.name, flowspace.treatment
            args = (("cookie", flowspace_cookie(self._vn, name)),)
            priority = flowspace.priority + FLOWSPACE_PRIORITY
            action = _ACTIONS[treatment]
            new: list[tuple[_Rows, EntryKey, TableEntry]] = []
            for one in expand(match, bidirectional=flowspace.bidirectional):
                form = forms.get((treatment, one.masks))
                if form is None:
                    fields = [parts.setdefault(part, _Parts(*part)) for part in one.masks]
                    names = tuple(part[0] for part in one.masks)
                    form = (
                        _at(self._gre_key, treatment),
                        fields,
                        rows.setdefault((treatment, names), ([], [])),
                    )
                    forms[treatment, one.masks] = form
                at, known, row = form
                fields_ = (*at, *map(getitem, known, one.values))
                key = EntryKey("flow", fields_, priority)
                if key in first:
                    others |= self.put(flowspace, match)
                    break
                new.append((row, key, TableEntry("flow", fields_, priority, action, args)))
            else:
                made[name] = _Made(flowspace, match)
                of[name] = tuple([entry for _, _, entry in new])
                for row, key, entry in new:
                    first[key], source[key] = entry, name
                    row[0].append(key)
                    row[1].append(entry)
        batch = Batch(self._gre_key, rows.values())
        if others:
            return others.union(batch)
        self._batch = ref(batch)
        return batch

    def put(self, flowspace: Flowspace, match: Match) -> set[EntryKey]:
        """Set a flowspace, whose match is as can be told inside the fabric; keys that changed."""
        held = self._made.get(flowspace.name)
        made = _Made(flowspace, match)
        if held == made:
            return set()
        keys = _keys(self._gre_key, flowspace, match)
        self._made[flowspace.name] = made
        found: set[EntryKey] = set()
        self._put(flowspace.name, tuple(self._entries(flowspace, keys)), found)
        return found

    def drop(self, name: str) -> set[EntryKey]:
        """Take a flowspace away; keys that changed."""
        found: set[EntryKey] = set()
        if self._made.pop(name, None) is not None:
            self._put(name, (), found)
        return found

    def demote(self, mac: int, wanted: bool) -> set[EntryKey]:
        """Whether packets to this MAC leave the slice; keys that changed."""
        found: set[EntryKey] = set()
        source = f"{_PEER}{mac:x}"
        if not wanted and source not in self._of:
            return found
        fields: Key = ((SLICE_ID, Exact(self._gre_key)), UNDECIDED, ("eth_dst", _whole(mac)))
        args = (("cookie", NO_FLOWSPACE),)
        entry = TableEntry("flow", fields, FOREIGN_PRIORITY, "demote", args)
        self._put(source, (entry,) if wanted else (), found)
        return found

    def carry(self, path_class: int, wanted: bool) -> set[EntryKey]:
        """Whether packets of this path class are let through; keys that changed."""
        found: set[EntryKey] = set()
        key = ((SLICE_ID, Exact(self._gre_key)), ("path_class", Ternary(path_class, 0xFFF)))
        entry = TableEntry("flow", key, CARRIED_PRIORITY, "permit", (("cookie", NO_FLOWSPACE),))
        self._put(f"{_CARRIED}{path_class}", (entry,) if wanted else (), found)
        return found

    def _entries(self, flowspace: Flowspace, keys: Iterable[Key]) -> Iterator[TableEntry]:
        args = (("cookie", flowspace_cookie(self._vn, flowspace.name)),)
        priority = flowspace.priority + FLOWSPACE_PRIORITY
        for key in keys:
            yield TableEntry("flow", key, priority, _ACTIONS[flowspace.treatment], args)

    def _put(self, source: str, entries: tuple[TableEntry, ...], changed: set[EntryKey]) -> None:
        """Replace a source's entries."""
        new = {entry_key(entry): entry for entry in entries}
        for entry in self._of.pop(source, ()):
            key = entry_key(entry)
            if key not in new:
                self._withdraw(key, source, changed)
        for key, entry in new.items():
            self._claim(key, source, entry, changed)
        if entries:
            self._of[source] = entries
        batch = None if self._batch is None else self._batch()
        if batch is not None and not batch.apart(changed):
            self._batch = None

    def _claim(self, key: EntryKey, source: str, entry: TableEntry, changed: set[EntryKey]) -> None:
        holder = self._source.get(key, source)
        if holder != source or key in self._twins:
            twins = self._twins.setdefault(key, {holder: self._first[key]})
            twins[source] = entry
            self._choose(key, twins, changed)
        elif self._first.get(key) != entry:
            self._first[key], self._source[key] = entry, source
            changed.add(key)

    def _withdraw(self, key: EntryKey, source: str, changed: set[EntryKey]) -> None:
        twins = self._twins.get(key)
        if twins is None:
            del self._first[key], self._source[key]
            changed.add(key)
            return
        del twins[source]
        self._choose(key, twins, changed)
        if len(twins) == 1:
            del self._twins[key]

    def _choose(
        self, key: EntryKey, twins: Mapping[str, TableEntry], changed: set[EntryKey]
    ) -> None:
        source = min(twins)
        if self._first[key] != twins[source]:
            changed.add(key)
        self._first[key], self._source[key] = twins[source], source


def stamp(gre_key: int, path_class: int) -> TableEntry:
    """The `slice_path` entry that has all packets of a slice take a path class where they enter."""
    key = ((SLICE_ID, Exact(gre_key)),)
    return TableEntry("slice_path", key, PATH_PRIORITY, "set_path", (("path_class", path_class),))


def inside(vn: VirtualNetwork, flowspace: Flowspace) -> Match:
    """The flowspace's match as it can be told inside the fabric, where there is no access port to
    look at: one for an endpoint's port is narrowed to the endpoint's MAC.
    """
    match = flowspace.match
    if match.endpoint is None or match.eth_src is not None:
        return match
    endpoint = vn.endpoints.get(match.endpoint)
    if endpoint is None:
        raise CompileError(
            f"virtual network {vn.name}: flowspace {flowspace.name} names endpoint "
            f"{match.endpoint}, which does not exist"
        )
    return msgspec.structs.replace(match, eth_src=endpoint.mac)


def _keys(gre_key: int, flowspace: Flowspace, match: Match) -> Iterator[Key]:
    at = _at(gre_key, flowspace.treatment)
    for one in expand(match, bidirectional=flowspace.bidirectional):
        yield at + tuple(
            [
                (name, Ternary(value, mask))
                for (name, mask), value in zip(one.masks, one.values, strict=True)
            ]
        )


def _at(gre_key: int, treatment: Treatment) -> Key:
    """What all keys of flowspaces of a treatment begin with."""
    at: Key = ((SLICE_ID, Exact(gre_key)),)
    return at if treatment is Treatment.PERMIT else (*at, UNDECIDED)


def _whole(mac: int) -> Ternary:
    return Ternary(mac, (1 << WIDTHS["eth_dst"]) - 1)
