"""Who may write: client arbitration per role, as a pure state machine (no I/O, no protobuf).

P4Runtime 1.4, section "Client Arbitration and Controller Replication". The primary of a role is
the live client whose election id equals the highest one that the server has *ever* received for
that role. So when a primary disconnects, nobody is primary until a client presents an id at least
as high. (BMv2 promotes the highest connected client instead.)
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum

from softswitch.server.errors import exhausted, invalid, precondition

DEFAULT_ROLE = ""
MAX_CLIENTS_PER_ROLE = 256


class Standing(Enum):
    """What a notification tells a client; the value is the status code to send."""

    PRIMARY = 0  # OK
    BACKUP = 6  # ALREADY_EXISTS: there is a primary, another one
    NO_PRIMARY = 5  # NOT_FOUND


@dataclass(frozen=True, slots=True)
class View:
    """What one client is told: its standing, the highest election id ever, the role's config."""

    role: str
    standing: Standing
    election_id: int | None
    config: bytes | None


@dataclass(frozen=True, slots=True)
class Change:
    """Clients to notify after an event: `now` at once, `primary` once writes under way are done."""

    now: tuple[Hashable, ...] = ()
    primary: Hashable | None = None


@dataclass(slots=True)
class _Role:
    clients: dict[Hashable, int | None] = field(default_factory=dict)
    primary: Hashable | None = None
    highest: int | None = None
    config: bytes | None = None


class Arbitration:
    """The clients of one device. A client is any hashable object, here the open stream."""

    def __init__(self, *, bmv2_compat: bool = False) -> None:
        """As BMv2 with `bmv2_compat`: an unset election id is 0, the highest client connected is
        primary, and while no client is connected at all anybody may write without an id."""
        self._compat = bmv2_compat
        self._roles: dict[str, _Role] = {DEFAULT_ROLE: _Role()}
        self._role_of: dict[Hashable, str] = {}

    def update(
        self, client: Hashable, role: str, election_id: int | None, config: bytes | None
    ) -> Change:
        """Handle a MasterArbitrationUpdate; `None` means an unset election id or config.

        Raises RequestError with the code that must end the stream: INVALID_ARGUMENT when another
        live client holds the same election id, FAILED_PRECONDITION when the client changes its
        role, RESOURCE_EXHAUSTED above MAX_CLIENTS_PER_ROLE.
        """
        if election_id is None and self._compat:
            election_id = 0
        known = self._role_of.get(client)
        if known is not None and known != role:
            raise precondition(
                f"this stream has role {known!r}; open another stream for role {role!r}"
            )
        state = self._roles.get(role) or _Role()
        if election_id is not None and any(
            other is not client and held == election_id for other, held in state.clients.items()
        ):
            raise invalid(
                f"election id {election_id} is already used by another client of role {role!r}"
            )
        if known is None and len(state.clients) >= MAX_CLIENTS_PER_ROLE:
            raise exhausted(f"role {role!r} already has {MAX_CLIENTS_PER_ROLE} open streams")

        self._roles[role] = state
        self._role_of[client] = role
        state.clients[client] = election_id
        if election_id is not None and (state.highest is None or election_id >= state.highest):
            state.highest = election_id
            state.config = config
            state.primary = client
            return Change(
                now=tuple(other for other in state.clients if other is not client), primary=client
            )
        if state.primary is client:  # it has downgraded itself
            return self._succeed(state)
        return Change(now=(client,))

    def _succeed(self, state: _Role) -> Change:
        """The role has no primary now; with `bmv2_compat` the highest client takes its place."""
        state.primary = None
        ids = {held: client for client, held in state.clients.items() if held is not None}
        if self._compat and ids:
            state.highest = max(ids)
            state.primary = ids[state.highest]
        others = tuple(client for client in state.clients if client is not state.primary)
        return Change(now=others, primary=state.primary)

    def disconnect(self, client: Hashable) -> Change:
        """Forget a client whose stream has ended; safe for a client never seen."""
        role = self._role_of.pop(client, None)
        if role is None:
            return Change()
        state = self._roles[role]
        del state.clients[client]
        if state.primary is not client:
            return Change()
        change = self._succeed(state)
        if self._compat and not state.clients:
            state.highest = None
        return change

    def view(self, client: Hashable) -> View | None:
        """What the client is to be told now; None for a client not (or no longer) arbitrating."""
        role = self._role_of.get(client)
        if role is None:
            return None
        state = self._roles[role]
        if state.primary is None:
            standing = Standing.NO_PRIMARY
        elif state.primary is client:
            standing = Standing.PRIMARY
        else:
            standing = Standing.BACKUP
        return View(role, standing, state.highest, state.config)

    def primaries(self) -> tuple[Hashable, ...]:
        """The primary of each role that has one."""
        return tuple(r.primary for r in self._roles.values() if r.primary is not None)

    def knows_role(self, role: str) -> bool:
        """Whether a client has ever arbitrated for the role (the default role always exists)."""
        return role in self._roles

    def is_primary(self, role: str, election_id: int | None) -> bool:
        """Whether a request quoting this role and election id comes from the primary."""
        state = self._roles.get(role)
        if self._compat:
            if not self._role_of:
                return election_id is None
            election_id = election_id or 0
        return (
            state is not None
            and state.primary is not None
            and election_id is not None
            and election_id == state.highest
        )

    def describe_primary(self, role: str) -> str:
        """For error messages: the election id that would be accepted."""
        state = self._roles.get(role)
        if state is None or state.primary is None:
            return "there is no primary"
        return f"the primary's election id is {state.highest}"
