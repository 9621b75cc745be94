"""Runs inside an emulated host: answers UDP questions, asks them, and keeps a stream going.

Commands are JSON objects, one a line, on standard input; each is answered by one line. Standard
library only, so that many start quickly. All sockets are bound to the host's interface, which
also makes every address on-link for them.

    {"op": "listen", "ports": [5300]}                            -> {} (and to no others)
    {"op": "ask", "to": [["10.0.0.2", 5300]], "wait_s": 1}       -> {"answers": {"10.0.0.2": "r2"}}
    {"op": "heard"}                                              -> {"heard": ["r1 10.0.0.2"]}
    {"op": "flow", "ip": "10.0.0.2", "port": 5201, "source": 40000, "count": 20}
                                                      -> {"rtt_ms": [0.4, ..]} (null: lost)
    {"op": "stream", "ip": .., "port": .., "source": .., "interval_s": 0.01}          -> {}
    {"op": "stop"}                    -> {"sent": 100, "lost": 0, "gap_ms": 12.0}
    {"op": "load", "loads": [["10.0.0.2", 5201, 40000, 1000, 2000]], "seconds": 2,
     "burst": 20}                               -> {"sent": [4000], "seconds": 2.0}
                 (of each: to, port, from port, bytes, packets/s; at most `burst` of them at once)
    {"op": "burst", "ip": .., "port": .., "source": .., "size": 100, "count": 1000}
                                -> {"seconds": 0.004} (as load, but all back to back)
    {"op": "swallowed"}               -> {"swallowed": {"5201": 4000}} (load received since asked)

    python -I -S probe.py NAME INTERFACE
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any

FLOW_TIMEOUT_S = 1.0
ANSWER_BYTES = 256
LOAD = b"-"  # begins a packet that wants no answer
LOAD_TICK_S = 0.001
BUFFER_BYTES = 1 << 22
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h


class Probe:
    """One host's probe; `name` is what it answers with."""

    def __init__(self, name: str, interface: str) -> None:
        self._name = name
        self._interface = interface
        self._heard: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stream: threading.Thread | None = None
        self._report: dict[str, float] = {}
        self._server: threading.Thread | None = None
        self._end_server, _ = socket.socketpair()
        self._swallowed: Counter[int] = Counter()

    def handle(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command and return its answer."""
        operation = command.pop("op")
        call = getattr(self, f"op_{operation}")
        answer: dict[str, Any] = call(**command)
        return answer

    def op_listen(self, ports: list[int]) -> dict[str, Any]:
        if self._server:
            self._end_server.send(b".")
            self._server.join()
        self._server, (self._end_server, wake) = None, socket.socketpair()
        selector = selectors.DefaultSelector()
        selector.register(wake, selectors.EVENT_READ, data="end")
        for port in ports:
            selector.register(self._socket(port), selectors.EVENT_READ, data=port)
        self._server = threading.Thread(target=self._serve, args=(selector,), daemon=True)
        self._server.start()
        return {}

    def op_ask(self, to: list[tuple[str, int]], wait_s: float) -> dict[str, Any]:
        answers: dict[str, str] = {}
        with self._socket() as endpoint:
            for ip, port in to:
                with contextlib.suppress(OSError):  # what an ARP failure says for the one before
                    endpoint.sendto(f"{self._name} {ip}".encode(), (ip, port))
            deadline = time.monotonic() + wait_s
            while len(answers) < len(to) and (left := deadline - time.monotonic()) > 0:
                endpoint.settimeout(left)
                with contextlib.suppress(OSError):
                    data, (ip, _) = endpoint.recvfrom(ANSWER_BYTES)
                    answers[ip] = data.decode().split()[0]
        return {"answers": answers}

    def op_heard(self) -> dict[str, Any]:
        with self._lock:
            return {"heard": sorted(self._heard)}

    def op_flow(self, ip: str, port: int, source: int, count: int) -> dict[str, Any]:
        rtts: list[float | None] = []
        with self._socket(source) as endpoint:
            endpoint.settimeout(FLOW_TIMEOUT_S)
            for number in range(count):
                question = f"{self._name} #{number}".encode()
                begin = time.perf_counter()
                try:
                    endpoint.sendto(question, (ip, port))
                    while not endpoint.recv(ANSWER_BYTES).endswith(question):
                        pass  # a late answer to an earlier question
                except OSError:
                    rtts.append(None)
                else:
                    rtts.append((time.perf_counter() - begin) * 1e3)
        return {"rtt_ms": rtts}

    def op_stream(self, ip: str, port: int, source: int, interval_s: float) -> dict[str, Any]:
        self._stop.clear()
        self._stream = threading.Thread(
            target=self._keep_sending, args=(ip, port, source, interval_s), daemon=True
        )
        self._stream.start()
        return {}

    def op_stop(self) -> dict[str, Any]:
        self._stop.set()
        if self._stream:
            self._stream.join()
        return dict(self._report)

    def op_load(
        self, loads: list[tuple[str, int, int, int, float]], seconds: float, burst: int
    ) -> dict[str, Any]:
        sent = [0] * len(loads)
        due = [0.0] * len(loads)
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(self._socket(source)) for _, _, source, _, _ in loads]
            begin = last = time.perf_counter()
            while last - begin < seconds:
                now = time.perf_counter()
                for number, (ip, port, _, size, pps) in enumerate(loads):
                    due[number] = min(due[number] + (now - last) * pps, burst)
                    while due[number] >= 1:
                        sockets[number].sendto(LOAD.ljust(size, LOAD), (ip, port))
                        sent[number] += 1
                        due[number] -= 1
                last = now
                time.sleep(LOAD_TICK_S)
        return {"sent": sent, "seconds": last - begin}

    def op_burst(self, ip: str, port: int, source: int, size: int, count: int) -> dict[str, Any]:
        packet = LOAD.ljust(size, LOAD)
        with self._socket(source) as endpoint:
            begin = time.perf_counter()
            for _ in range(count):
                endpoint.sendto(packet, (ip, port))
            return {"seconds": time.perf_counter() - begin}

    def op_swallowed(self) -> dict[str, Any]:
        with self._lock:
            found, self._swallowed = self._swallowed, Counter()
        return {"swallowed": found}

    def _socket(self, port: int = 0) -> socket.socket:
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
            endpoint.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode())
        endpoint.bind(("0.0.0.0", port))
        return endpoint

    def _serve(self, selector: selectors.BaseSelector) -> None:
        while True:
            for key, _ in selector.select():
                if key.data == "end":
                    for registered in list(selector.get_map().values()):
                        registered.fileobj.close()  # type: ignore[union-attr]
                    return
                endpoint: socket.socket = key.fileobj  # type: ignore[assignment]
                with contextlib.suppress(OSError):
                    question, sender = endpoint.recvfrom(ANSWER_BYTES)
                    if question.startswith(LOAD):
                        with self._lock:
                            self._swallowed[key.data] += 1
                        continue
                    endpoint.sendto(f"{self._name} ".encode() + question, sender)
                    if b"#" not in question:
                        with self._lock:
                            self._heard.add(question.decode())

    def _keep_sending(self, ip: str, port: int, source: int, interval_s: float) -> None:
        """One question every interval; each is answered or lost on its own."""
        sent = 0
        answered: set[bytes] = set()
        last = time.monotonic()
        gap = 0.0
        with self._socket(source) as endpoint:
            next_at = last
            closing: float | None = None
            while closing is None or time.monotonic() < closing:
                if closing is None and time.monotonic() >= next_at:
                    if self._stop.is_set():
                        closing = time.monotonic() + 0.3  # for answers still on their way
                    else:
                        with contextlib.suppress(OSError):
                            endpoint.sendto(f"{self._name} #{sent}".encode(), (ip, port))
                        sent += 1
                        next_at += interval_s
                endpoint.settimeout(max(0.001, min(next_at - time.monotonic(), interval_s)))
                with contextlib.suppress(OSError):
                    answered.add(endpoint.recv(ANSWER_BYTES))
                    gap = max(gap, time.monotonic() - last)
                    last = time.monotonic()
        self._report = {"sent": sent, "lost": sent - len(answered), "gap_ms": gap * 1e3}


def main() -> None:
    probe = Probe(sys.argv[1], sys.argv[2])
    for line in sys.stdin:
        print(json.dumps(probe.handle(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
