"""Writing a revision of a VN, its pages and what belongs to it: in one transaction if it fits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dfvisor.errors import Conflict, StoreError
from dfvisor.store import layout
from dfvisor.store.zk import Check, Create, Operation, Stat, ZooKeeper

MAX_MULTI_BYTES = 900_000  # a server closes the connection on a request over about 1 MB
MAX_NODE_BYTES = 900_000
_BATCHES_AT_ONCE = 4


async def commit(
    zk: ZooKeeper,
    name: str,
    new: bool,
    staged: Mapping[str, bytes],
    operations: Sequence[Operation],
) -> Stat:
    """Everything in one transaction if it fits, else the pages first. The first operation is
    that on the revision node; returns its metadata.
    """
    creates = [Create(layout.page(name, node), data) for node, data in staged.items()]
    for create in creates:
        if len(create.data) > MAX_NODE_BYTES:
            raise StoreError(
                f"{create.path}: {len(create.data)} bytes are more than a node can hold"
            )
    parents = [Create(layout.vn(name)), Create(layout.pages(name))]
    if new and await zk.exists(layout.vn(name)) is not None:
        parents = []  # left over from a creation that did not finish
    before: list[Operation] = [*parents] if new else []
    if _size([*before, *creates, *operations]) > MAX_MULTI_BYTES:
        if before:
            await zk.multi(before)
        batches = list(_batches(creates))
        for start in range(0, len(batches), _BATCHES_AT_ONCE):
            some = batches[start : start + _BATCHES_AT_ONCE]
            await asyncio.gather(*(zk.multi(batch) for batch in some))
        before = [Check(create.path, 0) for create in creates]  # not collected meanwhile
        creates = []
    before += creates
    stats = await zk.multi([*before, *operations])
    stat = stats[len(before)]
    if stat is None:
        stat = await zk.exists(layout.revision(name))
        if stat is None:
            raise Conflict(f"virtual network {name} was deleted by somebody else")
        # somebody else may have changed it already: this is about what was made
        stat = replace(stat, version=0, mzxid=stat.czxid, mtime=stat.ctime)
    return stat


def _size(operations: Iterable[Operation]) -> int:
    return sum(
        len(operation.path) + 64 + len(getattr(operation, "data", b"")) for operation in operations
    )


def _batches(creates: Sequence[Create]) -> Iterable[list[Operation]]:
    batch: list[Operation] = []
    for create in creates:
        if batch and _size([*batch, create]) > MAX_MULTI_BYTES:
            yield batch
            batch = []
        batch.append(create)
    if batch:
        yield batch
