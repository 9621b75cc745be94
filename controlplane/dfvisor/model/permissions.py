"""Who may do what with a flowspace: whether its readers and its delegation make sense. Pure.

A slice that has a flowspace may give a part of it to another slice: a flowspace `under` its own, of
higher priority, whose packets are all packets of its own. Nobody can give what is not his: between
the two priorities no third slice may have a claim to those packets.
"""

from __future__ import annotations

from collections.abc import Iterator

from dfvisor.model.overlap import box
from dfvisor.model.records import Flowspace, Treatment, VirtualNetwork
from dfvisor.model.space import Space, flowspace_keys
from dfvisor.model.ternary import mirror


def permission_problems(vn: VirtualNetwork, flowspace: Flowspace) -> Iterator[str]:
    """What is wrong with the permissions of a flowspace, as messages."""
    for reader in flowspace.readers:
        found = vn.slices.get(reader)
        if found is None:
            yield f"readers: there is no slice {reader!r}"
        elif found.best_effort:
            yield f"readers: slice {reader} is best effort: it has no controller"
        elif reader == flowspace.slice:
            yield f"readers: slice {reader} has the flowspace itself"
    if flowspace.under is not None:
        yield from _delegation_problems(vn, flowspace, flowspace.under)


def _delegation_problems(vn: VirtualNetwork, part: Flowspace, under: str) -> Iterator[str]:
    whole = vn.flowspaces.get(under)
    if whole is None:
        yield f"under: there is no flowspace {under!r}"
        return
    if whole.slice == part.slice:
        yield f"under: slice {part.slice} has flowspace {under} itself"
    if whole.treatment is Treatment.DENY:
        yield f"under: flowspace {under} denies its packets: there is nothing to delegate"
        return
    if part.priority <= whole.priority:  # so there can be no circle either
        yield f"under: priority {part.priority}, expected above {whole.priority} of {under}"
    space = Space(flowspace_keys(vn, whole))
    for key in flowspace_keys(vn, part):
        masks = tuple((name, mask) for name, (_, mask) in key.items())
        if not space.covers(masks, tuple(value for value, _ in key.values())):
            yield f"under: the match is not within flowspace {under}"
            break
    for other in vn.flowspaces.values():
        if (
            other.name not in (part.name, under)
            and whole.priority < other.priority <= part.priority
            and other.slice not in (whole.slice, part.slice)
            and other.under != under
            and _meet(vn, part, other)
        ):
            yield (
                f"under: it would take packets of flowspace {other.name} of slice {other.slice}, "
                f"which are not slice {whole.slice}'s to give"
            )


def _meet(vn: VirtualNetwork, one: Flowspace, two: Flowspace) -> bool:
    numbers = {name: number for number, name in enumerate(vn.endpoints)}
    boxes = []
    for flowspace in (one, two):
        if flowspace.match.endpoint not in (None, *numbers):
            return False  # said elsewhere
        mine = [box(flowspace.match, numbers)]
        if flowspace.bidirectional:
            mine.append(box(mirror(flowspace.match), numbers))
        boxes.append(mine)
    return any(first.meets(second) for first in boxes[0] for second in boxes[1])
