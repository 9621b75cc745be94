"""Which ports are up: a table of link states, kept by the kernel's link notifications (AF_NETLINK).

A port is up when its interface's operational state is up or unknown (interfaces that have no
carrier to report), as with BMv2. Nothing is polled: the kernel says when a link changes.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x001, 0x300
_RTMGRP_LINK = 1
_IFLA_IFNAME, _IFLA_OPERSTATE = 3, 16
_OPER_UNKNOWN, _OPER_UP = 0, 6
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_IFINFO_BYTES = 16
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_RECEIVE_BYTES = 1 << 16
_DUMP_TIMEOUT_S = 2.0


class Links:
    """The ports that exist and whether each is up. A listener is told of every change."""

    def __init__(self, ports: Iterable[int], *, all_exist: bool = False) -> None:
        """With `all_exist`, every number is a port, and up until it is said to be down."""
        self._up = dict.fromkeys(ports, True)
        self._others = all_exist
        self._listener: Callable[[int], None] | None = None

    def is_up(self, port: int) -> bool:
        """Whether packets can leave by it; False for a port that does not exist."""
        return self._up.get(port, self._others)

    def listen(self, listener: Callable[[int], None]) -> None:
        """Call this with the port after each change; there is one listener."""
        self._listener = listener

    def update(self, port: int, up: bool) -> None:
        """Set a port's state."""
        if self.is_up(port) == up:
            return
        self._up[port] = up
        log.info("port %d is %s", port, "up" if up else "down")
        if self._listener is not None:
            self._listener(port)


@dataclass(frozen=True, slots=True)
class Link:
    """One link message: an interface's name and whether it is up (a removed one is down)."""

    name: str
    up: bool


def parse_links(data: bytes) -> Iterator[Link | None]:
    """The link messages of one netlink datagram; None where a dump ends. Raises OSError for an
    error message of the kernel."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        body = data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3
        if kind == _NLMSG_DONE:
            yield None
        elif kind == _NLMSG_ERROR:
            number = -int.from_bytes(body[:4], sys.byteorder, signed=True)
            if number:
                raise OSError(number, f"netlink: {os.strerror(number)}")
        elif kind in (_RTM_NEWLINK, _RTM_DELLINK):
            link = _parse_link(body[_IFINFO_BYTES:], removed=kind == _RTM_DELLINK)
            if link is not None:
                yield link


def _parse_link(attributes: bytes, *, removed: bool) -> Link | None:
    name = state = None
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if length < _ATTRIBUTE.size:
            break
        value = attributes[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
        if kind == _IFLA_IFNAME:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif kind == _IFLA_OPERSTATE:
            state = value[0]
    if name is None or (state is None and not removed):
        return None
    return Link(name, not removed and state in (_OPER_UNKNOWN, _OPER_UP))


class LinkWatcher:
    """Keeps `links` up to date from the interfaces' notifications. Needs no privileges."""

    def __init__(self, links: Links, ports: Mapping[str, int]) -> None:
        """`ports` maps interface names to port numbers."""
        self._links = links
        self._ports = ports
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Read all states, then follow them on the running event loop. Raises OSError."""
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            opened.bind((0, _RTMGRP_LINK))
            opened.settimeout(_DUMP_TIMEOUT_S)
            _request_dump(opened)
            while not self._take(opened.recv(_RECEIVE_BYTES)):
                pass
            opened.setblocking(False)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._on_readable, opened)

    def close(self) -> None:
        """Stop following; safe twice."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _on_readable(self, opened: socket.socket) -> None:
        try:
            while True:
                self._take(opened.recv(_RECEIVE_BYTES))
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                log.error("link states are not followed any more: %s", error)
                self.close()
                return
            _request_dump(opened)  # notifications were lost: ask for all states again

    def _take(self, data: bytes) -> bool:
        """Handle a datagram; returns whether it ended a dump."""
        ended = False
        for link in parse_links(data):
            if link is None:
                ended = True
            elif (port := self._ports.get(link.name)) is not None:
                self._links.update(port, link.up)
        return ended


def _request_dump(opened: socket.socket) -> None:
    length = _HEADER.size + _IFINFO_BYTES
    header = _HEADER.pack(length, _RTM_GETLINK, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
    opened.send(header + bytes(_IFINFO_BYTES))
