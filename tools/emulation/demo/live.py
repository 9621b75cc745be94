"""A slice added to the running network, and deleted again, as a user does it."""

from __future__ import annotations

import time
from pathlib import Path

from dfvisor.errors import DescriptionError
from dfvisor.model.description import load, plan
from dfvisor.model.records import Network

from emulation.demo import wire
from emulation.demo.board import Board
from emulation.demo.flows import SOURCES_PER_FLOW, Flow, as_other, choose
from emulation.demo.run import Run
from emulation.demo.slices import ask_afresh
from emulation.plan import HostPlan

FLOWS = 2  # new ones in each stage


def new_flow(network: Network, hosts: dict[str, HostPlan], addition: Path) -> Flow | None:
    """A flow of a QoS slice that `addition` adds to the network; None where it adds none."""
    known = {flow.name for flow in choose(network, hosts)}
    try:
        bigger = plan(network, load(addition))
    except DescriptionError:
        return None  # it is made for another network
    return next(
        (
            flow
            for flow in choose(bigger, hosts)
            if flow.name not in known and flow.udp and not flow.best_effort
        ),
        None,
    )


def measure(run: Run, board: Board) -> None:
    """Best effort before, the new slice's key after `apply`, best effort again after `delete`."""
    if not run.added or not run.addition:
        return
    flow = run.added
    home = next(f for f in run.flows if f.vn == flow.vn and f.best_effort)
    first = flow.source + SOURCES_PER_FLOW * len(run.flows)
    stages = [
        as_other(flow, home, first),
        as_other(flow, flow, first + SOURCES_PER_FLOW),
        as_other(flow, home, first + 2 * SOURCES_PER_FLOW),
    ]
    lost = 0
    with wire.Tap(run.net, "live") as tap:
        lost += ask_afresh(run, stages[0], FLOWS).lost
        begin = time.monotonic()
        run.net.dfvctl("apply", "--wait", str(run.addition))
        added_s = time.monotonic() - begin
        lost += ask_afresh(run, stages[1], FLOWS).lost
        begin = time.monotonic()
        run.net.dfvctl("delete", "slice", flow.vn, flow.slice, "--cascade", "--wait")
        deleted_s = time.monotonic() - begin
        lost += ask_afresh(run, stages[2], FLOWS).lost
    keys = [set(wire.keys(wire.forward(tap.packets, stage))) for stage in stages]
    seen = f"udp {flow.port} under key " + ", ".join(
        f"{what} {'/'.join(map(str, sorted(found))) or 'none'}"
        for what, found in zip(("before", "added", "deleted"), keys, strict=True)
    )
    board.check(
        f"adding slice {flow.name} takes effect live, deleting it moves its traffic to best effort",
        keys == [{home.key}, {flow.key}, {home.key}] and not lost,
        f"{seen}; {lost} packets lost; dfvctl --wait took {added_s:.1f} and {deleted_s:.1f} s",
    )
