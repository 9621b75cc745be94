"""Runs inside an emulated host: sends numbered UDP packets at a rate, or accounts for them.

Both ends see one clock (CLOCK_MONOTONIC), and each packet says when it was sent: so a gap is what
the network lost, not what the receiver was late for. Standard library only.

    python -I -S stream.py send INTERFACE IP SECONDS PPS PORT:SOURCE [PORT:SOURCE ...]
    python -I -S stream.py receive INTERFACE SECONDS PORT [PORT ...]

`send` prints {"5201:40000": packets}; `receive` prints for each flow, as PORT:SOURCE,
{"packets": .., "twice": .., "gaps": [[last sent before, first sent after, packets lost], ..]} in
nanoseconds of the clock.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from array import array

PACKET = struct.Struct("!IQ")  # number, sent at
SIZE_BYTES = 100
BUFFER_BYTES = 1 << 24
TICK_S = 0.001
BURST = 20  # at most, however late we are: switches' queues are short
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h


def opened(interface: str, port: int) -> socket.socket:
    """A UDP socket on an interface; every address is on-link for it."""
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
        found.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    found.bind(("0.0.0.0", port))
    return found


def send(interface: str, ip: str, seconds: float, pps: float, flows: list[str]) -> None:
    """Packets of all flows in turn, `pps` in all."""
    pairs = [(int(port), int(source)) for port, source in (flow.split(":") for flow in flows)]
    sockets = [opened(interface, source) for _, source in pairs]
    targets = [(ip, port) for port, _ in pairs]
    padding = bytes(SIZE_BYTES - PACKET.size)
    sent, due = 0, 0.0
    last = begin = time.monotonic()
    while last - begin < seconds:
        now = time.monotonic()
        due = min(due + (now - last) * pps, BURST)
        last = now
        while due >= 1:
            number, place = divmod(sent, len(pairs))
            packet = PACKET.pack(number, time.monotonic_ns()) + padding
            try:
                sockets[place].sendto(packet, targets[place])
            except OSError:
                time.sleep(TICK_S)  # no neighbour entry yet
            sent += 1
            due -= 1
        time.sleep(TICK_S)
    counts = [sent // len(pairs) + (place < sent % len(pairs)) for place in range(len(pairs))]
    print(json.dumps(dict(zip(flows, counts, strict=True))))


def receive(interface: str, seconds: float, ports: list[int]) -> None:
    """Account for what comes in."""
    selector = selectors.DefaultSelector()
    for port in ports:
        bound = opened(interface, port)
        bound.setblocking(False)
        selector.register(bound, selectors.EVENT_READ, data=port)
    numbers: dict[tuple[int, int], array[int]] = {}
    times: dict[tuple[int, int], array[int]] = {}
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            try:
                while True:
                    data, (_, source) = key.fileobj.recvfrom(2048)  # type: ignore[union-attr]
                    number, sent_at = PACKET.unpack_from(data)
                    flow = (key.data, source)
                    if flow not in numbers:
                        numbers[flow], times[flow] = array("L"), array("Q")
                    numbers[flow].append(number)
                    times[flow].append(sent_at)
            except BlockingIOError:
                continue
    print(
        json.dumps(
            {
                f"{port}:{source}": account(numbers[port, source], times[port, source])
                for port, source in numbers
            }
        )
    )


def account(numbers: array[int], times: array[int]) -> dict[str, object]:
    """What is missing, and what came twice."""
    seen = dict(zip(numbers, times, strict=True))
    gaps = []
    previous: int | None = None
    for number in sorted(seen):
        if previous is not None and number != previous + 1:
            gaps.append([seen[previous], seen[number], number - previous - 1])
        previous = number
    return {"packets": len(seen), "twice": len(numbers) - len(seen), "gaps": gaps}


def main() -> None:
    verb, interface, *rest = sys.argv[1:]
    if verb == "send":
        ip, seconds, pps, *flows = rest
        send(interface, ip, float(seconds), float(pps), flows)
    else:
        receive(interface, float(rest[0]), [int(port) for port in rest[1:]])


if __name__ == "__main__":
    main()
