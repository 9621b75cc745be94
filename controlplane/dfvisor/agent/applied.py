"""What has been applied at the switch, VN by VN: offered to the slicer, saved, and to be reported.

What a VN's controller has not finished with stays, until it says that it has or stays away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from dfvisor.agent.directory import Directory
from dfvisor.agent.former import decode_former, encode_former
from dfvisor.agent.planner import Planner, Staged
from dfvisor.agent.saver import Saver
from dfvisor.agent.tracing import Tracer
from dfvisor.errors import StoreError
from dfvisor.model.records import VirtualNetwork
from dfvisor.model.types import Mac
from dfvisor.p4rt.entries import Item
from dfvisor.store.stats import VnApplied

log = logging.getLogger(__name__)

KEEP_S = 10.0  # how long what a controller has not finished with is kept, if it need not say so
FORMER = "former/"  # keys in the local database: what packets of a VN need that are under way
LINGER_S = 2.0  # the same where the VN has gone, and its controller with it


class AppliedVns:
    """`mark` has a VN looked at again, `changed` has what is applied reported. `turned_at` says
    when ways through the fabric became others the last time.
    """

    def __init__(
        self,
        switch: str,
        planner: Planner,
        saver: Saver,
        tracer: Tracer,
        mark: Callable[[str], None],
        changed: Callable[[], None],
        turned_at: Callable[[], float],
    ) -> None:
        self.directory = Directory(self._completed, switch)
        self._planner = planner
        self._saver = saver
        self._tracer = tracer
        self._mark = mark
        self._changed = changed
        self._turned_at = turned_at
        self._held: dict[str, VnApplied] = {}
        self._flows: dict[str, int] = {}  # revision of which the flow entries are complete, by VN
        self._keeping: set[str] = set()  # VNs of which something is kept
        self._keep_until: dict[str, float] = {}  # that their controllers still need
        self._former: dict[str, bytes] = {}  # what packets under way need, as it is saved
        self._bases: dict[str, tuple[Item, ...] | None] = {}  # items of which that was found
        self._led: dict[str, tuple[int, float]] = {}  # revision whose ways packets go, since when

    def load(self, flows: Mapping[str, int]) -> None:
        """What was known when the agent ended: by VN, of which revision flow entries are there."""
        self._flows = dict(flows)

    def resume(self, vns: Mapping[str, VirtualNetwork], former: Mapping[str, bytes]) -> None:
        """This is what the switch held, by VN, when the agent ended; `vns` are their records."""
        self._former = dict(former)
        for name, record in former.items():
            try:
                self._planner.resume(name, decode_former(record, name, vns.get(name)))
            except StoreError as error:
                log.error("local database: %s", error)

    @property
    def vns(self) -> dict[str, VnApplied]:
        """For the report."""
        return dict(self._held)

    @property
    def failing(self) -> Iterable[str]:
        """VNs that could not be applied as they are wanted."""
        return [name for name, held in self._held.items() if held.error]

    def forget_flows(self, names: Iterable[str]) -> None:
        """The flow entries are gone, and no mirror has them: their controllers must bring them."""
        for name in names:
            self._set_flows(name, 0)
        self._held = {
            name: msgspec.structs.replace(held, flows=0) for name, held in self._held.items()
        }

    def publish(self, one: Staged, refused: str | None, at: float) -> None:
        """What was staged of a VN is in the switch since `at` (seconds since the epoch), but for
        what it `refused`.
        """
        name = one.name
        self._remember(one)
        if one.keeps and name not in self._keeping:
            self._keeping.add(name)
            self._later(LINGER_S if one.gone else KEEP_S, name)
        held = self._held.get(name)
        if one.gone or (one.plan is None and one.error is None and not one.kept):
            if not one.keeps:
                self.directory.publish(name, 0, None)
            elif name not in self.directory.plans:  # of an earlier life
                self.directory.publish(name, 0, one.plan)
            self._held.pop(name, None)
            if one.gone:
                self._saver.forget(name)
                self._led.pop(name, None)
                self._set_flows(name, 0)
                log.info("VN %s: removed", name)
            elif one.vn is not None:
                self._saver.save(name, one.revision, one.vn)
            return
        if one.kept or refused is not None:
            revision = held.revision if held else 0
        else:
            revision = one.revision
            self.directory.publish(name, one.prepared, one.plan, active=revision, space=one.space)
            self._tracer.edge(name, revision, at)
            if one.vn is not None and (held is None or held.revision != revision):
                self._saver.save(name, revision, one.vn)
        self._enter(one, held, revision, refused or one.error)

    def _remember(self, one: Staged) -> None:
        """What the switch holds is saved with the state that led to it, or not at all."""
        name = one.name
        base = one.live.base if one.live is not None else None
        if not one.keeps and name in self._bases and self._bases[name] is base:
            return  # only flowspaces have changed
        self._bases[name] = () if one.keeps else base
        former = self._planner.former(name)
        record = None if former is None else encode_former(former)
        if record != self._former.get(name):
            if record is None:
                del self._former[name]
            else:
                self._former[name] = record
            self._saver.put(f"{FORMER}{name}", record)
        if one.gone and not one.keeps:
            del self._bases[name]

    def _enter(self, one: Staged, held: VnApplied | None, revision: int, error: str | None) -> None:
        name = one.name
        learned = {str(Mac(mac)): port for mac, port in self._planner.learned(name).items()}
        if held is not None and held.learned != learned:
            self._held[name] = msgspec.structs.replace(held, learned=learned, at=time.time())
        if held is None or (held.revision, held.error) != (revision, error):
            self._held[name] = VnApplied(
                revision=revision,
                flows=held.flows if held else self._flows.get(name, 0),
                ways=held.ways if held else 0,
                error=error,
                learned=learned,
                at=time.time(),
            )
            if error:
                log.error("VN %s: stays at revision %d: %s", name, revision, error)
            elif revision == one.prepared:
                log.info("VN %s: revision %d applied", name, revision)
        if revision != one.prepared and not one.kept:
            log.debug("VN %s: revision %d prepared", name, one.prepared)

    # -- what controllers say

    def _completed(self, vn: str, revision: int, hold: bool, fabric: int | None) -> None:
        self._set_flows(vn, revision)
        self._tracer.switch(vn, revision, time.time())
        held = self._held.get(vn)
        if fabric is not None and fabric < self._planner.fabric_revision:
            hold = True  # it does not know yet that ways have changed, let alone have led packets
        if hold:
            self._keep_until[vn] = time.monotonic() + KEEP_S
        else:
            self._led[vn] = (revision, time.monotonic())
            if held is None or held.revision <= revision:
                self._finish(vn)
        if held is None:
            return
        ways = held.ways if hold or fabric is None else fabric
        if (held.flows, held.ways) != (revision, ways):
            self._held[vn] = msgspec.structs.replace(
                held, flows=revision, ways=ways, at=time.time()
            )
            self._changed()

    def _set_flows(self, vn: str, revision: int) -> None:
        self._flows[vn] = revision
        self._saver.put(f"flows/{vn}", str(revision).encode())

    def _finish(self, vn: str) -> None:
        """Nothing needs any more what was kept of the VN's earlier states."""
        self._keeping.discard(vn)
        self._keep_until.pop(vn, None)
        if self._planner.finish(vn):
            self._mark(vn)

    def _give_up(self, vn: str) -> None:
        if vn not in self._keeping:
            return
        left = self._keep_until.get(vn, 0.0) - time.monotonic()
        if left > 0:
            self._later(left, vn)
        elif self._planner.awaits(vn) and not self._has_led(vn):
            self._later(KEEP_S, vn)
        else:
            self._finish(vn)

    def _has_led(self, vn: str) -> bool:
        """Whether the controller said that packets go the newest ways, after these were known."""
        revision, at = self._led.get(vn, (0, 0.0))
        return revision >= self._planner.newest(vn) and at >= self._turned_at()

    def _later(self, delay_s: float, vn: str) -> None:
        asyncio.get_running_loop().call_later(delay_s, self._give_up, vn)
