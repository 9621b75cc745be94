"""What a switch sends unasked: packets by reason, and hosts that are no endpoints. Pure but for its
own memory, which is bounded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.streamed import DigestList, PacketIn

KEPT_PACKETS = 256
LEARNED_PER_VN = 256


@dataclass(frozen=True, slots=True)
class LearnReport:
    """A sender that is not known: VN id, access port, MAC."""

    vn_id: int
    port: int
    mac: int


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
        LearnReport(message["vn"], message["port"], message["mac"]) for message in received.messages
    ]
    return [one for one in found if one.mac and not one.mac >> 40 & 1]


class Learned:
    """Hosts by VN: MAC -> port. A host that moves is at its newest port.

    Of too many in a VN the oldest is forgotten: who sends with ever new addresses cannot fill the
    tables.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, dict[int, int]] = {}

    def of(self, vn: str) -> Mapping[int, int]:
        """The hosts of a VN."""
        return self._hosts.get(vn, {})

    def add(self, vn: str, mac: int, port: int) -> bool:
        """A host was seen; whether that is new."""
        hosts = self._hosts.setdefault(vn, {})
        if hosts.get(mac) == port:
            return False
        hosts.pop(mac, None)
        hosts[mac] = port
        while len(hosts) > LEARNED_PER_VN:
            del hosts[next(iter(hosts))]
        return True

    def forget(self, vn: str) -> None:
        """The VN is gone, or does not learn any more."""
        self._hosts.pop(vn, None)
