"""What the agent and the slicer beside it are to each other. Both live in one process and event
loop.

The agent gives the slicer a `SliceDirectory` (what exists here, by which numbers) and a
`SwitchPort` (the agent's own stream to the switch, on which it is primary). The slicer gives the
agent a `Slicer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from dfvisor.model.space import Space
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.streamed import PacketOut, StreamEvent

NEIGHBOUR = 0x10000
"""Virtual next hops: 1..509 is a local access port, NEIGHBOUR + device id a switch over a link."""


class SliceInfo(NamedTuple):
    """A slice as this switch knows it: GRE key, and local slice id 1..4095."""

    key: int
    slice_id: int
    best_effort: bool


class Fence(NamedTuple):
    """An election id: the database's epoch, and the czxid of the leader's owner node."""

    epoch: int
    czxid: int

    @property
    def election_id(self) -> int:
        return self.epoch << 64 | self.czxid


ANYONE = Fence(-1, -1)
"""The fence of a VN whose database names no leaders: P4Runtime's arbitration alone decides."""


class AccessVlans(NamedTuple):
    """The VLAN ids of a VN's endpoints on a port, and of the others' there; None is untagged, or
    any tag that is nobody else's.
    """

    own: frozenset[int | None]
    others: frozenset[int | None]

    def allows(self, vlan: int | None) -> bool:
        """Whether a frame with this outermost VLAN id is the VN's own."""
        if vlan in self.own:
            return True
        return vlan is not None and None in self.own and vlan not in self.others


class UpdateStatus(NamedTuple):
    """What became of one update: `code` is a number of `google.rpc.Code`, 0 is OK."""

    code: int = 0
    message: str = ""


class SliceDirectory(Protocol):
    """What the agent knows of the VNs present on its switch. Lookups are in memory."""

    def vns(self) -> Sequence[str]:
        """Names of the VNs held, sorted."""
        ...

    def revision(self, vn: str) -> int | None:
        """The revision whose infrastructure entries are on the switch; None: VN not present."""
        ...

    def slices_of(self, vn: str) -> Mapping[str, SliceInfo]:
        """The VN's slices by name, best effort included; empty for a VN not present."""
        ...

    def slice_id(self, vn: str, slice_name: str) -> int | None:
        """The local id of a slice, None where there is none."""
        ...

    def slice_by_id(self, slice_id: int) -> tuple[str, str] | None:
        """VN and name of the slice with this local id; None if there is none."""
        ...

    def vn_by_id(self, vn_id: int) -> str | None:
        """The VN with this number in the switch; None if there is none."""
        ...

    def writer(self, vn: str, slice_name: str) -> str | None:
        """The one role that may write the slice's entries; None: `vn/<vn>` while it has a primary,
        otherwise `slice/<vn>/<slice>`.
        """
        ...

    def entry_quota(self, vn: str, slice_name: str) -> int | None:
        """How many entries the slice may have here in each table; None: as many as there are."""
        ...

    def space(self, vn: str, slice_name: str) -> Space:
        """What the slice's flow entries may match."""
        ...

    def readable(self, vn: str, slice_name: str) -> Sequence[tuple[str, Space]]:
        """Other slices of the VN whose entries, within a space, the slice may read."""
        ...

    def tenant(self, vn: str) -> str | None:
        """Whose the VN is; None for a VN not present."""
        ...

    def fence(self, vn: str) -> Fence | None:
        """The one election id that role `vn/<vn>` may present; None: not known yet."""
        ...

    def next_hops(self, vn: str) -> Sequence[int]:
        """The virtual next hops that the VN may use, sorted."""
        ...

    def access_vlans(self, vn: str, port: int) -> AccessVlans | None:
        """How the VN's frames are told apart on a port here; None if it has no endpoint there."""
        ...

    def virtual_port(self, vn: str, port: int) -> int:
        """The virtual next hop of a port of the switch: the VN's own access port, or the neighbour
        behind it; 0 for any other.
        """
        ...

    def on_change(self, changed: Callable[[str], None]) -> None:
        """Call this with the name of a VN whenever something of it has changed."""
        ...

    def next_hop_id(self, vn: str, virtual: int) -> int | None:
        """The id in table `next_hop` of a virtual next hop; None if the VN may not use it.

        Allowed are the access ports of the VN's own endpoints here, and every neighbour switch.
        """
        ...

    def virtual_next_hop(self, vn: str, next_hop: int) -> int | None:
        """The inverse of `next_hop_id`; None for an id that is none of the VN's."""
        ...

    async def wait_for_revision(self, vn: str, revision: int, timeout_s: float) -> bool:
        """True once `revision(vn) >= revision`, False after the timeout; also for a VN not held."""
        ...

    async def wait_for_active(self, vn: str, revision: int, timeout_s: float) -> bool:
        """True once the revision, or a later one, has taken effect on the switch; as above."""
        ...

    def activate(self, vn: str, revision: int) -> None:
        """The VN's leader says that the revision may take effect: all that it needs is prepared on
        every switch. The database says so, too, a moment later.
        """
        ...

    def flows_written(self, vn: str, revision: int) -> None:
        """Flow entries of the revision are in the switch."""
        ...

    def flows_completed(
        self, vn: str, revision: int, *, hold: bool = False, fabric: int | None = None
    ) -> None:
        """The VN's controller has completed its flow entries of this revision on this switch, along
        the ways of this revision of the fabric (None: it does not say). `hold`: packets may still
        take ways of earlier states.
        """
        ...


class SwitchPort(Protocol):
    """The agent's own connection to its switch, on which it is primary. No role, no translation."""

    async def write(
        self,
        updates: Sequence[p4r.Update],
        *,
        at_once: bool = False,
        activating: tuple[str, int] | None = None,
    ) -> list[UpdateStatus]:
        """Carry out the updates, continuing after errors; one status per update, in their order.

        `at_once`: all of them between two packets, or none (DATAPLANE_ATOMIC); from a switch that
        has no such thing RpcFailed with UNIMPLEMENTED. `activating`: with them the VN of that name
        has all that it needs for that revision, so it may take effect with them; whether it does
        is not told, and `SliceDirectory.activate` is to be called all the same. Raises
        SwitchUnavailable (or NotPrimary) when the switch is away: the outcome is then unknown, and
        the agent calls `Slicer.replay` once the switch is back.
        """
        ...

    async def read(self, request: p4r.ReadRequest) -> list[p4r.Entity]:
        """All entities of all answers. The request's device id and role are filled in."""
        ...

    def send_packet(self, packet: PacketOut) -> None:
        """Give the switch a packet; SwitchUnavailable while it is away."""
        ...


class Slicer(Protocol):
    """What the agent asks of the slicer."""

    async def start(self, address: str) -> str:
        """Fill the mirror from the switch, then serve at `host:port` (port 0: any); the bound
        address.
        """
        ...

    async def replay(self) -> None:
        """Make `flow` and `slice_forward` of the switch equal to the mirror: it has restarted."""
        ...

    async def drop_slice(self, slice_id: int) -> None:
        """Forget a slice and delete its entries from the switch; its id may be given to another."""
        ...

    def event(self, event: StreamEvent) -> None:
        """Something that the switch has sent unasked. Returns at once."""
        ...

    def stats(self) -> Mapping[str, Mapping[str, int]]:
        """What was done, delayed, refused and dropped so far, by role and kind."""
        ...

    async def stop(self) -> None: ...
