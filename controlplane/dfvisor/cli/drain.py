"""`dfvctl drain` and `undrain`: the network with a switch or link that carries no more. Pure."""

from __future__ import annotations

from dataclasses import replace

from dfvisor.cli.change import Refused
from dfvisor.model.plain import link_name
from dfvisor.model.records import Network


def drained(network: Network, name: str, wanted: bool) -> Network:
    """`name` is a switch, or a link as `s1:1-s2:1` in either order."""
    fabric = network.fabric
    switch = fabric.switches.get(name)
    if switch is not None:
        switches = {**fabric.switches, name: replace(switch, drained=wanted)}
        return replace(network, fabric=replace(fabric, switches=switches))
    ends = name.split("-")
    names = {name, f"{ends[-1]}-{ends[0]}"}
    known = [link_name(link) for link in fabric.links]
    if not names & set(known):
        every = ", ".join([*fabric.switches, *known])
        raise Refused(f"there is no switch or link {name!r}; there are: {every or 'none'}")
    links = tuple(
        replace(link, drained=wanted) if link_name(link) in names else link for link in fabric.links
    )
    return replace(network, fabric=replace(fabric, links=links))
