"""Why the P4 program drops a packet, and where the `drops` counter counts it."""

from __future__ import annotations

from enum import IntEnum

REASON_BITS = 5
"""A cell of `drops` is slice id << REASON_BITS | reason."""


class DropReason(IntEnum):
    """`DropReason` of the P4 program, by the same numbers; `label` is what people read."""

    UNKNOWN_PORT = 1
    DENIED = 2
    NOT_GRE = 3
    OUTER_CHECKSUM = 4
    OUTER_MALFORMED = 5
    OUTER_FRAGMENT = 6
    GRE_UNSUPPORTED = 7
    INNER_MALFORMED = 8
    UNKNOWN_PEER = 9
    UNKNOWN_KEY = 10
    TTL_EXPIRED = 11
    FLOW_DENIED = 12
    FLOW_MISS = 13
    NO_NEXT_HOP = 14
    UNKNOWN_UNICAST = 15
    NOT_BACK_TO_FABRIC = 16
    NEXT_HOP_MISSING = 17
    NO_ROUTE = 18

    @property
    def label(self) -> str:
        """`no_next_hop`"""
        return self.name.lower()


def drop_cell(slice_id: int, reason: DropReason) -> int:
    """The index of the counter cell for a slice id (0: no slice known) and a reason."""
    return slice_id << REASON_BITS | reason
