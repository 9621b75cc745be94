"""Rates of ports and queues: `1000`, `1000pps`, `10kpps`, `2Mbps`, and `off`."""

from __future__ import annotations

import re
from dataclasses import dataclass

QUEUES = 8
_FORM = re.compile(r"(\d+)(k|M|G)?(pps|bps)?")
_SCALE = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, slots=True)
class Rate:
    """In a second at most so many packets, or bits of frames without FCS."""

    per_second: int
    bits: bool = False

    def __str__(self) -> str:
        return f"{self.per_second}{'bps' if self.bits else 'pps'}"


def parse_rate(text: str) -> Rate | None:
    """A rate, None for `off`. Raises ValueError."""
    if text == "off":
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: expected off, or a number with k, M or G and pps or bps")
    number, scale, unit = found.groups()
    rate = Rate(int(number) * _SCALE[scale], unit == "bps")
    if not 0 < rate.per_second < 1 << 63:
        raise ValueError(f"{text!r}: expected above 0, and below 2^63")
    return rate


def parse_place(text: str) -> tuple[int, int | None]:
    """`PORT` or `PORT/QUEUE`: port and queue. Raises ValueError."""
    port, slash, queue = text.partition("/")
    if not port.isdecimal() or (slash and not queue.isdecimal()):
        raise ValueError(f"{text!r}: expected <port number>, or <port number>/<queue>")
    if slash and int(queue) >= QUEUES:
        raise ValueError(f"{text!r}: queue, expected 0..{QUEUES - 1}")
    return int(port), int(queue) if slash else None
