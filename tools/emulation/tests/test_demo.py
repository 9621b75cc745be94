"""The demonstration itself, as a command, on the smallest network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from emulation import reaper
from emulation.targets import Target

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
DEADLINE_S = 90.0


@pytest.mark.e2e
def test_demo_once_on_the_smallest_network_passes_and_claims_only_what_it_measured(
    target: Target,
) -> None:
    instance = f"d{os.getpid()}"
    argv = [sys.executable, "-m", "emulation.demo", "--once", "--instance", instance]
    argv += ["--target", target, "--network", str(EXAMPLES / "two-switches.yaml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"target: {target}")
    assert "13 of 13 checks passed" in done.stdout
    evidence = done.stdout.partition("The six problems")[2]
    assert "1. 12-bit VLAN ids: at most 4,096 networks: not yet shown" in evidence  # keys 1 and 2
    assert evidence.count("not yet shown") == 1
    assert reaper.namespaces(instance) == []
