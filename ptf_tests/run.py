"""Runs the packet tests with ptf against a switch: `python ptf_tests/run.py --target softswitch`.

Everything lives in private namespaces and ends with this program. Further arguments go to ptf, for
example names of modules or cases (`flow`, `flow.FlowMissDropped`). The exit status is ptf's.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ptf_tests.sandbox import run_in_sandbox  # noqa: E402 - the path comes first

CASE_TIMEOUT_S = 60
SILENCE_LIMIT_S = 2 * CASE_TIMEOUT_S
SETUP_ELECTION = 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=("softswitch", "bmv2"), required=True)
    parser.add_argument("rest", nargs="*", help="for ptf: modules, cases, options after --")
    arguments = parser.parse_args()
    started = time.monotonic()
    status = run_in_sandbox(lambda: _run(arguments.target, arguments.rest))
    verdict = "all passed" if status == 0 else f"FAILED (status {status})"
    print(f"ptf: {arguments.target}: {verdict} in {time.monotonic() - started:.1f} s")
    return status


def _run(target: str, rest: list[str]) -> int:
    # Imported here: gRPC must not start threads before the sandbox has its process.
    from ptf_tests.lab import (
        DEVICE_ID,
        PORTS,
        WATCHED_PORT,
        binary,
        load_schema,
        push_pipeline,
        running_switch,
    )
    from ptf_tests.p4rt import SwitchClient

    try:
        binary(target)
    except FileNotFoundError as error:
        print(f"ptf: {error}", file=sys.stderr)
        return 1
    logs = ROOT / ".run" / "ptf"
    logs.mkdir(parents=True, exist_ok=True)
    with running_switch(target, ports=(*PORTS, WATCHED_PORT)) as lab:
        client = SwitchClient(lab.address, DEVICE_ID, load_schema(), SETUP_ELECTION)
        push_pipeline(client)
        client.close()
        command = [sys.executable, str(Path(sys.executable).with_name("ptf"))]
        command += ["--test-dir", str(ROOT / "ptf_tests" / "cases"), "--pypath", str(ROOT)]
        command += ["--test-params", f"server={lab.address!r};target={target!r}"]
        command += ["--log-file", str(logs / "ptf.log"), "--debug", "info"]
        command += ["--test-case-timeout", str(CASE_TIMEOUT_S), "--socket-recv-size", "65536"]
        for port in PORTS:
            command += ["--interface", f"{port}@{lab.interfaces[port]}"]
        return _relay([*command, *rest])


def _relay(command: list[str]) -> int:
    """Run ptf, pass on what it prints, and return its status; it is ended if it falls silent.

    ptf never ends by itself when its main thread fails, for example because nobody reads what it
    prints any more.
    """
    ptf = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert ptf.stdout is not None
        output = ptf.stdout.fileno()
        while select.select([output], [], [], SILENCE_LIMIT_S)[0]:
            printed = os.read(output, 65536)
            if not printed:
                return ptf.wait(SILENCE_LIMIT_S)
            sys.stdout.buffer.write(printed)
            sys.stdout.buffer.flush()
        print(f"ptf: silent for {SILENCE_LIMIT_S} s: ended")
        return 1
    finally:
        ptf.kill()
        ptf.wait()


if __name__ == "__main__":
    sys.exit(main())
