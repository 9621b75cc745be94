"""The `dfvisor-agent` command: arguments, logging, signals.

SIGTERM and SIGINT end it with status 0 and leave the switch forwarding; what keeps it from starting
ends it with status 1 and one line on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dfvisor import daemon, metrics
from dfvisor.agent.agent import Agent, Settings
from dfvisor.agent.pipeline import JSON_NAME, P4INFO_NAME, Pipeline, default_directory
from dfvisor.errors import DFVisorError
from dfvisor.p4rt import tls
from dfvisor.slicer.server import SlicerServer
from dfvisor.store import credentials

LOCAL_DATABASE = "agent.sqlite"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent until a signal; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format=f"%(asctime)s {options.switch} %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("kazoo").setLevel(logging.WARNING)
    failed = False
    try:
        daemon.run(_run(options))
    except* DFVisorError as group:
        failed = True
        for error in group.exceptions:
            print(f"dfvisor-agent: {error}", file=sys.stderr)
    return int(failed)


async def _run(options: argparse.Namespace) -> None:
    directory = default_directory()
    pipeline = Pipeline.load(
        options.pipeline_json or directory / JSON_NAME, options.p4info or directory / P4INFO_NAME
    )
    try:
        options.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DFVisorError(f"{options.data_dir}: {error.strerror}") from error
    address, login = credentials.given(options, credentials.Role.AGENT)
    settings = Settings(
        switch=options.switch,
        p4runtime=options.p4runtime,
        zookeeper=address,
        credentials=login,
        listen=options.listen,
        advertise=options.advertise,
        target=options.target,
    )
    database = options.data_dir / LOCAL_DATABASE
    certificates = tls.given(options)
    if certificates is None and not tls.is_local(options.listen):
        raise DFVisorError(
            f"--listen {options.listen} without TLS: anybody could say to be anybody; give "
            f"--tls-cert, --tls-key and --tls-ca, or listen on a loopback address"
        )
    slicer = partial(SlicerServer, tls=certificates)
    agent = Agent(settings, database, pipeline, slicer)
    if options.metrics is not None:
        metrics.serve(options.metrics, agent.reading)
    await _until_signal(agent)


async def _until_signal(agent: Agent) -> None:
    running = asyncio.create_task(agent.run(), name="agent")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("ended; the switch goes on forwarding")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dfvisor-agent",
        description="The DFVisor agent of one switch: keeps its tables equal to the database, "
        "serves slice controllers, pushes statistics.",
    )
    parser.add_argument("--switch", required=True, help="the switch's name in the database")
    parser.add_argument(
        "--p4runtime", required=True, metavar="ADDR", help="host:port or unix:/path of the switch"
    )
    credentials.add_arguments(parser)
    parser.add_argument(
        "--data-dir", required=True, type=Path, metavar="DIR", help="for the local database"
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:0",
        metavar="ADDR",
        help="where slice controllers are served (default %(default)s: any free port)",
    )
    tls.add_arguments(parser, "of the slicer; without it only loopback is served")
    parser.add_argument(
        "--advertise", metavar="HOST", help="the host to tell others, if not as in --listen"
    )
    parser.add_argument(
        "--target", default="unknown", help="what the switch is, for people: bmv2 or softswitch"
    )
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="where Prometheus finds what is counted"
    )
    parser.add_argument("--pipeline-json", type=Path, metavar="FILE", help="compiled P4 program")
    parser.add_argument("--p4info", type=Path, metavar="FILE", help="its P4Info, in text form")
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error")
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
