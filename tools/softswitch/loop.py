"""The event loop of the switch's P4Runtime server, and gRPC below it.

To be imported before anything else imports gRPC, which reads its environment then.

What a controller waits for after a small Write is mostly turns of the event loop and changes of
threads. uvloop's turns are cheaper; without gRPC's event engine the thread that waits for
completions reads by itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine

import uvloop

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

import grpc.aio

RECEIVE_MAX_BYTES = 64 << 20
"""Largest request: a pipeline push carries the whole BMv2 JSON."""


def run(main: Coroutine[object, object, None]) -> None:
    """As `asyncio.run`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def server() -> grpc.aio.Server:
    """One that listens nowhere yet."""
    return grpc.aio.server(
        options=(
            ("grpc.so_reuseport", 0),  # a second switch at this address must fail, not share it
            ("grpc.max_receive_message_length", RECEIVE_MAX_BYTES),
            ("grpc.max_send_message_length", -1),
        )
    )
