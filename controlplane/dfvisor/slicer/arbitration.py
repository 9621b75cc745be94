"""Who may write in a role: the state machine of P4Runtime 5.3, for one role. Pure.

Streams are whatever the caller uses to name them. Election ids are 128-bit integers; None is a
stream that presented none, which stays a backup. The highest id ever seen counts, also after its
stream has gone: a lower one never becomes primary.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from dfvisor.slicer.refusal import invalid

Stream = TypeVar("Stream", bound=Hashable)


class Standing(Enum):
    """What a stream is told."""

    PRIMARY = "you are primary"
    BACKUP = "another client is primary"
    VACANT = "there is no primary"


@dataclass(slots=True)
class Arbitration(Generic[Stream]):
    """The streams of one role, and which of them is primary."""

    election_ids: dict[Stream, int | None] = field(default_factory=dict)
    highest: int | None = None
    primary: Stream | None = None

    def present(self, stream: Stream, election_id: int | None) -> list[Stream]:
        """A stream presents an election id, its first or another; who must be told the standing.

        Refused if another stream of the role has presented the same id, or the id is 0.
        """
        if election_id == 0:
            raise invalid("election id 0 is not allowed; leave it out to be a backup")
        if election_id is not None and any(
            other != stream and theirs == election_id for other, theirs in self.election_ids.items()
        ):
            raise invalid(f"election id {election_id} is already used by another client")
        before = self.primary
        self.election_ids[stream] = election_id
        if election_id is not None and (self.highest is None or election_id >= self.highest):
            self.highest = election_id
            self.primary = stream
        elif self.primary == stream:
            self.primary = None  # it stepped down
        return list(self.election_ids) if self.primary != before else [stream]

    def leave(self, stream: Stream) -> list[Stream]:
        """A stream has ended; who must be told the standing."""
        self.election_ids.pop(stream, None)
        if self.primary != stream:
            return []
        self.primary = None
        return list(self.election_ids)

    def standing(self, stream: Stream) -> Standing:
        """What the stream is to be told."""
        if self.primary is None:
            return Standing.VACANT
        return Standing.PRIMARY if self.primary == stream else Standing.BACKUP
