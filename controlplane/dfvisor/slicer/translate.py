"""A role's entries to the switch's and back. Reads the agent's directory, changes nothing but the
messages that it is given.

A role's entry names its slice by the role itself (`slice/...`) or by the GRE key in field
`slice_id` (`vn/...`), and next hops by virtual numbers. The switch's entry has the switch's own
slice and next-hop ids. What a role may not name is refused here: there is no other way to the
switch. A message is edited in place, and only once nothing can be refused any more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc

from dfvisor.model.space import Space
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SliceDirectory, SliceInfo
from dfvisor.p4rt.values import encode_value
from dfvisor.slicer.alike import Alike, Known, Splice
from dfvisor.slicer.layout import ActionLayout, Key, TableLayout, layouts
from dfvisor.slicer.mirror import HEAD
from dfvisor.slicer.refusal import Refused, denied, exhausted, invalid
from dfvisor.slicer.roles import Role
from dfvisor.slicer.view import NEXT_HOP, SLICE_ID, TIMED

GONE = 0
"""Virtual next hop of an entry whose next hop no longer exists. Never accepted in a Write."""
ETH_DST = "eth_dst"
DEMOTE = "demote"
PERMIT = "permit"
PATH_CLASS = ("path_class", 0xFFF)
FLOW = "flow"
SHOWN_NEXT_HOPS = 16


@dataclass(slots=True)
class Rights:
    """What a role may do in one slice, as of now. `refusal` says why it may not write there."""

    name: str
    info: SliceInfo
    space: Space
    quota: int | None
    refusal: str | None
    match: p4r.FieldMatch  # on the slice's id


class Identity:
    """Which entry a message is about: rights in its slice, and its key there. `action`: that of an
    entry whose form has been checked.
    """

    __slots__ = ("action", "fields", "key", "layout", "rights")

    def __init__(
        self,
        rights: Rights,
        layout: TableLayout,
        fields: Key,
        key: bytes,
        action: ActionLayout | None = None,
    ) -> None:
        self.rights = rights
        self.layout = layout
        self.fields = fields
        self.key = key
        self.action = action


class View:
    """What all roles of a kind share: the schema of their P4Info, and how it looks on the wire."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.layouts = layouts(schema, SLICE_ID, NEXT_HOP, TIMED)
        self.slice_field = next(
            (
                field.id
                for table in schema.tables.values()
                for field in table.fields
                if field.name == SLICE_ID
            ),
            0,
        )
        self.tables = ", ".join(sorted(schema.tables))
        self.known = Known()


class Translator:
    """Between one role and the switch, for one turn: rights are looked up once.

    `slice_field` is the id of field `slice_id` in the program's tables. `writer` names the one role
    that writes a slice right now; None: any that may name it.
    """

    def __init__(
        self,
        directory: SliceDirectory,
        role: Role,
        view: View,
        slice_field: int,
        writer: Callable[[str, str], str | None],
    ) -> None:
        self._directory = directory
        self.role = role
        self.view = view
        self._slice_field = slice_field
        self._writer = writer
        self._rights: dict[int, Rights] = {}  # by GRE key; 0 for a slice role's own
        self._next_hops: dict[bytes, bytes] = {}
        self.patience = sys.maxsize
        """How many updates to look at together, as the planner finds."""

    def renewed(self) -> Translator:
        """The same for another turn."""
        return Translator(self._directory, self.role, self.view, self._slice_field, self._writer)

    # -- from the role to the switch

    def splice(self, alike: Alike, gre_key: int) -> tuple[Rights, Splice] | None:
        """The role's rights in a slice, and how such an update becomes the switch's; None if it may
        not write there, or there is more to do.
        """
        try:
            rights = self._rights.get(gre_key) or self._look_up(gre_key)
        except Refused:
            return None
        splice = alike.splice(rights.info.slice_id, rights.match)
        return None if splice is None or rights.refusal is not None else (rights, splice)

    def identify(self, message: p4r.TableEntry) -> Identity:
        """Which entry the message is about. The message may be brought into canonical form."""
        layout = self.view.layouts.get(message.table_id)
        if layout is None:
            raise denied(
                f"role {self.role} has no table {message.table_id:#x}; it has {self.view.tables}"
            )
        if message.is_default_action:
            raise denied("the default entries belong to the program; give the entry a key")
        fields = layout.key(message)
        if fields is None:
            fields = self._normalized_key(layout, message)
        # of a view without slice ids, 0: the role's own
        rights = self._rights.get(fields.slice_id) or self._look_up(fields.slice_id)
        key = layout.head + message.priority.to_bytes(HEAD, "big") + fields.wire
        return Identity(rights, layout, fields, key)

    def check_write(self, identity: Identity) -> None:
        """Refused unless the role is the one that writes the slice."""
        if identity.rights.refusal is not None:
            raise denied(identity.rights.refusal)

    def check_entry(self, identity: Identity, message: p4r.TableEntry) -> None:
        """Refused unless the role may have such an entry: attributes, match, action."""
        layout, rights = identity.layout, identity.rights
        action = identity.action
        if action is None:
            action = identity.action = self._checked_form(layout, message)
        if layout.name == FLOW:
            fields = identity.fields
            if (
                not rights.space.covers(fields.masks, fields.values)
                and not (action.name == DEMOTE and demotable(rights.space, fields))
                and not (self.role.whole_vn and action.name == PERMIT and carried(fields))
            ):
                raise denied(
                    f"the match is not within one flowspace of slice {self.role.vn}/{rights.name}; "
                    f"allowed is what lies within: {rights.space}"
                )
        if action.next_hop:
            for param in message.action.action.params:
                if param.param_id == action.next_hop and param.value not in self._next_hops:
                    self._next_hops[param.value] = self._next_hop_to_switch(param.value)

    def _checked_form(self, layout: TableLayout, message: p4r.TableEntry) -> ActionLayout:
        """The action of an entry without attributes that it can't have."""
        if message.HasField("meter_config"):
            raise invalid(f"table {layout.name} has no direct meter; leave meter_config out")
        if message.idle_timeout_ns and (not layout.timed or message.idle_timeout_ns < 0):
            raise invalid(f"table {layout.name}: idle timeouts are 0 or, in table flow, above 0")
        if message.HasField("counter_data") or message.metadata or message.controller_metadata:
            raise Refused(
                grpc.StatusCode.UNIMPLEMENTED,
                "counter_data and metadata can't be written; leave them out",
            )
        action = layout.action(message)
        if action is None:
            self._normalize(layout, message)
            action = layout.action(message)
            if action is None:
                raise invalid(f"table {layout.name}: the action is not one of the table's")
        return action

    def learn(self, identity: Identity, update: p4r.Update, sent: bytes) -> None:
        """Updates like this one are recognized from now on, if it was good as it was sent."""
        known = self.view.known
        if update.SerializeToString() == sent and known.find(sent) is None:
            known.learn(identity.layout, identity.action, update, identity.fields)

    def check_quota(self, identity: Identity, held: int) -> None:
        """Refused if the slice may not have another entry beside the `held` ones of its table."""
        quota = identity.rights.quota
        if quota is not None and held >= quota:
            raise exhausted(
                f"slice {self.role.vn}/{identity.rights.name} has {held} entries in table "
                f"{identity.layout.name}, and its quota is {quota}; delete some first"
            )

    def to_switch(self, identity: Identity, message: p4r.TableEntry) -> None:
        """Edit a checked entry into the switch's."""
        self.key_to_switch(identity, message)
        assert identity.action is not None, "the entry has been checked"
        next_hop = identity.action.next_hop
        if next_hop:
            for param in message.action.action.params:
                if param.param_id == next_hop:
                    param.value = self._next_hops[param.value]

    def key_to_switch(self, identity: Identity, message: p4r.TableEntry) -> None:
        """Edit the key alone."""
        if not self.view.slice_field:
            message.match.insert(0, identity.rights.match)  # in order, as the switch likes it
        else:  # the first, fields being in order
            message.match[0].CopyFrom(identity.rights.match)

    def _normalized_key(self, layout: TableLayout, message: p4r.TableEntry) -> Key:
        self._normalize(layout, message)
        fields = layout.key(message)
        if fields is None:
            raise invalid(f"table {layout.name}: priority or match field is missing or wrong")
        return fields

    def _normalize(self, layout: TableLayout, message: p4r.TableEntry) -> None:
        """Bring key and action into canonical form; Refused says what can't be."""
        schema = self.view.schema
        try:
            entry = schema.decode_entry(message)
            if len(entry.key) != len({match.field_id for match in message.match}) or len(
                entry.key
            ) != len(message.match):
                raise invalid(f"table {layout.name}: a match field is given twice")
            if len(entry.args) != len(message.action.action.params):
                raise invalid(f"table {layout.name}: a parameter is given twice")
            if entry.members:
                raise invalid(f"table {layout.name} takes one action, not a set of actions")
            canonical = schema.encode_key(entry)
            if message.HasField("action"):
                message.action.CopyFrom(schema.encode_entry(entry).action)
        except SchemaError as error:
            raise invalid(str(error)) from error
        del message.match[:]
        message.match.extend(canonical.match)

    def _look_up(self, gre_key: int) -> Rights:
        """The role's rights in a slice: that of the role (0), or of a GRE key."""
        vn = self.role.vn
        slices = self._directory.slices_of(vn)
        name = self.role.slice
        if name is None:
            name = next((name for name, info in slices.items() if info.key == gre_key), None)
            if name is None:
                raise denied(
                    f"virtual network {vn} has no slice with GRE key {gre_key} here; "
                    f"allowed are {_keys(slices.values())}"
                )
            if slices[name].best_effort:
                raise denied(
                    f"GRE key {gre_key} is the best-effort slice: it has no flows; "
                    f"allowed are {_keys(slices.values())}"
                )
        info = slices.get(name)
        if info is None or info.best_effort:
            raise denied(f"virtual network {vn} has no such QoS slice here: {name}")
        rights = Rights(
            name,
            info,
            self._directory.space(vn, name),
            self._directory.entry_quota(vn, name),
            self._refusal(name),
            _exact(self._slice_field, info.slice_id),
        )
        self._rights[gre_key] = rights
        return rights

    def _refusal(self, name: str) -> str | None:
        """Why the role may not write a slice; None if it may."""
        writer = self._writer(self.role.vn, name)
        if writer is None or writer == str(self.role):
            return None
        return (
            f"slice {self.role.vn}/{name} is written by role {writer}; "
            f"role {self.role} may only read it"
        )

    def _next_hop_to_switch(self, data: bytes) -> bytes:
        virtual = int.from_bytes(data, "big")
        found = self._directory.next_hop_id(self.role.vn, virtual)
        if virtual == GONE or found is None:
            allowed = [
                f"{one:#x}" for one in self._directory.next_hops(self.role.vn)[:SHOWN_NEXT_HOPS]
            ]
            raise denied(
                f"next hop {virtual:#x} is not one of virtual network {self.role.vn} here; "
                f"allowed are {', '.join(allowed) or 'none'}"
            )
        return encode_value(found, 16, NEXT_HOP)

    # -- from the switch to the role

    def slices(self) -> dict[str, SliceInfo]:
        """The slices that the role may touch, by name."""
        slices = self._directory.slices_of(self.role.vn)
        if self.role.slice is None:
            return {name: info for name, info in slices.items() if not info.best_effort}
        info = slices.get(self.role.slice)
        return {} if info is None or info.best_effort else {self.role.slice: info}

    def to_view(self, message: p4r.TableEntry, gre_key: int) -> None:
        """Edit one of the switch's entries to what the role sees; `gre_key` is its slice's."""
        for place, match in enumerate(message.match):
            if match.field_id == self._slice_field:
                if self.view.slice_field:
                    match.exact.value = encode_value(gre_key, 32, SLICE_ID)
                else:
                    del message.match[place]
                break
        if not message.HasField("action"):
            return
        layout = self.view.layouts[message.table_id]
        action = layout.actions.get(message.action.action.action_id)
        if action is None or not action.next_hop:
            return
        for param in message.action.action.params:
            if param.param_id == action.next_hop:
                inside = int.from_bytes(param.value, "big")
                found = self._directory.virtual_next_hop(self.role.vn, inside) or GONE
                param.value = encode_value(found, 32, NEXT_HOP)


def carried(fields: Key) -> bool:
    """Whether a key is about all packets that one of our switches has let in on one path class."""
    return fields.masks == (PATH_CLASS,) and fields.values != (0,)


def demotable(space: Space, fields: Key) -> bool:
    """Whether a key is about packets to an endpoint behind a foreign peer alone."""
    return any(
        mask == (ETH_DST, (1 << 48) - 1) and value in space.demotable
        for mask, value in zip(fields.masks, fields.values, strict=True)
    )


def _exact(field_id: int, value: int) -> p4r.FieldMatch:
    match = p4r.FieldMatch(field_id=field_id)
    match.exact.value = encode_value(value, 16, SLICE_ID)
    return match


def _keys(slices: Iterable[SliceInfo]) -> str:
    return ", ".join(str(info.key) for info in slices if not info.best_effort) or "none"
