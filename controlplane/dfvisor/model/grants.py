"""What the provider grants a virtual network: values. What follows from them is in granted.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """An inclusive range of numbers: GRE keys, or access ports of one switch."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str, low: int, high: int) -> Self:
        """Read `70000` or `70000-70099`, within low..high; ValueError names the text."""
        first, dash, last = text.partition("-")
        if _is_number(first) and (_is_number(last) if dash else True):
            found = cls(int(first), int(last or first))
            if low <= found.low <= found.high <= high:
                return found
        raise ValueError(f"{text!r} is not a number or a range like 11-19, within {low}..{high}")

    def meets(self, other: Span) -> bool:
        """Whether a number is in both."""
        return self.low <= other.high and other.low <= self.high

    def __contains__(self, number: int) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What the virtual network `vn` may ask for, and whose it is. None: no limit.

    `keys` are the GRE keys that its slices may have; nobody else may have one of them. `ports` are
    the access ports of its endpoints by switch (none of a switch that is not named), `peers` the
    foreign GRE endpoints that some may be behind. `max_flow_entries` counts per slice and switch.
    `max_rate_bps` bounds the sum of the peak rates of its slices above best effort, at each access
    switch; then each of them needs a rate. `max_queue` is the highest egress queue that a profile
    may name. `controllers` are the slices that a controller of the tenant's own writes (role
    `slice/<vn>/<slice>`); all others are written by the VN controllers.
    """

    vn: str
    tenant: str
    keys: tuple[Span, ...] | None = None
    ports: dict[str, tuple[Span, ...]] | None = None
    peers: tuple[str, ...] | None = None
    max_slices: int | None = None
    max_flowspaces: int | None = None
    max_endpoints: int | None = None
    max_flow_entries: int | None = None
    max_rate_bps: int | None = None
    max_queue: int | None = None
    controllers: tuple[str, ...] = ()

    @property
    def bare(self) -> bool:
        """Whether it says no more than whose the virtual network is."""
        return self == Grant(vn=self.vn, tenant=self.tenant)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10
