"""From counters by number to records by name: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dfvisor.agent.desired import VnPlan
from dfvisor.model.named import differing
from dfvisor.model.records import Endpoint, VirtualNetwork
from dfvisor.model.types import MAX_PORT
from dfvisor.p4rt.cookies import NO_FLOWSPACE, flowspace_cookie
from dfvisor.p4rt.counters import CountedEntry, CounterValue
from dfvisor.p4rt.drops import DropReason, drop_cell
from dfvisor.p4rt.entries import TableEntry
from dfvisor.store.stats import Counter, Drop, PortCounters, SwitchStats

COUNTED_TABLES = ("access_port", "classifier", "slice", "flow", "slice_forward", "bridge")
SPARSE_TABLES = ("classifier", "flow")
"""An entry or more for each flowspace; told are those that have counted something."""
REMADE = 1000  # flowspaces: after a change of more their cookies are found anew when asked for


@dataclass(slots=True)
class Legend:
    """What the switch-local numbers stand for; VNs by name elsewhere. Kept up with `follow`, but
    for the flowspaces of VNs of which none has counted anything: these are found when asked for.
    """

    switch: str = ""
    vns: dict[int, str] = field(default_factory=dict)
    slices: dict[int, tuple[str, str]] = field(default_factory=dict)
    best_effort: dict[str, str] = field(default_factory=dict)
    keys: dict[int, tuple[str, str]] = field(default_factory=dict)
    endpoints: dict[tuple[str, int], str] = field(default_factory=dict)
    ports: dict[tuple[str, int], str] = field(default_factory=dict)
    _plans: dict[str, VnPlan] = field(default_factory=dict)
    _flowspaces: dict[str, dict[int, str]] = field(default_factory=dict)  # by VN, by cookie

    def flowspace(self, vn: str, cookie: int) -> str | None:
        """The flowspace of a present VN that has this cookie."""
        known = self._flowspaces.get(vn)
        if known is None:
            names = self._plans[vn].vn.flowspaces
            known = self._flowspaces[vn] = {flowspace_cookie(vn, name): name for name in names}
        return known.get(cookie)

    def follow(self, plans: Mapping[str, VnPlan]) -> None:
        """The VNs present on the switch from now on; costs what is new of them."""
        changed = [
            (name, self._plans.get(name), plans.get(name))
            for name in {**self._plans, **plans}
            if self._plans.get(name) is not plans.get(name)
        ]
        for name, old, _ in changed:  # first of all: its numbers may be another's now
            if old is not None:
                self._forget_numbers(name, old)
        for name, old, new in changed:
            if new is not None:
                self._add_numbers(name, new)
            self._follow_records(name, old.vn if old else None, new.vn if new else None)
        self._plans = dict(plans)

    def _forget_numbers(self, name: str, plan: VnPlan) -> None:
        self.vns.pop(plan.vn_id, None)
        self.best_effort.pop(name, None)
        for info in plan.slices.values():
            self.slices.pop(info.slice_id, None)
            self.keys.pop(info.key, None)

    def _add_numbers(self, name: str, plan: VnPlan) -> None:
        self.vns[plan.vn_id] = name
        for slice_name, info in plan.slices.items():
            self.slices[info.slice_id] = self.keys[info.key] = (name, slice_name)
            if info.best_effort:
                self.best_effort[name] = slice_name

    def _follow_records(
        self, name: str, old: VirtualNetwork | None, new: VirtualNetwork | None
    ) -> None:
        self._follow_flowspaces(name, old, new)
        self._follow_endpoints(
            name,
            old.endpoints if old is not None else {},
            new.endpoints if new is not None else {},
        )

    def _follow_flowspaces(
        self, name: str, old: VirtualNetwork | None, new: VirtualNetwork | None
    ) -> None:
        known = self._flowspaces.get(name)
        if known is None:
            return
        changed = differing(old.flowspaces, new.flowspaces) if old and new else None
        if changed is None or len(changed) > REMADE:
            del self._flowspaces[name]
            return
        for flowspace, record in changed.items():
            if record is None:
                known.pop(flowspace_cookie(name, flowspace), None)
            else:
                known[flowspace_cookie(name, flowspace)] = flowspace

    def _follow_endpoints(
        self, name: str, old: Mapping[str, Endpoint], new: Mapping[str, Endpoint]
    ) -> None:
        changed = differing(old, new)
        for endpoint in [one for key in changed if (one := old.get(key)) is not None]:
            self.endpoints.pop((name, endpoint.mac.value), None)
            if endpoint.port is not None and endpoint.port.switch == self.switch:
                self.ports.pop((name, endpoint.port.port), None)
        for endpoint in [one for one in changed.values() if one is not None]:
            self.endpoints[name, endpoint.mac.value] = endpoint.name
            if endpoint.port is not None and endpoint.port.switch == self.switch:
                self.ports[name, endpoint.port.port] = endpoint.name


def legend(switch: str, plans: Mapping[str, VnPlan]) -> Legend:
    """The legend of the VNs present on a switch."""
    made = Legend(switch)
    made.follow(plans)
    return made


def drop_cells(plans: Mapping[str, VnPlan]) -> list[int]:
    """The drop counters to read: every reason, for no slice and for each slice here."""
    ids = {0} | {info.slice_id for plan in plans.values() for info in plan.slices.values()}
    return [drop_cell(slice_id, reason) for slice_id in sorted(ids) for reason in DropReason]


def readings(
    switch: str,
    at: float,
    made: Legend,
    entries: Iterable[CountedEntry],
    drops: Mapping[int, CounterValue],
) -> SwitchStats:
    """One reading of a switch; entries whose numbers are not in the legend are left out."""
    sums: dict[tuple[str, str, str, str, int], tuple[int, int]] = {}
    ports: dict[int, CounterValue] = {}
    for counted in entries:
        if counted.entry.table == "access_port":
            port = _field(counted.entry, "port")  # of which each VLAN may have an entry
            if port > MAX_PORT:
                continue  # where probes come in
            so_far = ports.get(port, CounterValue(0, 0))
            ports[port] = CounterValue(
                so_far.packets + counted.counter.packets, so_far.bytes + counted.counter.bytes
            )
        subject = _subject(made, counted.entry)
        if subject is not None:
            packets, bytes_ = sums.get(subject, (0, 0))
            sums[subject] = (packets + counted.counter.packets, bytes_ + counted.counter.bytes)
    return SwitchStats(
        switch=switch,
        at=at,
        counters=tuple(
            Counter(
                table=table,
                vn=vn,
                kind=kind,
                name=name,
                packets=packets,
                bytes=bytes_,
                port=port,
            )
            for (table, vn, kind, name, port), (packets, bytes_) in sorted(sums.items())
        ),
        drops=_drops(made, drops),
        ports=tuple(
            PortCounters(port=port, rx_packets=counter.packets, rx_bytes=counter.bytes)
            for port, counter in sorted(ports.items())
        ),
    )


def _drops(made: Legend, drops: Mapping[int, CounterValue]) -> tuple[Drop, ...]:
    found: list[Drop] = []
    for slice_id, (vn, name) in sorted({**made.slices, 0: ("", "")}.items()):
        for reason in DropReason:
            counter = drops.get(drop_cell(slice_id, reason))
            if counter is not None and counter.packets:
                found.append(
                    Drop(
                        vn=vn,
                        slice=name,
                        reason=reason.label,
                        packets=counter.packets,
                        bytes=counter.bytes,
                    )
                )
    return tuple(found)


def _subject(made: Legend, entry: TableEntry) -> tuple[str, str, str, str, int] | None:
    """Table, VN, kind, name and port of the record that an entry stands for."""
    table = entry.table
    if table == "access_port":
        if entry.action != "set_access":
            return None
        vn = made.vns.get(entry.arg("vn"))
        port = _field(entry, "port")
        name = made.ports.get((vn, port)) if vn else None
        return (table, vn, "endpoint", name, port) if vn and name else None
    if table == "classifier":
        vn = made.vns.get(_field(entry, "vn"))
        if vn is None:
            return None
        at = entry.field("port")
        port = at.value if at else 0
        cookie = entry.arg("cookie")
        if cookie == NO_FLOWSPACE:
            return (table, vn, "best-effort", made.best_effort.get(vn, ""), port)
        return (table, vn, "flowspace", _flowspace(made, vn, cookie), port)
    if table == "slice":
        owner = made.keys.get(_field(entry, "gre_key"))
        return (table, owner[0], "slice", owner[1], 0) if owner else None
    if table == "bridge":
        vn = made.vns.get(_field(entry, "vn"))
        name = made.endpoints.get((vn, _field(entry, "eth_dst"))) if vn else None
        return (table, vn, "endpoint", name, 0) if vn and name else None
    owner = made.slices.get(_field(entry, "slice_id"))
    if owner is None:
        return None
    if table == "flow":
        return (table, owner[0], "flowspace", _flowspace(made, owner[0], entry.arg("cookie")), 0)
    name = made.endpoints.get((owner[0], _field(entry, "eth_dst")))
    return (table, owner[0], "endpoint", name, 0) if name else None


def _flowspace(made: Legend, vn: str, cookie: int) -> str:
    """A controller of a tenant's own may write cookies of its own."""
    return made.flowspace(vn, cookie) or f"cookie {cookie:#x}"


def _field(entry: TableEntry, name: str) -> int:
    match = entry.field(name)
    return match.value if match else 0
