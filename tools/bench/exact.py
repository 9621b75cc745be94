"""An exact table with many keys between two interfaces: `python -m bench.exact KEYS IN OUT CACHE`.

A process of its own, so that its CPU time is its own too. Prints "ready" when it forwards, and ends
with its standard input. The program, made here, parses Ethernet and looks the destination up.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from softswitch.engine import Engine
from softswitch.entries import KeyPart
from softswitch.tests.bmv2_json import Program, assign, forwarding, param

from bench.traffic import FRAME_BYTES

TABLE = "bench"
MOST_KEYS = 1_000_000
FLOWS = 1 << 16
_FIRST = 0x020000000000
_STEP = 0x9E3779B1  # odd: multiples are a permutation of the low 32 bits


def key(number: int) -> int:
    """The MAC of a key's number."""
    return _FIRST + (number * _STEP & 0xFFFFFFFF)


def frames(keys: int) -> list[bytes]:
    """Frames whose destinations are spread over all keys."""
    rng = random.Random(keys)
    rest = bytes.fromhex("020000000001 88b5") + bytes(FRAME_BYTES - 14)
    return [key(rng.randrange(keys)).to_bytes(6, "big") + rest for _ in range(FLOWS)]


def program() -> Program:
    """Destination address to port."""
    made = forwarding([["dst", 48, False], ["src", 48, False], ["type", 16, False]])
    to = made.action("to", [("port", 9)], [assign("standard_metadata", "egress_spec", param(0))])
    made.table(
        TABLE, [("h", "dst", "exact")], [to], default=to, default_data=[511], counters=True,
        size=MOST_KEYS,
    )  # fmt: skip
    return made


def main() -> int:
    keys, source, sink, cache = sys.argv[1:]
    engine = Engine.build(program().encode(), cache_dir=Path(cache))
    for number in range(int(keys)):
        engine.insert(TABLE, [KeyPart(key(number))], 0, "to", (2,))
    engine.add_port(1, source)
    engine.add_port(2, sink)
    engine.start()
    print("ready", flush=True)
    sys.stdin.read()
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
