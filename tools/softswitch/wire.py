"""P4Runtime updates that C takes as they come on the wire (`runtime/wire.c`).

A `Wire` belongs to an engine whose tables were described to it by P4Runtime's numbers. It takes
what is plain and stops at everything else; what an update means is decided elsewhere.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from softswitch import ir
from softswitch.entries import Table
from softswitch.instance import Instance
from softswitch.native import WireAction, WireField, WireParam, WireTable

MOST_WORDS = 32  # SW_WIRE_WORDS
MOST_TAKEN = 512
"""Updates that one call takes at most."""

_TAKEN = struct.Struct("=QIIII")  # struct sw_wire_taken


class Kind(IntEnum):
    """How a field matches, in C's numbers."""

    EXACT = 0
    LPM = 1
    TERNARY = 2
    OPTIONAL = 3


class _Order(IntEnum):
    NOTHING = 0
    PREFIX = 1
    PRIORITY = 2


@dataclass(frozen=True, slots=True)
class DescribedField:
    """A key field: its P4Runtime id, how it matches, its width in bits."""

    id: int
    kind: Kind
    width: int


@dataclass(frozen=True, slots=True)
class DescribedAction:
    """An action that entries may have: its id, its name, and its parameters' ids."""

    id: int
    name: str
    params: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A table: its id and name, its key and actions; `limit` entries at most (0: as many as the
    engine takes)."""

    id: int
    name: str
    fields: tuple[DescribedField, ...]
    actions: tuple[DescribedAction, ...]
    limit: int


class Wire:
    """Takes updates out of serialized WriteRequests."""

    def __init__(
        self, instance: Instance, tables: Mapping[str, Table], described: Sequence[DescribedTable]
    ) -> None:
        """Tables, and actions, whose entries do not fit are left out."""
        self._c = instance
        self._room = ctypes.create_string_buffer(MOST_TAKEN * _TAKEN.size)
        rows = _Rows()
        for one in described:
            rows.add(tables[one.name], one)
        instance.call(
            "tables",
            "sw_wire_describe",
            len(rows.tables),
            (WireTable * (len(rows.tables) + 1))(*rows.tables),
            len(rows.fields),
            (WireField * (len(rows.fields) + 1))(*rows.fields),
            len(rows.actions),
            (WireAction * (len(rows.actions) + 1))(*rows.actions),
            len(rows.params),
            (WireParam * (len(rows.params) + 1))(*rows.params),
        )

    def take(
        self, request: bytes, at: int, skip: int, most: int
    ) -> tuple[int, list[tuple[int, int, int, int, int]]]:
        """Pass over `skip` updates from byte `at` of a request on, and apply those that follow, up
        to `most` and the first that is not plain.

        Returns where the next one is, and of each that is done its handle, table id, kind (1
        INSERT, 2 MODIFY, 3 DELETE), and where its TableEntry is: first byte, and length.
        """
        where = ctypes.c_uint32(at)
        arguments = request, len(request), ctypes.byref(where), skip, min(most, MOST_TAKEN)
        count = self._c.call("updates", "sw_wire_write", *arguments, self._room)
        taken = _TAKEN.iter_unpack(memoryview(self._room)[: count * _TAKEN.size])
        return where.value, list(taken)


class _Rows:
    """What is described, as C takes it."""

    def __init__(self) -> None:
        self.tables: list[WireTable] = []
        self.fields: list[WireField] = []
        self.actions: list[WireAction] = []
        self.params: list[WireParam] = []

    def add(self, table: Table, described: DescribedTable) -> None:
        """A table, if C can take its entries."""
        own = table.ir
        if own.entries is not None or own.profile is not None or not own.keys:
            return
        if max(table.key_words, table.arg_words) > MOST_WORDS:
            return
        first_field, first_action = len(self.fields), len(self.actions)
        for field, bit in zip(described.fields, table.bits(), strict=True):
            self.fields.append(WireField(field.id, field.kind, field.width, bit))
        for action in described.actions:
            self._action(table, action)
        order = {
            ir.Match.EXACT: _Order.NOTHING,
            ir.Match.LPM: _Order.PREFIX,
            ir.Match.TERNARY: _Order.PRIORITY,
        }[own.match]
        self.tables.append(
            WireTable(
                described.id,
                table.index,
                order,
                described.limit,
                own.meter is not None,
                own.ages,
                first_field,
                len(described.fields),
                first_action,
                len(self.actions) - first_action,
            )
        )

    def _action(self, table: Table, described: DescribedAction) -> None:
        number = table.action(described.name)
        widths = table.word_widths(number)
        if widths is None or len(widths) != len(described.params):
            return
        first = len(self.params)
        for param, width in zip(described.params, widths, strict=True):
            self.params.append(WireParam(param, width))
        self.actions.append(WireAction(described.id, number, first, len(widths)))
