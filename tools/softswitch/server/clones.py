"""Clone sessions: CloneSessionEntry of the packet replication engine."""

from __future__ import annotations

from collections.abc import Callable

from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import exists, invalid, not_found, unimplemented
from softswitch.server.multicast import parse_replicas
from softswitch.server.pb import p4r

SESSION_MAX = 0x7FFF
"""As with BMv2."""


class CloneState:
    """The clone sessions of one pipeline, kept as they were written."""

    def __init__(self, engine: DataPlane) -> None:
        self._engine = engine
        self._sessions: dict[int, bytes] = {}

    def write(self, update: p4r.Update.Type.ValueType, entry: p4r.CloneSessionEntry) -> None:
        """INSERT, MODIFY or DELETE; raises RequestError."""
        session = entry.session_id
        if not 0 < session <= SESSION_MAX:
            raise invalid(f"clone session id {session}, expected 1..{SESSION_MAX}")
        known = session in self._sessions
        if update == p4r.Update.INSERT and known:
            raise exists(f"clone session {session} exists already")
        if update != p4r.Update.INSERT and not known:
            raise not_found(f"clone session {session} does not exist")
        if update == p4r.Update.DELETE:
            self._engine.clone_session_delete(session)
            del self._sessions[session]
            return
        where = f"clone session {session}"
        if entry.class_of_service:
            raise unimplemented(f"{where}: class_of_service is not implemented")
        if entry.packet_length_bytes < 0:
            raise invalid(f"{where}: packet_length_bytes {entry.packet_length_bytes} is negative")
        replicas, copies = parse_replicas(where, entry.replicas)
        self._engine.clone_session_set(session, replicas, entry.packet_length_bytes)
        self._sessions[session] = p4r.CloneSessionEntry(
            session_id=session, replicas=copies, packet_length_bytes=entry.packet_length_bytes
        ).SerializeToString()

    def undo(self, session: int) -> Callable[[], None]:
        """What puts the clone session back as it is now."""
        old = self._sessions.get(session)

        def put_back() -> None:
            known = session in self._sessions
            if old is not None:
                kind = p4r.Update.MODIFY if known else p4r.Update.INSERT
                self.write(kind, p4r.CloneSessionEntry.FromString(old))
            elif known:
                self.write(p4r.Update.DELETE, p4r.CloneSessionEntry(session_id=session))

        return put_back

    def read(self, session: int) -> list[bytes]:
        """Serialized CloneSessionEntry of one session (empty list: no such session), 0 for all."""
        if session == 0:
            return list(self._sessions.values())
        found = self._sessions.get(session)
        return [] if found is None else [found]
