"""Updates that are planned together fare as each of them would alone: same statuses, same words,
same entries at the switch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from dfvisor.model.space import Space
from dfvisor.p4rt.entries import EntryKey, Exact, TableEntry, Ternary
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.slicer.planner import PATIENCE, Planner
from dfvisor.slicer.refusal import denied
from dfvisor.slicer.roles import Role
from dfvisor.slicer.tables import FlowTables
from dfvisor.slicer.translate import Translator, View
from dfvisor.slicer.view import role_view
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.tests.slicer.fakes import (
    P4INFO,
    RED_GOLD,
    RED_SILVER,
    FakeDirectory,
    FakeSwitch,
)

PROGRAM = Schema.load(P4INFO.read_text())
VIEW_INFO = {whole: role_view(PROGRAM.proto, whole) for whole in (False, True)}
ROLE = {False: Role("red", "gold"), True: Role("red")}
QUOTA = 30
NET = 0x0A00_0000
SPACE = Space([{"ip_proto": (17, 0xFF), "ipv4_dst": (NET, 0xFFFF_0000)}])
INSERT, MODIFY, DELETE = p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE


class Rig:
    """The tables of a role's slices; `alone`: nothing is planned together."""

    def __init__(self, whole: bool, alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.switch = FakeSwitch(PROGRAM)
        self.directory = FakeDirectory()
        for name in ("gold", "silver"):
            self.directory.spaces["red", name] = SPACE
            self.directory.quotas["red", name] = QUOTA
        self.tables = FlowTables(self.switch, PROGRAM)
        self.together = 0
        self.role = ROLE[whole]
        self.view = View(Schema(VIEW_INFO[whole]))
        planner = self.tables._planner
        real = planner.together

        def counted(*arguments: object) -> int:
            index = arguments[3]
            assert isinstance(index, int)
            if alone:
                return index
            end: int = real(*arguments)  # type: ignore[arg-type]
            self.together += end - index
            return end

        monkeypatch.setattr(planner, "together", counted)

    async def write(self, updates: Sequence[bytes]) -> list[UpdateStatus]:
        translator = Translator(
            self.directory, self.role, self.view, self.tables.slice_field, self.directory.writer
        )

        def nothing_else(update: p4r.Update) -> None:
            raise denied("there are table entries alone")

        return await self.tables.apply(translator, updates, lambda: None, nothing_else)

    @property
    def entries(self) -> dict[EntryKey, TableEntry]:
        return self.switch.entries


def entry(number: int, key: int | None = None, proto: int = 17, net: int = NET) -> TableEntry:
    fields: list[tuple[str, Exact | Ternary]] = [
        ("ipv4_dst", Ternary(net + 0x100 + number, 0xFFFF_FFFF)),
        ("ip_proto", Ternary(proto, 0xFF)),
        ("l4_dst", Ternary(0x1000 + number, 0xFFFF)),
    ]
    if key is not None:
        fields.insert(0, ("slice_id", Exact(key)))
    return TableEntry("flow", tuple(fields), 10, "permit", (("cookie", 0x100 + number),))


def update(view: View, kind: int, made: TableEntry) -> p4r.Update:
    message = view.schema.insert(made) if kind != DELETE else view.schema.delete(made)
    message.type = kind  # type: ignore[assignment]
    return message


FAULTS = (
    "other protocol",
    "other network",
    "unknown field",
    "unknown field in the key",
    "other order",
    "long varint",
    "long zeros",
    "bad mask",
    "value beyond its mask",
    "another kind",
    "no update",
    "another entity",
    "no next slice",
)


def faulty(view: View, whole: bool, kind: int, number: int, fault: str) -> bytes:
    """What is not, or not quite, as the others."""
    key = RED_GOLD.key if whole else None
    good = update(view, kind, entry(number, key))
    message = good.entity.table_entry
    if fault == "other protocol":
        return update(view, kind, entry(number, key, proto=18)).SerializeToString()
    if fault == "other network":
        return update(view, kind, entry(number, key, net=0x0B00_0000)).SerializeToString()
    if fault == "unknown field":
        message.MergeFromString(b"\xf8\x7f\x01")
    elif fault == "unknown field in the key":
        message.match[-1].MergeFromString(b"\xf8\x7f\x01")
    elif fault == "other order":
        fields = list(message.match)
        del message.match[:]
        message.match.extend(reversed(fields))
    elif fault == "long varint":  # of the kind of update: the same number in two bytes
        data = good.SerializeToString()
        return data[:1] + bytes([data[1] | 0x80, 0]) + data[2:]
    elif fault == "long zeros":
        message.match[-1].ternary.value = b"\0" + message.match[-1].ternary.value
    elif fault == "bad mask":
        message.match[-1].ternary.mask = b"\0\xff"
    elif fault == "value beyond its mask":
        message.match[-1].ternary.mask = b"\x0f\xff"
    elif fault == "another kind":
        good.type = MODIFY if kind == INSERT else INSERT
    elif fault == "no update":
        return good.SerializeToString()[:-3] + b"\xff\xff\xff"
    elif fault == "another entity":
        good.entity.counter_entry.counter_id = 1
    elif fault == "no next slice":
        if not whole:
            return b""
        message.match[0].exact.value = b"\x77\x77\x77\x77"
    return good.SerializeToString()


steps = st.tuples(
    st.sampled_from((INSERT, INSERT, DELETE, MODIFY)),
    st.integers(0, 20),  # the first
    st.integers(1, 24),  # how many
    st.lists(st.tuples(st.integers(0, 23), st.sampled_from(FAULTS)), max_size=3),
    st.lists(st.tuples(st.integers(0, 23), st.integers(0, 40)), max_size=2),  # there twice
    st.booleans(),  # whether the second half is another slice's
)


@pytest.mark.parametrize("whole", [False, True], ids=["slice", "vn"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(batches=st.lists(steps, min_size=2, max_size=5))
def test_together_and_alone_are_the_same(
    whole: bool,
    batches: list[tuple[int, int, int, list[tuple[int, str]], list[tuple[int, int]], bool]],
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        many, one = (Rig(whole, alone, monkeypatch) for alone in (False, True))

        async def run() -> None:
            for kind, first, count, faults, again, halves in batches:
                keys: list[int | None] = [RED_GOLD.key if whole else None] * count
                if whole and halves:
                    keys[count // 2 :] = [RED_SILVER.key] * (count - count // 2)
                numbers = list(range(first, first + count))
                for place, number in again:
                    numbers[place % count] = number
                sent = [
                    update(many.view, kind, entry(number, key)).SerializeToString()
                    for number, key in zip(numbers, keys, strict=True)
                ]
                for place, fault in faults:
                    sent.insert(place, faulty(many.view, whole, kind, first + place, fault))
                assert await many.write(sent) == await one.write(sent)
                assert many.entries == one.entries
                mirrors = [sorted(rig.tables.mirror) for rig in (many, one)]
                assert mirrors[0] == mirrors[1]
                assert not many.tables._planner._air

        asyncio.run(run())


async def alike(rig: Rig, kind: int, numbers: Sequence[int]) -> list[int]:
    sent = [update(rig.view, kind, entry(number)).SerializeToString() for number in numbers]
    return [status.code for status in await rig.write(sent)]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(False, False, monkeypatch)


async def test_all_but_the_first_are_planned_together(rig: Rig) -> None:
    for kind in (INSERT, MODIFY, DELETE):
        before = rig.together
        assert await alike(rig, kind, range(20)) == [0] * 20
        assert rig.together - before == 19
    assert not rig.entries


async def test_quota_ends_in_the_middle(rig: Rig) -> None:
    found = await alike(rig, INSERT, range(QUOTA + 10))
    assert found == [0] * QUOTA + [8] * 10
    assert len(rig.entries) == QUOTA
    assert rig.together >= QUOTA - 1


async def test_what_the_switch_refuses_of_many_is_not_in_the_mirror(rig: Rig) -> None:
    rig.switch.refuse = lambda one: UpdateStatus(8, "full") if one.arg("cookie") % 3 == 0 else OK
    found = await alike(rig, INSERT, range(20))
    assert [code == 8 for code in found] == [(0x100 + number) % 3 == 0 for number in range(20)]
    assert len(rig.tables.mirror) == len(rig.entries) == found.count(0)


OK = UpdateStatus()


async def test_every_other_one_refused_does_not_have_all_looked_at_each_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    real = Planner._good

    def good(planner: Planner, rights: object, run: object, afters: dict[bytes, bytes]) -> int:
        nonlocal looked
        looked += len(afters)
        return real(planner, rights, run, afters)  # type: ignore[arg-type]

    monkeypatch.setattr(Planner, "_good", good)
    assert await alike(rig, INSERT, range(0, 40, 2)) == [0] * 20
    looked = 0
    numbers = list(range(40)) * 4
    found = await alike(rig, INSERT, numbers)
    assert found.count(0) == 10  # others exist, or the quota is full
    assert looked <= len(numbers) * (PATIENCE + 1)
