"""The P4Info that a role sees: pure.

Only `flow`, `slice_path` and `slice_forward`, their actions and direct counters, packet I/O and,
for a `vn/...` role, the digest. Ids are those of the program, never renumbered, so a controller may
be compiled against either. A `slice/...` role has no field `slice_id`; for a `vn/...` role it is 32
bits wide and carries the slice's GRE key. The parameter `next_hop` carries virtual next hops
(`p4rt.ports.NEIGHBOUR`), and so does `port` of a packet-in: 32 bits wide. Tables are as large as
the role's quota.
"""

from __future__ import annotations

import hashlib

from dfvisor.p4rt.entries import SLICE_TABLES
from dfvisor.p4rt.pb import p4i

TABLES = SLICE_TABLES
TIMED = frozenset({"flow"})
"""Tables whose entries may have an idle timeout."""
SLICE_ID = "slice_id"
NEXT_HOP = "next_hop"
PORT = "port"
KEY_BITS = 32
NEXT_HOP_BITS = 32
PACKET_IN = ("port", "slice_id", "reason", "cookie")
"""What a role is told of a packet-in; `slice_id` (as a GRE key) only a `vn/...` role."""
PACKET_OUT = ("port", "as_ingress")
"""What a role may say of a packet-out."""


DROPS = "drops"
"""The counter that a slice's role sees its own cells of, by reason."""
DROP_CELLS = 64
LEARN = "learn_t"
"""The digest that a `vn/...` role may have: of senders at its VN's ports that are not known."""
LEARN_FIELDS = ("port", "mac", "ipv4", "ipv6_high", "ipv6_low")
METERS = ("slice_meters", "punt_meters")
"""The meters of which a slice's role sees its own cell, as cell 0."""


def role_view(program: p4i.P4Info, whole_vn: bool, size: int | None = None) -> p4i.P4Info:
    """The part of the program's P4Info for a `vn/...` role (`whole_vn`) or a `slice/...` role.

    `size` is the number of entries that the role may have in each table, None: no limit of its own.
    """
    view = p4i.P4Info()
    view.pkg_info.CopyFrom(program.pkg_info)
    for table in program.tables:
        if table.preamble.alias not in TABLES:
            continue
        shown = view.tables.add()
        shown.CopyFrom(table)
        if size is not None:
            shown.size = min(size, table.size)
        if table.preamble.alias not in TIMED:
            shown.ClearField("idle_timeout_behavior")
        del shown.match_fields[:]
        for field in table.match_fields:
            if field.name != SLICE_ID:
                shown.match_fields.add().CopyFrom(field)
            elif whole_vn:
                widened = shown.match_fields.add()
                widened.CopyFrom(field)
                widened.bitwidth = KEY_BITS
    tables = {table.preamble.id for table in view.tables}
    used = {ref.id for table in view.tables for ref in table.action_refs}
    for action in program.actions:
        if action.preamble.id not in used:
            continue
        shown_action = view.actions.add()
        shown_action.CopyFrom(action)
        for param in shown_action.params:
            if param.name == NEXT_HOP:
                param.bitwidth = NEXT_HOP_BITS
    for counter in program.direct_counters:
        if counter.direct_table_id in tables:
            view.direct_counters.add().CopyFrom(counter)
    if not whole_vn:
        for array in program.counters:
            if array.preamble.alias == DROPS:
                view.counters.add().CopyFrom(array)
                view.counters[-1].size = DROP_CELLS
        for meter in program.meters:
            if meter.preamble.alias in METERS:
                view.meters.add().CopyFrom(meter)
                view.meters[-1].size = 1
    for header in program.controller_packet_metadata:
        _show_header(view, header, whole_vn)
    if whole_vn:
        for digest in program.digests:
            if digest.preamble.alias == LEARN:
                _show_digest(view, digest, program)
    return view


def _show_digest(view: p4i.P4Info, digest: p4i.Digest, program: p4i.P4Info) -> None:
    view.digests.add().CopyFrom(digest)
    name = digest.type_spec.struct.name
    shown = view.type_info.structs[name]
    for member in program.type_info.structs[name].members:
        if member.name in LEARN_FIELDS:
            field = shown.members.add()
            field.CopyFrom(member)
            if field.name == PORT:
                field.type_spec.bitstring.bit.bitwidth = KEY_BITS


def _show_header(view: p4i.P4Info, header: p4i.ControllerPacketMetadata, whole_vn: bool) -> None:
    shown = view.controller_packet_metadata.add()
    shown.preamble.CopyFrom(header.preamble)
    names = PACKET_IN if header.preamble.name == "packet_in" else PACKET_OUT
    for one in header.metadata:
        if one.name not in names or (one.name == SLICE_ID and not whole_vn):
            continue
        field = shown.metadata.add()
        field.CopyFrom(one)
        if one.name in (SLICE_ID, PORT):
            field.bitwidth = KEY_BITS


def view_cookie(view: p4i.P4Info) -> int:
    """A 64-bit number that is the same exactly as long as the view is."""
    digest = hashlib.blake2s(view.SerializeToString(deterministic=True), digest_size=8).digest()
    return int.from_bytes(digest, "big")
