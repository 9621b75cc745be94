"""Waiting between attempts: exponential, with jitter, from the start again after success."""

from __future__ import annotations

import asyncio
import random


class Backoff:
    """Pauses of `first_s`, doubling up to `most_s`, each shortened at random by up to half."""

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next(self) -> float:
        """The next pause in seconds."""
        pause = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(self._most_s, self._next_s * 2)
        return pause

    async def sleep(self) -> None:
        """Pause."""
        await asyncio.sleep(self.next())

    def reset(self) -> None:
        """The last attempt succeeded."""
        self._next_s = self._first_s
