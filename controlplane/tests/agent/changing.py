"""Changes of networks, for the agent's tests."""

from __future__ import annotations

import dataclasses

from dfvisor.model.records import Network, VirtualNetwork
from dfvisor.store.database import VnSnapshot

from .rig import Rig


def without_vn(network: Network, name: str) -> Network:
    return dataclasses.replace(
        network, vns={vn: record for vn, record in network.vns.items() if vn != name}
    )


def with_vn(network: Network, vn: VirtualNetwork) -> Network:
    return dataclasses.replace(network, vns={**network.vns, vn.name: vn})


def without_slice(vn: VirtualNetwork, name: str) -> VirtualNetwork:
    return dataclasses.replace(
        vn,
        slices={key: one for key, one in vn.slices.items() if key != name},
        flowspaces={key: one for key, one in vn.flowspaces.items() if one.slice != name},
    )


async def snapshot(rig: Rig, vn: str) -> VnSnapshot:
    assert rig.database is not None
    found = await rig.database.read_vn(vn)
    assert found is not None
    return found


async def change(rig: Rig, vn: VirtualNetwork) -> int:
    """Write another revision of a VN; returns its number."""
    assert rig.database is not None
    return (await rig.database.apply(await snapshot(rig, vn.name), vn)).revision
