"""The open streams: who is connected, in which role, and who is primary.

Bounded: so many streams in all and for each role, so many unread answers on each. No I/O: the
service carries the messages.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import ANYONE, Fence
from dfvisor.slicer.arbitration import Arbitration, Standing
from dfvisor.slicer.identity import ANYBODY, Identity
from dfvisor.slicer.refusal import Refused, denied, exhausted, invalid
from dfvisor.slicer.roles import Role

MAX_STREAMS = 8192  # one for each of 4,096 VNs, and tenants' own
MAX_STREAMS_PER_ROLE = 16
MAX_STREAMS_PER_CERTIFICATE = 256
MAX_UNREAD = 32
"""Answers; a client that reads none of them is cut off."""
MAX_PACKETS = 256
"""Packets and notifications; more are dropped."""

_CODES = {
    Standing.PRIMARY: grpc.StatusCode.OK,
    Standing.BACKUP: grpc.StatusCode.ALREADY_EXISTS,  # P4Runtime 5.4: there is a primary
    Standing.VACANT: grpc.StatusCode.NOT_FOUND,
}


@dataclass(eq=False, slots=True)
class Stream:
    """One client's stream. `peer` is its transport address, `who` its certificate; `role` is set by
    its first arbitration.
    """

    peer: str
    who: Identity = ANYBODY
    role: Role | None = None
    _outgoing: deque[p4r.StreamMessageResponse] = field(default_factory=deque)
    _answers: int = 0
    _end: Refused | None = None
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, message: p4r.StreamMessageResponse) -> None:
        """Queue an answer; a client that reads none of them is cut off."""
        if self._answers >= MAX_UNREAD:
            self.close(exhausted("answers are not read"))
            return
        self._answers += 1
        self._outgoing.append(message)
        self._some.set()

    def offer(self, message: p4r.StreamMessageResponse) -> bool:
        """Queue a packet or notification; False if it is dropped."""
        if len(self._outgoing) - self._answers >= MAX_PACKETS or self._end is not None:
            return False
        self._outgoing.append(message)
        self._some.set()
        return True

    def close(self, why: Refused) -> None:
        """End the stream with a status, after what is queued."""
        if self._end is None:
            self._end = why
            self._some.set()

    async def next(self) -> p4r.StreamMessageResponse | Refused:
        """The next message, or in the end why there are no more."""
        while not self._outgoing:
            if self._end is not None:
                return self._end
            self._some.clear()
            await self._some.wait()
        message = self._outgoing.popleft()
        if message.WhichOneof("update") in ("arbitration", "error", "other"):
            self._answers -= 1
        return message


class Streams:
    """All streams of the slicer of one device."""

    def __init__(self, device_id: int, fence: Callable[[str], Fence | None]) -> None:
        self._device_id = device_id
        self._fence = fence
        self._roles: dict[Role, Arbitration[Stream]] = {}
        self._open: set[Stream] = set()
        self._by_peer: dict[str, set[Stream]] = {}

    def open(self, peer: str, who: Identity = ANYBODY) -> Stream:
        """A client has opened a stream; Refused if there are too many."""
        if len(self._open) >= MAX_STREAMS:
            raise exhausted(f"{MAX_STREAMS} streams are open")
        if who is not ANYBODY and not who.provider:
            same = sum(other.who.fingerprint == who.fingerprint for other in self._open)
            if same >= MAX_STREAMS_PER_CERTIFICATE:
                raise exhausted(f"this certificate has {same} streams open already")
        stream = Stream(peer, who)
        self._open.add(stream)
        self._by_peer.setdefault(peer, set()).add(stream)
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
        election_id = number(message.election_id) if message.HasField("election_id") else None
        if role.whole_vn and election_id is not None:
            self._check_fence(role, election_id)
        arbitration = self._roles.get(role)
        if arbitration is None:
            arbitration = Arbitration()
        elif stream.role is None and len(arbitration.election_ids) >= MAX_STREAMS_PER_ROLE:
            raise exhausted(f"role {role} has {MAX_STREAMS_PER_ROLE} streams already")
        told = arbitration.present(stream, election_id)
        stream.role = role
        self._roles[role] = arbitration
        self._tell(role, arbitration, told)

    def _check_fence(self, role: Role, election_id: int) -> None:
        """Role `vn/...` has one election id: the one that the database names as the leader's."""
        fence = self._fence(role.vn)
        if fence is None:
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                f"role {role}: this switch does not know yet who leads virtual network {role.vn}",
            )
        if fence != ANYONE and election_id != fence.election_id:
            later = election_id > fence.election_id
            raise Refused(
                grpc.StatusCode.UNAVAILABLE if later else grpc.StatusCode.PERMISSION_DENIED,
                f"role {role}: election id {election_id}, but the leader's is "
                f"{fence.election_id} (epoch {fence.epoch}, czxid {fence.czxid})",
            )

    def too_new(self, role: Role, message: p4r.MasterArbitrationUpdate) -> bool:
        """Whether this may be a leader of role `vn/...` of whom the database has yet to tell."""
        if not role.whole_vn or not message.HasField("election_id"):
            return False
        try:
            self._check_fence(role, number(message.election_id))
        except Refused as refused:
            return refused.code is grpc.StatusCode.UNAVAILABLE
        return False

    def fence_changed(self, vn: str) -> None:
        """End the streams of role `vn/<vn>` whose election id is not the leader's any more."""
        role = Role(vn)
        arbitration = self._roles.get(role)
        if arbitration is None:
            return
        for stream, election_id in list(arbitration.election_ids.items()):
            if election_id is None:
                continue
            try:
                self._check_fence(role, election_id)
            except Refused as refused:
                if refused.code is grpc.StatusCode.PERMISSION_DENIED:
                    stream.close(refused)

    def leave(self, stream: Stream) -> None:
        """A stream has ended."""
        self._open.discard(stream)
        of_peer = self._by_peer.get(stream.peer, set())
        of_peer.discard(stream)
        if not of_peer:
            self._by_peer.pop(stream.peer, None)
        if stream.role is not None:
            arbitration = self._roles[stream.role]
            self._tell(stream.role, arbitration, arbitration.leave(stream))

    def forget(self, keep: Callable[[Role], bool]) -> None:
        """Forget the election ids of roles that nobody uses and that are not to be kept."""
        for role in [
            role
            for role, arbitration in self._roles.items()
            if not arbitration.election_ids and not keep(role)
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
        if role.whole_vn:
            self._check_fence(role, election_id)

    def knows(self, role: Role) -> bool:
        """Whether a stream of the role is open, or its election ids are remembered."""
        return role in self._roles

    def of_vn(self, vn: str) -> list[Stream]:
        """The open streams of the VN's roles."""
        return [stream for stream in self._open if stream.role and stream.role.vn == vn]

    def role_of(self, peer: str) -> Role | None:
        """The role of the streams that come from this peer; None if there is none, or several."""
        roles = self.roles_of(peer)
        return roles.pop() if len(roles) == 1 else None

    def roles_of(self, peer: str) -> set[Role]:
        """The roles of the streams that come from this peer."""
        return {stream.role for stream in self._by_peer.get(peer, ()) if stream.role}


def number(election_id: p4r.Uint128) -> int:
    """An election id as an integer."""
    return int(election_id.high << 64 | election_id.low)
