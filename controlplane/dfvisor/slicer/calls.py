"""How many calls of a role are carried out at a time; the others of the role wait, some of them."""

from __future__ import annotations

import asyncio
from collections import deque

from dfvisor.slicer.refusal import exhausted
from dfvisor.slicer.roles import Role

MAX_CALLS_PER_ROLE = 8
MAX_WAITING_PER_ROLE = 64


class _Queue:
    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


class Calls:
    """The calls in progress, by role."""

    def __init__(self) -> None:
        self._queues: dict[Role, _Queue] = {}

    async def enter(self, role: Role) -> None:
        """Wait for the role's other calls; each one is to be left. Refused if too many are waiting
        already.
        """
        queue = self._queues.get(role)
        if queue is None:
            queue = self._queues[role] = _Queue()
        if queue.running < MAX_CALLS_PER_ROLE:
            queue.running += 1
            return
        if len(queue.waiting) >= MAX_WAITING_PER_ROLE:
            raise exhausted(
                f"role {role} has {self.number(role)} calls in progress; allowed are "
                f"{MAX_CALLS_PER_ROLE + MAX_WAITING_PER_ROLE}"
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(role)  # it was given just now
            elif turn in queue.waiting:
                queue.waiting.remove(turn)
            raise

    def leave(self, role: Role) -> None:
        """A call is over: the longest waiting one takes its place."""
        queue = self._queues[role]
        while queue.waiting:
            turn = queue.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        queue.running -= 1
        if not queue.running:
            del self._queues[role]

    def number(self, role: Role) -> int:
        """How many calls of the role are in progress, waiting ones among them."""
        queue = self._queues.get(role)
        return queue.running + len(queue.waiting) if queue else 0
