"""One connection to a ZooKeeper server: opened and greeted by a thread, afterwards never blocking.

Encoding and authentication by kazoo and puresasl; only session.py uses this. A connection may be
used by two threads: the one that reads and writes, and the one that keeps the session alive while
the first is busy with something else.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any

import puresasl
import puresasl.client
from kazoo.exceptions import EXCEPTIONS
from kazoo.protocol import serialization as jute

from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.store.credentials import Credentials, Login, Tls

WATCH_XID, PING_XID, AUTH_XID = -1, -2, -4
HUNG_S = 30.0  # an event loop that has not moved for so long is not believed to do so again
_RECEIVE_BYTES = 1 << 18
_NO_PASSWORD = b"\0" * 16
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Expired(StoreError):
    """The server has ended the session."""


class Refused(StoreUnavailable):
    """The server does not take the credentials."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A session, as the server knows it; id 0: none yet."""

    session_id: int = 0
    password: bytes = _NO_PASSWORD


def frame(request: Any, xid: int | None) -> bytes:
    """A request as it is sent; the first of a connection has no number."""
    body = bytes(request.serialize())
    if xid is not None:
        body = struct.pack(">ii", xid, request.type) + body
    return struct.pack(">i", len(body)) + body


_PING = frame(jute.PingInstance, PING_XID)


class Connection:
    """An open one. `interval_s`: the server is to hear something at least that often."""

    def __init__(self, sock: socket.socket, identity: Identity, timeout_s: float) -> None:
        self.identity = identity
        self.timeout_s = timeout_s  # of the session
        self.interval_s = timeout_s / 3
        self._heard = self._moved = self._sent = time.monotonic()
        self._asked: float | None = None  # since when an answer is due
        self._sock = sock
        self._lock = threading.Lock()
        self._out = bytearray()  # what the socket has not taken yet
        self._in = bytearray()
        sock.setblocking(False)
        _PULSE.keep(self)

    @property
    def silent(self) -> bool:
        """Whether the server is to be left: it has said nothing for most of the session's time,
        although it was asked something. Who was too busy to ask cannot say so.
        """
        now = time.monotonic()
        waiting_s = now - self._asked if self._asked is not None else 0.0
        return waiting_s > self.timeout_s / 3 and now - self._heard > self.timeout_s * 2 / 3

    def moved(self) -> None:
        """The event loop goes round. Unless it does, `beat` soon says nothing any more."""
        self._moved = time.monotonic()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        """Without a word to the server."""
        _PULSE.leave(self)
        with self._lock, contextlib.suppress(OSError):
            self._sock.close()

    def send(self, data: bytes) -> bool:
        """Whether all is on its way; otherwise call `flush` when the socket takes more."""
        with self._lock:
            self._out += data
            return self._flush()

    def flush(self) -> bool:
        """As `send` of nothing."""
        with self._lock:
            return self._flush()

    def beat(self) -> float:
        """Let the server hear something if it is time; returns when it is next, in seconds.

        Not for an event loop that hangs: nobody is served by a session that nobody uses, and others
        wait for what it holds.
        """
        with self._lock:
            now = time.monotonic()
            left = self._sent + self.interval_s - now
            if left > 0:
                return left
            if now - self._moved > HUNG_S:
                return self.interval_s
            with contextlib.suppress(OSError):  # the reader finds out, too
                if not self._out:
                    self._out += _PING
                    self._flush()
            return self.interval_s

    def _flush(self) -> bool:
        if self._out and self._asked is None:
            self._asked = time.monotonic()
        while self._out:
            try:
                count = self._sock.send(self._out)
            except _WOULD_BLOCK:
                return False
            self._sent = time.monotonic()
            del self._out[:count]
        return True

    def receive(self) -> list[bytes]:
        """What has come, message by message; OSError when the connection is over."""
        with self._lock:
            while True:
                try:
                    data = self._sock.recv(_RECEIVE_BYTES)
                except _WOULD_BLOCK:
                    break
                if not data:
                    raise ConnectionResetError("the server has closed the connection")
                self._in += data
                self._heard, self._asked = time.monotonic(), None
                if len(data) < _RECEIVE_BYTES and not isinstance(self._sock, ssl.SSLSocket):
                    break
        found: list[bytes] = []
        start = 0
        while len(self._in) - start >= 4:
            (length,) = struct.unpack_from(">i", self._in, start)
            if len(self._in) - start - 4 < length:
                break
            found.append(bytes(self._in[start + 4 : start + 4 + length]))
            start += 4 + length
        del self._in[:start]
        return found


class _Pulse:
    """Keeps all sessions of the process alive, also while its event loop is busy for a while."""

    def __init__(self) -> None:
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, connection: Connection) -> None:
        with self._lock:
            self._connections.add(connection)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
                self._thread.start()
        self._news.set()

    def leave(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)

    def _run(self) -> None:
        while True:
            self._news.clear()
            with self._lock:
                connections = list(self._connections)
            pause = min((one.beat() for one in connections), default=None)
            del connections
            self._news.wait(pause)


_PULSE = _Pulse()


def open_connection(
    host: str,
    port: int,
    identity: Identity,
    *,
    session_timeout_s: float,
    last_zxid: int,
    credentials: Credentials,
) -> Connection:
    """Connect, take up the session or begin one, and say who we are. Blocks.

    Raises Expired where the session is over, Refused, or OSError.
    """
    sock = socket.create_connection((host, port), session_timeout_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if credentials.tls is not None:
            sock = _context(credentials.tls).wrap_socket(sock, server_hostname=host)
        sock.settimeout(session_timeout_s)
        greeting = jute.Connect(
            0,
            last_zxid,
            int(session_timeout_s * 1000),
            identity.session_id,
            identity.password,
            False,
        )
        sock.sendall(frame(greeting, None))
        answer, _ = jute.Connect.deserialize(_message(sock), 0)
        if answer.time_out <= 0:
            raise Expired("the session has expired")
        if credentials.sasl is not None:
            _log_in(sock, credentials.sasl)
        if credentials.digest is not None:
            secret = f"{credentials.digest.user}:{credentials.digest.password}"
            _ask(sock, jute.Auth(0, "digest", secret), AUTH_XID)
        found = Identity(answer.session_id, answer.passwd)
        return Connection(sock, found, answer.time_out / 1000)
    except BaseException:
        sock.close()
        raise


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.authorities))
    context.load_cert_chain(tls.certificate, tls.key)
    context.check_hostname = tls.check_hostname
    return context


def _ask(sock: socket.socket, request: Any, xid: int) -> bytes:
    """The answer to a request, without its header."""
    sock.sendall(frame(request, xid))
    message = _message(sock)
    header, offset = jute.ReplyHeader.deserialize(message, 0)
    if header.err:
        raise Refused(f"the credentials are refused: {EXCEPTIONS[header.err].__name__}")
    return message[offset:]


def _log_in(sock: socket.socket, login: Login) -> None:
    """SASL DIGEST-MD5 (RFC 2831), with the realm that ZooKeeper always has."""
    client = puresasl.client.SASLClient(
        host="zk-sasl-md5",
        service="zookeeper",
        mechanism="DIGEST-MD5",
        username=login.user,
        password=login.password,
        principal="zk-sasl-md5",
    )
    challenge: bytes | None = None
    xid = 0
    try:
        while not client.complete:
            answer = client.process(challenge)
            if client.complete and not answer:
                break
            xid += 1
            challenge, _ = jute.SASL.deserialize(_ask(sock, jute.SASL(answer or b""), xid), 0)
    except (puresasl.SASLError, puresasl.SASLProtocolException, ConnectionError) as error:
        raise Refused(f"the credentials are refused: {error}") from error
    finally:
        client.dispose()


def _message(sock: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", _exactly(sock, 4))
    return _exactly(sock, length)


def _exactly(sock: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            raise ConnectionResetError("the server has closed the connection")
        parts += part
    return bytes(parts)
