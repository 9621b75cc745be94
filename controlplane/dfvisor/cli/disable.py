"""`dfvctl disable` and `enable`: the network with a slice that does not run for now. Pure."""

from __future__ import annotations

from dataclasses import replace

from dfvisor.cli.change import Refused
from dfvisor.model.records import Network


def disabled(network: Network, vn_name: str, name: str, wanted: bool) -> Network:
    """Slice `name` of a VN, disabled or not."""
    vn = network.vns.get(vn_name)
    if vn is None or name not in vn.slices:
        known = [f"{one.name}/{slice_}" for one in network.vns.values() for slice_ in one.slices]
        raise Refused(
            f"there is no slice {vn_name}/{name}; there are: {', '.join(known) or 'none'}"
        )
    slices = {**vn.slices, name: replace(vn.slices[name], disabled=wanted)}
    return replace(network, vns=network.vns | {vn_name: replace(vn, slices=slices)})
