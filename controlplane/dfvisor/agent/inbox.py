"""What a switch sends unasked: packets by reason, and reports of senders that are not known. Pure
but for its own memory, which is bounded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.streamed import DigestList, PacketIn

KEPT_PACKETS = 256


@dataclass(frozen=True, slots=True)
class LearnReport:
    """A sender that is not known: VN id, access port, MAC; and the IP address that it says to have,
    if it does.
    """

    vn_id: int
    port: int
    mac: int
    ip: IPv4Address | IPv6Address | None = None


class PacketLog:
    """The last packets, and how many there were of each reason."""

    def __init__(self) -> None:
        self.packets: deque[PacketIn] = deque(maxlen=KEPT_PACKETS)
        self.counts: Counter[str] = Counter()

    def take(self, packet: PacketIn) -> bool:
        """Keep a packet; whether it is the first of its reason."""
        reason = reason_of(packet)
        self.packets.append(packet)
        self.counts[reason] += 1
        return self.counts[reason] == 1


def reason_of(packet: PacketIn) -> str:
    """Why the switch sent it: a label of `PuntReason`."""
    number = packet.metadata.get("reason", 0)
    try:
        return PuntReason(number).label
    except ValueError:
        return f"reason {number}"


def learn_reports(received: DigestList) -> list[LearnReport]:
    """The reports of a digest `learn_t`, those of group addresses left out."""
    found = [
        LearnReport(message["vn"], message["port"], message["mac"], _address(message))
        for message in received.messages
    ]
    return [one for one in found if one.mac and not one.mac >> 40 & 1]


def _address(message: Mapping[str, int]) -> IPv4Address | IPv6Address | None:
    if message["ipv4"]:
        return IPv4Address(message["ipv4"])
    ipv6 = message["ipv6_high"] << 64 | message["ipv6_low"]
    return IPv6Address(ipv6) if ipv6 else None
