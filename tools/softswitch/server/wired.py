"""Which tables of a P4Info take updates as they come on the wire (`softswitch.wire`)."""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.server.schema import MatchKind, Schema, Scope, Table
from softswitch.wire import DescribedAction, DescribedField, DescribedTable, Kind

_KINDS = {
    MatchKind.EXACT: Kind.EXACT,
    MatchKind.LPM: Kind.LPM,
    MatchKind.TERNARY: Kind.TERNARY,
    MatchKind.OPTIONAL: Kind.OPTIONAL,
}


def described(schema: Schema) -> Sequence[DescribedTable]:
    """Those that controllers fill with direct actions."""
    return [
        _table(table)
        for table in schema.tables.values()
        if table.fields
        and not table.is_const
        and not table.profile
        and all(field.kind in _KINDS for field in table.fields)
    ]


def _table(table: Table) -> DescribedTable:
    fields = tuple(DescribedField(f.id, _KINDS[f.kind], f.width) for f in table.fields)
    actions = tuple(
        DescribedAction(action.id, action.name, tuple(param.id for param in action.params))
        for action, scope in table.actions.values()
        if scope is not Scope.DEFAULT_ONLY
    )
    return DescribedTable(table.id, table.name, fields, actions, max(0, table.size))
