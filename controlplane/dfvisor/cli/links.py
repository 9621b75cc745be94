"""Fabric ports at which not all is as described: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime

from dfvisor.model.records import Fabric
from dfvisor.model.types import PortRef
from dfvisor.store.stats import PortSeen, Seen

COLUMNS = ("port", "described", "seen", "state", "failures")
Row = tuple[object, ...]


def link_rows(fabric: Fabric, seen: Mapping[str, Seen], down: Collection[PortRef]) -> Iterator[Row]:
    """The ports that are down or held back, have failed, or have another neighbour than described,
    in order.
    """
    described: dict[PortRef, PortRef | None] = {}
    for link in fabric.links:
        described[link.a], described[link.b] = link.b, link.a
    ports = {
        PortRef(switch, port): state
        for switch, record in seen.items()
        if switch in fabric.switches
        for port, state in record.ports.items()
    }
    for port in sorted(ports.keys() | (described.keys() & set(down))):
        far, state = described.get(port), ports.get(port, PortSeen())
        wrong = [name for name in state.neighbours if name != str(far)]
        reported = port in down
        if not wrong and not reported and not state.failures:
            continue
        yield (
            str(port),
            str(far) if far else None,
            ", ".join(state.neighbours) or None,
            _state(state, far, wrong, reported=reported),
            state.failures,
        )


def _state(state: PortSeen, far: PortRef | None, wrong: list[str], *, reported: bool) -> str:
    if wrong and str(far) not in state.neighbours:
        return "cabled otherwise" if far else "cabled, but not described"
    if wrong:
        return "several neighbours"
    if state.held_until:
        at = datetime.fromtimestamp(state.held_until, UTC)
        return f"works again, held back until {at:%H:%M:%S} UTC"
    return "down" if reported else "up"
