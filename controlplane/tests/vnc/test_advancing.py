"""When a VN controller says that a VN is still on its way to its switches."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from dfvisor.vnc.compile import Compiler, SwitchEntries
from dfvisor.vnc.leader import Candidate, Surroundings
from dfvisor.vnc.session import Session, Target
from dfvisor.vnc.stages import Stage

SWITCH = "s1"


async def of_one_session(held: dict[Any, Any] | None) -> tuple[Candidate, Session, Target]:
    """All stages are over, as they are at once where every switch is cut off."""
    turns = asyncio.Semaphore(1)
    database = cast(Any, None)  # is not asked
    candidate = Candidate("red", Surroundings(name="vnc1", database=database, turns=turns))
    session = Session(
        vn="red",
        switch=SWITCH,
        device_id=1,
        election_id=(0, 1),
        address=lambda: None,
        may_write=lambda: True,
        turns=turns,
    )
    session.held = held
    target = Target(2, Stage.FINISH, SwitchEntries(Compiler(), SWITCH))
    session.aim(target)
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    candidate._sessions[SWITCH] = session, task
    candidate._targets[SWITCH] = target
    return candidate, session, target


async def test_vn_advances_until_switches_that_nobody_waits_for_have_all() -> None:
    candidate, session, target = await of_one_session({})
    assert candidate.advancing
    session._done = target
    assert not candidate.advancing


async def test_vn_does_not_advance_at_a_switch_that_cannot_be_reached() -> None:
    candidate, _, _ = await of_one_session(None)
    assert not candidate.advancing
