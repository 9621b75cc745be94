"""A role's entries to the switch's and back. Reads the agent's directory, changes nothing.

A role's entry names its slice by the role itself (`slice/...`) or by the GRE key in field
`slice_id` (`vn/...`), and next hops by virtual numbers. The switch's entry has the switch's own
slice and next-hop ids. What a role may not name is refused here: there is no other way to the
switch.
"""

from __future__ import annotations

import grpc

from dfvisor.p4rt.entries import EntryKey, Exact, Key, TableEntry
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SliceDirectory, SliceInfo
from dfvisor.slicer.refusal import Refused, denied, invalid
from dfvisor.slicer.roles import Role
from dfvisor.slicer.view import NEXT_HOP, SLICE_ID

GONE = 0
"""Virtual next hop of an entry whose next hop no longer exists. Never accepted in a Write."""


class Translator:
    """Between one role's view and the switch. `view` is the schema of the role's P4Info."""

    def __init__(self, directory: SliceDirectory, role: Role, view: Schema) -> None:
        self._directory = directory
        self.role = role
        self.view = view

    # -- from the role to the switch

    def decode(self, message: p4r.TableEntry) -> TableEntry:
        """The entry of a message, as the role sees it. Refused names what is not allowed."""
        try:
            self.view.table_by_id(message.table_id)
        except SchemaError as error:
            raise denied(f"role {self.role} has no table {message.table_id:#x}") from error
        if message.is_default_action:
            raise denied("the default entries belong to the program")
        if message.HasField("meter_config") or message.idle_timeout_ns:
            raise invalid("direct meters and idle timeouts are not offered")
        if message.HasField("counter_data") or message.metadata or message.controller_metadata:
            raise Refused(
                grpc.StatusCode.UNIMPLEMENTED, "counter_data and metadata can't be written"
            )
        return self.decode_loosely(message)

    def decode_loosely(self, message: p4r.TableEntry) -> TableEntry:
        """As `decode`, for reads and deletes: attributes that do not identify an entry may be
        there.
        """
        try:
            entry = self.view.decode_entry(message)
        except SchemaError as error:
            raise invalid(str(error)) from error
        if len(entry.key) != len(message.match):
            raise invalid(f"table {entry.table}: a match field is given twice")
        return entry

    def to_switch(self, entry: TableEntry) -> TableEntry:
        """The switch's entry for one of the role's; Refused if it isn't the role's to write."""
        key = self._key_to_switch(entry)
        args = tuple(
            (name, self._next_hop_to_switch(value) if name == NEXT_HOP else value)
            for name, value in entry.args
        )
        return TableEntry(entry.table, key, entry.priority, entry.action, args)

    def key_to_switch(self, entry: TableEntry) -> EntryKey:
        """The identity, in the switch, of one of the role's entries."""
        return (entry.table, self._key_to_switch(entry), entry.priority)

    def _key_to_switch(self, entry: TableEntry) -> Key:
        if self.role.slice is not None:
            info = self.slices().get(self.role.slice)
            if info is None:
                raise denied(f"virtual network {self.role.vn} has no such QoS slice here")
            return ((SLICE_ID, Exact(info.slice_id)), *entry.key)
        match entry.key:
            case ((name, Exact(gre_key)), *rest) if name == SLICE_ID:
                return ((SLICE_ID, Exact(self._slice_of(gre_key))), *rest)
        raise invalid(f"table {entry.table}: field {SLICE_ID} is missing")

    def _slice_of(self, gre_key: int) -> int:
        for info in self._directory.slices_of(self.role.vn).values():
            if info.key == gre_key:
                if info.best_effort:
                    raise denied(f"GRE key {gre_key} is the best-effort slice: it has no flows")
                return info.slice_id
        raise denied(f"virtual network {self.role.vn} has no slice with GRE key {gre_key} here")

    def _next_hop_to_switch(self, virtual: int) -> int:
        found = self._directory.next_hop_id(self.role.vn, virtual)
        if virtual == GONE or found is None:
            raise denied(f"next hop {virtual:#x} is not one of virtual network {self.role.vn} here")
        return found

    # -- from the switch to the role

    def slices(self) -> dict[str, SliceInfo]:
        """The slices that the role may touch, by name."""
        return {
            name: info
            for name, info in self._directory.slices_of(self.role.vn).items()
            if not info.best_effort and self.role.slice in (None, name)
        }

    def to_view(self, entry: TableEntry, gre_key: int) -> TableEntry:
        """One of the switch's entries, as the role sees it; `gre_key` is that of its slice."""
        key = entry.key[1:]
        if self.role.whole_vn:
            key = ((SLICE_ID, Exact(gre_key)), *key)
        args = tuple(
            (name, self._next_hop_to_view(value) if name == NEXT_HOP else value)
            for name, value in entry.args
        )
        return TableEntry(entry.table, key, entry.priority, entry.action, args)

    def _next_hop_to_view(self, next_hop: int) -> int:
        return self._directory.virtual_next_hop(self.role.vn, next_hop) or GONE


def slice_of(key: Key) -> int:
    """The slice id in the key of one of the switch's entries."""
    name, match = key[0]
    assert name == SLICE_ID and isinstance(match, Exact), key  # the first field of both tables
    return match.value
