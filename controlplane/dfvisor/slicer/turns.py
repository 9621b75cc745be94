"""Whose turn it is at the switch: roles take turns, however much each of them has to write.

A turn is one message to the switch. Several may be under way; of one role alone as many as there
are, but only one once another role wants something too. An exclusive turn waits until nothing is
under way, and then is alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from dfvisor.slicer.roles import Role

UNDER_WAY = 4
CONTENDED_S = 0.25
"""A role that has asked for a turn within this time counts as wanting something."""


class Turns:
    """`clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: OrderedDict[Role, deque[asyncio.Future[None]]] = OrderedDict()
        self._under_way: dict[Role, int] = {}
        self._total = 0
        self._recent: OrderedDict[Role, float] = OrderedDict()
        self._alone = False
        self._exclusive: deque[asyncio.Future[None]] = deque()

    async def enter(self, role: Role) -> None:
        """Wait for a turn; every one is to be left."""
        self._recent[role] = self._clock()
        self._recent.move_to_end(role)
        if role not in self._waiting and self._free(role):
            self._take(role)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(role, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(role)  # it was given just now
            else:
                self._discard(role, turn)
            raise

    def leave(self, role: Role) -> None:
        """A turn is over."""
        self._total -= 1
        left = self._under_way[role] - 1
        if left:
            self._under_way[role] = left
        else:
            del self._under_way[role]
        self._next()

    def contended(self, role: Role) -> bool:
        """Whether another role wants something, or has lately."""
        if len(self._waiting) > 1 or (self._waiting and role not in self._waiting):
            return True
        for other in reversed(self._recent):
            if other != role:
                return self._clock() - self._recent[other] < CONTENDED_S
        return False

    def forget(self) -> None:
        """Let go of roles that have wanted nothing lately."""
        now = self._clock()
        for role in [role for role, at in self._recent.items() if now - at >= CONTENDED_S]:
            del self._recent[role]

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """A turn alone."""
        if self._total or self._alone or self._exclusive:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._exclusive.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._alone = False
                else:
                    self._exclusive.remove(turn)
                self._next()
                raise
        self._alone = True
        try:
            yield
        finally:
            self._alone = False
            self._next()

    # -- who is next

    def _free(self, role: Role) -> bool:
        if self._alone or self._exclusive or self._total >= UNDER_WAY:
            return False
        return role not in self._under_way or not self.contended(role)

    def _take(self, role: Role) -> None:
        self._total += 1
        self._under_way[role] = self._under_way.get(role, 0) + 1

    def _next(self) -> None:
        """Give what is free."""
        if self._exclusive:
            if not self._total and not self._alone:
                self._alone = True
                self._exclusive.popleft().set_result(None)
            return
        for role in list(self._waiting):
            if not self._free(role):
                continue
            waiting = self._waiting.pop(role)
            waiting.popleft().set_result(None)
            self._take(role)
            if waiting:
                self._waiting[role] = waiting  # behind the others

    def _discard(self, role: Role, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(role)
        if waiting is not None and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[role]
