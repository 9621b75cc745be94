"""Whether each link works, from what became of its probes: pure, with the time passed in.

A link is down once a probe has been without answer for `DETECT_S`, and so have those that followed
in quick succession; where answers take long, because the machine is busy, for several times that.
If all ports are silent at once, the reason may well be here, and it takes `DETECT_ALL_S`: there is
no other way from here that packets could be led, and the other ends judge for themselves. A link is
up again when all probes have been answered for some time (`HOLD_S`, doubled with each failure that
follows soon), so that one that comes and goes is left alone. A link of which nothing is known yet
counts as up, until it has been silent for `STARTUP_S`: its other end may not have started.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

INTERVAL_S = 0.2  # between two probes of a port
ASK_AGAIN_S = 0.04  # a link that should work has so long to answer before it is probed again
DETECT_S = 0.12
DETECT_ALL_S = 1.0
SLOWEST_TIMES = 4  # the slowest answer of late, so many times, is no failure yet
SLOWEST_FADES = 0.98  # with each answer
MOST_DETECT_S = 1.0
STARTUP_S = 5.0
HOLD_S = 2.0
MOST_HOLD_S = 60.0
CALM_S = 10.0  # a failure after so long without one counts as the first
REMEMBERED = 64  # probes under way


@dataclass(slots=True)
class Port:
    """`up` None: not known yet. Times are those passed in; `held_s` is how long a link that works
    again must go on doing so.
    """

    since: float
    up: bool | None = None
    failures: int = 0
    held_s: float = 0.0
    well_since: float | None = None
    failed_at: float | None = None
    strikes: int = 0
    waiting: dict[int, float] = field(default_factory=dict)  # number -> sent at, oldest first

    def silent_s(self, now: float) -> float:
        """How long the oldest probe has been waiting."""
        return now - next(iter(self.waiting.values())) if self.waiting else 0.0


class Liveness:
    """The state of the ports of one switch. Methods that may change whether a port is down return
    whether that was so.
    """

    def __init__(self) -> None:
        self.ports: dict[int, Port] = {}
        self._slowest_s = 0.0

    def set_ports(self, ports: Iterable[int], now: float) -> bool:
        """These are the ports that end links; of others all is forgotten."""
        wanted = set(ports)
        before = self.down()
        self.ports = {port: self.ports.get(port) or Port(since=now) for port in sorted(wanted)}
        return self.down() != before

    def assume_down(self, ports: Collection[int], now: float) -> bool:
        """An earlier life of this agent found these down: so they are until they are heard of."""
        before = self.down()
        for number in ports:
            port = self.ports.get(number)
            if port is not None and port.up is None:
                port.up, port.since, port.held_s = False, now, HOLD_S
        return self.down() != before

    def pause(self) -> None:
        """Nothing can be said now: probes under way are forgotten, and a link that is being held
        back has to begin anew.
        """
        for port in self.ports.values():
            port.waiting.clear()
            port.well_since = None

    def down(self) -> frozenset[int]:
        """The ports whose links are not to be used."""
        return frozenset(number for number, port in self.ports.items() if port.up is False)

    def sent(self, number: int, probe: int, now: float) -> None:
        """A probe with this number was sent off."""
        port = self.ports.get(number)
        if port is not None:
            port.waiting[probe] = now
            if len(port.waiting) > REMEMBERED:  # the oldest stays: it tells how long
                del port.waiting[next(iter(list(port.waiting)[1:]))]

    def answered(self, number: int, probe: int, now: float) -> bool:
        """It has come back; those before it do not matter any more."""
        port = self.ports.get(number)
        if port is None or probe not in port.waiting:
            return False
        self._slowest_s = max(now - port.waiting[probe], self._slowest_s * SLOWEST_FADES)
        for earlier in list(port.waiting):
            del port.waiting[earlier]
            if earlier == probe:
                break
        if port.up is None:
            port.up, port.since = True, now
        elif port.up is False and port.well_since is None:
            port.well_since = now
        return False

    def doubtful(self) -> list[int]:
        """Ports to be probed again at once: they should have answered."""
        return [number for number, port in self.ports.items() if port.up and port.waiting]

    def check(self, now: float) -> bool:
        """See which have been silent for too long, or well for long enough."""
        changed = False
        every = all(port.waiting for port in self.ports.values())
        limit_s = min(
            MOST_DETECT_S,
            max(DETECT_ALL_S if every else DETECT_S, self._slowest_s * SLOWEST_TIMES),
        )
        for port in self.ports.values():
            silent = port.silent_s(now) >= limit_s
            if port.up is None:
                if silent and now - port.since >= STARTUP_S:
                    self._fail(port, now)
                    changed = True
            elif port.up:
                if silent:
                    self._fail(port, now)
                    changed = True
            elif silent:
                port.well_since = None
            elif port.well_since is not None and now - port.well_since >= port.held_s:
                port.up, port.since, port.well_since = True, now, None
                changed = True
        return changed

    def _fail(self, port: Port, now: float) -> None:
        calm = port.failed_at is None or now - port.since >= CALM_S
        port.strikes = 1 if calm else port.strikes + 1
        port.held_s = min(MOST_HOLD_S, HOLD_S * 2 ** (port.strikes - 1))
        port.failures += 1
        port.failed_at = now
        port.up, port.since, port.well_since = False, now, None
