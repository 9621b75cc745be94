"""Digests: what the data plane reports, gathered into lists for the primary.

P4Runtime 1.4, section "DigestEntry": a list leaves when it is full or its oldest item has waited
long enough; an item that was sent is not sent again until the list is acknowledged or too old.
Pure: the caller passes the time, in nanoseconds of any clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from softswitch.server.errors import exists, invalid, not_found
from softswitch.server.pb import p4d, p4r
from softswitch.server.schema import Digest
from softswitch.server.values import encode

LIST_MAX = 1024
"""Items in a list when the client sets no limit."""
SENT_MAX = 65536
"""Items remembered as sent and not acknowledged; the oldest lists are forgotten first."""

Values = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Sent:
    at_ns: int
    items: tuple[Values, ...]


class DigestState:
    """One digest: its configuration, the list being filled and the lists not acknowledged."""

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        self._entry: p4r.DigestEntry | None = None
        self._list_id = 0
        self._waiting: dict[Values, None] = {}
        self._waiting_since_ns = 0
        self._sent: dict[int, _Sent] = {}
        self._known: set[Values] = set()

    # -- configuration ------------------------------------------------------------------------

    def write(self, kind: p4r.Update.Type.ValueType, entry: p4r.DigestEntry) -> None:
        """INSERT begins the reporting, MODIFY changes its parameters, DELETE ends it."""
        name = self.digest.name
        if kind == p4r.Update.INSERT and self._entry is not None:
            raise exists(f"digest {name}: is configured already")
        if kind != p4r.Update.INSERT and self._entry is None:
            raise not_found(f"digest {name}: is not configured")
        if kind == p4r.Update.DELETE:
            self._entry = None
            self._waiting.clear()
            self.forget_sent()
            return
        for what in ("max_timeout_ns", "max_list_size", "ack_timeout_ns"):
            if getattr(entry.config, what) < 0:
                raise invalid(f"digest {name}: {what} {getattr(entry.config, what)} is negative")
        self._entry = p4r.DigestEntry(digest_id=self.digest.id, config=entry.config)

    def read(self) -> p4r.DigestEntry | None:
        """The configuration, None without one."""
        return self._entry

    def undo(self) -> Callable[[], None]:
        """What puts the configuration, and what waits and was sent, back as it is now."""
        entry, waiting, sent = self._entry, dict(self._waiting), dict(self._sent)
        known, since_ns = set(self._known), self._waiting_since_ns

        def put_back() -> None:
            self._entry, self._waiting, self._sent = entry, waiting, sent
            self._known, self._waiting_since_ns = known, since_ns

        return put_back

    # -- items --------------------------------------------------------------------------------

    def add(self, values: Values, now_ns: int) -> p4r.DigestList | None:
        """Take what the data plane reported; returns the list to send now, if it is complete."""
        if self._entry is None:
            return None
        config = self._entry.config
        self._forget_old(now_ns)
        if values in self._known or values in self._waiting:
            return None
        if not self._waiting:
            self._waiting_since_ns = now_ns
        self._waiting[values] = None
        limit = min(config.max_list_size or LIST_MAX, LIST_MAX)
        if config.max_timeout_ns == 0 or len(self._waiting) >= limit:
            return self._send(now_ns)
        return None

    def deadline_ns(self) -> int | None:
        """When the waiting list must leave; None when there is none."""
        if self._entry is None or not self._waiting:
            return None
        return self._waiting_since_ns + self._entry.config.max_timeout_ns

    def due(self, now_ns: int) -> p4r.DigestList | None:
        """The waiting list, if it has waited long enough."""
        deadline = self.deadline_ns()
        return None if deadline is None or now_ns < deadline else self._send(now_ns)

    def acknowledge(self, list_id: int) -> None:
        """The items of this list may be reported again; an unknown list is ignored."""
        sent = self._sent.pop(list_id, None)
        if sent is not None:
            self._known.difference_update(sent.items)

    def forget_sent(self) -> None:
        """As if every list had been acknowledged: a new primary has seen none of them."""
        self._sent.clear()
        self._known.clear()

    def _send(self, now_ns: int) -> p4r.DigestList:
        self._list_id += 1
        message = p4r.DigestList(digest_id=self.digest.id, list_id=self._list_id)
        for values in self._waiting:
            self._put(values, message.data.add())
        assert self._entry is not None
        if self._entry.config.ack_timeout_ns:
            self._sent[self._list_id] = _Sent(now_ns, tuple(self._waiting))
            self._known.update(self._waiting)
            while len(self._known) > SENT_MAX:
                self.acknowledge(next(iter(self._sent)))
        self._waiting.clear()
        return message

    def _put(self, values: Values, data: p4d.P4Data) -> None:
        if self.digest.struct == "struct":
            for value in values:
                data.struct.members.add(bitstring=encode(value))
        elif self.digest.struct == "tuple":
            for value in values:
                data.tuple.members.add(bitstring=encode(value))
        else:
            data.bitstring = encode(values[0])

    def _forget_old(self, now_ns: int) -> None:
        assert self._entry is not None
        before_ns = now_ns - self._entry.config.ack_timeout_ns
        while self._sent:
            oldest = next(iter(self._sent))
            if self._sent[oldest].at_ns > before_ns:
                return
            self.acknowledge(oldest)
