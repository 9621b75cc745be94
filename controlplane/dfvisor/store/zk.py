"""A thin asyncio client of ZooKeeper; with session.py and wire.py the only importer of kazoo.

Of kazoo only the encoding is used: its client has threads of its own, and every request would pass
three of them. Every request has a deadline. A lost connection or a missed deadline raises
StoreUnavailable: the outcome of a write is then unknown, and the caller looks it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from kazoo import exceptions as kazoo_errors
from kazoo.protocol import serialization as jute
from kazoo.security import ACL, OPEN_ACL_UNSAFE, Id

from dfvisor.errors import StoreError, StoreUnavailable
from dfvisor.store.acl import Entry
from dfvisor.store.credentials import ANONYMOUS, Credentials
from dfvisor.store.session import Client
from dfvisor.store.session import State as Session

__all__ = ["Session", "ZooKeeper"]

_EPHEMERAL, _SEQUENTIAL = 1, 2


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """A node's metadata. Times in seconds since the epoch; `owner` is a session id or 0."""

    version: int
    czxid: int
    mzxid: int
    ctime: float
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
        self._listeners: list[Callable[[Session], None]] = []
        self._state = Session.LOST
        self._client = Client(hosts, session_timeout_s, credentials, self._set_state)

    async def start(self, timeout_s: float = 10.0) -> Self:
        """Connect and make the chroot; StoreUnavailable when no server answers in time."""
        self._client.start()
        try:
            async with asyncio.timeout(timeout_s):
                await self._client.connected()
                await self._make_chroot()
        except TimeoutError as error:
            await self._client.stop()
            why = f": {self._client.trouble}" if self._client.trouble else ""
            raise StoreUnavailable(f"no ZooKeeper server answers at {self._hosts}{why}") from error
        except BaseException:
            await self._client.stop()
            raise
        return self

    async def _make_chroot(self) -> None:
        """Again, where the connection is lost in between."""
        while self._chroot:
            try:
                await self._ensure(self._chroot, None)
                return
            except StoreUnavailable:
                await self._client.connected()

    async def close(self) -> None:
        """End the session: its ephemeral nodes go at once."""
        self._listeners.clear()
        await self._client.stop()
        self._state = Session.LOST

    # -- session

    @property
    def state(self) -> Session:
        return self._state

    @property
    def session_id(self) -> int:
        """0 while there is no session."""
        identity = self._client.client_id
        return identity[0] if identity else 0

    def listen(self, callback: Callable[[Session], None]) -> None:
        """Call back with every change of state."""
        self._listeners.append(callback)

    def _set_state(self, state: Session) -> None:
        if state is self._state:
            return
        self._state = state
        for callback in list(self._listeners):
            callback(state)

    # -- requests

    async def get(self, path: str, watch: Callback | None = None) -> tuple[bytes, Stat]:
        """Data and metadata; raises NoNode. `watch` is called once when it changes or goes."""
        request = jute.GetData(self._path(path), watch is not None)
        data, stat = await self._ask(path, request, watch)
        return data or b"", _stat(stat)

    async def exists(self, path: str, watch: Callback | None = None) -> Stat | None:
        """`watch` is called once when the node comes, changes or goes."""
        stat = await self._ask(path, jute.Exists(self._path(path), watch is not None), watch)
        return None if stat is None else _stat(stat)

    async def children(self, path: str, watch: Callback | None = None) -> list[str]:
        """Names, sorted; raises NoNode. `watch` is called once when a child comes or goes."""
        names = await self._ask(path, jute.GetChildren(self._path(path), watch is not None), watch)
        return sorted(names)

    async def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequential: bool = False
    ) -> str:
        """Make a node and return its path (with the number, if sequential)."""
        flags = _EPHEMERAL * ephemeral | _SEQUENTIAL * sequential
        made = await self._ask(path, jute.Create(self._path(path), data, self._acl(path), flags))
        return str(made).removeprefix(self._chroot) or "/"

    async def ensure(self, path: str) -> None:
        """Make the node, and those above it, where they do not exist."""
        await self._ensure(self._path(path), self._acl(path))

    async def _ensure(self, path: str, acl: list[Any] | None) -> None:
        """A path of the server."""
        if await self._ask(path, jute.Exists(path, False)) is not None:
            return
        above = path.rpartition("/")[0]
        if above:
            await self._ensure(above, acl)
        try:
            await self._ask(path, jute.Create(path, b"", acl or OPEN_ACL_UNSAFE, 0))
        except NodeExists:
            return  # somebody else was faster

    async def set(self, path: str, data: bytes, version: int = -1) -> Stat:
        return _stat(await self._ask(path, jute.SetData(self._path(path), data, version)))

    async def delete(self, path: str, version: int = -1) -> None:
        await self._ask(path, jute.Delete(self._path(path), version))

    async def set_acl(self, path: str, entries: Sequence[Entry]) -> None:
        """Replace the node's access control list."""
        lists = [_acl(one) for one in entries]
        await self._ask(path, jute.SetACL(self._path(path), lists, -1))

    def _path(self, path: str) -> str:
        """As the server has it."""
        return f"{self._chroot}{path}" if path != "/" else self._chroot or path

    def _acl(self, path: str) -> list[Any]:
        return OPEN_ACL_UNSAFE if self.lists is None else [_acl(one) for one in self.lists(path)]

    async def sync(self) -> None:
        """Reads after this see all that was committed before it."""
        await self._ask("/", jute.Sync(self._path("/")))

    async def multi(self, operations: Sequence[Operation]) -> list[Stat | None]:
        """All or nothing; raises the error of the operation that failed, naming its path.

        Returns the metadata of each node that was set, None for other operations.
        """
        results = await self._ask(
            "transaction", jute.Transaction([self._encoded(one) for one in operations])
        )
        for operation, result in zip(operations, results, strict=True):
            # failures are among the results; those of the other operations only say "rolled back"
            if isinstance(result, Exception) and not isinstance(
                result,
                kazoo_errors.RolledBackError | kazoo_errors.RuntimeInconsistency,
            ):
                raise _translated(result, operation.path) from result
        return [
            _stat(result) if isinstance(operation, Set) else None
            for operation, result in zip(operations, results, strict=True)
        ]

    def _encoded(self, operation: Operation) -> Any:
        path = self._path(operation.path)
        match operation:
            case Create(_, data):
                return jute.Create(path, data, self._acl(operation.path), 0)
            case Set(_, data, version):
                return jute.SetData(path, data, version)
            case Delete(_, version):
                return jute.Delete(path, version)
            case Check(_, version):
                return jute.CheckVersion(path, version)

    async def _ask(self, label: str, request: Any, watch: Callback | None = None) -> Any:
        """Send a request and wait for its result; refused at once while disconnected."""
        if self._state is not Session.CONNECTED:
            raise StoreUnavailable(f"{label}: the session with ZooKeeper is {self._state}")
        answer = self._client.ask(request, watch)
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self._request_timeout_s, self._expire, answer)
        try:
            return await answer
        except TimeoutError as error:
            raise StoreUnavailable(
                f"{label}: no answer from ZooKeeper within {self._request_timeout_s:g} s"
            ) from error
        except kazoo_errors.KazooException as error:
            raise _translated(error, label) from error
        finally:
            deadline.cancel()

    def _expire(self, answer: asyncio.Future[Any]) -> None:
        """Its time is over, unless the answer is there and only this program was slow."""
        self._client.look()
        if not answer.done():
            answer.set_exception(TimeoutError())


_PERMISSIONS = {"r": 1, "w": 2, "c": 4, "d": 8, "a": 16}


def _acl(entry: Entry) -> Any:
    bits = sum(_PERMISSIONS[letter] for letter in set(entry.permissions))
    return ACL(bits, Id(entry.principal.scheme, entry.principal.id))


def _stat(stat: Any) -> Stat:
    return Stat(
        version=stat.version,
        czxid=stat.czxid,
        mzxid=stat.mzxid,
        ctime=stat.ctime / 1000,
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
