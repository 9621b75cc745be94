"""Trying again what others prevent by being faster."""

from __future__ import annotations

import asyncio
import random

FEWEST = 20
TIMEOUT_S = 10.0
_PAUSE_S = 0.001  # longer with each attempt, up to so many times as long
_MOST_PAUSES = 10


class Contest:
    """Attempts at one thing: as many as the time allows, and some in any case.

    while await contest.again():
        ...try, and return when it is done
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._began = asyncio.get_running_loop().time()
        self.attempts = 0

    async def again(self) -> bool:
        """Whether to try once more, after a pause that is a little different for each contender."""
        if self.attempts:
            spent_s = asyncio.get_running_loop().time() - self._began
            if self.attempts >= FEWEST and spent_s > self._timeout_s:
                return False
            pauses = min(self.attempts, _MOST_PAUSES)
            await asyncio.sleep(random.uniform(0.0, _PAUSE_S * pauses))
        self.attempts += 1
        return True
