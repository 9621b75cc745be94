"""The 32-bit cookies that say which flowspace a `classifier` or `flow` entry stands for.

P4 cannot report which entry was hit, so its action carries a number. Agents and VN controllers
derive the same number from the names alone, so one reads what the other wrote.
"""

from __future__ import annotations

import hashlib

NO_FLOWSPACE = 0
"""The cookie of an entry that stands for no flowspace."""


def flowspace_cookie(vn: str, flowspace: str) -> int:
    """A stable number 1..2^32-1. Two flowspaces of a VN may share one: then their counts add up."""
    digest = hashlib.blake2s(f"{vn}/{flowspace}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") or 1
