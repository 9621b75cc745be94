"""Link states: netlink messages, and the kernel's own notifications."""

from __future__ import annotations

import asyncio
import struct

import pytest
from softswitch.server.links import Link, Links, LinkWatcher, parse_links
from softswitch.tests.namespace import in_namespace, ip, veth

TIMEOUT_S = 5


def attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust(
        4 + (len(value) + 3) // 4 * 4, b"\0"
    )


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def link(kind: int, name: str, state: int | None) -> bytes:
    body = bytes(16) + attribute(3, name.encode() + b"\0")
    if state is not None:
        body += attribute(16, bytes([state]))
    return message(kind, body)


def test_parse_links_reads_names_and_states() -> None:
    data = link(16, "a", 6) + link(16, "bcd", 2) + link(16, "tap", 0) + link(17, "gone", 6)
    assert list(parse_links(data)) == [
        Link("a", True),
        Link("bcd", False),
        Link("tap", True),
        Link("gone", False),
    ]


def test_parse_links_tells_the_end_of_a_dump_and_ignores_the_rest() -> None:
    data = message(2, struct.pack("=i", 0)) + link(16, "x", None) + message(24, bytes(8))
    assert list(parse_links(data + message(3, b""))) == [None]
    assert list(parse_links(b"\x04\0\0\0" + bytes(12))) == []


def test_parse_links_raises_the_kernels_error() -> None:
    with pytest.raises(PermissionError):
        list(parse_links(message(2, struct.pack("=i", -1))))


def test_links_tell_of_changes_once() -> None:
    links = Links([1, 2])
    seen: list[int] = []
    links.listen(seen.append)
    for port, up in ((1, True), (1, False), (1, False), (2, False), (1, True)):
        links.update(port, up)
    assert seen == [1, 2, 1]
    assert (links.is_up(1), links.is_up(2), links.is_up(3)) == (True, False, False)


def test_watcher_follows_carrier_removal_and_return() -> None:
    async def follow() -> None:
        links = Links([1, 2])
        changed = asyncio.Event()
        links.listen(lambda _port: changed.set())
        watcher = LinkWatcher(links, {"s1": 1, "s2": 2})
        watcher.start()

        async def until(states: tuple[bool, bool]) -> None:
            async with asyncio.timeout(TIMEOUT_S):
                while (links.is_up(1), links.is_up(2)) != states:
                    await changed.wait()
                    changed.clear()

        await until((True, False))  # as they were at the start
        ip("link", "set", "h1", "down")
        await until((False, False))
        ip("link", "set", "h1", "up")
        ip("link", "set", "h2", "up")
        await until((True, True))
        ip("link", "delete", "s2")
        await until((True, False))
        veth("s2", "h2")
        await until((True, True))
        watcher.close()
        watcher.close()

    def body() -> None:
        for number in (1, 2):
            veth(f"s{number}", f"h{number}")
        ip("link", "set", "h2", "down")
        asyncio.run(follow())

    in_namespace(body)
