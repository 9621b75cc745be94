"""Deleting VNs from the global database: all that is theirs goes in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.store import layout
from dfvisor.store.codec import Retired, Revision, decode, encode
from dfvisor.store.contest import Contest
from dfvisor.store.grants import GrantStore, give_keys, keys_of
from dfvisor.store.history import HistoryStore
from dfvisor.store.presence import Presence
from dfvisor.store.revisions import VnSnapshot, still_there
from dfvisor.store.watch import until_connected
from dfvisor.store.zk import (
    BadVersion,
    Create,
    Delete,
    NodeExists,
    NoNode,
    NotEmpty,
    Operation,
    Set,
    Stat,
    ZooKeeper,
)

_FASTER = (BadVersion, NodeExists, NoNode, NotEmpty)


class _State(StrEnum):
    THERE = "there"
    CHANGED = "changed"
    DELETED = "deleted"


class Deletion:
    """Deletes VNs; what it lists first may change until the transaction: then it lists again."""

    def __init__(
        self,
        zk: ZooKeeper,
        presence: Presence,
        grants: GrantStore,
        history: HistoryStore,
        *,
        timeout_s: float,
        user: str,
    ) -> None:
        self._zk = zk
        self._presence = presence
        self._grants = grants
        self._history = history
        self._timeout_s = timeout_s
        self._user = user

    async def delete(self, base: VnSnapshot, why: str) -> None:
        """The VN at `base`; Conflict when it has changed since."""
        name, keys = base.vn.name, keys_of(base.vn)
        checks = still_there(name, base.manifest)
        await self._contend(name, base.version, base.manifest, checks, keys, why)

    async def delete_unreadable(self, name: str, why: str) -> None:
        """Whatever it holds; Conflict when there is none."""
        try:
            data, stat = await self._zk.get(layout.revision(name))
        except NoNode as error:
            raise Conflict(f"there is no virtual network {name}") from error
        try:
            last = decode(data, Revision, layout.revision(name))
        except StoreError:
            # no revision number can be higher: each took a transaction
            last = Revision(
                revision=stat.mzxid, origin="", changes=(), tenant="", unknown_unicast="drop"
            )
        await self._contend(name, stat.version, last, [], frozenset(), why)

    async def _contend(
        self,
        name: str,
        version: int,
        last: Revision,
        checks: Sequence[Operation],
        keys: frozenset[int],
        why: str,
    ) -> None:
        contest = Contest(self._timeout_s)
        lost = False
        while await contest.again():
            try:
                if lost:
                    await until_connected(self._zk, self._timeout_s)
                found = await self._find(name, version, last, checks) if lost else _State.THERE
                if found is _State.THERE:
                    await self._delete(name, version, last, [*checks], keys, why)
                    return
            except _FASTER as error:
                found = await self._find(name, version, last, checks)
                if found is not _State.THERE and not lost:
                    raise Conflict(
                        f"virtual network {name} was {found} by somebody else"
                    ) from error
            except StoreUnavailable:
                if lost:
                    raise
                lost = True
                continue
            if found is _State.DELETED:
                return  # by the attempt whose answer was lost, as far as anybody can tell
            if found is _State.CHANGED:
                raise Conflict(f"virtual network {name} was changed by somebody else")
            # else something of it was in the way that is listed anew: a page staged or collected
        raise Conflict(f"virtual network {name} keeps changing; {contest.attempts} attempts failed")

    async def _find(
        self, name: str, version: int, last: Revision, checks: Sequence[Operation]
    ) -> _State:
        """What has become of the VN that was to be deleted."""
        stat = await self._zk.exists(layout.revision(name))
        if stat is None:
            return _State.DELETED
        found = [await self._zk.exists(check.path) for check in checks]
        if stat.version == version and None not in found:
            return _State.THERE
        if await self._zk.exists(layout.history_end(name, last.revision)) is not None:
            return _State.DELETED  # and made anew
        return _State.CHANGED

    async def _delete(
        self,
        name: str,
        version: int,
        last: Revision,
        checks: Sequence[Operation],
        keys: frozenset[int],
        why: str,
    ) -> None:
        _, retired_stat = await read_retired(self._zk, name)
        nodes = await self._zk.children(layout.pages(name))
        grant = await self._bare_grant(name)
        await self._zk.multi(
            [
                Delete(layout.revision(name), version),
                *checks,
                *await give_keys(self._zk, name, keys),
                *(Delete(layout.page(name, node)) for node in nodes),
                Delete(layout.pages(name)),
                Delete(layout.active(name)),
                *await self._presence.deleted(name),
                Delete(layout.vn(name)),
                *grant,
                *await self._history.end(name, last, self._user, why),
                *retire(name, retired_stat, last.revision),
            ]
        )

    async def _bare_grant(self, name: str) -> list[Operation]:
        """What deletes a grant that nobody has written; the provider's own stay."""
        try:
            held = await self._grants.read(name, fresh=True)
        except StoreUnavailable:
            raise
        except StoreError:
            return [Delete(layout.grant(name))]  # unreadable: nothing to stay
        return [Delete(layout.grant(name), held.version)] if held and held.grant.bare else []


async def read_retired(zk: ZooKeeper, name: str) -> tuple[Retired, Stat | None]:
    """The last revision number used before the VN was deleted."""
    try:
        data, stat = await zk.get(layout.retired(name))
    except NoNode:
        return Retired(revision=0), None
    return decode(data, Retired, layout.retired(name)), stat


def retire(name: str, stat: Stat | None, revision: int) -> list[Operation]:
    """Write the last revision number; two creations or deletions at once cannot both pass."""
    data = encode(Retired(revision=revision))
    if stat is None:
        return [Create(layout.retired(name), data)]
    return [Set(layout.retired(name), data, stat.version)]
