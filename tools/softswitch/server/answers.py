"""Read answers: rows of a pipeline's state as ReadResponse messages of a bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from softswitch.server.meters import put_config, put_counts
from softswitch.server.pb import p4r
from softswitch.server.tables import Row

_Item = TypeVar("_Item")

ENTITIES_PER_MESSAGE = 512
"""Entities in one ReadResponse: some tens of kilobytes, well below clients' 4 MiB limit."""


def put_table_entry(response: p4r.ReadResponse, row: Row) -> None:
    """Append one TableEntry."""
    entry = response.entities.add().table_entry
    entry.MergeFromString(row.encoded)
    if row.counter is not None:
        packets, bytes_ = row.counter
        entry.counter_data.SetInParent()
        entry.counter_data.packet_count = packets
        entry.counter_data.byte_count = bytes_
    if row.idle_ns is not None:
        entry.time_since_last_hit.SetInParent()
        entry.time_since_last_hit.elapsed_ns = row.idle_ns
    if row.meter is not None:
        put_config(row.meter, entry.meter_config)
    if row.counts is not None:
        put_counts(row.counts, entry.meter_counter_data)


def put_direct_counter(response: p4r.ReadResponse, row: Row) -> None:
    """Append one DirectCounterEntry."""
    entry = response.entities.add().direct_counter_entry
    entry.table_entry.MergeFromString(row.encoded)
    if row.counter is not None:
        packets, bytes_ = row.counter
        entry.data.SetInParent()
        entry.data.packet_count = packets
        entry.data.byte_count = bytes_


def put_direct_meter(response: p4r.ReadResponse, row: Row) -> None:
    """Append one DirectMeterEntry."""
    entry = response.entities.add().direct_meter_entry
    entry.table_entry.MergeFromString(row.encoded)
    if row.meter is not None:
        put_config(row.meter, entry.config)
    if row.counts is not None:
        put_counts(row.counts, entry.counter_data)


def put_group(response: p4r.ReadResponse, encoded: bytes) -> None:
    """Append one MulticastGroupEntry."""
    entry = response.entities.add().packet_replication_engine_entry.multicast_group_entry
    entry.MergeFromString(encoded)


def put_clone_session(response: p4r.ReadResponse, encoded: bytes) -> None:
    """Append one CloneSessionEntry."""
    entry = response.entities.add().packet_replication_engine_entry.clone_session_entry
    entry.MergeFromString(encoded)


def put_member(response: p4r.ReadResponse, message: p4r.ActionProfileMember) -> None:
    """Append one ActionProfileMember."""
    response.entities.add().action_profile_member.CopyFrom(message)


def put_profile_group(response: p4r.ReadResponse, message: p4r.ActionProfileGroup) -> None:
    """Append one ActionProfileGroup."""
    response.entities.add().action_profile_group.CopyFrom(message)


def put_digest(response: p4r.ReadResponse, message: p4r.DigestEntry) -> None:
    """Append one DigestEntry."""
    response.entities.add().digest_entry.CopyFrom(message)


def messages(
    rows: Iterable[_Item], put: Callable[[p4r.ReadResponse, _Item], None]
) -> Iterator[p4r.ReadResponse]:
    """The rows, each put into a message by `put`, ENTITIES_PER_MESSAGE at a time."""
    response = p4r.ReadResponse()
    for row in rows:
        put(response, row)
        if len(response.entities) >= ENTITIES_PER_MESSAGE:
            yield response
            response = p4r.ReadResponse()
    if response.entities:
        yield response


def packed(parts: Iterable[p4r.ReadResponse]) -> Iterator[p4r.ReadResponse]:
    """The same entities in the same order, in fewer messages: many cells in each."""
    pending: p4r.ReadResponse | None = None
    for message in parts:
        if pending is None:
            pending = message
        elif len(pending.entities) + len(message.entities) <= ENTITIES_PER_MESSAGE:
            pending.entities.extend(message.entities)
        else:
            yield pending
            pending = message
    if pending is not None:
        yield pending
