"""`dfvctl status`: which agents live, what each switch has applied, who leads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from dfvisor.cli.links import COLUMNS, link_rows
from dfvisor.cli.output import age, console, table
from dfvisor.cli.wait import Expectation
from dfvisor.model.presence import slices_at
from dfvisor.model.types import PortRef
from dfvisor.store.database import GlobalDatabase, NetworkSnapshot
from dfvisor.store.stats import Active, AgentInfo, Applied, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything that the status is made of, read at one time."""

    snapshot: NetworkSnapshot
    agents: Mapping[str, AgentInfo]
    applied: Mapping[str, Applied]
    heard: Mapping[str, float]
    active: Mapping[str, Active | None]
    owners: Mapping[str, tuple[str, ...]]
    seen: Mapping[str, Seen]
    down: frozenset[PortRef]
    conflicts: Mapping[str, Mapping[str, str]]


async def read_status(db: GlobalDatabase) -> Status:
    snapshot, agents, applied, seen, down = await asyncio.gather(
        db.read_network(), db.read_agents(), db.read_applied(), db.read_seen(), db.read_down()
    )
    switches = snapshot.fabric.fabric.switches.keys() | agents.keys() | applied.keys()
    heard = await db.read_heard(sorted(switches))
    names = [*snapshot.vns, *snapshot.bad]
    active = await asyncio.gather(*(db.read_active(name) for name in names))
    owners = await asyncio.gather(*(db.read_owners(name) for name in names))
    learning = [name for name, found in snapshot.vns.items() if found.vn.learning]
    learned = await asyncio.gather(*(db.read_learned(name) for name in learning))
    return Status(
        snapshot=snapshot,
        agents=agents,
        applied=applied,
        heard=heard,
        active=dict(zip(names, active, strict=True)),
        owners=dict(zip(names, owners, strict=True)),
        seen=seen,
        down=down,
        conflicts={
            name: {mac: text for record in found.values() for mac, text in record.conflicts.items()}
            for name, found in zip(learning, learned, strict=True)
        },
    )


def show_status(status: Status) -> None:
    """Print the tables."""
    fabric = status.snapshot.fabric
    out = console()
    names = sorted(fabric.fabric.switches.keys() | status.agents.keys() | status.applied.keys())
    out.print(
        table(
            f"switches (fabric revision {fabric.revision})",
            (
                "switch",
                "agent",
                "database",
                "target",
                "slicer",
                "pid",
                "fabric",
                "reported",
                "trouble",
            ),
            [_switch_row(name, status) for name in names],
            right=("pid", "fabric"),
        )
    )
    links = list(link_rows(fabric.fabric, status.seen, status.down))
    if links:
        out.print()
        out.print(table("links not as described", COLUMNS, links, right=("failures",)))
    out.print()
    out.print(
        table(
            "virtual networks",
            ("VN", "revision", "active", "age", "leader", "waiting to lead"),
            [_vn_row(name, status) for name in status.active],
            right=("revision", "active"),
        )
    )
    out.print()
    rows = [row for name in status.snapshot.vns for row in _applied_rows(name, status)]
    rows += [row for name in status.snapshot.bad for row in _bad_rows(name, status)]
    out.print(
        table(
            "applied",
            ("VN", "switch", "revision", "flows", "reported", "state"),
            rows,
            right=("revision", "flows"),
        )
    )
    learned = [
        (name, switch, mac, f"{switch}:{port}")
        for switch, applied in sorted(status.applied.items())
        for name, found in sorted(applied.vns.items())
        for mac, port in sorted(found.learned.items())
    ]
    if learned:
        out.print()
        out.print(table("senders that are no endpoint", ("VN", "switch", "MAC", "port"), learned))
    conflicts = [
        (name, mac, text)
        for name, found in sorted(status.conflicts.items())
        for mac, text in sorted(found.items())
    ]
    if conflicts:
        out.print()
        out.print(table("addresses seen twice", ("VN", "MAC", "where"), conflicts))


def _switch_row(name: str, status: Status) -> tuple[object, ...]:
    agent = status.agents.get(name)
    applied = status.applied.get(name)
    known = "" if name in status.snapshot.fabric.fabric.switches else " (not in the fabric)"
    return (
        name + known,
        "live" if agent else "not live",
        database_age(name, status),
        agent.target if agent else None,
        agent.slicer if agent else None,
        agent.pid if agent else None,
        applied.fabric if applied else None,
        age(applied.at) if applied else None,
        (applied.error if applied else None) or "",
    )


def database_age(switch: str, status: Status) -> str:
    """How old what an agent knows of the database can be at most: since it was heard last, over the
    session that tells it of changes.
    """
    return age(status.heard.get(switch, 0.0))


def _vn_row(name: str, status: Status) -> tuple[object, ...]:
    snapshot = status.snapshot.vns.get(name)
    active = status.active.get(name)
    owners = status.owners.get(name, ())
    if snapshot is None:
        return (name, status.snapshot.bad.get(name, "?"), None, None, None, None)
    leader = active.leader if active and active.leader in owners[:1] else None
    return (
        name,
        snapshot.revision,
        active.revision if active else None,
        age(snapshot.time),
        leader,
        ", ".join(owners[1:] if leader else owners),
    )


def _bad_rows(name: str, status: Status) -> list[tuple[object, ...]]:
    """Where a VN is that cannot be read, and what its agents say to it."""
    return [
        (name, switch, found.revision, found.flows, age(found.at), found.error or "last good state")
        for switch, applied in sorted(status.applied.items())
        if (found := applied.vns.get(name)) is not None
    ]


def _applied_rows(name: str, status: Status) -> list[tuple[object, ...]]:
    snapshot = status.snapshot.vns[name]
    present = slices_at(status.snapshot.fabric.fabric, snapshot.vn)
    reporting = {switch for switch, applied in status.applied.items() if name in applied.vns}
    rows: list[tuple[object, ...]] = []
    for switch in sorted(present.keys() | reporting):
        applied = status.applied.get(switch)
        found = applied.vns.get(name) if applied else None
        slices = present.get(switch, frozenset())
        expected = Expectation(
            switch,
            name,
            snapshot.revision,
            flows=any(not snapshot.vn.slices[label].best_effort for label in slices),
            leaving=switch not in present,
        )
        missing = expected.missing(applied)
        state = "ok" if missing is None else missing.split(": ", 2)[2]
        if missing is None and found is not None and found.error is not None:
            state = found.error  # such as a record that was good, and is now outside its grant
        if switch not in status.agents:
            state = "agent not live"
        rows.append(
            (
                name,
                switch,
                found.revision if found else None,
                found.flows if found else None,
                age(found.at) if found else None,
                state,
            )
        )
    return rows
