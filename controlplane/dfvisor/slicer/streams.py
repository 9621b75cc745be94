"""The open streams: who is connected, in which role, and who is primary.

Bounded: so many streams in all and for each role, so many unread answers on each. No I/O: the
service carries the messages.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import grpc

from dfvisor.p4rt.pb import p4r
from dfvisor.slicer.arbitration import Arbitration, Standing
from dfvisor.slicer.refusal import Refused, denied, invalid
from dfvisor.slicer.roles import Role

MAX_STREAMS = 8192  # one for each of 4,096 VNs, and tenants' own
MAX_STREAMS_PER_ROLE = 16
MAX_UNREAD = 32

_CODES = {
    Standing.PRIMARY: grpc.StatusCode.OK,
    Standing.BACKUP: grpc.StatusCode.ALREADY_EXISTS,  # P4Runtime 5.4: there is a primary
    Standing.VACANT: grpc.StatusCode.NOT_FOUND,
}


@dataclass(eq=False, slots=True)
class Stream:
    """One client's stream. `peer` is its transport address; `role` is set by its first arbitration;
    `outgoing` ends with a Refused if the stream must be closed with that status.
    """

    peer: str
    role: Role | None = None
    outgoing: asyncio.Queue[p4r.StreamMessageResponse | Refused] = field(
        default_factory=lambda: asyncio.Queue(MAX_UNREAD + 1)
    )

    def tell(self, message: p4r.StreamMessageResponse) -> None:
        """Queue an answer; a client that reads none of them is cut off."""
        if self.outgoing.qsize() < MAX_UNREAD:
            self.outgoing.put_nowait(message)
        else:
            self.close(Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "answers are not read"))

    def close(self, why: Refused) -> None:
        """End the stream with a status, after what is queued."""
        if not self.outgoing.full():
            self.outgoing.put_nowait(why)


class Streams:
    """All streams of the slicer of one device."""

    def __init__(self, device_id: int) -> None:
        self._device_id = device_id
        self._roles: dict[Role, Arbitration[Stream]] = {}
        self._open: set[Stream] = set()

    def open(self, peer: str) -> Stream:
        """A client has opened a stream; Refused if there are too many."""
        if len(self._open) >= MAX_STREAMS:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} streams are open")
        stream = Stream(peer)
        self._open.add(stream)
        return stream

    def arbitrate(self, stream: Stream, message: p4r.MasterArbitrationUpdate) -> None:
        """A stream presents its role and election id (P4Runtime 5.3); Refused ends the stream."""
        role = Role.parse(message.role.name)
        if role is None:
            raise denied(f"role {message.role.name!r}, expected slice/<vn>/<slice> or vn/<vn>")
        if stream.role not in (None, role):
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION, f"the role of this stream is {stream.role}"
            )
        if message.device_id != self._device_id:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION if stream.role else grpc.StatusCode.NOT_FOUND,
                f"device {message.device_id}, expected {self._device_id}",
            )
        if message.role.config.value:
            raise invalid("a role takes no configuration")
        arbitration = self._roles.get(role)
        if arbitration is None:
            arbitration = Arbitration()
        elif stream.role is None and len(arbitration.election_ids) >= MAX_STREAMS_PER_ROLE:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"role {role} has {MAX_STREAMS_PER_ROLE} streams already",
            )
        election_id = number(message.election_id) if message.HasField("election_id") else None
        told = arbitration.present(stream, election_id)
        stream.role = role
        self._roles[role] = arbitration
        self._tell(role, arbitration, told)

    def leave(self, stream: Stream) -> None:
        """A stream has ended."""
        self._open.discard(stream)
        if stream.role is not None:
            arbitration = self._roles[stream.role]
            self._tell(stream.role, arbitration, arbitration.leave(stream))

    def forget(self, keep: frozenset[str]) -> None:
        """Forget the election ids of roles that nobody uses, of VNs that are not in `keep`."""
        for role in [
            role
            for role, arbitration in self._roles.items()
            if not arbitration.election_ids and role.vn not in keep
        ]:
            del self._roles[role]

    def _tell(self, role: Role, arbitration: Arbitration[Stream], told: list[Stream]) -> None:
        for stream in told:
            standing = arbitration.standing(stream)
            answer = p4r.StreamMessageResponse()
            answer.arbitration.device_id = self._device_id
            answer.arbitration.role.name = str(role)
            if arbitration.highest is not None:
                answer.arbitration.election_id.high = arbitration.highest >> 64
                answer.arbitration.election_id.low = arbitration.highest & (1 << 64) - 1
            answer.arbitration.status.code = _CODES[standing].value[0]
            answer.arbitration.status.message = standing.value
            stream.tell(answer)

    def end(self, role: Role, why: Refused) -> None:
        """End all streams of a role."""
        arbitration = self._roles.get(role)
        for stream in list(arbitration.election_ids) if arbitration else ():
            stream.close(why)

    # -- questions

    def primary(self, role: Role) -> Stream | None:
        """The stream that may write in this role."""
        arbitration = self._roles.get(role)
        return None if arbitration is None else arbitration.primary

    def check_primary(self, role: Role, election_id: int, peer: str) -> None:
        """Refused unless a Write with this election id, from this peer, comes from the primary."""
        arbitration = self._roles.get(role)
        if arbitration is None or arbitration.primary is None:
            raise denied(f"role {role} has no primary")
        primary = arbitration.primary
        if arbitration.election_ids[primary] != election_id or primary.peer != peer:
            raise denied(f"not the primary of role {role}")
        controller = Role(role.vn)
        if not role.whole_vn and self.primary(controller) is not None:
            raise denied(f"slice {role.vn}/{role.slice} is written by role {controller}")

    def role_of(self, peer: str) -> Role | None:
        """The role of the streams that come from this peer; None if there is none, or several."""
        roles = {stream.role for stream in self._open if stream.peer == peer and stream.role}
        return roles.pop() if len(roles) == 1 else None


def number(election_id: p4r.Uint128) -> int:
    """An election id as an integer."""
    return int(election_id.high << 64 | election_id.low)
