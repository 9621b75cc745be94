"""A VN with the hosts that its switches have learned, which get flow entries as endpoints do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from dfvisor.model.learned import settle, with_hosts
from dfvisor.store.database import GlobalDatabase, VnSnapshot, Watch
from dfvisor.store.learned import claims


class LearnedHosts:
    """Of one VN; `look` is called when they may have changed. Holds one watch while it learns."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._watch: Watch | None = None

    async def added_to(
        self, snapshot: VnSnapshot | None, database: GlobalDatabase
    ) -> VnSnapshot | None:
        """The snapshot with an endpoint for each learned host; another set of hosts makes it
        another change.
        """
        if snapshot is None or not snapshot.vn.learning:
            self.cancel()
            return snapshot
        if self._watch is None:
            self._watch = await database.watch_learned(snapshot.vn.name, self._look)
        records = await database.read_learned(snapshot.vn.name)
        hosts = settle({switch: claims(record) for switch, record in records.items()})
        vn = with_hosts(snapshot.vn, hosts)
        if vn is snapshot.vn:
            return snapshot
        added = sorted(
            (name, str(one.port))
            for name, one in vn.endpoints.items()
            if name not in snapshot.vn.endpoints
        )
        mark = hashlib.blake2s(repr(added).encode(), digest_size=8).hexdigest()
        return replace(snapshot, vn=vn, change=f"{snapshot.change}+{mark}", since=0, touched=None)

    def cancel(self) -> None:
        """Watch no longer."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
