"""Small value types: MAC addresses, switch ports, L4 port ranges; with their text forms."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_PORT = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*):([0-9]{1,3})")
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")

MAX_PORT = 509  # 510 is the port to the CPU, 511 drops


@dataclass(frozen=True, slots=True, order=True)
class Mac:
    """A 48-bit Ethernet address, held as an integer in network byte order."""

    value: int

    @classmethod
    def parse(cls, text: str) -> Mac:
        """Read `aa:bb:cc:dd:ee:ff`; ValueError names the text."""
        if not _MAC.fullmatch(text):
            raise ValueError(f"{text!r} is not a MAC address like 02:00:00:00:00:01")
        return cls(int(text.replace(":", ""), 16))

    @property
    def multicast(self) -> bool:
        """The group bit of the first octet (IEEE 802)."""
        return bool(self.value >> 40 & 1)

    def __str__(self) -> str:
        return ":".join(f"{byte:02x}" for byte in self.value.to_bytes(6, "big"))


@dataclass(frozen=True, slots=True, order=True)
class PortRef:
    """A port of a switch: P4 port number 1..509."""

    switch: str
    port: int

    @classmethod
    def parse(cls, text: str) -> PortRef:
        """Read `s1:3`; ValueError names the text."""
        found = _PORT.fullmatch(text)
        if not found or not 1 <= int(found[2]) <= MAX_PORT:
            raise ValueError(f"{text!r} is not a port like s1:3 (ports 1..{MAX_PORT})")
        return cls(found[1], int(found[2]))

    def __str__(self) -> str:
        return f"{self.switch}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """An inclusive range of TCP or UDP ports, 0..65535."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read `80` or `5000-5999`; ValueError names the text."""
        found = _RANGE.fullmatch(text)
        if found:
            low = int(found[1])
            high = int(found[2] or found[1])
            if low <= high <= 0xFFFF:
                return cls(low, high)
        raise ValueError(f"{text!r} is not a port or a range like 5000-5999 (0..65535)")

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"
