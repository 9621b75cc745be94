"""How long a change takes from its commit to the switch, stage by stage and slice by slice.

Pure: it is told what happens and when. Times are seconds since the epoch; the commit's is by the
database server's clock, with a resolution of 1 ms, so clocks that differ show here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from dfvisor.model.records import VirtualNetwork
from dfvisor.store.codec import Key
from dfvisor.store.stats import LATENCY_BOUNDS_MS, Latency

MOST_OPEN = 1000  # changes under way; the oldest is given up


class Stage(StrEnum):
    """See `dfvisor.store.stats.Latency`."""

    READ = "read"
    EDGE = "edge"
    SLICER = "slicer"
    SWITCH = "switch"
    ACTIVE = "active"


@dataclass(slots=True)
class _Trace:
    revision: int
    zxid: int
    committed: float
    slices: frozenset[str]
    flows: bool  # slices above best effort are concerned
    written: float | None = None  # when the last flow entries so far were in the switch
    reached: set[Stage] = field(default_factory=set)


@dataclass(slots=True)
class _Histogram:
    cells: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_MS) + 1))
    sum_ms: float = 0.0


class Tracer:
    """Follows each change of a VN until it is all in the switch."""

    def __init__(self) -> None:
        self._open: dict[str, list[_Trace]] = {}
        self._histograms: dict[tuple[str, str, Stage], _Histogram] = {}

    def read(
        self,
        vn: VirtualNetwork,
        revision: int,
        zxid: int,
        committed: float,
        touched: Collection[Key] | None,
        now: float,
    ) -> None:
        """A revision was read; `touched` None: by somebody who was away, so it tells no latency."""
        traces = self._open.setdefault(vn.name, [])
        if touched is None or (traces and traces[-1].revision >= revision):
            return
        slices = _slices(vn, touched)
        flows = any(not vn.slices[name].best_effort for name in slices if name in vn.slices)
        traces.append(_Trace(revision, zxid, committed, slices, flows))
        del traces[:-MOST_OPEN]
        self._reached(vn.name, revision, Stage.READ, now)

    def edge(self, vn: str, revision: int, now: float) -> None:
        """The agent's own entries of the revision are in the switch."""
        self._reached(vn, revision, Stage.EDGE, now)

    def slicer(self, vn: str, revision: int, now: float) -> None:
        """Flow entries of the revision have come to the slicer."""
        self._reached(vn, revision, Stage.SLICER, now)

    def written(self, vn: str, revision: int, now: float) -> None:
        """Flow entries of the revision are in the switch, perhaps not all. All are before the
        revision is activated.
        """
        for trace in self._open.get(vn, ()):
            if trace.revision <= revision:
                trace.written = now

    def switch(self, vn: str, revision: int, now: float) -> None:
        """All flow entries of the revision are in the switch, and no others are any more."""
        self._reached(vn, revision, Stage.SWITCH, now)

    def forget(self, vn: str) -> None:
        """It is not present any more."""
        self._open.pop(vn, None)

    def histograms(self) -> tuple[Latency, ...]:
        """All so far, by VN, slice and stage."""
        return tuple(
            Latency(vn=vn, slice=name, stage=stage.value, cells=tuple(one.cells), sum_ms=one.sum_ms)
            for (vn, name, stage), one in sorted(
                dict(self._histograms).items(), key=lambda item: item[0]
            )
        )

    def _reached(self, vn: str, revision: int, stage: Stage, now: float) -> None:
        """This revision and all before it have reached the stage."""
        still: list[_Trace] = []
        for trace in self._open.get(vn, ()):
            if trace.revision > revision or self._follow(vn, trace, stage, now):
                still.append(trace)
        if vn in self._open:
            self._open[vn] = still

    def _follow(self, vn: str, trace: _Trace, stage: Stage, now: float) -> bool:
        """Whether there is more to come of it."""
        if stage is Stage.EDGE and trace.written is not None:
            self._note(vn, trace, Stage.SWITCH, trace.written)
        self._note(vn, trace, stage, now)
        last = {Stage.EDGE, Stage.SWITCH} if trace.flows else {Stage.EDGE}
        if not last <= trace.reached:
            return True
        self._note(vn, trace, Stage.ACTIVE, now)
        return False

    def _note(self, vn: str, trace: _Trace, stage: Stage, now: float) -> None:
        """A change has come to a stage; only the first time counts."""
        if stage in trace.reached:
            return
        trace.reached.add(stage)
        ms = max(0.0, (now - trace.committed) * 1000)
        for name in trace.slices:
            histogram = self._histograms.setdefault((vn, name, stage), _Histogram())
            histogram.cells[bisect_left(LATENCY_BOUNDS_MS, ms)] += 1
            histogram.sum_ms += ms


def _slices(vn: VirtualNetwork, touched: Collection[Key]) -> frozenset[str]:
    """The slices that a change of these records concerns: all, if it is not of some alone."""
    if not touched:
        return frozenset(vn.slices)
    found: set[str] = set()
    for kind, name in touched:
        if kind == "slices":
            found.add(name)
        elif kind == "flowspaces" and name in vn.flowspaces:
            found.add(vn.flowspaces[name].slice)
        else:
            return frozenset(vn.slices)
    return frozenset(found)
