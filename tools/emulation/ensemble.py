"""`make zk-ensemble N=3`: a ZooKeeper ensemble on loopback for trials, until Ctrl-C.

Prints the connection string. Nothing is left of it: the files are in a temporary directory.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NoReturn

from emulation.zookeeper import Ensemble, ZooKeeperError

LOOK_S = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make zk-ensemble", description=__doc__)
    parser.add_argument("--servers", type=int, default=3, help="that vote: 1, 3, 5, ...")
    parser.add_argument("--observers", type=int, default=0)
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="dfvisor-zk-") as directory,
            Ensemble(directory, options.servers, options.observers) as ensemble,
        ):
            _show(ensemble)
            _follow(ensemble)
    except KeyboardInterrupt:
        return 0
    except (ZooKeeperError, ValueError) as error:
        print(f"zk-ensemble: {error}", file=sys.stderr)
        return 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _show(ensemble: Ensemble) -> None:
    for member in ensemble.members:
        print(f"{member.address}  pid {member.pid}  {member.mode()}")
    print(f"\nexport DFVISOR_ZOOKEEPER={ensemble.address}/dfvisor\n")
    print("Ctrl-C ends it and removes its data.", flush=True)


def _follow(ensemble: Ensemble) -> NoReturn:
    """Say who leads whenever that changes: somebody may kill single servers."""
    known = {member.address: member.mode() for member in ensemble.members}
    while True:
        time.sleep(LOOK_S)
        for member in ensemble.members:
            mode = member.mode()
            if mode != known[member.address]:
                known[member.address] = mode
                print(f"{member.address}  {mode or 'does not serve'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
