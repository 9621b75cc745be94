"""Match keys and actions: from P4Runtime messages to checked integers, and back in canonical form.

A key is a flat tuple of integers in P4Info order, which identifies an entry: per field
`value` (exact), `value, prefix length` (LPM), `value, mask` (ternary, optional), `low, high`
(range). An omitted field is "don't care": zeros, or the whole range.
"""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.engine import FlatKey, KeyPart
from softswitch.server.errors import denied, invalid
from softswitch.server.pb import p4r
from softswitch.server.schema import Action, Field, MatchKind, Scope, Shape, Table
from softswitch.server.values import decode, encode

Key = tuple[int, ...]


MOST_SHAPES = 256

# names of the module's own: these are looked up for every field of every entry
_from_bytes = int.from_bytes  # big-endian, its default
_TERNARY, _EXACT = MatchKind.TERNARY, MatchKind.EXACT
_REFUSED = {True: Scope.TABLE_ONLY, False: Scope.DEFAULT_ONLY}


def parse_key(table: Table, matches: Sequence[p4r.FieldMatch]) -> Key:
    """The key of an entry. Raises INVALID_ARGUMENT naming table, field and value.

    Checks P4Runtime's canonical form: every exact field present, don't-care fields omitted, no
    value bits outside mask or prefix.
    """
    return parse_canonical_key(table, matches)[0]


def parse_canonical_key(table: Table, matches: Sequence[p4r.FieldMatch]) -> tuple[Key, bool]:
    """As `parse_key`; and whether the messages are just those that `put_key` would write.

    False is always safe: it is also said of what is not looked at closely.
    """
    given = list(matches)
    ids = tuple([match.field_id for match in given])
    shape = table.shapes.get(ids)
    if shape is None:
        checked = _checked_key(table, matches)
        if len(table.shapes) < MOST_SHAPES:
            table.shapes[ids] = _shape(table, ids)
        return checked, False
    key = list(shape.blank)
    shortest = shape.ordered
    for match, (at, kind, width, field) in zip(given, shape.fields, strict=True):
        # one that is of another kind reads as empty, and is then refused by the thorough way
        if kind is _TERNARY:
            ternary = match.ternary
            data = ternary.value
            mask_data = ternary.mask
            value = _from_bytes(data)
            mask = _from_bytes(mask_data)
            if not data or not mask or value & ~mask or mask >> width:
                return _checked_key(table, matches), False
            if not mask_data[0] or (not data[0] and len(data) > 1):
                shortest = False
            key[at] = value
            key[at + 1] = mask
        elif kind is _EXACT:
            data = match.exact.value
            value = _from_bytes(data)
            if not data or value >> width:
                return _checked_key(table, matches), False
            if not data[0] and len(data) > 1:
                shortest = False
            key[at] = value
        else:
            parts: list[int] = []
            _append(parts, table, field, match)
            key[at : at + 2] = parts
            shortest = False
    return tuple(key), shortest


def _shape(table: Table, ids: tuple[int, ...]) -> Shape:
    """The shape of a key that was found in order."""
    blank: list[int] = []
    places: list[int] = []
    for field in table.fields:
        places.append(len(blank))
        if field.kind is MatchKind.EXACT:
            blank.append(0)
        elif field.kind is MatchKind.RANGE:
            blank += (0, (1 << field.width) - 1)
        else:
            blank += (0, 0)
    given = [table.index[number] for number in ids]
    found = [(places[place], table.fields[place]) for place in given]
    fields = tuple((at, field.kind, field.width, field) for at, field in found)
    return Shape(tuple(blank), fields, given == sorted(given))


def _checked_key(table: Table, matches: Sequence[p4r.FieldMatch]) -> Key:
    given: list[p4r.FieldMatch | None] = [None] * len(table.fields)
    for match in matches:
        place = table.index.get(match.field_id)
        if place is None:
            raise invalid(f"table {table.name}: no match field has id {match.field_id}")
        if given[place] is not None:
            raise invalid(f"table {table.name}: field {table.fields[place].name}: given twice")
        given[place] = match
    parts: list[int] = []
    for field, found in zip(table.fields, given, strict=True):
        if found is not None:
            _append(parts, table, field, found)
        elif field.kind is MatchKind.EXACT:
            raise invalid(f"table {table.name}: field {field.name}: missing (its match is exact)")
        elif field.kind is MatchKind.RANGE:
            parts += (0, (1 << field.width) - 1)
        else:
            parts += (0, 0)
    return tuple(parts)


def _append(parts: list[int], table: Table, field: Field, match: p4r.FieldMatch) -> None:
    where = f"table {table.name}: field {field.name}"
    width = field.width
    kind = match.WhichOneof("field_match_type")
    if kind != field.kind.value:
        raise invalid(f"{where}: match is {kind or 'unset'}, expected {field.kind.value}")
    if field.kind is MatchKind.EXACT:
        parts.append(decode(match.exact.value, width, where))
    elif field.kind is MatchKind.TERNARY:
        value = decode(match.ternary.value, width, where)
        mask = decode(match.ternary.mask, width, f"{where}: mask")
        if mask == 0:
            raise invalid(f"{where}: mask 0: a don't-care field must be omitted")
        if value & ~mask:
            raise invalid(f"{where}: value {value:#x} has bits outside mask {mask:#x}")
        parts += (value, mask)
    elif field.kind is MatchKind.LPM:
        value = decode(match.lpm.value, width, where)
        length = match.lpm.prefix_len
        if length == 0:
            raise invalid(f"{where}: prefix length 0: a don't-care field must be omitted")
        if not 0 < length <= width:
            raise invalid(f"{where}: prefix length {length}, expected 1..{width}")
        if value & ((1 << (width - length)) - 1):
            raise invalid(f"{where}: value {value:#x} has bits beyond its prefix /{length}")
        parts += (value, length)
    elif field.kind is MatchKind.RANGE:
        low = decode(match.range.low, width, f"{where}: low")
        high = decode(match.range.high, width, f"{where}: high")
        if low > high:
            raise invalid(f"{where}: low {low:#x} is above high {high:#x}")
        if low == 0 and high == (1 << width) - 1:
            raise invalid(f"{where}: whole range: a don't-care field must be omitted")
        parts += (low, high)
    else:
        parts += (decode(match.optional.value, width, where), (1 << width) - 1)


def check_priority(table: Table, priority: int) -> None:
    """Raises INVALID_ARGUMENT unless the priority is above 0 exactly if the key needs one."""
    if table.needs_priority and priority <= 0:
        raise invalid(
            f"table {table.name}: priority {priority}, expected above 0 "
            "(the key has a ternary, range or optional field)"
        )
    if not table.needs_priority and priority != 0:
        raise invalid(
            f"table {table.name}: priority {priority}, expected 0 "
            "(the key has no ternary, range or optional field)"
        )


class EngineKey(FlatKey):
    """A key as the engine takes it."""

    __slots__ = ("_table",)

    def __init__(self, table: Table, key: Key) -> None:
        super().__init__(key)
        self._table = table

    def parts(self) -> list[KeyPart]:
        """One part per field."""
        return key_parts(self._table, self.flat)


def key_parts(table: Table, key: Key) -> list[KeyPart]:
    """One part per field."""
    parts = []
    at = iter(key)
    for field in table.fields:
        value = next(at)
        if field.kind is MatchKind.EXACT:
            parts.append(KeyPart(value=value))
        elif field.kind is MatchKind.LPM:
            parts.append(KeyPart(value=value, prefix_len=next(at)))
        elif field.kind is MatchKind.RANGE:
            parts.append(KeyPart(value=value, high=next(at)))
        else:
            parts.append(KeyPart(value=value, mask=next(at)))
    return parts


def put_key(table: Table, key: Key, entry: p4r.TableEntry) -> None:
    """Append the canonical FieldMatch messages of a key; don't-care fields are omitted."""
    at = iter(key)
    for field in table.fields:
        value = next(at)
        if field.kind is MatchKind.EXACT:
            entry.match.add(field_id=field.id).exact.value = encode(value)
            continue
        second = next(at)
        if field.kind is MatchKind.LPM:
            if second:
                lpm = entry.match.add(field_id=field.id).lpm
                lpm.value = encode(value)
                lpm.prefix_len = second
        elif field.kind is MatchKind.TERNARY:
            if second:
                ternary = entry.match.add(field_id=field.id).ternary
                ternary.value = encode(value)
                ternary.mask = encode(second)
        elif field.kind is MatchKind.RANGE:
            if value or second != (1 << field.width) - 1:
                span = entry.match.add(field_id=field.id).range
                span.low = encode(value)
                span.high = encode(second)
        elif second:
            entry.match.add(field_id=field.id).optional.value = encode(value)


def parse_action(
    table: Table, table_action: p4r.TableAction, *, default: bool
) -> tuple[Action, tuple[int, ...]]:
    """The action and its arguments in declaration order.

    Raises INVALID_ARGUMENT for an action that the table does not have, or missing, unknown, twice
    given or too large parameters; PERMISSION_DENIED for an action outside its scope (`default`
    says whether it is for the default entry).
    """
    action, message = choose_action(table, table_action, default=default)
    return action, parse_call(action, message)


def choose_action(
    table: Table, table_action: p4r.TableAction, *, default: bool
) -> tuple[Action, p4r.Action]:
    """The action, and the message with its arguments; raises as `parse_action` does."""
    kind = table_action.WhichOneof("type")
    if kind != "action":
        raise invalid(f"table {table.name}: action is {kind or 'unset'}, expected a direct action")
    message = table_action.action
    choice = table.actions.get(message.action_id)
    if choice is None:
        raise invalid(f"table {table.name}: has no action with id {message.action_id:#x}")
    action, scope = choice
    if scope is _REFUSED[default]:
        use = "as default action" if default else "in an entry"
        raise denied(f"table {table.name}: action {action.name} is {scope.name}: not {use}")
    return action, message


def parse_call(action: Action, message: p4r.Action) -> tuple[int, ...]:
    """The arguments of an action in declaration order.

    Raises INVALID_ARGUMENT for missing, unknown, twice given or too large parameters.
    """
    return parse_canonical_call(action, message)[0]


def parse_canonical_call(action: Action, message: p4r.Action) -> tuple[tuple[int, ...], bool]:
    """As `parse_call`; and whether the message is the one that `put_call` would write (False is
    always safe)."""
    given = message.params
    if len(given) == len(action.params):
        values = []
        shortest = True
        for one, param in zip(given, action.params, strict=True):
            data = one.value
            value = _from_bytes(data)
            if one.param_id != param.id or not data or value >> param.width:
                break
            if not data[0] and len(data) > 1:
                shortest = False
            values.append(value)
        else:
            return tuple(values), shortest
    return _checked_call(action, message), False


def _checked_call(action: Action, message: p4r.Action) -> tuple[int, ...]:
    args: list[int | None] = [None] * len(action.params)
    for given in message.params:
        place = action.index.get(given.param_id)
        if place is None:
            raise invalid(f"action {action.name}: no parameter has id {given.param_id}")
        param = action.params[place]
        where = f"action {action.name}: parameter {param.name}"
        if args[place] is not None:
            raise invalid(f"{where}: given twice")
        args[place] = decode(given.value, param.width, where)
    complete = tuple(arg for arg in args if arg is not None)
    if len(complete) != len(args):
        missing = [p.name for p, a in zip(action.params, args, strict=True) if a is None]
        raise invalid(f"action {action.name}: missing parameter {', '.join(missing)}")
    return complete


def put_action(action: Action, args: tuple[int, ...], entry: p4r.TableEntry) -> None:
    """Set the canonical action of an entry."""
    put_call(action, args, entry.action.action)


def put_call(action: Action, args: tuple[int, ...], message: p4r.Action) -> None:
    """Set a canonical action message, whatever it held."""
    message.Clear()
    message.action_id = action.id
    for param, arg in zip(action.params, args, strict=True):
        message.params.add(param_id=param.id, value=encode(arg))
