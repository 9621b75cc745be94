"""Multicast groups and clone sessions, from values to messages and back: pure."""

from __future__ import annotations

from collections.abc import Iterable

from dfvisor.p4rt.entries import CloneSession, MulticastGroup
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.values import PORT_BITS, encode_value

Copies = frozenset[tuple[int, int]]


def encode_replication(item: MulticastGroup | CloneSession) -> p4r.PacketReplicationEngineEntry:
    """The message of a group or session."""
    replicas = [
        p4r.Replica(port=encode_value(port, PORT_BITS, f"{item}: port"), instance=rid)
        for port, rid in sorted(item.replicas)
    ]
    if isinstance(item, MulticastGroup):
        return p4r.PacketReplicationEngineEntry(
            multicast_group_entry=p4r.MulticastGroupEntry(
                multicast_group_id=item.group_id, replicas=replicas
            )
        )
    return p4r.PacketReplicationEngineEntry(
        clone_session_entry=p4r.CloneSessionEntry(session_id=item.session_id, replicas=replicas)
    )


def decode_replication(
    message: p4r.PacketReplicationEngineEntry,
) -> MulticastGroup | CloneSession:
    """The group or session of a message, its ports in either of P4Runtime's two forms."""
    kind = message.WhichOneof("type")
    if kind == "multicast_group_entry":
        group = message.multicast_group_entry
        return MulticastGroup(group.multicast_group_id, _copies(group.replicas))
    if kind == "clone_session_entry":
        session = message.clone_session_entry
        return CloneSession(session.session_id, _copies(session.replicas))
    raise SchemaError(f"replication entry {kind or 'unset'}, expected a group or a clone session")


def _copies(replicas: Iterable[p4r.Replica]) -> Copies:
    return frozenset(
        (
            int.from_bytes(replica.port, "big")
            if replica.WhichOneof("port_kind") == "port"
            else replica.egress_port,
            replica.instance,
        )
        for replica in replicas
    )
