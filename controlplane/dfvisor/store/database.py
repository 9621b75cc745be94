"""The global database, as the rest of the system sees it: records in, records out, "look again".

A facade over the parts of the tree (layout.py): fabric.py, vns.py, owners.py, reports.py. Must not
know what records mean to a switch.

Callbacks run on the event loop, never on kazoo's threads, and mean "look again": they carry no
data, may come more often than there are changes, and come once after every reconnect. Register the
watch first, then read.

Errors: `StoreUnavailable` (no session or no answer in time), `Conflict` (somebody else changed the
same record), `StoreError` (a record in the database that cannot be read).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from dfvisor.errors import Conflict, StoreError, StoreUnavailable
from dfvisor.model.grants import Grant
from dfvisor.model.presence import slices_at
from dfvisor.model.records import Fabric, Network, Tenant, VirtualNetwork
from dfvisor.model.types import PortRef
from dfvisor.store import layout
from dfvisor.store.access import Guard
from dfvisor.store.acl import Access
from dfvisor.store.codec import FabricRevision, encode
from dfvisor.store.credentials import ANONYMOUS, Credentials
from dfvisor.store.fabric import FabricSnapshot, FabricStore
from dfvisor.store.grants import GrantedKeys, GrantLog
from dfvisor.store.history import HistoryEntry
from dfvisor.store.learned import LearnedRecord, LearnedStore
from dfvisor.store.links import LinkStates
from dfvisor.store.owners import Owners, Ownership, raise_epoch, read_epoch
from dfvisor.store.presence import Presence
from dfvisor.store.reports import Reports
from dfvisor.store.revisions import VnSnapshot
from dfvisor.store.stats import Active, AgentInfo, Applied, Seen, SwitchStats
from dfvisor.store.vns import PAGE_GRACE_S, Verify, VnStore
from dfvisor.store.watch import Tasks, Watch, Watches, until_connected
from dfvisor.store.zk import NodeExists, Session, ZooKeeper

__all__ = [
    "FabricSnapshot",
    "GlobalDatabase",
    "HistoryEntry",
    "NetworkSnapshot",
    "Ownership",
    "VnSnapshot",
    "Watch",
]


_VNS_AT_ONCE = 32
_INDEXED = b"1"  # data of /present once every VN is in the index


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSnapshot:
    """Fabric, tenants, grants and every readable VN; `bad` has the reason for each VN that is not.

    `grants` are those that somebody has written: not the bare one that each VN has without.
    """

    fabric: FabricSnapshot
    grants: dict[str, Grant]
    vns: dict[str, VnSnapshot]
    bad: dict[str, str]

    @property
    def network(self) -> Network:
        return Network(
            fabric=self.fabric.fabric,
            tenants=self.fabric.tenants,
            grants=self.grants,
            vns={name: snapshot.vn for name, snapshot in self.vns.items()},
        )


class GlobalDatabase:
    """A session with the global database. Make it with `connect`, end it with `close`."""

    def __init__(
        self,
        zk: ZooKeeper,
        *,
        timeout_s: float = 10.0,
        page_grace_s: float = PAGE_GRACE_S,
        user: str = "",
    ) -> None:
        """Over a started client; `connect` is the usual way."""
        self._zk = zk
        self._tasks = Tasks()
        self._watches = Watches(zk, self._tasks)
        self._fabric = FabricStore(zk, timeout_s=timeout_s)
        self._presence = Presence(zk, self._fabric)
        self._guard = Guard(zk)
        self._vns = VnStore(
            zk,
            self._presence,
            self._guard,
            timeout_s=timeout_s,
            page_grace_s=page_grace_s,
            user=user,
        )
        self._owners = Owners(zk, self._watches, self._presence)
        self._reports = Reports(zk, self._tasks)
        self._links = LinkStates(zk)
        self._learned = LearnedStore(zk)

    @classmethod
    async def connect(
        cls,
        address: str,
        *,
        session_timeout_s: float = 2.0,
        timeout_s: float = 10.0,
        page_grace_s: float = PAGE_GRACE_S,
        user: str = "",
        credentials: Credentials = ANONYMOUS,
    ) -> Self:
        """Open a session at `host:port[,host:port...][/chroot]` and make the fixed nodes.

        `user` is who makes the changes of this session, for the history; `credentials` is as whom
        the server knows it.

        StoreUnavailable when no server answers within `timeout_s`. Afterwards the session is kept
        up (reconnecting for ever) until `close`.
        """
        zk = ZooKeeper(address, session_timeout_s=session_timeout_s, credentials=credentials)
        deadline = asyncio.get_running_loop().time() + timeout_s
        await zk.start(timeout_s)
        found = cls(zk, timeout_s=timeout_s, page_grace_s=page_grace_s, user=user)
        try:
            await found._set_up(deadline)
        except BaseException:
            await found.close()
            raise
        return found

    async def _set_up(self, deadline: float) -> None:
        """See that the tree is complete; again, where the connection is lost in between."""
        while True:
            try:
                await self._guard.load()
                await _make_tree(self._zk)
                await self._make_index()
                return
            except StoreUnavailable:
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    raise
                await until_connected(self._zk, left)

    async def _make_index(self) -> None:
        """In a tree of an older version: put all VNs into the index."""
        data, _ = await self._zk.get(layout.PRESENT)
        if data != _INDEXED:
            await self._correct_presence(await self.read_fabric())
            await self._zk.set(layout.PRESENT, _INDEXED)

    async def close(self) -> None:
        """End the session: ephemeral nodes go at once."""
        await self._tasks.close()
        await self._zk.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        return self._zk.state is Session.CONNECTED

    @property
    def session_id(self) -> int:
        return self._zk.session_id

    def on_session(self, callback: Callable[[bool], None]) -> None:
        """Call back with True after reconnecting, False when the connection goes."""
        before = self.connected

        def changed(state: Session) -> None:
            nonlocal before
            if before != (before := state is Session.CONNECTED):
                callback(before)

        self._zk.listen(changed)

    async def sync(self) -> None:
        """Make the following reads see everything committed before now."""
        await self._zk.sync()

    # -- provider's part

    async def read_fabric(self) -> FabricSnapshot:
        """Switches, links and tenants of one revision."""
        return await self._fabric.read()

    async def apply_fabric(
        self, base: FabricSnapshot, fabric: Fabric, tenants: Mapping[str, Tenant]
    ) -> FabricSnapshot:
        """Replace the provider's part; Conflict when no longer at `base`. No-op when equal.

        Afterwards the index of VNs by switch is what the new fabric makes it.
        """
        written = await self._fabric.apply(base, fabric, tenants)
        if self._guard.closed and fabric.switches.keys() != base.fabric.switches.keys():
            await self._guard.place_switches(fabric.switches)
        if written.fabric != base.fabric:
            await self._correct_presence(written)
        return written

    async def _correct_presence(self, fabric: FabricSnapshot) -> None:
        """A VN leaves switches that its QoS slices may pass when its leader says so, whenever there
        is one: until it has led packets away, they need what is there.
        """

        async def correct(name: str) -> None:
            try:
                snapshot = await self.read_vn(name)
                if snapshot is not None:
                    qos = any(not one.best_effort for one in snapshot.vn.slices.values())
                    await self._presence.set(name, slices_at(fabric.fabric, snapshot.vn), keep=qos)
            except Conflict:
                return  # deleted meanwhile
            except StoreUnavailable:
                raise
            except StoreError:
                return  # a bad record: it is where it was

        names = await self.vn_names()
        await _in_turns(correct, names)

    async def read_epoch(self) -> int:
        """Raised whenever the database is restored from a copy; 0 before that."""
        return await read_epoch(self._zk)

    async def raise_epoch(self, at_least: int = 0) -> int:
        """Begin another epoch, of this number or a higher one; returns it."""
        return await raise_epoch(self._zk, at_least)

    async def watch_fabric(self, callback: Callable[[], None]) -> Watch:
        """Look again at `read_fabric`."""
        return await self._watches.node(layout.FABRIC_REVISION, callback)

    # -- virtual networks

    async def vn_names(self) -> tuple[str, ...]:
        """Names of the VNs, sorted; one whose first revision is being staged may be among them."""
        return await self._vns.names()

    async def read_vn(
        self, name: str, watch: Callable[[], None] | None = None
    ) -> VnSnapshot | None:
        """The VN at its newest revision, or None. Reads only the pages not yet held.

        `watch` is called once when it changes or goes, if there is one now; not after the
        connection has gone meanwhile.
        """
        return await self._vns.read(name, watch)

    async def read_network(self) -> NetworkSnapshot:
        """Everything that a description can say, each VN at its newest revision."""
        fabric = await self.read_fabric()
        vns: dict[str, VnSnapshot] = {}
        bad: dict[str, str] = {}

        async def read(name: str) -> None:
            try:
                snapshot = await self.read_vn(name)
            except StoreUnavailable:
                raise
            except StoreError as error:
                bad[name] = str(error)
            else:
                if snapshot is not None:
                    vns[name] = snapshot

        names = await self.vn_names()
        await _in_turns(read, names)
        grants: dict[str, Grant] = {}

        async def read_grant(name: str) -> None:
            try:
                held = await self._vns.grants.read(name)
            except StoreUnavailable:
                raise
            except StoreError as error:
                bad.setdefault(name, str(error))
            else:
                if held is not None and not (held.grant.bare and name in vns):
                    grants[name] = held.grant

        await _in_turns(read_grant, await self._vns.grants.names())
        return NetworkSnapshot(
            fabric=fabric,
            grants=dict(sorted(grants.items())),
            vns=dict(sorted(vns.items())),
            bad=bad,
        )

    async def apply(
        self,
        base: VnSnapshot | None,
        vn: VirtualNetwork,
        *,
        verify: Verify | None = None,
        activate: bool = False,
        why: str = "",
        at_least: int = 0,
    ) -> VnSnapshot:
        """Make `vn` the VN's next revision; `base` is what it was derived from (None: a new VN).

        A concurrent change of other records is merged, and `verify` may refuse the result by
        raising; one of the same record, or an existing VN where `base` is None, is a Conflict.
        No-op (same revision) when nothing differs. After a lost connection the outcome is looked
        up; StoreUnavailable when it could not be.

        `activate`: the revision takes effect at once. Otherwise it does so if there are no flow
        entries to prepare for it; else when the VN's leader says so by `activate`. `why` is for the
        history. `at_least` makes it a revision of this number or a higher one, even if nothing
        differs.
        """
        return await self._vns.apply(base, vn, verify, activate, why, at_least)

    async def delete_vn(self, base: VnSnapshot, why: str = "") -> None:
        """Delete the VN. Conflict when it has changed since `base`."""
        await self._vns.delete(base, why)

    async def delete_unreadable_vn(self, name: str, why: str = "") -> None:
        """Delete a VN that cannot be read, whatever it holds."""
        await self._vns.delete_unreadable(name, why)

    async def read_history(self, vn: str) -> tuple[HistoryEntry, ...]:
        """Who made the VN's revisions, when and why, the oldest first. It is bounded; all revisions
        before a deletion are forgotten.
        """
        return await self._vns.entries(vn)

    async def read_revision(self, vn: str, revision: int) -> VirtualNetwork:
        """The VN as it was; StoreError if that revision is not kept."""
        return await self._vns.at(vn, revision)

    async def watch_vns(self, callback: Callable[[], None]) -> Watch:
        """Look again at `vn_names`."""
        return await self._watches.children(layout.VNS, callback)

    async def watch_vn(self, name: str, callback: Callable[[], None]) -> Watch:
        """Look again at `read_vn(name)`; also when the VN comes or goes."""
        return await self._watches.node(layout.revision(name), callback)

    # -- grants

    async def apply_grants(self, base: NetworkSnapshot, grants: Mapping[str, Grant | None]) -> None:
        """Write these grants, None: take the VN's grant away. Conflict when two VNs would have the
        same GRE key, or the VNs concerned have changed since `base`.
        """
        versions = {name: (found.version, found.vn) for name, found in base.vns.items()}
        await self._vns.grants.apply(grants, versions)

    async def changed_grants(self) -> frozenset[str]:
        """VNs read here whose grants may have changed since the last call: read them again."""
        return await self._vns.grants.refresh()

    async def watch_grants(self, callback: Callable[[], None]) -> Watch:
        """Look again at `changed_grants`."""
        return await self._watches.node(layout.GRANT_LOG, callback)

    # -- which VNs are present at a switch

    async def read_present(
        self, switch: str, watch: Callable[[], None] | None = None
    ) -> tuple[str, ...]:
        """VNs that are present at a switch, sorted. `watch` is called once if one comes or goes."""
        return await self._presence.at(switch, watch)

    async def set_presence(self, vn: str, switches: Collection[str], *, keep: bool = False) -> None:
        """Say that the VN is present at these switches, if it is not known yet; Conflict when there
        is no such VN. Whoever changes a VN sets this with it, whoever changes the fabric for all:
        so this is for who finds it wrong. `keep`: it stays where else it is.
        """
        await self._presence.set(vn, switches, keep=keep)

    # -- who may do what

    async def read_access(self) -> Access | None:
        """Who is who; None where the tree is open to all."""
        return await self._guard.read()

    async def close_tree(self, access: Access) -> int:
        """Give every node its access control list, for the first time or anew; returns how many
        there are. StoreError when these credentials would be shut out.
        """
        fabric = await self.read_fabric()
        return await self._guard.close(access, fabric.fabric.switches, self._vns.grants)

    # -- leaders

    async def contend(self, vn: str, name: str, callback: Callable[[], None]) -> Ownership:
        """Stand for leading `vn`; `callback` when `is_leader` or `lost` may have changed."""
        return await self._owners.contend(vn, name, callback)

    async def claim(self, ownership: Ownership) -> Active:
        """As the leader, write name and election id to `active`; Conflict when not the leader."""
        return await self._owners.claim(ownership)

    async def activate(self, ownership: Ownership, revision: int, *, moved: bool = True) -> Active:
        """As the leader, say that the revision may take effect: all that it needs is prepared.
        `moved` False: it is at the switches where that before was.

        Returns what `active` is then (perhaps of a later revision); Conflict when not the leader.
        """
        return await self._owners.activate(ownership, revision, moved)

    async def read_active(self, vn: str, watch: Callable[[], None] | None = None) -> Active | None:
        """Activated revision and leader; None where there is no such VN.

        `watch` as in `read_vn`.
        """
        return await self._vns.active(vn, watch)

    async def watch_active(self, vn: str, callback: Callable[[], None]) -> Watch:
        """Look again at `read_active`."""
        return await self._watches.node(layout.active(vn), callback)

    async def read_owners(self, vn: str) -> tuple[str, ...]:
        """Display names of the contenders, the leader first."""
        return await self._owners.names(vn)

    # -- links

    async def read_down(self) -> frozenset[PortRef]:
        """Fabric ports whose link its agent finds down; `model.links.usable` makes use of them."""
        return await self._links.down()

    async def watch_down(self, callback: Callable[[], None]) -> Watch:
        """Look again at `read_down`."""
        return await self._watches.children(layout.DOWN, callback)

    async def report_down(self, switch: str, ports: Collection[int]) -> None:
        """As the agent of the switch: these of its ports are down, and no others."""
        await self._links.report(switch, ports)

    async def publish_seen(self, switch: str, record: Seen) -> None:
        """Say what the switch's agent finds at its fabric ports."""
        await self._reports.publish_seen(switch, record)

    async def read_seen(self) -> dict[str, Seen]:
        """By switch; also of agents that are no longer live."""
        return await self._reports.seen()

    # -- learned hosts

    async def publish_learned(self, vn: str, switch: str, record: LearnedRecord) -> None:
        """As the agent of the switch: the hosts of a VN that were seen at its ports."""
        await self._learned.publish(vn, switch, record)

    async def read_learned(
        self, vn: str, watch: Callable[[], None] | None = None
    ) -> Mapping[str, LearnedRecord]:
        """The hosts of a VN by switch. `watch` as in `read_vn`."""
        return await self._learned.read(vn, watch)

    async def watch_learned(self, vn: str, callback: Callable[[], None]) -> Watch:
        """Look again at `read_learned`."""
        path = f"{layout.LEARNED}/{vn}"
        await self._zk.ensure(path)
        return await self._watches.children(path, callback)

    # -- reports

    async def register_agent(self, switch: str, info: AgentInfo) -> None:
        """Announce the agent as live; kept up across reconnects and new sessions until `close`."""
        await self._reports.register(switch, info)

    async def read_agents(self) -> dict[str, AgentInfo]:
        """Live agents by switch."""
        return await self._reports.agents()

    async def watch_agents(self, callback: Callable[[], None]) -> Watch:
        """Look again at `read_agents`."""
        return await self._reports.watch_agents(self._watches, callback)

    async def publish_applied(self, switch: str, record: Applied) -> None:
        """Say what the switch's agent has applied."""
        await self._reports.publish_applied(switch, record)

    async def read_applied(self, switches: Collection[str] | None = None) -> dict[str, Applied]:
        """By switch, of all or of these; also of agents that are no longer live."""
        return await self._reports.applied(switches)

    async def read_heard(self, switches: Collection[str]) -> dict[str, float]:
        """When each of these agents last wrote something here, in seconds since the epoch."""
        return await self._reports.heard(switches)

    async def publish_stats(self, stats: SwitchStats) -> None:
        """Push a reading of the switch's counters."""
        await self._reports.publish_stats(stats)

    async def read_stats(self, switch: str) -> SwitchStats | None:
        """The last reading pushed, in one piece; None where there never was one."""
        return await self._reports.stats(switch)


async def _in_turns(work: Callable[[str], Awaitable[None]], names: Sequence[str]) -> None:
    """Some at a time: thousands of requests at once would wait for each other beyond their time."""
    for start in range(0, len(names), _VNS_AT_ONCE):
        await asyncio.gather(*map(work, names[start : start + _VNS_AT_ONCE]))


async def _make_tree(zk: ZooKeeper) -> None:
    """Make the fixed nodes that are missing. Each is looked at: another session may be half-way
    through making them, and who goes on without one would watch a node that is not there.
    """
    found = await asyncio.gather(*(zk.exists(path) for path in layout.FIXED))
    for path, stat in zip(layout.FIXED, found, strict=True):
        if stat is None:
            await zk.ensure(path)
    for path, record in (
        (layout.FABRIC_REVISION, encode(FabricRevision(revision=0, changes=()))),
        (layout.GRANT_LOG, encode(GrantLog())),
        (layout.GRANTED_KEYS, encode(GrantedKeys())),
    ):
        if await zk.exists(path) is None:
            with contextlib.suppress(NodeExists):  # somebody else set up the tree at this moment
                await zk.create(path, record)
