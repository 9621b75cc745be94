"""Why the P4 program drops a packet, and where the `drops` counter counts it; why it punts one."""

from __future__ import annotations

from enum import IntEnum

REASON_BITS = 6
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
    SOURCE_GUARD = 19
    UNKNOWN_L3_ENDPOINT = 20
    FLOW_METER = 21
    SLICE_METER = 22
    FLOOD_METER = 23
    PUNT_METER = 24
    MTU_EXCEEDED = 25
    ECN_NOT_CAPABLE = 26
    NO_MEMBER = 27
    NO_FLOOD_MEMBER = 28
    REPLICA_MISSING = 29

    @property
    def label(self) -> str:
        """`no_next_hop`"""
        return self.name.lower()


def drop_cell(slice_id: int, reason: DropReason) -> int:
    """The index of the counter cell for a slice id (0: no slice known) and a reason."""
    return slice_id << REASON_BITS | reason


class PuntReason(IntEnum):
    """`PuntReason` of the P4 program: why a packet was sent to the agent."""

    FLOW_MISS = 1
    FLOW_ACTION = 2
    DISCOVERY = 3
    ARP = 4
    TOO_BIG = 5
    TRACE = 6

    @property
    def label(self) -> str:
        """`flow_miss`"""
        return self.name.lower()
