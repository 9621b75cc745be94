"""gRPC reads its environment on being imported."""

from __future__ import annotations

import subprocess
import sys


def test_agent_sets_grpcs_environment_before_grpc_is_imported() -> None:
    code = "import dfvisor.agent.main, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = run.stdout.split()
    assert modules.index("dfvisor.daemon") < modules.index("grpc")
