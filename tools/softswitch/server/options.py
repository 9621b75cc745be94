"""The command line: the flags of `simple_switch_grpc` that the project uses, with their meaning.

BMv2 separates its own options from its target's by `--`. Here either group is accepted on either
side of it, so one command line serves both programs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from softswitch.rates import Rate, parse_place, parse_rate
from softswitch.server.ports import Place, Port

DEFAULT_ADDRESS = "127.0.0.1:9559"
DROP_PORT = 511
QUEUES = 8
"""Values of `standard_metadata.priority` that the engine sends; beyond, it drops as BMv2 does."""
LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the process is to do. `notes` are remarks on flags that have no effect here."""

    device_id: int
    ports: tuple[Port, ...]
    cpu_port: int | None
    rates: Mapping[Place, Rate]
    captures: Path | None
    control: Path | None
    config: Path | None
    compile_only: bool
    address: str
    packets_address: str | None
    bmv2_compat: bool
    cache_dir: Path
    log_level: str
    log_console: bool
    notes: tuple[str, ...]


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME` or `~/.cache`, or `/var/cache` for a user without a home, plus our name."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        root = Path(base)
    else:
        home = Path(os.path.expanduser("~"))
        root = home / ".cache" if home.is_absolute() and home.is_dir() else Path("/var/cache")
    return root / "dfvisor" / "softswitch"


def _port(text: str) -> Port:
    number, at, interface = text.partition("@")
    if not at or not interface or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected <port number>@<interface>")
    if not 0 <= int(number) < DROP_PORT:
        raise argparse.ArgumentTypeError(f"{text!r}: port number, expected 0..{DROP_PORT - 1}")
    return Port(int(number), interface)


def _rate(text: str) -> tuple[Place, Rate]:
    place, equals, rate = text.partition("=")
    try:
        found = parse_rate(rate)
        if not equals or found is None:
            raise ValueError(f"{text!r}: expected <port number>[/<queue>]=<rate>")
        return parse_place(place), found
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number above 0")
    return int(text)


def _device(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of up to 64 bits")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="softswitch",
        usage="softswitch [options] (--no-p4 | CONFIG.json) [-- target options]\n"
        "       softswitch --compile-only [--cache-dir DIR] CONFIG.json\n"
        "       softswitch stf CONFIG.json TEST.stf",
        description="A software switch for P4 programs compiled for BMv2's v1model: it compiles "
        "the BMv2 JSON to machine code and serves P4Runtime.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("config", nargs="?", type=Path, help="BMv2 JSON to forward by from the start")
    add(
        "--compile-only",
        action="store_true",
        help="compile CONFIG.json into the cache and exit: a later push of it is quick",
    )
    add("--no-p4", action="store_true", help="start empty, wait for a P4Runtime pipeline push")
    add("--device-id", type=_device, default=0, metavar="N", help="P4Runtime device id [0]")
    add(
        "-i",
        "--interface",
        type=_port,
        action="append",
        default=[],
        metavar="PORT@IFACE",
        help="attach a network interface as a port; can be repeated",
    )
    add(
        "--grpc-server-addr",
        default=DEFAULT_ADDRESS,
        metavar="ADDR",
        help=f"host:port or unix:/path [{DEFAULT_ADDRESS}]",
    )
    add(
        "--dp-grpc-server-addr",
        metavar="ADDR",
        help="packets over gRPC at this address instead of interfaces",
    )
    add(
        "--bmv2-compat",
        action="store_true",
        help="follow BMv2's server, not the specification, where clients lean on it",
    )
    add("-L", "--log-level", choices=LOG_LEVELS, default="warn", help="log this level and above")
    add("--log-console", action="store_true", help="log to stdout instead of stderr")
    add("--cache-dir", type=Path, metavar="DIR", help=f"compiled pipelines [{default_cache_dir()}]")
    add("--priority-queues", type=_count, metavar="N", help=f"accepted; there are {QUEUES}")
    add("--cpu-port", type=_count, metavar="N", help="port of packet-in and packet-out")
    add(
        "--port-rate",
        type=_rate,
        action="append",
        default=[],
        metavar="PORT[/QUEUE]=RATE",
        help="let a port, or a queue of it, send at most so many packets (1000, 10kpps) or bits "
        "(2Mbps) per second; can be repeated",
    )
    add("--pcap", type=Path, metavar="DIR", help="write what each port receives and sends to DIR")
    add("--ctl", type=Path, metavar="PATH", help="answer `softswitch ctl` at this unix socket")
    add("--drop-port", type=_count, default=DROP_PORT, metavar="N", help=f"only {DROP_PORT}")
    add("--thrift-port", type=_count, metavar="N", help="ignored: there is no Thrift server")
    for name in ("--max-mc-groups", "--max-l1-entries", "--max-l2-entries"):
        add(name, type=_count, metavar="N", help="ignored: replication has no such limit")
    add("--disable-swap", action="store_true", help="ignored: nothing swaps JSON at run time")
    return parser


def parse_options(arguments: Sequence[str]) -> Options:
    """Parse a command line (without the program's name). Exits with status 2 on bad usage."""
    parser = _parser()
    given = list(arguments)
    if "--" in given:
        given.remove("--")
    args = parser.parse_args(given)
    if args.config is None and not args.no_p4:
        parser.error("give a BMv2 JSON file, or --no-p4 to start without one")
    if args.compile_only and (args.config is None or args.no_p4):
        parser.error("--compile-only takes a BMv2 JSON file, and no --no-p4")
    if args.drop_port != DROP_PORT:
        parser.error(f"--drop-port {args.drop_port}: only {DROP_PORT} is supported")
    for what in ("number", "interface"):
        values = [getattr(port, what) for port in args.interface]
        for value in {value for value in values if values.count(value) > 1}:
            parser.error(f"-i: port {what} {value} is given twice")
    numbers = [port.number for port in args.interface]
    if args.cpu_port is not None and args.cpu_port >= DROP_PORT:
        parser.error(f"--cpu-port {args.cpu_port}: expected 1..{DROP_PORT - 1}")
    if args.cpu_port in numbers:
        parser.error(f"--cpu-port {args.cpu_port}: is also the port of an interface")
    for (number, _queue), _rate in args.port_rate:
        if args.dp_grpc_server_addr is not None:
            parser.error("--port-rate: not with packets over gRPC")
        if number not in numbers:
            parser.error(f"--port-rate: there is no port {number}")
    notes = []
    if args.config is not None and args.no_p4:
        notes.append(f"{args.config} is ignored because of --no-p4")
    if args.thrift_port is not None:
        notes.append("--thrift-port is ignored: there is no Thrift server")
    if args.priority_queues not in (None, QUEUES):
        notes.append(f"--priority-queues {args.priority_queues}: there are always {QUEUES}")
    if args.dp_grpc_server_addr is not None and args.interface:
        notes.append("-i is ignored: packets go over gRPC (--dp-grpc-server-addr)")
    return Options(
        device_id=args.device_id,
        ports=() if args.dp_grpc_server_addr is not None else tuple(args.interface),
        cpu_port=args.cpu_port,
        rates=dict(args.port_rate),
        captures=args.pcap,
        control=args.ctl,
        config=None if args.no_p4 else args.config,
        compile_only=args.compile_only,
        address=args.grpc_server_addr,
        packets_address=args.dp_grpc_server_addr,
        bmv2_compat=args.bmv2_compat,
        cache_dir=args.cache_dir or default_cache_dir(),
        log_level=args.log_level,
        log_console=args.log_console,
        notes=tuple(notes),
    )
