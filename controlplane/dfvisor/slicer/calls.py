"""How many calls of a role are carried out at a time; the others of the role wait, some of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dfvisor.slicer.refusal import exhausted
from dfvisor.slicer.roles import Role

MAX_CALLS_PER_ROLE = 8
MAX_WAITING_PER_ROLE = 64


class _Queue:
    __slots__ = ("number", "slots")

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(MAX_CALLS_PER_ROLE)
        self.number = 0


class Calls:
    """The calls in progress, by role."""

    def __init__(self) -> None:
        self._queues: dict[Role, _Queue] = {}

    @asynccontextmanager
    async def of(self, role: Role) -> AsyncIterator[None]:
        """Wait for the role's other calls; Refused if too many are waiting already."""
        queue = self._queues.setdefault(role, _Queue())
        if queue.number >= MAX_CALLS_PER_ROLE + MAX_WAITING_PER_ROLE:
            raise exhausted(
                f"role {role} has {queue.number} calls in progress; allowed are "
                f"{MAX_CALLS_PER_ROLE + MAX_WAITING_PER_ROLE}"
            )
        queue.number += 1
        try:
            async with queue.slots:
                yield
        finally:
            queue.number -= 1
            if not queue.number:
                self._queues.pop(role, None)

    def number(self, role: Role) -> int:
        """How many calls of the role are in progress, waiting ones among them."""
        queue = self._queues.get(role)
        return queue.number if queue else 0
