"""A thin asyncio client of ZooKeeper. The only importer of kazoo.

kazoo's callbacks run on its own threads; here they only hand over to the event loop
(`call_soon_threadsafe`). Every request has a deadline. A lost connection or a missed deadline
raises StoreUnavailable: the outcome of a write is then unknown, and the caller looks it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from kazoo import exceptions as kazoo_errors
from kazoo.client import KazooClient, KazooState
from kazoo.protocol.states import EventType, WatchedEvent
from kazoo.retry import KazooRetry
from kazoo.security import ACL, Id

from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.store.acl import Entry
from dfvisor.store.credentials import ANONYMOUS, Credentials

_RECONNECT_MAX_DELAY_S = 0.5


class NoNode(StoreError):
    """The node does not exist."""


class NodeExists(StoreError):
    """The node exists already."""


class NotEmpty(StoreError):
    """The node has children and cannot be deleted."""


class Forbidden(StoreError):
    """The access control list of the node, or of that above it, does not allow it."""


class BadVersion(StoreError):
    """The node's version is not the one that the write replaces."""


class Session(StrEnum):
    """What the connection is like; SUSPENDED may come back, LOST took the ephemeral nodes along."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """A node's metadata. `mtime` in seconds since the epoch; `owner` is a session id or 0."""

    version: int
    czxid: int
    mzxid: int
    mtime: float
    owner: int


@dataclass(frozen=True, slots=True)
class Create:
    path: str
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Set:
    path: str
    data: bytes
    version: int = -1


@dataclass(frozen=True, slots=True)
class Delete:
    path: str
    version: int = -1


@dataclass(frozen=True, slots=True)
class Check:
    path: str
    version: int


Operation = Create | Set | Delete | Check
Callback = Callable[[], None]

_ERRORS: dict[type[Exception], type[StoreError]] = {
    kazoo_errors.NoNodeError: NoNode,
    kazoo_errors.NodeExistsError: NodeExists,
    kazoo_errors.NotEmptyError: NotEmpty,
    kazoo_errors.BadVersionError: BadVersion,
    kazoo_errors.NoAuthError: Forbidden,
}
_UNAVAILABLE = (
    kazoo_errors.ConnectionLoss,
    kazoo_errors.ConnectionClosedError,
    kazoo_errors.SessionExpiredError,
    kazoo_errors.SessionMovedError,
    kazoo_errors.OperationTimeoutError,
)


@dataclass(frozen=True, slots=True)
class _Watcher:
    """What kazoo calls; equal for equal callbacks, so that none waits twice for the same."""

    callback: Callback
    hand_over: Callable[[Callback], None]

    def __call__(self, event: WatchedEvent) -> None:
        if event.type != EventType.NONE:  # NONE: the connection went; reconnecting re-arms
            self.hand_over(self.callback)


class ZooKeeper:
    """One session at a time; a new one is made when it expires. Use from one event loop."""

    def __init__(
        self,
        address: str,
        *,
        session_timeout_s: float = 2.0,
        request_timeout_s: float = 5.0,
        credentials: Credentials = ANONYMOUS,
    ) -> None:
        """`address`: `host:port[,host:port...][/chroot]`. `lists` says which access control list a
        node gets that is made here (None: anybody may do anything).
        """
        self.address = address
        self.credentials = credentials
        self.lists: Callable[[str], tuple[Entry, ...]] | None = None
        hosts, slash, chroot = address.partition("/")
        self._chroot = slash + chroot.rstrip("/") if chroot else ""
        self._hosts = hosts
        self._request_timeout_s = request_timeout_s
        self._session_timeout_s = session_timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[Callable[[Session], None]] = []
        self._state = Session.LOST
        self._client = self._make_client(hosts + self._chroot)

    def _make_client(self, hosts: str) -> Any:
        logger = logging.getLogger("dfvisor.kazoo")
        logger.setLevel(logging.CRITICAL)  # what matters is reported through the session state
        return KazooClient(
            hosts=hosts,
            timeout=self._session_timeout_s,
            logger=logger,
            connection_retry=KazooRetry(
                max_tries=-1, delay=0.05, backoff=2, max_delay=_RECONNECT_MAX_DELAY_S
            ),
            **_options(self.credentials),
        )

    async def start(self, timeout_s: float = 10.0) -> Self:
        """Connect and make the chroot; StoreUnavailable when no server answers in time."""
        self._loop = asyncio.get_running_loop()
        if self._chroot:
            await self._make_chroot(timeout_s)
        self._client.add_listener(self._on_state)
        await self._open(self._client, timeout_s)
        self._state = Session.CONNECTED
        return self

    async def _open(self, client: Any, timeout_s: float) -> None:
        connected = client.start_async()
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            while not connected.is_set():
                if asyncio.get_running_loop().time() > deadline:
                    raise StoreUnavailable(f"no ZooKeeper server answers at {self._hosts}")
                await asyncio.sleep(0.01)
        except BaseException:  # cancelled, too: its threads would go on trying
            await asyncio.to_thread(self._shut, client)
            raise

    async def _make_chroot(self, timeout_s: float) -> None:
        """Again, where the connection is lost in between."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            try:
                await self._try_chroot(max(0.1, deadline - loop.time()))
                return
            except StoreUnavailable:
                if loop.time() >= deadline:
                    raise

    async def _try_chroot(self, timeout_s: float) -> None:
        client = self._make_client(self._hosts)
        await self._open(client, timeout_s)
        try:
            await asyncio.to_thread(client.ensure_path, self._chroot)
        except Exception as error:
            raise _translated(error, self._chroot) from error
        finally:
            await asyncio.to_thread(self._shut, client)

    @staticmethod
    def _shut(client: Any) -> None:
        client.stop()
        client.close()

    async def close(self) -> None:
        """End the session: its ephemeral nodes go at once."""
        self._client.remove_listener(self._on_state)
        await asyncio.to_thread(self._shut, self._client)
        self._state = Session.LOST

    # -- session

    @property
    def state(self) -> Session:
        return self._state

    @property
    def session_id(self) -> int:
        """0 while there is no session."""
        identity = self._client.client_id
        return int(identity[0]) if identity else 0

    def listen(self, callback: Callable[[Session], None]) -> None:
        """Call back, on the event loop, with every change of state."""
        self._listeners.append(callback)

    def _on_state(self, state: str) -> None:
        found = {
            KazooState.CONNECTED: Session.CONNECTED,
            KazooState.SUSPENDED: Session.SUSPENDED,
        }.get(state, Session.LOST)
        self._hand_over(lambda: self._set_state(found))

    def _set_state(self, state: Session) -> None:
        if state is self._state:
            return
        self._state = state
        for callback in list(self._listeners):
            callback(state)

    def _hand_over(self, call: Callback) -> None:
        """From any thread to the event loop; nothing to do once the loop has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)

    # -- requests

    async def get(self, path: str, watch: Callback | None = None) -> tuple[bytes, Stat]:
        """Data and metadata; raises NoNode. `watch` is called once when it changes or goes."""
        data, stat = await self._ask(path, self._client.get_async, path, watch=self._watcher(watch))
        return data, _stat(stat)

    async def exists(self, path: str, watch: Callback | None = None) -> Stat | None:
        """`watch` is called once when the node comes, changes or goes."""
        stat = await self._ask(path, self._client.exists_async, path, watch=self._watcher(watch))
        return None if stat is None else _stat(stat)

    async def children(self, path: str, watch: Callback | None = None) -> list[str]:
        """Names, sorted; raises NoNode. `watch` is called once when a child comes or goes."""
        names = await self._ask(
            path, self._client.get_children_async, path, watch=self._watcher(watch)
        )
        return sorted(names)

    async def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequential: bool = False
    ) -> str:
        """Make a node and return its path (with the number, if sequential)."""
        return str(
            await self._ask(
                path,
                self._client.create_async,
                path,
                data,
                self._acl(path),
                ephemeral=ephemeral,
                sequence=sequential,
            )
        )

    async def ensure(self, path: str) -> None:
        """Make the node, and those above it, where they do not exist."""
        await self._ask(path, self._client.ensure_path_async, path, self._acl(path))

    async def set(self, path: str, data: bytes, version: int = -1) -> Stat:
        return _stat(await self._ask(path, self._client.set_async, path, data, version))

    async def delete(self, path: str, version: int = -1) -> None:
        await self._ask(path, self._client.delete_async, path, version)

    async def set_acl(self, path: str, entries: Sequence[Entry]) -> None:
        """Replace the node's access control list."""
        await self._ask(path, self._client.set_acls_async, path, [_acl(one) for one in entries])

    def _acl(self, path: str) -> list[Any] | None:
        return None if self.lists is None else [_acl(one) for one in self.lists(path)]

    async def sync(self) -> None:
        """Reads after this see all that was committed before it."""
        await self._ask("/", self._client.sync_async, "/")

    async def multi(self, operations: Sequence[Operation]) -> list[Stat | None]:
        """All or nothing; raises the error of the operation that failed, naming its path.

        Returns the metadata of each node that was set, None for other operations.
        """
        transaction = self._client.transaction()
        for operation in operations:
            match operation:
                case Create(path, data):
                    transaction.create(path, data, self._acl(path))
                case Set(path, data, version):
                    transaction.set_data(path, data, version)
                case Delete(path, version):
                    transaction.delete(path, version)
                case Check(path, version):
                    transaction.check(path, version)
        results = await self._ask("transaction", transaction.commit_async)
        for operation, result in zip(operations, results, strict=True):
            # kazoo returns failures; those of the other operations only say "rolled back"
            if isinstance(result, Exception) and not isinstance(
                result,
                kazoo_errors.RolledBackError | kazoo_errors.RuntimeInconsistency,
            ):
                raise _translated(result, operation.path) from result
        return [
            _stat(result) if isinstance(operation, Set) else None
            for operation, result in zip(operations, results, strict=True)
        ]

    def _watcher(self, callback: Callback | None) -> _Watcher | None:
        return None if callback is None else _Watcher(callback, self._hand_over)

    async def _ask(
        self, label: str, request: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Any:
        """Send a request and wait for its result on the event loop.

        Refused at once while disconnected: kazoo would queue it and send it much later.
        """
        if self._state is not Session.CONNECTED:
            raise StoreUnavailable(f"{label}: the session with ZooKeeper is {self._state}")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle() -> None:
            if not answer.done():
                if result.exception is not None:
                    answer.set_exception(result.exception)
                else:
                    answer.set_result(result.value)

        result = request(*arguments, **options)
        result.rawlink(lambda _: self._hand_over(settle))
        try:
            # not wait_for: in Python 3.11 it swallows a cancellation that meets the answer
            async with asyncio.timeout(self._request_timeout_s):
                return await answer
        except TimeoutError as error:
            raise StoreUnavailable(
                f"{label}: no answer from ZooKeeper within {self._request_timeout_s:g} s"
            ) from error
        except (kazoo_errors.KazooException, ValueError, TypeError) as error:
            raise _translated(error, label) from error


_PERMISSIONS = {"r": 1, "w": 2, "c": 4, "d": 8, "a": 16}


def _acl(entry: Entry) -> Any:
    bits = sum(_PERMISSIONS[letter] for letter in set(entry.permissions))
    return ACL(bits, Id(entry.principal.scheme, entry.principal.id))


def _options(credentials: Credentials) -> dict[str, Any]:
    """What kazoo wants to know of them."""
    found: dict[str, Any] = {}
    if credentials.tls is not None:
        found |= {
            "use_ssl": True,
            "verify_certs": True,
            "check_hostname": credentials.tls.check_hostname,
            "ca": str(credentials.tls.authorities),
            "certfile": str(credentials.tls.certificate),
            "keyfile": str(credentials.tls.key),
        }
    if credentials.digest is not None:
        login = credentials.digest
        found["auth_data"] = [("digest", f"{login.user}:{login.password}")]
    if credentials.sasl is not None:
        found["sasl_options"] = {
            "mechanism": "DIGEST-MD5",
            "username": credentials.sasl.user,
            "password": credentials.sasl.password,
            "service": "zookeeper",
            "principal": "zk-sasl-md5",
        }
    return found


def _stat(stat: Any) -> Stat:
    return Stat(
        version=stat.version,
        czxid=stat.czxid,
        mzxid=stat.mzxid,
        mtime=stat.mtime / 1000,
        owner=stat.ephemeralOwner,
    )


def _translated(error: Exception, path: str) -> StoreError:
    for kind, own in _ERRORS.items():
        if isinstance(error, kind):
            if own is Forbidden:
                return own(f"{path}: not allowed with these credentials")
            return own(f"{path}: {type(error).__name__.removesuffix('Error')}")
    if isinstance(error, _UNAVAILABLE):
        return StoreUnavailable(f"{path}: {type(error).__name__}")
    return StoreError(f"{path}: {type(error).__name__}: {error}")
