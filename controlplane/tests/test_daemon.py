"""gRPC reads its environment on being imported; what is imported is not looked through again."""

from __future__ import annotations

import subprocess
import sys


def test_agent_sets_grpcs_environment_before_grpc_is_imported() -> None:
    code = "import dfvisor.agent.main, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = run.stdout.split()
    assert modules.index("dfvisor.daemon") < modules.index("grpc")


def test_daemon_leaves_what_it_has_imported_out_of_collections() -> None:
    code = """
import gc
import dfvisor.agent.main
from dfvisor import daemon

async def main():
    print(len(gc.get_objects()), gc.get_freeze_count())

daemon.run(main())
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    looked_through, left_out = map(int, run.stdout.split())
    assert looked_through < left_out / 10
