"""The `dfvisor-vnc` command: arguments, logging, signals.

SIGTERM and SIGINT end it with status 0; another daemon takes its VNs over at once, and switches
keep their entries.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dfvisor import daemon, metrics
from dfvisor.errors import DFVisorError
from dfvisor.p4rt import tls
from dfvisor.store import credentials
from dfvisor.vnc.daemon import Daemon


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon until a signal; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format=f"%(asctime)s {options.name} %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("kazoo").setLevel(logging.WARNING)
    try:
        daemon.run(_run(options))
    except DFVisorError as error:
        print(f"dfvisor-vnc: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    try:
        options.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DFVisorError(f"{options.data_dir}: {error.strerror}") from error
    _allow_connections()
    address, login = credentials.given(options, credentials.Role.CONTROLLER)
    controller = Daemon(address, options.data_dir, options.name, tls.given(options), login)
    if options.metrics is not None:
        metrics.serve(options.metrics, controller.reading)
    running = asyncio.create_task(controller.run(), name="daemon")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("ended; the switches keep their entries")


def _allow_connections() -> None:
    """Every VN has a connection of its own to each of its switches: as many files as allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dfvisor-vnc",
        description="A DFVisor VN controller: turns the flowspaces of virtual networks into flow "
        "entries on the switches. Any number of them share the virtual networks.",
    )
    credentials.add_arguments(parser)
    parser.add_argument(
        "--data-dir", required=True, type=Path, metavar="DIR", help="for the status file"
    )
    parser.add_argument("--name", required=True, help="what others call this daemon; unique")
    tls.add_arguments(parser, "towards slicers")
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="where Prometheus finds what is counted"
    )
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error")
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
