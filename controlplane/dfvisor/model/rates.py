"""Bit rates as text, as `tc` writes them: `800bit`, `64kbit`, `1.5mbit`, `10gbit`. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

from dfvisor.model.records import Rate

MIN_BPS = 8_000  # 1000 bytes/s
MAX_BPS = 100_000_000_000
_UNITS = {"g": 10**9, "m": 10**6, "k": 10**3, "": 1}
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)([kmg]?)bit", re.IGNORECASE)


def parse_bps(text: str) -> int:
    """Bits per second; ValueError names the text."""
    found = _RATE.fullmatch(text)
    if found:
        bps = Decimal(found[1]) * _UNITS[found[2].lower()]
        if bps == int(bps):
            return in_range(int(bps))
    raise ValueError(f"{text!r} is not a rate like 800kbit, 5mbit or 1.5gbit")


def in_range(bps: int) -> int:
    """The same; ValueError when it is no rate that a meter can have."""
    if not MIN_BPS <= bps <= MAX_BPS:
        raise ValueError(
            f"{render_bps(bps)} is out of range {render_bps(MIN_BPS)}..{render_bps(MAX_BPS)}"
        )
    return bps


def render_bps(bps: int) -> str:
    """In the largest unit of which it is a whole number."""
    for unit, factor in _UNITS.items():
        if bps and bps % factor == 0:
            return f"{bps // factor}{unit}bit"
    return f"{bps}bit"


def render_rate(rate: Rate) -> str:
    """For people: `5mbit`, `5mbit/8mbit`, `5mbit/8mbit burst 20000`."""
    rates = (rate.committed_bps, rate.peak_bps)
    text = "/".join(render_bps(bps) for bps in dict.fromkeys(rates))
    return text if rate.burst_bytes is None else f"{text} burst {rate.burst_bytes}"
