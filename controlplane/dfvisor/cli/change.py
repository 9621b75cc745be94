"""Planning and writing a change: what apply and delete have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dfvisor.errors import DescriptionError, DFVisorError, Problem
from dfvisor.model.description import Description, check
from dfvisor.model.grants import Grant
from dfvisor.model.records import Network, VirtualNetwork
from dfvisor.model.validate import validate
from dfvisor.store.database import GlobalDatabase, NetworkSnapshot


@dataclass(slots=True)
class Written:
    """What was written: revisions to wait for, and where each VN was before."""

    fabric: int | None = None
    vns: dict[str, int] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    before: dict[str, VirtualNetwork] = field(default_factory=dict)


def plan_description(snapshot: NetworkSnapshot, description: Description) -> Network:
    """The network with the description in it; DescriptionError lists everything against it."""
    bad = [
        Problem(path=f"vns.{name}", message=f"cannot be read from the database: {reason}")
        for name, reason in snapshot.bad.items()
        if name in description.vns
    ]
    network, problems = check(snapshot.network, description)
    found = bad + new_problems(snapshot.network, problems)
    if found:
        raise DescriptionError(found, description.source)
    return network


def new_problems(old: Network, problems: Iterable[Problem]) -> list[Problem]:
    """Without those that the database had already: a bad VN must not stop changes of others."""
    problems = list(problems)
    if not problems:
        return []
    known = {(problem.path, problem.message) for problem in validate(old)}
    return [p for p in problems if p.line or (p.path, p.message) not in known]


def plan_network(snapshot: NetworkSnapshot, network: Network) -> None:
    """DescriptionError when the network wanted has problems that the old one has not."""
    found = new_problems(snapshot.network, validate(network))
    if found:
        raise DescriptionError(found)


async def write_fabric(db: GlobalDatabase, snapshot: NetworkSnapshot, network: Network) -> int:
    """Write the provider's part; its revision."""
    written = await db.apply_fabric(snapshot.fabric, network.fabric, network.tenants)
    return written.revision


async def write_grants(db: GlobalDatabase, snapshot: NetworkSnapshot, network: Network) -> None:
    """Write the grants that differ, and take away those that are gone."""
    changed: dict[str, Grant | None] = {
        name: grant for name, grant in network.grants.items() if snapshot.grants.get(name) != grant
    }
    changed |= {name: None for name in snapshot.grants if name not in network.grants}
    await db.apply_grants(snapshot, changed)


async def write_vn(
    db: GlobalDatabase, snapshot: NetworkSnapshot, network: Network, name: str, why: str = ""
) -> int:
    """Write a VN; its revision. A concurrent change is merged if the result is valid."""

    def verify(merged: VirtualNetwork) -> None:
        plan_network(
            snapshot,
            Network(
                fabric=network.fabric,
                tenants=network.tenants,
                grants=network.grants,
                vns=network.vns | {merged.name: merged},
            ),
        )

    written = await db.apply(snapshot.vns.get(name), network.vns[name], verify=verify, why=why)
    return written.revision


class Refused(DFVisorError):
    """The command was understood and will not be done; the message says why."""
