"""P4Runtime byte strings: big-endian, shortest form (P4Runtime 1.4, section "Bytestrings").

Longer strings with leading zeros are accepted, as the specification asks; the shortest is sent.
"""

from __future__ import annotations

from softswitch.server.errors import invalid


def encode(value: int) -> bytes:
    """The canonical (shortest) byte string of an unsigned value; 0 is one zero byte."""
    return value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")


def decode(data: bytes, width: int, what: str) -> int:
    """The value of a byte string that must fit in `width` bits; `what` names it in errors.

    Raises INVALID_ARGUMENT for an empty string or a value out of range. (The specification's
    sections on match fields and on action parameters say INVALID_ARGUMENT, as does BMv2; its
    section on byte strings says OUT_OF_RANGE.)
    """
    if not data:
        raise invalid(f"{what}: empty byte string")
    value = int.from_bytes(data, "big")
    if value >> width:
        raise invalid(f"{what}: value {value:#x} does not fit in {width} bits")
    return value
