"""Which daemon leads which VN: pure, and the same answer everywhere for the same names."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection


def rank(vn: str, daemon: str) -> int:
    """How much a daemon is preferred for a VN, 32 bits: the highest most (rendezvous hashing)."""
    digest = hashlib.blake2s(f"{vn}\n{daemon}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def shares(vns: Collection[str], daemons: Collection[str]) -> dict[str, str]:
    """The daemon for each VN: the most preferred one that has no more than its share.

    Nobody has more than one VN above anybody's even share. A daemon that comes or goes moves few
    VNs beside its own.
    """
    if not daemons:
        return {}
    names = sorted(daemons)
    most = -(-len(vns) // len(names))
    load: Counter[str] = Counter()
    found: dict[str, str] = {}
    for vn in sorted(vns, key=lambda name: (rank(name, ""), name)):
        free = [name for name in names if load[name] < most]
        best = max(free, key=lambda name: (rank(vn, name), name))
        found[vn] = best
        load[best] += 1
    return found
