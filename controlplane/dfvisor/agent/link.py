"""The agent's connection to its switch: connect, become primary, see to the pipeline.

A thin shell. Nothing is cleared that need not be: a switch that runs the same program keeps its
entries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import grpc
import msgspec

from dfvisor.agent.desired import DEFAULTS, INFRASTRUCTURE
from dfvisor.agent.pipeline import Pipeline
from dfvisor.p4rt.client import UPDATES_PER_WRITE, ElectionId, P4RuntimeClient
from dfvisor.p4rt.drops import DropReason, drop_cell
from dfvisor.p4rt.entries import SLICE_TABLES, Changes, Item, TableEntry
from dfvisor.p4rt.errors import NotPrimary, RpcFailed
from dfvisor.p4rt.framing import Framer
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.p4rt.streamed import StreamEvent
from dfvisor.p4rt.updates import Updates

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
NO_ACTION = "NoAction"


class Written(msgspec.Struct, frozen=True, gc=False):
    """What became of one item of a set of changes."""

    item: Item
    deleted: bool
    status: UpdateStatus


class Link:
    """A primary's connection to a switch whose pipeline is ours. Make it with `open_link`."""

    def __init__(self, client: P4RuntimeClient, schema: Schema, *, fresh: bool) -> None:
        self.client = client
        self.schema = schema
        self._framer = Framer(schema)
        self.at_once = True  # as far as known, the switch has DATAPLANE_ATOMIC
        self.fresh = fresh  # the pipeline was pushed just now: all tables are empty

    async def close(self) -> None:
        """End the connection; the switch goes on forwarding."""
        await self.client.close()

    async def read_items(self) -> list[Item]:
        """All that the agent keeps: entries of its tables, default entries that were set, groups,
        clone sessions, configured meters, digest subscriptions.
        """
        items: list[Item] = list(await self.client.read_entries(*INFRASTRUCTURE))
        for table in DEFAULTS:
            default = await self.client.read_default(table)
            if default.action not in ("", NO_ACTION):
                items.append(default)
        items += await self.client.read_multicast()
        items += await self.client.read_clone_sessions()
        items += await self.client.read_meters()
        items += await self.client.read_digests()
        return items

    async def delete_flows(self, unwanted: Callable[[int], bool]) -> list[p4r.Update]:
        """Delete the flow entries of the slice ids that are unwanted; returns the deletions."""
        stale: list[TableEntry] = []
        for found in await self.client.read_entries(*SLICE_TABLES):
            slice_id = found.field("slice_id")
            if slice_id is not None and unwanted(slice_id.value):
                stale.append(found)
        deletions = [self.schema.delete(found) for found in stale]
        if deletions:
            await self.client.write(deletions)
        return deletions

    async def reset_drops(self, slice_ids: Iterable[int]) -> None:
        """Zero the drop counters of slice ids that are given up."""
        cells = [drop_cell(slice_id, reason) for slice_id in slice_ids for reason in DropReason]
        if cells:
            await self.client.write([self._zero("drops", cell) for cell in cells])

    def _zero(self, counter: str, index: int) -> p4r.Update:
        update = p4r.Update(type=p4r.Update.MODIFY)
        cell = update.entity.counter_entry
        cell.counter_id = self.schema.counter(counter).id
        cell.index.index = index
        cell.data.SetInParent()
        return update

    async def carry_out(self, changes: Changes) -> list[Written]:
        """Write the changes in their order, continuing after errors."""
        written: list[Written] = []
        updates = self._updates(changes)
        while part := list(islice(updates, UPDATES_PER_WRITE)):  # others get turns in between
            frames = [frame for _, _, frame in part]
            statuses = await self.client.write_statuses(Updates(b"".join(frames), len(frames)))
            written += [
                Written(item, deleted, status)
                for (item, deleted, _), status in zip(part, statuses, strict=True)
            ]
        return written

    async def write_at_once(self, updates: Sequence[p4r.Update], changes: Changes) -> bool:
        """Write updates and changes between two packets; False, and nothing was done, if the switch
        refuses one of them, or cannot do that (`at_once` is False then).
        """
        frames = [frame for _, _, frame in self._updates(changes)]
        own = Updates(b"".join(frames), len(frames))
        both: Sequence[p4r.Update]
        if isinstance(updates, Updates):  # as most often: nobody need look into them
            both = Updates(updates.data + own.data, len(updates) + len(own))
        else:
            both = [*updates, *own]
        try:
            statuses = await self.client.write_statuses(both, at_once=True)
        except RpcFailed as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            self.at_once = False
            return False
        return not any(status.code for status in statuses)

    def _updates(self, changes: Changes) -> Iterator[tuple[Item, bool, bytes]]:
        """In their order: item, whether it is deleted, update as a field of a WriteRequest."""
        framer = self._framer
        for item in changes.inserts:
            yield item, False, framer.insert(item)
        for item in changes.modifies:
            yield item, False, framer.modify(item)
        for item in changes.deletes:
            yield item, True, framer.delete(item)


async def open_link(
    address: str,
    device_id: int,
    election_id: ElectionId,
    pipeline: Pipeline,
    on_standing: Callable[[bool], None],
    on_event: Callable[[StreamEvent], None] | None = None,
) -> Link:
    """Connect, become primary, and push the pipeline if the switch has another one or none.

    `on_standing` is told whenever this client becomes primary or ceases to be, `on_event` of what
    the switch sends unasked. Raises SwitchUnavailable, NotPrimary or RpcFailed; then nothing stays
    open.
    """
    client = P4RuntimeClient(
        address,
        device_id,
        election_id=election_id,
        schema=pipeline.schema,
        on_standing=on_standing,
        on_event=on_event,
    )
    try:
        await client.connect(CONNECT_TIMEOUT_S)
        try:
            await client.become_primary(CONNECT_TIMEOUT_S)
        except NotPrimary as error:
            highest = client.highest_election_id
            if error.vacant and highest is not None and highest > election_id:
                raise Outranked(highest) from error
            raise
        fresh = await client.get_pipeline_cookie() != pipeline.cookie
        if fresh:
            await _push(client, pipeline)
        return Link(client, pipeline.schema, fresh=fresh)
    except BaseException:
        await client.close()
        raise


class Outranked(NotPrimary):
    """Nobody is primary, but the switch has seen a higher election id than ours."""

    def __init__(self, highest: ElectionId) -> None:
        self.highest = highest
        super().__init__(f"the switch has seen election id {highest}, and nobody is primary")


async def _push(client: P4RuntimeClient, pipeline: Pipeline) -> None:
    old = await client.get_schema()
    if old is not None:
        # BMv2 keeps its groups through a push, but then shows none: copies would double
        stale: list[Item] = [*await client.read_multicast(), *await client.read_clone_sessions()]
        await client.write([old.delete(item) for item in stale])
    await client.set_pipeline(pipeline.schema, pipeline.device_config, pipeline.cookie)
    log.info("%s: pipeline pushed", client.address)
