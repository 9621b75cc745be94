"""What `softswitch ctl` asks of a running switch: rates and statistics, at a unix socket.

A request is a line of JSON, an array of words such as `["rate", "2/7", "10Mbps"]`; so is its
answer: `{"ok": ...}` or `{"error": "..."}`. Only the socket's owner can connect.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from softswitch.errors import EngineError
from softswitch.rates import parse_place, parse_rate
from softswitch.server.ports import PortHost

MOST_BYTES = 4096
TIMEOUT_S = 5.0
USAGE = """usage: softswitch ctl PATH stats
       softswitch ctl PATH rate PORT[/QUEUE] (RATE | off)     such as 1000, 10kpps, 2Mbps"""


class Control:
    """Answers requests on the running event loop."""

    def __init__(self, ports: PortHost) -> None:
        self._ports = ports
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen; a socket that nobody listens at any more is replaced. Raises OSError."""
        _clear(path)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path, limit=MOST_BYTES)
        finally:
            os.umask(before)
        self._path = path

    def close(self) -> None:
        """Stop listening; safe twice."""
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = self.answer(await reader.readline())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            return  # too slow, too long, or gone: it gets no answer
        finally:
            writer.close()

    def answer(self, line: bytes) -> dict[str, object]:
        """The answer to one request."""
        try:
            words = json.loads(line)
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError("expected an array of words")
            return {"ok": self._do(words)}
        except (ValueError, EngineError) as error:
            return {"error": str(error)}
        except KeyError as error:
            return {"error": str(error.args[0])}

    def _do(self, words: Sequence[str]) -> object:
        match words:
            case ["stats"]:
                return self._stats()
            case ["rate", place, rate]:
                self._ports.set_rate(parse_place(place), parse_rate(rate))
                return None
        raise ValueError(f"{' '.join(words)!r} is not understood")

    def _stats(self) -> dict[str, object]:
        engine = self._ports.engine()
        if engine is None:
            raise ValueError("nothing forwards: there is no pipeline yet")
        rates = self._ports.rates()
        found: dict[str, object] = {}
        for number, stats in engine.port_stats().items():
            queues = engine.queue_stats(number)
            found[str(number)] = {
                **asdict(stats),
                "link": self._ports.links.is_up(number),
                "rate": _text(rates.get((number, None))),
                "queues": [
                    {**asdict(queue), "rate": _text(rates.get((number, place)))}
                    for place, queue in enumerate(queues)
                ],
            }
        return {"ports": found, "drops": asdict(engine.drop_stats())}


def _text(rate: object) -> str | None:
    return None if rate is None else str(rate)


def _clear(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()


def ask(arguments: Sequence[str]) -> tuple[int, str]:
    """`softswitch ctl`: exit status, and what to print (on stderr if the status is not 0)."""
    if len(arguments) < 2:
        return 2, USAGE
    path, *words = arguments
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(path)
            connection.sendall(json.dumps(words).encode() + b"\n")
            with connection.makefile("rb") as file:
                answer = json.loads(file.readline())
        except (OSError, ValueError) as error:
            return 1, f"softswitch: error: {path}: {error}"
    if "error" in answer:
        return 1, f"softswitch: error: {answer['error']}"
    return 0, "" if answer["ok"] is None else json.dumps(answer["ok"], indent=2)
