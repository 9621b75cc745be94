"""Generated attempts: tenants on one slicer, in any order, against a model of what they may have.

After every step the switch's own tables hold exactly what the model says. `make soak` raises the
number of steps.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import hypothesis.strategies as st
from dfvisor.model.space import Space
from dfvisor.p4rt.entries import EntryKey, Exact, TableEntry, Ternary, entry_key
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import NEIGHBOUR, UpdateStatus
from dfvisor.slicer.refusal import denied
from dfvisor.slicer.roles import Role
from dfvisor.slicer.tables import FlowTables
from dfvisor.slicer.translate import Translator, View
from dfvisor.slicer.view import role_view
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controlplane.tests.slicer.fakes import (
    BLUE_GOLD,
    P4INFO,
    RED_BEST_EFFORT,
    RED_GOLD,
    RED_SILVER,
    FakeDirectory,
    FakeSwitch,
)

T = TypeVar("T")


def sent(updates: Sequence[p4r.Update]) -> list[bytes]:
    return [update.SerializeToString() for update in updates]


def nothing_else(update: p4r.Update) -> None:
    raise denied("there are table entries alone")


SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
STEPS = 50
EXAMPLES = 400 if SOAK else 12  # 20,000 steps, or 600

PROGRAM = Schema.load(P4INFO.read_text())
VIEWS = {whole: View(Schema(role_view(PROGRAM.proto, whole))) for whole in (True, False)}
ROLES = (Role("red", "gold"), Role("red", "silver"), Role("blue", "gold"), Role("red"))
INFOS = {"gold": RED_GOLD, "silver": RED_SILVER}
PORTS = (80, 81, 443)
QUOTA = 2
UDP = {"ip_proto": (17, 0xFF)}

roles = st.sampled_from(ROLES)
kinds = st.sampled_from((p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE))
keys = st.sampled_from(
    (RED_GOLD.key, RED_SILVER.key, BLUE_GOLD.key, RED_BEST_EFFORT.key, RED_GOLD.slice_id, 0)
)
protocols = st.sampled_from((17, 17, 17, 6))
next_hops = st.sampled_from((1, 2, 3, NEIGHBOUR + 2, 101, 103, 0))


@st.composite
def entries(draw: st.DrawFn) -> tuple[TableEntry, int]:
    """An entry without its slice, and the GRE key that a whole VN's role would give it."""
    cookie = draw(st.integers(0, 3))
    if draw(st.booleans()):
        key = (
            ("ip_proto", Ternary(draw(protocols), 0xFF)),
            ("l4_dst", Ternary(draw(st.sampled_from(PORTS)), 0xFFFF)),
        )
        made = TableEntry("flow", key, draw(st.integers(1, 2)), "permit", (("cookie", cookie),))
    else:
        mac = draw(st.sampled_from((1, 2)))
        args = (("next_hop", draw(next_hops)), ("cookie", cookie))
        made = TableEntry(
            "slice_forward", (("path_class", Exact(0)), ("eth_dst", Exact(mac))), 0, "forward", args
        )
    return made, draw(keys)


def with_slice(entry: TableEntry, value: int) -> TableEntry:
    key = (("slice_id", Exact(value)), *entry.key)
    return TableEntry(entry.table, key, entry.priority, entry.action, entry.args)


class Tenants(RuleBasedStateMachine):
    """The model: entries of the switch by identity, each in the slice of exactly one tenant."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.switch = FakeSwitch(PROGRAM)
        self.directory = FakeDirectory()
        self.spaces()
        self.tables = self.run(self.make_tables())
        self.model: dict[EntryKey, TableEntry] = {}

    def spaces(self) -> None:
        for vn, name in (("red", "gold"), ("red", "silver"), ("blue", "gold")):
            self.directory.spaces[vn, name] = Space([UDP])
            self.directory.quotas[vn, name] = QUOTA

    async def make_tables(self) -> FlowTables:
        tables = FlowTables(self.switch, PROGRAM)
        await tables.upkeep.fill()
        return tables

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def translator(self, role: Role) -> Translator:
        return Translator(self.directory, role, VIEWS[role.whole_vn], 1, self.directory.writer)

    # -- the model's opinion

    def slice_of(self, role: Role, key: int) -> int | None:
        slices = self.directory.slices_of(role.vn)
        if role.slice is not None:
            info = slices.get(role.slice)
        else:
            info = next((one for one in slices.values() if one.key == key), None)
        return None if info is None or info.best_effort else info.slice_id

    def allowed(self, role: Role, kind: int, entry: TableEntry, key: int) -> TableEntry | None:
        """The switch's entry of an update that must be carried out, None if it must not."""
        slice_id = self.slice_of(role, key)
        if slice_id is None:
            return None
        inside = with_slice(entry, slice_id)
        held = entry_key(inside) in self.model
        if kind == p4r.Update.DELETE:
            return inside if held else None
        if entry.table == "flow" and entry.key[0][1] != Ternary(17, 0xFF):
            return None
        if entry.table == "slice_forward":
            hop = self.directory.next_hops_by_vn.get((role.vn, entry.arg("next_hop")))
            if hop is None:
                return None
            args = (("next_hop", hop), ("cookie", entry.arg("cookie")))
            inside = TableEntry(inside.table, inside.key, inside.priority, inside.action, args)
        if (kind == p4r.Update.INSERT) is held:
            return None
        full = sum(
            one.table == entry.table and one.key[0] == inside.key[0] for one in self.model.values()
        )
        return None if kind == p4r.Update.INSERT and full >= QUOTA else inside

    def carry_out(self, kind: int, inside: TableEntry) -> None:
        if kind == p4r.Update.DELETE:
            del self.model[entry_key(inside)]
        else:
            self.model[entry_key(inside)] = inside

    def message(self, role: Role, kind: int, entry: TableEntry, key: int) -> p4r.Update:
        schema = VIEWS[role.whole_vn].schema
        shown = with_slice(entry, key) if role.whole_vn else entry
        return p4r.Update(
            type=kind,  # type: ignore[arg-type]
            entity=p4r.Entity(table_entry=schema.encode_entry(shown)),
        )

    # -- steps

    @rule(role=roles, batch=st.lists(st.tuples(kinds, entries()), min_size=1, max_size=6))
    def write(self, role: Role, batch: list[tuple[int, tuple[TableEntry, int]]]) -> None:
        self.carry(role, batch)

    def carry(self, role: Role, batch: list[tuple[int, tuple[TableEntry, int]]]) -> None:
        updates, expected = [], []
        for kind, (entry, key) in batch:
            updates.append(self.message(role, kind, entry, key))
            inside = self.allowed(role, kind, entry, key)
            expected.append(inside is not None)
            if inside is not None:
                self.carry_out(kind, inside)
        found = self.run(
            self.tables.apply(self.translator(role), sent(updates), lambda: None, nothing_else)
        )
        assert [not status.code for status in found] == expected, found

    @rule(role=roles, kind=kinds, key=keys, protocol=protocols, first=st.integers(1, 3))
    def write_many_alike(self, role: Role, kind: int, key: int, protocol: int, first: int) -> None:
        """A batch whose updates differ in their values alone; some are there twice."""
        alike = [
            TableEntry(
                "flow",
                (("ip_proto", Ternary(protocol, 0xFF)), ("l4_dst", Ternary(port, 0xFFFF))),
                priority,
                "permit",
                (("cookie", priority),),
            )
            for priority in (first, 1, 2)
            for port in (80, 81, 82)
        ]
        self.carry(role, [(kind, (one, key)) for one in alike])

    @rule(role=roles, batch=st.lists(st.tuples(kinds, entries()), min_size=1, max_size=6))
    def write_all_or_nothing(
        self, role: Role, batch: list[tuple[int, tuple[TableEntry, int]]]
    ) -> None:
        before = dict(self.model)
        good = True
        updates = []
        for kind, (entry, key) in batch:
            updates.append(self.message(role, kind, entry, key))
            inside = self.allowed(role, kind, entry, key)
            good = good and inside is not None
            if inside is not None:
                self.carry_out(kind, inside)
        if not good:
            self.model = before
        found = self.run(self.tables.apply_all(self.translator(role), sent(updates), lambda: None))
        assert all(not status.code for status in found) is good

    @rule(one=entries(), two=entries(), first=kinds, second=kinds)
    def write_at_the_same_time(
        self, one: tuple[TableEntry, int], two: tuple[TableEntry, int], first: int, second: int
    ) -> None:
        """Two tenants at once: neither is in the other's way, whatever the order."""
        gold, blue = Role("red", "gold"), Role("blue", "gold")
        wanted = []
        for role, kind, (entry, key) in ((gold, first, one), (blue, second, two)):
            inside = self.allowed(role, kind, entry, key)
            wanted.append(inside is not None)
            if inside is not None:
                self.carry_out(kind, inside)

        async def both() -> list[list[UpdateStatus]]:
            return await asyncio.gather(
                self.tables.apply(
                    self.translator(gold),
                    sent([self.message(gold, first, *one)]),
                    lambda: None,
                    nothing_else,
                ),
                self.tables.apply(
                    self.translator(blue),
                    sent([self.message(blue, second, *two)]),
                    lambda: None,
                    nothing_else,
                ),
            )

        found = self.run(both())
        assert [not status.code for (status,) in found] == wanted

    @rule(where=st.sampled_from(((RED_GOLD, "gold"), (RED_SILVER, "silver"))))
    def drop_a_slice(self, where: tuple[Any, str]) -> None:
        info, name = where
        held = self.directory.slices["red"].pop(name, None)
        self.run(self.tables.upkeep.drop_slice(info.slice_id, lambda: None))
        self.model = {
            key: one for key, one in self.model.items() if one.key[0][1] != Exact(info.slice_id)
        }
        self.directory.slices["red"][name] = held or info

    @rule()
    def switch_restarts_empty(self) -> None:
        self.switch.entries.clear()
        self.run(self.tables.upkeep.replay(lambda ids: None))

    @rule()
    def agent_restarts(self) -> None:
        self.tables = self.run(self.make_tables())

    @rule(role=roles)
    def somebody_else_may_not_write(self, role: Role) -> None:
        """Who has lost the right to write changes nothing."""

        def lost() -> None:
            raise denied("lost")

        entry = TableEntry(
            "flow", (("ip_proto", Ternary(17, 0xFF)),), 3, "permit", (("cookie", 1),)
        )
        update = self.message(role, p4r.Update.INSERT, entry, RED_GOLD.key)
        (status,) = self.run(
            self.tables.apply(self.translator(role), sent([update]), lost, nothing_else)
        )
        assert status.code == 7

    # -- what holds after each

    @invariant()
    def switch_holds_what_the_model_says(self) -> None:
        if hasattr(self, "model"):
            assert self.switch.entries == self.model
            assert len(self.tables.mirror) == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()


TestTenants = Tenants.TestCase
TestTenants.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=not SOAK
)
