"""What a change does, record by record: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dfvisor.model.plain import link_name
from dfvisor.model.records import Network, VirtualNetwork
from dfvisor.store.codec import settings_of


class Outcome(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Line:
    """`record` as people name it: `slice red/gold`."""

    record: str
    outcome: Outcome


def fabric_lines(old: Network, new: Network) -> list[Line]:
    """The provider's records."""
    return [
        *_compare("switch", old.fabric.switches, new.fabric.switches),
        *_compare(
            "link",
            {link_name(link): link for link in old.fabric.links},
            {link_name(link): link for link in new.fabric.links},
        ),
        *_compare("peer", old.fabric.peers, new.fabric.peers),
        *_compare("tenant", old.tenants, new.tenants),
    ]


def grant_lines(old: Network, new: Network) -> list[Line]:
    """What virtual networks may ask for."""
    return _compare("grant", old.grants, new.grants)


def vn_lines(old: VirtualNetwork | None, new: VirtualNetwork) -> list[Line]:
    """The VN's own record and those in it."""
    before = old or VirtualNetwork(name=new.name, tenant="")
    if old is None:
        outcome = Outcome.CREATED
    elif settings_of(old) != settings_of(new):
        outcome = Outcome.CHANGED
    else:
        outcome = Outcome.UNCHANGED
    lines = [Line(f"vn {new.name}", outcome)]
    prefix = f"{new.name}/"
    lines += _compare("profile", before.profiles, new.profiles, prefix)
    lines += _compare("slice", before.slices, new.slices, prefix)
    lines += _compare("endpoint", before.endpoints, new.endpoints, prefix)
    lines += _compare("flowspace", before.flowspaces, new.flowspaces, prefix)
    return lines


def _compare(
    kind: str, old: Mapping[str, object], new: Mapping[str, object], prefix: str = ""
) -> list[Line]:
    lines = []
    for name, record in new.items():
        if name not in old:
            outcome = Outcome.CREATED
        elif old[name] != record:
            outcome = Outcome.CHANGED
        else:
            outcome = Outcome.UNCHANGED
        lines.append(Line(f"{kind} {prefix}{name}", outcome))
    lines += [Line(f"{kind} {prefix}{n}", Outcome.DELETED) for n in old if n not in new]
    return lines
