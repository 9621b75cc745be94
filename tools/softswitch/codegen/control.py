"""Actions and pipelines to C."""

from __future__ import annotations

from collections.abc import Iterable

from softswitch import ir
from softswitch.codegen.expr import ExprGen, Value, number
from softswitch.codegen.hashing import write_crc16
from softswitch.codegen.keys import key_layout
from softswitch.codegen.layout import Layout, words
from softswitch.codegen.statements import StatementGen, param_places
from softswitch.codegen.writer import Names, Writer

_ARGS = "struct sw_engine *e, struct sw_packet *k, struct phv *p"


def reachable(pipeline: ir.Pipeline) -> list[str]:
    """Nodes that a packet can come to, in an order that puts likely successors next."""
    order: list[str] = []
    pending = [pipeline.start]
    while pending:
        node = pending.pop()
        if node is None or node in order:
            continue
        order.append(node)
        pending += reversed(list(_following(pipeline, node)))
    return order


def used_actions(program: ir.Program) -> list[ir.Action]:
    """Actions that some table on a packet's way can run, by id."""
    ids: set[int] = set()
    for pipeline in (program.ingress, program.egress):
        for node in reachable(pipeline):
            if node in pipeline.tables:
                ids |= set(action_ids(pipeline.tables[node]))
    return [program.actions[i] for i in sorted(ids)]


def action_ids(table: ir.Table) -> list[int]:
    """Actions of a table, its default among them."""
    default = [] if table.default is None else [table.default.action]
    return sorted({*table.actions.values(), *default})


def write_actions(layout: Layout, w: Writer, counters: dict[str, int]) -> None:
    """One function per action."""
    for action in used_actions(layout.program):
        head = f"static void sw_action_{action.id}({_ARGS}, const uint64_t *a)"
        w.line(f"/* {action.name} */")
        with w.block(head):
            w.line("(void)e, (void)k, (void)p, (void)a;")
            gen = StatementGen(layout, counters, w, f"action '{action.name}'", param_places(action))
            targets = {s.target for s in action.body if isinstance(s, ir.Jump)}
            for index, statement in enumerate(action.body):
                if index in targets:
                    w.label(f"s{index}")
                gen.write(statement)
            if len(action.body) in targets:
                w.label(f"s{len(action.body)}")
        w.line()


class PipelineGen:
    """Writes a pipeline as one function; nodes are labels."""

    def __init__(self, layout: Layout, w: Writer, tables: dict[str, int]) -> None:
        self.layout = layout
        self.program = layout.program
        self.w = w
        self.tables = tables
        self._labels = Names("node_")

    def write(self, pipeline: ir.Pipeline) -> None:
        """`static void sw_<name>(e, k, p)`."""
        order = reachable(pipeline)
        entered = {n for node in order for n in _following(pipeline, node)}
        with self.w.block(f"static void sw_{pipeline.name}({_ARGS})"):
            self.w.line("(void)e, (void)k, (void)p;")
            for node in order:
                if node in entered:
                    self.w.label(self._labels[node])
                with self.w.block():
                    if node in pipeline.tables:
                        self._table(pipeline.tables[node])
                    else:
                        self._conditional(pipeline.conditionals[node])
        self.w.line()

    def _goto(self, node: str | None) -> str:
        return "return;" if node is None else f"goto {self._labels[node]};"

    def _conditional(self, node: ir.Conditional) -> None:
        expr = ExprGen(self.layout, self.w, f"condition '{node.name}'")
        self.w.line(f"if ({expr.boolean(node.cond)})")
        self.w.line(f"    {self._goto(node.then)}")
        self.w.line(self._goto(node.other))

    # --- tables -------------------------------------------------------------------------------

    def _table(self, table: ir.Table) -> None:
        w = self.w
        w.line(f"/* {table.name} */")
        w.line(f"struct sw_table *t = &e->tables[{self.tables[table.name]}];")
        if table.keys:
            size = self._key(table)
            w.line(f"struct sw_entry *x = sw_lookup(t, key, {size});")
            if table.profile is None:
                w.line("const uint32_t action = x ? x->action : t->default_action;")
                w.line("const uint64_t *args = x ? x->args : t->default_args;")
            else:
                self._member(self.program.profiles[table.profile])
            if table.ages:
                w.line("if (x)")
                w.line("    x->hit_us = k->now_us;")
            if table.meter is not None:
                self._meter(table, self.program.direct_meters[table.meter])
            if table.counters:
                with w.block("if (x)"):
                    w.line("x->packets++;")
                    w.line("x->bytes += k->len;")
        else:
            w.line("const uint32_t action = t->default_action;")
            w.line("const uint64_t *args = t->default_args;")
        ids = action_ids(table)
        if not table.keys and table.default is not None and table.default_const:
            # how p4c writes a plain action call
            ids = [table.default.action]
            w.line("(void)action;")
            w.line(f"sw_action_{ids[0]}(e, k, p, args);")
        else:
            with w.block("switch (action)"):
                for action_id in ids:
                    w.line(f"case {action_id}:")
                    w.line(f"    sw_action_{action_id}(e, k, p, args);")
                    w.line("    break;")
        if any(self._exits(action_id) for action_id in ids):
            w.line("if (k->exit)")
            w.line("    return;")
        self._next(table)

    def _member(self, profile: ir.Profile) -> None:
        """The member that an entry names, itself or by a group, gives action and arguments."""
        w = self.w
        number = list(self.program.profiles).index(profile.name)
        w.line("const struct sw_member *m = NULL;")
        with w.block("if (x)"):
            w.line(f"struct sw_profile *profile = &e->profiles[{number}];")
            w.line("const struct sw_member_group *g = sw_group_named(profile, x->args[0]);")
            with w.block("if (g && g->n == 1)"):
                w.line("m = sw_member_named(profile, g->members[0]);")
            with w.block("else if (g && g->n)"):
                write_crc16(
                    self.layout, w, [ir.SumField(r.header, r.field) for r in profile.selector]
                )
                w.line("m = sw_member_named(profile, g->members[hash % g->n]);")
            with w.block("else if (!g)"):
                w.line("m = sw_member_named(profile, x->args[0]);")
        w.line("const uint32_t action = m ? m->action : SW_NO_ACTION;")
        w.line("const uint64_t *args = m ? m->args : NULL;")

    def _meter(self, table: ir.Table, meter: ir.DirectMeter) -> None:
        """The colour of the entry that was hit; its action reads it."""
        color = self.w.temp()
        with self.w.block("if (x)"):
            number = self.tables[table.name]
            self.w.line(f"const uint64_t {color} = sw_direct_meter(e, {number}, x, k);")
            width = self.layout.field_type(meter.target).width
            value = Value(f"({color} & 0x{(1 << min(width, 64)) - 1:x}ull)", 1)
            statements = StatementGen(self.layout, {}, self.w, f"table '{table.name}'")
            statements.store_word(meter.target, value)

    def _exits(self, action_id: int) -> bool:
        return any(isinstance(s, ir.Exit) for s in self.program.actions[action_id].body)

    def _key(self, table: ir.Table) -> int:
        w = self.w
        layout = key_layout(table)
        expr = ExprGen(self.layout, w, f"table '{table.name}'")
        terms: dict[int, list[str]] = {}
        for place, key in zip(layout.places, table.keys, strict=True):
            value = expr.truncated(key.source, key.width)
            valid = self._validity(key.source)
            n = words(key.width)
            for i in range(n):
                part = self._word(value.text, n, i)
                if key.mask is not None:
                    part = f"({part} & {number(key.mask >> 64 * i, 1)})"
                if valid:
                    part = f"({valid} ? {part} : 0)"
                shifted = f"{part} << {place.shift}" if place.shift else part
                terms.setdefault(place.word + i, []).append(shifted)
        w.line(f"const uint64_t key[{layout.words}] = {{")
        for word in range(layout.words):
            w.line(f"    {' | '.join(terms[word])},")
        w.line("};")
        return layout.words

    @staticmethod
    def _word(text: str, n: int, index: int) -> str:
        if n == 1:
            return text
        if n == 2:
            return f"(uint64_t)({text} >> 64)" if index else f"(uint64_t)({text})"
        return f"{text}[{index}]"

    def _validity(self, ref: ir.FieldRef) -> str:
        """A field of an invalid header is looked up as 0."""
        if ref.field == ir.VALID or self.program.headers[ref.header].metadata:
            return ""
        return f"{self.layout.header(ref.header)}.valid"

    def _next(self, table: ir.Table) -> None:
        hits = self._nexts(table, table.splits_hit, table.next_hit, True)
        misses = self._nexts(table, table.splits_miss, table.next_miss, table.default is not None)
        if table.keys and hits != misses:
            with self.w.block("if (x)"):
                self._switch(hits)
        self._switch(misses)

    @staticmethod
    def _nexts(
        table: ir.Table, split: bool, node: str | None, acts: bool
    ) -> dict[int | None, str | None]:
        """Next node by action id; by None for every other action, or none (unless `acts`)."""
        if split:
            return {None: node}
        nexts: dict[int | None, str | None] = {
            action_id: table.next_by_action.get(name) for name, action_id in table.actions.items()
        }
        if acts and len(set(nexts.values())) == 1:
            return {None: next(iter(nexts.values()))}
        return {**nexts, None: table.next_default}

    def _switch(self, nexts: dict[int | None, str | None]) -> None:
        if len(nexts) > 1:
            with self.w.block("switch (action)"):
                for action_id, node in nexts.items():
                    if action_id is not None:
                        self.w.line(f"case {action_id}:")
                        self.w.line(f"    {self._goto(node)}")
        self.w.line(self._goto(nexts[None]))


def _following(pipeline: ir.Pipeline, node: str) -> Iterable[str]:
    if node in pipeline.conditionals:
        branch = pipeline.conditionals[node]
        found: list[str | None] = [branch.then, branch.other]
    else:
        table = pipeline.tables[node]
        found = [*table.next_by_action.values(), table.next_hit, table.next_miss]
        found.append(table.next_default)
    return [n for n in found if n is not None]
