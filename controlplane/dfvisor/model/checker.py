"""The checks of validate.py for a VN that is read again and again: pure.

After a change of endpoints and flowspaces alone only these are looked at, and what is near them.
Everything else is checked as a whole, and so is what does not look well: `validate` says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Address, IPv6Address

from dfvisor.errors import Problem
from dfvisor.model.changes import Changed
from dfvisor.model.named import content, differing
from dfvisor.model.overlap import Overlaps
from dfvisor.model.permissions import permission_problems
from dfvisor.model.records import Endpoint, Fabric, Flowspace, Slice, Treatment, VirtualNetwork
from dfvisor.model.types import PortRef
from dfvisor.model.validate import PORT_PROTOCOLS, match_problems

Whole = Callable[[VirtualNetwork], list[Problem]]
"""The checks of a whole VN."""


class Checker:
    """Remembers the last VN without a problem; one for each VN."""

    def __init__(self) -> None:
        self._good: VirtualNetwork | None = None
        self._context: object = None
        self._index: _Index | None = None

    def problems(
        self,
        vn: VirtualNetwork,
        changed: Changed | None,
        fabric: Fabric,
        context: object,
        whole: Whole,
    ) -> list[Problem]:
        """Every problem of the VN, as `whole` finds them. `changed` is what differs, at most, from
        the VN of the last call (None: not known); `context` is the same object as then if nothing
        else that `whole` looks at, such as the fabric, differs.
        """
        good, self._good = self._good, None
        known = good is not None and self._index is not None and context is self._context
        if known and changed is not None and not changed.structure:
            assert good is not None and self._index is not None
            if self._index.follow(good, vn, changed):
                self._good = vn
                return []
        self._index = None
        found = whole(vn)
        if not found:
            self._good, self._context, self._index = vn, context, _Index(vn, fabric)
        return found


class _Index:
    """What a VN without problems holds, by what may not be there twice."""

    def __init__(self, vn: VirtualNetwork, fabric: Fabric) -> None:
        self._fabric = fabric
        self._fabric_ports = {end for link in fabric.links for end in (link.a, link.b)}
        self._fabric_ports |= {peer.port for peer in fabric.peers.values()}
        self._flowspaces = dict(vn.flowspaces)  # looking at a former VN is dear
        self._overlaps = Overlaps(self._flowspaces.values())
        self._entrances = Counter(
            one.match.endpoint
            for one in self._flowspaces.values()
            if one.match.endpoint is not None
        )
        self._parts = sum(one.under is not None for one in self._flowspaces.values())
        self._macs: set[int] = set()
        self._ips: set[IPv4Address | IPv6Address] = set()
        self._ports: set[PortRef] = set()
        self._homes: Counter[str | None] = Counter()
        for endpoint in vn.endpoints.values():
            self._add(endpoint)

    def follow(self, good: VirtualNetwork, vn: VirtualNetwork, changed: Changed) -> bool:
        """Whether the VN is without problem, too. After False the index is of no more use."""
        gone = [good.endpoints[name] for name in changed.endpoints if name in good.endpoints]
        come = [vn.endpoints[name] for name in changed.endpoints if name in vn.endpoints]
        for endpoint in gone:
            self._discard(endpoint)
        for endpoint in come:
            if not self._fits(endpoint):
                return False
            self._add(endpoint)
        return self._follow_flowspaces(good, vn) and all(
            not self._entrances[name]
            or (name in vn.endpoints and vn.endpoints[name].port is not None)
            for name in changed.endpoints
        )

    # -- endpoints

    def _add(self, endpoint: Endpoint) -> None:
        self._macs.add(endpoint.mac.value)
        self._ips.update(endpoint.ips)
        if endpoint.port is not None:
            self._ports.add(endpoint.port)
        self._homes[self._fabric.home(endpoint)] += 1

    def _discard(self, endpoint: Endpoint) -> None:
        self._macs.discard(endpoint.mac.value)
        self._ips.difference_update(endpoint.ips)
        if endpoint.port is not None:
            self._ports.discard(endpoint.port)
        self._homes[self._fabric.home(endpoint)] -= 1

    def _fits(self, endpoint: Endpoint) -> bool:
        """Whether one more endpoint is well, and no path to it need be looked for."""
        mac, port = endpoint.mac, endpoint.port
        home = self._fabric.home(endpoint)
        return (
            home is not None
            and self._homes[home] > 0
            and mac.value != 0
            and not mac.multicast
            and mac.value not in self._macs
            and self._new_ips(endpoint.ips)
            and (port is None or (port not in self._ports and port not in self._fabric_ports))
        )

    def _new_ips(self, ips: Collection[IPv4Address | IPv6Address]) -> bool:
        return (
            len(set(ips)) == len(ips)
            and self._ips.isdisjoint(ips)
            and not any(ip.is_multicast or ip.is_unspecified for ip in ips)
        )

    # -- flowspaces

    def _follow_flowspaces(self, good: VirtualNetwork, vn: VirtualNetwork) -> bool:
        changed = differing(good.flowspaces, vn.flowspaces)
        if changed and self._parts:
            return False  # each part of another has to be looked at in view of all
        known, slices = self._flowspaces, content(vn.slices)
        gone = [known.pop(name) for name in known.keys() & changed.keys()]
        for old in gone:
            if old.match.endpoint is not None:
                self._entrances[old.match.endpoint] -= 1
        come = [one for one in changed.values() if one is not None]
        known.update({one.name: one for one in come})
        self._overlaps.discard(gone)
        return all(
            _is_plain(one, slices) or self._is_well(vn, one, slices) for one in come
        ) and self._overlaps.extend(come)

    def _is_well(
        self, vn: VirtualNetwork, flowspace: Flowspace, slices: Mapping[str, Slice]
    ) -> bool:
        slice_ = slices.get(flowspace.slice)
        if slice_ is None or match_problems(flowspace):
            return False
        if flowspace.under is not None:
            return False
        if flowspace.readers and any(permission_problems(vn, flowspace)):
            return False
        if flowspace.treatment is Treatment.TO_CONTROLLER and slice_.best_effort:
            return False
        entrance = flowspace.match.endpoint
        if entrance is not None:
            endpoint = vn.endpoints.get(entrance)
            if endpoint is None or endpoint.port is None or flowspace.bidirectional:
                return False
            self._entrances[entrance] += 1
        return True


def _is_plain(flowspace: Flowspace, slices: Mapping[str, Slice]) -> bool:
    """Whether it is one of those of which there are very many, and well; others may be, too."""
    match = flowspace.match
    return (
        flowspace.slice in slices
        and flowspace.under is None
        and not flowspace.readers
        and flowspace.treatment is Treatment.PERMIT
        and match.endpoint is None
        and match.ip_proto in PORT_PROTOCOLS
        and match.eth_type is None
        and match.ipv6_src is None
        and match.ipv6_dst is None
        and match.fragment is None
        and match.tcp_flags is None
    )
