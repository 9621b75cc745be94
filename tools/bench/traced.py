"""An agent that writes when each change reached which stage: for the latency benchmark.

`python -m bench.traced FILE <arguments of dfvisor-agent>`. Lines `<vn> <revision> <stage> <time>
<reads>`: the time in seconds since the epoch, taken after the switch has acknowledged; the znodes
that the agent has read so far. They are written once the change is active: to open a file in
between would take a change longer than most of its stages.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dfvisor.agent import agent as agents
from dfvisor.agent.main import main
from dfvisor.agent.tracing import Stage, Tracer
from dfvisor.store.zk import ZooKeeper


class Recorder(Tracer):
    """A tracer that also writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._path = Path(sys.argv[1])
        self._reads = 0
        self._lines: list[str] = []
        get = ZooKeeper.get

        async def counted(zk: ZooKeeper, *arguments: Any) -> Any:
            self._reads += 1
            return await get(zk, *arguments)

        ZooKeeper.get = counted  # type: ignore[method-assign,assignment]

    def _note(self, vn: str, trace: Any, stage: Stage, now: float) -> None:
        if stage not in trace.reached:
            self._lines.append(f"{vn} {trace.revision} {stage.value} {now:.6f} {self._reads}\n")
            if stage is Stage.ACTIVE:
                lines, self._lines = self._lines, []
                with self._path.open("a") as file:
                    file.writelines(lines)
        super()._note(vn, trace, stage, now)


if __name__ == "__main__":
    agents.Tracer = Recorder  # type: ignore[attr-defined]
    sys.exit(main(sys.argv[2:]))
