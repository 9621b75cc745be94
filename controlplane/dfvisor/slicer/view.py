"""The P4Info that a role sees: pure.

Only `flow` and `slice_forward`, their actions and direct counters. Ids are those of the program,
never renumbered, so a controller may be compiled against either. A `slice/...` role has no field
`slice_id`; for a `vn/...` role it is 32 bits wide and carries the slice's GRE key. The parameter
`next_hop` carries virtual next hops (`p4rt.ports.NEIGHBOUR`), 32 bits wide in both.
"""

from __future__ import annotations

import hashlib

from dfvisor.p4rt.pb import p4i

TABLES = ("flow", "slice_forward")
SLICE_ID = "slice_id"
NEXT_HOP = "next_hop"
KEY_BITS = 32
NEXT_HOP_BITS = 32


def role_view(program: p4i.P4Info, whole_vn: bool) -> p4i.P4Info:
    """The part of the program's P4Info for a `vn/...` role (`whole_vn`) or a `slice/...` role."""
    view = p4i.P4Info()
    view.pkg_info.CopyFrom(program.pkg_info)
    for table in program.tables:
        if table.preamble.alias not in TABLES:
            continue
        shown = view.tables.add()
        shown.CopyFrom(table)
        shown.ClearField("idle_timeout_behavior")  # idle timeouts are not offered
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
    return view


def view_cookie(view: p4i.P4Info) -> int:
    """A 64-bit number that is the same exactly as long as the view is."""
    digest = hashlib.blake2s(view.SerializeToString(deterministic=True), digest_size=8).digest()
    return int.from_bytes(digest, "big")
