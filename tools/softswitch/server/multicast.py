"""Multicast groups: MulticastGroupEntry of the packet replication engine.

A group is kept as it was written (`port` or the deprecated `egress_port`), so it reads back equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import exists, invalid, not_found, unimplemented
from softswitch.server.pb import p4r
from softswitch.server.values import decode, encode

PORT_BITS = 9
GROUP_MAX = RID_MAX = 0xFFFF
"""v1model: `egress_spec` has 9 bits, `mcast_grp` and `egress_rid` have 16."""


class MulticastState:
    """The groups of one pipeline."""

    def __init__(self, engine: DataPlane) -> None:
        self._engine = engine
        self._groups: dict[int, bytes] = {}

    def write(self, update: p4r.Update.Type.ValueType, entry: p4r.MulticastGroupEntry) -> None:
        """INSERT, MODIFY or DELETE; raises RequestError."""
        group = entry.multicast_group_id
        if not 0 < group <= GROUP_MAX:
            raise invalid(f"multicast group id {group}, expected 1..{GROUP_MAX}")
        known = group in self._groups
        if update == p4r.Update.INSERT and known:
            raise exists(f"multicast group {group} exists already")
        if update != p4r.Update.INSERT and not known:
            raise not_found(f"multicast group {group} does not exist")
        if update == p4r.Update.DELETE:
            self._engine.multicast_delete(group)
            del self._groups[group]
            return
        replicas, stored = _parse(entry)
        self._engine.multicast_set(group, replicas)
        self._groups[group] = stored.SerializeToString()

    def undo(self, group: int) -> Callable[[], None]:
        """What puts the multicast group back as it is now."""
        old = self._groups.get(group)

        def put_back() -> None:
            known = group in self._groups
            if old is not None:
                kind = p4r.Update.MODIFY if known else p4r.Update.INSERT
                self.write(kind, p4r.MulticastGroupEntry.FromString(old))
            elif known:
                self.write(p4r.Update.DELETE, p4r.MulticastGroupEntry(multicast_group_id=group))

        return put_back

    def read(self, group: int) -> list[bytes]:
        """Serialized MulticastGroupEntry of one group (empty list: no such group), 0 for all."""
        if group == 0:
            return list(self._groups.values())
        found = self._groups.get(group)
        return [] if found is None else [found]


def _parse(
    entry: p4r.MulticastGroupEntry,
) -> tuple[list[tuple[int, int]], p4r.MulticastGroupEntry]:
    group = entry.multicast_group_id
    replicas, copies = parse_replicas(f"multicast group {group}", entry.replicas)
    stored = p4r.MulticastGroupEntry(
        multicast_group_id=group, metadata=entry.metadata, replicas=copies
    )
    return replicas, stored


def parse_replicas(
    where: str, given: Iterable[p4r.Replica]
) -> tuple[list[tuple[int, int]], list[p4r.Replica]]:
    """Pairs of egress port and instance, and the canonical messages. Raises RequestError."""
    replicas: list[tuple[int, int]] = []
    copies: list[p4r.Replica] = []
    seen: set[tuple[int, int]] = set()
    for replica in given:
        kind = replica.WhichOneof("port_kind")
        if kind is None:
            raise invalid(f"{where}: a replica has no port")
        if replica.backup_replicas:
            raise unimplemented(f"{where}: backup replicas are not implemented")
        copy = p4r.Replica(instance=replica.instance)
        if kind == "port":
            port = decode(replica.port, PORT_BITS, f"{where}: port")
            copy.port = encode(port)
        else:
            port = replica.egress_port
            if port >> PORT_BITS:
                raise invalid(f"{where}: egress_port {port} does not fit in {PORT_BITS} bits")
            copy.egress_port = port
        if replica.instance > RID_MAX:
            raise invalid(f"{where}: instance {replica.instance}, expected 0..{RID_MAX}")
        pair = (port, replica.instance)
        if pair in seen:
            raise invalid(f"{where}: two replicas with port {port} and instance {pair[1]}")
        seen.add(pair)
        replicas.append(pair)
        copies.append(copy)
    return replicas, copies
