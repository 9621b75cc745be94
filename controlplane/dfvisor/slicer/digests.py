"""Who has subscribed to which digest, and what they were told: pure but for its clock.

The switch sends its digests to the agent, which alone subscribes there and acknowledges. A `vn/...`
role subscribes here, by a DigestEntry (P4Runtime 9.5), and is told of its own VN's senders. What it
has not acknowledged is not told again until its `ack_timeout_ns` is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.slicer.refusal import Refused, denied, invalid, missing
from dfvisor.slicer.roles import Role

MOST_AT_ONCE = 64
MOST_PENDING = 1024
Message = Mapping[str, int]
_Told = tuple[tuple[str, int], ...]


@dataclass(slots=True)
class _Subscription:
    config: p4r.DigestEntry.Config
    lists: int = 0
    pending: dict[_Told, tuple[int, float]] = field(default_factory=dict)  # list, when it was told


class Digests:
    """The subscriptions of all roles. `clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[tuple[Role, int], _Subscription] = {}

    def write(self, role: Role, view: Schema, update: p4r.Update) -> None:
        """Carry out an update about anything but a table entry; Refused if it is no subscription
        that the role may have.
        """
        what = update.entity.WhichOneof("entity") or "nothing"
        if what != "digest_entry" or not view.digests:
            also = " and digest entries" if view.digests else ""
            raise denied(f"role {role} may write table entries{also} only, not {what}")
        entry = update.entity.digest_entry
        if entry.digest_id not in [one.id for one in view.digests.values()]:
            raise missing(f"digest {entry.digest_id:#x} is not in the P4Info of role {role}")
        place = (role, entry.digest_id)
        held = self._held.get(place)
        if update.type == p4r.Update.INSERT:
            if held is not None:
                code = grpc.StatusCode.ALREADY_EXISTS
                raise Refused(code, f"role {role} has subscribed already; use MODIFY")
        elif update.type not in (p4r.Update.MODIFY, p4r.Update.DELETE):
            raise invalid(f"update type {update.type}, expected INSERT, MODIFY or DELETE")
        elif held is None:
            raise missing(f"role {role} has not subscribed to digest {entry.digest_id:#x}")
        if update.type == p4r.Update.DELETE:
            del self._held[place]
            return
        config = p4r.DigestEntry.Config()
        config.CopyFrom(entry.config)
        if min(config.max_timeout_ns, config.max_list_size, config.ack_timeout_ns) < 0:
            raise invalid("a digest's times and list size are 0 or above")
        if held is None:
            self._held[place] = _Subscription(config)
        else:
            held.config = config

    def read(self, role: Role, digest_id: int) -> list[p4r.Entity]:
        """The role's subscriptions, to one digest or (0) to all."""
        return [
            p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=id_, config=one.config))
            for (owner, id_), one in self._held.items()
            if owner == role and digest_id in (0, id_)
        ]

    def tell(
        self, role: Role, digest_id: int, messages: Sequence[Message]
    ) -> list[tuple[int, list[Message]]]:
        """The lists to send to a role, each with its id; none if it has not subscribed."""
        held = self._held.get((role, digest_id))
        if held is None:
            return []
        now = self._clock()
        fresh: list[Message] = []
        for message in messages:
            told = held.pending.get(tuple(message.items()))
            if told is None or now - told[1] >= held.config.ack_timeout_ns / 1e9:
                fresh.append(message)
        size = min(held.config.max_list_size or MOST_AT_ONCE, MOST_AT_ONCE)
        lists: list[tuple[int, list[Message]]] = []
        for start in range(0, len(fresh), size):
            held.lists += 1
            part = fresh[start : start + size]
            lists.append((held.lists, part))
            for message in part:
                told_of = tuple(message.items())
                held.pending.pop(told_of, None)
                held.pending[told_of] = (held.lists, now)
        while len(held.pending) > MOST_PENDING:
            del held.pending[next(iter(held.pending))]
        return lists

    def acknowledge(self, role: Role, digest_id: int, list_id: int) -> None:
        """A list has arrived, or is lost: what it told may be told again."""
        held = self._held.get((role, digest_id))
        if held is not None:
            for told in [told for told, (id_, _) in held.pending.items() if id_ == list_id]:
                del held.pending[told]

    def forget(self, keep: Callable[[Role], bool]) -> None:
        """Let go of the subscriptions of roles that are not to be kept."""
        for place in [place for place in self._held if not keep(place[0])]:
            del self._held[place]
