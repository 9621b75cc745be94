"""Flow entries when an agent starts: those of slices that are gone go, and those that an empty
switch has lost come back. They are the controllers', who may not be able to come.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from dfvisor.agent.desired import VnPlan
from dfvisor.agent.flows import slice_of
from dfvisor.agent.link import Link
from dfvisor.agent.saver import Saver
from dfvisor.p4rt.pb import p4r
from dfvisor.store.local import LocalDatabase

log = logging.getLogger(__name__)


def _known(plans: Mapping[str, VnPlan]) -> frozenset[int]:
    """Ids of the slices that have flow entries."""
    return frozenset(
        info.slice_id
        for plan in plans.values()
        for info in plan.slices.values()
        if not info.best_effort
    )


async def forget_strangers(link: Link, plans: Mapping[str, VnPlan], saver: Saver) -> None:
    """Before the slicer starts: delete flow entries of slices that went while nobody looked."""
    known = _known(plans)
    deleted = await link.delete_flows(lambda slice_id: slice_id not in known)
    if deleted:
        saver.flows(deleted)
        log.info("deleted %d flow entries of slices that are gone", len(deleted))


async def restore_flows(link: Link, plans: Mapping[str, VnPlan], local: LocalDatabase) -> None:
    """Give a switch that started empty the flow entries that it had."""
    known = _known(plans)
    entities = [p4r.Entity.FromString(held) for held in local.load_flows()]
    updates = [
        p4r.Update(type=p4r.Update.INSERT, entity=entity)
        for entity in entities
        if slice_of(link.schema.decode(entity)) in known
    ]
    if updates:
        statuses = await link.client.write_statuses(updates)
        taken = sum(1 for status in statuses if status.code == 0)
        log.info("restored %d of %d flow entries", taken, len(entities))
