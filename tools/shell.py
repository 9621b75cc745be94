"""Opens p4runtime-shell at the slicer of a switch: `tools/shell.py SWITCH ROLE`.

The slicer's address comes from the database (DFVISOR_ZOOKEEPER, as for dfvctl). The shell itself
lives in a virtual environment of its own, because it needs an older protobuf than all the rest.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from dfvisor.errors import StoreError
from dfvisor.store.database import GlobalDatabase

ROOT = Path(__file__).resolve().parent.parent
ZOOKEEPER = os.environ.get("DFVISOR_ZOOKEEPER", "127.0.0.1:2181/dfvisor")


async def slicer_of(switch: str) -> tuple[str, int]:
    """Address and device id of the switch's slicer; SystemExit says what is wrong."""
    try:
        async with await GlobalDatabase.connect(ZOOKEEPER, timeout_s=5.0) as db:
            agents = await db.read_agents()
    except StoreError as error:
        sys.exit(f"shell: {error}; is the network up, and DFVISOR_ZOOKEEPER set?")
    if switch not in agents:
        sys.exit(f"shell: no live agent for switch {switch!r}; live: {', '.join(sorted(agents))}")
    return agents[switch].slicer, agents[switch].device_id


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: tools/shell.py SWITCH ROLE")
    switch, role = sys.argv[1:]
    address, device_id = asyncio.run(slicer_of(switch))
    print(f"p4runtime-shell at the slicer of {switch} ({address}), role {role}", flush=True)
    python = ROOT / ".venv-shell" / "bin" / "python"
    options = ["--grpc-addr", address, "--device-id", str(device_id), "--election-id", "0,1"]
    os.execv(python, [str(python), "-m", "p4runtime_sh", *options, "--role-name", role])


if __name__ == "__main__":
    main()
