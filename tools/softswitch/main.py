"""The `softswitch` process: command line, signals, start and stop.

Prints `softswitch: listening on ADDR` on stdout when it answers P4Runtime. SIGTERM and SIGINT end
it with status 0 within a second; what keeps it from starting ends it with status 1 and one line on
stderr (gRPC adds a line of its own when it cannot bind).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from softswitch import loop
from softswitch.server.control import Control, ask
from softswitch.server.dataplane import engine_builder
from softswitch.server.errors import RequestError
from softswitch.server.options import Options, parse_options
from softswitch.server.pipeline import realize
from softswitch.server.ports import PortHost, check_ports
from softswitch.server.rpc import add_to_server
from softswitch.server.service import P4RuntimeService
from softswitch.stf import command as stf

if TYPE_CHECKING:
    import grpc.aio

log = logging.getLogger(__name__)

GC_THRESHOLDS = (20_000, 20, 20)
STOP_TIMEOUT_S = 0.5
BUILD_END_TIMEOUT_S = 0.3

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
}


class StartError(Exception):
    """The switch cannot start; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the switch until a signal; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["stf"]:
        return stf.run(given[1:])
    if given and given[0] == "ctl":
        status, text = ask(given[1:])
        if text:
            print(text, file=sys.stderr if status else sys.stdout)
        return status
    # a batch of entries makes many objects, none of them in a cycle: look for cycles less often
    gc.set_threshold(*GC_THRESHOLDS)
    gc.freeze()  # what is imported stays
    options = parse_options(given)
    logging.basicConfig(
        stream=sys.stdout if options.log_console else sys.stderr,
        level=_LEVELS[options.log_level],
        format="softswitch: %(levelname)s: %(message)s",
    )
    for note in options.notes:
        print(f"softswitch: note: {note}", file=sys.stderr)
    try:
        if options.compile_only:
            _compile(options)
        else:
            loop.run(_serve(options))
    except StartError as error:
        print(f"softswitch: error: {error}", file=sys.stderr)
        return 1
    return 0


def _compile(options: Options) -> None:
    """Leave the compiled pipeline in the cache."""
    assert options.config is not None
    begin = time.monotonic()
    try:
        realize(_read(options.config), engine_builder(options.cache_dir)).close()
    except RequestError as error:
        raise StartError(f"{options.config}: {error.message}") from error
    seconds = time.monotonic() - begin
    print(f"softswitch: {options.config} is compiled, in {options.cache_dir} ({seconds:.1f} s)")


async def _serve(options: Options) -> None:
    problems = check_ports(options.ports)
    if problems:
        raise StartError("; ".join(problems))
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)

    ports = PortHost(
        options.ports,
        cpu_port=options.cpu_port,
        rates=options.rates,
        captures=options.captures,
        over_grpc=options.packets_address is not None,
    )
    try:
        ports.watch()
    except OSError as error:
        raise StartError(f"cannot follow the interfaces' link states: {error}") from error
    control = Control(ports)
    try:
        ports.clear_captures()
        if options.control is not None:
            await control.start(options.control)
    except OSError as error:
        raise StartError(f"{error.filename or options.control}: {error.strerror}") from error
    service = P4RuntimeService(
        options.device_id,
        engine_builder(options.cache_dir),
        ports,
        bmv2_compat=options.bmv2_compat,
    )
    server = loop.server()
    add_to_server(service, server)
    servers = [server]
    try:
        if options.config is not None:
            await _until(stop, _preload(service, options.config))
        if not stop.is_set():
            if options.packets_address is not None:
                packets = loop.server()
                servers.append(packets)
                service.packet_service().add_to(packets)
                address = await _listen(packets, options.packets_address)
                print(f"softswitch: packets at {address}", flush=True)
            address = await _listen(server, options.address)
            print(f"softswitch: listening on {address}", flush=True)
            await stop.wait()
    finally:
        control.close()
        await _shut_down(servers, service)


async def _preload(service: P4RuntimeService, config: Path) -> None:
    try:
        await service.preload(_read(config))
    except RequestError as error:
        raise StartError(f"{config}: {error.message}") from error


def _read(config: Path) -> bytes:
    try:
        return config.read_bytes()
    except OSError as error:
        raise StartError(f"cannot read {config}: {error.strerror}") from error


async def _until(stop: asyncio.Event, work: Coroutine[object, object, None]) -> None:
    """Await the work, or the stop signal, whichever comes first."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


async def _listen(server: grpc.aio.Server, address: str) -> str:
    """Bind and start; returns the address with the port really bound (for port 0)."""
    path = address.removeprefix("unix:")
    if path != address and _answers(path):  # gRPC would take the path over in silence
        raise StartError(f"cannot listen on {address}: another process does")
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address}") from error
    if port == 0:
        raise StartError(f"cannot listen on {address}")
    await server.start()
    if address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"


def _answers(path: str) -> bool:
    """Whether somebody listens at a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


async def _shut_down(servers: Sequence[grpc.aio.Server], service: P4RuntimeService) -> None:
    """Stop within STOP_TIMEOUT_S. A C compiler still at work is ended: nobody waits for it."""
    late = False
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await asyncio.gather(*(server.stop(grace=None) for server in servers))
            await service.close()
    except TimeoutError:
        log.error("not stopped after %s s: leaving", STOP_TIMEOUT_S)
        late = True
    if service.busy:  # a pipeline is being built: no client waits for it any more
        _end_children()
        await service.wait_idle(BUILD_END_TIMEOUT_S)
    if late or service.busy:  # the interpreter would wait for the thread that is still at work
        sys.stdout.flush()
        os._exit(0)


def _end_children() -> None:
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:  # the thread has ended
            continue
        for pid in children:
            try:
                os.kill(int(pid), signal.SIGTERM)
            except ProcessLookupError:
                continue


if __name__ == "__main__":
    sys.exit(main())
