"""The global database, as the rest of the system sees it: records in, records out, "look again".

Owns the layout of the ZooKeeper tree (layout.py) and the way a change is made: pages are staged,
then one transaction that checks the version of the VN's revision sets the revision and `active`.
Must not know what records mean to a switch.

Callbacks run on the event loop, never on kazoo's threads, and mean "look again": they carry no
data, may come more often than there are changes, and come once after every reconnect. Register the
watch first, then read.

Errors: `StoreUnavailable` (no session or no answer in time), `Conflict` (somebody else changed the
same record), `StoreError` (a record in the database that cannot be read).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from dfvisor.model.records import Fabric, Network, Tenant, VirtualNetwork
from dfvisor.store.stats import Active, AgentInfo, Applied, SwitchStats


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricSnapshot:
    """The provider's part at one `revision` (0: nothing written yet; +1 with every change)."""

    revision: int
    fabric: Fabric
    tenants: dict[str, Tenant]


@dataclass(frozen=True, slots=True, kw_only=True)
class VnSnapshot:
    """A VN at one revision. `zxid` orders revisions of all VNs; `time` is seconds since the epoch."""

    revision: int
    vn: VirtualNetwork
    zxid: int
    time: float
    version: int  # of the revision node: what a change checks
    change: str  # uuid of the change that made this revision


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSnapshot:
    """Fabric, tenants and every readable VN; `bad` has the reason for each VN that is not."""

    fabric: FabricSnapshot
    vns: dict[str, VnSnapshot]
    bad: dict[str, str]

    @property
    def network(self) -> Network: ...


class Watch:
    """A standing watch; `cancel` ends it."""

    def cancel(self) -> None: ...


class Ownership:
    """A candidacy for leading one VN: an ephemeral sequential node under `/owners/<vn>`.

    The lowest node leads. Lost with the session: then `lost` is True and the VN must be contended
    for anew.
    """

    vn: str
    name: str  # display name of the contender
    czxid: int  # of the owner node: the election id to present

    @property
    def is_leader(self) -> bool:
        """True only while connected and lowest, as far as last seen."""
        ...

    @property
    def lost(self) -> bool: ...

    async def release(self) -> None: ...


class GlobalDatabase:
    """A session with the global database. Make it with `connect`, end it with `close`."""

    @classmethod
    async def connect(
        cls, address: str, *, session_timeout_s: float = 2.0, timeout_s: float = 10.0
    ) -> Self:
        """Open a session at `host:port[,host:port...]/chroot` and make the fixed nodes."""
        ...

    async def close(self) -> None: ...

    @property
    def connected(self) -> bool: ...

    def on_session(self, callback: Callable[[bool], None]) -> None:
        """Call back with True after (re)connecting, False when the connection is suspended or
        lost.
        """

    async def sync(self) -> None:
        """Make the following reads see everything committed before now."""

    # -- provider's part

    async def read_fabric(self) -> FabricSnapshot: ...

    async def apply_fabric(
        self, base: FabricSnapshot, fabric: Fabric, tenants: dict[str, Tenant]
    ) -> FabricSnapshot:
        """Replace the provider's part; Conflict when it is no longer at `base`. No-op when equal."""
        ...

    async def watch_fabric(self, callback: Callable[[], None]) -> Watch: ...

    # -- virtual networks

    async def vn_names(self) -> tuple[str, ...]:
        """Names of the VNs that exist, sorted (one whose first revision is being staged may be
        among them).
        """
        ...

    async def read_vn(self, name: str) -> VnSnapshot | None:
        """The VN at its newest revision, None where there is none. Reads only pages not yet held."""
        ...

    async def read_network(self) -> NetworkSnapshot: ...

    async def apply(self, base: VnSnapshot | None, vn: VirtualNetwork) -> VnSnapshot:
        """Make `vn` the VN's next revision; `base` is what it was derived from (None: a new VN).

        A concurrent change of other records is merged; of the same record, or an existing VN where
        `base` is None, it is a Conflict. No-op (same revision) when nothing differs.
        """
        ...

    async def delete_vn(self, base: VnSnapshot) -> None:
        """Delete the VN. Conflict when it has changed since `base`."""

    async def watch_vns(self, callback: Callable[[], None]) -> Watch:
        """Look again at `vn_names`."""
        ...

    async def watch_vn(self, name: str, callback: Callable[[], None]) -> Watch:
        """Look again at `read_vn(name)`; also when the VN comes or goes."""
        ...

    # -- leaders

    async def contend(self, vn: str, name: str, callback: Callable[[], None]) -> Ownership:
        """Stand for leading `vn`; `callback` when `is_leader` or `lost` may have changed."""
        ...

    async def claim(self, ownership: Ownership) -> None:
        """As the leader, write name and election id to `active`; Conflict when no longer the
        leader.
        """

    async def read_active(self, vn: str) -> Active | None: ...

    async def watch_active(self, vn: str, callback: Callable[[], None]) -> Watch: ...

    async def read_owners(self, vn: str) -> tuple[str, ...]:
        """Display names of the contenders, the leader first."""
        ...

    # -- reports

    async def register_agent(self, switch: str, info: AgentInfo) -> None:
        """Announce the agent as live; kept up across reconnects and new sessions until `close`."""

    async def read_agents(self) -> dict[str, AgentInfo]:
        """Live agents by switch."""
        ...

    async def watch_agents(self, callback: Callable[[], None]) -> Watch:
        """Look again at `read_agents`."""
        ...

    async def publish_applied(self, switch: str, record: Applied) -> None: ...

    async def read_applied(self) -> dict[str, Applied]:
        """By switch."""
        ...

    async def publish_stats(self, stats: SwitchStats) -> None: ...

    async def read_stats(self, switch: str) -> SwitchStats | None: ...
