"""Pipelines: tables, conditionals and how they follow each other."""

from __future__ import annotations

from collections.abc import Mapping

from softswitch import ir
from softswitch.errors import UnsupportedError
from softswitch.load.expr import Expressions
from softswitch.load.scope import MAX_HASHED_HEADERS, Scope
from softswitch.load.view import View

Actions = Mapping[int, ir.Action]


def load_pipeline(scope: Scope, actions: Actions, item: View) -> ir.Pipeline:
    """An entry of `pipelines`; every node it mentions must exist."""
    name = item.get("name").text()
    calls = item.opt("action_calls")
    if calls is not None and list(calls.each()):
        raise UnsupportedError("action calls", calls.path)
    tables = [_table(scope, actions, name, view) for view in item.get("tables").each()]
    conditionals = [_conditional(scope, view) for view in item.get("conditionals").each()]
    start = item.opt("init_table")
    pipeline = ir.Pipeline(
        name=name,
        start=None if start is None else start.text(),
        tables={t.name: t for t in tables},
        conditionals={c.name: c for c in conditionals},
    )
    known = {None, *pipeline.tables, *pipeline.conditionals}
    mentioned = {pipeline.start}
    for table in tables:
        mentioned |= {table.next_hit, table.next_miss, table.next_default}
        mentioned |= set(table.next_by_action.values())
    for conditional in conditionals:
        mentioned |= {conditional.then, conditional.other}
    for missing in sorted(str(n) for n in mentioned - known):
        raise item.fail(f"no table or conditional '{missing}'")
    return pipeline


def _name(view: View, member: str) -> str | None:
    found = view.opt(member)
    return None if found is None else found.text()


def _conditional(scope: Scope, item: View) -> ir.Conditional:
    return ir.Conditional(
        name=item.get("name").text(),
        cond=Expressions(scope).boolean(item.get("expression")),
        then=_name(item, "true_next"),
        other=_name(item, "false_next"),
    )


def _table(scope: Scope, actions: Actions, pipeline: str, item: View) -> ir.Table:
    name = item.get("name").text()
    kind = item.get("type").text()
    if kind not in ("simple", "indirect", "indirect_ws"):
        raise UnsupportedError(f"table type '{kind}' ({name})", item.path)
    meter = item.opt("direct_meters")
    if meter is not None and meter.text() not in scope.direct_meters:
        raise meter.fail(f"no direct meter '{meter.text()}'")
    timeout = item.opt("support_timeout")
    match = _match(item.get("match_type"))
    keys = tuple(_key(scope, view) for view in item.get("key").each())
    names = [view.text() for view in item.get("actions").each()]
    ids = [view.integer() for view in item.get("action_ids").each()]
    for action_id in ids:
        if action_id not in actions:
            raise item.get("action_ids").fail(f"no action with id {action_id}")
    following = dict(item.get("next_tables").items())
    default_view = item.opt("default_entry")
    entries = item.opt("entries")
    for view in (default_view, entries):
        if kind != "simple" and view is not None:
            raise UnsupportedError(f"entries of the program in indirect table '{name}'", view.path)
    nexts = {n: None if v.value is None else v.text() for n, v in following.items()}
    splits_hit, splits_miss = "__HIT__" in nexts, "__MISS__" in nexts
    by_action = {n: v for n, v in nexts.items() if n not in ("__HIT__", "__MISS__")}
    for action_name in names:
        if action_name not in by_action and not (splits_hit and splits_miss):
            raise item.get("next_tables").fail(f"no next node after action '{action_name}'")
    const_flag = None if default_view is None else default_view.opt("action_entry_const")
    return ir.Table(
        name=name,
        pipeline=pipeline,
        match=match,
        keys=keys,
        actions=dict(zip(names, ids, strict=True)),
        max_size=item.get("max_size").size(),
        counters=item.get("with_counters").flag(),
        default=None if default_view is None else _call(actions, default_view),
        default_const=const_flag is not None and const_flag.flag(),
        entries=None
        if entries is None
        else tuple(_entry(actions, keys, view) for view in entries.each()),
        next_by_action=by_action,
        next_hit=nexts.get("__HIT__"),
        next_miss=nexts.get("__MISS__"),
        splits_hit=splits_hit,
        splits_miss=splits_miss,
        next_default=_name(item, "base_default_next"),
        profile=None if kind == "simple" else item.get("action_profile").text(),
        ages=timeout is not None and timeout.flag(),
        meter=None if meter is None else meter.text(),
    )


def load_profile(scope: Scope, item: View) -> ir.Profile:
    """An entry of `action_profiles`."""
    selector = item.opt("selector")
    fields: list[ir.FieldRef] = []
    if selector is not None:
        algorithm = selector.get("algo")
        if algorithm.text() != "crc16":
            raise UnsupportedError(f"selector algorithm '{algorithm.text()}'", algorithm.path)
        for view in selector.get("input").each():
            if view.get("type").text() != "field":
                raise UnsupportedError(f"'{view.get('type').text()}' in a selector", view.path)
            fields.append(scope.field(view.get("value")))
        headers = {ref.header for ref in fields if not scope.headers[ref.header].metadata}
        if len(headers) > MAX_HASHED_HEADERS:
            raise UnsupportedError(
                f"{len(headers)} headers in a selector (at most {MAX_HASHED_HEADERS})",
                selector.path,
            )
    return ir.Profile(item.get("name").text(), item.get("max_size").size(), tuple(fields))


def _match(view: View) -> ir.Match:
    try:
        return ir.Match(view.text())
    except ValueError:
        raise UnsupportedError(f"match kind '{view.text()}'", view.path) from None


def _key(scope: Scope, item: View) -> ir.Key:
    source = scope.field(item.get("target"))
    mask = item.opt("mask")
    name = item.opt("name")
    return ir.Key(
        name=f"{source.header}.{source.field}" if name is None else name.text(),
        match=_match(item.get("match_type")),
        source=source,
        width=scope.width(source),
        mask=None if mask is None else mask.hexstr(),
    )


def _call(actions: Actions, item: View) -> ir.ActionCall:
    action_id = item.get("action_id").integer()
    if action_id not in actions:
        raise item.fail(f"no action with id {action_id}")
    params = actions[action_id].params
    data = item.opt("action_data")
    args = [] if data is None else [view.hexstr() for view in data.each()]
    if len(args) != len(params):
        raise item.fail(f"{len(args)} arguments for {len(params)} parameters")
    for arg, (name, width) in zip(args, params, strict=True):
        if not -(1 << (width - 1)) <= arg < 1 << width:
            raise item.fail(f"{arg:#x} does not fit parameter '{name}' of {width} bits")
    return ir.ActionCall(action_id, tuple(args))


def negative_arguments(root: View) -> dict[int, frozenset[int]]:
    """By action id, the parameters for which the program's own entries have negative arguments."""
    found: dict[int, frozenset[int]] = {}
    for pipeline in root.get("pipelines").each():
        for table in pipeline.get("tables").each():
            default, entries = table.opt("default_entry"), table.opt("entries")
            calls = [] if default is None else [default]
            if entries is not None:
                calls += [entry.get("action_entry") for entry in entries.each()]
            for call in calls:
                data = call.opt("action_data")
                args = [] if data is None else [view.hexstr() for view in data.each()]
                minus = frozenset(i for i, arg in enumerate(args) if arg < 0)
                action_id = call.get("action_id").integer()
                found[action_id] = found.get(action_id, frozenset()) | minus
    return found


def _entry(actions: Actions, keys: tuple[ir.Key, ...], item: View) -> ir.ConstEntry:
    views = item.get("match_key").tuple(len(keys))
    key: list[tuple[int, int]] = []
    for view, field in zip(views, keys, strict=True):
        full = (1 << field.width) - 1
        match field.match:
            case ir.Match.EXACT:
                mask = full
            case ir.Match.TERNARY:
                mask = view.get("mask").hexstr() & full
            case ir.Match.LPM:
                prefix = view.get("prefix_length").integer()
                mask = full & ~((1 << (field.width - prefix)) - 1)
        key.append((view.get("key").hexstr() & mask, mask))
    priority = item.opt("priority")
    return ir.ConstEntry(
        key=tuple(key),
        priority=0 if priority is None else priority.integer(),
        call=_call(actions, item.get("action_entry")),
    )
