"""Numbers as P4Runtime writes them: pure.

Byte strings are P4Runtime's canonical form: big endian, no leading zero bytes, at least one byte
(P4Runtime 8.4).
"""

from __future__ import annotations

from dfvisor.p4rt.errors import SchemaError

PORT_BITS = 32  # of a port in a message that is not about the program (P4Runtime 8.4.1)


def encode_value(value: int, width: int, where: str) -> bytes:
    """The canonical byte string of a `width`-bit value; SchemaError if it does not fit."""
    if not 0 <= value < 1 << width:
        raise SchemaError(f"{where}: {value:#x} does not fit {width} bits")
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def decode_value(data: bytes, width: int, where: str) -> int:
    """The value of a byte string, canonical or zero-padded."""
    value = int.from_bytes(data, "big")
    if not data or value >= 1 << width:
        raise SchemaError(f"{where}: byte string {data.hex()!r} is not a {width}-bit value")
    return value
