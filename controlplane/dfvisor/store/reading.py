"""Reading VNs from the global database: the newest revision, by the pages that are not held yet,
and earlier ones out of the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from dfvisor.errors import StoreError
from dfvisor.model.grants import Grant
from dfvisor.model.records import VirtualNetwork
from dfvisor.store import layout
from dfvisor.store.codec import (
    Key,
    Manifest,
    Record,
    Reference,
    Revision,
    assemble,
    decode,
    decode_page,
    settings_in,
)
from dfvisor.store.deltas import changed, from_delta, since
from dfvisor.store.grants import GrantStore
from dfvisor.store.history import HistoryEntry, HistoryStore, not_kept
from dfvisor.store.pages import digest
from dfvisor.store.revisions import Pages, VnSnapshot, descends, snapshot_of, with_records
from dfvisor.store.stats import Active
from dfvisor.store.zk import Callback, NoNode, Stat, ZooKeeper

_READS_AT_ONCE = 64


class VnReader:
    """Holds the newest revision and decoded pages of the VNs that it has read."""

    def __init__(self, zk: ZooKeeper, grants: GrantStore, history: HistoryStore) -> None:
        self._zk = zk
        self.grants = grants
        self.history = history
        self._held: dict[str, VnSnapshot] = {}
        self._pages: dict[str, Pages] = {}
        self.pages_read = 0

    async def names(self) -> tuple[str, ...]:
        return tuple(await self._zk.children(layout.VNS))

    async def read(self, name: str, watch: Callback | None = None) -> VnSnapshot | None:
        """The newest revision; reads only the pages that are not held yet, and none if the deltas
        in the revision node reach back to what is held.
        """
        path = layout.revision(name)
        missing, seen = NoNode(""), 0
        while True:
            try:
                data, stat = await self._zk.get(path, watch)
            except NoNode:
                self.forget(name)
                return None
            if stat.mzxid == seen:
                break  # it is still the newest revision, and lacks a page
            record = decode(data, Revision, path)
            try:
                self._held[name] = await self._make(name, record, stat)
            except NoNode as error:
                missing, seen = error, stat.mzxid  # of an older revision, and collected meanwhile?
                continue
            return self._held[name]
        what = "the revision names a page that does not exist"
        if str(missing).startswith(f"{layout.grant(name)}:"):
            what = "the provider has not granted this network"
        raise StoreError(f"{missing}: bad record: {what}")

    async def _grant(self, name: str, record: Revision) -> Grant:
        """The VN's grant; NoNode when it has none. One that is held may be of the time before the
        VN was given to another tenant, or made anew.
        """
        held = await self.grants.read(name)
        if held is None or held.grant.tenant != record.tenant:
            held = await self.grants.read(name, fresh=True)
        if held is None:
            raise NoNode(f"{layout.grant(name)}: NoNode")
        return held.grant

    def forget(self, name: str) -> None:
        """Hold nothing of the VN any more."""
        self.grants.forget(name)
        self._held.pop(name, None)
        self._pages.pop(name, None)

    async def _make(self, name: str, record: Revision, stat: Stat) -> VnSnapshot:
        path = layout.revision(name)
        settings = settings_in(name, record, path)
        grant = await self._grant(name, record)
        held = self._held.get(name)
        change = None
        if held is not None and descends(record, held):
            change = since(record, held.revision, path)
        if held is not None and change is not None:
            vn = changed(with_records(settings, held.vn), change)
            return replace(
                snapshot_of(record, vn, stat, grant),
                zxid=stat.mzxid if change else held.zxid,
                time=stat.mtime if change else held.time,
                since=held.revision,
                touched=frozenset(change),
            )
        pages = await self._read_pages(name, record)
        later = since(record, record.paged, path)
        if later is None:
            raise StoreError(
                f"{path}: bad record: changes since revision {record.paged} are missing"
            )
        base = held.vn if held is not None else None
        return snapshot_of(record, assemble(settings, _records(pages), later, base), stat, grant)

    async def _read_pages(self, name: str, record: Revision) -> Pages:
        """The pages of the revision; those held are not read again."""
        references = await self._references(name, record)
        held = dict(self._pages.get(name, {}).values())
        wanted = [reference for reference in references.values() if reference not in held]
        for start in range(0, len(wanted), _READS_AT_ONCE):
            batch = wanted[start : start + _READS_AT_ONCE]
            pages = await asyncio.gather(*(self._read_page(name, *ref) for ref in batch))
            held.update(zip(batch, pages, strict=True))
        self._pages[name] = {prefix: (ref, held[ref]) for prefix, ref in references.items()}
        return self._pages[name]

    async def _references(self, name: str, record: Revision) -> dict[str, Reference]:
        if record.manifest is None:
            return record.pages
        node, content = record.manifest
        data = await self._read_node(name, node, content)
        return decode(data, Manifest, layout.page(name, node)).pages

    async def _read_page(self, name: str, node: str, content: str) -> dict[Key, Record]:
        data = await self._read_node(name, node, content)
        return decode_page(data, layout.page(name, node))

    async def _read_node(self, name: str, node: str, content: str) -> bytes:
        path = layout.page(name, node)
        data, _ = await self._zk.get(path)
        self.pages_read += 1
        if digest(data) != content:
            raise StoreError(f"{path}: bad record: its content is not what the revision says")
        return data

    async def active(self, name: str, watch: Callback | None = None) -> Active | None:
        path = layout.active(name)
        try:
            data, _ = await self._zk.get(path, watch)
        except NoNode:
            return None
        return decode(data, Active, path)

    # -- earlier revisions

    async def entries(self, name: str) -> tuple[HistoryEntry, ...]:
        """What is kept of the VN's history, the oldest first."""
        return await self.history.entries(name)

    async def at(self, name: str, revision: int) -> VirtualNetwork:
        """The VN as it was; StoreError if that revision is not kept."""
        last = (await self.history.record(name, revision)).record
        path = layout.history_of(name, revision)
        try:
            pages = {
                prefix: (reference, await self._read_page(name, *reference))
                for prefix, reference in (await self._references(name, last)).items()
            }
        except NoNode as error:  # trimmed since, and its pages collected
            raise not_kept(name, revision) from error
        vn = assemble(settings_in(name, last, path), _records(pages))
        for number in range(last.paged + 1, revision + 1):
            entry = await self.history.record(name, number)
            if entry.delta is None:
                raise StoreError(f"{path}: bad record: revision {number} has no changes")
            vn = changed(vn, from_delta(entry.delta, layout.history_of(name, number)))
        return vn


def _records(pages: Pages) -> Iterator[tuple[Key, Record]]:
    return chain.from_iterable(page.items() for _, page in pages.values())
