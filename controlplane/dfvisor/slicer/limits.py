"""How much a role may do in a second, and what became of its requests: pure but for its clock.

Who asks for too much is answered later, not refused: a refusal costs as much as an answer, and a
client that is refused asks again at once. What has no answer (packets) is dropped instead. All of
it is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dfvisor.slicer.roles import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`per_s` on average, `burst` at once."""

    per_s: float
    burst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one role may do. Reads count by the entities they find, at least 1."""

    writes: Rate = Rate(per_s=1000, burst=200)
    updates: Rate = Rate(per_s=500_000, burst=100_000)
    reads: Rate = Rate(per_s=100, burst=50)
    entities: Rate = Rate(per_s=100_000, burst=200_000)
    requests: Rate = Rate(per_s=100, burst=50)  # pipeline, capabilities, arbitration
    packet_ins: Rate = Rate(per_s=2000, burst=500)
    digests: Rate = Rate(per_s=200, burst=100)  # lists
    packet_outs: Rate = Rate(per_s=1000, burst=200)


class Bucket:
    """A token bucket, full at first. It may go into debt: the one who does waits."""

    __slots__ = ("_at", "_level", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._at = now

    def _fill(self, now: float) -> None:
        self._level = min(self._rate.burst, self._level + (now - self._at) * self._rate.per_s)
        self._at = now

    def wait_s(self, now: float, tokens: float = 1) -> float:
        """Take the tokens; how long to wait before using them."""
        self._fill(now)
        self._level -= tokens
        return max(0.0, -self._level / self._rate.per_s)

    def take(self, now: float, tokens: float = 1) -> bool:
        """Take the tokens if they are there."""
        self._fill(now)
        if self._level < tokens:
            return False
        self._level -= tokens
        return True

    @property
    def full(self) -> bool:
        """Nothing was taken lately, as of the last question."""
        return self._level >= self._rate.burst


class Account:
    """The buckets of one role."""

    __slots__ = ("buckets",)

    def __init__(self, limits: Limits, now: float) -> None:
        self.buckets = {
            kind: Bucket(getattr(limits, kind), now) for kind in Limits.__dataclass_fields__
        }


class Accounts:
    """Buckets and counts of all roles."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._accounts: dict[Role, Account] = {}
        self._counts: dict[Role, Counter[str]] = {}

    def wait_s(self, role: Role, kind: str, tokens: float = 1) -> float:
        """Take tokens; how long to wait before going on. Waiting is counted as `<kind>_delayed`."""
        wait = self._bucket(role, kind).wait_s(self._clock(), tokens)
        if wait > 0:
            self.count(role, f"{kind}_delayed")
        return wait

    def take(self, role: Role, kind: str) -> bool:
        """Take a token if there is one; otherwise it is counted as `<kind>_dropped`."""
        if self._bucket(role, kind).take(self._clock()):
            return True
        self.count(role, f"{kind}_dropped")
        return False

    def count(self, role: Role, what: str, number: int = 1) -> None:
        """Something has become of a role's request."""
        counts = self._counts.get(role)
        if counts is None:
            counts = self._counts[role] = Counter()
        counts[what] += number

    def forget(self, keep: Callable[[Role], bool]) -> None:
        """Let go of the roles that are not to be kept."""
        for held in (self._accounts, self._counts):
            for role in [role for role in held if not keep(role)]:
                del held[role]

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """All counts by role and kind."""
        return {str(role): dict(counts) for role, counts in list(self._counts.items())}

    def _bucket(self, role: Role, kind: str) -> Bucket:
        account = self._accounts.get(role)
        if account is None:
            account = self._accounts[role] = Account(self._limits, self._clock())
        return account.buckets[kind]
