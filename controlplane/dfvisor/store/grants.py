"""Grants in the global database, and who has which GRE key.

`/grants/<vn>` is the provider's word on a VN. Nobody watches it: `/fabric/grants` says which have
changed lately, so one watch tells a daemon of all, and it reads again only those that it holds.

A GRE key is granted to one VN (`/fabric/keys` lists the granted ranges), or taken by one whose
grant does not limit its keys (`/keys/<key>`, written with the VN's revision). Both are checked
against the other in the transaction that writes them: who takes a key checks the version of the
list, who changes the list checks that of `/keys`, which every taking raises.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from dfvisor.errors import Conflict, StoreUnavailable
from dfvisor.model.granted import clashes, owner_of
from dfvisor.model.grants import Grant, Span
from dfvisor.model.plain import MAX_KEY
from dfvisor.model.records import VirtualNetwork
from dfvisor.model.source import show
from dfvisor.store import layout
from dfvisor.store.codec import decode, decode_grant, encode, encode_grant
from dfvisor.store.contest import Contest
from dfvisor.store.schema import newest
from dfvisor.store.watch import until_connected
from dfvisor.store.zk import (
    BadVersion,
    Check,
    Create,
    Delete,
    NodeExists,
    NoNode,
    Operation,
    Set,
    Stat,
    ZooKeeper,
)

REMEMBERED_GRANTS = 256  # whose last change is listed
REMEMBERED_CHANGES = 16
GRANTS_AT_ONCE = 500  # in one transaction


class GrantLog(msgspec.Struct, frozen=True, kw_only=True):
    """`/fabric/grants`. `changed`: VN -> the revision of this record that last changed its grant;
    changes up to `floor` are no longer listed. `changes` as in a VN's revision.
    """

    revision: int = 0
    floor: int = 0
    changed: dict[str, int] = {}
    changes: tuple[str, ...] = ()
    schema: int = newest("GrantLog")


class GrantedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`/fabric/keys`: the ranges of GRE keys that are granted, by VN."""

    granted: dict[str, tuple[str, ...]] = {}
    schema: int = newest("GrantedKeys")


@dataclass(frozen=True, slots=True)
class Held:
    """A grant and the version of its node."""

    grant: Grant
    version: int


class GrantStore:
    """Reads grants, and holds those it has read; the provider changes them here."""

    def __init__(self, zk: ZooKeeper, *, timeout_s: float = 10.0) -> None:
        self._zk = zk
        self._timeout_s = timeout_s
        self._held: dict[str, Held | None] = {}
        self._seen: int | None = None

    # -- reading

    async def read(self, vn: str, *, fresh: bool = False) -> Held | None:
        """The VN's grant, None where there is none; from what is held unless `fresh`."""
        if fresh or vn not in self._held:
            try:
                data, stat = await self._zk.get(layout.grant(vn))
            except NoNode:
                self._held[vn] = None
            else:
                grant = decode_grant(data, vn, layout.grant(vn))
                self._held[vn] = Held(grant, stat.version)
        return self._held[vn]

    def forget(self, vn: str) -> None:
        self._held.pop(vn, None)

    async def refresh(self) -> frozenset[str]:
        """The VNs whose grants are held here and may have changed; they are read anew next time."""
        log, _ = await self._log()
        if self._seen is None or log.floor > self._seen or log.revision < self._seen:
            found = frozenset(self._held)
        else:
            found = frozenset(
                vn for vn, revision in log.changed.items() if revision > self._seen
            ) & frozenset(self._held)
        self._seen = log.revision
        for vn in found:
            del self._held[vn]
        return found

    async def names(self) -> tuple[str, ...]:
        return tuple(await self._zk.children(layout.GRANTS))

    async def _log(self) -> tuple[GrantLog, Stat]:
        data, stat = await self._zk.get(layout.GRANT_LOG)
        return decode(data, GrantLog, layout.GRANT_LOG), stat

    # -- changing

    async def apply(
        self,
        grants: Mapping[str, Grant | None],
        vns: Mapping[str, tuple[int, VirtualNetwork]],
    ) -> None:
        """Write these grants; None takes one away. `vns` are the VNs as they were read (version of
        the revision's node), as far as they exist.

        A VN keeps a bare grant as long as it exists. Conflict when keys would have two owners, or
        somebody else changes the same at the same time.
        """
        names = sorted(grants)
        for start in range(0, len(names), GRANTS_AT_ONCE):
            batch = {name: grants[name] for name in names[start : start + GRANTS_AT_ONCE]}
            await self._apply(batch, vns)

    async def _apply(
        self,
        grants: Mapping[str, Grant | None],
        vns: Mapping[str, tuple[int, VirtualNetwork]],
    ) -> None:
        change = str(uuid.uuid4())
        contest = Contest(self._timeout_s)
        while await contest.again():
            log, stat = await self._log()
            if change in log.changes:
                return  # the answer was lost
            operations = await self._operations(grants, vns)
            if not operations:
                return
            record = encode(_logged(log, grants, change))
            operations.append(Set(layout.GRANT_LOG, record, stat.version))
            try:
                await self._zk.multi(operations)
            except (BadVersion, NodeExists, NoNode):
                continue
            except StoreUnavailable:
                await until_connected(self._zk, self._timeout_s)
                continue  # looked up above
            for name in grants:
                self.forget(name)
            return
        raise Conflict("the grants, or the networks that they are for, keep changing")

    async def _operations(
        self,
        grants: Mapping[str, Grant | None],
        vns: Mapping[str, tuple[int, VirtualNetwork]],
    ) -> list[Operation]:
        held = await asyncio.gather(*(self.read(name, fresh=True) for name in grants))
        wanted: dict[str, Grant | None] = {}
        operations: list[Operation] = []
        before: dict[str, Grant | None] = {}
        for (name, grant), old in zip(grants.items(), held, strict=True):
            if grant is None and name in vns:
                grant = Grant(vn=name, tenant=vns[name][1].tenant)
            before[name], wanted[name] = old.grant if old else None, grant
            path = layout.grant(name)
            if grant is None:
                operations += [Delete(path, old.version)] if old else []
            elif old is None:
                operations.append(Create(path, encode_grant(grant)))
            elif old.grant != grant:
                operations.append(Set(path, encode_grant(grant), old.version))
        if operations:
            operations += await self._key_operations(before, wanted, vns)
        return operations

    async def _key_operations(
        self,
        before: Mapping[str, Grant | None],
        wanted: Mapping[str, Grant | None],
        vns: Mapping[str, tuple[int, VirtualNetwork]],
    ) -> list[Operation]:
        """Change the list of granted keys, and move keys between it and those taken."""
        if all(_spans(before[name]) == _spans(wanted[name]) for name in wanted):
            return []
        ledger, ledger_stat = await read_ledger(self._zk)
        _, taken = await self._zk.get(layout.KEYS)
        granted = dict(ledger.granted)
        for name, grant in wanted.items():
            spans = _spans(grant)
            if spans is None:
                granted.pop(name, None)
            else:
                granted[name] = tuple(map(str, spans))
        grants = _as_grants(granted)
        for path, message in clashes(grants, {}):
            raise Conflict(f"{show(path)}: {message}")
        operations: list[Operation] = []
        spans_now = _sorted_spans(grants)
        for key, owner in (await _taken_keys(self._zk, spans_now)).items():
            entitled = owner_of(spans_now, key)
            if entitled != owner and await self._zk.exists(layout.revision(owner)) is not None:
                raise Conflict(f"GRE key {key} of {entitled} is that of virtual network {owner}")
            operations.append(Delete(layout.key(key)))
        for name, grant in wanted.items():
            if name in vns and _spans(grant) is None and _spans(before[name]) is not None:
                version, vn = vns[name]
                operations.append(Check(layout.revision(name), version))
                for key in sorted(keys_of(vn)):
                    operations += await _take(self._zk, key, name, creating=True)
            elif name in vns and _spans(before[name]) is None:
                operations.append(Check(layout.revision(name), vns[name][0]))
        record = encode(GrantedKeys(granted=granted))
        operations.append(Set(layout.GRANTED_KEYS, record, ledger_stat.version))
        operations.append(Check(layout.KEYS, taken.version))
        return operations


def _logged(log: GrantLog, names: Iterable[str], change: str) -> GrantLog:
    """The next log; the oldest entries go when it is full."""
    revision = log.revision + 1
    changed = log.changed | dict.fromkeys(names, revision)
    floor = log.floor
    if len(changed) > REMEMBERED_GRANTS:
        kept = sorted(changed.items(), key=lambda item: -item[1])
        floor = kept[REMEMBERED_GRANTS][1]
        changed = {name: at for name, at in kept if at > floor}
    return GrantLog(
        revision=revision,
        floor=floor,
        changed=changed,
        changes=(change, *log.changes)[:REMEMBERED_CHANGES],
    )


def _spans(grant: Grant | None) -> tuple[Span, ...] | None:
    return grant.keys if grant is not None else None


def _as_grants(granted: Mapping[str, Iterable[str]]) -> dict[str, Grant]:
    return {
        name: Grant(vn=name, tenant="", keys=tuple(Span.parse(span, 1, MAX_KEY) for span in spans))
        for name, spans in granted.items()
    }


def _sorted_spans(grants: Mapping[str, Grant]) -> list[tuple[Span, str]]:
    return sorted((span, name) for name, grant in grants.items() for span in grant.keys or ())


# -- keys of VNs whose grant does not limit them


def keys_of(vn: VirtualNetwork | None) -> frozenset[int]:
    """The GRE keys of its slices."""
    return frozenset(slice_.key for slice_ in vn.slices.values()) if vn else frozenset()


async def read_ledger(zk: ZooKeeper) -> tuple[GrantedKeys, Stat]:
    """The granted ranges."""
    data, stat = await zk.get(layout.GRANTED_KEYS)
    return decode(data, GrantedKeys, layout.GRANTED_KEYS), stat


async def _taken_keys(zk: ZooKeeper, spans: Iterable[tuple[Span, str]]) -> dict[int, str]:
    """The taken keys that are in one of these (sorted) ranges, and who has them."""
    ranges = list(spans)
    inside = [
        int(name)
        for name in await zk.children(layout.KEYS)
        if owner_of(ranges, int(name)) is not None
    ]
    found: dict[int, str] = {}
    for key in inside:
        try:
            data, _ = await zk.get(layout.key(key))
        except NoNode:
            continue
        found[key] = data.decode()
    return found


async def take_keys(
    zk: ZooKeeper, old: VirtualNetwork | None, new: VirtualNetwork, held: Held | None
) -> list[Operation]:
    """What belongs into the transaction that makes `new` of `old`; usually nothing.

    Conflict names the owner of a key that is not free.
    """
    before = keys_of(old)
    wanted = keys_of(new)
    if old is not None and before == wanted:
        return []
    operations: list[Operation] = []
    if held is not None:
        operations.append(Check(layout.grant(new.name), held.version))
        if held.grant.keys is not None:
            return operations  # its own; a key outside them is a bad record to every reader
    ledger, stat = await read_ledger(zk)
    _, taken = await zk.get(layout.KEYS)
    spans = _sorted_spans(_as_grants(ledger.granted))
    taking: list[Operation] = []
    for key in sorted(wanted):
        owner = owner_of(spans, key)
        if owner is not None and owner != new.name:
            raise Conflict(f"GRE key {key} is granted to virtual network {owner}")
        taking += await _take(zk, key, new.name, creating=old is None)
    operations += taking
    operations += await give_keys(zk, new.name, before - wanted)
    # a node of somebody else's may go and come, and have the version that it had: then no other
    # taking may come between
    alone = any(isinstance(one, Set) for one in taking)
    operations += [
        Check(layout.GRANTED_KEYS, stat.version),
        Set(layout.KEYS, b"", taken.version if alone else -1),
    ]
    return operations


async def _take(zk: ZooKeeper, key: int, vn: str, *, creating: bool) -> list[Operation]:
    path = layout.key(key)
    try:
        data, stat = await zk.get(path)
    except NoNode:
        return [Create(path, vn.encode())]
    owner = data.decode(errors="replace")
    if owner == vn and not creating:
        return []
    if owner != vn and await zk.exists(layout.revision(owner)) is not None:
        raise Conflict(f"GRE key {key} is that of a slice of virtual network {owner}")
    return [Set(path, vn.encode(), stat.version)]  # left over from a network that is gone


async def give_keys(zk: ZooKeeper, vn: str, keys: Iterable[int]) -> list[Operation]:
    """What frees those of the keys that the VN has taken."""
    operations: list[Operation] = []
    for key in sorted(keys):
        try:
            data, stat = await zk.get(layout.key(key))
        except NoNode:
            continue
        if data == vn.encode():
            operations.append(Delete(layout.key(key), stat.version))
    return operations
