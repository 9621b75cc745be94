"""A small revision takes effect in one message with its flow entries, or as ever."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import cast

import pytest
from dfvisor.agent.link import Link
from dfvisor.agent.together import MOST_UPDATES, write_together
from dfvisor.model.records import Flowspace, Match, VirtualNetwork
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import Changes, Exact, Formed, TableEntry
from dfvisor.p4rt.errors import SwitchUnavailable
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.p4rt.updates import Updates, framed

from .rig import PIPELINE
from .test_steps import GOLD, RED, WITH_SLICE, Desk


def with_flowspaces(count: int) -> VirtualNetwork:
    added = {
        f"n{n}": Flowspace(name=f"n{n}", priority=90 + n, match=Match(ip_proto=n), slice=GOLD.name)
        for n in range(count)
    }
    return dataclasses.replace(RED, flowspaces={**RED.flowspaces, **added})


class FakeLink:
    """A switch that carries out a message, refuses it, or is away."""

    def __init__(self, outcome: bool | Exception = True) -> None:
        self.at_once = True
        self.outcome = outcome
        self.sent: list[tuple[int, Changes]] = []

    async def write_at_once(self, updates: Sequence[p4r.Update], changes: Changes) -> bool:
        self.sent.append((len(updates), changes))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def waiting(vn: VirtualNetwork) -> Desk:
    """A desk where revision 2 of the VN waits to take effect."""
    desk = Desk()
    desk.live(1, RED)
    desk.planner.set_vn("red", 2, vn)
    assert desk.stage().prepared == 2
    return desk


async def written(desk: Desk, link: FakeLink, updates: int = 1, revision: int = 2) -> bool:
    found = await write_together(
        cast("Link", link), desk.planner, desk.book, [p4r.Update()] * updates, "red", revision
    )
    if found is None:
        return False
    staged, at = found
    assert (staged.revision, staged.prepared) == (revision, revision)
    assert at <= time.time()
    return True


async def test_revision_that_waits_takes_effect_with_its_flow_entries() -> None:
    desk, link = waiting(with_flowspaces(1)), FakeLink()
    assert await written(desk, link)
    ((updates, changes),) = link.sent
    assert updates == 1
    assert {item.table for item in changes.inserts if isinstance(item, Formed)} == {"classifier"}
    assert not len(desk.book.pending())
    assert desk.stage().revision == 2


@pytest.mark.parametrize("outcome", [False, SwitchUnavailable("away")], ids=["refused", "away"])
async def test_nothing_has_changed_where_the_switch_does_not_take_it(
    outcome: bool | Exception,
) -> None:
    desk, link = waiting(with_flowspaces(1)), FakeLink(outcome)
    wanted = set(desk.book.desired)
    if isinstance(outcome, Exception):
        with pytest.raises(type(outcome)):
            await written(desk, link)
    else:
        assert not await written(desk, link)
    assert len(link.sent) == 1
    assert set(desk.book.desired) == wanted
    assert not len(desk.book.pending())
    assert desk.stage().revision == 1  # it waits still
    assert await written(desk, FakeLink())  # and takes effect when it may


@pytest.mark.parametrize(
    ("vn", "updates", "revision"),
    [
        (WITH_SLICE, 1, 2),
        (with_flowspaces(MOST_UPDATES), 1, 2),
        (with_flowspaces(1), MOST_UPDATES + 1, 2),
        (with_flowspaces(1), 1, 1),
    ],
    ids=["more than the classifier", "many entries", "many updates", "nothing waits for it"],
)
async def test_what_is_more_than_that_is_not_sent(
    vn: VirtualNetwork, updates: int, revision: int
) -> None:
    desk, link = waiting(vn), FakeLink()
    wanted = set(desk.book.desired)
    assert not await written(desk, link, updates, revision)
    assert not link.sent
    assert set(desk.book.desired) == wanted
    assert desk.stage().revision == 1


async def test_switch_that_cannot_do_it_is_not_asked_again() -> None:
    desk, link = waiting(with_flowspaces(1)), FakeLink()
    link.at_once = False
    assert not await written(desk, link)
    assert not link.sent


class FakeClient:
    """Takes all that is written, as it would be sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def write_statuses(
        self, updates: Sequence[p4r.Update], *, at_once: bool
    ) -> list[UpdateStatus]:
        assert at_once
        data = updates.data if isinstance(updates, Updates) else None
        messages = p4r.WriteRequest(updates=list(updates)).SerializeToString()
        assert data in (None, messages)
        self.sent.append(messages)
        return [UpdateStatus()] * len(updates)


async def test_updates_that_are_bytes_are_sent_as_others_are() -> None:
    schema = PIPELINE.schema
    entries = [
        TableEntry("vtep", (("outer_dst", Exact(number)),), 0, "terminate") for number in (1, 2)
    ]
    given = [schema.insert(entries[0])]
    changes = Changes(inserts=(entries[1],))
    sent = []
    for updates in (given, Updates(framed(given[0]), 1)):
        client = FakeClient()
        link = Link(cast("P4RuntimeClient", client), schema, fresh=False)
        assert await link.write_at_once(updates, changes)
        sent += client.sent
    assert sent == [p4r.WriteRequest(updates=map(schema.insert, entries)).SerializeToString()] * 2
