"""Sends probes and announcements, and keeps account of what comes back.

A thin shell around `probing` and `liveness`. It sleeps between ticks, and a tick of an agent that
has been busy with something else waits for what has come in meanwhile before it judges.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from dfvisor.agent.liveness import ASK_AGAIN_S, INTERVAL_S, Liveness
from dfvisor.agent.probing import (
    ANNOUNCED_S,
    announcement,
    is_probe,
    probe,
    read_announcement,
    read_echo,
)
from dfvisor.agent.site import Cable, Site
from dfvisor.errors import SwitchError
from dfvisor.model.types import PortRef
from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.streamed import PacketIn, PacketOut
from dfvisor.store.stats import PortSeen, Seen

log = logging.getLogger(__name__)

LATE_S = 0.05  # a tick so late may find answers that nobody has read yet
CATCH_UP_S = 0.03  # enough to read them
ANNOUNCE_S = 1.0
PROBES_PER_S = 100  # more ports are probed less often each
NEIGHBOURS_PER_PORT = 4  # remembered


@dataclass(slots=True)
class _Heard:
    """Who announced itself at a port: neighbour -> when last."""

    by: dict[PortRef, float] = field(default_factory=dict)


class Prober:
    """Finds out about the links of one switch. `send` gives the switch a packet (SwitchError while
    it is away); `on_down` is called when a link goes down or is up again, `on_news` when there is
    something else to tell people.
    """

    def __init__(
        self,
        send: Callable[[PacketOut], None],
        on_down: Callable[[], None],
        on_news: Callable[[], None],
    ) -> None:
        self._send = send
        self._on_down = on_down
        self._on_news = on_news
        self._site: Site | None = None
        self._links = Liveness()
        self._heard: dict[int, _Heard] = {}
        self._number = 0
        self._started = time.time() - time.monotonic()

    @property
    def down(self) -> frozenset[int]:
        """Ports whose links are down."""
        return self._links.down()

    def set_site(self, site: Site | None) -> None:
        """The cables to look after."""
        self._site = site
        ports = [cable.port for cable in site.cables] if site else []
        if self._links.set_ports(ports, time.monotonic()):
            self._on_down()

    def assume_down(self, ports: Collection[int]) -> None:
        """As `Liveness.assume_down`."""
        if self._links.assume_down(ports, time.monotonic()):
            self._on_down()

    def take(self, packet: PacketIn) -> bool:
        """Whether this packet-in was for here."""
        if is_probe(packet):
            self._take_echo(packet)
            return True
        if packet.metadata.get("reason") == PuntReason.DISCOVERY:
            return self._take_announcement(packet)
        return False

    def _take_echo(self, packet: PacketIn) -> None:
        if self._site is None:
            return
        echo = read_echo(self._site.device_id, packet)
        if echo is not None and echo.received == echo.port:  # else it is cabled otherwise
            self._links.answered(echo.port, echo.number, time.monotonic())

    def _take_announcement(self, packet: PacketIn) -> bool:
        """Whether it was one of ours."""
        neighbour = read_announcement(packet.payload)
        port = packet.metadata.get("port", 0)
        if neighbour is None or self._site is None or port not in self._site.fabric_ports:
            return False
        heard = self._heard.setdefault(port, _Heard()).by
        new = neighbour not in heard
        if new and len(heard) >= NEIGHBOURS_PER_PORT:
            return True
        heard[neighbour] = time.monotonic()
        if new:
            cable = next((one for one in self._site.cables if one.port == port), None)
            if cable is None or cable.far != neighbour:
                log.warning(
                    "port %d: %s is at the other end, described is %s",
                    port,
                    neighbour,
                    cable.far if cable else "none",
                )
            self._on_news()
        return True

    def seen(self) -> Seen:
        """What is known of the fabric ports."""
        ports: dict[int, PortSeen] = {}
        for number in sorted(self._site.fabric_ports if self._site else ()):
            port = self._links.ports.get(number)
            heard = self._heard.get(number)
            names = tuple(sorted(map(str, heard.by))) if heard else ()
            if port is None:
                ports[number] = PortSeen(neighbours=names)
                continue
            held = port.well_since is not None and port.up is False
            ports[number] = PortSeen(
                up=port.up is True,
                since=self._started + port.since,
                neighbours=names,
                failures=port.failures,
                held_until=self._started + (port.well_since or 0.0) + port.held_s if held else 0.0,
            )
        return Seen(ports=ports, at=time.time())

    # -- running

    async def run(self) -> None:
        """Until cancelled."""
        due = probe_at = announce_at = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now - due > LATE_S:
                await asyncio.sleep(CATCH_UP_S)
                now = time.monotonic()
            self._judge(now)
            if now >= probe_at:
                cables = self._site.cables if self._site else ()
                self._probe(cables, now)
                probe_at = now + max(INTERVAL_S, len(cables) / PROBES_PER_S)
            elif self._site is not None and (doubtful := self._links.doubtful()):
                self._probe([cable for cable in self._site.cables if cable.port in doubtful], now)
            if now >= announce_at:
                self._announce(now)
                announce_at = now + ANNOUNCE_S
            waiting = any(port.up and port.waiting for port in self._links.ports.values())
            due = min(now + ASK_AGAIN_S, probe_at) if waiting else probe_at

    def _judge(self, now: float) -> None:
        before = [(port.up, port.well_since) for port in self._links.ports.values()]
        if self._links.check(now):
            self._tell([up for up, _ in before])
            self._on_down()
        elif before != [(port.up, port.well_since) for port in self._links.ports.values()]:
            self._on_news()

    def _tell(self, before: list[bool | None]) -> None:
        for (number, port), up in zip(self._links.ports.items(), before, strict=True):
            if up is not port.up:
                log.warning("the link at port %d is %s", number, "up" if port.up else "down")

    def _probe(self, cables: Sequence[Cable], now: float) -> None:
        if self._site is None:
            return
        try:
            for cable in cables:
                self._number = (self._number + 1) & 0xFFFF_FFFF
                self._send(probe(self._site.device_id, cable, self._number))
                self._links.sent(cable.port, self._number, now)
        except SwitchError:
            self._links.pause()  # our own switch is away

    def _announce(self, now: float) -> None:
        for heard in self._heard.values():
            for neighbour, at in list(heard.by.items()):
                if now - at > ANNOUNCED_S:
                    del heard.by[neighbour]
                    self._on_news()
        if self._site is None:
            return
        try:
            for port in sorted(self._site.fabric_ports):
                self._send(announcement(PortRef(self._site.name, port), self._site.mac))
        except SwitchError:
            return  # once it is back
