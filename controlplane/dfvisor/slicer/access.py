"""What each role sees and may write at this switch, as of now. No I/O.

What is remembered here of a VN is forgotten whenever something of the VN changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SliceDirectory, SliceInfo
from dfvisor.slicer.refusal import denied
from dfvisor.slicer.roles import Role
from dfvisor.slicer.streams import Streams
from dfvisor.slicer.tables import FlowTables
from dfvisor.slicer.translate import FLOW, Translator, View
from dfvisor.slicer.view import role_view

KNOWN_VIEWS = 256
KNOWN_ROLES = 8192


class Access:
    """`schema` is that of the whole program."""

    def __init__(
        self, directory: SliceDirectory, streams: Streams, tables: FlowTables, schema: Schema
    ) -> None:
        self._directory = directory
        self._streams = streams
        self._tables = tables
        self._schema = schema
        self._flow = schema.table(FLOW).id
        self._views: dict[tuple[bool, int | None], View] = {}
        self._view_of: dict[Role, View] = {}
        self._offered: dict[Role, Mapping[str, SliceInfo]] = {}
        self._roles_of: dict[int, set[Role]] = {}

    def forget(self, vn: str) -> None:
        """Something of the VN has changed."""
        for role in [role for role in self._view_of if role.vn == vn]:
            del self._view_of[role]

    # -- what a role sees

    def view(self, role: Role) -> View:
        """The role's P4Info; tables as large as its quota."""
        view = self._view_of.get(role)
        if view is not None:
            return view
        key = (role.whole_vn, self._quota(role))
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= KNOWN_VIEWS:
                self._views.clear()
            view = self._views[key] = View(Schema(role_view(self._schema.proto, *key)))
        if len(self._view_of) >= KNOWN_ROLES:
            self._view_of.clear()
        self._view_of[role] = view
        return view

    def _quota(self, role: Role) -> int | None:
        if role.slice is not None:
            return self._directory.entry_quota(role.vn, role.slice)
        total = 0
        for name, info in self._directory.slices_of(role.vn).items():
            if info.best_effort:
                continue
            quota = self._directory.entry_quota(role.vn, name)
            if quota is None:
                return None
            total += quota
        return total or None

    def translator(self, role: Role) -> Translator:
        """Between the role and the switch. The role is one of those that know its slices now."""
        slices = self._directory.slices_of(role.vn)
        if self._offered.get(role) is not slices:
            if len(self._offered) >= KNOWN_ROLES:
                self._offered.clear()
            self._offered[role] = slices
            for name, info in slices.items():
                if not info.best_effort and role.slice in (None, name):
                    self._roles_of.setdefault(info.slice_id, set()).add(role)
        return Translator(
            self._directory, role, self.view(role), self._tables.slice_field, self.writer
        )

    def roles_of(self, slice_id: int) -> set[Role]:
        """The roles that a slice was offered to."""
        return self._roles_of.get(slice_id, set())

    def drop(self, slice_id: int) -> set[Role]:
        """Forget a slice; returns the roles that it was offered to."""
        roles = self._roles_of.pop(slice_id, set())
        for role in roles:
            self._offered.pop(role, None)
        return roles

    # -- what it may write

    def writer(self, vn: str, slice_name: str) -> str | None:
        """The role that writes a slice right now; None: the slice's own, or the VN's."""
        writer = self._directory.writer(vn, slice_name)
        if writer is None and self._streams.primary(Role(vn)) is not None:
            return str(Role(vn))
        return writer

    def check_writer(self, role: Role) -> None:
        """Refused unless a slice's role is the one that writes the slice."""
        assert role.slice is not None
        writer = self.writer(role.vn, role.slice)
        if writer not in (None, str(role)):
            raise denied(
                f"slice {role.vn}/{role.slice} is written by role {writer}; role {role} may only "
                f"read it"
            )

    def outside(self, vn: str, name: str) -> Callable[[bytes], bool]:
        """Whether one of the switch's entries of a slice is not within its flowspaces."""
        space = self._directory.space(vn, name)

        def outside(entry: bytes) -> bool:
            message = p4r.TableEntry.FromString(entry)
            return message.table_id == self._flow and not self._tables.covered(entry, space)

        return outside
