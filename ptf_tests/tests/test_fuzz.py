"""The fuzzer, a little of it: `make fuzz` and `make soak` run millions of packets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ptf_tests import fuzz


def test_fuzzer_finds_ways_through_the_pipeline_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    def run(packets: int) -> str:
        command = [sys.executable, fuzz.__file__, "--seed", "3", "--packets", str(packets)]
        done = subprocess.run(
            [*command, "--corpus", str(tmp_path / "corpus")],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = run(fuzz.BATCH)
    assert f"fuzz: {fuzz.BATCH:,} packets" in first
    edges = int(first.split()[-2].replace(",", ""))
    assert edges > 1000, "coverage of the pipeline is not seen"
    again = run(fuzz.BATCH + 200)
    assert f"fuzz: going on after {fuzz.BATCH:,} packets" in again
    assert f"fuzz: {fuzz.BATCH + 200:,} packets" in again
