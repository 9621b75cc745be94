"""The switch's ports, and which engine has them.

Ports belong to the process; the engine that forwards is replaced when a pipeline is pushed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from softswitch.errors import EngineError
from softswitch.rates import Rate
from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import internal
from softswitch.server.links import Links, LinkWatcher

log = logging.getLogger(__name__)


Place = tuple[int, int | None]
"""A port, or one of its queues."""


@dataclass(frozen=True, slots=True)
class Port:
    """P4 port `number` is the network interface `interface`."""

    number: int
    interface: str


def check_ports(ports: tuple[Port, ...]) -> list[str]:
    """What is wrong with the ports, one sentence each; opens nothing that stays open."""
    problems = []
    for port in ports:
        try:
            socket.if_nametoindex(port.interface)
        except OSError:
            problems.append(f"port {port.number}: there is no interface {port.interface!r}")
    if ports and not problems:
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
        except PermissionError:
            problems.append("opening interfaces needs root or the capability CAP_NET_RAW")
    return problems


class PortHost:
    """Gives the ports to one engine at a time. Not for concurrent use: the caller holds a lock."""

    def __init__(
        self,
        ports: tuple[Port, ...],
        *,
        cpu_port: int | None = None,
        rates: Mapping[Place, Rate] | None = None,
        captures: Path | None = None,
        over_grpc: bool = False,
    ) -> None:
        """`rates` limits what leaves by ports and queues; what they receive and send is written to
        `captures`. With `over_grpc` every port exists and its packets are events; there are no
        interfaces."""
        self._ports = ports
        self._rates = dict(rates or {})
        self._captures = captures
        self.cpu_port = cpu_port
        self._over_grpc = over_grpc
        self.links = Links((port.number for port in ports), all_exist=over_grpc)
        self._watcher = LinkWatcher(self.links, {port.interface: port.number for port in ports})
        self._engine: DataPlane | None = None

    def watch(self) -> None:
        """Follow the links' states on the running event loop. Raises OSError."""
        if self._ports:
            self._watcher.start()

    async def hand_over(self, engine: DataPlane, between: Callable[[], None] | None = None) -> None:
        """Stop the forwarding engine, if any, and let this one forward. The old one is not closed.
        `between` runs on another thread while neither of them forwards.

        An interface that is not there any more is reported in the log and left out, so that one
        lost port does not keep a pipeline from being pushed. Raises RequestError (INTERNAL) when
        the others cannot be opened; then nothing is forwarded.
        """
        old, self._engine = self._engine, engine
        await asyncio.to_thread(self._switch, old, engine, between)

    def _switch(
        self, old: DataPlane | None, new: DataPlane, between: Callable[[], None] | None
    ) -> None:
        if old is not None:
            old.stop()
        if between is not None:
            between()
        new.set_cpu_port(self.cpu_port)
        new.set_events_only(self._over_grpc)
        for port in self._ports:
            try:
                new.add_port(port.number, port.interface)
            except (EngineError, OSError) as error:
                log.error("port %d (%s) is left out: %s", port.number, port.interface, error)
                continue
            self._capture(new, port)
        for (number, queue), rate in list(self._rates.items()):
            try:
                new.set_port_rate(number, rate, queue)
            except EngineError as error:
                log.error("port %d has no rate: %s", number, error)
        try:
            new.start()
        except EngineError as error:
            raise internal(f"the pipeline is in place but forwards nothing: {error}") from error

    def _capture(self, engine: DataPlane, port: Port) -> None:
        if self._captures is None:
            return
        base = self._captures / port.interface
        try:
            engine.capture(port.number, Path(f"{base}_in.pcap"), Path(f"{base}_out.pcap"))
        except EngineError as error:
            log.error("%s", error)

    def clear_captures(self) -> None:
        """Make the directory of captures, without those of an earlier process. Raises OSError."""
        if self._captures is None:
            return
        self._captures.mkdir(parents=True, exist_ok=True)
        for port in self._ports:
            for end in ("in", "out"):
                (self._captures / f"{port.interface}_{end}.pcap").unlink(missing_ok=True)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The ports."""
        return tuple(port.number for port in self._ports)

    def set_rate(self, place: Place, rate: Rate | None) -> None:
        """Limit a port or a queue from now on, whatever pipeline there is or comes; None: no
        limit. Raises KeyError for a port that does not exist, EngineError."""
        if place[0] not in self.numbers:
            raise KeyError(f"there is no port {place[0]}")
        if rate is None:
            self._rates.pop(place, None)
        else:
            self._rates[place] = rate
        if self._engine is not None:
            self._engine.set_port_rate(place[0], rate, place[1])

    def rates(self) -> Mapping[Place, Rate]:
        """The limits that there are."""
        return self._rates

    def engine(self) -> DataPlane | None:
        """The engine that forwards, if any does."""
        return self._engine

    async def stop(self) -> None:
        """Stop forwarding, and following links."""
        self._watcher.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.stop)
