"""How a daemon that speaks P4Runtime runs: its event loop, and gRPC below it.

To be imported before gRPC, which reads its environment on being imported.

One Write through the slicer passes two gRPC connections, and each of them passes threads and turns
of the event loop; `python -m bench.slicer` shows what that adds. uvloop's turns are cheaper. gRPC's
event engine hands what it reads from one thread to another; without it the thread that waits for
completions reads by itself, which is two context switches less for each connection.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")

GC_THRESHOLDS = (20_000, 20, 20)
"""Records and entries are many and in no cycle, so cycles are looked for less often."""

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # what gRPC has to say comes as errors


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`."""
    gc.set_threshold(*GC_THRESHOLDS)
    gc.freeze()  # modules stay: to look through them again holds everything up for tens of ms
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
