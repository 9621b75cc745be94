"""Hosts that this switch has learned, and those that others have: pure, with the time passed in.

A switch reports a sender that it does not know yet. Here it becomes a claim: the host is at this
port. What another switch claims later makes it void (the host has moved); a sender that is claimed
elsewhere since a moment ago is a duplicate address, and the earlier claim stays. Claims are bounded
for each port, and what is beyond waits until others have aged.

Nothing tells when a host was heard of last, so after `DOUBT_S` it counts as unknown again, though
it is still reached; if it is not reported anew until `AGE_S`, it is forgotten.

A host has the addresses that it says to have by ARP or neighbour discovery, as long as it is there;
who says so first has an address (`model.learned`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from dfvisor.model.learned import Claim, Claims, Ip, settle
from dfvisor.model.types import Mac

LEARNED_PER_PORT = 64
ADDRESSES_PER_HOST = 8
CONFLICTS_PER_VN = 32
DUPLICATE_S = 5.0  # a host does not move twice in so short a time
DOUBT_S = 120.0
AGE_S = 300.0


class Outcome(Enum):
    """What became of a report. Only of the first four is there something to write."""

    NEW = "new"
    MOVED = "moved"
    ADDRESS = "address"  # a host that is known has another one
    HEARD = "heard"  # after it was in doubt
    KNOWN = "known"
    DUPLICATE = "duplicate"
    FULL = "full"

    @property
    def writes(self) -> bool:
        return self in (Outcome.NEW, Outcome.MOVED, Outcome.ADDRESS, Outcome.HEARD)


@dataclass(slots=True)
class _Host:
    port: int
    since: float
    heard: float
    ips: dict[Ip, float] = field(default_factory=dict)


class Hosts:
    """The hosts of one VN, seen from one switch. Ports are those of this switch."""

    def __init__(self, switch: str) -> None:
        self._switch = switch
        self._own: dict[Mac, _Host] = {}
        self._elsewhere: dict[Mac, tuple[str, Claim]] = {}
        self._conflicts: dict[Mac, str] = {}

    def learn(self, mac: Mac, port: int, now: float, ip: Ip | None = None) -> Outcome:
        """A sender was reported, perhaps with an address that it says to have."""
        held = self._own.get(mac)
        if held is not None and held.port == port:
            doubted = now - held.heard >= DOUBT_S
            held.heard = now
            if ip is not None and ip not in held.ips:
                return self._learn_address(mac, held, ip, now)
            return Outcome.HEARD if doubted else Outcome.KNOWN
        other = self._elsewhere.get(mac)
        earlier, where = 0.0, ""
        if held is not None:
            earlier, where = held.since, f"{self._switch}:{held.port}"
        elif other is not None:
            earlier, where = other[1].since, f"{other[0]}:{other[1].port}"
        if where and now - earlier < DUPLICATE_S:
            self._conflict(mac, f"at {where}, and seen at {self._switch}:{port}")
            return Outcome.DUPLICATE
        if sum(host.port == port for host in self._own.values()) >= LEARNED_PER_PORT:
            return Outcome.FULL
        # whatever the other switch's clock says, this claim is the later one
        self._own[mac] = _Host(port, max(now, earlier + 0.001), now)
        self._elsewhere.pop(mac, None)
        self._conflicts.pop(mac, None)
        if ip is not None:
            self._learn_address(mac, self._own[mac], ip, now)
        return Outcome.MOVED if where else Outcome.NEW

    def _learn_address(self, mac: Mac, held: _Host, ip: Ip, now: float) -> Outcome:
        if len(held.ips) >= ADDRESSES_PER_HOST:
            return Outcome.FULL
        held.ips[ip] = now
        others = [other for other, host in self._own.items() if other != mac and ip in host.ips]
        others += [other for other, (_, claim) in self._elsewhere.items() if ip in claim.ips]
        if others:
            self._conflict(mac, f"says to be {ip}, which is {min(others)}'s")
        return Outcome.ADDRESS

    def refuse(self, mac: Mac, port: int, owner: str) -> Outcome:
        """The sender has the address of somebody described."""
        self._conflict(mac, f"of {owner}, and seen at {self._switch}:{port}")
        return Outcome.DUPLICATE

    def set_claims(self, claims: Mapping[str, Claims]) -> bool:
        """What all switches claim; whether anything is to be written because of it."""
        settled = settle(
            {switch: found for switch, found in claims.items() if switch != self._switch}
        )
        changed = settled.keys() != self._elsewhere.keys() or any(
            (settled[mac][0], settled[mac][1].ips) != (held[0], held[1].ips)
            for mac, held in self._elsewhere.items()
        )
        self._elsewhere = settled
        for mac in [mac for mac in self._own if mac in settled]:
            if settled[mac][1].since > self._own[mac].since:
                del self._own[mac]
                changed = True
            else:
                del self._elsewhere[mac]
        return changed

    def adopt(self, claims: Claims, now: float) -> bool:
        """What this switch claimed before its agent started anew; whether that is news."""
        missing = {mac: claim for mac, claim in claims.items() if mac not in self._own}
        for mac, claim in missing.items():
            self._own[mac] = _Host(claim.port, claim.since, now, dict(claim.ips))
        return bool(missing)

    def age(self, now: float) -> bool:
        """Forget who was not heard of for long; whether anything is to be written."""
        for mac in [mac for mac, host in self._own.items() if now - host.heard >= AGE_S]:
            del self._own[mac]
        return any(now - host.heard >= DOUBT_S for host in self._own.values())

    def next_at(self) -> float | None:
        """When `age` is worth a look."""
        times = [host.heard + DOUBT_S for host in self._own.values()]
        return min(times, default=None)

    def local(self) -> dict[int, int]:
        """MAC -> port of the hosts here."""
        return {mac.value: host.port for mac, host in self._own.items()}

    def doubted(self, now: float) -> frozenset[int]:
        """Those of them that are to be reported if they send."""
        return frozenset(m.value for m, host in self._own.items() if now - host.heard >= DOUBT_S)

    @property
    def elsewhere(self) -> dict[Mac, tuple[str, Claim]]:
        """The hosts at other switches."""
        return dict(self._elsewhere)

    def claims(self) -> dict[Mac, Claim]:
        """The hosts here."""
        return {mac: Claim(host.port, host.since, host.ips) for mac, host in self._own.items()}

    @property
    def conflicts(self) -> dict[Mac, str]:
        """Addresses that were seen at two places in a short time."""
        return dict(self._conflicts)

    def _conflict(self, mac: Mac, text: str) -> None:
        if mac in self._conflicts or len(self._conflicts) < CONFLICTS_PER_VN:
            self._conflicts[mac] = text


class HostBook:
    """The hosts of all VNs, seen from one switch; `clock` gives seconds since the epoch."""

    def __init__(self, switch: str, clock: Callable[[], float]) -> None:
        self._switch = switch
        self._clock = clock
        self._vns: dict[str, Hosts] = {}

    def hosts(self, vn: str) -> Hosts:
        """Those of a VN."""
        found = self._vns.get(vn)
        if found is None:
            found = self._vns[vn] = Hosts(self._switch)
        return found

    def add(self, vn: str, mac: int, port: int, ip: Ip | None = None) -> Outcome:
        """A sender was reported."""
        return self.hosts(vn).learn(Mac(mac), port, self._clock(), ip)

    def addresses(self, vn: str) -> Mapping[int, Collection[Ip]]:
        """MAC -> what the hosts of a VN here say to have."""
        if vn not in self._vns:
            return {}
        return {mac.value: tuple(claim.ips) for mac, claim in self._vns[vn].claims().items()}

    def everywhere(self, vn: str) -> Mapping[Mac, tuple[str, Claim]]:
        """The hosts of a VN here and at other switches."""
        if vn not in self._vns:
            return {}
        here = {mac: (self._switch, claim) for mac, claim in self._vns[vn].claims().items()}
        return {**self._vns[vn].elsewhere, **here}

    def of(self, vn: str) -> dict[int, int]:
        """MAC -> port of the hosts of a VN here."""
        return self._vns[vn].local() if vn in self._vns else {}

    def doubted(self, vn: str) -> frozenset[int]:
        """Those of them that are to be reported again."""
        return self._vns[vn].doubted(self._clock()) if vn in self._vns else frozenset()

    def elsewhere(self, vn: str) -> Mapping[Mac, tuple[str, Claim]]:
        """The hosts of a VN at other switches."""
        return self._vns[vn].elsewhere if vn in self._vns else {}

    def forget(self, vn: str) -> None:
        """The VN is gone from here, or does not learn any more."""
        self._vns.pop(vn, None)
