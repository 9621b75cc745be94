"""Cuts cables of a running emulation, and mends them again."""

from __future__ import annotations

from collections.abc import Iterable

from dfvisor.model.types import PortRef

from emulation.emulation import Emulation
from emulation.errors import EmulationError
from emulation.plan import switch_interface


def cut(net: Emulation, *ports: PortRef) -> None:
    """What these ports send is lost from now on, and nothing else tells: carrier stays. With both
    ends of a link that is a cut cable; with one it is broken in one direction.
    """
    _qdisc(net, ports, ["replace", "pfifo", "limit", "0"])


def mend(net: Emulation, *ports: PortRef) -> None:
    """The ports' cables carry what they send again."""
    _qdisc(net, ports, ["delete"])


def unplug(net: Emulation, port: PortRef, *, plugged: bool = False) -> None:
    """Take the carrier from both ends of a port's cable, or with `plugged` give it back."""
    state = "up" if plugged else "down"
    _run(net, port, ["ip", "link", "set", switch_interface(port.port), state])


def _qdisc(net: Emulation, ports: Iterable[PortRef], words: list[str]) -> None:
    verb, *discipline = words
    for port in ports:
        where = ["dev", switch_interface(port.port), "root"]
        _run(net, port, ["tc", "qdisc", verb, *where, *discipline])


def _run(net: Emulation, port: PortRef, argv: list[str]) -> None:
    done = net.switch(port.switch).run(argv)
    if done.returncode != 0:
        raise EmulationError(f"{' '.join(argv)} at {port}: {done.stderr.strip()}")
