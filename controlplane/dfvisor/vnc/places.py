"""Where a VN's endpoints are: pure bookkeeping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dfvisor.model.records import Fabric, VirtualNetwork
from dfvisor.model.types import PortRef


class Places:
    """`ports`: access port by MAC. `foreign`: MACs behind foreign peers. `homes`: the switches
    where frames to endpoints leave the fabric.
    """

    def __init__(self) -> None:
        self.ports: dict[int, PortRef] = {}
        self.foreign: set[int] = set()
        self._homes: dict[str, set[str]] = {}
        self._known: dict[str, tuple[int, str]] = {}  # MAC and home by endpoint

    @property
    def homes(self) -> frozenset[str]:
        return frozenset(self._homes)

    def follow(
        self, fabric: Fabric, vn: VirtualNetwork, names: Iterable[str]
    ) -> dict[int, PortRef | None]:
        """Look at these endpoints again, each of which has a home; the MACs of which there is news,
        with the port that each had before.
        """
        before: dict[int, PortRef | None] = {}
        names = list(names)
        for name in names:
            known = self._known.pop(name, None)
            if known is not None:
                mac, home = known
                before[mac] = self.ports.pop(mac, None)
                self.foreign.discard(mac)
                self._homes[home].discard(name)
                if not self._homes[home]:
                    del self._homes[home]
        for name in names:
            endpoint = vn.endpoints.get(name)
            if endpoint is None or (place := fabric.home(endpoint)) is None:
                continue
            mac = endpoint.mac.value
            before.setdefault(mac, None)
            if endpoint.port is not None:
                self.ports[mac] = endpoint.port
            else:
                self.foreign.add(mac)
            self._homes.setdefault(place, set()).add(name)
            self._known[name] = (mac, place)
        return before

    def moved(self, before: Mapping[int, PortRef | None]) -> bool:
        """Whether one of these MACs was at a port, and is at another."""
        return any(
            was is not None and mac in self.ports and self.ports[mac] != was
            for mac, was in before.items()
        )
